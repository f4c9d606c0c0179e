//! Each oracle bites: something is broken on purpose, and the oracle for it says so by name.
#![allow(clippy::unwrap_used, clippy::panic)]

use keyferry_sim::device::{Device, End, Role};
use keyferry_sim::dice::Dice;
use keyferry_sim::errand::{Errand, Outcome};
use keyferry_sim::oracle::{Breach, Checked, law};
use keyferry_sim::sabotage::Sabotage;
use keyferry_sim::{Config, World};
use keyferry_wire::DeviceId;

const PIN: &str = "u7wq2kxa";

fn world(sabotage: Option<Sabotage>, devices: &[Role]) -> World {
    let config = Config { sabotage, ..Config::default() };
    let mut world = World::small(77, config, 1, devices);
    world.start().unwrap();
    world.complete(0, Errand::CreateAccount).unwrap();
    let enrol = Errand::Enrol { pin: PIN.to_owned(), label: "first device".to_owned() };
    assert!(matches!(world.complete(0, enrol).unwrap(), End::Done(_)));
    world
}

fn join(pin: &str) -> Errand {
    Errand::Join { pin: pin.to_owned(), label: "other device".to_owned() }
}

fn create(world: &World) -> Errand {
    let rp_id = world.people[0].rp_ids[0].clone();
    Errand::Create {
        rp_id,
        user_name: "user-sabotage".to_owned(),
        exclude: Vec::new(),
        alg: -7,
        verified: false,
    }
}

fn bitten(result: Checked, oracle: &str) {
    match result {
        Err(breach) => assert_eq!(breach.oracle, oracle, "{breach}"),
        Ok(()) => panic!("nobody noticed: {oracle}"),
    }
}

#[test]
fn an_untouched_world_passes_where_the_broken_ones_fail() {
    let mut world = world(None, &[Role::Honest, Role::Honest]);
    assert!(matches!(world.complete(1, join(PIN)).unwrap(), End::Done(_)));
    assert!(matches!(world.complete(0, create(&world)).unwrap(), End::Done(_)));
    world.finale().unwrap();
}

#[test]
fn an_evaluation_before_its_commit_is_caught() {
    let mut world = world(None, &[Role::Honest, Role::Honest]);
    world.set_out(1, join(PIN)).unwrap();
    world.exchange(1, None).unwrap();
    // The next request begins a try.
    world.gateway.sabotage = Some(Sabotage::SpeakBeforeCommit);
    bitten(world.exchange(1, None).map(drop), law::PAID);
}

#[test]
fn a_reply_before_its_commit_is_caught() {
    let mut world = world(None, &[Role::Honest]);
    world.gateway.sabotage = Some(Sabotage::SpeakBeforeCommit);
    bitten(world.complete(0, create(&world)).map(drop), law::DURABLE);
}

/// After each guess yesterday's disk comes back. Anchor level 0 does not promise to stop that, and the engine does not;
/// the judge must count all the same.
#[test]
fn a_count_that_is_forgotten_on_restart_is_caught() {
    let mut world = world(Some(Sabotage::ForgetTheCount), &[Role::Honest, Role::Stranger]);
    let (store, files, oracle) =
        (world.gateway.store.clone(), world.gateway.disk_files(), world.oracle.clone());
    let mut guesses = || -> Checked {
        for guess in 0..11 {
            // The stranger's home is new each time, so it does not notice.
            let name = world.people[0].name.clone();
            world.devices[1] = Device::new(1, 0, Role::Stranger, &name, false, Dice::new(guess, 9));
            world.complete(1, join(&format!("guess{guess}x")))?;
            world.gateway.restore(store.clone(), files.clone(), &mut world.oracle);
            world.oracle.rolled_back(&oracle);
        }
        Ok(())
    };
    bitten(guesses(), law::GUESSES);
}

#[test]
fn a_lost_acknowledged_write_is_caught() {
    let mut world = world(Some(Sabotage::LoseAWrite), &[Role::Honest]);
    let (store, files, oracle) =
        (world.gateway.store.clone(), world.gateway.disk_files(), world.oracle.clone());
    assert!(matches!(world.complete(0, create(&world)).unwrap(), End::Done(Outcome::Created(_))));
    world.gateway.restore(store, files, &mut world.oracle);
    world.oracle.rolled_back(&oracle);
    bitten(world.finale(), law::KEPT);
}

#[test]
fn a_canary_in_a_row_is_caught() {
    let mut world = world(Some(Sabotage::LeakAPin), &[Role::Honest]);
    let account = world.gateway.store.accounts.values_mut().next().unwrap();
    account.devices.insert(DeviceId([9; 16]), (format!("debug: pin={PIN}").into_bytes(), None));
    bitten(world.finale(), law::CANARY);
}

#[test]
fn a_canary_on_the_way_is_caught() {
    let mut world = world(None, &[Role::Honest]);
    // What every frame carries anyway stands in for a leak: the account's id.
    let id = world.oracle.truths[0].id.unwrap();
    world.oracle.canaries.add("the account's id", &id.0);
    bitten(world.complete(0, create(&world)).map(drop), law::CANARY);
}

#[test]
fn believed_stale_rows_are_caught() {
    let mut world = world(Some(Sabotage::BelieveStaleRows), &[Role::Honest, Role::Honest]);
    assert!(matches!(world.complete(1, join(PIN)).unwrap(), End::Done(_)));
    world.complete(1, Errand::Sync).unwrap();
    world.complete(0, create(&world)).unwrap();
    world.gateway.evil.serve_old = true;
    bitten(world.check_vaults(0), law::EQUAL);
}

#[test]
fn stale_rows_are_refused_by_a_device_that_checks() {
    let mut world = world(None, &[Role::Honest]);
    world.complete(0, create(&world)).unwrap();
    world.complete(0, Errand::Sync).unwrap();
    world.complete(0, create(&world)).unwrap();
    world.gateway.evil.serve_old = true;
    let Err(Breach { oracle, .. }) = world.complete(0, Errand::Sync) else { panic!("stale rows were taken") };
    assert_eq!(oracle, law::HONEST, "the device accuses the host, which this world takes for honest");
}
