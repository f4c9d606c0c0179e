//! Proving the PIN, one try at a time: by a member, and by a device that joins.

use crate::client::{As, identity};
use crate::world::{PASSWORD, PIN, WRONG, attempt, attempt_for, code, refusal, settled, world};
use keyferry_crypto::random;
use keyferry_wire::command::{Answer, Command, Finish};
use keyferry_wire::door::OutBody;
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::refusal::Code;
use keyferry_wire::{AttemptId, limits};

#[test]
fn the_right_pin_is_right_and_takes_its_try_back() {
    let (mut world, mut ann) = settled();
    world.enter_pin(&mut ann, PIN).unwrap();
    let status = world.status(&mut ann);
    assert_eq!((status.left, status.locked, status.generation), (10, false, 1));
}

#[test]
fn a_wrong_pin_is_wrong_and_says_what_is_left() {
    let (mut world, mut ann) = settled();
    let refusal = world.enter_pin(&mut ann, WRONG).unwrap_err();
    assert_eq!((refusal.code, refusal.left), (Code::PinWrong, Some(9)));
    assert_eq!(world.status(&mut ann).left, 9);
}

#[test]
fn a_second_device_joins_with_password_and_pin() {
    let (mut world, ann) = settled();
    let mut phone = world.device();
    let member = world.join(&mut phone, "ann", PIN).unwrap();
    assert_eq!(member.account.members, 2);
    assert_eq!(member.members.len(), 2, "a join shows the list of members");
    assert_eq!(phone.account, ann.account);
    let (mine, hers) = (phone.secrets.as_ref().unwrap(), ann.secrets.as_ref().unwrap());
    assert_eq!((mine.audit_key, mine.metadata_key), (hers.audit_key, hers.metadata_key));
    assert_ne!(mine.wrapped, hers.wrapped);
    assert_ne!(mine.access, hers.access);
}

#[test]
fn a_device_that_joined_uses_the_passkeys_of_the_first() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    let answers = world.ask(
        &mut phone,
        As::Member,
        &[Command::Assert(crate::client::assert_for(created.id, "example.com"))],
    );
    assert!(matches!(&answers[..], [Answer::Asserted(_)]), "{answers:?}");
}

#[test]
fn the_password_alone_never_lets_a_device_in() {
    let (mut world, _) = settled();
    let mut thief = world.device();
    let authenticate = Command::Authenticate(identity("ann", PASSWORD));
    let join = Command::Join(thief.registration());
    let finish = Command::Finish(Finish { attempt: AttemptId([0; 16]), value: [0; 32] });
    let tries: [Vec<Command>; 3] =
        [vec![authenticate.clone(), join.clone()], vec![join.clone()], vec![authenticate, finish, join]];
    for commands in tries {
        let answers = match world.try_ask(&mut thief, As::StrangerWithUv, &commands) {
            Ok(answers) => answers,
            Err(reason) => panic!("{reason:?}"),
        };
        assert!(matches!(answers.last(), Some(Answer::Refused(_))));
    }
    assert_eq!(world.host.disk.accounts.values().next().unwrap().devices.len(), 1);
}

#[test]
fn the_pin_without_the_password_lets_nobody_try() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let mut thief = world.device();
    thief.account = ann.account;
    let attempt = attempt(&mut thief, &status, PIN);
    let mut session = world.session();
    let id = thief.request_id();
    let mut request = thief.unsigned(As::Stranger, id, &[Command::Begin(attempt.begin)]);
    request.account = thief.account;
    let request = thief.sign(request, As::Stranger, session.transport.handshake_hash());
    assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::Auth);
    assert_eq!(world.status(&mut ann).left, 10);
}

#[test]
fn a_right_finish_lets_only_its_own_request_join() {
    let (mut world, ann) = settled();
    let mut thief = world.device();
    let (account, status) = world.strange_status(&mut thief, "ann");
    let attempt = attempt_for(&mut thief, account.account, &status, PIN);
    let evaluated = world.begin_strange(&mut thief, "ann", &attempt).unwrap();
    let [authenticate, finish, join] =
        world.joining(&mut thief, "ann", &attempt, &evaluated, ann.account.unwrap());
    let answers = world.ask(&mut thief, As::Stranger, &[authenticate.clone(), finish.clone()]);
    assert_eq!(answers[1], Answer::PinRight);
    assert_eq!(
        code(&world.ask(&mut thief, As::StrangerWithUv, &[authenticate.clone(), join.clone()])),
        Code::Auth
    );
    // And a right finish is never good twice.
    let answers = world.ask(&mut thief, As::StrangerWithUv, &[authenticate, finish, join]);
    assert_eq!(code(&answers), Code::Stale);
}

