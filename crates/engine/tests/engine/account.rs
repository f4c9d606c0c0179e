//! Accounts and their first devices.

use crate::client::{As, Device, identity};
use crate::world::{PASSWORD, PIN, World, code, settled, world};
use keyferry_wire::command::{Answer, Authenticate, Command, DeviceState, IdentityKind, RenameDevice};
use keyferry_wire::door::{Drop as Reason, OutBody};
use keyferry_wire::limits;
use keyferry_wire::refusal::Code;

fn create(world: &mut World, device: &mut Device, name: &str) -> Vec<Answer> {
    world.ask(device, As::Nobody, &[Command::CreateAccount(identity(name, PASSWORD))])
}

fn authenticate(world: &mut World, device: &mut Device, name: &str, password: u8) -> Vec<Answer> {
    world.ask(device, As::Nobody, &[Command::Authenticate(identity(name, password))])
}

#[test]
fn an_account_is_created_once() {
    let mut world = world();
    let mut device = world.device();
    let answers = create(&mut world, &mut device, "ann");
    let [Answer::Account(account)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!((account.members, account.origin.as_str()), (0, "log.example/0"));
    assert_eq!(code(&create(&mut world, &mut device, "ann")), Code::Exists);
    assert_eq!(world.host.entries(&account.account), 1);
}

#[test]
fn an_account_is_not_created_again_over_a_hidden_row() {
    let mut world = world();
    let mut device = world.device();
    create(&mut world, &mut device, "ann");
    world.host.lie = Some(Box::new(|view| view.state = None));
    let commands = [Command::CreateAccount(identity("ann", 9))];
    assert!(world.try_ask(&mut device, As::Nobody, &commands).is_err());
}

#[test]
fn two_creations_of_one_name_in_one_turn_make_one_account() {
    let mut world = world();
    let mut waiting = Vec::new();
    let mut work = Vec::new();
    for password in [1, 2] {
        let mut device = world.device();
        let mut session = world.session();
        let id = device.request_id();
        let commands = [Command::CreateAccount(identity("ann", password))];
        let request = device.request(&session, As::Nobody, id, &commands);
        let item = world.host.work(session.seal(&request));
        waiting.push((item.ticket, session));
        work.push(item);
    }
    let needs = world.host.turn(Vec::new(), work);
    let work = needs.iter().map(|out| match &out.body {
        OutBody::Need(need) => world.host.resume(out.ticket, need),
        other => panic!("{other:?}"),
    });
    let work = work.collect();
    let out = world.host.turn(Vec::new(), work);
    assert_eq!(out.len(), 1, "the first waits for its batch");
    assert_eq!((out[0].ticket, &out[0].body), (waiting[1].0, &OutBody::Busy));
    let account = *world.host.disk.accounts.keys().next().unwrap();
    let OutBody::Need(need) = needs[1].body.clone() else { panic!() };
    let work = world.host.resume(waiting[1].0, &need);
    world.host.persist();
    let first = world.host.turn(Vec::new(), vec![work]);
    let answer = |world: &mut World, at: usize, body: &OutBody| {
        world.read(&waiting[at].1, body.clone()).unwrap().answers
    };
    assert_eq!(first.len(), 2);
    assert!(matches!(&answer(&mut world, 0, &first[0].body)[..], [Answer::Account(_)]));
    assert_eq!(code(&answer(&mut world, 1, &first[1].body)), Code::Exists);
    assert_eq!(world.host.entries(&account), 1);
    let mut device = world.device();
    assert!(matches!(&authenticate(&mut world, &mut device, "ann", 1)[..], [Answer::Account(_)]));
    assert_eq!(code(&authenticate(&mut world, &mut device, "ann", 2)), Code::Auth);
}

#[test]
fn names_that_people_cannot_tell_apart_by_spaces_are_refused() {
    let mut world = world();
    let mut device = world.device();
    for name in ["", " ann", "ann ", "a\nb", "a\0b", &"x".repeat(257)] {
        assert_eq!(code(&create(&mut world, &mut device, name)), Code::BadOptions, "{name:?}");
    }
}

#[test]
fn a_wrong_password_is_counted_in_the_ledger() {
    let (mut world, mut ann) = settled();
    let account = ann.account.unwrap();
    let before = world.host.entries(&account);
    assert_eq!(code(&authenticate(&mut world, &mut ann, "ann", 9)), Code::Auth);
    assert_eq!(world.host.entries(&account), before + 1);
    assert!(matches!(&authenticate(&mut world, &mut ann, "ann", PASSWORD)[..], [Answer::Account(_)]));
}

#[test]
fn ten_wrong_passwords_in_an_hour_shut_the_door_for_the_right_one_too() {
    let (mut world, _) = settled();
    let mut stranger = world.device();
    for _ in 0..limits::PASSWORD_FAILURES_MAX {
        assert_eq!(code(&authenticate(&mut world, &mut stranger, "ann", 9)), Code::Auth);
    }
    assert_eq!(code(&authenticate(&mut world, &mut stranger, "ann", 9)), Code::RateLimited);
    assert_eq!(code(&authenticate(&mut world, &mut stranger, "ann", PASSWORD)), Code::RateLimited);
    world.wait(limits::PASSWORD_WINDOW_MS - 60_000);
    assert_eq!(code(&authenticate(&mut world, &mut stranger, "ann", PASSWORD)), Code::RateLimited);
    world.wait(60_001);
    let answers = authenticate(&mut world, &mut stranger, "ann", PASSWORD);
    assert!(matches!(&answers[..], [Answer::Account(_)]), "{answers:?}");
}

#[test]
fn wrong_passwords_count_over_sessions_devices_and_restarts() {
    let (mut world, _) = settled();
    for _ in 0..limits::PASSWORD_FAILURES_MAX {
        let mut stranger = world.device();
        assert_eq!(code(&authenticate(&mut world, &mut stranger, "ann", 9)), Code::Auth);
        world.restart();
    }
    let mut stranger = world.device();
    assert_eq!(code(&authenticate(&mut world, &mut stranger, "ann", PASSWORD)), Code::RateLimited);
}

#[test]
fn several_passwords_in_one_request_are_one_guess() {
    let (mut world, _) = settled();
    let mut stranger = world.device();
    let commands: Vec<_> =
        [7, 8, PASSWORD].map(|guess| Command::Authenticate(identity("ann", guess))).to_vec();
    assert_eq!(world.ask(&mut stranger, As::Nobody, &commands).len(), 1);
}

#[test]
fn an_unknown_name_answers_like_a_wrong_password() {
    let (mut world, _) = settled();
    let mut stranger = world.device();
    let unknown = authenticate(&mut world, &mut stranger, "nobody", 9);
    assert_eq!(unknown, authenticate(&mut world, &mut stranger, "ann", 9));
}

#[test]
fn an_identity_does_not_open_the_account_that_the_request_names() {
    let (mut world, ann) = settled();
    world.member("ben");
    let mut stranger = world.device();
    let mut session = world.session();
    let commands = [Command::Authenticate(identity("ben", PASSWORD)), Command::PinStatus];
    let id = stranger.request_id();
    let mut request = stranger.unsigned(As::Stranger, id, &commands);
    request.account = ann.account;
    let request = stranger.sign(request, As::Stranger, session.transport.handshake_hash());
    assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::Auth);
}

