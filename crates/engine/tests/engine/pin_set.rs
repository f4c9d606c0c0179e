//! Setting a PIN: prepared with one evaluation, exposed once, for one device, in ten minutes.

use crate::client::{As, Device, create_for};
use crate::world::{PIN, WRONG, World, attempt, code, exposing, preparing, refusal, settled, world};
use keyferry_wire::command::{Answer, Command, Expose};
use keyferry_wire::limits;
use keyferry_wire::refusal::Code;

const NEW: &str = "730518";

fn lock(world: &mut World, device: &mut Device) {
    for _ in 0..limits::PIN_TRIES_MAX {
        world.enter_pin(device, WRONG).unwrap_err();
    }
    assert!(world.status(device).locked);
}

#[test]
fn the_first_device_sets_the_first_pin_without_uv() {
    let mut world = world();
    let mut ann = world.member("ann");
    let expose = world.prepare(&mut ann, PIN, As::Member);
    assert_eq!(world.ask(&mut ann, As::Member, &[Command::Expose(expose)]), [Answer::Exposed]);
    world.enter_pin(&mut ann, PIN).unwrap();
}

#[test]
fn a_later_pin_needs_uv_or_the_present_pin() {
    let (mut world, mut ann) = settled();
    let (prepare, _, _) = preparing(&mut ann, NEW);
    assert_eq!(code(&world.ask(&mut ann, As::Member, &prepare)), Code::UvRequired);
    // A try that was only begun is no PIN.
    let status = world.status(&mut ann);
    let trying = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &trying).unwrap();
    assert_eq!(code(&world.ask(&mut ann, As::Member, &prepare)), Code::UvRequired);
    // The right PIN in the same request is.
    let finish = Command::Finish(trying.finish(&mut ann, &evaluated));
    let answers = world.ask(&mut ann, As::Member, &[finish, prepare[0].clone()]);
    assert!(matches!(&answers[..], [Answer::PinRight, Answer::Prepared(_)]), "{answers:?}");
    // In the next request it is not.
    assert_eq!(code(&world.ask(&mut ann, As::Member, &prepare)), Code::UvRequired);
}

#[test]
fn a_wrong_pin_prepares_nothing() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let trying = attempt(&mut ann, &status, WRONG);
    let evaluated = world.begin(&mut ann, &trying).unwrap();
    let finish = Command::Finish(trying.finish(&mut ann, &evaluated));
    let (prepare, _, _) = preparing(&mut ann, NEW);
    let answers = world.ask(&mut ann, As::Member, &[finish, prepare[0].clone()]);
    assert_eq!(refusal(&answers), (Code::PinWrong, Some(9)));
    assert_eq!(answers.len(), 1);
}

#[test]
fn a_changed_pin_takes_the_place_of_the_old() {
    let (mut world, mut ann) = settled();
    world.set_pin(&mut ann, NEW);
    assert_eq!(world.status(&mut ann).generation, 2);
    assert_eq!(world.enter_pin(&mut ann, PIN).unwrap_err().code, Code::PinWrong);
    world.enter_pin(&mut ann, NEW).unwrap();
}

#[test]
fn a_try_at_the_old_pin_ends_with_it() {
    let (mut world, mut ann) = settled();
    let status = world.status(&mut ann);
    let trying = attempt(&mut ann, &status, PIN);
    let evaluated = world.begin(&mut ann, &trying).unwrap();
    world.set_pin(&mut ann, NEW);
    let finish = Command::Finish(trying.finish(&mut ann, &evaluated));
    assert_eq!(code(&world.ask(&mut ann, As::Member, &[finish])), Code::Stale);
    assert_eq!(world.begin(&mut ann, &trying).unwrap_err().code, Code::Stale);
}

#[test]
fn a_prepared_pin_changes_nothing_until_it_is_exposed() {
    let (mut world, mut ann) = settled();
    world.enter_pin(&mut ann, WRONG).unwrap_err();
    world.prepare(&mut ann, NEW, As::MemberWithUv);
    let status = world.status(&mut ann);
    assert_eq!((status.generation, status.left), (1, 9), "preparing buys no fresh counter");
    world.enter_pin(&mut ann, PIN).unwrap();
}

