//! A service as this machine reaches it: versions, clock, and evidence that the home would accept.

use super::Check;
use keyferry_client::base64url;
use keyferry_client::evidence::appraise;
use keyferry_client::home::Home;
use keyferry_device::clock::now_ms;
use keyferry_device::http::{Gateway, Status};
use serde_json::Value;
use std::path::Path;

const REACH: &str = "server";
const CLOCK: &str = "clock";
/// A header's time is in whole seconds, and was made some way from here.
const CLOCK_OFF_MS: u64 = 5_000;
/// From here on evidence and certificates may look too old or too new.
const CLOCK_WRONG_MS: u64 = 5 * 60_000;

pub(super) fn checks(server: &str, ca: Option<&Path>, home: Option<&Home>) -> Vec<Check> {
    let gateway = match Gateway::new(server, ca) {
        Ok(gateway) => gateway,
        Err(error) => {
            return vec![Check::bad(REACH, error.to_string(), "give the service's address and --ca")];
        }
    };
    let status = match gateway.status() {
        Ok(status) => status,
        Err(error) => {
            let to_do = "start the service, or check address, network and certificate; then look at its log";
            return vec![Check::bad(REACH, error.to_string(), to_do)];
        }
    };
    let mut checks = vec![reached(server, &status), clock(&status)];
    checks.push(stand_ins(&status.document));
    if let Some(home) = home {
        checks.push(evidence(&gateway, home));
    }
    checks
}

fn text(document: &Value, name: &str) -> String {
    let text = document.get(name).and_then(Value::as_str).unwrap_or("unknown");
    text.chars().filter(|c| !c.is_control()).take(80).collect()
}

fn reached(server: &str, status: &Status) -> Check {
    let (theirs, ours) = (text(&status.document, "version"), env!("CARGO_PKG_VERSION"));
    let found = format!("{} answers at {server}, version {theirs}", text(&status.document, "name"));
    if theirs == ours {
        Check::ok(REACH, found)
    } else {
        let to_do = "have both on one version, unless the change log says that they go together";
        Check::warn(REACH, format!("{found}; this program has version {ours}"), to_do)
    }
}

fn clock(status: &Status) -> Check {
    let Some(theirs) = status.now_ms else {
        return Check::warn(CLOCK, "the service does not tell its time", "compare both clocks by hand");
    };
    let off = theirs.abs_diff(now_ms());
    let to_do = "set both clocks by NTP: evidence, certificates and ledger entries carry times";
    let found = format!("this clock and the service's are {}.{:03} s apart", off / 1000, off % 1000);
    match off {
        0..CLOCK_OFF_MS => Check::ok(CLOCK, "this clock and the service's agree"),
        CLOCK_OFF_MS..CLOCK_WRONG_MS => Check::warn(CLOCK, found, to_do),
        _ => Check::bad(CLOCK, found, to_do),
    }
}

fn stand_ins(document: &Value) -> Check {
    const NAME: &str = "profile";
    let names = document.get("stand_ins").and_then(Value::as_array);
    let names: Vec<_> = names.into_iter().flatten().filter_map(Value::as_str).take(8).collect();
    let found = format!("profile {}", text(document, "profile"));
    if names.is_empty() {
        return Check::ok(NAME, found);
    }
    let stand_ins: String = names.join(", ").chars().filter(|c| !c.is_control()).take(200).collect();
    let to_do = "fine for development: root on the service's host can use every passkey";
    Check::warn(NAME, format!("{found}, with stand-ins: {stand_ins}"), to_do)
}

fn evidence(gateway: &Gateway, home: &Home) -> Check {
    const NAME: &str = "evidence";
    let to_do =
        "say nothing to this service before you know why: compare with another device and ask its operator";
    let appraised = match gateway.evidence() {
        Ok(evidence) => appraise(&evidence, &home.trust, now_ms()).map_err(|reason| reason.to_string()),
        Err(error) => Err(error.to_string()),
    };
    match appraised {
        Ok(verified) => {
            let measurement = base64url::encode(verified.measurement());
            Check::ok(
                NAME,
                format!("{} evidence that this home accepts, measurement {measurement}", verified.kind()),
            )
        }
        Err(reason) => Check::bad(NAME, format!("this home refuses the enclave's evidence: {reason}"), to_do),
    }
}
