//! Trouble with the disk, the database and the enclave: told in a sentence, and over when its cause is.

use crate::harness::{
    Person, Service, Tables, World, assert_signed_by, children, creation, origin, request, signal, skip,
    until,
};
use rusqlite::Connection;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

const SITE: &str = "https://example.org";
const RP_ID: &str = "example.org";

/// A file system of a few megabytes.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(world: &World, megabytes: u32) -> Option<SmallDisk> {
        let path = world.path("disk");
        fs::create_dir(&path).unwrap();
        let size = format!("size={megabytes}m");
        let mount = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).output();
        match mount {
            Ok(output) if output.status.success() => Some(SmallDisk(path)),
            _ => skip("no right to mount a small file system: run the tests as root"),
        }
    }

    /// Leaves no free byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = File::create(&path).unwrap();
        for size in [1 << 20, 1 << 12, 1] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn full_disk_is_told_and_nothing_is_half_written() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world, 24) else { return };
    fs::create_dir(disk.0.join("data")).unwrap();
    std::os::unix::fs::symlink(disk.0.join("data"), world.data()).unwrap();
    survive_a_full_disk(&world, &disk, &world.data());
}

/// The same where the service's log goes to the same disk: what cannot be logged must not be in the way.
#[test]
fn full_disk_with_the_log_on_it_is_told_and_nothing_is_half_written() {
    let world = World::new();
    let Some(disk) = SmallDisk::mount(&world, 24) else { return };
    survive_a_full_disk(&world, &disk, &disk.0.join("data"));
}

fn survive_a_full_disk(world: &World, disk: &SmallDisk, data: &Path) {
    let mut service = Service::start(data, &["--shards", "1"]);
    let ada = Person::new(world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();

    let filler = disk.fill();
    let said = until("the disk to be full", || {
        let said = laptop.create(SITE, &creation(RP_ID, "ada"));
        (said.status != Some(0)).then_some(said)
    });
    let told = said.fault();
    // As long as it is full, so is the answer; no half of a passkey, no half of a try.
    for _ in 0..3 {
        laptop.create(SITE, &creation(RP_ID, "ada")).fault();
    }
    ada.try_join("thief", &ada.device("thief"), &world.file("wrong", "wrong-and-long")).fault();
    // The readers of what is there may be served or told; they are not told anything else.
    let listed = laptop.run(&["passkey", "list"]);
    if listed.status != Some(0) {
        listed.fault();
    }

    fs::remove_file(&filler).unwrap();
    until("the service to recover", || {
        let said = laptop.create(SITE, &creation(RP_ID, "ada"));
        if said.status != Some(0) {
            said.fault();
        }
        (said.status == Some(0)).then_some(())
    });
    let options = crate::harness::request_for(RP_ID, &[created["id"].as_str().unwrap()]);
    assert_signed_by(&created, &laptop.get(SITE, &options).done(), &options);
    assert_eq!(laptop.tries_left(), 10, "a try that was not counted durably was not evaluated");
    let entries = laptop.audit();
    let creates = entries.iter().filter(|entry| entry["kind"] == "create-passkey").count();
    assert_eq!(creates, laptop.passkey_ids().len());

    // A start on a full disk is refused in words, and works when there is room.
    service.stop();
    let filler = disk.fill();
    if let Err(refused) = service.try_start_again() {
        assert_eq!(refused.status, Some(1), "{refused:?}");
    } else {
        service.stop();
    }
    fs::remove_file(&filler).unwrap();
    service.start_again();
    assert_eq!(laptop.audit(), entries);
    laptop.get(SITE, &request(RP_ID)).done();
    // Who can do something about it was told what.
    assert!(told.contains("disk") || told.contains("space"), "no word of the disk: {told}");
}

#[test]
fn database_locked_by_another_process_is_waited_for_or_told() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();

    let other = Connection::open(world.data().join("store/keyferry.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = laptop.create(SITE, &creation(RP_ID, "ada"));
    said.fault();
    ada.try_join("thief", &ada.device("thief"), &world.file("wrong", "wrong-and-long")).fault();
    other.execute_batch("ROLLBACK").unwrap();

    until("the service to recover", || {
        let said = laptop.create(SITE, &creation(RP_ID, "ada"));
        if said.status != Some(0) {
            said.fault();
        }
        (said.status == Some(0)).then_some(())
    });
    let options = crate::harness::request_for(RP_ID, &[created["id"].as_str().unwrap()]);
    assert_signed_by(&created, &laptop.get(SITE, &options).done(), &options);
    assert_eq!(laptop.tries_left(), 10);
    assert_eq!(laptop.passkey_ids().len(), 2);
    let creates = laptop.audit().iter().filter(|entry| entry["kind"] == "create-passkey").count();
    assert_eq!(creates, 2);
}

#[test]
fn dead_enclave_is_replaced_at_once() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    let created = laptop.create(SITE, &creation(RP_ID, "ada")).done();
    for round in 1..=3 {
        let enclave = service.enclave_pid();
        signal(enclave, "KILL");
        let options = request(RP_ID);
        let said = laptop.get(SITE, &options);
        // The client tries again by itself; whoever comes at the very moment may be told to.
        if said.status == Some(0) {
            assert_signed_by(&created, &said.done(), &options);
        } else {
            said.fault();
            until("a new enclave", || (laptop.get(SITE, &request(RP_ID)).status == Some(0)).then_some(()));
        }
        assert_ne!(service.enclave_pid(), enclave);
        assert_eq!(children(service.pid()).len(), 1, "one enclave at a time");
        assert!(service.metric("keyferry_enclave_restarts_total") >= round);
    }
    laptop.audit();
}

/// A log that cannot be written to is no reason to stop (`/dev/full` is a disk that is always full).
#[test]
fn service_whose_log_cannot_be_written_serves_all_the_same() {
    let world = World::new();
    if !Path::new("/dev/full").exists() {
        return skip::<()>("there is no /dev/full").unwrap_or_default();
    }
    std::os::unix::fs::symlink("/dev/full", world.path("data.stderr.log")).unwrap();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    // Something to log: a request that is refused, and an enclave that dies.
    let refused = ureq::get(format!("{}/v1/nothing", service.url)).call();
    assert!(matches!(refused, Err(ureq::Error::StatusCode(404))), "{refused:?}");
    signal(service.enclave_pid(), "KILL");
    until("service", || (laptop.get(SITE, &request(RP_ID)).status == Some(0)).then_some(()));
}

/// An enclave that stands still: everybody who waits is told in the end (security checklist, 30).
#[test]
fn hanging_enclave_leaves_nobody_waiting_for_ever() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let enclave = service.enclave_pid();
    signal(enclave, "STOP");
    let said = laptop.create(SITE, &creation(RP_ID, "ada"));
    println!("a command behind a hanging enclave ended after {:.1?} with {:?}", said.took, said.status);
    if said.status != Some(0) {
        said.fault();
    }
    until("service without it", || {
        let said = laptop.get(SITE, &request(RP_ID));
        (said.status == Some(0)).then_some(())
    });
    assert_ne!(service.enclave_pid(), enclave);
}

