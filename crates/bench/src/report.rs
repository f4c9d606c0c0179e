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
        let (reach, floor, reached) = match self {
            Goal::AtLeast { reach, floor } => (reach, floor, value >= reach),
            Goal::AtMost { reach, floor } => (reach, floor, value <= reach),
        };
        if !value.is_finite() {
            return Verdict::Open("not measured".to_owned());
        }
        if reached {
            return Verdict::Reach;
        }
        let least = floor.unwrap_or(reach);
        if least == 0.0 {
            return Verdict::Missed(f64::INFINITY);
        }
        let (within, by) = match self {
            Goal::AtLeast { .. } => (value >= least, 1.0 - value / least),
            Goal::AtMost { .. } => (value <= least, value / least - 1.0),
        };
        if within && floor.is_some() { Verdict::Floor } else { Verdict::Missed(by * 100.0) }
    }

    pub(crate) fn reach(self) -> f64 {
        match self {
            Goal::AtLeast { reach, .. } | Goal::AtMost { reach, .. } => reach,
        }
    }

    pub(crate) fn floor(self) -> Option<f64> {
        match self {
            Goal::AtLeast { floor, .. } | Goal::AtMost { floor, .. } => floor,
        }
    }
}

impl Verdict {
    pub(crate) fn text(&self) -> String {
        match self {
            Verdict::Reach => "reach".to_owned(),
            Verdict::Floor => "floor".to_owned(),
            Verdict::Missed(by) if by.is_infinite() => "missed".to_owned(),
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
    /// Judged by the ratio if there is one, else by `ours`; the latter in any case with `by_value`.
    pub(crate) goal: Option<Goal>,
    by_value: bool,
    /// Why it is not judged although it has a goal.
    pub(crate) unjudged: Option<String>,
    pub(crate) notes: Vec<String>,
    /// What stands between the figure and its reach, from figures of the same run; said where it is not reached.
    reasons: Vec<String>,
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
            by_value: false,
            unjudged: None,
            notes: Vec::new(),
            reasons: Vec::new(),
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

    /// A goal for the figure itself; the ratio beside it is information.
    pub(crate) fn goal_of_value(self, goal: Goal) -> Row {
        Row { by_value: true, ..self.goal(goal) }
    }

    pub(crate) fn unjudged(mut self, why: impl Into<String>) -> Row {
        self.unjudged = Some(why.into());
        self
    }

    pub(crate) fn note(mut self, note: impl Into<String>) -> Row {
        self.notes.push(note.into());
        self
    }

    pub(crate) fn because(mut self, reason: impl Into<String>) -> Row {
        self.reasons.push(reason.into());
        self
    }

    pub(crate) fn details(mut self, details: Value) -> Row {
        self.details = details;
        self
    }

    pub(crate) fn verdict(&self) -> Verdict {
        match (&self.unjudged, self.goal) {
            (Some(why), _) => Verdict::Open(why.clone()),
            (None, Some(goal)) if self.ours.is_finite() => goal.judge(self.judged()),
            (None, Some(_)) => Verdict::Open("not measured".to_owned()),
            (None, None) => Verdict::Open("-".to_owned()),
        }
    }

    /// The number that the goal is about.
    fn judged(&self) -> f64 {
        self.ratio.filter(|_| !self.by_value).map_or(self.ours, |ratio| ratio.median)
    }

    /// Why the reach was not reached; nothing where it was, or where nothing was judged.
    pub(crate) fn missed_because(&self) -> &[String] {
        match self.verdict() {
            Verdict::Floor | Verdict::Missed(_) => &self.reasons,
            Verdict::Reach | Verdict::Open(_) => &[],
        }
    }

    /// Of a void run no verdict holds.
    pub(crate) fn json(&self, void: bool) -> Value {
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
            "judged": self.goal.map(|_| rounded(self.judged())),
            "verdict": verdict.text(),
            "void": void,
            "because": self.missed_because(),
            "missed_by_percent": if let Verdict::Missed(by) = verdict { Some(rounded(by)) } else { None },
            "notes": self.notes,
            "details": self.details,
        })
    }

    fn cells(&self, void: bool) -> [String; 8] {
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

/// A figure for people.
pub(crate) fn number(value: f64) -> String {
    format!("{}", rounded(value))
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
        for reason in row.missed_because() {
            let _ = writeln!(out, "{}: not reached because {reason}", row.name);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Goal, Row, Verdict};
    use crate::measure::Spread;

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

    #[test]
    fn a_goal_of_zero_is_reached_by_zero_alone() {
        let goal = Goal::AtMost { reach: 0.0, floor: Some(0.0) };
        assert_eq!(goal.judge(0.0), Verdict::Reach);
        assert_eq!(goal.judge(1.0), Verdict::Missed(f64::INFINITY));
    }

    #[test]
    fn what_was_not_measured_is_never_judged() {
        let goal = Goal::AtMost { reach: 2.0, floor: None };
        let row = Row::new("B0", "nothing", f64::NAN, "us").goal(goal);
        assert_eq!(row.verdict(), Verdict::Open("not measured".to_owned()));
        let row = row.ratio(Spread::of(&[1.0])).because("it was not measured");
        assert_eq!(row.verdict(), Verdict::Open("not measured".to_owned()));
        assert!(row.missed_because().is_empty());
        assert_eq!(row.json(false)["ours"], serde_json::Value::Null);
    }

    #[test]
    fn a_goal_of_the_value_is_not_judged_by_the_ratio_beside_it() {
        let goal = Goal::AtMost { reach: 15.0, floor: None };
        let row = Row::new("B0", "sync", 20.0, "us").ratio(Spread::of(&[0.5])).because("it takes 20 us");
        assert_eq!(row.clone().goal(goal).verdict(), Verdict::Reach);
        let row = row.goal_of_value(goal);
        assert!(matches!(row.verdict(), Verdict::Missed(by) if by > 33.0 && by < 34.0));
        assert_eq!(row.missed_because(), ["it takes 20 us"]);
    }
}
