//! `keyferry doctor`: looks at everything that an installation stands on, and says what to do about what is wrong.
//!
//! It only reads, works beside a running service, and never shows what is in a secret file. Each check has a name that
//! scripts may rely on.

mod data;
mod home;
mod machine;
mod service;
mod tls;

use crate::args::Doctor;
use crate::output::{Document, Failure};
use crate::table::columns;
use serde::Serialize;
use serde_json::json;
use std::path::Path;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    /// It works, and somebody should know this.
    Warn,
    /// It does not work, or does not protect what it should.
    Bad,
}

/// One finding.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    state: State,
    found: String,
    #[serde(rename = "do")]
    to_do: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Check {
        Check { name, state: State::Ok, found: found.into(), to_do: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, to_do: impl Into<String>) -> Check {
        Check { name, state: State::Warn, found: found.into(), to_do: Some(to_do.into()) }
    }

    fn bad(name: &'static str, found: impl Into<String>, to_do: impl Into<String>) -> Check {
        Check { name, state: State::Bad, found: found.into(), to_do: Some(to_do.into()) }
    }
}

pub(crate) fn run(arguments: &Doctor, json: bool) -> Result<(), Failure> {
    let checks = examine(arguments);
    let bad = checks.iter().filter(|check| check.state == State::Bad).count();
    let warnings = checks.iter().filter(|check| check.state == State::Warn).count();
    let text = format!(
        "{}\n{} checks: {bad} bad, {warnings} to know about",
        columns(&checks.iter().flat_map(lines).collect::<Vec<_>>()),
        checks.len()
    );
    Document { json: json!({"ok": bad == 0, "checks": checks}), text }.print(json)?;
    match bad {
        0 => Ok(()),
        1 => Err(Failure::Unfit("one check is bad; what to do stands beside it".to_owned())),
        _ => Err(Failure::Unfit(format!("{bad} checks are bad; what to do stands beside each"))),
    }
}

fn examine(arguments: &Doctor) -> Vec<Check> {
    let mut checks = machine::checks();
    if let Some(data) = &arguments.data {
        checks.extend(data::checks(data));
    }
    let tls = arguments.tls_cert.as_deref().zip(arguments.tls_key.as_deref());
    if let Some((certificates, key)) = tls {
        checks.extend(tls::checks(certificates, key, arguments.server.as_deref()));
    }
    let mut opened = None;
    if let Some(folder) = &arguments.home {
        let (found, home) = home::checks(folder);
        checks.extend(found);
        opened = home;
    }
    let server = arguments.server.clone().or_else(|| opened.as_ref().map(|home| home.server.clone()));
    if let Some(server) = server {
        checks.extend(service::checks(&server, arguments.ca.ca.as_deref(), opened.as_ref()));
    }
    checks
}

fn lines(check: &Check) -> Vec<Vec<String>> {
    let state = match check.state {
        State::Ok => "ok",
        State::Warn => "warn",
        State::Bad => "BAD",
    };
    let mut lines = vec![vec![state.to_owned(), check.name.to_owned(), check.found.clone()]];
    if let Some(to_do) = &check.to_do {
        lines.push(vec![String::new(), String::new(), format!("-> {to_do}")]);
    }
    lines
}

/// Whether nobody but its owner can use a file or folder that holds secrets.
fn private(name: &'static str, path: &Path, what: &str) -> Check {
    match crate::platform::mode(path) {
        Ok(mode) if mode & 0o077 == 0 => Check::ok(name, format!("{what} is for its owner alone")),
        Ok(mode) => Check::bad(
            name,
            format!("{what} ({}) has mode {mode:03o}: others can use it", path.display()),
            format!("chmod go= {}", path.display()),
        ),
        Err(error) => Check::bad(
            name,
            format!("{what} ({}) cannot be looked at: {error}", path.display()),
            "name the right folder, or run as the user who owns it",
        ),
    }
}
