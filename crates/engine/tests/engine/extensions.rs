//! PRF, credProtect and large blobs: what they give, to whom, and what they never give.

use crate::client::{As, Device, assert_for, create_for};
use crate::passkey::{asserted, created};
use crate::world::{PIN, World, code, settled};
use keyferry_crypto::hash::sha256;
use keyferry_wire::command::*;
use keyferry_wire::door::Drop as Reason;
use keyferry_wire::refusal::Code;
use keyferry_wire::{CredentialId, Wire, limits};

const SALTS: PrfSalts = PrfSalts { first: [1; 32], second: Some([2; 32]) };

fn with_prf(id: CredentialId) -> Assert {
    Assert { prf: Some(SALTS), ..assert_for(id, "example.com") }
}

fn prf(world: &mut World, device: &mut Device, sender: As, id: CredentialId) -> PrfOutputs {
    asserted(world, device, sender, with_prf(id)).prf.expect("it was asked for")
}

#[test]
fn the_prf_is_one_function_with_user_verification_and_another_without() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let plain = prf(&mut world, &mut ann, As::Member, id);
    let verified = prf(&mut world, &mut ann, As::MemberWithUv, id);
    let all = [plain.first, plain.second.unwrap(), verified.first, verified.second.unwrap()];
    for (at, one) in all.iter().enumerate() {
        assert!(all[at + 1..].iter().all(|other| one != other));
    }
    assert!(prf(&mut world, &mut ann, As::Member, id) == plain);
    assert!(prf(&mut world, &mut ann, As::MemberWithUv, id) == verified);
    // Another passkey has functions of its own.
    let other = world.create(&mut ann, "example.com").id;
    assert!(prf(&mut world, &mut ann, As::Member, other).first != plain.first);
}

#[test]
fn the_prf_is_the_same_on_every_device_after_a_restart_and_at_creation() {
    let (mut world, mut ann) = settled();
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    for sender in [As::Member, As::MemberWithUv] {
        let create = CreatePasskey { prf: Some(SALTS), ..create_for("example.com") };
        let made = created(&mut world, &mut ann, sender, create);
        let at_creation = made.prf.clone().unwrap();
        assert!(prf(&mut world, &mut phone, sender, made.id) == at_creation);
        world.restart();
        assert!(prf(&mut world, &mut ann, sender, made.id) == at_creation);
    }
}

#[test]
fn one_input_has_one_output_and_equal_inputs_have_equal_ones() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let salts = |second| Some(PrfSalts { first: [1; 32], second });
    let mut of = |second| {
        let assert = Assert { prf: salts(second), ..assert_for(id, "example.com") };
        asserted(&mut world, &mut ann, As::Member, assert).prf.unwrap()
    };
    let (one, twice) = (of(None), of(Some([1; 32])));
    assert!(one.second.is_none() && twice.second == Some(one.first) && twice.first == one.first);
    let without = asserted(&mut world, &mut ann, As::Member, assert_for(id, "example.com"));
    assert!(without.prf.is_none());
}

#[test]
fn authenticator_data_do_not_speak_of_the_prf() {
    let (mut world, mut ann) = settled();
    let create = CreatePasskey { prf: Some(SALTS), ..create_for("example.com") };
    let made = created(&mut world, &mut ann, As::Member, create);
    assert_eq!(made.authenticator_data[32] & 0x80, 0);
    assert_eq!(asserted(&mut world, &mut ann, As::Member, with_prf(made.id)).authenticator_data.len(), 37);
}

/// A replay is answered alike, and a request without user verification never gets what one with it got.
#[test]
fn a_replayed_sign_in_gives_no_more_of_the_prf_than_it_first_did() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let plain = prf(&mut world, &mut ann, As::Member, id);
    let verified = prf(&mut world, &mut ann, As::MemberWithUv, id);
    let cases = [
        (As::Member, As::Member, &plain),
        (As::MemberWithUv, As::MemberWithUv, &verified),
        (As::MemberWithUv, As::Member, &plain),
        (As::Member, As::MemberWithUv, &plain),
    ];
    for (first, again, expected) in cases {
        let request = ann.request_id();
        world.ask_as(&ann, first, request, &[Command::Assert(with_prf(id))]);
        let answers = world.ask_as(&ann, again, request, &[Command::Assert(with_prf(id))]);
        let [Answer::Asserted(asserted)] = &answers[..] else { panic!("{answers:?}") };
        assert!(asserted.prf.as_ref() == Some(expected));
    }
}

