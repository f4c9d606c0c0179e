//! Back-up of a service that runs, and what comes of it.

use crate::harness::{
    Person, Said, Service, World, assert_signed_by, copy_folder, creation, keyferry, origin, request_for,
};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const RP_ID: &str = "example.org";

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn back_up(data: &Path, to: &Path, more: &[&str]) -> Said {
    keyferry(&[&["backup", "--json", "--data", text(data), "--to", text(to)][..], more].concat())
}

fn restore(from: &Path, data: &Path) -> Said {
    keyferry(&["restore", "--json", "--from", text(from), "--data", text(data)])
}

#[test]
fn back_up_under_load_restores_to_a_service_whose_homes_go_on() {
    let world = World::new();
    let mut service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol_verifying("laptop");
    let created = laptop.create(&origin(RP_ID), &creation(RP_ID, "ada")).done();
    let phone = ada.join("phone");
    let before = laptop.audit();
    let bea = Person::new(&world, &service, "bea");
    let busy = bea.enrol("busy");
    let of_bea = busy.create(&origin(RP_ID), &creation(RP_ID, "bea")).done();
    let id = of_bea["id"].as_str().unwrap();

    let (copy, with_token) = (world.path("copy"), world.path("with-token"));
    let (stop, signed) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                busy.get(&origin(RP_ID), &request_for(RP_ID, &[id])).done();
                signed.fetch_add(1, Ordering::Relaxed);
            }
        });
        crate::harness::until("some load", || (signed.load(Ordering::Relaxed) > 2).then_some(()));
        let made = back_up(service.data(), &copy, &[]).done();
        assert_eq!((&made["token"], made["shards"].as_u64()), (&false.into(), Some(16)));
        let loud = back_up(service.data(), &with_token, &["--with-token"]);
        assert_eq!(loud.done()["token"], true);
        assert!(loud.err.contains("THE ROOT KEY IS IN THIS BACK-UP"), "{loud}");
        let seen = signed.load(Ordering::Relaxed);
        let more = || (signed.load(Ordering::Relaxed) > seen + 1).then_some(());
        crate::harness::until("load after the back-ups", more);
        stop.store(true, Ordering::Relaxed);
    });
    assert!(!copy.join("token").exists());
    assert!(with_token.join("token/root.key").is_file());
    let key = fs::read(service.data().join("token/root.key")).unwrap();
    let secret = &key[key.len() - 32..];
    for file in files_below(&copy) {
        let bytes = fs::read(&file).unwrap();
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", file.display());
        assert!(!bytes.windows(32).any(|window| window == secret), "{}", file.display());
    }

    // Without the token the restored folder opens nothing; with it, it serves.
    service.stop();
    let restored = world.path("restored");
    restore(&copy, &restored).done();
    let refused = service.try_start_on(&restored).unwrap_err();
    assert!(refused.said.contains("token"), "{refused:?}");
    copy_folder(&service.data().join("token"), &restored.join("token"));
    service.try_start_on(&restored).unwrap();
    let checked = keyferry(&["doctor", "--json", "--data", text(&restored)]);
    assert_eq!(checked.done()["ok"], true, "{checked}");
    for device in [&laptop, &phone] {
        assert_eq!(device.passkey_ids().len(), 1);
        let options = request_for(RP_ID, &[created["id"].as_str().unwrap()]);
        assert_signed_by(&created, &device.get(&origin(RP_ID), &options).done(), &options);
        assert!(device.audit().starts_with(&before));
    }
    // Who saw more than the back-up has is not fooled: that is a roll-back.
    let refusal = busy.get(&origin(RP_ID), &request_for(RP_ID, &[id])).refusal();
    assert!(["stale", "evidence"].contains(&refusal.error.as_str()), "{refusal:?}");
}

#[test]
fn back_up_that_is_damaged_or_newer_is_refused_and_leaves_nothing() {
    let world = World::of_the_first_version();
    let data = world.data();
    keyferry(&["data", "upgrade", "--data", text(&data)]);
    let (copy, target) = (world.path("copy"), world.path("target"));
    back_up(&data, &copy, &["--with-token"]).done();
    let leaves_nothing = |said: &Said| {
        assert!(!target.exists() && !world.path("target.partial").exists(), "{said}");
    };

    // A bit in any file; a file too short; a file gone.
    let mut files = files_below(&copy);
    files.retain(|file| !file.ends_with("manifest.json"));
    assert!(files.len() > 6, "{files:?}");
    for file in &files {
        let good = fs::read(file).unwrap();
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        for bad in [&bad[..], &good[..middle]] {
            fs::write(file, bad).unwrap();
            let said = restore(&copy, &target);
            assert!(said.fault().contains("damaged"), "{said}");
            leaves_nothing(&said);
        }
        fs::write(file, good).unwrap();
    }
    let hidden = world.path("hidden");
    fs::rename(&files[0], &hidden).unwrap();
    leaves_nothing(&restore(&copy, &target));
    fs::rename(&hidden, &files[0]).unwrap();

    // A manifest of a later version, of another end, with a path that leads out, or none.
    let manifest = copy.join("manifest.json");
    let good: Value = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    let edits: [(&str, Value, &str); 5] = [
        ("/keyferry_backup", 2.into(), "newer"),
        ("/schema", 99.into(), "newer"),
        ("/logs/0/size", 1.into(), "damaged"),
        ("/name", "elsewhere".into(), "damaged"),
        ("/files/0/path", "../escaped/checkpoint".into(), "damaged"),
    ];
    for (place, value, word) in edits {
        let mut edited = good.clone();
        *edited.pointer_mut(place).unwrap() = value;
        fs::write(&manifest, edited.to_string()).unwrap();
        let said = restore(&copy, &target);
        assert!(said.fault().contains(word), "{place}: {said}");
        leaves_nothing(&said);
    }
    assert!(!world.path("escaped").exists());
    for none in ["", "nonsense", "{}", "[]"] {
        fs::write(&manifest, none).unwrap();
        assert!(restore(&copy, &target).fault().contains("not a back-up"));
    }
    fs::write(&manifest, good.to_string()).unwrap();

    // Nothing is written over what is there.
    restore(&copy, &data).refused("exists");
    back_up(&data, &copy, &[]).refused("exists");
    restore(&copy, &target).done();
    restore(&copy, &target).refused("exists");
    let service = Service::start(&target, &[]);
    assert_eq!(world.moved_home("laptop", &service).tries_left(), 9);
}

#[test]
fn folder_that_has_no_deployment_is_not_backed_up() {
    let world = World::new();
    for data in ["nowhere", "empty"] {
        let (data, to) = (world.path(data), world.path("to"));
        if data.ends_with("empty") {
            fs::create_dir_all(data.join("store")).unwrap();
            fs::write(data.join("store/keyferry.db"), "").unwrap();
        }
        back_up(&data, &to, &[]).fault();
        assert!(!to.exists());
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
