//! The channel, rejection by rejection: who is in the middle reads nothing, changes nothing and repeats nothing.

use crate::client::{As, Device, Session, chan_key, identity, knock, signature};
use crate::platform::Seeded;
use crate::world::{PASSWORD, World, code, settled, world};
use keyferry_crypto::channel::{self, ChannelKey, Initiator, Suite};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::seal;
use keyferry_crypto::sign::SigningKey;
use keyferry_wire::Wire;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Answer, Command, RenameDevice};
use keyferry_wire::door::{Drop, Need, OutBody, Work};
use keyferry_wire::frame::{Level, Request, RequestFrame};
use keyferry_wire::limits;
use keyferry_wire::refusal::Code;

/// A settled account with a session and a request that would be answered.
fn asking() -> (World, Session, Device, Request) {
    let (mut world, mut ann) = settled();
    let session = world.session();
    let id = ann.request_id();
    let request = ann.request(&session, As::Member, id, &[Command::ListDevices]);
    (world, session, ann, request)
}

fn dropped(world: &mut World, frame: RequestFrame) -> Drop {
    match world.host.serve(frame) {
        OutBody::Dropped(reason) => reason,
        other => panic!("answered: {other:?}"),
    }
}

#[test]
fn a_sound_request_is_answered() {
    let (mut world, mut session, ann, request) = asking();
    let reply = world.send(&mut session, &request).unwrap();
    assert_eq!((reply.version, reply.id), (1, request.id));
    let [Answer::Devices(devices)] = &reply.answers[..] else { panic!() };
    assert_eq!(devices.devices[0].device, ann.id);
}

#[test]
fn a_swapped_channel_key_fails_the_handshake() {
    let mut world = world();
    let evidence = world.host.evidence.clone().unwrap();
    let hash = sha256(&[&evidence.to_bytes()]);
    let prologue = channel::prologue(Suite::One, &hash, &[]);
    let foreign = ChannelKey::generate(&mut Seeded::new(3));
    let (_, message) = Initiator::start(&mut world.random, Suite::One, &foreign.public(), &prologue).unwrap();
    let (_, mut open) = knock(&mut world.random, &evidence);
    open.message = message.into();
    assert_eq!(world.host.open(open), OutBody::Dropped(Drop::Frame));
}

#[test]
fn a_man_in_the_middle_who_answers_himself_is_found_out() {
    let world = world();
    let evidence = world.host.evidence.clone().unwrap();
    let (state, open) = knock(&mut Seeded::new(4), &evidence);
    let prologue = channel::prologue(Suite::One, &open.evidence, &[]);
    let foreign = ChannelKey::generate(&mut Seeded::new(3));
    assert!(channel::respond(&foreign, &mut Seeded::new(5), Suite::One, &prologue, &open.message).is_err());
    drop(state);
}

#[test]
fn an_altered_evidence_hash_opens_nothing() {
    let mut world = world();
    let evidence = world.host.evidence.clone().unwrap();
    let (_, mut open) = knock(&mut world.random, &evidence);
    open.evidence[31] ^= 1;
    assert_eq!(world.host.open(open), OutBody::Dropped(Drop::Evidence));
}

#[test]
fn a_handshake_over_other_evidence_with_the_same_key_fails() {
    let mut world = world();
    let evidence = world.host.evidence.clone().unwrap();
    let mut altered = evidence.clone();
    altered.init_data = Bytes(vec![1]);
    assert_eq!(chan_key(&altered), chan_key(&evidence));
    let (_, mut open) = knock(&mut world.random, &altered);
    assert_eq!(world.host.open(open.clone()), OutBody::Dropped(Drop::Evidence));
    // The gateway corrects the hash; the prologue still says what the client meant.
    open.evidence = sha256(&[&evidence.to_bytes()]);
    assert_eq!(world.host.open(open), OutBody::Dropped(Drop::Frame));
}

#[test]
fn handshakes_of_another_version_or_suite_are_refused_by_name() {
    let mut world = world();
    let evidence = world.host.evidence.clone().unwrap();
    for (version, suite) in [(0, 1), (2, 1), (u16::MAX, 1), (1, 0), (1, 2)] {
        let (_, mut open) = knock(&mut world.random, &evidence);
        (open.version, open.suite) = (version, suite);
        assert_eq!(world.host.open(open), OutBody::Dropped(Drop::Version));
    }
}