#[test]
fn a_replayed_creation_gives_no_more_of_the_prf_than_it_first_did() {
    let (mut world, mut ann) = settled();
    let create = CreatePasskey { prf: Some(SALTS), ..create_for("example.com") };
    for (first, again) in [(As::Member, As::MemberWithUv), (As::MemberWithUv, As::Member)] {
        let request = ann.request_id();
        let command = Command::CreatePasskey(create.clone());
        let made = world.ask_as(&ann, first, request, std::slice::from_ref(&command));
        let [Answer::Created(made)] = &made[..] else { panic!("{made:?}") };
        let same = world.ask_as(&ann, first, request, std::slice::from_ref(&command));
        assert_eq!(same, [Answer::Created(made.clone())]);
        let answers = world.ask_as(&ann, again, request, &[command]);
        let [Answer::Created(replayed)] = &answers[..] else { panic!("{answers:?}") };
        let plain = prf(&mut world, &mut ann, As::Member, made.id);
        assert!(replayed.prf.as_ref() == Some(&plain));
        assert_eq!(replayed.id, made.id);
    }
}

/// Rows of a device are sealed under keys of the record alone: outputs of a PRF must not stand there.
#[test]
fn a_replayed_creation_without_the_half_of_the_device_gives_no_prf() {
    let (mut world, mut ann) = settled();
    let create = CreatePasskey { prf: Some(SALTS), ..create_for("example.com") };
    let request = ann.request_id();
    let commands = [Command::CreatePasskey(create)];
    world.ask_as(&ann, As::Member, request, &commands);
    let mut session = world.session();
    let mut bare = ann.unsigned(As::Member, request, &commands);
    bare.wrapped = None;
    let bare = ann.sign(bare, As::Member, session.transport.handshake_hash());
    let answers = world.send(&mut session, &bare).unwrap().answers;
    let [Answer::Created(replayed)] = &answers[..] else { panic!("{answers:?}") };
    assert!(replayed.prf.is_none());
}

#[test]
fn a_sign_in_with_extensions_is_the_only_command_of_its_request() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    for assert in
        [with_prf(id), Assert { large_blob: Some(LargeBlobUse::Read), ..assert_for(id, "example.com") }]
    {
        let commands = [Command::Assert(assert), Command::ListDevices];
        assert_eq!(code(&world.ask(&mut ann, As::Member, &commands)), Code::BadOptions);
    }
}

#[test]
fn cred_protect_stands_in_the_authenticator_data_as_it_was_asked_for() {
    let (mut world, mut ann) = settled();
    for level in CredProtect::ALL {
        let create = CreatePasskey { cred_protect: Some(*level), ..create_for("example.com") };
        let made = created(&mut world, &mut ann, As::Member, create);
        let data = &made.authenticator_data;
        assert_eq!(data[32] & 0xc0, 0xc0, "attested credential data and extensions");
        let extensions = [&[0xa1, 0x6b][..], b"credProtect", &[level.number()]].concat();
        assert_eq!(data[71..], [&made.public_key[..], &extensions].concat());
        assert!(made.attestation_object.ends_with(data));
    }
}

#[test]
fn a_protected_passkey_signs_only_for_who_shows_enough() {
    let (mut world, mut ann) = settled();
    // Level, listed, verified -> signs.
    let cases = [
        (Some(CredProtect::Optional), false, false, true),
        (None, false, false, true),
        (Some(CredProtect::OptionalWithList), false, false, false),
        (Some(CredProtect::OptionalWithList), true, false, true),
        (Some(CredProtect::OptionalWithList), false, true, true),
        (Some(CredProtect::Required), false, false, false),
        (Some(CredProtect::Required), true, false, false),
        (Some(CredProtect::Required), false, true, true),
    ];
    for (cred_protect, listed, verified, signs) in cases {
        let create = CreatePasskey { cred_protect, ..create_for("example.com") };
        let id = created(&mut world, &mut ann, As::Member, create).id;
        let mut assert = with_prf(id);
        assert.listed = listed;
        assert.user_verification = UserVerification::Discouraged;
        let sender = if verified { As::MemberWithUv } else { As::Member };
        let answers = world.ask(&mut ann, sender, &[Command::Assert(assert)]);
        match &answers[..] {
            [Answer::Asserted(_)] => assert!(signs, "{cred_protect:?} {listed} {verified}"),
            other => {
                assert!(!signs, "{cred_protect:?} {listed} {verified}: {other:?}");
                assert_eq!(code(other), Code::UvRequired);
            }
        }
    }
}

#[test]
fn a_replay_does_not_get_past_cred_protect() {
    let (mut world, mut ann) = settled();
    let create = CreatePasskey { cred_protect: Some(CredProtect::Required), ..create_for("example.com") };
    let id = created(&mut world, &mut ann, As::Member, create).id;
    let request = ann.request_id();
    let assert = [Command::Assert(assert_for(id, "example.com"))];
    assert!(matches!(&world.ask_as(&ann, As::MemberWithUv, request, &assert)[..], [Answer::Asserted(_)]));
    assert_eq!(code(&world.ask_as(&ann, As::Member, request, &assert)), Code::UvRequired);
}

fn write(id: CredentialId, version: u64, blob: &[u8]) -> Command {
    let write = LargeBlobWrite { version, blob: blob.into() };
    let large_blob = Some(LargeBlobUse::Write(write));
    Command::Assert(Assert { large_blob, ..assert_for(id, "example.com") })
}

