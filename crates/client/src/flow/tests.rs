//! Flows against an enclave that plays its part by hand, honestly or not.

use super::*;
use crate::home::PinKnown;
use crate::testing::{ACCOUNT, Ledger, Seeded, device_info, home, member};
use crate::webauthn::{ClientDataForm, CreateRequest, GetRequest};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::hpke;
use keyferry_crypto::label::Label;
use keyferry_crypto::oprf::OprfKey;
use keyferry_crypto::sign::SigningKey;
use keyferry_wire::DeviceId;
use keyferry_wire::command::{
    Asserted, Created, Edited, Evaluated, Member, MemberSecrets, PinParams, PinStatus as Status, PrfOutputs,
    Registration,
};

const PIN: &str = "7391vq";
const OTHER_PIN: &str = "8264mz";
const COSTS: Costs = Costs::insecure_fast_for_tests();

/// The enclave's side, with everything that was said to it.
struct Enclave {
    key: OprfKey,
    /// The key of a false enclave, which evaluates but did not see the PIN being set.
    evaluates_with: Option<OprfKey>,
    status: Status,
    client_key: Option<[u8; 32]>,
    commitment: [u8; 32],
    members: Vec<DeviceId>,
    extra_member: bool,
    seals_to: Option<[u8; 32]>,
    spoil_proof: bool,
    /// Calls that are lost before an answer comes.
    fail_at: Option<usize>,
    calls: Vec<Call>,
    random: Seeded,
}

impl Enclave {
    fn new() -> Enclave {
        let mut random = Seeded::new(100);
        Enclave {
            key: OprfKey::generate(&mut random),
            evaluates_with: None,
            status: Status {
                generation: 0,
                salt: [0; 16],
                params: PinParams { memory_kib: 0, passes: 0, lanes: 0 },
                left: 10,
                locked: false,
            },
            client_key: None,
            commitment: [0; 32],
            members: Vec::new(),
            extra_member: false,
            seals_to: None,
            spoil_proof: false,
            fail_at: None,
            calls: Vec::new(),
            random,
        }
    }

    fn carry(&mut self, call: &Call) -> Result<Vec<Answer>, FlowError> {
        self.calls.push(call.clone());
        if self.fail_at == Some(self.calls.len()) {
            return Err(FlowError::fault("the line is cut"));
        }
        let mut answers = Vec::new();
        for command in &call.commands {
            let answer = self.answer(command);
            let stops = matches!(answer, Answer::Refused(_));
            answers.push(answer);
            if stops {
                break;
            }
        }
        Ok(answers)
    }

    fn answer(&mut self, command: &Command) -> Answer {
        match command {
            Command::Authenticate(_) | Command::CreateAccount(_) => Answer::Account(self.account()),
            Command::Enrol(registration) | Command::Join(registration) => self.admit(registration),
            Command::PinStatus => Answer::PinStatus(self.status.clone()),
            Command::Prepare(prepare) => {
                self.status.salt = prepare.salt;
                self.status.params = prepare.params;
                Answer::Prepared(self.evaluate(self.status.generation + 1, &prepare.blinded))
            }
            Command::Expose(expose) => {
                self.status.generation = expose.generation;
                (self.client_key, self.commitment) = (Some(expose.client_key), expose.commitment);
                Answer::Exposed
            }
            Command::Begin(begin) => Answer::Evaluated(self.evaluate(begin.generation, &begin.blinded)),
            Command::Finish(finish) if Some(finish.value) == self.client_key => Answer::PinRight,
            Command::Finish(_) => {
                Answer::Refused(Refusal::new(Code::PinWrong, "the PIN is wrong").with_left(9))
            }
            other => panic!("{other:?}"),
        }
    }

    fn account(&self) -> keyferry_wire::command::Account {
        Ledger::new().account(u16::try_from(self.members.len()).unwrap())
    }

    fn evaluate(&mut self, generation: u32, blinded: &[u8; 32]) -> Evaluated {
        let key = self.evaluates_with.as_ref().unwrap_or(&self.key);
        let mut evaluation = key.evaluate(blinded, &mut self.random).unwrap();
        if self.spoil_proof {
            evaluation.proof[5] ^= 1;
        }
        let (element, proof, public) = (evaluation.element, evaluation.proof, key.public());
        Evaluated { generation, element, proof, public, commitment: self.commitment, left: 9 }
    }

