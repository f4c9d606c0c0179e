//! Processes die at any moment: gateway, enclave, both at once, and a user's command in the middle. What was acknowledged
//! is there afterwards, and what was counted stays counted.

use crate::harness::{
    Device, Person, Service, World, assert_signed_by, base64url, creation, is_alive, origin, random,
    request_for, signal, until,
};
use crate::pin::is_counted_attempt;
use keyferry_client::flow::FlowError;
use keyferry_client::home::Home;
use keyferry_device::agent::{Agent, Options};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The first half while two people work as people do, the second while writers keep the service full.
const KILLS: usize = 100;
/// Writers that keep the service full, each with an account of its own.
const WRITERS: usize = 4;
/// Below the limit of assertions in a minute, with room for the check at the end.
const GETS_MAX: usize = 40;
const CREATES_MAX: usize = 12;
/// Far above what a restart takes, also on a busy machine; the figures are printed.
const BACK_WITHIN: Duration = Duration::from_secs(20);

/// What a device was told is done.
struct Acknowledged {
    device: Device,
    label: String,
    rp_id: String,
    created: Vec<Value>,
    asserted: usize,
    /// Commands that a crash answered.
    faults: usize,
}

/// xorshift64*.
struct Dice(u64);

impl Dice {
    /// From a seed that is printed: a failed test shows what it printed.
    fn fresh() -> Dice {
        let seed = u64::from_be_bytes(random()) | 1;
        println!("seed of the kills: {seed:#x}");
        Dice(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }
}

/// Creates and signs in, over and over, until told to stop.
fn load(device: Device, label: String, stop: &AtomicBool) -> Acknowledged {
    let rp_id = format!("{label}.example.org");
    let mut done = Acknowledged { device, label, rp_id, created: Vec::new(), asserted: 0, faults: 0 };
    let site = origin(&done.rp_id);
    while !stop.load(Ordering::Relaxed) {
        if done.created.len() < CREATES_MAX && done.created.len() * GETS_MAX <= done.asserted * CREATES_MAX {
            let said = done.device.create(&site, &creation(&done.rp_id, "user"));
            match said.status {
                Some(0) => done.created.push(said.done()),
                _ => {
                    // Nothing but "out of reach" may come of a crash.
                    said.fault();
                    done.faults += 1;
                }
            }
        } else if done.asserted < GETS_MAX {
            let created = &done.created[done.asserted % done.created.len()];
            let options = request_for(&done.rp_id, &[created["id"].as_str().unwrap()]);
            let said = done.device.get(&site, &options);
            match said.status {
                Some(0) => {
                    assert_signed_by(created, &said.done(), &options);
                    done.asserted += 1;
                }
                _ => {
                    said.fault();
                    done.faults += 1;
                }
            }
        } else if done.device.run(&["pin", "status"]).status != Some(0) {
            done.faults += 1;
        }
    }
    done
}

/// Guesses the PIN until it is locked; the numbers of tries that it was told are left.
fn guess(world: &World, person: &Person, stop: &AtomicBool) -> Vec<u64> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let home = person.device("thief");
    let mut told = Vec::new();
    while !stop.load(Ordering::Relaxed) && told.last() != Some(&0) {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let pin = world.file(&format!("crash-{number}.pin"), format!("crash-{number}-guess"));
        let said = person.try_join("thief", &home, &pin);
        if said.status == Some(3) {
            let refusal = said.refusal();
            assert!(matches!(refusal.error.as_str(), "pin_wrong" | "pin_locked"), "{said}");
            told.push(refusal.left.unwrap());
        } else {
            said.fault();
        }
    }
    told
}

/// What a writer was told is done.
struct Written {
    device: Device,
    created: Vec<String>,
    /// Renamings, each to the next number.
    renamed: usize,
    /// The newest number that was acknowledged.
    newest: usize,
    faults: usize,
}

