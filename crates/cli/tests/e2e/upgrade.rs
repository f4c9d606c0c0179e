//! Files of earlier versions: whatever today's formats are, what was kept goes on.

use crate::harness::{
    Service, Tables, World, assert_signed_by, creation, keyferry, origin, request, request_for,
};
use serde_json::Value;

/// What a list says of each passkey and what does not change by itself, in an order of its own.
fn names(list: &Value) -> Vec<(String, String, String)> {
    let text = |passkey: &Value, name: &str| passkey[name].as_str().unwrap().to_owned();
    let passkeys = list["passkeys"].as_array().unwrap().iter();
    let mut names: Vec<_> =
        passkeys.map(|it| (text(it, "rp_id"), text(it, "user_name"), text(it, "id"))).collect();
    names.sort();
    names
}

#[test]
fn homes_of_the_first_version_go_on() {
    let world = World::of_the_first_version();
    let mut service = world.service();
    let (laptop, phone) = (world.moved_home("laptop", &service), world.moved_home("phone", &service));

    // Nothing was lost: passkeys with their names, tries, entries.
    let kept = world.kept("passkeys.json");
    for device in [&laptop, &phone] {
        assert_eq!(names(&device.run(&["passkey", "list"]).done()), names(&kept));
    }
    assert_eq!(world.kept("pin-status.json")["left"], 9);
    assert_eq!(laptop.tries_left(), 9);
    let audited = world.kept("audit.json")["entries"].as_array().unwrap().clone();
    assert!(audited.len() > 10);
    assert!(phone.audit().starts_with(&audited));

    // Its passkeys sign as they were registered, with and without user verification; a deleted one does not.
    for (user, rp_id) in [("ada", "shop.example"), ("second", "shop.example"), ("ada@bank", "bank.example")] {
        let created = world.kept(&format!("created.{rp_id}.{user}.json"));
        let options = request_for(rp_id, &[created["id"].as_str().unwrap()]);
        assert_signed_by(&created, &laptop.get_verified(&origin(rp_id), &options).done(), &options);
        assert_signed_by(&created, &phone.get(&origin(rp_id), &options).done(), &options);
    }
    phone.get(&origin("old.example"), &request("old.example")).refused("no_credentials");

    // A wrong PIN counts on, and a right one opens the door to a new device.
    let file = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let change = |pin: &str| {
        phone.run(&["pin", "change", "--pin-file", &file(pin), "--new-pin-file", &file("new-pin")])
    };
    assert_eq!(change("wrong-pin").refused("pin_wrong").left, Some(8));
    change("pin").done();
    let tablet = crate::harness::Device::new(&world.path("tablet"));
    let (password, pin) = (file("password"), file("new-pin"));
    let words = ["device", "join", "--server", &service.url, "--name", "ada", "--password-file", &password];
    tablet.run(&[&words[..], &["--pin-file", &pin, "--accept-evidence", "sim"]].concat()).done();
    assert_eq!(tablet.tries_left(), 10);

    // What is new on one is seen on the others, after another start, too.
    let created = laptop.create(&origin("new.example"), &creation("new.example", "ada")).done();
    service.stop();
    service.start_again();
    for device in [&laptop, &phone, &tablet] {
        assert!(device.passkey_ids().contains(&created["id"].as_str().unwrap().to_owned()));
        assert!(device.audit().starts_with(&audited));
    }
}

#[test]
fn upgrade_says_what_it_would_do_before_it_does_it() {
    let world = World::of_the_first_version();
    let data = world.data();
    let upgrade = |more: &[&str]| {
        keyferry(&[&["data", "upgrade", "--json", "--data", data.to_str().unwrap()][..], more].concat())
    };
    let checked = upgrade(&["--check"]).done();
    assert_eq!((&checked["schema"], &checked["upgraded"]), (&1.into(), &false.into()));
    // The first version's schema is either today's, or is upgraded with the old file kept aside.
    let due = checked["due"] == true;
    let upgraded = upgrade(&[]).done();
    assert_eq!(upgraded["upgraded"], due);
    assert_eq!(upgraded["kept"].as_str().is_some_and(|kept| std::path::Path::new(kept).is_file()), due);
    let again = upgrade(&["--check"]).done();
    assert_eq!((&again["schema"], &again["due"]), (&checked["known"], &false.into()));
}

#[test]
fn store_of_a_newer_version_is_refused_and_left_as_it_is() {
    let world = World::of_the_first_version();
    let data = world.data();
    Tables::open(&data).connection.execute_batch("PRAGMA user_version = 99").unwrap();
    let Err(refused) = Service::try_start(&data, "127.0.0.1:0", &[]) else {
        panic!("it serves a store that it does not know");
    };
    assert_eq!(refused.status, Some(1));
    assert!(refused.said.contains("newer"), "{refused:?}");
    let text = data.to_str().unwrap();
    assert!(keyferry(&["data", "upgrade", "--data", text]).fault().contains("newer"));
    let to = world.path("copy");
    keyferry(&["backup", "--data", text, "--to", to.to_str().unwrap()]).fault();
    assert!(!to.exists());
    let version = Tables::open(&data).connection.query_row("PRAGMA user_version", [], |row| row.get(0));
    assert_eq!(version, Ok(99));
}
