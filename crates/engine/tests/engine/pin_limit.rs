//! Never an eleventh evaluation: in a row, in parallel, over restarts, forgotten commits and time.

use crate::client::{As, Device, Session, identity};
use crate::world::{PASSWORD, PIN, Try, WRONG, World, attempt, attempt_for, code, refusal, settled};
use keyferry_wire::command::{Answer, Command, Finish};
use keyferry_wire::door::{Drop as Reason, OutBody, Work};
use keyferry_wire::limits;
use keyferry_wire::refusal::Code;

const TRIES: usize = limits::PIN_TRIES_MAX as usize;

/// Uses up this many tries of the PIN in force.
fn fail(world: &mut World, device: &mut Device, times: u8) {
    for _ in 0..times {
        world.enter_pin(device, WRONG).unwrap_err();
    }
}

#[test]
fn ten_wrong_pins_count_down_and_lock() {
    let (mut world, mut ann) = settled();
    for left in (1..=9).rev() {
        let refusal = world.enter_pin(&mut ann, WRONG).unwrap_err();
        assert_eq!((refusal.code, refusal.left), (Code::PinWrong, Some(left)));
    }
    let refusal = world.enter_pin(&mut ann, WRONG).unwrap_err();
    assert_eq!((refusal.code, refusal.left), (Code::PinLocked, Some(0)));
    for _ in 0..3 {
        let refusal = world.enter_pin(&mut ann, PIN).unwrap_err();
        assert_eq!((refusal.code, refusal.left), (Code::PinLocked, Some(0)));
    }
    assert_eq!(world.evaluated.len(), TRIES);
}

#[test]
fn the_right_pin_on_the_tenth_try_works_and_resets() {
    let (mut world, mut ann) = settled();
    fail(&mut world, &mut ann, 9);
    world.enter_pin(&mut ann, PIN).unwrap();
    assert_eq!(world.status(&mut ann).left, 10);
    fail(&mut world, &mut ann, 9);
    world.enter_pin(&mut ann, PIN).unwrap();
}

#[test]
fn a_try_without_finish_counts() {
    let (mut world, mut ann) = settled();
    for left in (0..10).rev() {
        let status = world.status(&mut ann);
        let attempt = attempt(&mut ann, &status, PIN);
        let evaluated = world.begin(&mut ann, &attempt).unwrap();
        assert_eq!(evaluated.left, left);
    }
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    assert_eq!(world.begin(&mut ann, &attempt).unwrap_err().code, Code::PinLocked);
    assert_eq!(world.evaluated.len(), TRIES);
}

#[test]
fn another_begin_destroys_the_open_tenth_try() {
    let (mut world, mut ann) = settled();
    fail(&mut world, &mut ann, 9);
    let status = world.status(&mut ann);
    let tenth = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &tenth).unwrap();
    let eleventh = attempt(&mut ann, &status, PIN);
    assert_eq!(world.begin(&mut ann, &eleventh).unwrap_err().code, Code::PinLocked);
    let finish = tenth.finish(&mut ann, &evaluated);
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[Command::Finish(finish)])), Code::PinLocked);
    assert!(world.status(&mut ann).locked);
}

#[test]
fn the_tenth_try_may_be_repeated_and_finished() {
    let (mut world, mut ann) = settled();
    fail(&mut world, &mut ann, 9);
    let status = world.status(&mut ann);
    let tenth = attempt(&mut ann, &status, PIN);
    world.begin(&mut ann, &tenth).unwrap();
    let evaluated = world.begin(&mut ann, &tenth).unwrap();
    let finish = tenth.finish(&mut ann, &evaluated);
    assert_eq!(world.ask(&mut ann, As::Member, &[Command::Finish(finish)]), [Answer::PinRight]);
}

