//! Passkeys: what is signed, for whom, and with which flags.

use crate::client::{As, Device, assert_for, create_for};
use crate::world::{PIN, World, code, settled};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::sign::verify_p256;
use keyferry_wire::command::*;
use keyferry_wire::refusal::Code;
use keyferry_wire::{CredentialId, limits};

const UP: u8 = 0x01;
const UV: u8 = 0x04;
const BE: u8 = 0x08;
const BS: u8 = 0x10;
const AT: u8 = 0x40;

pub(crate) fn created(world: &mut World, device: &mut Device, sender: As, create: CreatePasskey) -> Created {
    let answers = world.ask(device, sender, &[Command::CreatePasskey(create)]);
    let [Answer::Created(created)] = &answers[..] else { panic!("{answers:?}") };
    created.clone()
}

pub(crate) fn asserted(world: &mut World, device: &mut Device, sender: As, assert: Assert) -> Asserted {
    let answers = world.ask(device, sender, &[Command::Assert(assert)]);
    let [Answer::Asserted(asserted)] = &answers[..] else { panic!("{answers:?}") };
    asserted.clone()
}

fn refused(world: &mut World, device: &mut Device, sender: As, command: Command) -> Code {
    code(&world.ask(device, sender, &[command]))
}

/// The point in a COSE key of ES256, which is canonical and so has its places fixed.
fn point(cose: &[u8]) -> [u8; 65] {
    assert_eq!(&cose[..10], &[0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 0x20]);
    assert_eq!(&cose[42..45], &[0x22, 0x58, 0x20]);
    assert_eq!(cose.len(), 77);
    [&[4][..], &cose[10..42], &cose[45..]].concat().try_into().unwrap()
}

fn verify(created: &Created, asserted: &Asserted, hash: &[u8; 32]) -> bool {
    let message = [&asserted.authenticator_data[..], hash].concat();
    verify_p256(&point(&created.public_key), &message, &asserted.signature)
}

#[test]
fn a_new_passkey_has_truthful_authenticator_data() {
    let (mut world, mut ann) = settled();
    for (sender, uv) in [(As::Member, 0), (As::MemberWithUv, UV)] {
        let created = created(&mut world, &mut ann, sender, create_for("example.com"));
        let data = &created.authenticator_data;
        assert_eq!(data[..32], sha256(&[b"example.com"]));
        assert_eq!(data[32], UP | BE | BS | AT | uv);
        assert_eq!(data[33..37], [0; 4], "the counter of a synced passkey is 0");
        assert_eq!((data[37 + 6] >> 4, data[37 + 8] >> 6), (8, 2), "the AAGUID is a UUID of version 8");
        assert_eq!(data[53..55], [0, 16]);
        assert_eq!(data[55..71], created.id.0);
        assert_eq!(data[71..], created.public_key[..]);
        assert_eq!((created.alg, created.version), (-7, 1));
    }
}

#[test]
fn the_attestation_object_has_format_none() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let object = &created.attestation_object;
    let head = [&[0xa3, 0x63][..], b"fmt", &[0x64], b"none", &[0x67], b"attStmt", &[0xa0, 0x68], b"authData"];
    let head = head.concat();
    assert_eq!(object[..head.len()], head);
    assert!(object.ends_with(&created.authenticator_data));
}

#[test]
fn an_assertion_verifies_under_the_key_of_its_passkey() {
    let (mut world, mut ann) = settled();
    let first = world.create(&mut ann, "example.com");
    let second = world.create(&mut ann, "example.com");
    assert_ne!((first.id, &first.public_key), (second.id, &second.public_key));
    let asserted = asserted(&mut world, &mut ann, As::Member, assert_for(first.id, "example.com"));
    assert!(verify(&first, &asserted, &[4; 32]));
    assert!(!verify(&first, &asserted, &[5; 32]));
    assert!(!verify(&second, &asserted, &[4; 32]));
    assert_eq!((asserted.id, &asserted.user_id[..]), (first.id, &[9; 16][..]));
}

#[test]
fn an_assertion_says_uv_only_with_a_uv_signature_of_its_own_request() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    for (sender, uv) in [(As::Member, 0), (As::MemberWithUv, UV), (As::Member, 0)] {
        let asserted = asserted(&mut world, &mut ann, sender, assert_for(created.id, "example.com"));
        let data = &asserted.authenticator_data;
        assert_eq!(data.len(), 37);
        assert_eq!(data[..32], sha256(&[b"example.com"]));
        assert_eq!(data[32], UP | BE | BS | uv);
        assert_eq!(data[33..], [0; 4]);
        assert!(verify(&created, &asserted, &[4; 32]));
    }
}

