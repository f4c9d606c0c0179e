//! Entries in plain words.

use crate::table::printable;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use keyferry_client::audit::Entry;
use keyferry_wire::ledger::{Kind, Outcome};

/// How entries are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Json,
    Plain,
    /// What deserves attention in colour.
    Colour,
}

const ATTENTION: &str = "\u{1b}[1;31m";
const RESET: &str = "\u{1b}[0m";

/// Colour on a terminal alone, and where nobody asked for none (<https://no-color.org>).
pub(super) fn style_of(is_terminal: bool) -> Style {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    if is_terminal && !refused { Style::Colour } else { Style::Plain }
}

pub(super) fn line(entry: &Entry, style: Style) -> String {
    let (words, attention) = words(entry);
    let (mark, colour, reset) = match (attention, style) {
        (true, Style::Colour) => ("!", ATTENTION, RESET),
        (true, _) => ("!", "", ""),
        (false, _) => (" ", "", ""),
    };
    format!("{colour}{} {mark} {words}{reset}", time(entry.time_ms, &TimeZone::system()))
}

/// Local time, and how far it is from UTC.
fn time(time_ms: u64, zone: &TimeZone) -> String {
    let time = i64::try_from(time_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let Some(time) = time else { return format!("{time_ms} ms") };
    time.to_zoned(zone.clone()).strftime("%Y-%m-%d %H:%M:%S%:z").to_string()
}

/// What happened, and whether its owner should look twice: at what a thief would do, too.
fn words(entry: &Entry) -> (String, bool) {
    let who = entry.device.as_deref().map_or_else(|| "a device that is no member".to_owned(), printable);
    let site = entry.rp_id.as_deref().map_or_else(|| "a site unknown here".to_owned(), printable);
    let (left, user) =
        (tries(entry.left), if entry.verified { "user verified" } else { "user not verified" });
    let quiet = |words: String| (words, false);
    let loud = |words: String| (words, true);
    match (entry.kind, entry.outcome) {
        (Kind::CreateAccount, Outcome::Done) => quiet("the account was made".to_owned()),
        (Kind::Authenticate, Outcome::Done) => loud(format!("{who} showed the account's password")),
        (Kind::Authenticate, _) => loud(format!("wrong password from {who}")),
        (Kind::Enrol, Outcome::Done) => loud(format!("new device {who} enrolled as the account's first")),
        (Kind::Join, Outcome::Done) => loud(format!("new device {who} joined")),
        (Kind::Attempt, Outcome::Again) => {
            quiet(format!("the same PIN entry on {who} once more, {left} left"))
        }
        (Kind::Attempt, _) => quiet(format!("PIN entry on {who}, {left} left should it be wrong")),
        (Kind::Result, Outcome::Done) => quiet(format!("right PIN on {who}")),
        (Kind::Result, _) => loud(format!("wrong PIN on {who}, {left} left")),
        (Kind::Lock, _) => loud("the PIN is locked".to_owned()),
        (Kind::Prepare, Outcome::Done) => quiet(format!("{who} prepares a new PIN")),
        (Kind::Expose, Outcome::Done) => loud(format!("{who} set a new PIN")),
        (Kind::RenameDevice, Outcome::Done) => quiet(format!("{who} gave a device another label")),
        (Kind::CreatePasskey, Outcome::Done) => {
            quiet(format!("new passkey for {site} made on {who}, {user}"))
        }
        (Kind::Assert, Outcome::Done) => quiet(format!("{who} signed in at {site}, {user}")),
        (Kind::RenamePasskey, Outcome::Done) => quiet(format!("{who} renamed a passkey for {site}")),
        (Kind::DeletePasskey, Outcome::Done) => loud(format!("{who} deleted a passkey for {site}")),
        (Kind::WriteLargeBlob, Outcome::Done) => {
            quiet(format!("{site} stored data with its passkey on {who}, {user}"))
        }
        (kind, outcome) => loud(format!("{} on {who}: {}", kind.as_str(), outcome.as_str())),
    }
}

fn tries(left: u8) -> String {
    if left == 1 { "1 try".to_owned() } else { format!("{left} tries") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, outcome: Outcome) -> Entry {
        Entry {
            seq: 7,
            time_ms: 1_795_419_395_000,
            kind,
            outcome,
            device: Some("phone".to_owned()),
            rp_id: Some("example.org".to_owned()),
            left: 7,
            verified: true,
        }
    }

    fn said(kind: Kind, outcome: Outcome) -> (String, bool) {
        words(&entry(kind, outcome))
    }

    #[test]
    fn entries_read_as_sentences_and_what_a_thief_would_do_stands_out() {
        for (kind, outcome, words, attention) in [
            (Kind::Assert, Outcome::Done, "phone signed in at example.org, user verified", false),
            (Kind::Result, Outcome::Refused, "wrong PIN on phone, 7 tries left", true),
            (Kind::Join, Outcome::Done, "new device phone joined", true),
            (Kind::Lock, Outcome::Done, "the PIN is locked", true),
            (Kind::Expose, Outcome::Done, "phone set a new PIN", true),
            (
                Kind::CreatePasskey,
                Outcome::Done,
                "new passkey for example.org made on phone, user verified",
                false,
            ),
        ] {
            assert_eq!(said(kind, outcome), (words.to_owned(), attention));
        }
        let last = Entry { left: 1, device: None, ..entry(Kind::Result, Outcome::Refused) };
        assert_eq!(words(&last).0, "wrong PIN on a device that is no member, 1 try left");
    }

    #[test]
    fn every_kind_and_outcome_has_words_of_its_own() {
        for kind in Kind::ALL {
            let (done, _) = said(*kind, Outcome::Done);
            assert!(!done.contains(": done"), "{done}");
            assert!(Outcome::ALL.iter().all(|outcome| !said(*kind, *outcome).0.is_empty()));
        }
    }

    #[test]
    fn labels_of_others_do_not_move_the_cursor_and_colour_ends_with_its_line() {
        let evil = Entry { device: Some("a\u{1b}[2Jb\n".to_owned()), ..entry(Kind::Join, Outcome::Done) };
        assert!(!line(&evil, Style::Plain).contains(['\u{1b}', '\n']));
        let coloured = line(&evil, Style::Colour);
        assert!(coloured.starts_with(ATTENTION) && coloured.ends_with(RESET));
        assert_eq!(coloured.matches('\u{1b}').count(), 2);
        assert!(!line(&entry(Kind::Assert, Outcome::Done), Style::Colour).contains('\u{1b}'));
    }

    #[test]
    fn times_are_local() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        assert_eq!(time(1_795_419_395_000, &zone), "2026-11-23 09:36:35+02:00");
        assert_eq!(time(u64::MAX, &zone), format!("{} ms", u64::MAX));
    }

    #[test]
    fn what_is_no_terminal_gets_no_colour() {
        assert_eq!(style_of(false), Style::Plain);
    }
}