#[test]
fn the_open_tenth_try_is_destroyed_after_ten_minutes() {
    // The right PIN comes too late, and so does every other word about it.
    type Late = fn(&mut World, &mut Device, &Try, Finish) -> Code;
    let late: [Late; 2] = [
        |world, ann, _, finish| code(&world.ask(ann, As::Member, &[Command::Finish(finish)])),
        |world, ann, tenth, _| world.begin(ann, tenth).unwrap_err().code,
    ];
    for late in late {
        let (mut world, mut ann) = settled();
        fail(&mut world, &mut ann, 9);
        let status = world.status(&mut ann);
        let tenth = attempt(&mut ann, &status, PIN);
        let evaluated = world.begin(&mut ann, &tenth).unwrap();
        let finish = tenth.finish(&mut ann, &evaluated);
        world.wait(limits::PIN_OPEN_MS + 1);
        let shown = world.status(&mut ann);
        assert_eq!((shown.left, shown.locked), (0, true));
        assert_eq!(late(&mut world, &mut ann, &tenth, finish.clone()), Code::PinLocked);
        assert_eq!(code(&world.ask(&mut ann, As::Member, &[Command::Finish(finish)])), Code::PinLocked);
    }
}

#[test]
fn the_tenth_try_is_good_for_ten_minutes() {
    let (mut world, mut ann) = settled();
    fail(&mut world, &mut ann, 9);
    let status = world.status(&mut ann);
    let tenth = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &tenth).unwrap();
    world.wait(limits::PIN_OPEN_MS);
    let finish = tenth.finish(&mut ann, &evaluated);
    assert_eq!(world.ask(&mut ann, As::Member, &[Command::Finish(finish)]), [Answer::PinRight]);
}

#[test]
fn the_same_begin_is_not_counted_again_and_gives_the_same_element() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    let first = world.begin(&mut ann, &attempt).unwrap();
    for _ in 0..5 {
        let again = world.begin(&mut ann, &attempt).unwrap();
        assert_eq!((again.element, again.left), (first.element, 9));
    }
    assert_eq!(world.status(&mut ann).left, 9);
}

#[test]
fn a_begin_that_differs_in_anything_is_another_try() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let first = attempt(&mut ann, &status, PIN);
    let second = attempt(&mut ann, &status, PIN);
    world.begin(&mut ann, &first).unwrap();
    let mut other_element = attempt(&mut ann, &status, PIN);
    other_element.begin.attempt = first.begin.attempt;
    let mut other_id = attempt(&mut ann, &status, PIN);
    other_id.begin.blinded = second.begin.blinded;
    for (left, begin) in [(8, &second), (7, &other_element), (6, &other_id), (5, &first)] {
        assert_eq!(world.begin(&mut ann, begin).unwrap().left, left);
    }
}

#[test]
fn the_newest_try_begun_again_after_its_finish_tells_nothing_new_and_gives_no_second_guess() {
    for pin in [WRONG, PIN] {
        let (mut world, mut ann) = settled();
        let status = world.status(&mut ann);
        let over = attempt(&mut ann, &status, pin);
        let evaluated = world.begin(&mut ann, &over).unwrap();
        let finish = over.finish(&mut ann, &evaluated);
        world.ask(&mut ann, As::Member, &[Command::Finish(finish.clone())]);
        let left = world.status(&mut ann).left;
        let again = world.begin(&mut ann, &over).unwrap();
        assert_eq!((again.element, again.left), (evaluated.element, left));
        assert_eq!(world.status(&mut ann).left, left, "not counted");
        let other = Finish { value: [5; 32], ..finish };
        assert_eq!(code(&world.ask(&mut ann, As::Member, &[Command::Finish(other)])), Code::Stale);
        assert_eq!(world.status(&mut ann).left, left);
    }
}

#[test]
fn an_older_try_begun_again_is_a_try_of_its_own() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let older = attempt(&mut ann, &status, WRONG);
    let newer = attempt(&mut ann, &status, WRONG);
    for (left, attempt) in [(9, &older), (8, &newer), (7, &older)] {
        assert_eq!(world.begin(&mut ann, attempt).unwrap().left, left);
    }
}

#[test]
fn a_tenth_try_that_was_wrong_is_never_evaluated_again() {
    let (mut world, mut ann) = settled();
    fail(&mut world, &mut ann, 9);
    let status = world.status(&mut ann);
    let tenth = attempt(&mut ann, &status, WRONG);
    let evaluated = world.begin(&mut ann, &tenth).unwrap();
    let finish = tenth.finish(&mut ann, &evaluated);
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[Command::Finish(finish)])), Code::PinLocked);
    assert_eq!(world.begin(&mut ann, &tenth).unwrap_err().code, Code::PinLocked);
}

