//! What `cargo test` and the tests themselves said, added up.
//!
//! # The skip contract
//!
//! A test that cannot run here (its peer is not installed, vectors are not at hand) must not pass silently. It
//! prints a line `skipped: TEST: REASON` and, when the environment variable `KEYFERRY_SKIPS` is set, appends the same
//! line to the file of that name (an absolute path); then it returns. The file is needed because `cargo test` hides
//! what passing tests print. TEST is the name of the test's thread, and the line goes out in one write, since
//! tests run side by side:
//!
//! ```no_run
//! # use std::io::Write as _;
//! fn skip(reason: &str) {
//!     let thread = std::thread::current();
//!     let line = format!("skipped: {}: {reason}\n", thread.name().unwrap_or("unnamed"));
//!     print!("{line}");
//!     if let Some(path) = std::env::var_os("KEYFERRY_SKIPS") {
//!         let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
//!         file.and_then(|mut file| file.write_all(line.as_bytes())).expect("a skip that is not counted would pass");
//!     }
//! }
//! ```
//!
//! Such a test is counted as skipped, not as passed, and named in the summary.

use std::collections::{BTreeMap, BTreeSet};

/// The sum over all test binaries of one run.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Name and reason of each skipped test.
    pub(crate) skipped: BTreeMap<String, String>,
    /// Names of the tests that failed, as far as they were printed.
    pub(crate) failures: BTreeSet<String>,
}

impl Tally {
    /// Takes one line of `cargo test`'s output.
    pub(crate) fn read(&mut self, line: &str) {
        // A program started by a test may leave half a line before it, so it need not be at the beginning.
        if let Some((_, counts)) = line.split_once("test result: ") {
            self.passed += count(counts, "passed");
            self.failed += count(counts, "failed");
        } else if let Some(test) = line.strip_prefix("test ") {
            if let Some((name, "FAILED")) = test.rsplit_once(" ... ") {
                self.failures.insert(name.to_owned());
            } else if let Some((name, "ignored")) =
                test.rsplit_once(" ... ").map(|(name, word)| (name, word.split(',').next().unwrap_or(word)))
            {
                self.skipped.insert(name.to_owned(), "ignored".to_owned());
            }
        }
    }

    /// Takes the file that `KEYFERRY_SKIPS` named. A test that failed after a skip stays failed.
    pub(crate) fn read_skips(&mut self, file: &str) {
        for line in file.lines().filter_map(|line| line.strip_prefix("skipped: ")) {
            let (name, reason) = line.split_once(": ").unwrap_or((line, "no reason given"));
            if !self.failures.contains(name)
                && self.skipped.insert(name.to_owned(), reason.to_owned()).is_none()
            {
                // To cargo it passed.
                self.passed = self.passed.saturating_sub(1);
            }
        }
    }

    /// A run that ended badly has failed, also when no test could say so: it did not compile, or was killed.
    pub(crate) fn close(&mut self, exited_well: bool) {
        if !exited_well && self.failed == 0 {
            self.failed = 1;
            self.failures.insert("a test program that ended without a result: see above".to_owned());
        }
    }

    /// The closing line, which scripts read.
    pub(crate) fn line(&self) -> String {
        format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped.len())
    }
}

/// The number before `word` in `ok. 5 passed; 1 failed; ...`.
fn count(counts: &str, word: &str) -> u64 {
    let words: Vec<&str> = counts.split([' ', ';', '.']).filter(|part| !part.is_empty()).collect();
    words.windows(2).find(|pair| pair[1] == word).and_then(|pair| pair[0].parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: &str = "\
running 3 tests
test store::reads_its_own_writes ... ok
test store::needs_postgres ... ok
test pin::eleventh_attempt_is_refused ... FAILED

half a line test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

running 1 test
test crates/wire/src/lib.rs - id (line 3) ... ignored, not here

test result: ok. 0 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    fn tally(output: &str, skips: &str) -> Tally {
        let mut tally = Tally::default();
        output.lines().for_each(|line| tally.read(line));
        tally.read_skips(skips);
        tally
    }

    #[test]
    fn binaries_are_added_up_and_failures_named() {
        let tally = tally(RUN, "");
        assert_eq!(tally.line(), "2 passed, 1 failed, 1 skipped");
        assert!(tally.failures.contains("pin::eleventh_attempt_is_refused"));
    }

    #[test]
    fn skipped_test_is_counted_once_and_not_as_passed() {
        let line = "skipped: store::needs_postgres: no PostgreSQL: install it\n";
        let tally = tally(RUN, &line.repeat(2));
        assert_eq!(tally.line(), "1 passed, 1 failed, 2 skipped");
        assert_eq!(tally.skipped["store::needs_postgres"], "no PostgreSQL: install it");
    }

    #[test]
    fn test_that_fails_after_a_skip_stays_failed() {
        let tally = tally(RUN, "skipped: pin::eleventh_attempt_is_refused: no peer\n");
        assert_eq!(tally.line(), "2 passed, 1 failed, 1 skipped");
    }

    #[test]
    fn run_that_dies_before_a_result_has_failed() {
        let mut tally = Tally::default();
        tally.close(false);
        assert_eq!(tally.line(), "0 passed, 1 failed, 0 skipped");
    }
}
