//! Live: hints, `keyferry watch`, `keyferry sync --follow`, and gateways that lie about where an account stands.

use crate::harness::{Device, Person, Watching, World, copy_folder, creation, request};
use keyferry_wire::Wire;
use keyferry_wire::publish::Hint;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tungstenite::Message;

const SITE: &str = "https://example.org";
const RP_ID: &str = "example.org";

fn kinds(entries: &[Value]) -> Vec<String> {
    let word = |entry: &Value| {
        let [kind, outcome] = ["kind", "outcome"].map(|name| entry[name].as_str().unwrap());
        format!("{kind} {outcome}")
    };
    entries.iter().map(word).collect()
}

#[test]
fn watch_shows_what_other_devices_do_as_it_happens_and_as_the_audit_has_it() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let before = laptop.audit().len();
    let watch = Watching::start(&laptop, &["watch"]);
    watch.until_connected();
    let phone = ada.join("phone");
    ada.try_join("thief", &ada.device("thief"), &world.file("wrong", "wrong-and-long")).refused("pin_wrong");
    phone.create(SITE, &creation(RP_ID, "ada")).done();
    phone.get(SITE, &request(RP_ID)).done();
    let seen = watch.json_until(|entry| entry["kind"] == "assert");
    // The home is free for other commands meanwhile.
    let audit = laptop.audit();
    assert_eq!(seen, audit[before..], "the same entries with the same members");
    let kinds = kinds(&seen);
    for kind in ["join done", "result refused", "create-passkey done", "assert done"] {
        assert!(kinds.iter().any(|seen| seen == kind), "no {kind} in {kinds:?}");
    }
    let find = |kind: &str| seen.iter().find(|entry| entry["kind"] == kind).unwrap();
    assert_eq!(find("join")["device"], "phone");
    assert_eq!(
        (&find("assert")["device"], &find("assert")["rp_id"]),
        (&json!("phone"), &json!("example.org"))
    );
    let wrong = seen.iter().find(|entry| entry["outcome"] == "refused").unwrap();
    assert_eq!((&wrong["left"], &wrong["device"]), (&json!(9), &Value::Null));
    assert_eq!(watch.signalled("TERM"), Some(0));
}

#[test]
fn watch_reads_as_sentences_without_colour_in_a_pipe_and_ends_after_a_number_of_entries() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    laptop.get(SITE, &request(RP_ID)).done();
    let entries = laptop.audit();
    let count = entries.len().to_string();
    let whole = Watching::start_plain(&laptop, &["watch", "--from-start", "--count", &count]);
    let (status, lines) = whole.ended();
    assert_eq!((status, lines.len()), (Some(0), entries.len()), "{lines:?}");
    let last = lines.last().unwrap();
    assert!(last.ends_with("laptop signed in at example.org, user not verified"), "{last}");
    assert!(lines.iter().all(|line| !line.contains('\u{1b}')));
    assert!(lines[0].ends_with("  the account was made"), "{}", lines[0]);

    let since = (entries.len() - 1).to_string();
    let one = Watching::start(&laptop, &["watch", "--since", &since, "--count", "1"]);
    let (status, lines) = one.ended();
    assert_eq!(status, Some(0));
    assert_eq!(serde_json::from_str::<Value>(&lines[0]).unwrap(), entries[entries.len() - 1]);

    // Nothing more comes: whoever waits for it is told so.
    let vain = Watching::start(&laptop, &["watch", "--count", "1", "--timeout", "1"]);
    assert_eq!(vain.ended().0, Some(1));
    assert!(vain.said().contains("in vain"), "{}", vain.said());
    let calm = Watching::start(&laptop, &["watch", "--timeout", "1"]);
    assert_eq!(calm.ended().0, Some(0));
    let interrupted = Watching::start(&laptop, &["watch"]);
    interrupted.until_connected();
    assert_eq!(interrupted.signalled("INT"), Some(0));
}

#[test]
fn a_change_is_heard_on_ten_other_devices() {
    let world = World::new();
    let service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let others: Vec<Device> = (0..10).map(|number| ada.join(&format!("device {number}"))).collect();
    let followers: Vec<Watching> =
        others.iter().map(|device| Watching::start(device, &["sync", "--follow", "--count", "1"])).collect();
    followers.iter().for_each(Watching::until_connected);
    assert_eq!(service.metric("keyferry_live_connections"), 10);
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    for follower in &followers {
        let line = follower.json();
        assert_eq!((&line["cursor"], &line["changed"]), (&json!(1), &json!(1)));
        assert_eq!(follower.ended().0, Some(0));
    }
    // What a follower took over is in its home.
    assert_eq!(others[3].run(&["sync"]).done()["changed"], 0);
}