#[test]
fn the_count_is_of_the_account_and_not_of_a_device() {
    let (mut world, mut ann) = settled();
    for left in (0..10).rev() {
        let mut thief = world.device();
        let refusal = world.join(&mut thief, "ann", WRONG).unwrap_err();
        assert_eq!(refusal.left, Some(left));
    }
    assert_eq!(world.enter_pin(&mut ann, PIN).unwrap_err().code, Code::PinLocked);
    assert_eq!(world.evaluated.len(), TRIES);
}

/// Begins of fresh devices, sealed and ready to be sent.
fn begins(world: &mut World, count: usize) -> Vec<(Try, Session, keyferry_wire::frame::RequestFrame)> {
    let mut out = Vec::new();
    for _ in 0..count {
        let mut thief = world.device();
        let (account, status) = world.strange_status(&mut thief, "ann");
        let attempt = attempt_for(&mut thief, account.account, &status, PIN);
        let mut session = world.session();
        let commands =
            [Command::Authenticate(identity("ann", PASSWORD)), Command::Begin(attempt.begin.clone())];
        let id = thief.request_id();
        let request = thief.request(&session, As::Stranger, id, &commands);
        let mut frame = session.seal(&request);
        frame.account = Some(account.account);
        out.push((attempt, session, frame));
    }
    out
}

fn evaluations(
    world: &mut World,
    begins: &[(Try, Session, u64)],
    out: Vec<keyferry_wire::door::Out>,
) -> Vec<Work> {
    let mut again = Vec::new();
    for item in out {
        let Some((attempt, session, _)) = begins.iter().find(|(_, _, ticket)| *ticket == item.ticket) else {
            panic!("an answer to nobody")
        };
        match item.body {
            OutBody::Reply(sealed) => {
                let answers = session.read(&sealed.reply).answers;
                let _ = world.evaluated(attempt, &answers);
            }
            OutBody::Busy => {
                let account = *world.host.disk.accounts.keys().next().unwrap();
                let stored = &world.host.disk.accounts[&account];
                let need = keyferry_wire::door::Need {
                    account,
                    shard: stored.shard,
                    map_key: stored.map_key,
                    devices: Vec::new(),
                    passkeys: Vec::new(),
                    large_blobs: Vec::new(),
                };
                again.push(world.host.resume(item.ticket, &need));
            }
            other => panic!("{other:?}"),
        }
    }
    again
}

/// Sends all begins at once, and whatever is busy again with each next turn.
fn storm(world: &mut World, commit: impl Fn(usize) -> bool) {
    let mut waiting = Vec::new();
    let mut work = Vec::new();
    for (attempt, session, frame) in begins(world, 25) {
        let item = world.host.work(frame);
        waiting.push((attempt, session, item.ticket));
        work.push(item);
    }
    for round in 0..40 {
        let out = world.host.turn(Vec::new(), work);
        work = evaluations(world, &waiting, out);
        if commit(round) {
            world.host.persist();
        }
    }
    assert!(work.is_empty());
    world.host.persist();
    let out = world.host.turn(Vec::new(), Vec::new());
    evaluations(world, &waiting, out);
}

#[test]
fn many_begins_in_one_turn_never_evaluate_more_than_ten_times() {
    let (mut world, _) = settled();
    storm(&mut world, |_| true);
    assert_eq!(world.evaluated.len(), TRIES);
}

#[test]
fn many_begins_before_any_commit_never_evaluate_more_than_ten_times() {
    let (mut world, _) = settled();
    storm(&mut world, |_| false);
    assert_eq!(world.evaluated.len(), TRIES);
}

#[test]
fn many_begins_with_commits_now_and_then_never_evaluate_more_than_ten_times() {
    let (mut world, _) = settled();
    storm(&mut world, |round| round % 3 == 2);
    assert_eq!(world.evaluated.len(), TRIES);
}