#[test]
fn a_handshake_message_cut_or_flipped_anywhere_is_refused() {
    let mut world = world();
    let evidence = world.host.evidence.clone().unwrap();
    let (_, open) = knock(&mut world.random, &evidence);
    for len in 0..open.message.len() {
        let mut cut = open.clone();
        cut.message.0.truncate(len);
        assert_eq!(world.host.open(cut), OutBody::Dropped(Drop::Frame), "{len}");
        let mut flipped = open.clone();
        flipped.message.0[len] ^= 1;
        assert_eq!(world.host.open(flipped), OutBody::Dropped(Drop::Frame), "{len}");
    }
}

#[test]
fn requests_of_another_version_or_suite_are_refused_by_name() {
    let (mut world, mut session, _, request) = asking();
    let good = session.seal(&request);
    for (version, suite) in [(0, 1), (2, 1), (1, 0), (1, 2)] {
        let frame = RequestFrame { version, suite, ..good.clone() };
        assert_eq!(dropped(&mut world, frame), Drop::Version);
    }
    let inner = Request { version: 2, ..request };
    let frame = session.seal(&inner);
    assert_eq!(dropped(&mut world, frame), Drop::Version);
}

#[test]
fn a_replayed_frame_is_refused() {
    let (mut world, mut session, _, request) = asking();
    let frame = session.seal(&request);
    assert!(matches!(world.host.serve(frame.clone()), OutBody::Reply(_)));
    assert_eq!(dropped(&mut world, frame), Drop::Frame);
}

#[test]
fn a_replayed_frame_is_refused_within_one_turn() {
    let (mut world, mut session, _, request) = asking();
    let frame = session.seal(&request);
    let work = vec![world.host.work(frame.clone()), world.host.work(frame)];
    let second = work[1].ticket;
    let out = world.host.turn(Vec::new(), work);
    let body = &out.iter().find(|out| out.ticket == second).unwrap().body;
    assert_eq!(*body, OutBody::Dropped(Drop::Frame));
}

#[test]
fn an_older_message_is_refused_after_a_newer_one() {
    let (mut world, mut session, _, request) = asking();
    let older = session.seal(&request);
    let newer = session.seal(&request);
    assert!(matches!(world.host.serve(newer), OutBody::Reply(_)));
    assert_eq!(dropped(&mut world, older), Drop::Frame);
}

#[test]
fn a_frame_under_another_number_is_refused() {
    let (mut world, mut session, _, request) = asking();
    let mut frame = session.seal(&request);
    frame.number = 5;
    assert_eq!(dropped(&mut world, frame), Drop::Frame);
}

#[test]
fn a_session_ends_at_its_last_message_number() {
    let (mut world, session, _, request) = asking();
    let padded = seal::pad256(&request.to_bytes());
    let frame = session.seal_bytes(limits::SESSION_MESSAGES_MAX, &padded, &request);
    assert_eq!(dropped(&mut world, frame), Drop::Session);
    let frame = session.seal_bytes(limits::SESSION_MESSAGES_MAX - 1, &padded, &request);
    assert!(matches!(world.host.serve(frame), OutBody::Reply(_)));
    // The reserved number, under which only a host could send anything.
    let mut frame = session.seal_bytes(0, &padded, &request);
    frame.number = u64::MAX;
    assert_eq!(dropped(&mut world, frame), Drop::Session);
}

#[test]
fn a_session_ends_after_ten_idle_minutes() {
    let (mut world, mut session, _, request) = asking();
    world.wait(limits::SESSION_IDLE_MS);
    let frame = session.seal(&request);
    assert!(matches!(world.host.serve(frame), OutBody::Reply(_)));
    world.wait(limits::SESSION_IDLE_MS + 1);
    let frame = session.seal(&request);
    assert_eq!(dropped(&mut world, frame), Drop::Session);
}

#[test]
fn a_request_held_back_beyond_its_session_is_not_run() {
    let (mut world, mut session, ann, _) = asking();
    let frame = renaming(&mut session, &ann, "stolen");
    let held = hold(&mut world, frame);
    world.wait(limits::SESSION_IDLE_MS + 1);
    let entries = world.host.entries(&ann.account.unwrap());
    assert_eq!(let_go(&mut world, &held), OutBody::Dropped(Drop::Session));
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
}

