//! What our own code may name.

use super::Report;
use super::rust_files::RustFile;
use super::rust_source::{Source, behind_bracket, places};

/// They decide and do nothing: time and randomness are their arguments.
const PURE: &[&str] = &["attest", "client", "crypto", "engine", "tlog", "wire"];
/// A clock, a file, a socket, a thread, the environment or the randomness of the system. (An IP address as mere data
/// is in `core::net`.)
const IMPURE: &[&str] = &[
    "Instant::now",
    "OsRng",
    "SystemRandom",
    "SystemTime",
    "async fn",
    "getrandom",
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "thread_rng",
];
/// The agent will be built for Windows and macOS, so these stand in modules named platform.
const UNIX: &[&str] = &["std::os::fd", "std::os::linux", "std::os::unix"];
/// In code; a comment may speak of them.
const UNFINISHED_CODE: &[&str] = &["#[ignore", "todo!"];
/// Anywhere. In pieces, since this file is looked at too.
const UNFINISHED_TEXT: &[&str] = &[concat!("FIX", "ME"), concat!("XX", "X")];
/// Longer files are named, not refused.
const LINES_USUAL_MAX: usize = 600;

pub(super) fn check(files: &[RustFile], report: &mut Report) {
    for file in files {
        let shipped = if file.is_test { "" } else { &file.source.shipped };
        if PURE.contains(&file.krate.as_str()) {
            refuse(file, shipped, IMPURE, "in a pure crate", report);
        }
        if !is_platform(&file.path) {
            refuse(file, &file.source.code, &["unsafe"], "outside a module named platform", report);
            refuse(file, shipped, UNIX, "outside a module named platform", report);
        }
        refuse(file, &file.source.code, UNFINISHED_CODE, "is work left to do", report);
        refuse(file, &file.source.text, UNFINISHED_TEXT, "is work left to do", report);
        let lines = file.source.text.lines().count();
        if lines > LINES_USUAL_MAX {
            report
                .note(format!("{}: {lines} lines; more than {LINES_USUAL_MAX} are hard to read", file.path));
        }
    }
}

fn refuse(file: &RustFile, code: &str, words: &[&str], why: &str, report: &mut Report) {
    for word in words {
        for at in mentions(code, word) {
            let line = file.source.line(at);
            if is_allowed(&file.source, line, word) {
                report.note(format!("{}:{line}: {word} {why}, by tidy-allow", file.path));
            } else {
                report.finding(format!("{}:{line}: {word} {why}", file.path));
            }
        }
    }
}

/// Where a name stands, also as part of `use std::{...}`.
fn mentions(code: &str, word: &str) -> Vec<usize> {
    let mut found = places(code, word);
    if let Some((parent, name)) = word.rsplit_once("::") {
        for at in places(code, &format!("{parent}::{{")) {
            let open = at + parent.len() + 2;
            let end = behind_bracket(code, open);
            let inside = &code[open + 1..end.saturating_sub(1).max(open + 1)];
            if group_heads(inside).any(|head| head == name) {
                found.push(at);
            }
        }
    }
    found
}

/// `a, b::{c, d}, e as f` -> a, b, e.
fn group_heads(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let parts = group.split(move |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    });
    parts.map(|part| part.trim().split(|c: char| c != '_' && !c.is_alphanumeric()).next().unwrap_or_default())
}

/// `// tidy-allow: NAME: why` on the line or the one above; without a reason it does not count.
fn is_allowed(source: &Source, line: usize, word: &str) -> bool {
    let mark = format!("// tidy-allow: {word}: ");
    let near = source.text.lines().skip(line.saturating_sub(2)).take(if line == 1 { 1 } else { 2 });
    near.into_iter().any(|text| text.split_once(&mark).is_some_and(|(_, why)| !why.trim().is_empty()))
}

fn is_platform(path: &str) -> bool {
    path.split('/').any(|part| part == "platform" || part == "platform.rs")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(krate: &str, path: &str, text: &str) -> Vec<String> {
        let file = RustFile {
            path: path.to_owned(),
            krate: krate.to_owned(),
            is_test: path.contains("/tests/"),
            source: Source::new(text),
        };
        let mut report = Report::default();
        check(&[file], &mut report);
        report.findings
    }

    fn in_engine(text: &str) -> usize {
        findings("engine", "crates/engine/src/lib.rs", text).len()
    }

    #[test]
    fn clock_in_a_pure_crate_is_found_with_its_line() {
        let found =
            findings("engine", "crates/engine/src/pin.rs", "\nfn f() { std::time::SystemTime::now(); }");
        assert_eq!(found, ["crates/engine/src/pin.rs:2: SystemTime in a pure crate"]);
        assert_eq!(findings("server", "crates/server/src/lib.rs", "use std::fs;"), [""; 0]);
    }

    #[test]
    fn name_inside_a_use_group_is_found() {
        assert_eq!(in_engine("use std::{collections::{BTreeMap, BTreeSet}, fs as f};"), 1);
        assert_eq!(in_engine("use std::{fmt, io::{self, fs}};"), 0);
        assert_eq!(in_engine("use std::{\n    env,\n    net::TcpStream,\n};"), 2);
    }

    #[test]
    fn comments_strings_and_tests_may_name_a_clock() {
        assert_eq!(in_engine("// SystemTime\nconst A: &str = \"std::fs\";"), 0);
        assert_eq!(in_engine("#[cfg(test)]\nmod tests { use std::fs; }"), 0);
        assert_eq!(findings("engine", "crates/engine/tests/pin.rs", "use std::fs;"), [""; 0]);
    }

    #[test]
    fn exception_needs_a_reason() {
        let call = "let r = SystemRandom::new();";
        assert_eq!(in_engine(&format!("// tidy-allow: SystemRandom: the library's own nonces\n{call}")), 0);
        assert_eq!(in_engine(&format!("{call} // tidy-allow: SystemRandom: nonces")), 0);
        assert_eq!(in_engine(&format!("// tidy-allow: SystemRandom: \n{call}")), 1);
        assert_eq!(in_engine(&format!("// tidy-allow: OsRng: nonces\n{call}")), 1);
    }

    #[test]
    fn unsafe_stands_only_in_platform_modules() {
        let text = "fn f() { unsafe { g() } }";
        assert_eq!(findings("device", "crates/device/src/keys.rs", text).len(), 1);
        assert_eq!(findings("device", "crates/device/src/platform.rs", text).len(), 0);
        assert_eq!(findings("device", "crates/device/src/platform/unix.rs", text).len(), 0);
    }

    #[test]
    fn unfinished_work_is_found_in_tests_and_comments_too() {
        assert_eq!(
            findings("sim", "crates/sim/tests/a.rs", "#[test]\n#[ignore = \"slow\"]\nfn a() {}").len(),
            1
        );
        assert_eq!(in_engine(&format!("// {}: later", UNFINISHED_TEXT[0])), 1);
        assert_eq!(in_engine("fn f() { todo!() }"), 1);
    }
}