#[test]
fn many_begins_in_one_request_never_evaluate_more_than_ten_times() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    for _ in 0..4 {
        let attempts: Vec<_> = (0..8).map(|_| attempt(&mut ann, &status, PIN)).collect();
        let commands: Vec<_> = attempts.iter().map(|attempt| Command::Begin(attempt.begin.clone())).collect();
        let answers = world.ask(&mut ann, As::Member, &commands);
        for (attempt, answer) in attempts.iter().zip(&answers) {
            let _ = world.evaluated(attempt, std::slice::from_ref(answer));
        }
    }
    assert_eq!(world.evaluated.len(), TRIES);
    assert!(world.status(&mut ann).locked);
}

#[test]
fn restarts_between_begin_and_finish_never_give_an_eleventh() {
    let (mut world, mut ann) = settled();
    for _ in 0..15 {
        let status = world.status(&mut ann);
        let attempt = attempt(&mut ann, &status, PIN);
        let _ = world.begin(&mut ann, &attempt);
        world.restart();
    }
    assert_eq!(world.evaluated.len(), TRIES);
    assert!(world.status(&mut ann).locked);
}

#[test]
fn a_crash_before_the_commit_evaluates_nothing_and_counts_nothing() {
    let (mut world, mut ann) = settled();
    for _ in 0..15 {
        let status = world.status(&mut ann);
        let attempt = attempt(&mut ann, &status, PIN);
        let mut session = world.session();
        let id = ann.request_id();
        let request = ann.request(&session, As::Member, id, &[Command::Begin(attempt.begin.clone())]);
        let frame = session.seal(&request);
        assert_eq!(world.host.submit(frame).1, None);
        // The batch is lost with the enclave.
        world.restart();
    }
    assert_eq!(world.status(&mut ann).left, 10);
    for _ in 0..15 {
        let _ = world.enter_pin(&mut ann, WRONG);
    }
    assert_eq!(world.evaluated.len(), TRIES);
}

#[test]
fn crashes_on_either_side_of_the_commit_never_give_an_eleventh() {
    let (mut world, mut ann) = settled();
    for round in 0..30 {
        let status = world.status(&mut ann);
        let attempt = attempt(&mut ann, &status, PIN);
        let mut session = world.session();
        let id = ann.request_id();
        let request = ann.request(&session, As::Member, id, &[Command::Begin(attempt.begin.clone())]);
        let frame = session.seal(&request);
        let (ticket, body) = world.host.submit(frame);
        match (round % 3, body) {
            // Committed and answered.
            (0, None) => {
                let body = world.host.settle(ticket);
                let reply = world.read(&session, body).unwrap();
                let _ = world.evaluated(&attempt, &reply.answers);
            }
            // Committed, the answer lost with the enclave; then asked for again.
            (1, None) => {
                world.host.persist();
                world.restart();
                let _ = world.begin(&mut ann, &attempt);
            }
            // Neither.
            (_, None) => world.restart(),
            // Locked by now: refused at once, for nothing is written.
            (_, Some(body)) => {
                let reply = world.read(&session, body).unwrap();
                assert_eq!(code(&reply.answers), Code::PinLocked);
            }
        }
    }
    assert_eq!(world.evaluated.len(), TRIES);
}

#[test]
fn after_a_crash_the_same_begin_is_answered_and_not_counted_again() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, PIN);
    let mut session = world.session();
    let id = ann.request_id();
    let commands = [Command::Begin(attempt.begin.clone())];
    let request = ann.request(&session, As::Member, id, &commands);
    let frame = session.seal(&request);
    assert_eq!(world.host.submit(frame).1, None);
    world.host.persist();
    world.restart();
    // As the same operation, and as another with the same try.
    for id in [id, ann.request_id()] {
        let answers = world.ask_as(&ann, As::Member, id, &commands);
        let evaluated = world.evaluated(&attempt, &answers).unwrap();
        assert_eq!(evaluated.left, 9);
    }
    let answers = world.ask_as(&ann, As::Member, id, &commands);
    let evaluated = world.evaluated(&attempt, &answers).unwrap();
    let finish = attempt.finish(&mut ann, &evaluated);
    assert_eq!(world.ask(&mut ann, As::Member, &[Command::Finish(finish)]), [Answer::PinRight]);
}