#[test]
fn a_try_is_finished_by_the_device_that_began_it() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &attempt).unwrap();
    let finish = attempt.finish(&mut ann, &evaluated);
    let mut thief = world.device();
    let commands = [Command::Authenticate(identity("ann", PASSWORD)), Command::Finish(finish.clone())];
    assert_eq!(code(&world.ask(&mut thief, As::Stranger, &commands)), Code::Stale);
    assert_eq!(world.ask(&mut ann, As::Member, &[Command::Finish(finish)]), [Answer::PinRight]);
}

#[test]
fn a_finish_without_its_try_is_refused() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &attempt).unwrap();
    let mut finish = attempt.finish(&mut ann, &evaluated);
    finish.attempt.0[0] ^= 1;
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[Command::Finish(finish)])), Code::Stale);
}

#[test]
fn an_older_try_cannot_be_finished_after_a_newer_began() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let older = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &older).unwrap();
    let newer = attempt(&mut ann, &status, PIN);
    let newest = world.begin(&mut ann, &newer).unwrap();
    let finish = older.finish(&mut ann, &evaluated);
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[Command::Finish(finish)])), Code::Stale);
    let finish = newer.finish(&mut ann, &newest);
    assert_eq!(world.ask(&mut ann, As::Member, &[Command::Finish(finish)]), [Answer::PinRight]);
    assert_eq!(world.status(&mut ann).left, 10);
}

#[test]
fn one_try_has_one_finish() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &attempt).unwrap();
    let right = attempt.finish(&mut ann, &evaluated);
    let wrong = Finish { value: random::bytes(&mut ann.random), ..right.clone() };
    let answers = world.ask(&mut ann, As::Member, &[Command::Finish(wrong.clone())]);
    assert_eq!(refusal(&answers), (Code::PinWrong, Some(9)));
    // The right value comes too late: one evaluation is one guess.
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[Command::Finish(right)])), Code::Stale);
    // The same wrong finish is answered again and not counted.
    let answers = world.ask(&mut ann, As::Member, &[Command::Finish(wrong)]);
    assert_eq!(refusal(&answers), (Code::PinWrong, Some(9)));
    assert_eq!(world.status(&mut ann).left, 9);
}

#[test]
fn two_guesses_in_one_request_are_one() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &attempt).unwrap();
    let right = attempt.finish(&mut ann, &evaluated);
    let wrong = Finish { value: [7; 32], ..right.clone() };
    let answers = world.ask(&mut ann, As::Member, &[Command::Finish(wrong), Command::Finish(right)]);
    assert_eq!(answers.len(), 1);
    assert_eq!(refusal(&answers), (Code::PinWrong, Some(9)));
}

#[test]
fn a_begin_of_another_generation_is_stale_and_not_counted() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    for generation in [0, 2, u32::MAX] {
        let mut attempt = attempt(&mut ann, &status, PIN);
        attempt.begin.generation = generation;
        assert_eq!(world.begin(&mut ann, &attempt).unwrap_err().code, Code::Stale);
    }
    assert_eq!(world.status(&mut ann).left, 10);
}

#[test]
fn an_account_without_a_pin_has_nothing_to_try() {
    let mut world = world();
    let mut ann = world.member("ann");
    let status = world.status(&mut ann);
    assert_eq!((status.generation, status.left), (0, 0));
    let attempt = attempt(&mut ann, &status, PIN);
    assert_eq!(world.begin(&mut ann, &attempt).unwrap_err().code, Code::Stale);
    let finish = Finish { attempt: attempt.begin.attempt, value: [0; 32] };
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[Command::Finish(finish)])), Code::Stale);
}

#[test]
fn an_element_that_is_none_is_refused_and_never_free() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let mut bad = attempt(&mut ann, &status, PIN);
    bad.begin.blinded = [0xff; 32];
    assert_eq!(world.begin(&mut ann, &bad).unwrap_err().code, Code::BadOptions);
    assert!(world.status(&mut ann).left <= 10);
}

