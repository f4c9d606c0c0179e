//! Names that others depend on stand in the documents: what the code says and no document explains is a finding.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use super::Report;
use super::rust_files::{self, RustFile};
use super::rust_source::{behind_bracket, places};
use crate::process;

const PROTOCOL: &str = "docs/PROTOCOL.md";
const OPERATIONS: &str = "docs/OPERATIONS.md";
const README: &str = "README.md";
const LABEL: &str = "keyferry/v1/";
const REFUSAL: &str = "crates/wire/src/refusal.rs";

/// Labels and error codes in PROTOCOL; metrics and environment variables in OPERATIONS.
pub(super) fn check(root: &Path, files: &[RustFile], report: &mut Report) {
    let protocol = document(root, PROTOCOL, report);
    let operations = document(root, OPERATIONS, report);
    require("label", &labels(files), PROTOCOL, protocol.as_deref(), names, report);
    require("error code", &error_codes(files, report), PROTOCOL, protocol.as_deref(), quotes, report);
    require("metric", &metrics(files), OPERATIONS, operations.as_deref(), names, report);
    require("environment variable", &variables(files), OPERATIONS, operations.as_deref(), names, report);
}

/// Commands and flags of the built `keyferry`, in README or OPERATIONS.
pub(super) fn commands(root: &Path, report: &mut Report) -> Result<(), String> {
    let program =
        process::target_directory(root)?.join(format!("debug/keyferry{}", std::env::consts::EXE_SUFFIX));
    if !program.is_file() {
        let build = ["build", "--quiet", "--workspace", "--bins"];
        process::output(process::cargo(root).args(build))
            .map_err(|_| "the keyferry program does not build")?;
    } else if is_older_than_sources(root, &program)? {
        report.note("the keyferry program is older than its sources: commands are checked as they were");
    }
    let tree = process::output(Command::new(&program).args(["help", "--tree"]))?;
    if tree.trim().is_empty() {
        report.finding("`keyferry help --tree` prints nothing: it must list each command and flag");
    }
    let texts: Vec<String> =
        [README, OPERATIONS].iter().filter_map(|path| document(root, path, report)).collect();
    let text = texts.concat();
    for missing in undocumented(&tree, &text) {
        report.finding(format!("{README}, {OPERATIONS}: neither names `keyferry {missing}`"));
    }
    Ok(())
}

/// Lines like `passkey create` or `passkey create --origin`: a command must stand there whole, of a flag its name.
fn undocumented<'a>(tree: &'a str, text: &str) -> Vec<&'a str> {
    let wanted = |line: &&'a str| {
        let last = line.split_whitespace().next_back().unwrap_or_default();
        let name = if last.starts_with('-') { last } else { line };
        !names(text, name)
    };
    tree.lines().map(str::trim).filter(|line| !line.is_empty()).filter(wanted).collect()
}

fn document(root: &Path, path: &str, report: &mut Report) -> Option<String> {
    let text = fs::read_to_string(root.join(path)).ok();
    if text.is_none() {
        report.finding(format!("{path}: does not exist yet"));
    }
    text
}

/// Name -> where the code first has it.
type Names = BTreeMap<String, String>;

fn require(
    what: &str,
    wanted: &Names,
    path: &str,
    text: Option<&str>,
    stands: fn(&str, &str) -> bool,
    report: &mut Report,
) {
    // That the document is missing was said once.
    let Some(text) = text else { return };
    for (name, place) in wanted.iter().filter(|(name, _)| !stands(text, name)) {
        report.finding(format!("{path}: {what} `{name}` is missing; the code has it at {place}"));
    }
}

/// Literals that begin with the prefix, and the rows `Name = "word"` of a table `labels! { .. }`, which adds it.
fn labels(files: &[RustFile]) -> Names {
    let whole = |literal: &str| literal.len() > LABEL.len() && literal.starts_with(LABEL);
    let mut labels = collect(
        files,
        |file| file.krate != "xtask",
        |literal| whole(literal).then(|| literal.to_owned()).into_iter().collect(),
    );
    for file in files.iter().filter(|file| !file.is_test && file.krate != "xtask") {
        let rows = literals_behind(file, "labels! {");
        labels.extend(rows.into_iter().map(|(word, place)| (format!("{LABEL}{word}"), place)));
    }
    labels
}

