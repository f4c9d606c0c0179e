//! What `server` and `enclave` reach through others, and how many packages stand inside the enclave.
//!
//! The question is put to `cargo tree`, for one crate and for Linux: it resolves the features that a build of that
//! crate alone gets, whereas `cargo metadata` mixes in those that other crates of the workspace ask for.

use std::collections::BTreeSet;
use std::path::Path;

use super::Report;
use crate::process;

/// Untrusted code cannot even name a user's secret.
const SERVER_NEVER: &[&str] = &["keyferry-crypto", "keyferry-engine", "keyferry-client"];
/// No HTTP framework, no database client, no TLS.
const ENCLAVE_NEVER: &[&str] =
    &["axum", "hyper", "tokio", "rusqlite", "tokio-postgres", "ureq", "reqwest", "rustls"];

const COUNT_FILE: &str = "xtask/enclave-packages.txt";

pub(super) fn check(root: &Path, report: &mut Report) -> Result<(), String> {
    let server = closure(root, "keyferry-server")?;
    refuse("keyferry-server", &names(&server), SERVER_NEVER, report);
    let enclave = closure(root, "keyferry-enclave")?;
    refuse("keyferry-enclave", &names(&enclave), ENCLAVE_NEVER, report);
    // Itself is not a package that it reaches.
    let count = enclave.len() - 1;
    match recorded(&std::fs::read_to_string(root.join(COUNT_FILE)).unwrap_or_default()) {
        None => report.finding(format!("{COUNT_FILE}: no number in it; the enclave has {count} packages")),
        Some(allowed) if count > allowed => report.finding(format!(
            "keyferry-enclave: {count} packages, {COUNT_FILE} records {allowed}: \
             see cargo tree -p keyferry-enclave -e normal"
        )),
        Some(allowed) => report.note(format!("the enclave has {count} packages, {allowed} are recorded")),
    }
    Ok(())
}

/// `name vVERSION` of everything in the build of a package, itself included.
fn closure(root: &Path, package: &str) -> Result<BTreeSet<String>, String> {
    let mut tree = process::cargo(root);
    tree.args(["tree", "--edges", "normal", "--prefix", "none", "--format", "{p}"]);
    tree.args(["--target", "x86_64-unknown-linux-gnu", "--package", package]);
    Ok(packages(&process::output(&mut tree)?))
}

fn packages(tree: &str) -> BTreeSet<String> {
    let first_two = |line: &str| line.split(' ').take(2).collect::<Vec<_>>().join(" ");
    tree.lines().filter(|line| !line.is_empty()).map(first_two).collect()
}

fn names(packages: &BTreeSet<String>) -> BTreeSet<&str> {
    packages.iter().filter_map(|package| package.split(' ').next()).collect()
}

fn refuse(package: &str, reached: &BTreeSet<&str>, never: &[&str], report: &mut Report) {
    for name in never.iter().filter(|name| reached.contains(*name)) {
        report.finding(format!("{package}: reaches {name}: see cargo tree -p {package} -e normal -i {name}"));
    }
}

/// The first line that is a number.
fn recorded(file: &str) -> Option<usize> {
    file.lines().find_map(|line| line.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
keyferry-enclave v0.1.0 (a folder)
keyferry-wire v0.1.0 (a folder)
tokio v1.2.3

keyferry-wire v0.1.0 (a folder) (*)
syn v1.0.0 (proc-macro)
syn v2.0.0 (proc-macro)
";

    #[test]
    fn package_is_counted_once_per_version() {
        assert_eq!(packages(TREE).len(), 5);
    }

    #[test]
    fn forbidden_package_is_found_by_its_whole_name() {
        let packages = packages(TREE);
        let mut report = Report::default();
        refuse("keyferry-enclave", &names(&packages), &["tokio", "tok"], &mut report);
        assert_eq!(report.findings.len(), 1);
    }

    #[test]
    fn number_is_read_behind_its_comment() {
        assert_eq!(recorded("# why: 7\n# more\n42\n"), Some(42));
        assert_eq!(recorded(""), None);
    }
}
