//! What others let us do with their code, and where it comes from.
//!
//! Every package that any feature on any platform can bring is looked at. That a package says the truth about
//! itself is not checked.

use std::path::Path;

use serde_json::Value;

use super::{Report, spdx};

/// Licences under which we may ship a package in a program under Apache-2.0 OR MIT. Copyleft that reaches our own
/// files is absent on purpose; MPL-2.0 stays within the files that have it.
const ALLOWED: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "MPL-2.0",
    "OpenSSL",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
];

pub(super) fn check(root: &Path, metadata: &Value, report: &mut Report) -> Result<(), String> {
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = format!("{} {}", text(&package["name"]), text(&package["version"]));
        let Some(licence) = package["license"].as_str() else {
            report.finding(format!("{name}: states no licence"));
            continue;
        };
        match spdx::can_be_met(licence, &|licence| ALLOWED.contains(&licence)) {
            Ok(true) => {}
            Ok(false) => report.finding(format!("{name}: licence `{licence}` is not allowed here")),
            Err(why) => report.finding(format!("{name}: licence `{licence}` cannot be read: {why}")),
        }
    }
    let lock =
        std::fs::read_to_string(root.join("Cargo.lock")).map_err(|error| format!("Cargo.lock: {error}"))?;
    for (number, line) in lock.lines().enumerate() {
        if is_foreign_source(line) {
            report.finding(format!("Cargo.lock:{}: not from the package registry: {line}", number + 1));
        }
    }
    for file in ["LICENSE-APACHE", "LICENSE-MIT"] {
        if !root.join(file).is_file() {
            report.finding(format!("{file}: does not exist"));
        }
    }
    Ok(())
}

/// A git commit can vanish or be replaced; a registry's package cannot.
fn is_foreign_source(line: &str) -> bool {
    line.strip_prefix("source = \"").is_some_and(|source| !source.starts_with("registry+"))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_allowed(licence: &str) -> bool {
        spdx::can_be_met(licence, &|licence| ALLOWED.contains(&licence)).unwrap()
    }

    #[test]
    fn licences_of_our_big_dependencies_are_allowed() {
        assert!(is_allowed("ISC AND (Apache-2.0 OR ISC) AND OpenSSL AND (Apache-2.0 OR ISC OR MIT-0)"));
        assert!(is_allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(is_allowed("MIT OR Apache-2.0 OR LGPL-2.1-or-later"));
    }

    #[test]
    fn copyleft_is_refused() {
        for licence in ["GPL-3.0-only", "AGPL-3.0-or-later", "LGPL-2.1-only", "MIT AND GPL-2.0-only"] {
            assert!(!is_allowed(licence), "{licence}");
        }
    }

    #[test]
    fn git_source_is_foreign() {
        assert!(is_foreign_source("source = \"git+https://example.org/x?rev=1#1\""));
        assert!(!is_foreign_source("source = \"registry+https://example.org/index\""));
        assert!(!is_foreign_source("name = \"git\""));
    }
}