#[test]
fn two_services_on_one_folder_are_refused() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    let second = Service::try_start(&world.data(), "127.0.0.1:0", &[]);
    let Err(refused) = second else { panic!("two services on one folder") };
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.said.contains("another"), "{refused:?}");
    // The first does not notice; nor does the lock outlive it.
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let mut service = service;
    service.kill();
    service.start_again();
    laptop.get(SITE, &request(RP_ID)).done();

    // An address that is taken.
    let taken = service.address().to_owned();
    let Err(refused) = Service::try_start(&world.path("other"), &taken, &[]) else {
        panic!("one port twice")
    };
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.said.contains(&taken), "{refused:?}");

    // A deployment keeps its name and number of shards.
    service.stop();
    for wish in [["--name", "another/name"], ["--shards", "3"]] {
        let Err(refused) = Service::try_start(&world.data(), "127.0.0.1:0", &wish) else {
            panic!("{wish:?}")
        };
        assert!(matches!(refused.status, Some(1 | 2)), "{refused:?}");
    }
    // A store of a later program is left alone.
    let tables = Tables::open(&world.data());
    tables.connection.pragma_update(None, "user_version", 99).unwrap();
    drop(tables);
    let Err(refused) = service.try_start_again() else { panic!("a newer store was opened") };
    assert!(refused.said.contains("newer"), "{refused:?}");
}

#[test]
fn enclave_program_that_is_none_is_refused_in_a_sentence() {
    let world = World::new();
    for program in ["/bin/true", "/bin/cat", "/nowhere/enclave"] {
        if program.starts_with("/bin") && !Path::new(program).exists() {
            continue;
        }
        let data = world.path("data-none");
        let Err(refused) = Service::try_start(&data, "127.0.0.1:0", &["--enclave", program]) else {
            panic!("{program} served as an enclave");
        };
        assert_eq!(refused.status, Some(1), "{program}: {refused:?}");
        assert!(refused.said.contains("enclave"), "{program}: {refused:?}");
        assert!(!refused.said.contains("panicked"), "{program}: {refused:?}");
    }
    // Nothing of it is in the way of the real one.
    let service = Service::start(&world.path("data-none"), &[]);
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    laptop.create(&origin(RP_ID), &creation(RP_ID, "ada")).done();
}