#[test]
fn watch_outlives_restarts_of_the_service_and_misses_nothing() {
    let world = World::new();
    let mut service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let phone = ada.join("phone");
    let before = laptop.audit().len();
    let watch = Watching::start(&laptop, &["watch"]);
    watch.until_connected();
    service.stop();
    watch.until_said("the connection is lost");
    service.start_again();
    phone.create(SITE, &creation(RP_ID, "ada")).done();
    watch.until_said("the connection is back");
    service.kill();
    service.start_again();
    phone.get(SITE, &request(RP_ID)).done();
    let seen = watch.json_until(|entry| entry["kind"] == "assert");
    assert_eq!(seen, laptop.audit()[before..]);
    assert_eq!(watch.signalled("TERM"), Some(0));
}

#[test]
fn a_rollback_is_found_by_whoever_watches_and_told_again_until_it_is_undone() {
    let world = World::new();
    let mut service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    service.stop();
    let (old, good) = (world.path("old"), world.path("good"));
    copy_folder(service.data(), &old);
    service.start_again();
    let watch = Watching::start(&laptop, &["watch"]);
    watch.until_connected();
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    watch.json_until(|entry| entry["kind"] == "create-passkey");
    service.stop();
    copy_folder(service.data(), &good);
    let data = world.data();
    copy_folder(&old, &data);
    service.start_again();
    let refusal = watch.refused();
    assert_eq!(refusal["error"], "stale");
    let message = refusal["message"].as_str().unwrap();
    assert!(message.contains("seen") && message.contains("shown"), "{message}");
    // Whatever the user does next is told the same.
    for words in [&["passkey", "list"][..], &["pin", "status"], &["sync"], &["watch"]] {
        let refusal = laptop.run(words).refused("stale");
        assert!(refusal.message.contains("rolled back"), "{}", refusal.message);
    }
    // Not even without the service is it forgotten.
    service.stop();
    laptop.run(&["passkey", "list"]).refused("stale");
    copy_folder(&good, &data);
    service.start_again();
    assert_eq!(laptop.passkey_ids().len(), 1, "it was undone");
    laptop.run(&["sync"]).done();
}

/// A gateway that passes everything on, but answers live connections itself: with these hints.
struct Liar {
    url: String,
}

impl Liar {
    fn before(address: &str, hints: Vec<Vec<u8>>) -> Liar {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let address = address.to_owned();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (address, hints) = (address.clone(), hints.clone());
                std::thread::spawn(move || serve(stream, &address, &hints));
            }
        });
        Liar { url }
    }
}

fn serve(stream: TcpStream, address: &str, hints: &[Vec<u8>]) {
    let mut start = [0; 512];
    let Ok(count) = stream.peek(&mut start) else { return };
    let line = String::from_utf8_lossy(&start[..count]).lines().next().unwrap_or_default().to_owned();
    if line.contains("/live") {
        let Ok(mut socket) = tungstenite::accept(stream) else { return };
        for hint in hints {
            let _ = socket.send(Message::Binary(hint.clone().into()));
        }
        // Until the other side has had enough.
        while socket.read().is_ok() {}
        return;
    }
    let Ok(upstream) = TcpStream::connect(address) else { return };
    let (there, back) = (pipe(&stream, &upstream), pipe(&upstream, &stream));
    let _ = (there.join(), back.join());
}

fn pipe(from: &TcpStream, to: &TcpStream) -> std::thread::JoinHandle<()> {
    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
    std::thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            if to.write_all(&bytes[..count]).is_err() {
                break;
            }
        }
        let _ = to.shutdown(std::net::Shutdown::Both);
    })
}

fn hint(seq: u64, vault_seq: u64) -> Vec<u8> {
    Hint { seq, vault_seq }.to_bytes()
}

#[test]
fn a_gateway_that_announces_more_than_it_serves_is_found() {
    let world = World::new();
    let service = world.service();
    for (person, name, lie) in [("ada", "entry 77", hint(77, 0)), ("bob", "change 78", hint(3, 78))] {
        let liar = Liar::before(service.address(), vec![lie]);
        let laptop = Person::new(&world, &service, person).through(&liar.url).enrol("laptop");
        for words in [&["watch"][..], &["sync", "--follow"]] {
            let watch = Watching::start(&laptop, words);
            let refusal = watch.refused();
            assert_eq!(refusal["error"], "stale");
            let message = refusal["message"].as_str().unwrap();
            assert!(message.contains(name) && message.contains("serves no more than"), "{message}");
            // The enclave says that there is no more: the lie was of the gateway alone, and is over.
            laptop.run(&["pin", "status"]).done();
        }
    }
}