    fn admit(&mut self, registration: &Registration) -> Answer {
        let hash = keyferry_crypto::hash::labelled_hash(Label::DeviceId, &[&registration.hw]);
        let device = DeviceId(hash[..16].try_into().unwrap());
        if !self.members.contains(&device) {
            self.members.push(device);
        }
        let secrets = MemberSecrets {
            epoch: 1,
            wrapped: Bytes(vec![1; 65]),
            member_key: Bytes(vec![2; 65]),
            audit_key: [3; 32],
            metadata_key: [4; 32],
            access: [5; 32],
        };
        let to = self.seals_to.unwrap_or(registration.sealing);
        let aad: &[&[u8]] = &[&ACCOUNT.0, &device.0];
        let sealed =
            hpke::seal_to(&to, Label::DeviceBox, aad, &secrets.to_bytes(), &mut self.random).unwrap();
        let mut members: Vec<_> =
            (0..).zip(&self.members).map(|(index, id)| device_info(*id, index, "x")).collect();
        if self.extra_member {
            members.push(device_info(DeviceId([9; 16]), 9, "intruder"));
        }
        Answer::Member(Member {
            account: self.account(),
            device,
            secrets: Bytes(sealed),
            members,
            map_key: [8; 32],
        })
    }

    fn run<F: Flow>(&mut self, home: &mut Home, seed: u64, mut flow: F) -> Result<F::Output, FlowError> {
        drive(&mut flow, home, &mut Seeded::new(seed), |_, _, call| self.carry(call))
    }

    /// What `finish` carried in the last call.
    fn finish_value(&self) -> Option<[u8; 32]> {
        self.calls.last()?.commands.iter().find_map(|command| match command {
            Command::Finish(finish) => Some(finish.value),
            _ => None,
        })
    }
}

fn credentials() -> Credentials {
    Credentials { password: Password::new("correct horse"), costs: COSTS }
}

fn enrol(pin: &str) -> Enrol {
    Enrol::new(credentials(), Pin::new(pin), "first")
}

fn join(pin: &str) -> Join {
    Join::new(credentials(), Pin::new(pin), "second")
}

fn new_home() -> Home {
    home(&Ledger::new())
}

/// The home of another device.
fn second_home() -> Home {
    let mut home = new_home();
    home.keys.hw = SigningKey::generate(&mut Seeded::new(9)).public();
    home
}

/// An enclave at which a first device has enrolled, and that device.
fn enrolled() -> (Enclave, Home) {
    let (mut enclave, mut home) = (Enclave::new(), new_home());
    enclave.run(&mut home, 1, enrol(PIN)).unwrap();
    enclave.calls.clear();
    (enclave, home)
}