#[test]
fn the_account_pin_sets_no_uv_flag() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let status = world.status(&mut ann);
    let trying = crate::world::attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &trying).unwrap();
    let finish = Command::Finish(trying.finish(&mut ann, &evaluated));
    let assert = Command::Assert(assert_for(created.id, "example.com"));
    let answers = world.ask(&mut ann, As::Member, &[finish, assert]);
    let [Answer::PinRight, Answer::Asserted(asserted)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(asserted.authenticator_data[32], UP | BE | BS);
}

#[test]
fn a_relying_party_that_requires_uv_gets_it_or_nothing() {
    let (mut world, mut ann) = settled();
    let mut create = create_for("example.com");
    create.user_verification = UserVerification::Required;
    let command = Command::CreatePasskey(create.clone());
    assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::UvRequired);
    let created = created(&mut world, &mut ann, As::MemberWithUv, create);
    let mut assert = assert_for(created.id, "example.com");
    assert.user_verification = UserVerification::Required;
    let command = Command::Assert(assert.clone());
    assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::UvRequired);
    asserted(&mut world, &mut ann, As::MemberWithUv, assert);
}

#[test]
fn a_passkey_signs_for_its_own_relying_party_alone() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    for foreign in ["example.org", "login.example.com", "xample.com", "example.co"] {
        let command = Command::Assert(assert_for(created.id, foreign));
        assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::NoCredentials, "{foreign}");
    }
}

#[test]
fn relying_party_ids_that_are_none_are_refused() {
    let (mut world, mut ann) = settled();
    for bad in ["", "com", "co.uk", "127.0.0.1", "[::1]", "Example.com", "example.com.", "a b.com"] {
        let command = Command::CreatePasskey(create_for(bad));
        assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::Origin, "{bad}");
        let command = Command::Assert(assert_for(CredentialId([1; 16]), bad));
        assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::Origin, "{bad}");
    }
}

#[test]
fn an_unknown_passkey_signs_nothing() {
    let (mut world, mut ann) = settled();
    let command = Command::Assert(assert_for(CredentialId([1; 16]), "example.com"));
    assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::NoCredentials);
}

#[test]
fn a_passkey_of_another_account_is_not_there() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let mut ben = world.member("ben");
    let command = Command::Assert(assert_for(created.id, "example.com"));
    assert_eq!(refused(&mut world, &mut ben, As::Member, command), Code::NoCredentials);
    let command = Command::DeletePasskey(DeletePasskey { id: created.id, version: 1 });
    assert_eq!(refused(&mut world, &mut ben, As::Member, command), Code::NoCredentials);
}

#[test]
fn a_passkey_signs_nothing_without_the_half_of_the_device() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let ben = world.member("ben");
    let own = ann.secrets.as_ref().unwrap().wrapped.clone();
    let foreign = ben.secrets.unwrap().wrapped;
    let mut bent = own.clone();
    bent.0[30] ^= 1;
    let mut session = world.session();
    let commands = [Command::Assert(assert_for(created.id, "example.com"))];
    for wrapped in [None, Some(foreign), Some(bent), Some(Vec::new().into())] {
        let id = ann.request_id();
        let mut request = ann.unsigned(As::Member, id, &commands);
        request.wrapped = wrapped;
        let request = ann.sign(request, As::Member, session.transport.handshake_hash());
        assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::Stale);
    }
}

#[test]
fn the_half_of_one_device_is_of_no_use_to_another() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    let hers = ann.secrets.take();
    phone.secrets = hers;
    let command = Command::Assert(assert_for(created.id, "example.com"));
    assert_eq!(refused(&mut world, &mut phone, As::Member, command), Code::Stale);
}

#[test]
fn excluded_passkeys_refuse_a_second() {
    let (mut world, mut ann) = settled();
    let first = world.create(&mut ann, "example.com");
    let mut create = create_for("example.com");
    create.exclude = vec![CredentialId([1; 16]), first.id];
    let command = Command::CreatePasskey(create.clone());
    assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::Excluded);
    // Another relying party cannot ask about it.
    create.rp_id = "example.org".to_owned();
    created(&mut world, &mut ann, As::Member, create.clone());
    // Once deleted it excludes no more.
    let delete = Command::DeletePasskey(DeletePasskey { id: first.id, version: 1 });
    world.ask(&mut ann, As::Member, &[delete]);
    create.rp_id = "example.com".to_owned();
    created(&mut world, &mut ann, As::Member, create);
}

