//! Lies in the evidence and in the handshake: before the client says a word to an enclave.

use crate::lie::{evidence, opened, problem, report, statement, vouched};
use crate::stage::{Errand, Stage};
use crate::{is_caught, lies};
use keyferry_client::base64url;
use keyferry_wire::refusal::Code;
use serde_json::{Value, json};

/// A point that is somebody's: the base point of P-256.
const THEIR_X: &str = "axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY";
const THEIR_Y: &str = "T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU";

/// Puts another key in the place of the one of this name.
fn swap(json: &mut Value, kid: &str) {
    let keys = json["keys"].as_array_mut().unwrap();
    let key = keys.iter_mut().find(|key| key["kid"] == kid).unwrap();
    match kid {
        "hpke" => key["x"] = json!(base64url::encode(&[9; 32])),
        _ => *key = json!({"kid": kid, "kty": "EC", "crv": "P-256", "x": THEIR_X, "y": THEIR_Y}),
    }
}

lies! {
    another_channel_key_than_the_attested_one: PinStatus,
        statement(|json| swap(json, "chan")), Evidence, "does not vouch for the keys";
    another_signing_key_than_the_attested_one: PinStatus,
        statement(|json| swap(json, "sig")), Evidence, "does not vouch for the keys";
    another_sealing_key_than_the_attested_one: PinStatus,
        statement(|json| swap(json, "hpke")), Evidence, "does not vouch for the keys";
    another_channel_key_at_an_enrolment: Enrol,
        statement(|json| swap(json, "chan")), Evidence, "does not vouch for the keys";
    another_channel_key_when_an_account_is_made: CreateAccount,
        statement(|json| swap(json, "chan")), Evidence, "does not vouch for the keys";
    /// A reader that took the first and one that took the last would mean different keys.
    two_channel_keys: PinStatus, vouched(|json| {
        let first = json["keys"][0].clone();
        json["keys"].as_array_mut().unwrap().push(first);
    }), Evidence, "key \"chan\"";
    a_channel_key_that_is_no_point: PinStatus,
        vouched(|json| json["keys"][0]["x"] = json!(base64url::encode(&[1; 32]))), Evidence, "key \"chan\"";
    levels_raised_under_the_report: AttestShow,
        statement(|json| json["anchor_level"] = json!(3)), Evidence, "does not vouch for the keys";
    levels_that_do_not_exist: AttestShow,
        vouched(|json| json["custody_level"] = json!(4)), Evidence, "custody_level";
    an_enclave_in_debug_mode: PinStatus, report(|report| report.debug = true), Evidence, "debug mode";
    a_report_over_other_bytes: PinStatus, report(|report| report.report_data[0] ^= 1), Evidence, "does not vouch";
    a_report_with_more_than_the_hash: PinStatus,
        report(|report| report.report_data[40] = 1), Evidence, "does not vouch";
    a_report_that_is_none: PinStatus, evidence(|e| e.report.0.truncate(9)), Evidence, "report is malformed";
    a_kind_that_nobody_verifies: PinStatus,
        evidence(|e| e.kind = "snp".to_owned()), Evidence, "of kind \"snp\", which this program cannot verify";
    another_version_of_evidence: PinStatus, evidence(|e| e.version = 2), Evidence, "version 2";
    another_version_of_the_statement: PinStatus, vouched(|json| json["v"] = json!(2)), Evidence, "another version";
    the_evidence_of_another_deployment: PinStatus,
        vouched(|json| json["aud"] = json!("other.test")), Evidence, "of the deployment \"other.test\"";
    /// Evidence that a broker asked for serves no client.
    the_evidence_for_the_key_broker: PinStatus,
        vouched(|json| json["aud"] = json!("key-broker")), Evidence, "of the deployment \"key-broker\"";
    the_evidence_for_the_key_broker_to_a_home_that_knows_nothing: CreateAccount,
        vouched(|json| json["aud"] = json!("key-broker")), Evidence, "malformed: aud";
    a_nonce_of_another_form: PinStatus, vouched(|json| json["nonce"] = json!("AA")), Evidence, "malformed: nonce";
    yesterdays_evidence: PinStatus, vouched(|json| json["ledger"]["size"] = json!(0)), Stale, "is older than";
    /// Attested key checked, another instance spoken to.
    a_session_of_another_instance: PinStatus,
        opened(|opened| opened.session.0[0] ^= 1), fault, "belongs to another instance";
    the_instance_of_another_boot: PinStatus,
        vouched(|json| json["instance"] = json!(base64url::encode(&[7; 8]))), fault, "dropped the session";
    somebody_who_does_not_hold_the_key: PinStatus,
        opened(|opened| opened.message.0[70] ^= 1), fault, "does not hold the key that the evidence names";
    an_answer_to_the_handshake_with_another_point: PinStatus,
        opened(|opened| opened.message.0[9] ^= 1), fault, "does not hold the key that the evidence names";
    a_session_of_another_version: PinStatus, opened(|opened| opened.version = 2), fault, "version 2";
    /// A downgrade by plain words: there is nothing weaker to fall back to.
    a_gateway_that_says_the_suite_is_not_spoken: PinStatus,
        problem("/v1/sessions", 400, "version"), fault, "a sentence of the gateway's own";
}

#[test]
fn a_measurement_that_the_trust_file_does_not_name() {
    let mut stage = Stage::with_account();
    stage.enrol("helper", "ada");
    let log = stage.home("helper").unwrap().trust.log.unwrap();
    let measurement = base64url::encode(&[5; 32]);
    stage.trust_file(&format!(
        r#"{{"aud":"evil.test","logs":[{{"origin":"{}","key":"{}"}}],"measurements":["{measurement}"]}}"#,
        log.origin, log.key
    ));
    // The lie is the measurement itself; the host only has to pass something on.
    let lie = evidence(|evidence| evidence.init_data.0.push(1));
    stage.trial(Errand::Join, lie).is(Some(Code::Evidence), "measurement is not in this home's trust file");
}

#[test]
fn a_stand_in_that_was_not_named() {
    let mut stage = Stage::with_account();
    stage.without_stand_ins();
    let lie = evidence(|evidence| evidence.init_data.0.push(1));
    let ended = stage.trial(Errand::Join, lie);
    ended.is(Some(Code::Evidence), "this home was not told to trust it by name");
}

#[test]
fn a_trust_file_stops_a_joiner_who_is_led_elsewhere() {
    let mut stage = Stage::with_member();
    stage.trust_file(r#"{"aud":"home.test","logs":[{"origin":"evil.test/0","key":"KEY"}]}"#.replace("KEY", &{
        stage.home("laptop").unwrap().trust.log.unwrap().key
    }).as_str());
    let lie = evidence(|evidence| evidence.init_data.0.push(1));
    let ended = stage.trial(Errand::Join, lie);
    ended.is(
        Some(Code::Evidence),
        "is of the deployment \"evil.test\", but this home belongs to \"home.test\"",
    );
}

#[test]
fn evidence_that_was_altered_costs_no_try_of_the_pin() {
    is_caught(Errand::Join, statement(|json| swap(json, "chan")), Some(Code::Evidence), "does not vouch");
}
