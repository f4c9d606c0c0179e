//! What the simulator has found, kept for ever: each test is the shortest story that showed it.
#![allow(clippy::unwrap_used, clippy::panic)]

use keyferry_sim::device::{End, Role};
use keyferry_sim::errand::Errand;
use keyferry_sim::gateway::{Crash, Who};
use keyferry_sim::{Config, World};

const PIN: &str = "u7wq2kxa";

fn enrol(pin: &str, label: &str) -> Errand {
    Errand::Enrol { pin: pin.to_owned(), label: label.to_owned() }
}

fn world() -> World {
    let mut world = World::small(5, Config::default(), 1, &[Role::Honest, Role::Honest]);
    world.start().unwrap();
    world.complete(0, Errand::CreateAccount).unwrap();
    world
}

/// Takes `exchanges` requests of a device to the enclave, loses the answer to the last of them although the enclave
/// has done it, and the device as well.
fn lose_the_answer(world: &mut World, at: usize, exchanges: usize) {
    for _ in 1..exchanges {
        world.exchange(at, None).unwrap();
    }
    for turn in 0..4 {
        let before = world.oracle.entries(0);
        world.exchange(at, Some((turn, Crash::AfterCommit, Who::Gateway))).unwrap();
        if world.oracle.entries(0) > before + 1 {
            world.devices[at] = world.devices[at].reborn();
            return;
        }
    }
}

#[test]
fn a_lost_enrolment_is_taken_up_with_another_label() {
    let mut world = world();
    world.set_out(0, enrol(PIN, "one label")).unwrap();
    lose_the_answer(&mut world, 0, 2);
    let end = world.complete(0, enrol(PIN, "another label")).unwrap();
    assert!(matches!(end, End::Done(_)), "{end:?}");
}

#[test]
fn a_lost_join_is_taken_up_after_the_pin_was_changed() {
    let mut world = world();
    assert!(matches!(world.complete(0, enrol(PIN, "label")).unwrap(), End::Done(_)));
    let join = |pin: &str| Errand::Join { pin: pin.to_owned(), label: "another device".to_owned() };
    world.set_out(1, join(PIN)).unwrap();
    lose_the_answer(&mut world, 1, 3);
    let new = "j5tz8mwe";
    let changed = world.complete(0, Errand::PinChange { old: None, new: new.to_owned() }).unwrap();
    assert!(matches!(changed, End::Done(_)), "{changed:?}");
    let end = world.complete(1, join(new)).unwrap();
    assert!(matches!(end, End::Done(_)), "{end:?}");
}

#[test]
fn a_frame_that_the_host_held_back_is_not_applied_a_second_time() {
    let mut world = world();
    assert!(matches!(world.complete(0, enrol(PIN, "label")).unwrap(), End::Done(_)));
    let device = world.devices[0].home.device_id();
    let rename = |label: &str| Errand::RenameDevice { device, label: label.to_owned() };
    world.set_out(0, rename("held back")).unwrap();
    let held = world.hold_back(0).unwrap().unwrap();
    world.calm_down().unwrap();
    for number in 0..17 {
        assert!(matches!(world.complete(0, rename(&format!("label {number}"))).unwrap(), End::Done(_)));
    }
    let applied = world.let_go(held);
    assert!(applied.is_ok(), "{}", applied.unwrap_err());
}