#[test]
fn a_gateway_that_announces_less_than_was_seen_or_nonsense_does_no_harm() {
    let world = World::new();
    let service = world.service();
    let liar =
        Liar::before(service.address(), vec![hint(0, 0), hint(1, 0), b"nonsense".to_vec(), vec![0; 4096]]);
    let laptop = Person::new(&world, &service, "ada").through(&liar.url).enrol("laptop");
    let watch = Watching::start(&laptop, &["watch"]);
    // Small hints are looked into, and what is served holds; nonsense ends the connection, which is sought again.
    watch.until_said("the connection is lost");
    watch.until_said("the connection is back");
    let entries = laptop.audit().len();
    assert!(entries > 1);
    assert_eq!(watch.signalled("TERM"), Some(0));
    assert_eq!(watch.ended().1, Vec::<String>::new(), "a hint is no entry");
}

/// A gateway that can stand still: then it answers readers with what it answered last, and passes on all the rest.
#[derive(Clone)]
struct Withholder {
    url: String,
    still: Arc<AtomicBool>,
    answers: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

impl Withholder {
    fn before(address: &str) -> Withholder {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let withholder = Withholder { url, still: Arc::default(), answers: Arc::default() };
        let (server, address) = (withholder.clone(), address.to_owned());
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (server, address) = (server.clone(), address.clone());
                std::thread::spawn(move || server.answer(client, &address));
            }
        });
        withholder
    }

    /// One request of a connection.
    fn answer(&self, mut client: TcpStream, address: &str) -> Option<()> {
        let head = head_of(&mut client)?;
        let mut upstream = TcpStream::connect(address).ok()?;
        let (line, rest) = head.split_once("\r\n")?;
        let path = line.split([' ', '?']).nth(1)?.to_owned();
        if path.ends_with("/live") {
            upstream.write_all(head.as_bytes()).ok()?;
            let (there, back) = (pipe(&client, &upstream), pipe(&upstream, &client));
            return there.join().and(back.join()).ok();
        }
        let read_only = path.ends_with("/sync") || path.ends_with("/audit");
        let kept = self.answers.lock().unwrap().get(&path).cloned();
        if let Some(kept) = kept.filter(|_| read_only && self.still.load(Ordering::SeqCst)) {
            return client.write_all(&kept).ok();
        }
        let fields = rest.to_lowercase();
        let length = fields.lines().find_map(|field| field.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
        client.read_exact(&mut body).ok()?;
        let request = format!("{line}\r\nconnection: close\r\n{rest}");
        upstream.write_all(&[request.as_bytes(), &body].concat()).ok()?;
        let mut answer = Vec::new();
        upstream.read_to_end(&mut answer).ok()?;
        client.write_all(&answer).ok()?;
        self.answers.lock().unwrap().insert(path, answer);
        Some(())
    }
}

fn head_of(client: &mut TcpStream) -> Option<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        client.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

#[test]
fn a_gateway_that_withholds_what_happened_is_found_and_told_of_until_it_stops() {
    let world = World::new();
    let service = world.service();
    let gateway = Withholder::before(service.address());
    let ada = Person::new(&world, &service, "ada");
    let phone = ada.enrol("phone");
    let laptop = Person::stranger(&world, &service, "ada").through(&gateway.url).join("laptop");
    laptop.run(&["sync"]).done();
    let watch = Watching::start(&laptop, &["watch"]);
    watch.until_connected();
    gateway.still.store(true, Ordering::SeqCst);
    phone.create(SITE, &creation(RP_ID, "ada")).done();
    // It did not keep the hint back.
    let refusal = watch.refused();
    let message = refusal["message"].as_str().unwrap();
    assert!(refusal["error"] == "stale" && message.contains("serves no more than"), "{refusal}");
    assert_eq!(watch.ended().1, Vec::<String>::new());
    for words in [&["passkey", "list"][..], &["pin", "status"], &["watch"], &["audit"]] {
        let refusal = laptop.run(words).refused("stale");
        assert!(refusal.message.contains("withholds changes"), "{}", refusal.message);
    }
    gateway.still.store(false, Ordering::SeqCst);
    assert_eq!(laptop.passkey_ids().len(), 1);
    laptop.run(&["pin", "status"]).done();
}