/// Hands a frame over without rows, so that it waits in the enclave.
fn hold(world: &mut World, frame: RequestFrame) -> (u64, Need) {
    let ticket = world.host.ticket();
    let work = Work { ticket, frame: Some(frame), view: None };
    match world.host.turn(Vec::new(), vec![work]).remove(0).body {
        OutBody::Need(need) => (ticket, need),
        other => panic!("it did not wait: {other:?}"),
    }
}

fn let_go(world: &mut World, (ticket, need): &(u64, Need)) -> OutBody {
    let work = world.host.resume(*ticket, need);
    world.host.turn(Vec::new(), vec![work]).remove(0).body
}

fn renaming(session: &mut Session, ann: &Device, label: &str) -> RequestFrame {
    let rename = RenameDevice { device: ann.id, label: label.to_owned() };
    let id = keyferry_wire::RequestId([label.len() as u8; 16]);
    session.seal(&ann.request(session, As::Member, id, &[Command::RenameDevice(rename)]))
}

#[test]
fn a_frame_held_back_does_not_outlive_the_session_that_its_device_went_on_to() {
    let (mut world, mut old, mut ann, _) = asking();
    let late = renaming(&mut old, &ann, "late");
    let mut new = world.session();
    let id = ann.request_id();
    let request = ann.request(&new, As::Member, id, &[Command::ListDevices]);
    world.send(&mut new, &request).unwrap();
    // The host lets the old session look busy, and has the new one closed for idleness.
    world.wait(limits::SESSION_IDLE_MS / 2);
    let held = hold(&mut world, late);
    world.wait(limits::SESSION_IDLE_MS / 2 + 1);
    let frame = new.seal(&request);
    assert_eq!(dropped(&mut world, frame), Drop::Session);
    let entries = world.host.entries(&ann.account.unwrap());
    assert_eq!(let_go(&mut world, &held), OutBody::Dropped(Drop::Session));
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
}

#[test]
fn a_request_is_not_run_after_a_newer_one_of_its_session() {
    let (mut world, mut session, ann, _) = asking();
    let held = {
        let older = renaming(&mut session, &ann, "older");
        hold(&mut world, older)
    };
    let newer = renaming(&mut session, &ann, "the newer one");
    assert!(matches!(world.host.serve(newer), OutBody::Reply(_)));
    let entries = world.host.entries(&ann.account.unwrap());
    assert_eq!(let_go(&mut world, &held), OutBody::Dropped(Drop::Frame));
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
}

#[test]
fn a_stranger_shows_no_signature_that_nothing_checks() {
    let (mut world, _) = settled();
    let mut stranger = world.device();
    let status = [Command::Authenticate(identity("ann", PASSWORD)), Command::PinStatus];
    assert_eq!(code(&world.ask(&mut stranger, As::StrangerWithUv, &status)), Code::Auth);
    assert!(matches!(world.ask(&mut stranger, As::Stranger, &status)[..], [_, Answer::PinStatus(_)]));
}

#[test]
fn an_unknown_session_is_refused() {
    let (mut world, mut session, _, request) = asking();
    let mut frame = session.seal(&request);
    frame.session.0[15] ^= 1;
    assert_eq!(dropped(&mut world, frame), Drop::Session);
}

#[test]
fn a_session_does_not_survive_a_restart() {
    let (mut world, mut session, _, request) = asking();
    world.restart();
    let frame = session.seal(&request);
    assert_eq!(dropped(&mut world, frame), Drop::Session);
}

#[test]
fn a_frame_moved_to_another_session_is_refused() {
    let (mut world, mut session, _, request) = asking();
    let other = world.session();
    let mut frame = session.seal(&request);
    frame.session = other.id;
    assert_eq!(dropped(&mut world, frame), Drop::Frame);
}

#[test]
fn a_request_relayed_into_a_session_of_the_relay_is_refused() {
    // The relay ends the client's channel itself (a fake enclave) and speaks to the true one: the signature names
    // the session in which it was made.
    let (mut world, _, _, request) = asking();
    let mut relay = world.session();
    let reply = world.send(&mut relay, &request).unwrap();
    assert_eq!(code(&reply.answers), Code::Auth);
    assert_eq!(reply.account, None);
}

