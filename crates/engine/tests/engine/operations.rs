//! Operations that come again: answered, never applied twice, never confused.

use crate::client::{As, Device, assert_for, create_for, identity};
use crate::world::{PASSWORD, PIN, World, attempt, attempt_for, code, settled, world};
use keyferry_wire::RequestId;
use keyferry_wire::command::*;
use keyferry_wire::limits;
use keyferry_wire::refusal::Code;

/// Asks twice, in two sessions, and shows that the second time wrote nothing.
fn again(
    world: &mut World,
    device: &Device,
    sender: As,
    id: RequestId,
    commands: &[Command],
) -> [Vec<Answer>; 2] {
    let first = world.ask_as(device, sender, id, commands);
    let batches = world.host.batches.len();
    let second = world.reply(device, sender, id, commands);
    assert_eq!(world.host.batches.len(), batches, "no new ledger entry");
    assert!(second.checkpoint.is_some(), "the reply shows a checkpoint that covers what was written");
    [first, second.answers]
}

#[test]
fn creating_an_account_again_is_answered_again() {
    let mut world = world();
    let mut ann = world.device();
    let id = ann.request_id();
    let commands = [Command::CreateAccount(identity("ann", PASSWORD))];
    let [first, second] = again(&mut world, &ann, As::Nobody, id, &commands);
    assert_eq!(first, second);
    // Another password under the same id is another operation.
    let commands = [Command::CreateAccount(identity("ann", 2))];
    assert_eq!(code(&world.ask_as(&ann, As::Nobody, id, &commands)), Code::Exists);
}

#[test]
fn enrolling_again_is_answered_again() {
    let mut world = world();
    let mut ann = world.device();
    let id = ann.request_id();
    let commands = [Command::CreateAccount(identity("ann", PASSWORD)), Command::Enrol(ann.registration())];
    let [first, second] = again(&mut world, &ann, As::StrangerWithUv, id, &commands);
    assert_eq!(first, second);
    let Answer::Member(member) = &second[1] else { panic!() };
    ann.admit(member);
}

#[test]
fn joining_again_is_answered_again() {
    let (mut world, ann) = settled();
    let mut phone = world.device();
    let (account, status) = world.strange_status(&mut phone, "ann");
    let attempt = attempt_for(&mut phone, account.account, &status, PIN);
    let evaluated = world.begin_strange(&mut phone, "ann", &attempt).unwrap();
    let commands = world.joining(&mut phone, "ann", &attempt, &evaluated, account.account);
    let id = phone.request_id();
    let [first, second] = again(&mut world, &phone, As::StrangerWithUv, id, &commands);
    assert_eq!(first, second);
    let Answer::Member(member) = &second[2] else { panic!("{second:?}") };
    phone.admit(member);
    assert_eq!(world.host.disk.accounts[&ann.account.unwrap()].devices.len(), 2);
}

#[test]
fn a_join_whose_answer_was_lost_in_a_crash_is_answered_after_it() {
    let (mut world, _) = settled();
    let mut phone = world.device();
    let (account, status) = world.strange_status(&mut phone, "ann");
    let attempt = attempt_for(&mut phone, account.account, &status, PIN);
    let evaluated = world.begin_strange(&mut phone, "ann", &attempt).unwrap();
    let commands = world.joining(&mut phone, "ann", &attempt, &evaluated, account.account);
    let id = phone.request_id();
    let mut session = world.session();
    let request = phone.request(&session, As::StrangerWithUv, id, &commands);
    let frame = session.seal(&request);
    assert_eq!(world.host.submit(frame).1, None);
    world.host.persist();
    world.restart();
    let answers = world.ask_as(&phone, As::StrangerWithUv, id, &commands);
    let Some(Answer::Member(member)) = answers.last() else { panic!("{answers:?}") };
    phone.admit(member);
    world.create(&mut phone, "example.com");
}

#[test]
fn creating_a_passkey_again_is_answered_again() {
    let (mut world, mut ann) = settled();
    let id = ann.request_id();
    let commands = [Command::CreatePasskey(create_for("example.com"))];
    let [first, second] = again(&mut world, &ann, As::Member, id, &commands);
    assert_eq!(first, second);
    assert_eq!(world.host.disk.accounts[&ann.account.unwrap()].passkeys.len(), 1);
}

#[test]
fn asserting_again_is_answered_again_and_counted_once() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let id = ann.request_id();
    let commands = [Command::Assert(assert_for(created.id, "example.com"))];
    let [first, second] = again(&mut world, &ann, As::Member, id, &commands);
    let ([Answer::Asserted(first)], [Answer::Asserted(second)]) = (&first[..], &second[..]) else { panic!() };
    assert_eq!(first.authenticator_data, second.authenticator_data);
    assert_eq!(first.user_id, second.user_id);
}

#[test]
fn an_assertion_again_says_of_the_user_what_the_ledger_says() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let id = ann.request_id();
    let commands = [Command::Assert(assert_for(created.id, "example.com"))];
    world.ask_as(&ann, As::Member, id, &commands);
    let answers = world.ask_as(&ann, As::MemberWithUv, id, &commands);
    let [Answer::Asserted(asserted)] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(asserted.authenticator_data[32] & 0x04, 0, "no entry tells of a user that was verified");
}