fn metrics(files: &[RustFile]) -> Names {
    let crates: BTreeSet<String> = files.iter().map(|file| format!("keyferry_{}", file.krate)).collect();
    let is_name = |c: char| c == '_' || c.is_ascii_lowercase() || c.is_ascii_digit();
    let mut metrics =
        collect(files, |file| file.krate == "server", |literal| tokens(literal, "keyferry_", is_name));
    // A crate in a log filter is no metric.
    metrics.retain(|name, _| !crates.contains(name));
    metrics
}

fn variables(files: &[RustFile]) -> Names {
    let is_name = |c: char| c == '_' || c.is_ascii_uppercase() || c.is_ascii_digit();
    collect(files, |_| true, |literal| tokens(literal, "KEYFERRY_", is_name))
}

/// The literals that `fn as_str` in the refusal module returns, or the rows of the table `codes! { .. }` behind it.
fn error_codes(files: &[RustFile], report: &mut Report) -> Names {
    let Some(file) = files.iter().find(|file| file.path == REFUSAL) else {
        report.finding(format!("{REFUSAL}: does not exist yet; error codes are read from it"));
        return Names::new();
    };
    let mut codes = literals_behind(file, "fn as_str");
    codes.extend(literals_behind(file, "codes! {"));
    if codes.is_empty() {
        report.finding(format!(
            "{REFUSAL}: no `fn as_str` that returns error codes, nor a table `codes!` of them"
        ));
    }
    codes
}

/// The string literals in each block that begins at or behind `mark`.
fn literals_behind(file: &RustFile, mark: &str) -> Names {
    let shipped = &file.source.shipped;
    let blocks: Vec<_> = places(shipped, mark)
        .into_iter()
        .filter_map(|at| shipped[at..].find('{').map(|open| at + open))
        .map(|open| open..behind_bracket(shipped, open))
        .collect();
    let inside = |at: &usize| blocks.iter().any(|block| block.contains(at));
    let literals = file.source.shipped_literals().filter(|literal| inside(&literal.at));
    literals.map(|it| (it.text.clone(), format!("{}:{}", file.path, file.source.line(it.at)))).collect()
}

fn collect(
    files: &[RustFile],
    wanted: impl Fn(&RustFile) -> bool,
    found: impl Fn(&str) -> Vec<String>,
) -> Names {
    let mut names = Names::new();
    for file in files.iter().filter(|file| !file.is_test && wanted(file)) {
        for literal in file.source.shipped_literals() {
            for name in found(&literal.text) {
                let place = || format!("{}:{}", file.path, file.source.line(literal.at));
                names.entry(name).or_insert_with(place);
            }
        }
    }
    names
}

/// Each name in a text that begins with `prefix` and goes on.
fn tokens(text: &str, prefix: &str, is_name: impl Fn(char) -> bool) -> Vec<String> {
    let starts = text.match_indices(prefix).filter(|(at, _)| !text[..*at].ends_with(&is_name));
    let name = |at: usize| text[at..].split(|c| !is_name(c)).next().unwrap_or_default().to_owned();
    starts.map(|(at, _)| name(at)).filter(|name| name.len() > prefix.len()).collect()
}

/// Whether a text has a name whole: `--home` does not stand in `--home-dir`, nor `k/a` in `k/a/b`.
fn names(text: &str, name: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '/');
    text.match_indices(name)
        .any(|(at, _)| !text[..at].ends_with(is_part) && !text[at + name.len()..].starts_with(is_part))
}

/// Error codes are ordinary words, so they must stand in quotes: as code or as a JSON string.
fn quotes(text: &str, code: &str) -> bool {
    text.contains(&format!("`{code}`")) || text.contains(&format!("\"{code}\""))
}