#[test]
fn prepare_evaluates_once() {
    let (mut world, mut ann) = settled();
    let (prepare, _, _) = preparing(&mut ann, NEW);
    let id = ann.request_id();
    let first = world.ask_as(&ann, As::MemberWithUv, id, &prepare);
    // The same operation gets the same evaluation; another gets another key.
    assert_eq!(world.ask_as(&ann, As::MemberWithUv, id, &prepare), first);
    let second = world.ask(&mut ann, As::MemberWithUv, &prepare);
    let ([Answer::Prepared(first)], [Answer::Prepared(second)]) = (&first[..], &second[..]) else { panic!() };
    assert_ne!(first.public, second.public);
    assert_ne!(first.element, second.element);
    assert_eq!((first.generation, second.generation), (2, 3));
}

#[test]
fn a_new_prepare_makes_the_one_before_worthless() {
    let (mut world, mut ann) = settled();
    let older = world.prepare(&mut ann, NEW, As::MemberWithUv);
    let newer = world.prepare(&mut ann, NEW, As::MemberWithUv);
    assert_eq!(code(&world.ask(&mut ann, As::MemberWithUv, &[Command::Expose(older)])), Code::Stale);
    assert_eq!(world.ask(&mut ann, As::MemberWithUv, &[Command::Expose(newer)]), [Answer::Exposed]);
}

#[test]
fn the_same_expose_is_answered_again_and_sets_nothing_again() {
    let (mut world, mut ann) = settled();
    let expose = world.prepare(&mut ann, NEW, As::MemberWithUv);
    let id = ann.request_id();
    let commands = [Command::Expose(expose.clone())];
    assert_eq!(world.ask_as(&ann, As::MemberWithUv, id, &commands), [Answer::Exposed]);
    world.enter_pin(&mut ann, WRONG).unwrap_err();
    let entries = world.host.entries(&ann.account.unwrap());
    assert_eq!(world.ask_as(&ann, As::MemberWithUv, id, &commands), [Answer::Exposed]);
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
    assert_eq!(world.status(&mut ann).left, 9, "no fresh counter");
    // As another operation it is too late.
    assert_eq!(code(&world.ask(&mut ann, As::MemberWithUv, &commands)), Code::Stale);
}

#[test]
fn a_prepared_pin_is_for_ten_minutes() {
    let (mut world, mut ann) = settled();
    let expose = world.prepare(&mut ann, NEW, As::MemberWithUv);
    world.wait(limits::PIN_OPEN_MS + 1);
    assert_eq!(code(&world.ask(&mut ann, As::MemberWithUv, &[Command::Expose(expose)])), Code::Stale);
    let expose = world.prepare(&mut ann, NEW, As::MemberWithUv);
    world.wait(limits::PIN_OPEN_MS);
    assert_eq!(world.ask(&mut ann, As::MemberWithUv, &[Command::Expose(expose)]), [Answer::Exposed]);
}

#[test]
fn a_prepared_pin_is_for_one_device() {
    let (mut world, mut ann) = settled();
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    let expose = world.prepare(&mut ann, NEW, As::MemberWithUv);
    assert_eq!(code(&world.ask(&mut phone, As::MemberWithUv, &[Command::Expose(expose)])), Code::Stale);
}

#[test]
fn nothing_prepared_exposes_nothing() {
    let (mut world, mut ann) = settled();
    let expose = Expose { generation: 2, client_key: [1; 32], commitment: [2; 32] };
    assert_eq!(code(&world.ask(&mut ann, As::MemberWithUv, &[Command::Expose(expose)])), Code::Stale);
}

#[test]
fn a_pin_cannot_be_exposed_without_the_half_of_the_device() {
    let (mut world, mut ann) = settled();
    let expose = world.prepare(&mut ann, NEW, As::MemberWithUv);
    let mut session = world.session();
    let id = ann.request_id();
    let commands = [Command::Expose(expose.clone())];
    for wrapped in [None, Some(vec![1; 65].into())] {
        let mut request = ann.unsigned(As::MemberWithUv, id, &commands);
        request.wrapped = wrapped;
        let request = ann.sign(request, As::MemberWithUv, session.transport.handshake_hash());
        assert_eq!(code(&world.send(&mut session, &request).unwrap().answers), Code::Stale);
    }
    // Refused without a change: it can still be exposed.
    assert_eq!(world.ask_as(&ann, As::MemberWithUv, id, &commands), [Answer::Exposed]);
}