#[test]
fn asserting_again_after_the_passkey_was_deleted_is_refused() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let id = ann.request_id();
    let commands = [Command::Assert(assert_for(created.id, "example.com"))];
    world.ask_as(&ann, As::Member, id, &commands);
    let delete = DeletePasskey { id: created.id, version: 1 };
    world.ask(&mut ann, As::Member, &[Command::DeletePasskey(delete)]);
    assert_eq!(code(&world.ask_as(&ann, As::Member, id, &commands)), Code::NoCredentials);
}

#[test]
fn renaming_again_is_answered_again() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let id = ann.request_id();
    let rename = RenamePasskey {
        id: created.id,
        version: 1,
        user_name: "ann b".to_owned(),
        display_name: "Ann B".to_owned(),
    };
    let [first, second] = again(&mut world, &ann, As::Member, id, &[Command::RenamePasskey(rename)]);
    assert_eq!(first, second);
    let id = ann.request_id();
    let rename = RenameDevice { device: ann.id, label: "desk".to_owned() };
    let [first, second] = again(&mut world, &ann, As::Member, id, &[Command::RenameDevice(rename)]);
    assert_eq!((first, second), (vec![Answer::Renamed], vec![Answer::Renamed]));
}

#[test]
fn deleting_again_is_answered_again() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let id = ann.request_id();
    let delete = DeletePasskey { id: created.id, version: 1 };
    let [first, second] = again(&mut world, &ann, As::Member, id, &[Command::DeletePasskey(delete)]);
    assert_eq!(first, second);
    assert!(matches!(&first[..], [Answer::Edited(edited)] if edited.version == 2));
}

#[test]
fn exposing_again_is_answered_again() {
    let (mut world, mut ann) = settled();
    let expose = world.prepare(&mut ann, "730518", As::MemberWithUv);
    let id = ann.request_id();
    let [first, second] = again(&mut world, &ann, As::MemberWithUv, id, &[Command::Expose(expose)]);
    assert_eq!((first, second), (vec![Answer::Exposed], vec![Answer::Exposed]));
}

#[test]
fn a_wrong_finish_again_is_answered_again_and_not_counted() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, "111111");
    let evaluated = world.begin(&mut ann, &attempt).unwrap();
    let finish = attempt.finish(&mut ann, &evaluated);
    let id = ann.request_id();
    let [first, second] = again(&mut world, &ann, As::Member, id, &[Command::Finish(finish)]);
    assert_eq!(first, second);
}

