//! All orders of two devices that enter the PIN, with a crash at every place (design, section 14.5).
#![allow(clippy::unwrap_used, clippy::panic)]

use keyferry_sim::device::{End, Role};
use keyferry_sim::errand::Errand;
use keyferry_sim::gateway::{Crash, Who};
use keyferry_sim::{Config, World};
use std::collections::BTreeMap;

const PIN: &str = "u7wq2kxa";

fn join(pin: &str) -> Errand {
    Errand::Join { pin: pin.to_owned(), label: "another device".to_owned() }
}

/// One member, and a PIN that has `left` tries: whoever comes next stands at the limit.
fn scene(left: usize) -> World {
    let mut world =
        World::small(5, Config::default(), 1, &[Role::Honest, Role::Honest, Role::Honest, Role::Stranger]);
    world.start().unwrap();
    world.complete(0, Errand::CreateAccount).unwrap();
    let enrol = Errand::Enrol { pin: PIN.to_owned(), label: "first device".to_owned() };
    assert!(matches!(world.complete(0, enrol).unwrap(), End::Done(_)));
    for guess in 0..10 - left {
        assert!(matches!(world.complete(3, join(&format!("guess-{guess}"))).unwrap(), End::Refused(_)));
    }
    assert_eq!(world.oracle.truths[0].wrong(), 10 - left);
    world
}

/// Orders of `begin` and `finish` of devices 1 and 2.
const ORDERS: [[usize; 4]; 6] =
    [[1, 1, 2, 2], [1, 2, 1, 2], [1, 2, 2, 1], [2, 1, 1, 2], [2, 1, 2, 1], [2, 2, 1, 1]];

/// Device 1 types the PIN, device 2 another. All that the judge watches must hold on the way and at the end.
/// Gives whether device 1 got in, and whether the PIN was locked.
fn play(
    scene: &World,
    number: u64,
    order: &[usize; 4],
    crash: Option<(usize, usize, Crash, Who)>,
) -> [bool; 2] {
    let mut world = scene.fork(number);
    let story = format!("{order:?} {crash:?}");
    world.set_out(1, join(PIN)).unwrap();
    world.set_out(2, join("wrong-pin")).unwrap();
    let mut go = || {
        world.exchange(1, None)?;
        world.exchange(2, None)?;
        for (step, device) in order.iter().enumerate() {
            let here = crash.filter(|(at, ..)| *at == step).map(|(_, turn, crash, who)| (turn, crash, who));
            world.exchange(*device, here)?;
        }
        world.calm_down()?;
        // Whatever happened, an eleventh guess is not to be had.
        for guess in 0..3 {
            world.complete(3, join(&format!("further-{guess}")))?;
        }
        if number.is_multiple_of(16) { world.finale() } else { Ok(()) }
    };
    let result = go();
    assert!(
        result.is_ok(),
        "{story}: {}",
        result.map_err(|breach| world.failure(breach).to_string()).unwrap_err()
    );
    [world.devices[1].home.membership.is_some(), world.oracle.stats.locks > scene.oracle.stats.locks]
}

#[test]
fn the_limit_holds_in_every_order_of_two_devices_and_at_every_crash() {
    let scenes = [scene(1), scene(2)];
    let mut number = 0;
    let mut ends = BTreeMap::new();
    for order in &ORDERS {
        for scene in &scenes {
            *ends.entry(play(scene, number, order, None)).or_insert(0) += 1;
            number += 1;
        }
        for step in 0..4 {
            for turn in 0..3 {
                for crash in Crash::ALL {
                    let who = if number.is_multiple_of(2) { Who::Gateway } else { Who::Enclave };
                    let scene = &scenes[usize::from(number % 4 < 2)];
                    let end = play(scene, number, order, Some((step, turn, crash, who)));
                    *ends.entry(end).or_insert(0) += 1;
                    number += 1;
                }
            }
        }
    }
    println!("{number} orders; [device 1 got in, the PIN was locked]: {ends:?}");
    assert!(ends.keys().any(|[joined, _]| *joined) && ends.keys().any(|[_, locked]| *locked));
}