#[test]
fn options_that_no_relying_party_may_send_are_refused() {
    let (mut world, mut ann) = settled();
    let bends: [fn(&mut CreatePasskey); 6] = [
        |create| create.user_id = Vec::new().into(),
        |create| create.user_id = vec![1; limits::USER_ID_MAX + 1].into(),
        |create| create.user_name = "x".repeat(limits::NAME_MAX + 1),
        |create| create.display_name = "x".repeat(limits::NAME_MAX + 1),
        |create| create.exclude = vec![CredentialId([1; 16]); limits::CREDENTIAL_LIST_MAX + 1],
        |create| create.algorithms = vec![-36, -999],
    ];
    for bend in bends {
        let mut create = create_for("example.com");
        bend(&mut create);
        let command = Command::CreatePasskey(create);
        assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::BadOptions);
    }
}

#[test]
fn an_unknown_algorithm_is_refused_by_its_own_name() {
    let (mut world, mut ann) = settled();
    let mut create = create_for("example.com");
    create.algorithms = vec![-36];
    let answers = world.ask(&mut ann, As::Member, &[Command::CreatePasskey(create)]);
    let [Answer::Refused(refusal)] = &answers[..] else { panic!() };
    assert_eq!(refusal.name.as_deref(), Some("NotSupportedError"));
}

fn client_data(kind: &str, origin: &str) -> Vec<u8> {
    format!(r#"{{"type":"{kind}","challenge":"AAAA","origin":"{origin}","crossOrigin":false}}"#).into_bytes()
}

#[test]
fn client_data_of_another_type_origin_or_hash_is_refused() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let cases: [(&str, &str, Option<Code>); 12] = [
        ("webauthn.get", "https://example.com", None),
        ("webauthn.get", "https://login.example.com", None),
        ("webauthn.get", "https://example.com:8443", None),
        ("webauthn.create", "https://example.com", Some(Code::BadOptions)),
        ("payment.get", "https://example.com", Some(Code::BadOptions)),
        ("webauthn.get", "https://example.org", Some(Code::Origin)),
        ("webauthn.get", "https://notexample.com", Some(Code::Origin)),
        ("webauthn.get", "https://example.com.evil.org", Some(Code::Origin)),
        ("webauthn.get", "http://example.com", Some(Code::Origin)),
        ("webauthn.get", "https://example.com/path", Some(Code::Origin)),
        ("webauthn.get", "https://user@example.com", Some(Code::Origin)),
        ("webauthn.get", "null", Some(Code::Origin)),
    ];
    for (kind, origin, expected) in cases {
        let json = client_data(kind, origin);
        let mut assert = assert_for(id, "example.com");
        assert.client_data_hash = sha256(&[&json]);
        assert.client_data_json = Some(json.clone().into());
        let answers = world.ask(&mut ann, As::Member, &[Command::Assert(assert.clone())]);
        match expected {
            Some(expected) => assert_eq!(code(&answers), expected, "{kind} {origin}"),
            None => assert!(matches!(&answers[..], [Answer::Asserted(_)]), "{kind} {origin}"),
        }
        if expected.is_none() {
            assert.client_data_hash[0] ^= 1;
            let command = Command::Assert(assert);
            assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::BadOptions);
        }
    }
}

#[test]
fn client_data_of_a_creation_is_checked_alike() {
    let (mut world, mut ann) = settled();
    let cases = [
        ("webauthn.create", "https://example.com", None),
        ("webauthn.get", "https://example.com", Some(Code::BadOptions)),
        ("webauthn.create", "https://example.org", Some(Code::Origin)),
    ];
    for (kind, origin, expected) in cases {
        let json = client_data(kind, origin);
        let mut create = create_for("example.com");
        create.client_data_hash = sha256(&[&json]);
        create.client_data_json = Some(json.into());
        let answers = world.ask(&mut ann, As::Member, &[Command::CreatePasskey(create.clone())]);
        match expected {
            Some(expected) => assert_eq!(code(&answers), expected),
            None => {
                assert!(matches!(&answers[..], [Answer::Created(_)]));
                create.client_data_hash[31] ^= 1;
                let command = Command::CreatePasskey(create);
                assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::BadOptions);
            }
        }
    }
}