#[test]
fn nothing_is_evaluated_before_the_count_is_durable() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    let mut session = world.session();
    let id = ann.request_id();
    let request = ann.request(&session, As::Member, id, &[Command::Begin(attempt.begin.clone())]);
    let frame = session.seal(&request);
    let (ticket, body) = world.host.submit(frame);
    assert_eq!(body, None);
    let batch = world.host.flying.back().unwrap().number;
    // Turns pass, and words about other batches: nothing.
    for number in [batch - 1, batch + 1] {
        let committed = vec![keyferry_wire::door::BatchRef { shard: keyferry_wire::ShardId(0), number }];
        let now_ms = world.host.now_ms;
        let turn = keyferry_wire::door::Turn { now_ms, committed, opens: Vec::new(), work: Vec::new() };
        let answer = world.host.send(keyferry_wire::door::ToEnclave::Turn(turn));
        let keyferry_wire::door::FromEnclave::Turned(turned) = answer else { panic!() };
        assert!(turned.out.is_empty());
    }
    let body = world.host.settle(ticket);
    assert!(matches!(body, OutBody::Reply(_)));
    // And once: the same word again brings nothing.
    let committed = vec![keyferry_wire::door::BatchRef { shard: keyferry_wire::ShardId(0), number: batch }];
    let now_ms = world.host.now_ms;
    let turn = keyferry_wire::door::Turn { now_ms, committed, opens: Vec::new(), work: Vec::new() };
    let keyferry_wire::door::FromEnclave::Turned(turned) =
        world.host.send(keyferry_wire::door::ToEnclave::Turn(turn))
    else {
        panic!()
    };
    assert!(turned.out.is_empty());
}

#[test]
fn a_begin_is_in_the_ledger_before_its_evaluation() {
    let (mut world, mut ann) = settled();
    let account = ann.account.unwrap();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    let before = world.host.durable.accounts[&account].entries.len();
    world.begin(&mut ann, &attempt).unwrap();
    assert_eq!(world.host.durable.accounts[&account].entries.len(), before + 1);
}

/// What a finish writes: leaves, and the length of each row.
fn written(pin: &str, failures: u8, strange: bool) -> (usize, usize, Vec<usize>, usize) {
    let (mut world, mut ann) = settled();
    for _ in 0..failures {
        let _ = world.enter_pin(&mut ann, WRONG);
    }
    let mut phone = world.device();
    let device = if strange { &mut phone } else { &mut ann };
    let (account, status) = world.strange_status(device, "ann");
    let attempt = attempt_for(device, account.account, &status, pin);
    let evaluated = match strange {
        true => world.begin_strange(device, "ann", &attempt).unwrap(),
        false => world.begin(device, &attempt).unwrap(),
    };
    let finish = Command::Finish(attempt.finish_for(device, &evaluated, account.account));
    let mut session = world.session();
    let id = device.request_id();
    let request = match strange {
        true => {
            let commands = [Command::Authenticate(identity("ann", PASSWORD)), finish];
            device.request(&session, As::Stranger, id, &commands)
        }
        false => device.request(&session, As::Member, id, &[finish]),
    };
    let frame = session.seal(&request);
    let OutBody::Reply(sealed) = world.host.serve(frame) else { panic!() };
    let batch = world.host.batches.last().unwrap();
    let put = &batch.accounts[0];
    let rows = put.devices.iter().map(|device| device.row.len()).collect();
    (batch.leaves.len() / LEAF_LEN, put.state.row.len(), rows, sealed.reply.ciphertext.len())
}

#[test]
fn right_and_wrong_finish_write_as_many_leaves_and_rows_of_the_same_sizes() {
    // Nine failures, so that each place of the padding is met.
    for failures in 0..9 {
        for strange in [false, true] {
            let (right, wrong) = (written(PIN, failures, strange), written(WRONG, failures, strange));
            assert_eq!((right.0, right.1, &right.2), (wrong.0, wrong.1, &wrong.2), "{failures} {strange}");
        }
    }
}

#[test]
fn right_and_wrong_finish_are_answered_at_the_same_length() {
    for strange in [false, true] {
        assert_eq!(written(PIN, 0, strange).3, written(WRONG, 0, strange).3, "stranger: {strange}");
    }
}

#[test]
fn a_locked_pin_says_so_to_members_and_strangers() {
    let (mut world, mut ann) = settled();
    for _ in 0..limits::PIN_TRIES_MAX {
        let _ = world.enter_pin(&mut ann, WRONG);
    }
    let status = world.status(&mut ann);
    assert_eq!((status.left, status.locked, status.generation), (0, true, 1));
    let mut phone = world.device();
    assert!(world.strange_status(&mut phone, "ann").1.locked);
}