#[test]
fn copies_of_a_begin_that_a_host_held_back_use_up_no_tries() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let attempt = attempt(&mut ann, &status, WRONG);
    let id = ann.request_id();
    let commands = [Command::Begin(attempt.begin.clone())];
    // The client asks in five sessions; the host lets one through.
    let mut held = Vec::new();
    for _ in 0..5 {
        let mut session = world.session();
        let request = ann.request(&session, As::Member, id, &commands);
        let frame = session.seal(&request);
        held.push((session, frame));
    }
    let (session, frame) = held.pop().unwrap();
    let reply = world.deliver(&session, frame).unwrap();
    let evaluated = world.evaluated(&attempt, &reply.answers).unwrap();
    let finish = attempt.finish(&mut ann, &evaluated);
    world.ask(&mut ann, As::Member, &[Command::Finish(finish)]);
    world.enter_pin(&mut ann, PIN).unwrap();
    for (session, frame) in held {
        assert_eq!(
            world.deliver(&session, frame).unwrap_err(),
            Reason::Session,
            "its device speaks elsewhere"
        );
    }
    assert_eq!(world.status(&mut ann).left, 10);
    assert_eq!(world.evaluated.len(), 2);
}

#[test]
fn thirty_failures_in_thirty_days_rest_the_pin_whatever_is_set_meanwhile() {
    let (mut world, mut ann) = settled();
    for _ in 0..3 {
        fail(&mut world, &mut ann, 9);
        // The tenth, open and abandoned, locks; a member sets a new PIN.
        fail(&mut world, &mut ann, 1);
        world.set_pin(&mut ann, PIN);
        world.wait(24 * 3600 * 1000);
    }
    let status = world.status(&mut ann);
    assert_eq!((status.left, status.locked), (0, true));
    assert_eq!(world.enter_pin(&mut ann, PIN).unwrap_err().code, Code::PinLocked);
    assert_eq!(world.evaluated.len(), limits::PIN_FAILURES_MAX);
    // The PIN is not destroyed, it rests: when the oldest ten leave the window, it works again.
    world.wait(limits::PIN_WINDOW_MS - 3 * 24 * 3600 * 1000 + 1);
    assert!(!world.status(&mut ann).locked);
    world.enter_pin(&mut ann, PIN).unwrap();
}

#[test]
fn right_pins_leave_no_trace_in_the_failure_window() {
    let (mut world, mut ann) = settled();
    for _ in 0..limits::PIN_FAILURES_MAX + 5 {
        world.enter_pin(&mut ann, PIN).unwrap();
        world.wait(1000);
    }
    // Also when several tries were made within one millisecond.
    for _ in 0..limits::PIN_FAILURES_MAX + 5 {
        world.enter_pin(&mut ann, PIN).unwrap();
    }
    assert_eq!(world.status(&mut ann).left, 10);
}

#[test]
fn a_right_pin_takes_back_its_own_failure_and_no_other() {
    let (mut world, mut ann) = settled();
    for _ in 0..3 {
        fail(&mut world, &mut ann, 9);
        world.enter_pin(&mut ann, PIN).unwrap();
        world.wait(1000);
    }
    fail(&mut world, &mut ann, 3);
    let refusal = world.enter_pin(&mut ann, PIN).unwrap_err();
    assert_eq!((refusal.code, refusal.left), (Code::PinLocked, Some(0)));
}

#[test]
fn a_clock_that_goes_back_gives_no_time_back() {
    let (mut world, mut ann) = settled();
    fail(&mut world, &mut ann, 9);
    let status = world.status(&mut ann);
    let tenth = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &tenth).unwrap();
    world.wait(limits::PIN_OPEN_MS + 1);
    world.status(&mut ann);
    world.host.now_ms -= limits::PIN_OPEN_MS;
    let finish = tenth.finish(&mut ann, &evaluated);
    let answers = world.ask(&mut ann, As::Member, &[Command::Finish(finish)]);
    assert_eq!(refusal(&answers), (Code::PinLocked, Some(0)));
}