#[test]
fn a_signature_for_another_session_is_refused() {
    let (mut world, mut session, ann, mut request) = asking();
    let other = world.session();
    request.signatures = vec![signature(&request, Level::Hw, &ann.hw, other.transport.handshake_hash())];
    let reply = world.send(&mut session, &request).unwrap();
    assert_eq!(code(&reply.answers), Code::Auth);
}

#[test]
fn every_signed_field_of_a_request_matters() {
    let (mut world, mut session, mut ann, request) = asking();
    let bends: [fn(&mut Request); 5] = [
        |request| request.commands = vec![Command::PinStatus].to_bytes().into(),
        |request| request.id.0[0] ^= 1,
        |request| request.seen = Some(keyferry_wire::frame::Head { size: 1, root: [0; 32] }),
        |request| request.wrapped = None,
        |request| request.key = Some(Bytes(vec![4; 65])),
    ];
    for bend in bends {
        let mut bent = request.clone();
        bend(&mut bent);
        let reply = world.send(&mut session, &bent).unwrap();
        assert_eq!(code(&reply.answers), Code::Auth, "{bent:?}");
    }
    // Another account: the device is not known there.
    let mut ben = world.member("ben");
    let mut bent = request.clone();
    bent.account = ben.account;
    assert_eq!(code(&world.send(&mut session, &bent).unwrap().answers), Code::UnknownDevice);
    bent = request.clone();
    bent.device = Some(ben.id);
    assert_eq!(code(&world.send(&mut session, &bent).unwrap().answers), Code::UnknownDevice);
    assert_eq!(world.status(&mut ann).left, 10);
    assert_eq!(world.status(&mut ben).generation, 0);
}

#[test]
fn the_two_keys_of_a_device_cannot_stand_for_each_other() {
    let (mut world, mut session, ann, mut request) = asking();
    let handshake = *session.transport.handshake_hash();
    let uv = ann.uv.as_ref().unwrap();
    let hw = signature(&request, Level::Hw, &ann.hw, &handshake);
    let hw_as_uv = keyferry_wire::frame::Signature { level: Level::Uv, ..hw.clone() };
    let by_uv = signature(&request, Level::Uv, uv, &handshake);
    let uv_as_hw = keyferry_wire::frame::Signature { level: Level::Hw, ..by_uv.clone() };
    let crossed = [
        vec![],
        vec![by_uv.clone()],
        vec![uv_as_hw.clone()],
        vec![uv_as_hw, hw_as_uv.clone()],
        vec![hw.clone(), hw_as_uv],
        vec![hw.clone(), signature(&request, Level::Uv, &ann.hw, &handshake)],
        vec![signature(&request, Level::Hw, uv, &handshake)],
        vec![hw.clone(), hw.clone()],
        vec![hw, by_uv.clone(), by_uv],
    ];
    for signatures in crossed {
        request.signatures = signatures;
        let reply = world.send(&mut session, &request).unwrap();
        assert_eq!(code(&reply.answers), Code::Auth, "{:?}", request.signatures);
    }
}

#[test]
fn a_signature_of_another_algorithm_is_refused() {
    let (mut world, mut session, _, mut request) = asking();
    request.signatures[0].alg = -257;
    assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::Auth);
}

#[test]
fn a_device_without_uv_key_cannot_show_uv() {
    let mut world = world();
    let mut device = world.device();
    device.uv = None;
    let commands =
        [Command::CreateAccount(crate::client::identity("ann", 1)), Command::Enrol(device.registration())];
    let answers = world.ask(&mut device, As::Stranger, &commands);
    let Answer::Member(member) = &answers[1] else { panic!("{answers:?}") };
    device.admit(member);
    device.uv = Some(SigningKey::generate(&mut Seeded::new(5)));
    assert_eq!(code(&world.ask(&mut device, As::MemberWithUv, &[Command::PinStatus])), Code::Auth);
}

#[test]
fn signatures_without_a_device_are_refused() {
    let (mut world, mut session, ann, mut request) = asking();
    request.device = None;
    request.signatures = vec![signature(&request, Level::Hw, &ann.hw, session.transport.handshake_hash())];
    assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::Auth);
}