fn refusal<T: std::fmt::Debug>(result: Result<T, FlowError>) -> Refusal {
    match result {
        Err(FlowError::Refused(refusal)) => refusal,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_enrols_and_another_joins_with_the_same_pin() {
    let (mut enclave, first) = enrolled();
    assert!(first.membership.is_some() && first.pending.is_none());
    let mut second = second_home();
    let joined = enclave.run(&mut second, 2, join(PIN)).unwrap();
    assert_eq!(joined, Enrolled { account: ACCOUNT, device: second.device_id(), members: 2 });
    assert_eq!(second.pin, first.pin);
    assert_eq!(second.membership.unwrap().audit_key.expose(), &[3; 32]);
}

#[test]
fn strangers_bring_their_key_and_members_their_half() {
    let (mut enclave, mut home) = (Enclave::new(), new_home());
    home.keys.uv = Some(Bytes(vec![4; 65]));
    enclave.run(&mut home, 1, enrol(PIN)).unwrap();
    let shapes: Vec<_> =
        enclave.calls.iter().map(|call| (call.sender, call.levels.clone(), call.wrapped)).collect();
    let both = vec![Level::Hw, Level::Uv];
    assert_eq!(
        shapes,
        [
            (Sender::Stranger, vec![Level::Hw], false),
            (Sender::Stranger, both.clone(), false),
            (Sender::Member, both, true),
        ]
    );
}

#[test]
fn a_wrong_pin_sends_bytes_that_say_nothing_of_it_and_leaves_the_home_reusable() {
    let (mut enclave, _) = enrolled();
    let mut home = second_home();
    let refusal = refusal(enclave.run(&mut home, 2, join(OTHER_PIN)));
    assert_eq!((refusal.code, refusal.left), (Code::PinWrong, Some(9)));
    let first = enclave.finish_value().unwrap();
    assert_ne!(Some(first), enclave.client_key);
    assert!(home.pending.is_none() && home.membership.is_none() && home.pin.is_none());
    // A second try of the same PIN sends other bytes: they do not depend on the PIN alone.
    assert!(enclave.run(&mut home, 3, join(OTHER_PIN)).is_err());
    assert_ne!(enclave.finish_value().unwrap(), first);
    assert!(enclave.run(&mut home, 4, join(PIN)).is_ok());
}

#[test]
fn a_false_enclave_gets_random_bytes_although_the_pin_is_right() {
    let (mut enclave, _) = enrolled();
    enclave.evaluates_with = Some(OprfKey::generate(&mut Seeded::new(666)));
    let mut home = second_home();
    assert_eq!(refusal(enclave.run(&mut home, 2, join(PIN))).code, Code::PinWrong);
    assert_ne!(enclave.finish_value(), enclave.client_key);
}

#[test]
fn another_commitment_gets_random_bytes() {
    let (mut enclave, _) = enrolled();
    enclave.commitment[0] ^= 1;
    assert_eq!(refusal(enclave.run(&mut second_home(), 2, join(PIN))).code, Code::PinWrong);
    assert_ne!(enclave.finish_value(), enclave.client_key);
}

#[test]
fn an_evaluation_without_proof_is_refused_before_anything_derived_is_sent() {
    let (mut enclave, _) = enrolled();
    enclave.spoil_proof = true;
    assert_eq!(refusal(enclave.run(&mut second_home(), 2, join(PIN))).code, Code::Evidence);
    assert_eq!(enclave.finish_value(), None);
}

#[test]
fn lowered_parameters_are_refused_before_the_pin_is_used() {
    let (mut enclave, _) = enrolled();
    let mut second = second_home();
    let strict = keyferry_crypto::pin::Params { memory_kib: 16, passes: 2, lanes: 1 };
    let costs = Costs { pin: strict, password: strict, floor: strict };
    let flow = Join::new(Credentials { password: Password::new("x"), costs }, Pin::new(PIN), "second");
    assert_eq!(refusal(enclave.run(&mut second, 2, flow)).code, Code::Evidence);
    assert_eq!(enclave.calls.len(), 1, "nothing that depends on the PIN was sent");
}

#[test]
fn a_member_refuses_another_key_or_commitment_for_a_generation_that_it_knows() {
    for change in [
        |e: &mut Enclave| e.evaluates_with = Some(OprfKey::generate(&mut Seeded::new(666))),
        |e: &mut Enclave| e.commitment[0] ^= 1,
    ] {
        let (mut enclave, mut home) = enrolled();
        change(&mut enclave);
        let flow = PinChange::new(Some(Pin::new(PIN)), Pin::new(OTHER_PIN), User::Unverified, COSTS);
        assert_eq!(refusal(enclave.run(&mut home, 2, flow)).code, Code::Evidence);
        assert_eq!(enclave.finish_value(), None);
    }
}

#[test]
fn an_older_pin_generation_is_refused() {
    let (mut enclave, mut home) = enrolled();
    home.pin.as_mut().unwrap().generation = 5;
    assert_eq!(refusal(enclave.run(&mut home, 2, PinStatus)).code, Code::Stale);
    let flow = PinChange::new(None, Pin::new(OTHER_PIN), User::Verified, COSTS);
    assert_eq!(refusal(enclave.run(&mut home, 2, flow)).code, Code::Evidence, "generation 2 was used before");
}

#[test]
fn a_pin_is_changed_with_the_old_pin_or_with_user_verification() {
    let (mut enclave, mut home) = enrolled();
    let flow = PinChange::new(Some(Pin::new(PIN)), Pin::new(OTHER_PIN), User::Unverified, COSTS);
    assert_eq!(enclave.run(&mut home, 2, flow).unwrap(), 2);
    enclave.calls.clear();
    let flow = PinChange::new(None, Pin::new("5193wk"), User::Verified, COSTS);
    assert_eq!(enclave.run(&mut home, 3, flow).unwrap(), 3);
    assert!(enclave.calls.iter().all(|call| call.levels == [Level::Hw, Level::Uv]));
    assert!(enclave.run(&mut second_home(), 4, join("5193wk")).is_ok());
}

#[test]
fn a_pin_is_not_changed_with_neither() {
    let (mut enclave, mut home) = enrolled();
    let flow = PinChange::new(None, Pin::new(OTHER_PIN), User::Unverified, COSTS);
    assert_eq!(refusal(enclave.run(&mut home, 2, flow)).code, Code::UvRequired);
    assert!(enclave.calls.is_empty());
}

#[test]
fn a_weak_pin_is_refused_before_anything_is_sent() {
    let mut enclave = Enclave::new();
    for weak in ["12345", "123456", "aaaaaa"] {
        assert_eq!(refusal(enclave.run(&mut new_home(), 1, enrol(weak))).code, Code::Policy, "{weak}");
    }
    assert!(enclave.calls.is_empty());
}

#[test]
fn an_account_that_has_a_device_already_is_joined_not_enrolled() {
    let (mut enclave, mut home) = enrolled();
    assert_eq!(refusal(enclave.run(&mut second_home(), 2, enrol(PIN))).code, Code::Exists);
    assert_eq!(refusal(enclave.run(&mut home, 2, enrol(PIN))).code, Code::Exists);
    assert_eq!(refusal(enclave.run(&mut home, 2, join(PIN))).code, Code::Exists);
}

#[test]
fn a_first_device_that_is_not_alone_is_refused() {
    let mut enclave = Enclave::new();
    enclave.extra_member = true;
    let mut home = new_home();
    assert_eq!(refusal(enclave.run(&mut home, 1, enrol(PIN))).code, Code::Evidence);
    assert!(home.membership.is_none());
    assert_eq!(enclave.calls.len(), 2, "no PIN was exposed");
}

#[test]
fn secrets_for_another_device_are_refused() {
    let mut enclave = Enclave::new();
    enclave.seals_to = Some([9; 32]);
    assert_eq!(refusal(enclave.run(&mut new_home(), 1, enrol(PIN))).code, Code::Evidence);
}

#[test]
fn a_locked_or_missing_pin_costs_no_try() {
    let (mut enclave, _) = enrolled();
    enclave.status.locked = true;
    let locked = refusal(enclave.run(&mut second_home(), 2, join(PIN)));
    assert_eq!((locked.code, locked.left), (Code::PinLocked, Some(0)));
    enclave.status.generation = 0;
    assert_eq!(refusal(enclave.run(&mut second_home(), 2, join(PIN))).code, Code::Policy);
    assert!(
        enclave.calls.iter().all(|call| call.commands.len() == 2 && call.commands[1] == Command::PinStatus)
    );
}

/// Cuts the line at one call, starts the flow anew from what was stored, and compares the call that is made again.
fn resumed_alike<F: Flow>(cut_at: usize, mut enclave: Enclave, mut home: Home, flow: impl Fn() -> F) {
    enclave.fail_at = Some(cut_at);
    assert!(matches!(enclave.run(&mut home, 50, flow()), Err(FlowError::Fault(_))));
    let lost = enclave.calls.pop().unwrap();
    let made = enclave.calls.len();
    enclave.fail_at = None;
    let mut restored = Home::load(&home.save()).unwrap();
    // Another random source: nothing of the flow may hang on it.
    assert!(enclave.run(&mut restored, 51, flow()).is_ok());
    let again = &enclave.calls[made + cut_at - 1];
    assert_eq!((again.id, again.command_bytes()), (lost.id, lost.command_bytes()));
}

#[test]
fn an_enrolment_that_was_cut_says_the_same_again() {
    for cut_at in [2, 3] {
        resumed_alike(cut_at, Enclave::new(), new_home(), || enrol(PIN));
    }
}

#[test]
fn a_join_that_was_cut_repeats_the_same_attempt() {
    for cut_at in [2, 3] {
        resumed_alike(cut_at, enrolled().0, second_home(), || join(PIN));
    }
}

#[test]
fn a_pin_change_that_was_cut_says_the_same_again() {
    let (enclave, home) = enrolled();
    let flow = || PinChange::new(Some(Pin::new(PIN)), Pin::new(OTHER_PIN), User::Unverified, COSTS);
    resumed_alike(3, enclave, home, flow);
}

#[test]
fn another_pin_after_a_cut_is_another_attempt() {
    let (mut enclave, _) = enrolled();
    let mut home = second_home();
    enclave.fail_at = Some(2);
    assert!(enclave.run(&mut home, 2, join(OTHER_PIN)).is_err());
    assert!(enclave.run(&mut home, 3, join(PIN)).is_ok());
    let begin = |call: &Call| match &call.commands[1] {
        Command::Begin(begin) => begin.clone(),
        other => panic!("{other:?}"),
    };
    let (lost, again) = (&enclave.calls[1], &enclave.calls[3]);
    assert_ne!(lost.id, again.id);
    assert_ne!(begin(lost).attempt, begin(again).attempt);
    assert_ne!(begin(lost).blinded, begin(again).blinded);
}

#[test]
fn a_home_in_mid_flow_holds_neither_pin_nor_password_nor_what_was_sent() {
    let (mut enclave, _) = enrolled();
    let mut home = second_home();
    enclave.fail_at = Some(3);
    assert!(enclave.run(&mut home, 2, join(PIN)).is_err());
    let stored = home.save();
    let Command::Begin(begin) = &enclave.calls[1].commands[1] else { panic!() };
    let Command::Authenticate(proof) = &enclave.calls[1].commands[0] else { panic!() };
    let client_key = enclave.finish_value().unwrap();
    let parts: [&[u8]; 6] =
        [PIN.as_bytes(), b"correct horse", &begin.blinded, &begin.attempt.0, &proof.proof, &client_key];
    for part in parts {
        assert!(!stored.windows(part.len()).any(|window| window == part));
    }
}

#[test]
fn a_home_is_read_back_as_it_was_stored() {
    let (_, home) = enrolled();
    let again = Home::load(&home.save()).unwrap();
    assert_eq!(*again.save(), *home.save());
    assert_eq!(again.pin, home.pin);
    let mut future = home.save().to_vec();
    future[2] = 2;
    assert!(Home::load(&future).is_err(), "another version");
}

#[test]
fn answers_that_do_not_fit_are_a_fault() {
    let mut home = member(&Ledger::new());
    let mut flow = ListDevices;
    let wrong = drive(&mut flow, &mut home, &mut Seeded::new(1), |_, _, _| Ok(vec![Answer::Exposed]));
    assert!(matches!(wrong, Err(FlowError::Fault(_))));
    let none = drive(&mut flow, &mut home, &mut Seeded::new(1), |_, _, _| Ok(Vec::new()));
    assert!(matches!(none, Err(FlowError::Fault(_))));
}

// Passkeys.

const SITE: &str = "https://one.example";

fn vault() -> (Home, [CredentialId; 3]) {
    let mut ledger = Ledger::new();
    let older = ledger.put(1, "one.example", false);
    let newer = ledger.put(2, "one.example", false);
    let other = ledger.put(3, "two.example", false);
    let mut home = member(&ledger);
    home.vault.rows = ledger.rows.values().cloned().collect();
    (home, [older, newer, other])
}

fn get_call(home: &mut Home, options: &str, user: User) -> Result<Call, FlowError> {
    let request = GetRequest::parse(options.as_bytes(), SITE).unwrap();
    let mut flow = Get::new(request, user, ClientDataForm::WithJson);
    match flow.next(home, &mut Seeded::new(1), None)? {
        Step::Call(call) => Ok(call),
        Step::Done(_) => panic!(),
    }
}

#[test]
fn the_most_recent_passkey_of_the_site_is_chosen() {
    let (mut home, [_, newer, _]) = vault();
    let call = get_call(&mut home, r#"{"challenge":"AAAA"}"#, User::Unverified).unwrap();
    assert_eq!(call.passkeys, [newer]);
    assert!(call.wrapped);
}

#[test]
fn the_list_of_the_relying_party_is_kept_to() {
    let (mut home, [older, _, other]) = vault();
    let options = |id: &CredentialId| {
        let id = crate::base64url::encode(&id.0);
        format!(r#"{{"challenge":"AAAA","allowCredentials":[{{"type":"public-key","id":"{id}"}}]}}"#)
    };
    assert_eq!(get_call(&mut home, &options(&older), User::Unverified).unwrap().passkeys, [older]);
    let foreign = get_call(&mut home, &options(&other), User::Unverified);
    assert_eq!(refusal(foreign).code, Code::NoCredentials, "a passkey of another site");
    let short = r#"{"challenge":"AAAA","allowCredentials":[{"type":"public-key","id":"AAAA"}]}"#;
    assert_eq!(refusal(get_call(&mut home, short, User::Unverified)).code, Code::NoCredentials);
}

#[test]
fn required_user_verification_is_not_given_without_the_user() {
    let (mut home, _) = vault();
    let options = r#"{"challenge":"AAAA","userVerification":"required"}"#;
    let without = refusal(get_call(&mut home, options, User::Unverified));
    assert_eq!((without.code, without.name.as_deref()), (Code::UvRequired, Some("NotAllowedError")));
    assert_eq!(get_call(&mut home, options, User::Verified).unwrap().levels, [Level::Hw, Level::Uv]);
}

fn authenticator_data(flags: u8, rp_id: &str, rest: &[u8]) -> Vec<u8> {
    [sha256(&[rp_id.as_bytes()]).as_slice(), &[flags], &[0; 4], rest].concat()
}

fn assertion(options: &str, user: User, data: Vec<u8>) -> Result<String, FlowError> {
    let (mut home, _) = vault();
    let request = GetRequest::parse(options.as_bytes(), SITE).unwrap();
    let mut flow = Get::new(request, user, ClientDataForm::HashOnly);
    let response = drive(&mut flow, &mut home, &mut Seeded::new(1), |_, _, call| {
        let Command::Assert(assert) = &call.commands[0] else { panic!() };
        assert!(assert.client_data_json.is_none());
        Ok(vec![Answer::Asserted(Asserted {
            id: assert.id,
            authenticator_data: Bytes(data.clone()),
            signature: Bytes(vec![0x30]),
            user_id: Bytes(vec![1]),
            prf: None,
            large_blob: None,
        })])
    })?;
    Ok(serde_json::to_string(&response).unwrap())
}

#[test]
fn an_assertion_has_the_shape_of_the_standard() {
    let json =
        assertion(r#"{"challenge":"AAAA"}"#, User::Unverified, authenticator_data(0x19, "one.example", &[]));
    let json: serde_json::Value = serde_json::from_str(&json.unwrap()).unwrap();
    let id = crate::base64url::encode(&[2; 16]);
    assert_eq!((json["id"].as_str(), json["rawId"].as_str()), (Some(id.as_str()), Some(id.as_str())));
    assert_eq!((&json["type"], &json["authenticatorAttachment"]), (&"public-key".into(), &"platform".into()));
    assert_eq!(json["response"]["userHandle"], "AQ");
    assert_eq!(json["clientExtensionResults"], serde_json::json!({}));
    let client_data = crate::base64url::decode(json["response"]["clientDataJSON"].as_str().unwrap()).unwrap();
    let expected =
        br#"{"type":"webauthn.get","challenge":"AAAA","origin":"https://one.example","crossOrigin":false}"#;
    assert_eq!(client_data, expected);
}

#[test]
fn an_assertion_that_the_relying_party_would_refuse_is_not_handed_out() {
    let required = r#"{"challenge":"AAAA","userVerification":"required"}"#;
    for data in [
        authenticator_data(0x1d, "two.example", &[]),
        authenticator_data(0x19, "one.example", &[]),
        authenticator_data(0x1c, "one.example", &[]),
        vec![0; 36],
    ] {
        assert!(matches!(assertion(required, User::Verified, data), Err(FlowError::Fault(_))));
    }
}

fn registration(spoil: impl Fn(&mut Created)) -> Result<serde_json::Value, FlowError> {
    let (mut home, [older, ..]) = vault();
    let excluded = crate::base64url::encode(&older.0);
    let options = serde_json::json!({
        "rp": {"name": "One"}, "user": {"id": "AQ", "name": "ada", "displayName": "Ada"}, "challenge": "AAAA",
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}], "extensions": {"credProps": true},
        "excludeCredentials": [{"type": "public-key", "id": crate::base64url::encode(&[7; 16])},
            {"type": "public-key", "id": excluded}],
    });
    let request = CreateRequest::parse(options.to_string().as_bytes(), SITE).unwrap();
    let mut flow = Create::new(request, User::Unverified, ClientDataForm::WithJson);
    let response = drive(&mut flow, &mut home, &mut Seeded::new(1), |_, _, call| {
        assert_eq!(call.passkeys, [older], "a hint for the row that is known");
        let Command::CreatePasskey(create) = &call.commands[0] else { panic!() };
        assert_eq!(create.exclude, [older, CredentialId([7; 16])]);
        let key = SigningKey::generate(&mut Seeded::new(3)).public();
        let public_key = keyferry_crypto::cose::es256_public_key(&key);
        let attested = [[0xaa; 16].as_slice(), &[0, 16], &[5; 16], &public_key].concat();
        let data = authenticator_data(0x59, &create.rp_id, &attested);
        let mut created = Created {
            id: CredentialId([5; 16]),
            version: 1,
            alg: -7,
            public_key: Bytes(public_key),
            attestation_object: Bytes([b"...".as_slice(), &data].concat()),
            authenticator_data: Bytes(data),
            prf: None,
        };
        spoil(&mut created);
        Ok(vec![Answer::Created(created)])
    })?;
    Ok(serde_json::to_value(&response).unwrap())
}

#[test]
fn a_registration_has_the_shape_of_the_standard() {
    let json = registration(|_| ()).unwrap();
    let response = &json["response"];
    assert_eq!(response["transports"], serde_json::json!(["hybrid", "internal"]));
    assert_eq!(response["publicKeyAlgorithm"], -7);
    assert_eq!(json["clientExtensionResults"], serde_json::json!({"credProps": {"rk": true}}));
    let spki = crate::base64url::decode(response["publicKey"].as_str().unwrap()).unwrap();
    assert_eq!(spki.len(), 91);
    assert_eq!(spki[26..], SigningKey::generate(&mut Seeded::new(3)).public());
}

#[test]
fn a_registration_of_another_credential_is_not_handed_out() {
    let spoils: [fn(&mut Created); 8] = [
        |created| created.prf = Some(PrfOutputs { first: [1; 32], second: None }),
        // credProtect that nobody asked for: appended, and announced as well.
        |created| {
            created.authenticator_data.0.extend_from_slice(b"\xa1\x6bcredProtect\x02");
            created.attestation_object = created.authenticator_data.clone();
        },
        |created| {
            created.authenticator_data.0[32] |= 0x80;
            created.attestation_object = created.authenticator_data.clone();
        },
        |created| created.id = CredentialId([6; 16]),
        |created| created.alg = -8,
        |created| created.public_key.0[20] ^= 1,
        |created| created.attestation_object.0.push(0),
        |created| created.authenticator_data.0[0] ^= 1,
    ];
    for spoil in spoils {
        assert!(matches!(registration(spoil), Err(FlowError::Fault(_))));
    }
}

#[test]
fn an_edit_names_the_version_that_was_seen_and_keeps_the_other_name() {
    let (mut home, [older, ..]) = vault();
    let mut flow = RenamePasskey::new(older, None, Some("Ada at One".to_owned()));
    let version = drive(&mut flow, &mut home, &mut Seeded::new(1), |_, _, call| {
        let Command::RenamePasskey(rename) = &call.commands[0] else { panic!() };
        assert_eq!((rename.version, rename.user_name.as_str()), (1, "user 1"));
        Ok(vec![Answer::Edited(Edited { id: older, version: 2 })])
    });
    assert_eq!(version.unwrap(), 2);
    let unknown =
        RenamePasskey::new(CredentialId([0x44; 16]), None, None).next(&mut home, &mut Seeded::new(1), None);
    assert_eq!(refusal(unknown).code, Code::NoCredentials);
}

#[test]
fn what_a_member_knows_of_a_pin_is_kept_from_the_moment_it_is_set() {
    let (enclave, home) = enrolled();
    let expected = PinKnown { generation: 1, public: enclave.key.public(), commitment: enclave.commitment };
    assert_eq!(home.pin, Some(expected));
}
