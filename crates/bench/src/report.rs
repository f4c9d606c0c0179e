//! A figure with its goal, and how all of them are shown. Nothing here knows a result; a missed goal says by how much.

use crate::measure::{Spread, rounded};
use serde_json::{Value, json};
use std::fmt::Write;

/// What a figure has to reach, as a number that is better when it is larger, or when it is smaller.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Goal {
    AtLeast { reach: f64, floor: Option<f64> },
    AtMost { reach: f64, floor: Option<f64> },
}

/// What became of a goal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Reach,
    Floor,
    /// By so many percent of the floor, or of the reach where there is no floor.
    Missed(f64),
    /// Not judged, and why.
    Open(String),
}

impl Goal {
    pub(crate) fn judge(self, value: f64) -> Verdict {
        let (reach, floor, better) = match self {
            Goal::AtLeast { reach, floor } => (reach, floor, value / reach),
            Goal::AtMost { reach, floor } => (reach, floor, reach / value),
        };
        if !value.is_finite() {
            return Verdict::Open("not measured".to_owned());
        }
        if better >= 1.0 {
            return Verdict::Reach;
        }
        let least = floor.unwrap_or(reach);
        let (within, by) = match self {
            Goal::AtLeast { .. } => (value >= least, 1.0 - value / least),
            Goal::AtMost { .. } => (value <= least, value / least - 1.0),
        };
        if within && floor.is_some() { Verdict::Floor } else { Verdict::Missed(by * 100.0) }
    }

    fn reach(self) -> f64 {
        match self {
            Goal::AtLeast { reach, .. } | Goal::AtMost { reach, .. } => reach,
        }
    }

    fn floor(self) -> Option<f64> {
        match self {
            Goal::AtLeast { floor, .. } | Goal::AtMost { floor, .. } => floor,
        }
    }
}

impl Verdict {
    fn text(&self) -> String {
        match self {
            Verdict::Reach => "reach".to_owned(),
            Verdict::Floor => "floor".to_owned(),
            Verdict::Missed(by) => format!("missed by {by:.0} %"),
            Verdict::Open(why) => why.clone(),
        }
    }
}

/// One line of the table.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    pub(crate) ours: f64,
    pub(crate) unit: &'static str,
    /// The ceiling or the stub, in the same unit.
    pub(crate) ceiling: Option<f64>,
    pub(crate) ratio: Option<Spread>,
    /// Judged by the ratio if there is one, else by `ours`.
    pub(crate) goal: Option<Goal>,
    /// Why it is not judged although it has a goal.
    pub(crate) unjudged: Option<String>,
    pub(crate) notes: Vec<String>,
    pub(crate) details: Value,
}

impl Row {
    pub(crate) fn new(name: &'static str, what: impl Into<String>, ours: f64, unit: &'static str) -> Row {
        Row {
            name,
            what: what.into(),
            ours,
            unit,
            ceiling: None,
            ratio: None,
            goal: None,
            unjudged: None,
            notes: Vec::new(),
            details: Value::Null,
        }
    }

    pub(crate) fn against(mut self, ceiling: f64) -> Row {
        self.ceiling = Some(ceiling);
        self
    }

    pub(crate) fn ratio(mut self, ratio: Spread) -> Row {
        self.ratio = Some(ratio);
        self
    }

    pub(crate) fn goal(mut self, goal: Goal) -> Row {
        self.goal = Some(goal);
        self
    }

    pub(crate) fn unjudged(mut self, why: impl Into<String>) -> Row {
        self.unjudged = Some(why.into());
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Row {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn details(mut self, details: Value) -> Row {
        self.details = details;
        self
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match (&self.unjudged, self.goal) {
            (Some(why), _) => Verdict::Open(why.clone()),
            (None, Some(goal)) => goal.judge(self.ratio.map_or(self.ours, |ratio| ratio.median)),
            (None, None) => Verdict::Open("-".to_owned()),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let verdict = self.verdict();
        json!({
            "name": self.name,
            "what": self.what,
            "ours": rounded(self.ours),
            "unit": self.unit,
            "ceiling": self.ceiling.map(rounded),
            "ratio": self.ratio.map(|ratio| ratio.json()),
            "reach": self.goal.map(Goal::reach),
            "floor": self.goal.and_then(Goal::floor),
            "verdict": verdict.text(),
            "missed_by_percent": if let Verdict::Missed(by) = verdict { Some(rounded(by)) } else { None },
            "notes": self.notes,
            "details": self.details,
        })
    }

    fn cells(&self, void: bool) -> [String; 8] {
        let number = |value: f64| format!("{}", rounded(value));
        let dash = || "-".to_owned();
        [
            self.name.to_owned(),
            self.what.clone(),
            format!("{} {}", number(self.ours), self.unit),
            self.ceiling.map_or_else(dash, |ceiling| format!("{} {}", number(ceiling), self.unit)),
            self.ratio.map_or_else(dash, |ratio| {
                format!("{:.3} ({:.3}..{:.3})", ratio.median, ratio.low, ratio.high)
            }),
            self.goal.map_or_else(dash, |goal| number(goal.reach())),
            self.goal.and_then(Goal::floor).map_or_else(dash, number),
            format!("{}{}", self.verdict().text(), if void { " (void)" } else { "" }),
        ]
    }
}

const HEAD: [&str; 8] =
    ["name", "what", "ours", "ceiling/stub", "ratio (median, spread)", "reach", "floor", "verdict"];

/// All rows with their columns in line, and below them what has to be said of each. Of a void run no verdict holds.
pub(crate) fn table(rows: &[Row], void: bool) -> String {
    let cells: Vec<[String; 8]> =
        std::iter::once(HEAD.map(str::to_owned)).chain(rows.iter().map(|row| row.cells(void))).collect();
    let widths: Vec<usize> = (0..HEAD.len())
        .map(|column| {
            cells.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let mut out = String::new();
    for row in &cells {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    }
    for row in rows {
        for note in &row.notes {
            let _ = writeln!(out, "{}: {note}", row.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Goal, Verdict};

    #[test]
    fn a_missed_goal_says_by_how_much_of_the_floor() {
        let goal = Goal::AtLeast { reach: 0.7, floor: Some(0.5) };
        assert_eq!(goal.judge(0.7), Verdict::Reach);
        assert_eq!(goal.judge(0.6), Verdict::Floor);
        assert_eq!(goal.judge(0.25), Verdict::Missed(50.0));
        let goal = Goal::AtMost { reach: 50.0, floor: Some(80.0) };
        assert_eq!(goal.judge(50.0), Verdict::Reach);
        assert_eq!(goal.judge(79.0), Verdict::Floor);
        assert_eq!(goal.judge(120.0), Verdict::Missed(50.0));
        assert_eq!(Goal::AtMost { reach: 2.0, floor: None }.judge(3.0), Verdict::Missed(50.0));
    }
}