#[test]
fn the_name_of_a_second_identity_in_a_request_opens_nothing() {
    let (mut world, _) = settled();
    let ben = world.device();
    let mut ben = ben;
    let commands = [Command::CreateAccount(identity("ben", 5))];
    world.ask(&mut ben, As::Nobody, &commands);
    let commands = [
        Command::Authenticate(identity("ben", 5)),
        Command::Authenticate(Authenticate { kind: IdentityKind::Local, name: "ann".into(), proof: [5; 32] }),
        Command::PinStatus,
    ];
    let answers = world.ask(&mut ben, As::Nobody, &commands);
    let Some(Answer::PinStatus(status)) = answers.last() else { panic!("{answers:?}") };
    assert_eq!(status.generation, 0, "still the account of the first identity, which has no PIN");
}

#[test]
fn the_first_device_is_enrolled_and_gets_its_half() {
    let mut world = world();
    let ann = world.member("ann");
    let secrets = ann.secrets.as_ref().unwrap();
    assert_eq!(secrets.epoch, 1);
    assert_ne!(secrets.audit_key, secrets.metadata_key);
    assert_eq!(world.host.disk.accounts[&ann.account.unwrap()].devices.len(), 1);
}

#[test]
fn a_second_enrolment_is_refused() {
    let (mut world, mut ann) = settled();
    let mut thief = world.device();
    let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::Enrol(thief.registration())];
    assert_eq!(code(&world.ask(&mut thief, As::StrangerWithUv, &commands)), Code::Exists);
    assert_eq!(code(&world.ask(&mut ann, As::MemberWithUv, &commands)), Code::Auth, "keys of another");
    let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::Enrol(ann.registration())];
    assert_eq!(code(&world.ask(&mut ann, As::MemberWithUv, &commands)), Code::Exists, "the domain is in use");
}

