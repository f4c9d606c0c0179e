//! What the host sees: everything that it stores, logs, counts, carries to the enclave and keeps in memory is searched
//! for what only people, their devices and the enclave may know.

use crate::harness::{
    Person, Region, Service, Tables, World, creation, forms, from_base64url, hex, is_readable, origin,
    regions, request, skip, workspace,
};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use keyferry_client::home::Home;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Something that must be nowhere, in all forms in which it could be somewhere.
struct Canary {
    what: String,
    /// As Latin-1 text: the standard library searches text much faster than an unoptimised loop searches bytes.
    forms: Vec<String>,
}

impl Canary {
    fn new(what: &str, bytes: &[u8]) -> Canary {
        assert!(bytes.len() >= 5, "{what} is too short to mean anything");
        Canary { what: what.to_owned(), forms: forms(bytes).iter().map(|form| latin1(form)).collect() }
    }

    /// Of a name, and of its parts.
    fn name(what: &str, text: &str) -> Canary {
        Canary::new(what, text.as_bytes())
    }

    fn is_in(&self, place: &Place) -> bool {
        self.forms.iter().any(|form| place.text.contains(form.as_str()))
    }
}

struct Place {
    name: String,
    text: String,
}

impl Place {
    fn new(name: impl Into<String>, bytes: &[u8]) -> Place {
        Place { name: name.into(), text: latin1(bytes) }
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// Everything in a folder, but for one that is left out.
fn places_in(folder: &Path, leave_out: &str, places: &mut Vec<Place>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            if entry.file_name() != leave_out {
                places_in(&path, leave_out, places);
            }
        } else if path.is_file() {
            places.push(Place::new(path.display().to_string(), &fs::read(&path).unwrap()));
        }
    }
}

/// Every cell of every table: in the file a long one may be cut by a page's end.
fn places_in_store(data: &Path, places: &mut Vec<Place>) {
    let tables = Tables::open(data);
    for table in ["service", "batches", "rows", "passkeys", "large_blobs"] {
        for row in tables.rows(table) {
            for (column, cell) in &row.cells {
                let bytes = match cell {
                    rusqlite::types::Value::Blob(bytes) => bytes.clone(),
                    rusqlite::types::Value::Text(text) => text.clone().into_bytes(),
                    _ => continue,
                };
                places.push(Place::new(format!("{table}.{column}"), &bytes));
            }
        }
    }
}

/// The memory that a process can write to.
fn places_in_memory(pid: u32, places: &mut Vec<Place>) {
    let place = |region: Region| Place::new(format!("memory of the gateway, {}", region.name), &region.bytes);
    places.extend(regions(pid).into_iter().map(place));
}

/// An enclave's program that records what passes between it and the gateway; `None` after a skip was noted.
pub(crate) fn tap(world: &World) -> Option<(PathBuf, PathBuf)> {
    let python = workspace().join(".peers/venv/bin/python");
    if !python.exists() {
        return skip("no Python for the wire tap: run `cargo xtask setup`");
    }
    let record = world.path("record");
    fs::create_dir(&record).unwrap();
    let quote = |path: &Path| format!("'{}'", path.display());
    let script = format!(
        "#!/bin/sh\nexec {} {} {} {}\n",
        quote(&python),
        quote(&workspace().join("peers/tap.py")),
        quote(Path::new(env!("CARGO_BIN_EXE_keyferry"))),
        quote(&record),
    );
    let program = world.file("enclave.sh", script);
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).unwrap();
    Some((program, record))
}