/// Writes without a pause, in one process and on open connections, from the moment on that the service shall be full.
fn write(device: Device, full: &AtomicBool, stop: &AtomicBool) -> Written {
    let mut agent = Agent::open(&device.home, Options::default()).unwrap();
    let home = Home::load(&std::fs::read(device.home.join("state")).unwrap()).unwrap();
    let own = base64url(&home.device_id().0);
    let mut done = Written { device, created: Vec::new(), renamed: 0, newest: 0, faults: 0 };
    let options = creation("writer.example.org", "user").to_string();
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        if !full.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        number += 1;
        let outcome = if number % 10 == 1 && done.created.len() < CREATES_MAX {
            let made = agent.passkey_create(options.as_bytes(), "https://writer.example.org");
            made.map(|made| done.created.push(made.id.clone()))
        } else {
            let renamed = agent.rename_device(&own, &format!("writer {number}"));
            renamed.map(|()| (done.renamed, done.newest) = (done.renamed + 1, number))
        };
        match outcome {
            Ok(()) => {}
            Err(FlowError::Fault(_)) => done.faults += 1,
            // Nothing but "out of reach" may come of a crash.
            Err(refused) => panic!("a writer was refused: {refused}"),
        }
    }
    done
}

#[test]
fn nothing_acknowledged_is_lost_over_a_hundred_kills() {
    let world = World::new();
    let mut service = world.service();
    let people = ["ada", "eve"].map(|name| Person::new(&world, &service, name));
    let mut devices = Vec::new();
    for person in &people {
        devices.push((person.enrol("laptop"), format!("{}-laptop", person.name)));
        devices.push((person.join("phone"), format!("{}-phone", person.name)));
    }
    let tablet = people[0].join("tablet");
    let writers: Vec<_> = (0..WRITERS)
        .map(|at| Person::new(&world, &service, &format!("writer-{at}")).enrol("writer 0"))
        .collect();
    let (full, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    let mut killer =
        Killer { dice: Dice::fresh(), starts: Vec::new(), returns: Vec::new(), kills: BTreeMap::new() };
    let (done, written, told) = std::thread::scope(|scope| {
        let (full, stop) = (&full, &stop);
        // Whatever ends this scope early must end the load too, or it would never end.
        let guard = StopOnDrop(stop);
        let loads: Vec<_> =
            devices.drain(..).map(|(device, label)| scope.spawn(|| load(device, label, stop))).collect();
        let writers: Vec<_> =
            writers.into_iter().map(|device| scope.spawn(|| write(device, full, stop))).collect();
        let thief = scope.spawn(|| guess(&world, &people[0], stop));
        for kill in 0..KILLS {
            full.store(kill >= KILLS / 2, Ordering::Relaxed);
            killer.kill(&mut service, &tablet);
            if kill % 20 == 19 {
                // In the middle of the load, and yet in good order.
                service.stop();
                service.start_again();
            }
        }
        drop(guard);
        let done: Vec<_> = loads.into_iter().map(|load| load.join().unwrap()).collect();
        let written: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
        (done, written, thief.join().unwrap())
    });
    println!("kills: {:?}", killer.kills);
    for acknowledged in &done {
        println!(
            "{}: {} created, {} signed, {} answered by a crash",
            acknowledged.label,
            acknowledged.created.len(),
            acknowledged.asserted,
            acknowledged.faults
        );
        assert!(acknowledged.created.len() > 2 && acknowledged.asserted > 2, "there was no load");
    }
    println!("service ready again after a kill: {}", figures(&killer.starts));
    println!("evidence of a new enclave after the old one's kill: {}", figures(&killer.returns));
    println!("tries that the thief was told are left: {told:?}");
    // Once more from the disk alone; and an orderly end is one too.
    service.stop();
    service.start_again();
    for (number, person) in people.iter().enumerate() {
        assert_kept(&done[number * 2..number * 2 + 2], &person.name);
    }
    written.iter().for_each(assert_written);
    assert_guesses_counted(&told, &done[0].device, 2);
    assert_eq!(tablet.audit(), done[0].device.audit(), "the home that was killed over and over");
    let slowest = killer.starts.iter().chain(&killer.returns).max().unwrap();
    assert!(*slowest < BACK_WITHIN, "{slowest:?}");
    assert_eq!(service.metric("keyferry_store_refused_total"), 0);
}

struct Killer {
    dice: Dice,
    /// From the start of a process to its ready line.
    starts: Vec<Duration>,
    /// From the kill of an enclave to the evidence of the next.
    returns: Vec<Duration>,
    kills: BTreeMap<&'static str, usize>,
}

impl Killer {
    /// One kill of whatever the dice say; returns when the service serves again.
    fn kill(&mut self, service: &mut Service, client: &Device) {
        // The one place where time itself is what is tested: a kill at any moment of the work.
        std::thread::sleep(Duration::from_millis(self.dice.below(400)));
        let what = ["gateway", "enclave", "both", "client"][usize::try_from(self.dice.below(4)).unwrap()];
        *self.kills.entry(what).or_default() += 1;
        match what {
            "enclave" => self.kill_enclave(service),
            "client" => self.kill_client(client),
            what => self.kill_gateway(service, what == "both"),
        }
    }

    fn kill_gateway(&mut self, service: &mut Service, and_enclave: bool) {
        let enclave = service.enclave_pid();
        if and_enclave {
            signal(enclave, "KILL");
        }
        service.kill();
        // Some starts do not come to their end either.
        for _ in 0..self.dice.below(2) {
            service.start_again_and_kill(Duration::from_millis(self.dice.below(300)));
        }
        service.start_again();
        self.starts.push(service.took);
        until("the end of the old enclave", || (!is_alive(enclave)).then_some(()));
    }

    fn kill_enclave(&mut self, service: &Service) {
        let before = service.enclave_pid();
        let killed = Instant::now();
        signal(before, "KILL");
        until("a new enclave", || {
            let healthy = ureq::get(format!("{}/v1/evidence", service.url)).call().is_ok();
            (healthy && service.enclave_pid() != before).then_some(())
        });
        self.returns.push(killed.elapsed());
    }

    /// A user's command dies in the middle; its home goes on.
    fn kill_client(&mut self, device: &Device) {
        let mut child = Command::new(env!("CARGO_BIN_EXE_keyferry"))
            .args(["passkey", "create", "--origin", "https://tablet.example.org", "--home"])
            .arg(&device.home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let options = creation("tablet.example.org", "user").to_string();
        child.stdin.take().unwrap().write_all(options.as_bytes()).unwrap();
        std::thread::sleep(Duration::from_millis(self.dice.below(250)));
        child.kill().unwrap();
        child.wait().unwrap();
        device.run(&["sync"]).done();
    }
}

/// All that two devices of an account were told is there, for both of them.
fn assert_kept(done: &[Acknowledged], name: &str) {
    let lists: Vec<_> = done.iter().map(|acknowledged| acknowledged.device.passkey_ids()).collect();
    let audits: Vec<_> = done.iter().map(|acknowledged| acknowledged.device.audit()).collect();
    assert_eq!(audits[0], audits[1]);
    for (at, acknowledged) in done.iter().enumerate() {
        let count = |kind: &str, rp_id: &str| {
            let about = |entry: &&Value| entry["kind"] == kind && entry["rp_id"] == rp_id;
            audits[0].iter().filter(about).filter(|entry| entry["outcome"] == "done").count()
        };
        let rp_id = acknowledged.rp_id.as_str();
        assert!(count("create-passkey", rp_id) >= acknowledged.created.len(), "{name}: {rp_id}");
        assert!(count("assert", rp_id) >= acknowledged.asserted, "{name}: {rp_id}");
        // What was not acknowledged may be there; what was is.
        let other = &done[1 - at].device;
        for created in &acknowledged.created {
            let id = created["id"].as_str().unwrap();
            assert!(lists.iter().all(|list| list.iter().any(|other| other == id)), "{name}: {id} is lost");
            // The other device signs with it: what is stored is whole.
            let options = request_for(rp_id, &[id]);
            let assertion = other.get(&origin(rp_id), &options).done();
            assert_signed_by(created, &assertion, &options);
        }
    }
}

/// All that a writer was told is there.
fn assert_written(written: &Written) {
    let Written { device, created, renamed, newest, faults } = written;
    let audit = device.audit();
    let count = |kind: &str| {
        let about = |entry: &&Value| entry["kind"] == kind && entry["outcome"] == "done";
        audit.iter().filter(about).count()
    };
    println!("writer: {} created, {renamed} renamed, {faults} answered by a crash", created.len());
    assert!(*renamed > 10 && !created.is_empty(), "there was no full load");
    assert!(count("rename-device") >= *renamed && count("create-passkey") >= created.len());
    let ids = device.passkey_ids();
    assert!(created.iter().all(|id| ids.contains(id)), "a passkey is lost");
    let list = device.run(&["device", "list"]).done();
    let label = list["devices"][0]["label"].as_str().unwrap();
    let number: usize = label.strip_prefix("writer ").unwrap().parse().unwrap();
    // What was not acknowledged may be there; what was is.
    assert!(number >= *newest, "the label {newest} was acknowledged, {number} is there");
}

/// `joined` devices came by the right PIN.
fn assert_guesses_counted(told: &[u64], member: &Device, joined: usize) {
    let falling = told.windows(2).all(|pair| pair[1] < pair[0]);
    assert!(falling, "a try was given back: {told:?}");
    let counted = member.audit().iter().filter(|entry| is_counted_attempt(entry)).count();
    // A try whose answer a crash swallowed counts all the same.
    let answered = told.iter().filter(|left| **left > 0).count();
    assert!((answered..=10).contains(&(counted - joined)), "{counted} tries in the ledger, told {told:?}");
}

fn figures(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort();
    match (times.first(), times.last()) {
        (Some(least), Some(most)) => {
            format!("{} times, {least:.0?} to {most:.0?}, median {:.0?}", times.len(), times[times.len() / 2])
        }
        _ => "never".to_owned(),
    }
}

struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A device that dies in the middle of a join or an enrolment goes on where it was.
#[test]
fn device_killed_while_it_registers_registers_all_the_same() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let mut dice = Dice::fresh();
    for command in ["enrol", "join"] {
        let device = ada.device(command);
        let mut kills = 0;
        let took = Instant::now();
        // How long an undisturbed one takes is not known, so the kills come later and later until one comes too late.
        loop {
            let mut child = Command::new(env!("CARGO_BIN_EXE_keyferry"))
                .args([
                    "device",
                    command,
                    "--accept-evidence",
                    "sim",
                    "--server",
                    &service.url,
                    "--name",
                    "ada",
                ])
                .args(["--label", command, "--home", device.home.to_str().unwrap()])
                .args([
                    "--password-file",
                    ada.password.to_str().unwrap(),
                    "--pin-file",
                    ada.pin.to_str().unwrap(),
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(Duration::from_millis(150 * kills + dice.below(150)));
            let ended = child.try_wait().unwrap();
            child.kill().unwrap();
            let status = child.wait().unwrap();
            if let Some(status) = ended {
                assert!(matches!(status.code(), Some(0 | 3)), "{status:?}");
                break;
            }
            assert!(status.code().is_none() && took.elapsed() < Duration::from_secs(100));
            kills += 1;
        }
        println!("{command}: {kills} kills");
        // Done, or done already.
        let said = ada.register(command, command, &device, &ada.pin);
        assert!(matches!(said.status, Some(0 | 3)), "{said}");
        if said.status == Some(3) {
            said.refused("exists");
        }
        device.create("https://example.org", &creation("example.org", "ada")).done();
    }
    let devices = ada.device("enrol").run(&["device", "list"]).done();
    assert_eq!(devices["devices"].as_array().unwrap().len(), 2, "{devices}");
}