fn is_older_than_sources(root: &Path, program: &Path) -> Result<bool, String> {
    let changed =
        |path: &Path| fs::metadata(path).and_then(|data| data.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
    let built = changed(program);
    let files = rust_files::of_workspace(root)?;
    Ok(files.iter().filter(|file| file.krate != "xtask").any(|file| changed(&root.join(&file.path)) > built))
}

#[cfg(test)]
mod tests {
    use super::super::rust_source::Source;
    use super::*;

    fn file(krate: &str, path: &str, text: &str) -> RustFile {
        RustFile { path: path.to_owned(), krate: krate.to_owned(), is_test: false, source: Source::new(text) }
    }

    fn keys(names: &Names) -> Vec<&str> {
        names.keys().map(String::as_str).collect()
    }

    #[test]
    fn label_is_read_from_strings_and_byte_strings() {
        let text = r#"const A: &[u8] = b"keyferry/v1/seal"; const B: &str = "keyferry/v1/pin"; // "keyferry/v1/old""#;
        let files = [file("crypto", "crates/crypto/src/label.rs", text)];
        assert_eq!(keys(&labels(&files)), ["keyferry/v1/pin", "keyferry/v1/seal"]);
    }

    #[test]
    fn code_is_read_from_as_str_alone() {
        let text = r#"
            impl Code { pub fn as_str(self) -> &'static str { match self { A => "pin_wrong", B => "auth" } } }
            fn other() -> &'static str { "no code" }"#;
        let mut report = Report::default();
        assert_eq!(keys(&error_codes(&[file("wire", REFUSAL, text)], &mut report)), ["auth", "pin_wrong"]);
        assert_eq!(report.findings, [""; 0]);
        assert_eq!(keys(&error_codes(&[], &mut report)), [""; 0]);
        assert_eq!(report.findings.len(), 1);
    }

    #[test]
    fn rows_of_tables_are_labels_and_codes() {
        let text = r#"
            macro_rules! labels { ($($name:ident = $word:literal),+) => { concat!("keyferry/v1/", $word) } }
            labels! {
                /// The "seal".
                Seal = "seal",
            }
            const NO_LABEL: &str = "word";"#;
        assert_eq!(
            keys(&labels(&[file("crypto", "crates/crypto/src/label.rs", text)])),
            ["keyferry/v1/seal"]
        );
        let text = r#"codes! { PinWrong = "pin_wrong" } impl Code { fn as_str(self) { $text } }"#;
        let mut report = Report::default();
        assert_eq!(keys(&error_codes(&[file("wire", REFUSAL, text)], &mut report)), ["pin_wrong"]);
    }

    #[test]
    fn metric_is_read_out_of_a_longer_string_and_is_no_crate() {
        let text = r#"f("keyferry_requests_total{{}} {n}"); g("keyferry_server=info")"#;
        let files =
            [file("server", "crates/server/src/a.rs", text), file("sim", "crates/sim/src/a.rs", text)];
        assert_eq!(keys(&metrics(&files)), ["keyferry_requests_total"]);
    }

    #[test]
    fn variable_is_read_out_of_a_longer_string() {
        let files = [file("cli", "crates/cli/src/a.rs", r#"f("set KEYFERRY_HOME, or KEYFERRY_")"#)];
        assert_eq!(keys(&variables(&files)), ["KEYFERRY_HOME"]);
    }

    #[test]
    fn longer_name_does_not_document_a_shorter_one() {
        assert!(!names("use --home-dir", "--home"));
        assert!(names("use [--home DIR]", "--home"));
        assert!(!names("keyferry/v1/a/b", "keyferry/v1/a"));
    }

    #[test]
    fn ordinary_word_does_not_document_an_error_code() {
        assert!(!quotes("the policy says", "policy"));
        assert!(quotes("refused with `policy`", "policy"));
    }

    #[test]
    fn command_must_stand_whole_and_a_flag_by_name() {
        let tree = "passkey create\npasskey create --origin\npasskey list\nsync\nsync --full\n";
        let text = "`keyferry passkey create --origin ORIGIN` and keyferry sync";
        assert_eq!(undocumented(tree, text), ["passkey list", "sync --full"]);
    }

    #[test]
    fn missing_name_is_found_with_its_place() {
        let wanted = Names::from([("keyferry/v1/a".to_owned(), "x.rs:1".to_owned())]);
        let mut report = Report::default();
        require("label", &wanted, PROTOCOL, Some("nothing"), names, &mut report);
        assert_eq!(
            report.findings,
            ["docs/PROTOCOL.md: label `keyferry/v1/a` is missing; the code has it at x.rs:1"]
        );
    }
}
