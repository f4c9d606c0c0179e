//! The README's performance block, made from a run: nobody copies figures by hand.

use crate::Fallible;
use crate::report::{Goal, Row, number};
use std::fmt::Write;
use std::path::Path;

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// What the block says beside its rows.
pub(crate) struct About<'a> {
    pub(crate) date: &'a str,
    pub(crate) machine: &'a str,
    pub(crate) quick: bool,
    /// Ceilings that moved; none if the run counts.
    pub(crate) moved: &'a str,
}

/// The block, with its marks.
pub(crate) fn block(rows: &[Row], about: &About<'_>) -> String {
    let mut out = format!("{BEGIN}\n{}, {}", about.date.get(..10).unwrap_or(about.date), about.machine);
    if about.quick {
        out.push_str("; **`--quick`**: small data and short rounds");
    }
    if about.moved.is_empty() {
        out.push_str("; ceilings at start and end within 15 % of each other");
    } else {
        let _ = write!(out, "; **void** by the bench's own rule: ceilings moved by {}", about.moved);
    }
    out.push_str(":\n\n| # | What | Ours | Reach | Floor | Verdict |\n|---|---|---|---|---|---|\n");
    for row in rows.iter().filter(|row| row.goal.is_some()) {
        let bound = |goal: Option<f64>| goal.map_or_else(|| "-".to_owned(), number);
        let _ = writeln!(
            out,
            "| {} | {} | {} | {}{} | {} | {} |",
            row.name,
            row.what,
            ours(row),
            sign(row.goal),
            bound(row.goal.map(Goal::reach)),
            bound(row.goal.and_then(Goal::floor)),
            row.verdict().text(),
        );
    }
    let reasons = rows.iter().flat_map(|row| row.missed_because().iter().map(move |reason| (row, reason)));
    let reasons: Vec<_> =
        reasons.map(|(row, reason)| format!("- {} ({}): {reason}.", row.name, row.what)).collect();
    if !reasons.is_empty() {
        let _ = write!(
            out,
            "\nWhat stands between these figures and their reach, from the same run:\n\n{}\n",
            reasons.join("\n")
        );
    }
    out.push_str(END);
    out.push('\n');
    out
}

/// Which side of the reach is the good one.
fn sign(goal: Option<Goal>) -> &'static str {
    match goal {
        Some(Goal::AtLeast { .. }) => ">= ",
        Some(Goal::AtMost { .. }) => "<= ",
        None => "",
    }
}

fn ours(row: &Row) -> String {
    let mut text = format!("{} {}", number(row.ours), row.unit);
    if let Some(ceiling) = row.ceiling {
        let _ = write!(text, "; beside it {}", number(ceiling));
    }
    if let Some(ratio) = row.ratio {
        let _ = write!(text, "; ratio {:.3} ({:.3} to {:.3})", ratio.median, ratio.low, ratio.high);
    }
    text
}

/// Puts the block into a document, in place of the one that is there.
pub(crate) fn replace(path: &Path, block: &str) -> Fallible<()> {
    let document = std::fs::read_to_string(path)?;
    let replaced = replaced(&document, block).ok_or("the document has no marks bench:begin and bench:end")?;
    Ok(std::fs::write(path, replaced)?)
}

fn replaced(document: &str, block: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{}{after}", block.trim_end_matches('\n')))
}

#[cfg(test)]
mod tests {
    use super::{About, block, replaced};
    use crate::report::{Goal, Row};

    fn rows() -> Vec<Row> {
        let goal = Goal::AtMost { reach: 15.0, floor: Some(40.0) };
        vec![
            Row::new("B0", "information", 1.0, "us"),
            Row::new("B5", "sync", 50.0, "us CPU").goal(goal).because("HTTP alone takes 30 us"),
        ]
    }

    #[test]
    fn a_void_run_says_so_and_a_missed_goal_why() {
        let about =
            About { date: "2026-01-02T03:04:05Z", machine: "two cores", quick: false, moved: "x +20 %" };
        let block = block(&rows(), &about);
        for words in
            ["2026-01-02, two cores", "**void**", "x +20 %", "missed by 25 %", "HTTP alone takes 30 us."]
        {
            assert!(block.contains(words), "{words}\n{block}");
        }
        assert!(!block.contains("information"), "rows without a goal are not in the table");
    }

    #[test]
    fn the_block_takes_the_place_of_the_old_one_and_nothing_else() {
        let about = About { date: "2026-01-02", machine: "two cores", quick: true, moved: "" };
        let block = block(&rows(), &about);
        let document = "head\n<!-- bench:begin -->\nold\n<!-- bench:end -->\ntail\n";
        let once = replaced(document, &block).unwrap();
        assert!(
            once.starts_with("head\n<!-- bench:begin -->\n2026-01-02")
                && once.ends_with("bench:end -->\ntail\n")
        );
        assert_eq!(replaced(&once, &block).as_deref(), Some(once.as_str()));
        assert_eq!(replaced("no marks", &block), None);
    }
}
