//! Which of our crates may name which: arrows point down only.
//!
//! The rule for dev-dependencies: a test may use the arrows of its crate and, besides, `keyferry-sim`, the seeded
//! world that holds every role; nothing else. So a test of `server` meets an engine only through `sim`, and no crate
//! gets a way around its arrows by calling it a test.

use serde_json::Value;

use super::Report;

enum Below {
    Only(&'static [&'static str]),
    /// The test crates stand above all others.
    Anything,
}

use Below::{Anything, Only};

/// The house: DESIGN section 3. A new crate is a new row.
const ARROWS: &[(&str, Below)] = &[
    ("wire", Only(&[])),
    ("crypto", Only(&["wire"])),
    ("tlog", Only(&["wire"])),
    ("attest", Only(&["crypto", "wire"])),
    ("engine", Only(&["attest", "tlog", "crypto", "wire"])),
    ("client", Only(&["attest", "tlog", "crypto", "wire"])),
    ("enclave", Only(&["engine", "crypto", "wire"])),
    ("broker", Only(&["attest", "crypto", "wire"])),
    ("server", Only(&["tlog", "wire"])),
    ("device", Only(&["client", "crypto", "wire"])),
    (
        "cli",
        Only(&[
            "attest", "broker", "client", "crypto", "device", "enclave", "engine", "server", "tlog", "wire",
        ]),
    ),
    ("sim", Anything),
    ("bench", Anything),
];

const PREFIX: &str = "keyferry-";

/// Checks every own crate in the output of `cargo metadata`.
pub(super) fn check(metadata: &Value, report: &mut Report) {
    let members = metadata["workspace_members"].as_array().into_iter().flatten();
    let members: Vec<&Value> = members.collect();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        if !members.contains(&&package["id"]) {
            continue;
        }
        let name = package["name"].as_str().unwrap_or_default();
        let own = package["dependencies"].as_array().into_iter().flatten();
        for dependency in own {
            let Some(to) = dependency["name"].as_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            let is_dev = dependency["kind"] == "dev";
            if !allows(name, to, is_dev) {
                let kind = if is_dev { "dev-dependency" } else { "dependency" };
                report.finding(format!("{name}: {kind} on {PREFIX}{to}, which is not below it"));
            }
        }
        if name != "xtask" && below(name).is_none() {
            report.finding(format!(
                "{name}: no such crate in the house: give it a row in xtask/src/tidy/arrows.rs"
            ));
        }
    }
}

fn allows(from: &str, to: &str, is_dev: bool) -> bool {
    if is_dev && to == "sim" {
        return true;
    }
    match below(from) {
        Some(Only(crates)) => crates.contains(&to),
        Some(Anything) => true,
        None => false,
    }
}

fn below(package: &str) -> Option<&'static Below> {
    let name = package.strip_prefix(PREFIX)?;
    ARROWS.iter().find(|(crate_name, _)| *crate_name == name).map(|(_, below)| below)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn findings(name: &str, dependency: &str, kind: Value) -> Vec<String> {
        let metadata = json!({
            "workspace_members": ["own"],
            "packages": [
                {"id": "own", "name": name, "dependencies": [
                    {"name": dependency, "kind": kind}, {"name": "serde", "kind": null}]},
                {"id": "theirs", "name": "serde", "dependencies": [{"name": "keyferry-wire", "kind": null}]}
            ]
        });
        let mut report = Report::default();
        check(&metadata, &mut report);
        report.findings
    }

    #[test]
    fn arrow_down_is_allowed() {
        assert_eq!(findings("keyferry-engine", "keyferry-wire", Value::Null), [""; 0]);
        assert_eq!(findings("keyferry-bench", "keyferry-sim", Value::Null), [""; 0]);
    }

    #[test]
    fn server_that_names_the_engine_is_found() {
        let found = findings("keyferry-server", "keyferry-engine", Value::Null);
        assert_eq!(found, ["keyferry-server: dependency on keyferry-engine, which is not below it"]);
    }

    #[test]
    fn dev_dependency_is_an_arrow_too_except_on_sim() {
        assert_eq!(findings("keyferry-server", "keyferry-engine", json!("dev")).len(), 1);
        assert_eq!(findings("keyferry-server", "keyferry-sim", json!("dev")).len(), 0);
        assert_eq!(findings("keyferry-cli", "keyferry-sim", Value::Null).len(), 1);
    }

    #[test]
    fn crate_without_a_row_is_found() {
        assert_eq!(findings("keyferry-common", "serde", Value::Null).len(), 1);
    }

    #[test]
    fn no_row_of_the_house_points_in_a_circle() {
        fn depth(name: &str, above: &mut Vec<String>) {
            assert!(!above.contains(&name.to_owned()), "circle: {above:?} -> {name}");
            above.push(name.to_owned());
            if let Some(Only(crates)) = below(&format!("{PREFIX}{name}")) {
                crates.iter().for_each(|to| depth(to, above));
            }
            above.pop();
        }
        ARROWS.iter().for_each(|(name, _)| depth(name, &mut Vec::new()));
    }
}