#[test]
fn what_only_looks_like_client_data_is_refused() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let twice = br#"{"type":"webauthn.get","challenge":"AA","origin":"https://evil.org","origin":"https://example.com"}"#;
    let no_challenge = br#"{"type":"webauthn.get","challenge":"","origin":"https://example.com"}"#;
    let deep = [&b"["[..]; 5000].concat();
    let long =
        [client_data("webauthn.get", "https://example.com"), vec![b' '; limits::CLIENT_DATA_MAX]].concat();
    let bad: [&[u8]; 7] = [b"", b"{}", b"\xff", twice, no_challenge, &deep, &long];
    for json in bad {
        let mut assert = assert_for(id, "example.com");
        assert.client_data_hash = sha256(&[json]);
        assert.client_data_json = Some(json.into());
        assert_eq!(refused(&mut world, &mut ann, As::Member, Command::Assert(assert)), Code::BadOptions);
    }
}

#[test]
fn a_device_signs_in_at_most_so_often_in_a_minute() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    let assert = Command::Assert(assert_for(id, "example.com"));
    let eight = vec![assert.clone(); limits::COMMANDS_MAX];
    for _ in 0..limits::ASSERTIONS_PER_MINUTE / 8 {
        assert!(world.ask(&mut ann, As::Member, &eight).iter().all(|a| matches!(a, Answer::Asserted(_))));
    }
    assert_eq!(refused(&mut world, &mut ann, As::Member, assert.clone()), Code::RateLimited);
    world.wait(59_999);
    assert_eq!(refused(&mut world, &mut ann, As::Member, assert.clone()), Code::RateLimited);
    // Each device has its own minute.
    assert!(matches!(
        &world.ask(&mut phone, As::Member, std::slice::from_ref(&assert))[..],
        [Answer::Asserted(_)]
    ));
    world.wait(1);
    assert!(matches!(&world.ask(&mut ann, As::Member, &[assert])[..], [Answer::Asserted(_)]));
}

#[test]
fn the_rate_of_assertions_survives_a_restart() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let assert = Command::Assert(assert_for(id, "example.com"));
    let eight = vec![assert.clone(); limits::COMMANDS_MAX];
    for _ in 0..limits::ASSERTIONS_PER_MINUTE / 8 {
        world.ask(&mut ann, As::Member, &eight);
    }
    world.restart();
    assert_eq!(refused(&mut world, &mut ann, As::Member, assert), Code::RateLimited);
}

#[test]
fn an_assertion_is_in_the_ledger_before_it_leaves() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let account = ann.account.unwrap();
    let before = world.host.durable.accounts[&account].entries.len();
    asserted(&mut world, &mut ann, As::Member, assert_for(id, "example.com"));
    assert_eq!(world.host.durable.accounts[&account].entries.len(), before + 1);
}

#[test]
fn an_edit_names_the_version_that_the_editor_saw() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let rename = |version| {
        Command::RenamePasskey(RenamePasskey {
            id,
            version,
            user_name: "a".to_owned(),
            display_name: "A".to_owned(),
        })
    };
    assert!(
        matches!(&world.ask(&mut ann, As::Member, &[rename(1)])[..], [Answer::Edited(e)] if e.version == 2)
    );
    for version in [0, 1, 3] {
        assert_eq!(refused(&mut world, &mut ann, As::Member, rename(version)), Code::Conflict);
        let delete = Command::DeletePasskey(DeletePasskey { id, version });
        assert_eq!(refused(&mut world, &mut ann, As::Member, delete), Code::Conflict);
    }
    asserted(&mut world, &mut ann, As::Member, assert_for(id, "example.com"));
    let long = Command::RenamePasskey(RenamePasskey {
        id,
        version: 2,
        user_name: "x".repeat(limits::NAME_MAX + 1),
        display_name: String::new(),
    });
    assert_eq!(refused(&mut world, &mut ann, As::Member, long), Code::BadOptions);
}

#[test]
fn a_deleted_passkey_signs_no_more_and_leaves_a_tombstone() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let delete = Command::DeletePasskey(DeletePasskey { id, version: 1 });
    world.ask(&mut ann, As::Member, &[delete]);
    let command = Command::Assert(assert_for(id, "example.com"));
    assert_eq!(refused(&mut world, &mut ann, As::Member, command), Code::NoCredentials);
    let delete = Command::DeletePasskey(DeletePasskey { id, version: 2 });
    assert_eq!(refused(&mut world, &mut ann, As::Member, delete), Code::NoCredentials);
    let row = &world.host.disk.accounts[&ann.account.unwrap()].passkeys[&id];
    assert!(row.deleted && row.blob.is_empty() && !row.metadata.is_empty());
}
