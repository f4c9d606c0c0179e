//! Whose is whose: neither another account, nor a copied file, nor yesterday's row signs.

use crate::harness::{
    Device, Person, Recorder, Tables, World, assert_signed_by, copy_folder, creation, origin, request,
    request_for,
};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::Duration;

const SITE: &str = "https://example.org";
const RP_ID: &str = "example.org";

/// Files of a home, without its lock.
fn files(home: &Path) -> Vec<String> {
    let names = fs::read_dir(home).unwrap().flatten().map(|entry| entry.file_name().into_string().unwrap());
    let mut names: Vec<_> = names.filter(|name| name != "lock").collect();
    names.sort();
    names
}

/// A home with some files of one home and the rest of another.
fn mixed(world: &World, name: &str, base: &Device, other: &Device, from_other: &[&String]) -> Device {
    let home = world.path(name);
    copy_folder(&base.home, &home);
    for file in from_other {
        let source = other.home.join(file);
        if source.exists() {
            fs::copy(source, home.join(file)).unwrap();
        } else {
            let _ = fs::remove_file(home.join(file));
        }
    }
    Device { home, ..base.clone() }
}

#[test]
fn files_of_two_accounts_mixed_in_one_home_sign_for_neither() {
    let world = World::new();
    let service = world.service();
    let (ada, eve) = (Person::new(&world, &service, "ada"), Person::new(&world, &service, "eve"));
    let laptop = ada.enrol_verifying("laptop");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let id = created["id"].as_str().unwrap();
    let evil = eve.enrol_verifying("evil");

    // As herself she has nothing of it.
    assert_eq!(evil.passkey_ids(), Vec::<String>::new());
    evil.get(SITE, &request(RP_ID)).refused("no_credentials");
    evil.get(SITE, &request_for(RP_ID, &[id])).refused("no_credentials");
    evil.run(&["passkey", "delete", "--id", id]).refusal();
    evil.run(&["passkey", "rename", "--id", id, "--user-name", "mine"]).refusal();
    let device = laptop.run(&["device", "list"]).done()["devices"][0]["device"].as_str().unwrap().to_owned();
    evil.run(&["device", "rename", "--device", &device, "--label", "mine"]).refusal();
    assert!(evil.audit().iter().all(|entry| entry["kind"] != "create-passkey"));

    let names = files(&laptop.home);
    assert!(names.len() >= 3, "a home has state and two keys: {names:?}");
    let parts = 1_usize << names.len();
    for choice in 1..parts - 1 {
        let from_other: Vec<_> = names.iter().enumerate().filter(|(at, _)| choice >> at & 1 == 1).collect();
        let from_other: Vec<_> = from_other.into_iter().map(|(_, name)| name).collect();
        let home = mixed(&world, &format!("mixed-{choice}"), &evil, &laptop, &from_other);
        // The user-verification key guards nothing that needs none: then a whole home may be left.
        let whole = |name: &String| name.contains("uv");
        let rest: Vec<_> = names.iter().filter(|name| !from_other.contains(name)).collect();
        let as_ada = rest.iter().all(|name| whole(name));
        let as_eve = from_other.iter().all(|name| whole(name));
        if !as_ada {
            let said = home.get(SITE, &request_for(RP_ID, &[id]));
            assert_ne!(said.status, Some(0), "{from_other:?} of the owner's files sign: {said}");
            said.failed();
        }
        // User verification needs her key and her PIN, and both PINs are the same here.
        let said = home.get_verified(SITE, &request_for(RP_ID, &[id]));
        assert_ne!(said.status, Some(0), "{from_other:?} of the owner's files verify: {said}");
        if !as_eve && !as_ada {
            let said = home.create(SITE, &creation(RP_ID, "eve"));
            assert_ne!(said.status, Some(0), "{from_other:?} of the owner's files create: {said}");
        }
    }
    // Nobody's attempts did harm.
    let options = request(RP_ID);
    assert_signed_by(&created, &laptop.get_verified(SITE, &options).done(), &options);
    assert_eq!(laptop.passkey_ids(), [id]);
}

#[test]
fn home_without_one_of_its_keys_is_of_no_use() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol_verifying("laptop");
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    for missing in files(&laptop.home) {
        let home = world.path(&format!("without-{missing}"));
        copy_folder(&laptop.home, &home);
        fs::remove_file(home.join(&missing)).unwrap();
        let copy = Device { home, ..laptop.clone() };
        let said = copy.get_verified(SITE, &request(RP_ID));
        assert_ne!(said.status, Some(0), "without {missing}: {said}");
        said.failed();
        // A damaged one neither.
        let home = world.path(&format!("cut-{missing}"));
        copy_folder(&laptop.home, &home);
        let bytes = fs::read(home.join(&missing)).unwrap();
        fs::write(home.join(&missing), &bytes[..bytes.len() / 2]).unwrap();
        let copy = Device { home, ..laptop.clone() };
        copy.get_verified(SITE, &request(RP_ID)).failed();
    }
    // Nor does a phone help whose keys are its own.
    let phone = ada.join("phone");
    let state: Vec<_> = files(&phone.home).into_iter().filter(|name| !name.contains("key")).collect();
    assert!(!state.is_empty());
    let state: Vec<_> = state.iter().collect();
    let hybrid = mixed(&world, "hybrid", &phone, &laptop, &state);
    let said = hybrid.get(SITE, &request(RP_ID));
    assert_ne!(said.status, Some(0), "{said}");
}

