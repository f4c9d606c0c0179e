//! The PIN: ten wrong tries per account, whatever happens in between, and no way around the count.

use crate::harness::{Device, Person, Service, World, creation, origin, request};
use serde_json::Value;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const TRIES: u64 = 10;

/// A file with a PIN that is wrong, another one each time.
fn wrong_pin(world: &World) -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    world.file(&format!("wrong-{number}.pin"), format!("wrong-{number}-guess"))
}

/// PIN attempts that the enclave evaluated, as the ledger tells its owner.
#[track_caller]
fn attempts(member: &Device) -> usize {
    member.audit().iter().filter(|entry| is_counted_attempt(entry)).count()
}

pub(crate) fn is_counted_attempt(entry: &Value) -> bool {
    entry["kind"] == "attempt" && entry["outcome"] == "done"
}

#[test]
fn ten_wrong_pins_lock_the_account_for_strangers_and_its_devices_go_on() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let (site, rp_id) = (origin("example.org"), "example.org");
    laptop.create(&site, &creation(rp_id, "ada")).done();
    assert_eq!(laptop.tries_left(), TRIES);

    // One home for all tries: a failed join leaves it as it was.
    let thief = ada.device("thief");
    for left in (1..TRIES).rev() {
        let refusal = ada.try_join("thief", &thief, &wrong_pin(&world)).refused("pin_wrong");
        assert_eq!(refusal.left, Some(left));
        assert_eq!(laptop.tries_left(), left);
    }
    let refusal = ada.try_join("thief", &thief, &wrong_pin(&world)).refused("pin_locked");
    assert_eq!(refusal.left, Some(0));
    let status = laptop.run(&["pin", "status"]).done();
    assert_eq!((&status["locked"], status["left"].as_u64()), (&Value::Bool(true), Some(0)));

    // Neither the same home nor another one, neither the right PIN nor a wrong one.
    let other = ada.device("other");
    for (label, device) in [("thief", &thief), ("other", &other)] {
        assert_eq!(ada.try_join(label, device, &ada.pin).refused("pin_locked").left, Some(0));
        assert_eq!(ada.try_join(label, device, &wrong_pin(&world)).refused("pin_locked").left, Some(0));
    }
    assert_eq!(attempts(&laptop), 10);
    // The owner's device does not notice, and sees what happened.
    laptop.get(&site, &request(rp_id)).done();
    let kinds: Vec<_> =
        laptop.audit().iter().map(|entry| entry["kind"].as_str().unwrap().to_owned()).collect();
    assert!(kinds.iter().any(|kind| kind == "lock"), "{kinds:?}");
    assert_eq!(laptop.run(&["device", "list"]).done()["devices"].as_array().unwrap().len(), 1);
}

#[test]
fn right_pin_on_the_tenth_try_works_and_gives_all_tries_back() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let phone = ada.device("phone");
    for left in (1..TRIES).rev() {
        let refusal = ada.try_join("phone", &phone, &wrong_pin(&world)).refused("pin_wrong");
        assert_eq!(refusal.left, Some(left));
    }
    ada.try_join("phone", &phone, &ada.pin).done();
    assert_eq!(laptop.tries_left(), TRIES);
    laptop.create(&origin("example.org"), &creation("example.org", "ada")).done();
    phone.get(&origin("example.org"), &request("example.org")).done();
    assert_eq!(attempts(&phone), 10);
    // A member does not join again.
    let said = ada.try_join("phone", &phone, &ada.pin);
    said.refused("exists");
}

#[test]
fn limit_holds_over_restarts_and_kills_between_tries() {
    let world = World::new();
    let mut service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let thief = ada.device("thief");
    for left in (1..TRIES).rev() {
        match left % 3 {
            0 => {
                service.kill();
                service.start_again();
            }
            1 => {
                service.stop();
                service.start_again();
            }
            _ => {
                crate::harness::signal(service.enclave_pid(), "KILL");
            }
        }
        // A command that meets the restart itself may fail; what it must not do is to buy a try.
        let refusal = until_answered(|| ada.try_join("thief", &thief, &wrong_pin(&world)));
        assert_eq!((refusal.error.as_str(), refusal.left), ("pin_wrong", Some(left)));
    }
    let refusal = ada.try_join("thief", &thief, &wrong_pin(&world)).refused("pin_locked");
    assert_eq!(refusal.left, Some(0));
    service.kill();
    service.start_again();
    ada.try_join("thief", &thief, &ada.pin).refused("pin_locked");
    assert_eq!(attempts(&laptop), 10);
}