#[test]
fn no_secret_reaches_anything_that_the_host_stores_or_sees() {
    let world = World::new();
    let Some((enclave, record)) = tap(&world) else { return };
    let args = ["--enclave", enclave.to_str().unwrap(), "--name", "canary-deployment-kxq"];
    let mut service = Service::start(&world.data(), &args);
    if !is_readable(service.pid()) {
        return skip("the memory of the gateway is for root alone").unwrap_or_default();
    }
    let mut canaries = Vec::new();

    // Everything that a person types or is called.
    let mut ada = Person::stranger(&world, &service, "canary-account-wjz");
    let typed = [
        ("password", "canary-password-qvx-9"),
        ("account PIN", "canary-pin-zqw-1"),
        ("second PIN", "canary-pin-second-hjk"),
        ("wrong PIN", "canary-pin-wrong-vbn"),
        ("device PIN", "canary-device-pin-tyu"),
    ];
    let [password, pin, second_pin, wrong_pin, device_pin] = typed.map(|(what, text)| {
        canaries.push(Canary::name(what, text));
        world.file(what, text)
    });
    let (password_path, pin_path) = (password, pin);
    ada.password = password_path;
    ada.pin = pin_path;
    ada.device_pin = device_pin;
    canaries.push(Canary::name("account name", &ada.name));
    let rp_id = "canary-site-pfm.example.org";
    let (user, display) = ("canary-user-lmr", "Canary Display Sgd");
    for (what, text) in [
        ("relying party", "canary-site-pfm"),
        ("user name", user),
        ("display name", display),
        ("user name after renaming", "canary-renamed-bcw"),
        ("device label", "canary-laptop-xde"),
        ("second device's label", "canary-phone-rtf"),
        ("device label after renaming", "canary-pocket-nhy"),
    ] {
        canaries.push(Canary::name(what, text));
    }

    // A full story.
    ada.create_account().done();
    let laptop = ada.enrol_verifying("canary-laptop-xde");
    let site = origin(rp_id);
    let mut options = creation(rp_id, user);
    options["user"]["displayName"] = json!(display);
    let handle = b"canary-user-handle-mko".to_vec();
    options["user"]["id"] = json!(URL_SAFE_NO_PAD.encode(&handle));
    canaries.push(Canary::new("user handle", &handle));
    canaries.push(Canary::new("challenge", &from_base64url(&options["challenge"])));
    let created = laptop.create_verified(&site, &options).done();
    let id = created["id"].as_str().unwrap();
    canaries.push(Canary::new("client data", &from_base64url(&created["response"]["clientDataJSON"])[..60]));
    let public = from_base64url(&created["response"]["publicKey"]);
    canaries.push(Canary::new("public key of the passkey", &public[public.len() - 64..]));
    let phone = ada.device("canary-phone-rtf");
    ada.try_join("canary-phone-rtf", &phone, &wrong_pin).refused("pin_wrong");
    ada.try_join("canary-phone-rtf", &phone, &ada.pin).done();
    let question = request(rp_id);
    canaries.push(Canary::new("challenge of a sign-in", &from_base64url(&question["challenge"])));
    let answer = phone.get(&site, &question).done();
    canaries.push(Canary::new("signature", &from_base64url(&answer["response"]["signature"])[8..]));
    laptop.get_verified(&site, &request(rp_id)).done();
    phone.run(&["passkey", "rename", "--id", id, "--user-name", "canary-renamed-bcw"]).done();
    phone.run(&["device", "rename", "--label", "canary-pocket-nhy"]).done();
    let change = ["pin", "change", "--pin-file", ada.pin.to_str().unwrap(), "--new-pin-file"];
    laptop.run(&[&change[..], &[second_pin.to_str().unwrap()]].concat()).done();
    laptop.run(&["sync"]).done();
    laptop.audit();
    laptop.create(&site, &json!({"rp": 7})).refused("bad_options");
    laptop.run(&["passkey", "delete", "--id", id]).done();
    // A restart of the enclave and one of the service: what is loaded passes by as well.
    crate::harness::signal(service.enclave_pid(), "KILL");
    crate::harness::until("a restart", || (laptop.run(&["pin", "status"]).status == Some(0)).then_some(()));

    // Everything that only a device has.
    for device in [&laptop, &phone] {
        let hw = fs::read(device.home.join("hw.key")).unwrap();
        canaries.push(Canary::new("a device's private key", &hw));
        let home = Home::load(&fs::read(device.home.join("state")).unwrap()).unwrap();
        canaries.push(Canary::new("a device's sealing key", home.keys.sealing.expose()));
        let member = home.membership().unwrap();
        let wrapped: &[u8] = &member.wrapped;
        canaries.push(Canary::new(
            "a device's half of the security domain secret",
            &wrapped[wrapped.len() - 40..],
        ));
        let member_key: &[u8] = &member.member_key;
        canaries.push(Canary::new("a device's half of its member key", &member_key[member_key.len() - 40..]));
        canaries.push(Canary::new("the audit key", member.audit_key.expose()));
        canaries.push(Canary::new("the metadata key", member.metadata_key.expose()));
    }

    let mut memory = Vec::new();
    places_in_memory(service.pid(), &mut memory);
    let mut places = vec![Place::new("/metrics", service.metrics().as_bytes())];
    service.stop();
    service.start_again();
    laptop.run(&["sync"]).done();
    places.push(Place::new("/metrics after a restart", service.metrics().as_bytes()));
    service.stop();
    places.push(Place::new("stderr of the service", service.log().as_bytes()));
    places.push(Place::new("the ready line", service.ready.to_string().as_bytes()));
    places_in(&world.data(), "token", &mut places);
    places_in_store(&world.data(), &mut places);
    places_in(&record, "", &mut places);

    // The search finds what is there: in the store, on the wire, in memory, in every form.
    let control = Canary::name("deployment", "canary-deployment-kxq");
    for part in ["keyferry.db", "record/", "checkpoint"] {
        let found = places.iter().filter(|place| place.name.contains(part)).any(|place| control.is_in(place));
        assert!(found, "the name of the deployment is not found in {part}");
    }
    assert!(memory.iter().any(|place| control.is_in(place)), "the memory of the gateway was not read");
    for form in [STANDARD.encode("xcanary-deployment-kxqy"), hex(b"canary-deployment-kxq")] {
        assert!(control.is_in(&Place::new("", form.as_bytes())), "{form}");
    }
    assert!(fs::read_dir(&record).unwrap().count() >= 6, "three enclaves were recorded, both ways");

    let bytes: usize = places.iter().chain(&memory).map(|place| place.text.len()).sum();
    println!("{} canaries, {} places, about {bytes} bytes", canaries.len(), places.len() + memory.len());
    places.append(&mut memory);
    let mut hits = Vec::new();
    for canary in &canaries {
        hits.extend(
            places.iter().filter(|place| canary.is_in(place)).map(|place| (&canary.what, &place.name)),
        );
    }
    assert!(hits.is_empty(), "the host saw: {hits:#?}");
}

#[test]
fn commands_never_print_a_secret() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol_verifying("laptop");
    let secrets = [&ada.password, &ada.pin, &ada.device_pin].map(|file| fs::read_to_string(file).unwrap());
    let hw = fs::read(laptop.home.join("hw.key")).unwrap();
    let words: [&[&str]; 7] = [
        &["device", "list"],
        &["pin", "status"],
        &["audit"],
        &["sync"],
        &["attest", "show"],
        &["passkey", "list"],
        &["pin", "change", "--new-pin-file", ada.pin.to_str().unwrap()],
    ];
    let wrong = world.file("wrong", "wrong-and-secret-4");
    let said = words.iter().map(|words| laptop.run(words));
    let said = said.chain([
        laptop.get_verified("https://example.org", &request("example.org")),
        ada.try_join("thief", &ada.device("thief"), &wrong),
        ada.register("enrol", "again", &laptop, &ada.pin),
    ]);
    for said in said {
        let text = format!("{}{}", said.out, said.err);
        for secret in secrets.iter().map(String::as_str).chain(["wrong-and-secret-4", &hex(&hw)]) {
            assert!(!text.contains(secret), "{said}");
        }
    }
}
