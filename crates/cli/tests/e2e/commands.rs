//! The commands as scripts depend on them (DESIGN 13): documents, exit statuses, help.

use crate::harness::{Device, Person, World, creation, from_base64url, keyferry, request};
use serde_json::Value;

const SITE: &str = "https://example.org";
const RP_ID: &str = "example.org";

#[track_caller]
fn members(document: &Value, names: &[&str]) {
    for name in names {
        assert!(document.get(name).is_some(), "no \"{name}\" in {document}");
    }
}

#[test]
fn documents_have_the_members_that_scripts_read() {
    let world = World::new();
    let service = world.service();
    members(
        &service.ready,
        &["ready", "url", "pids", "profile", "anchor_level", "custody_level", "stand_ins"],
    );
    let pids = service.ready["pids"].as_object().unwrap();
    let ids: Vec<_> = pids.values().map(|pid| pid.as_u64().unwrap()).collect();
    assert_eq!(ids.len(), 2, "{pids:?}");
    assert!(ids.contains(&u64::from(service.pid())), "{pids:?}");
    assert!(ids.contains(&u64::from(service.enclave_pid())), "{pids:?}");
    assert_eq!(service.ready["profile"], "try");
    assert!(!service.ready["stand_ins"].as_array().unwrap().is_empty());

    let ada = Person::stranger(&world, &service, "ada");
    let account = ada.create_account().done();
    assert_eq!(from_base64url(&account["account"]).len(), 32);
    let laptop = ada.device("laptop");
    let enrolled = ada.register("enrol", "laptop", &laptop, &ada.pin).done();
    members(&enrolled, &["account", "device", "level"]);
    assert_eq!(enrolled["account"], account["account"]);
    // Trust on first use is told in every document.
    assert_eq!(enrolled["unpinned"], true, "{enrolled}");

    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let list = laptop.run(&["passkey", "list"]).done();
    let passkey = &list["passkeys"][0];
    members(passkey, &["id", "rp_id", "user_name", "alg", "created"]);
    assert_eq!((&passkey["id"], &passkey["rp_id"]), (&created["id"], &RP_ID.into()));
    assert_eq!((passkey["user_name"].as_str(), passkey["alg"].as_i64()), (Some("ada"), Some(-7)));
    assert!(passkey["created"].as_str().unwrap().ends_with('Z'));

    let devices = laptop.run(&["device", "list"]).done();
    members(&devices["devices"][0], &["device", "label", "level", "state", "created"]);
    assert_eq!(devices["devices"][0]["device"], enrolled["device"]);
    assert_eq!(devices["devices"][0]["label"], "laptop");
    assert_eq!(devices["devices"][0]["level"], enrolled["level"]);

    let sync = laptop.run(&["sync"]).done();
    members(&sync, &["cursor", "changed"]);
    assert_eq!(laptop.run(&["sync"]).done()["changed"], 0);
    members(&laptop.run(&["pin", "status"]).done(), &["left", "locked", "generation"]);
    let audit = laptop.run(&["audit"]).done();
    members(&audit, &["complete", "size", "root", "entries"]);
    for entry in audit["entries"].as_array().unwrap() {
        members(entry, &["seq", "time", "kind", "outcome", "device", "rp_id"]);
    }
    members(
        &laptop.run(&["attest", "show"]).done(),
        &["kind", "measurement", "stand_in", "anchor_level", "custody_level"],
    );
}

#[test]
fn names_are_changed_on_one_device_and_seen_on_the_other() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let id = created["id"].as_str().unwrap();
    let phone = ada.join("phone");
    phone.run(&["passkey", "rename", "--id", id, "--user-name", "ada l.", "--display-name", "Ada"]).done();
    phone.run(&["device", "rename", "--label", "pocket"]).done();
    let passkey = laptop.run(&["passkey", "list"]).done()["passkeys"][0].clone();
    assert_eq!(passkey["user_name"], "ada l.");
    let labels = |device: &Device| {
        let list = device.run(&["device", "list"]).done();
        let list = list["devices"].as_array().unwrap().iter();
        let mut labels: Vec<_> = list.map(|d| d["label"].as_str().unwrap().to_owned()).collect();
        labels.sort();
        labels
    };
    assert_eq!(labels(&laptop), ["laptop", "pocket"]);
    // A device renames others too, by their id; never one that is not there.
    let devices = laptop.run(&["device", "list"]).done()["devices"].clone();
    let other = devices.as_array().unwrap().iter().find(|device| device["label"] == "pocket").unwrap();
    let words = ["device", "rename", "--device", other["device"].as_str().unwrap(), "--label", "bag"];
    laptop.run(&words).done();
    assert_eq!(labels(&phone), ["bag", "laptop"]);
    laptop.run(&["device", "rename", "--device", "AAAAAAAAAAAAAAAAAAAAAA", "--label", "x"]).refusal();
    laptop.run(&["device", "rename", "--device", "nonsense", "--label", "x"]).failed();
    laptop.run(&["device", "rename", "--label", &"l".repeat(65)]).refusal();
    // The passkey itself is what it was.
    let options = request(RP_ID);
    crate::harness::assert_signed_by(&created, &laptop.get(SITE, &options).done(), &options);
    laptop.run(&["passkey", "delete", "--id", "AAAAAAAAAAAAAAAAAAAAAA"]).refused("no_credentials");
    laptop.run(&["passkey", "delete", "--id", "nonsense"]).failed();
    // Deleted on one, gone on the other.
    laptop.run(&["passkey", "delete", "--id", id]).done();
    assert_eq!(phone.passkey_ids(), Vec::<String>::new());
    laptop.run(&["passkey", "rename", "--id", id, "--user-name", "late"]).refused("no_credentials");
}