/// Repeats a command while it meets a restart.
fn until_answered(mut command: impl FnMut() -> crate::harness::Said) -> crate::harness::Refusal {
    crate::harness::until("an answer", || {
        let said = command();
        if said.status == Some(1) { None } else { Some(said.refusal()) }
    })
}

#[test]
fn parallel_tries_from_several_homes_share_the_ten() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let thieves: Vec<_> = (0..4)
            .map(|number| {
                let (ada, world) = (&ada, &world);
                scope.spawn(move || {
                    let label = format!("thief-{number}");
                    let home = ada.device(&label);
                    let guess = || ada.try_join(&label, &home, &wrong_pin(world)).refusal();
                    (0..4).map(|_| guess()).collect::<Vec<_>>()
                })
            })
            .collect();
        thieves.into_iter().flat_map(|thief| thief.join().unwrap()).collect()
    });
    // Whoever was evaluated was counted, so no two were told the same number.
    let mut left: Vec<_> =
        answers.iter().filter(|a| a.error == "pin_wrong").map(|a| a.left.unwrap()).collect();
    left.sort_unstable();
    left.dedup();
    let wrong = answers.iter().filter(|a| a.error == "pin_wrong").count();
    assert_eq!(left.len(), wrong, "{answers:?}");
    assert!(wrong < 10, "{answers:?}");
    for other in answers.iter().filter(|answer| answer.error != "pin_wrong") {
        assert!(matches!(other.error.as_str(), "pin_locked" | "stale" | "conflict"), "{other:?}");
    }
    assert_eq!(attempts(&laptop), 10, "{answers:?}");
    assert_eq!(laptop.tries_left(), 0);
}

#[test]
fn pin_is_changed_with_the_old_one_or_with_user_verification() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol_verifying("laptop");
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let change = |device: &Device, old: Option<&PathBuf>, new: &PathBuf| {
        let (old, new) = (old.map(text), text(new));
        let mut words = vec!["pin", "change", "--new-pin-file", &new];
        if let Some(old) = &old {
            words.extend(["--pin-file", old]);
        }
        device.run(&words)
    };
    let generation = |device: &Device| device.run(&["pin", "status"]).done()["generation"].as_u64().unwrap();
    let first = generation(&laptop);

    // Nobody without either.
    let second = world.file("second.pin", "quay-5530-second");
    change(&laptop, None, &second).refused("uv_required");
    // A wrong old PIN costs a try, as everywhere.
    let refusal = change(&laptop, Some(&wrong_pin(&world)), &second).refused("pin_wrong");
    assert_eq!(refusal.left, Some(9));
    assert_eq!(laptop.tries_left(), 9);
    // A weak new one costs nothing.
    for weak in ["12345", "123456", "000000", "password"] {
        change(&laptop, Some(&ada.pin), &world.file("weak.pin", weak)).refused("policy");
    }
    assert_eq!((laptop.tries_left(), generation(&laptop)), (9, first));

    change(&laptop, Some(&ada.pin), &second).done();
    assert!(generation(&laptop) > first);
    assert_eq!(laptop.tries_left(), TRIES);
    let phone = ada.device("phone");
    ada.try_join("phone", &phone, &ada.pin).refused("pin_wrong");
    ada.try_join("phone", &phone, &second).done();

    // By user verification, which needs no old one: on the device that has it.
    let third = world.file("third.pin", "pier-9012-third");
    let words = ["pin", "change", "--new-pin-file", third.to_str().unwrap()];
    laptop.run_verified(&words, b"").done();
    let tablet = ada.device("tablet");
    ada.try_join("tablet", &tablet, &second).refused("pin_wrong");
    ada.try_join("tablet", &tablet, &ada.pin).refused("pin_wrong");
    ada.try_join("tablet", &tablet, &third).done();
    let phone_with_pin = Device { device_pin: Some(ada.device_pin.clone()), ..phone.clone() };
    phone_with_pin.run_verified(&words, b"").refused("uv_required");
    // All three still sign and agree.
    laptop.create(&origin("example.org"), &creation("example.org", "ada")).done();
    for device in [&laptop, &phone, &tablet] {
        device.get(&origin("example.org"), &request("example.org")).done();
    }
    assert_eq!(laptop.audit(), tablet.audit());
}