#[test]
fn a_retry_before_the_first_is_durable_waits_for_it() {
    let (mut world, mut ann) = settled();
    let id = ann.request_id();
    let commands = [Command::CreatePasskey(create_for("example.com"))];
    let mut tickets = Vec::new();
    for _ in 0..2 {
        let mut session = world.session();
        let request = ann.request(&session, As::Member, id, &commands);
        let frame = session.seal(&request);
        let (ticket, body) = world.host.submit(frame);
        assert_eq!(body, None, "no answer before the batch");
        tickets.push((session, ticket));
    }
    world.host.persist();
    let out = world.host.turn(Vec::new(), Vec::new());
    assert_eq!(out.len(), 2);
    let mut answers = Vec::new();
    for out in out {
        let (session, _) = tickets.iter().find(|(_, ticket)| *ticket == out.ticket).unwrap();
        answers.push(world.read(session, out.body).unwrap().answers);
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(world.host.disk.accounts[&ann.account.unwrap()].passkeys.len(), 1);
}

#[test]
fn a_known_request_id_with_other_commands_is_a_conflict() {
    let (mut world, mut ann) = settled();
    let id = ann.request_id();
    let rename =
        |label: &str| [Command::RenameDevice(RenameDevice { device: ann.id, label: label.to_owned() })];
    let (desk, home) = (rename("desk"), rename("home"));
    assert_eq!(world.ask_as(&ann, As::Member, id, &desk), [Answer::Renamed]);
    let entries = world.host.entries(&ann.account.unwrap());
    assert_eq!(code(&world.ask_as(&ann, As::Member, id, &home)), Code::Conflict);
    assert_eq!(code(&world.ask_as(&ann, As::Member, id, &[Command::PinStatus])), Code::Conflict);
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
    assert_eq!(world.ask_as(&ann, As::Member, id, &desk), [Answer::Renamed]);
}

#[test]
fn a_request_id_is_of_one_device() {
    let (mut world, mut ann) = settled();
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    let id = ann.request_id();
    let rename =
        |label: &str| [Command::RenameDevice(RenameDevice { device: ann.id, label: label.to_owned() })];
    assert_eq!(world.ask_as(&ann, As::Member, id, &rename("desk")), [Answer::Renamed]);
    assert_eq!(world.ask_as(&phone, As::Member, id, &rename("home")), [Answer::Renamed]);
}

#[test]
fn the_last_sixteen_operations_are_known() {
    let (mut world, mut ann) = settled();
    let mut ids = Vec::new();
    let rename = [Command::RenameDevice(RenameDevice { device: ann.id, label: "desk".to_owned() })];
    for _ in 0..=limits::OPS_KEPT {
        let id = ann.request_id();
        ids.push(id);
        world.ask_as(&ann, As::Member, id, &rename);
    }
    for id in &ids[1..] {
        assert_eq!(code(&world.ask_as(&ann, As::Member, *id, &[Command::PinStatus])), Code::Conflict);
    }
    let answers = world.ask_as(&ann, As::Member, ids[0], &[Command::PinStatus]);
    assert!(matches!(&answers[..], [Answer::PinStatus(_)]));
}

#[test]
fn a_forgotten_creation_never_makes_a_second_key_under_its_id() {
    let (mut world, mut ann) = settled();
    let id = ann.request_id();
    let create = [Command::CreatePasskey(create_for("example.com"))];
    let first = world.ask_as(&ann, As::Member, id, &create);
    let [Answer::Created(created)] = &first[..] else { panic!() };
    let rename = [Command::RenameDevice(RenameDevice { device: ann.id, label: "desk".to_owned() })];
    for _ in 0..limits::OPS_KEPT {
        world.ask(&mut ann, As::Member, &rename);
    }
    assert_eq!(code(&world.ask_as(&ann, As::Member, id, &create)), Code::Conflict);
    let row = world.host.disk.accounts[&ann.account.unwrap()].passkeys[&created.id].clone();
    assert_eq!(row.version, 1);
    // Nor does it bring a deleted one back.
    let delete = DeletePasskey { id: created.id, version: 1 };
    world.ask(&mut ann, As::Member, &[Command::DeletePasskey(delete)]);
    assert_eq!(code(&world.ask_as(&ann, As::Member, id, &create)), Code::Conflict);
}

#[test]
fn two_creations_in_one_request_do_not_overwrite_each_other() {
    let (mut world, mut ann) = settled();
    let commands = [
        Command::CreatePasskey(create_for("example.com")),
        Command::CreatePasskey(create_for("example.org")),
    ];
    let answers = world.ask(&mut ann, As::Member, &commands);
    let Answer::Created(created) = &answers[0] else { panic!("{answers:?}") };
    if let Some(Answer::Created(second)) = answers.get(1) {
        assert_ne!(created.id, second.id);
    }
    let assert = [Command::Assert(assert_for(created.id, "example.com"))];
    assert!(matches!(&world.ask(&mut ann, As::Member, &assert)[..], [Answer::Asserted(_)]));
}

#[test]
fn what_stands_beside_a_begin_is_not_applied_again_with_it() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let trying = attempt(&mut ann, &status, PIN);
    let id = ann.request_id();
    let rename =
        |label: &str| Command::RenameDevice(RenameDevice { device: ann.id, label: label.to_owned() });
    let (desk, home) = (rename("desk"), rename("home"));
    let commands =
        [Command::Begin(trying.begin.clone()), desk, Command::CreatePasskey(create_for("a.example"))];
    let answers = world.ask_as(&ann, As::Member, id, &commands);
    assert!(matches!(&answers[..], [Answer::Evaluated(_), Answer::Renamed, Answer::Created(_)]));
    world.ask(&mut ann, As::Member, &[home]);
    let answers = world.ask_as(&ann, As::Member, id, &commands);
    assert!(matches!(&answers[..], [Answer::Evaluated(_), Answer::Refused(_)]), "{answers:?}");
    let answers = world.ask(&mut ann, As::Member, &[Command::ListDevices]);
    let [Answer::Devices(devices)] = &answers[..] else { panic!() };
    assert_eq!(devices.devices[0].label, "home");
    assert_eq!(world.host.disk.accounts[&ann.account.unwrap()].passkeys.len(), 1);
}

#[test]
fn the_first_refusal_stops_and_what_came_before_stands() {
    let (mut world, mut ann) = settled();
    let rename =
        |label: &str| Command::RenameDevice(RenameDevice { device: ann.id, label: label.to_owned() });
    let commands = [rename("desk"), rename(""), rename("home")];
    let answers = world.ask(&mut ann, As::Member, &commands);
    assert_eq!(answers.len(), 2);
    let answers = world.ask(&mut ann, As::Member, &[Command::ListDevices]);
    let [Answer::Devices(devices)] = &answers[..] else { panic!() };
    assert_eq!(devices.devices[0].label, "desk");
}

#[test]
fn a_refusal_without_a_fact_writes_nothing() {
    let (mut world, mut ann) = settled();
    let batches = world.host.batches.len();
    let delete = DeletePasskey { id: keyferry_wire::CredentialId([1; 16]), version: 1 };
    assert_eq!(
        code(&world.ask(&mut ann, As::Member, &[Command::DeletePasskey(delete)])),
        Code::NoCredentials
    );
    assert_eq!(world.host.batches.len(), batches);
}