#[test]
fn a_first_device_that_lost_the_answer_may_enrol_again_in_other_words() {
    let mut world = world();
    let mut ann = world.device();
    create(&mut world, &mut ann, "ann");
    let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::Enrol(ann.registration())];
    let lost = world.ask(&mut ann, As::StrangerWithUv, &commands);
    assert!(matches!(lost.last(), Some(Answer::Member(_))), "{lost:?}");
    let answers = world.ask(&mut ann, As::StrangerWithUv, &commands);
    let Some(Answer::Member(member)) = answers.last() else { panic!("{answers:?}") };
    assert_eq!(member.members.len(), 1);
    ann.admit(member);
    world.set_pin(&mut ann, PIN);
    world.enter_pin(&mut ann, PIN).unwrap();
}

#[test]
fn a_member_that_lost_the_answer_to_its_join_is_let_in_again_with_the_pin() {
    let (mut world, _) = settled();
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    // The answer was lost; the same device asks again in other words.
    let member = world.join(&mut phone, "ann", PIN).unwrap();
    assert_eq!(member.members.len(), 2);
    phone.admit(&member);
    world.create(&mut phone, "example.org");
}

#[test]
fn two_first_devices_in_one_turn_are_one() {
    let mut world = world();
    let mut nobody = world.device();
    create(&mut world, &mut nobody, "ann");
    let account = *world.host.disk.accounts.keys().next().unwrap();
    let mut tickets = Vec::new();
    let mut work = Vec::new();
    for _ in 0..2 {
        let mut device = world.device();
        let mut session = world.session();
        let commands =
            [Command::Authenticate(identity("ann", PASSWORD)), Command::Enrol(device.registration())];
        let id = device.request_id();
        let request = device.request(&session, As::StrangerWithUv, id, &commands);
        let mut frame = session.seal(&request);
        frame.account = Some(account);
        let item = world.host.work(frame);
        tickets.push((item.ticket, session));
        work.push(item);
    }
    let out = world.host.turn(Vec::new(), work);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].ticket, &out[0].body), (tickets[1].0, &OutBody::Busy));
    let need = keyferry_wire::door::Need {
        account,
        shard: keyferry_wire::ShardId(0),
        map_key: world.host.disk.accounts[&account].map_key,
        devices: Vec::new(),
        passkeys: Vec::new(),
        large_blobs: Vec::new(),
    };
    // Resumed before the first batch is durable: it already sees the state after it.
    let work = world.host.resume(tickets[1].0, &need);
    let out = world.host.turn(Vec::new(), vec![work]);
    assert!(out.is_empty(), "even the refusal waits for the batch that it rests on");
    let body = world.host.settle(tickets[1].0);
    let reply = world.read(&tickets[1].1, body).unwrap();
    assert_eq!(code(&reply.answers), Code::Exists);
    assert_eq!(world.host.disk.accounts[&account].devices.len(), 1);
}

#[test]
fn a_failed_enrolment_leaves_the_account_open_for_another() {
    let mut world = world();
    let mut device = world.device();
    let mut registration = device.registration();
    registration.sealing = [0; 32];
    let commands = [Command::CreateAccount(identity("ann", PASSWORD)), Command::Enrol(registration)];
    assert_eq!(code(&world.ask(&mut device, As::StrangerWithUv, &commands)), Code::BadOptions);
    let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::Enrol(device.registration())];
    let answers = world.ask(&mut device, As::StrangerWithUv, &commands);
    assert!(matches!(&answers[..], [Answer::Account(_), Answer::Member(_)]), "{answers:?}");
}