#[test]
fn home_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol_verifying("laptop");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o077;
    assert_eq!(mode(&laptop.home), 0);
    for name in files(&laptop.home) {
        assert_eq!(mode(&laptop.home.join(&name)), 0, "{name}");
    }
    let token = world.data().join("token");
    for file in fs::read_dir(&token).unwrap().flatten() {
        assert_eq!(mode(&file.path()), 0, "{}", file.path().display());
    }
}

#[test]
fn deleted_passkey_does_not_sign_even_after_its_row_is_put_back() {
    let world = World::new();
    let mut service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let phone = ada.join("phone");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let kept = laptop.create("https://example.com", &creation("example.com", "ada")).done();
    let id = created["id"].as_str().unwrap();
    phone.get(SITE, &request(RP_ID)).done();
    let before = Tables::open(service.data()).rows("passkeys");
    let before =
        before.iter().find(|row| row.bytes("id") == crate::harness::from_base64url(&created["id"])).unwrap();

    laptop.run(&["passkey", "delete", "--id", id]).done();
    // The phone has not been told yet, and does not need to be.
    phone.get(SITE, &request_for(RP_ID, &[id])).refused("no_credentials");
    assert_eq!(phone.passkey_ids(), [kept["id"].as_str().unwrap()]);
    laptop.run(&["passkey", "delete", "--id", id]).refusal();

    service.stop();
    Tables::open(service.data()).put(before);
    if let Err(refused) = service.try_start_again() {
        assert!(refused.said.len() > 20, "{refused:?}");
        return;
    }
    for device in [&laptop, &phone] {
        for options in [request(RP_ID), request_for(RP_ID, &[id])] {
            let said = device.get(SITE, &options);
            assert_ne!(said.status, Some(0), "a deleted passkey signed: {said}");
            said.failed();
        }
    }
    // Not from a home that remembers it, either.
    let old = Device { home: world.path("old"), ..phone.clone() };
    copy_folder(&phone.home, &old.home);
    assert_ne!(old.get(SITE, &request_for(RP_ID, &[id])).status, Some(0));
}

/// What a device says, said again by somebody on the way, does nothing.
#[test]
fn recorded_requests_replayed_are_refused() {
    let world = World::new();
    let service = world.service();
    let recorder = Recorder::before(service.address());
    let ada = Person::new(&world, &service, "ada").through(&recorder.url);
    let laptop = ada.enrol("laptop");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();
    laptop.get(SITE, &request(RP_ID)).done();
    ada.try_join("thief", &ada.device("thief"), &world.file("wrong", "wrong-and-long")).refused("pin_wrong");
    laptop
        .run(&["passkey", "rename", "--id", created["id"].as_str().unwrap(), "--user-name", "ada l."])
        .done();

    let (entries, left) = (laptop.audit(), laptop.tries_left());
    let requests = recorder.requests();
    let frames: Vec<_> = requests.iter().filter(|request| request.starts_with(b"POST /v1/request")).collect();
    assert!(frames.len() >= 8, "only {} requests were recorded", frames.len());
    for frame in &frames {
        let status = send(service.address(), frame);
        assert!(!(200..300).contains(&status), "a request was answered twice: status {status}");
    }
    // Also in a burst, and to another session's place: nothing may be counted, changed or signed.
    for request in &requests {
        send(service.address(), request);
    }
    assert_eq!(laptop.audit(), entries);
    assert_eq!(laptop.tries_left(), left);
    assert_eq!(laptop.passkey_ids().len(), 1);
}

/// Sends a request on a connection of its own; the status of the answer.
fn send(address: &str, request: &[u8]) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request).unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("every request is answered");
    std::str::from_utf8(&head[9..12]).unwrap().parse().unwrap()
}

#[test]
fn evidence_of_a_stand_in_is_refused_unless_it_is_named() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let (home, pin) = (world.path("wary"), ada.pin.to_str().unwrap());
    let words = ["device", "enrol", "--server", &service.url, "--name", "ada", "--pin-file", pin];
    let password = ["--password-file", ada.password.to_str().unwrap()];
    let refusal = Device::new(&home).run(&[&words[..], &password].concat()).refused("evidence");
    assert!(refusal.message.contains("--accept-evidence"), "{refusal:?}");
    let laptop = ada.enrol("laptop");
    let shown = laptop.run(&["attest", "show"]).done();
    assert_eq!((&shown["kind"], &shown["stand_in"]), (&"sim".into(), &true.into()));
    assert_eq!((shown["anchor_level"].as_u64(), shown["custody_level"].as_u64()), (Some(0), Some(0)));
}

/// Another deployment at the same address, with an account of the same name: the device knows its own.
#[test]
fn home_does_not_follow_its_server_into_another_deployment() {
    let world = World::new();
    let mut service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    laptop.create(&origin(RP_ID), &creation(RP_ID, "ada")).done();
    service.stop();
    let genuine = service.data().to_path_buf();
    service.try_start_on(&world.path("forged")).unwrap();
    let same = Person::new(&world, &service, "ada2");
    same.enrol("laptop");
    for words in [&["sync"][..], &["audit"], &["pin", "status"], &["device", "list"]] {
        let said = laptop.run(words);
        assert_ne!(said.status, Some(0), "{said}");
        said.failed();
    }
    let said = laptop.get(SITE, &request(RP_ID));
    assert_ne!(said.status, Some(0), "{said}");
    // Another name is seen at once.
    service.stop();
    let named = Person::stranger(&world, &service, "ada");
    drop(named);
    service.try_start_on(&genuine).unwrap();
    laptop.get(SITE, &request(RP_ID)).done();
    laptop.audit();
}