/// One id in 64 begins with a hyphen in base64url.
#[test]
fn ids_that_begin_with_a_hyphen_are_taken_as_ids() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    let id = "-AAAAAAAAAAAAAAAAAAAAA";
    laptop.run(&["passkey", "delete", "--id", id]).refused("no_credentials");
    laptop.run(&["passkey", "rename", "--id", id, "--user-name", "name"]).refused("no_credentials");
    laptop.run(&["device", "rename", "--device", id, "--label", "label"]).refusal();
}

/// Edits on two devices at once: both are kept or one is told, and both devices end with the same.
#[test]
fn two_devices_that_edit_at_once_agree_in_the_end() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let phone = ada.join("phone");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let id = created["id"].as_str().unwrap();
    std::thread::scope(|scope| {
        for (device, name) in [(&laptop, "laptop"), (&phone, "phone")] {
            scope.spawn(move || {
                for round in 0..5 {
                    let user = format!("{name}-{round}");
                    let said = device.run(&["passkey", "rename", "--id", id, "--user-name", &user]);
                    if said.status != Some(0) {
                        said.refused("conflict");
                    }
                    device.create(SITE, &creation(RP_ID, &user)).done();
                }
            });
        }
    });
    let lists = [&laptop, &phone].map(|device| device.run(&["passkey", "list"]).done()["passkeys"].clone());
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[0].as_array().unwrap().len(), 11);
    assert_eq!(laptop.audit(), phone.audit());
}

/// Two commands on one home at once: one waits for the other.
#[test]
fn commands_on_one_home_at_once_wait_for_each_other() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    std::thread::scope(|scope| {
        for number in 0..6 {
            let laptop = &laptop;
            scope.spawn(move || laptop.create(SITE, &creation(RP_ID, &format!("user-{number}"))).done());
        }
    });
    assert_eq!(laptop.passkey_ids().len(), 6);
    laptop.audit();
}

#[test]
fn try_tells_the_whole_story_and_ends_well() {
    let said = keyferry(&["try", "--json"]);
    let story = said.done();
    members(&story, &["ok", "steps", "host_saw", "stand_ins"]);
    assert_eq!(story["ok"], true, "{story:#}");
    let steps = story["steps"].as_array().unwrap();
    assert!(steps.len() >= 6, "{story:#}");
    for step in steps {
        members(step, &["name", "ok", "ms"]);
        assert_eq!(step["ok"], true, "{story:#}");
    }
    assert!(story["host_saw"].is_object());
    assert!(!story["stand_ins"].as_array().unwrap().is_empty());
    // For people there is the same in words; every stand-in is named.
    let said = keyferry(&["try"]);
    assert_eq!(said.status, Some(0), "{said}");
    for stand_in in story["stand_ins"].as_array().unwrap() {
        let words = stand_in.as_str().unwrap();
        assert!(said.out.contains(words), "{words} is not named: {said}");
    }
}

#[test]
fn every_command_has_a_help_text() {
    let tree = keyferry(&["help", "--tree"]);
    assert_eq!(tree.status, Some(0), "{tree}");
    let commands: Vec<_> = tree.out.lines().filter(|line| !line.contains("--")).collect();
    for expected in [
        "try",
        "up",
        "account create",
        "device enrol",
        "device join",
        "device list",
        "device rename",
        "passkey create",
        "passkey get",
        "passkey list",
        "passkey rename",
        "passkey delete",
        "sync",
        "pin status",
        "pin change",
        "audit",
        "attest show",
        "doctor",
        "backup",
        "restore",
        "data upgrade",
        "completions",
        "man",
    ] {
        assert!(commands.contains(&expected), "no {expected} in {commands:?}");
    }
    assert!(!tree.out.contains("stand-in"), "the enclave's role is not a command for people");
    for command in commands {
        let words: Vec<_> = command.split(' ').collect();
        let help = keyferry(&[&["help"], &words[..]].concat());
        assert_eq!(help.status, Some(0), "{help}");
        let flag = keyferry(&[&words[..], &["--help"]].concat());
        assert_eq!(flag.status, Some(0), "{flag}");
        for said in [help, flag] {
            assert!(said.out.contains("Usage:") && said.out.lines().next().unwrap().len() > 10, "{said}");
        }
    }
    let version = keyferry(&["--version"]);
    assert!(version.out.starts_with("keyferry ") && version.status == Some(0), "{version}");
}