fn read(world: &mut World, device: &mut Device, id: CredentialId) -> Option<LargeBlobAnswer> {
    let assert = Assert { large_blob: Some(LargeBlobUse::Read), ..assert_for(id, "example.com") };
    asserted(world, device, As::Member, assert).large_blob
}

fn written(world: &mut World, device: &mut Device, command: Command) {
    let answers = world.ask(device, As::Member, &[command]);
    let [Answer::Asserted(asserted)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(asserted.large_blob, Some(LargeBlobAnswer::Written));
}

#[test]
fn a_large_blob_that_was_written_is_read_on_every_device_and_after_a_restart() {
    let (mut world, mut ann) = settled();
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    let id = world.create(&mut ann, "example.com").id;
    assert_eq!(read(&mut world, &mut phone, id), None, "there is none yet");
    let longest: Vec<u8> = sha256(&[b"x"]).into_iter().cycle().take(limits::LARGE_BLOB_MAX).collect();
    for (version, blob) in [(1, &b"first"[..]), (2, &longest), (3, &[])] {
        written(&mut world, &mut ann, write(id, version, blob));
        let expected = Some(LargeBlobAnswer::Read(blob.into()));
        assert_eq!(read(&mut world, &mut phone, id), expected);
        world.restart();
        assert_eq!(read(&mut world, &mut ann, id), expected);
    }
    // The hot row does not grow with it.
    let row = &world.host.disk.accounts[&ann.account.unwrap()].passkeys[&id];
    assert!(row.to_bytes().len() < 800, "{}", row.to_bytes().len());
}

#[test]
fn a_large_blob_beyond_8_kib_or_of_another_version_is_refused_and_nothing_is_written() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    written(&mut world, &mut ann, write(id, 1, b"kept"));
    let entries = world.host.entries(&ann.account.unwrap());
    let answers = world.ask(&mut ann, As::Member, &[write(id, 2, &vec![0; limits::LARGE_BLOB_MAX + 1])]);
    let [Answer::Refused(refusal)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((refusal.code, refusal.name.as_deref()), (Code::BadOptions, Some("NotSupportedError")));
    for version in [0, 1, 3] {
        assert_eq!(code(&world.ask(&mut ann, As::Member, &[write(id, version, b"new")])), Code::Conflict);
    }
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
    assert_eq!(read(&mut world, &mut ann, id), Some(LargeBlobAnswer::Read(b"kept"[..].into())));
}

#[test]
fn a_write_that_comes_again_writes_nothing_again() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let request = ann.request_id();
    world.ask_as(&ann, As::Member, request, &[write(id, 1, b"old")]);
    written(&mut world, &mut ann, write(id, 2, b"new"));
    let entries = world.host.entries(&ann.account.unwrap());
    let answers = world.ask_as(&ann, As::Member, request, &[write(id, 1, b"old")]);
    let [Answer::Asserted(asserted)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(asserted.large_blob, Some(LargeBlobAnswer::Written));
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
    assert_eq!(read(&mut world, &mut ann, id), Some(LargeBlobAnswer::Read(b"new"[..].into())));
}

#[test]
fn a_large_blob_goes_with_its_passkey() {
    let (mut world, mut ann) = settled();
    let account = ann.account.unwrap();
    let id = world.create(&mut ann, "example.com").id;
    written(&mut world, &mut ann, write(id, 1, b"blob"));
    assert_eq!(world.host.disk.accounts[&account].large_blobs.len(), 1);
    world.ask(&mut ann, As::Member, &[Command::DeletePasskey(DeletePasskey { id, version: 2 })]);
    let stored = &world.host.disk.accounts[&account];
    assert!(stored.large_blobs.is_empty() && stored.passkeys[&id].large_blob.is_none());
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[write(id, 3, b"blob")])), Code::NoCredentials);
}

#[test]
fn an_older_or_bent_large_blob_is_refused() {
    let (mut world, mut ann) = settled();
    let account = ann.account.unwrap();
    let id = world.create(&mut ann, "example.com").id;
    written(&mut world, &mut ann, write(id, 1, b"yesterday"));
    let old = world.host.disk.accounts[&account].large_blobs[&id].clone();
    written(&mut world, &mut ann, write(id, 2, b"today"));
    let mut bent = world.host.disk.accounts[&account].large_blobs[&id].clone();
    bent[40] ^= 1;
    for lie in [old, bent, Vec::new()] {
        world.host.lie = Some(Box::new(move |view| {
            for passkey in view.passkeys.iter_mut().filter(|passkey| passkey.large_blob.is_some()) {
                passkey.large_blob = Some(lie.clone().into());
            }
        }));
        let assert = Assert { large_blob: Some(LargeBlobUse::Read), ..assert_for(id, "example.com") };
        let refused = world.try_ask(&mut ann, As::Member, &[Command::Assert(assert)]);
        assert_eq!(refused, Err(Reason::Store));
    }
    world.host.lie = None;
    assert_eq!(read(&mut world, &mut ann, id), Some(LargeBlobAnswer::Read(b"today"[..].into())));
}