#[test]
fn after_a_lock_a_member_with_uv_sets_a_new_pin() {
    let (mut world, mut ann) = settled();
    lock(&mut world, &mut ann);
    let (prepare, _, _) = preparing(&mut ann, NEW);
    assert_eq!(code(&world.ask(&mut ann, As::Member, &prepare)), Code::UvRequired);
    world.set_pin(&mut ann, NEW);
    let status = world.status(&mut ann);
    assert_eq!((status.generation, status.left, status.locked), (2, 10, false));
    world.enter_pin(&mut ann, NEW).unwrap();
    let mut phone = world.device();
    world.join(&mut phone, "ann", NEW).unwrap();
}

#[test]
fn members_go_on_signing_in_while_the_pin_is_locked() {
    let (mut world, mut ann) = settled();
    let created = world.create(&mut ann, "example.com");
    lock(&mut world, &mut ann);
    let assert = Command::Assert(crate::client::assert_for(created.id, "example.com"));
    assert!(matches!(&world.ask(&mut ann, As::Member, &[assert])[..], [Answer::Asserted(_)]));
    let create = Command::CreatePasskey(create_for("example.org"));
    assert!(matches!(&world.ask(&mut ann, As::Member, &[create])[..], [Answer::Created(_)]));
}

#[test]
fn a_locked_pin_lets_no_device_join() {
    let (mut world, mut ann) = settled();
    lock(&mut world, &mut ann);
    let mut phone = world.device();
    assert_eq!(world.join(&mut phone, "ann", PIN).unwrap_err().code, Code::PinLocked);
}

#[test]
fn the_pin_is_changed_at_most_five_times_in_thirty_days() {
    let (mut world, mut ann) = settled();
    for _ in 1..limits::PIN_RESETS_MAX {
        world.set_pin(&mut ann, NEW);
    }
    let (prepare, _, _) = preparing(&mut ann, NEW);
    assert_eq!(code(&world.ask(&mut ann, As::MemberWithUv, &prepare)), Code::RateLimited);
    world.wait(limits::PIN_WINDOW_MS + 1);
    world.set_pin(&mut ann, PIN);
}

#[test]
fn changing_the_pin_does_not_take_failures_back() {
    let (mut world, mut ann) = settled();
    let rounds = limits::PIN_FAILURES_MAX / 9;
    for _ in 0..rounds {
        for _ in 0..9 {
            world.enter_pin(&mut ann, WRONG).unwrap_err();
        }
        world.set_pin(&mut ann, PIN);
    }
    let left = limits::PIN_FAILURES_MAX - rounds * 9;
    for _ in 0..left {
        world.enter_pin(&mut ann, WRONG).unwrap_err();
    }
    assert_eq!(world.enter_pin(&mut ann, PIN).unwrap_err().code, Code::PinLocked);
}

#[test]
fn an_evaluation_of_a_prepared_key_is_no_evaluation_of_the_pin_in_force() {
    let (mut world, mut ann) = settled();
    let (commands, blind, hardened) = preparing(&mut ann, PIN);
    let answers = world.ask(&mut ann, As::MemberWithUv, &commands);
    let [Answer::Prepared(prepared)] = &answers[..] else { panic!() };
    assert_eq!(prepared.commitment, [0; 32]);
    let expose = exposing(&ann, prepared, &blind, &hardened);
    let status = world.status(&mut ann);
    let trying = attempt(&mut ann, &status, WRONG);
    world.begin(&mut ann, &trying).unwrap();
    let finish = keyferry_wire::command::Finish { attempt: trying.begin.attempt, value: expose.client_key };
    let answers = world.ask(&mut ann, As::Member, &[Command::Finish(finish)]);
    assert_eq!(refusal(&answers), (Code::PinWrong, Some(9)));
}

#[test]
fn a_pin_prepared_with_user_verification_is_exposed_with_it_alone() {
    let (mut world, mut ann) = settled();
    let expose = Command::Expose(world.prepare(&mut ann, NEW, As::MemberWithUv));
    assert_eq!(code(&world.ask(&mut ann, As::Member, std::slice::from_ref(&expose))), Code::UvRequired);
    assert_eq!(world.ask(&mut ann, As::MemberWithUv, &[expose]), [Answer::Exposed]);
}