#[test]
fn a_refused_enrolment_behind_another_command_leaves_the_secret_in_force() {
    let mut world = world();
    let mut ann = world.member("ann");
    let mut bad = ann.registration();
    bad.sealing = [0; 32];
    let rename = RenameDevice { device: ann.id, label: "renamed".to_owned() };
    let commands = [
        Command::Authenticate(identity("ann", PASSWORD)),
        Command::RenameDevice(rename),
        Command::Enrol(bad),
    ];
    let answers = world.ask(&mut ann, As::MemberWithUv, &commands);
    assert_eq!(answers[1], Answer::Renamed);
    assert_eq!(code(&answers), Code::BadOptions);
    world.create(&mut ann, "example.com");
}

#[test]
fn what_makes_long_answers_comes_alone_and_a_request_registers_one_device() {
    let (mut world, mut ann) = settled();
    let rename = || Command::RenameDevice(RenameDevice { device: ann.id, label: "again".to_owned() });
    let lists = [rename(), Command::ListDevices];
    let twice = [Command::ListDevices, Command::ListDevices];
    let enrol = Command::Enrol(ann.registration());
    let enrols = [Command::Authenticate(identity("ann", PASSWORD)), enrol.clone(), enrol];
    let entries = world.host.entries(&ann.account.unwrap());
    assert_eq!(code(&world.ask(&mut ann, As::Member, &lists)), Code::BadOptions);
    assert_eq!(code(&world.ask(&mut ann, As::Member, &twice)), Code::BadOptions);
    assert_eq!(code(&world.ask(&mut ann, As::MemberWithUv, &enrols)), Code::BadOptions);
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
}

#[test]
fn enrolment_needs_proof_of_possession_of_each_key() {
    let mut world = world();
    let mut device = world.device();
    let other = world.device();
    create(&mut world, &mut device, "ann");
    let mut foreign_hw = device.registration();
    foreign_hw.hw = other.registration().hw;
    let mut foreign_uv = device.registration();
    foreign_uv.uv = other.registration().uv;
    let mut one_key = device.registration();
    one_key.uv = Some(one_key.hw.clone());
    let mut no_point = device.registration();
    no_point.uv.as_mut().unwrap().0[64] ^= 1;
    for registration in [foreign_hw, foreign_uv, one_key, no_point] {
        let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::Enrol(registration)];
        assert_eq!(code(&world.ask(&mut device, As::StrangerWithUv, &commands)), Code::Auth);
    }
    // A uv key that did not sign.
    let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::Enrol(device.registration())];
    assert_eq!(code(&world.ask(&mut device, As::Stranger, &commands)), Code::Auth);
    // Nobody signed.
    assert_eq!(code(&world.ask(&mut device, As::Nobody, &commands)), Code::Auth);
}

#[test]
fn a_device_is_named_by_its_own_key() {
    let mut world = world();
    let mut device = world.device();
    create(&mut world, &mut device, "ann");
    device.id.0[0] ^= 1;
    let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::Enrol(device.registration())];
    assert_eq!(code(&world.ask(&mut device, As::StrangerWithUv, &commands)), Code::Auth);
}

#[test]
fn enrolment_without_the_password_is_refused() {
    let mut world = world();
    let mut device = world.device();
    create(&mut world, &mut device, "ann");
    device.account = world.host.disk.accounts.keys().next().copied();
    let mut session = world.session();
    let commands = [Command::Enrol(device.registration())];
    let id = device.request_id();
    let mut request = device.unsigned(As::StrangerWithUv, id, &commands);
    request.account = device.account;
    let request = device.sign(request, As::StrangerWithUv, session.transport.handshake_hash());
    assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::Auth);
}

#[test]
fn the_password_of_one_request_is_no_authority_in_the_next() {
    let (mut world, _) = settled();
    let mut stranger = world.device();
    let mut session = world.session();
    let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::PinStatus];
    let id = stranger.request_id();
    let request = stranger.request(&session, As::Stranger, id, &commands);
    let reply = world.send(&mut session, &request).unwrap();
    assert_eq!(reply.answers.len(), 2);
    let account = reply.answers.iter().find_map(|answer| match answer {
        Answer::Account(account) => Some(account.account),
        _ => None,
    });
    let id = stranger.request_id();
    let mut request = stranger.unsigned(As::Stranger, id, &[Command::PinStatus]);
    request.account = account;
    let request = stranger.sign(request, As::Stranger, session.transport.handshake_hash());
    assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::UnknownDevice);
}

