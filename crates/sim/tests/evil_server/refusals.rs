//! Refusals that nobody with a say has made: a gateway's plain words in the enclave's name, and a false enclave's.
//! A client that believed them would enrol again, ask for another PIN, or throw its home away.

use crate::lie::{Http, Lie, instead, problem};
use crate::lies;
use crate::stage::{Errand, Stage};
use keyferry_wire::command::Answer;
use keyferry_wire::refusal::{Code, Refusal};

const SAID: &str = "the gateway answered";

fn refused(code: Code) -> Lie {
    instead(Answer::Refused(Refusal::new(code, "so says a false enclave")))
}

lies! {
    a_gateway_that_calls_the_pin_wrong: Join, problem("/v1/requests", 403, "pin_wrong"), fault, SAID;
    a_gateway_that_calls_the_pin_locked: Join, problem("/v1/requests", 403, "pin_locked"), fault, SAID;
    a_gateway_that_calls_a_members_pin_locked: PinStatus, problem("/v1/requests", 403, "pin_locked"), fault, SAID;
    a_gateway_that_knows_no_such_device: PinStatus, problem("/v1/requests", 403, "unknown_device"), fault, SAID;
    a_gateway_that_revokes: Get, problem("/v1/requests", 403, "revoked"), fault, SAID;
    a_gateway_that_calls_the_password_wrong: Join, problem("/v1/requests", 401, "auth"), fault, "does not let this device in";
    a_gateway_that_says_the_account_exists: Enrol, problem("/v1/requests", 409, "exists"), fault,
        "dropped the session";
    a_gateway_that_says_the_account_exists_in_other_words: CreateAccount,
        problem("/v1/requests", 400, "exists"), fault, SAID;
    a_gateway_that_finds_no_passkey: Get, problem("/v1/requests", 404, "no_credentials"), fault, SAID;
    a_gateway_that_calls_the_passkey_excluded: Create, problem("/v1/requests", 400, "excluded"), fault, SAID;
    a_gateway_that_forbids: Create, problem("/v1/requests", 403, "policy"), fault, SAID;
    a_gateway_that_calls_the_request_stale: Get, problem("/v1/requests", 400, "stale"), fault, SAID;
    a_gateway_that_judges_the_evidence_itself: PinStatus, problem("/v1/evidence", 400, "evidence"), fault, SAID;
    a_gateway_that_refuses_a_session_as_revoked: PinStatus, problem("/v1/sessions", 403, "revoked"), fault, SAID;
    a_gateway_that_sends_away: PinStatus, problem("/v1/requests", 400, "moved"), fault, SAID;
    a_gateway_that_shows_no_rows: Sync, problem("/v1/accounts", 401, "auth"), Auth, "the gateway does not let this device in";
    a_gateway_that_shows_no_history: Audit, problem("/v1/accounts", 403, "revoked"), fault, SAID;
    /// Said inside the channel these are the enclave's answers; the home stays as it is all the same.
    a_false_enclave_that_knows_no_such_device: PinStatus, refused(Code::UnknownDevice), UnknownDevice, "so says";
    a_false_enclave_that_revokes: Get, refused(Code::Revoked), Revoked, "so says";
    a_false_enclave_that_calls_the_password_wrong: Join, refused(Code::Auth), Auth, "so says";
    a_false_enclave_that_says_the_account_exists: Enrol, refused(Code::Exists), Exists, "so says";
    a_body_without_end: PinStatus, Lie::Http(Box::new(|asked| {
        asked.path.starts_with("/v1/evidence").then_some(Http::Endless)
    })), fault, "more than a gateway has to say";
    rows_without_end: Sync, Lie::Http(Box::new(|asked| {
        asked.path.contains("/sync").then_some(Http::Endless)
    })), fault, "more than a gateway has to say";
}

/// Forced re-enrolment: a member does not begin anew because it is said to be nobody.
#[test]
fn a_member_that_is_told_it_is_none_keeps_its_keys_and_enrols_nowhere() {
    let stage = Stage::with_member();
    let before = stage.home("laptop").unwrap();
    stage.trial(Errand::PinStatus, refused(Code::UnknownDevice)).is(Some(Code::UnknownDevice), "so says");
    // The user does what the sentence suggests.
    let again = stage.run(Errand::Enrol);
    assert!(again.is_err(), "a member enrols a second time");
    assert_eq!(stage.home("laptop").unwrap().device_id(), before.device_id());
    stage.goes_on(Errand::PinStatus);
}