#[test]
fn a_request_that_names_nobody_is_refused() {
    let (mut world, mut session, _, mut request) = asking();
    request.account = None;
    assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::BadOptions);
}

#[test]
fn a_frame_cut_at_every_byte_is_refused_and_uses_up_nothing() {
    let (mut world, mut session, _, request) = asking();
    let frame = session.seal(&request);
    for len in 0..frame.ciphertext.len() {
        let mut cut = frame.clone();
        cut.ciphertext.0.truncate(len);
        assert_eq!(dropped(&mut world, cut), Drop::Frame, "{len}");
    }
    assert!(matches!(world.host.serve(frame), OutBody::Reply(_)));
}

#[test]
fn a_request_cut_at_every_byte_inside_the_channel_is_refused() {
    let (mut world, session, _, request) = asking();
    let bytes = request.to_bytes();
    for (number, len) in (0..).zip(0..bytes.len()) {
        let frame = session.seal_bytes(number, &seal::pad256(&bytes[..len]), &request);
        assert_eq!(dropped(&mut world, frame), Drop::Frame, "{len}");
    }
}

#[test]
fn commands_cut_at_every_byte_are_refused() {
    let (mut world, mut session, ann, _) = asking();
    let whole = vec![Command::RenameDevice(RenameDevice { device: ann.id, label: "x".to_owned() })];
    let bytes = whole.to_bytes();
    for len in 0..bytes.len() {
        let mut request = ann.unsigned(As::Member, keyferry_wire::RequestId([2; 16]), &whole);
        request.commands.0.truncate(len);
        let request = ann.sign(request, As::Member, session.transport.handshake_hash());
        let reply = world.send(&mut session, &request).unwrap();
        assert_eq!(code(&reply.answers), Code::BadOptions, "{len}");
    }
}

#[test]
fn a_request_without_padding_is_refused() {
    let (mut world, session, _, request) = asking();
    for (number, padded) in [(0, Vec::new()), (1, vec![0; 256]), (2, vec![7; 256])] {
        let frame = session.seal_bytes(number, &padded, &request);
        assert_eq!(dropped(&mut world, frame), Drop::Frame);
    }
}

#[test]
fn an_oversized_frame_is_refused() {
    let (mut world, mut session, _, request) = asking();
    let mut frame = session.seal(&request);
    for len in [limits::FRAME_MAX, 70_000, 4 << 20] {
        frame.ciphertext.0 = vec![1; len];
        assert_eq!(dropped(&mut world, frame.clone()), Drop::Frame);
    }
}

#[test]
fn no_command_and_nine_commands_are_refused() {
    let (mut world, mut ann) = settled();
    for count in [0, limits::COMMANDS_MAX + 1] {
        let commands = vec![Command::PinStatus; count];
        assert_eq!(code(&world.ask(&mut ann, As::Member, &commands)), Code::BadOptions);
    }
    assert_eq!(world.ask(&mut ann, As::Member, &vec![Command::PinStatus; limits::COMMANDS_MAX]).len(), 8);
}

#[test]
fn replies_are_padded_and_carry_the_number_of_their_request() {
    let (mut world, mut session, _, request) = asking();
    session.next = 41;
    let frame = session.seal(&request);
    let OutBody::Reply(sealed) = world.host.serve(frame) else { panic!() };
    assert_eq!(sealed.reply.number, 41);
    assert_eq!((sealed.reply.ciphertext.len() - 16) % limits::PADDING, 0);
}

#[test]
fn nothing_that_a_refused_stranger_sees_tells_of_the_account() {
    let (mut world, ann) = settled();
    let mut stranger = world.device();
    stranger.account = ann.account;
    let mut session = world.session();
    let mut request = stranger.unsigned(As::Member, keyferry_wire::RequestId([1; 16]), &[Command::PinStatus]);
    request.key = Some(stranger.hw.public().to_vec().into());
    let request = stranger.sign(request, As::Member, session.transport.handshake_hash());
    let reply = world.send(&mut session, &request).unwrap();
    assert_eq!(code(&reply.answers), Code::UnknownDevice);
    assert_eq!((reply.account, reply.checkpoint), (None, None));
}