#[test]
fn labels_are_short_and_printable() {
    let (mut world, mut ann) = settled();
    for label in ["", "a\u{7}", &"x".repeat(65)] {
        let rename = RenameDevice { device: ann.id, label: label.to_owned() };
        assert_eq!(
            code(&world.ask(&mut ann, As::Member, &[Command::RenameDevice(rename)])),
            Code::BadOptions
        );
    }
}

#[test]
fn a_member_renames_a_device_of_its_account_and_no_other() {
    let (mut world, mut ann) = settled();
    let ben = world.member("ben");
    let rename =
        |device: &Device| Command::RenameDevice(RenameDevice { device: device.id, label: "desk".to_owned() });
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[rename(&ben)])), Code::UnknownDevice);
    let own = rename(&ann);
    assert_eq!(world.ask(&mut ann, As::Member, &[own]), [Answer::Renamed]);
    let answers = world.ask(&mut ann, As::Member, &[Command::ListDevices]);
    let [Answer::Devices(devices)] = &answers[..] else { panic!() };
    assert_eq!(devices.devices.len(), 1);
    assert_eq!(devices.devices[0].label, "desk");
    assert_eq!((devices.devices[0].state, devices.devices[0].uv), (DeviceState::Member, true));
}

#[test]
fn strangers_with_the_password_can_do_nothing_that_a_member_can() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let mut stranger = world.device();
    let rename = RenameDevice { device: ann.id, label: "mine".to_owned() };
    let (prepare, _, _) = {
        stranger.account = ann.account;
        crate::world::preparing(&mut stranger, "999999")
    };
    let forbidden = [
        Command::ListDevices,
        Command::RenameDevice(rename),
        Command::CreatePasskey(crate::client::create_for("example.com")),
        Command::Assert(crate::client::assert_for(created.id, "example.com")),
        Command::DeletePasskey(keyferry_wire::command::DeletePasskey { id: created.id, version: 1 }),
        Command::RenamePasskey(keyferry_wire::command::RenamePasskey {
            id: created.id,
            version: 1,
            user_name: String::new(),
            display_name: String::new(),
        }),
        prepare[0].clone(),
        Command::Expose(keyferry_wire::command::Expose {
            generation: 2,
            client_key: [0; 32],
            commitment: [0; 32],
        }),
    ];
    for command in forbidden {
        // Both come first: a list beside another command, and a signature by a key that nobody registers.
        let refused = if command == Command::ListDevices { Code::BadOptions } else { Code::UnknownDevice };
        for (sender, refused) in
            [(As::Nobody, refused), (As::Stranger, refused), (As::StrangerWithUv, Code::Auth)]
        {
            let commands = [Command::Authenticate(identity("ann", PASSWORD)), command.clone()];
            let answers = world.ask(&mut stranger, sender, &commands);
            assert_eq!(code(&answers), refused, "{command:?}");
        }
    }
}

#[test]
fn a_right_password_of_a_stranger_leaves_an_entry() {
    let (mut world, mut ann) = settled();
    let mut stranger = world.device();
    let entries = world.host.batches.len();
    let knock = [Command::Authenticate(identity("ann", PASSWORD))];
    assert!(matches!(&world.ask(&mut stranger, As::Stranger, &knock)[..], [Answer::Account(_)]));
    assert_eq!(world.host.batches.len(), entries + 1, "an access is an entry");
    world.ask(&mut ann, As::Member, &[Command::PinStatus]);
    assert_eq!(world.host.batches.len(), entries + 1, "a member's look is none");
}

#[test]
fn a_session_is_of_one_device() {
    let (mut world, mut ann) = settled();
    let mut session = world.session();
    let id = ann.request_id();
    let request = ann.request(&session, As::Member, id, &[Command::PinStatus]);
    world.send(&mut session, &request).unwrap();
    let mut stranger = world.device();
    let id = stranger.request_id();
    let knock = [Command::Authenticate(identity("ann", PASSWORD))];
    let request = stranger.request(&session, As::Stranger, id, &knock);
    assert_eq!(world.send(&mut session, &request).unwrap_err(), Reason::Session);
}
