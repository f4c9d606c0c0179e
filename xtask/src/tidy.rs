//! The house rules, checked: one line per finding.
//!
//! The rules are in ARCHITECTURE.md; each module below holds one group of them as tables and says what it cannot see.

mod arrows;
mod closures;
mod documents;
mod licences;
mod rust_files;
mod rust_source;
mod sources;
mod spdx;
mod words;

use std::path::Path;

use crate::{Stop, process};

pub(crate) const HELP: &str = "\
cargo xtask tidy: checks the house rules, prints one line per finding, exit status 1 if there is any

  arrows      crates depend only on the crates below them; server and enclave reach nothing they must not
  packages    the enclave's package count stays at xtask/enclave-packages.txt; licences; no git sources
  sources     pure crates name no clock, file, socket, thread, environment or OS randomness; unsafe only in
              modules named platform; nothing ignored or left to do. A line is let through by a comment on it or above:
              // tidy-allow: NAME: why
  documents   labels, error codes, metrics, environment variables and commands stand in their documents
  words       no file names the machine it was written on

Commands are read from the keyferry program as it was last built; it is built only when there is none.
";

/// What a check found.
#[derive(Default)]
pub(crate) struct Report {
    /// Each breaks a rule.
    findings: Vec<String>,
    /// Worth knowing, not wrong.
    notes: Vec<String>,
}

impl Report {
    fn finding(&mut self, text: impl Into<String>) {
        self.findings.push(text.into());
    }

    fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn close(mut self) -> Result<(), String> {
        self.notes.iter().for_each(|note| println!("note: {note}"));
        self.findings.sort();
        self.findings.dedup();
        self.findings.iter().for_each(|finding| println!("tidy: {finding}"));
        match self.findings.len() {
            0 => Ok(()),
            count => Err(format!("tidy: {count} findings")),
        }
    }
}

pub(crate) fn run() -> Result<(), Stop> {
    let root = process::root()?;
    // Both, so that one run shows everything.
    let sources = check_sources(&root);
    let commands = check_commands(&root);
    sources.and(commands)?;
    println!("tidy: no findings");
    Ok(())
}

/// Everything that needs no build.
pub(crate) fn check_sources(root: &Path) -> Result<(), String> {
    let mut report = Report::default();
    let metadata = process::metadata(root, &["--all-features"])?;
    let files = rust_files::of_workspace(root)?;
    arrows::check(&metadata, &mut report);
    sources::check(&files, &mut report);
    documents::check(root, &files, &mut report);
    let others = [
        closures::check(root, &mut report),
        licences::check(root, &metadata, &mut report),
        words::check(root, &mut report),
    ];
    // A check that could not be made must not hide what the others found.
    others.into_iter().filter_map(Result::err).for_each(|why| report.finding(why));
    report.close()
}

/// What only the built program can tell.
pub(crate) fn check_commands(root: &Path) -> Result<(), String> {
    let mut report = Report::default();
    documents::commands(root, &mut report).unwrap_or_else(|why| report.finding(why));
    report.close()
}