/// Security checklist, 22: a change gives no fresh counter for ever.
#[test]
fn changes_and_locks_add_up_to_thirty_failures_and_five_changes() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol_verifying("laptop");
    let new = |number: usize| world.file(&format!("new-{number}.pin"), format!("berth-{number}-4471"));
    let verified = |number: usize| {
        let new = new(number);
        laptop.run_verified(&["pin", "change", "--new-pin-file", new.to_str().unwrap()], b"")
    };
    let new_pin = new(0);
    for round in 1..=3 {
        for guess in 1..=10 {
            let wrong = wrong_pin(&world);
            let words = ["pin", "change", "--pin-file", wrong.to_str().unwrap()];
            let said = laptop.run(&[&words[..], &["--new-pin-file", new_pin.to_str().unwrap()]].concat());
            let expected = if guess == 10 { "pin_locked" } else { "pin_wrong" };
            assert_eq!(said.refused(expected).left, Some(10 - guess));
        }
        verified(round).done();
    }
    // A fresh PIN, but thirty failures in thirty days: it rests, also for whoever knows it.
    let status = laptop.run(&["pin", "status"]).done();
    assert_eq!((&status["locked"], status["left"].as_u64()), (&Value::Bool(true), Some(0)));
    let phone = ada.device("phone");
    ada.try_join("phone", &phone, &new(3)).refused("pin_locked");
    assert_eq!(attempts(&laptop), 30);
    // Set once and changed three times so far; five in thirty days are all.
    verified(4).done();
    verified(5).refused("rate_limited");
    ada.try_join("phone", &phone, &new(4)).refused("pin_locked");
    laptop.create(&origin("example.org"), &creation("example.org", "ada")).done();
    laptop.get(&origin("example.org"), &request("example.org")).done();
}

#[test]
fn one_account_has_one_first_device_and_one_password() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    ada.create_account().refused("exists");
    // Nothing to join yet.
    let early = ada.device("early");
    let said = ada.try_join("early", &early, &ada.pin);
    said.refusal();
    let laptop = ada.enrol("laptop");
    ada.register("enrol", "second", &ada.device("second"), &ada.pin).refused("exists");
    ada.try_join("early", &early, &ada.pin).done();

    let mut mallory = same(&world, &service);
    mallory.password = world.file("guess", "not the password");
    let tries_before = laptop.tries_left();
    let thief = mallory.device("thief");
    mallory.try_join("thief", &thief, &ada.pin).refused("auth");
    mallory.register("enrol", "thief", &thief, &ada.pin).refused("auth");
    // A stranger without the password cannot use up the PIN either.
    assert_eq!(laptop.tries_left(), tries_before);
    // Nor does the answer say whether there is such an account.
    let nobody = Person::stranger(&world, &service, "nobody");
    nobody.try_join("thief", &nobody.device("thief"), &ada.pin).refused("auth");
}

/// Ada's account in somebody else's hands.
fn same(world: &World, service: &Service) -> Person {
    Person::stranger(world, service, "ada")
}

#[test]
fn password_guesses_are_limited_too() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let thief = ada.device("thief");
    let mut codes = Vec::new();
    for guess in 0..12 {
        let password = world.file("guess", format!("guess number {guess}"));
        let mut mallory = same(&world, &service);
        mallory.password = password;
        codes.push(mallory.try_join("thief", &thief, &ada.pin).refusal().error);
    }
    assert_eq!(codes[..10], vec!["auth"; 10], "{codes:?}");
    assert!(codes[10..].iter().all(|code| code == "rate_limited"), "{codes:?}");
    // Devices that are in need no password.
    assert_eq!(laptop.tries_left(), TRIES);
    laptop.run(&["sync"]).done();
}
