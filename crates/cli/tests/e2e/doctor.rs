//! `keyferry doctor`: it finds what is wrong, says what to do, and changes nothing.

use crate::harness::{Said, Tables, World, keyferry};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

struct Report(Said);

fn doctor(words: &[&str]) -> Report {
    let said = keyferry(&[&["doctor", "--json"][..], words].concat());
    let report = Report(said);
    // Whatever it found, it says so on stdout, and in its status.
    let bad = report.checks().iter().any(|check| check["state"] == "bad");
    assert_eq!(report.0.status, Some(if bad { 3 } else { 0 }), "{}", report.0);
    if bad {
        let last: Value = serde_json::from_str(report.0.err.trim_end().lines().last().unwrap()).unwrap();
        assert_eq!(last["error"], "unfit", "{last}");
    }
    report
}

impl Report {
    fn checks(&self) -> Vec<Value> {
        let document: Value = serde_json::from_str(&self.0.out).unwrap_or_else(|_| panic!("{}", self.0));
        document["checks"].as_array().unwrap().clone()
    }

    /// The worst that a check of this name found, with what to do about it.
    #[track_caller]
    fn found(&self, name: &str, state: &str) -> String {
        let checks = self.checks();
        let mut of_name = checks.iter().filter(|check| check["name"] == name);
        let found = of_name.find(|check| check["state"] == state);
        let found = found.unwrap_or_else(|| panic!("no {name} that is {state}: {}", self.0));
        let to_do = found["do"].as_str().unwrap_or_default();
        assert_eq!(to_do.is_empty(), state == "ok", "what is not well has a way out: {found}");
        format!("{} {to_do}", found["found"].as_str().unwrap())
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Everything below a folder: names, modes, contents.
fn snapshot(folder: &Path) -> BTreeMap<String, (u32, Vec<u8>)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        if path.is_dir() {
            all.extend(snapshot(&path));
            all.insert(path.to_str().unwrap().to_owned(), (mode, Vec::new()));
        } else {
            all.insert(path.to_str().unwrap().to_owned(), (mode, fs::read(&path).unwrap()));
        }
    }
    all
}

#[test]
fn doctor_finds_a_service_well_and_a_stopped_one_gone() {
    let world = World::of_the_first_version();
    let mut service = world.service();
    let laptop = world.moved_home("laptop", &service);
    let (home, data) = (laptop.home.to_str().unwrap().to_owned(), world.data());
    let data = data.to_str().unwrap();
    let words = ["--home", &home, "--data", data];
    let report = doctor(&words);
    for name in ["clock", "home-folder", "home-files", "home-state", "home-keys", "server", "evidence"] {
        report.found(name, "ok");
    }
    for name in ["data-layout", "data-access", "schema", "ledger", "ledger-time", "enclave"] {
        report.found(name, "ok");
    }
    assert!(report.found("data-lock", "ok").contains(&format!("process {}", service.pid())));
    assert!(report.found("server", "ok").contains(env!("CARGO_PKG_VERSION")));
    // What a stand-in is, is said.
    report.found("token", "warn");
    report.found("profile", "warn");
    report.found("home-trust", "warn");

    service.stop();
    let before = snapshot(world.root());
    let report = doctor(&words);
    report.found("server", "bad");
    assert!(report.found("data-lock", "ok").contains("no service"));
    report.found("ledger", "ok");
    assert!(before == snapshot(world.root()), "doctor changed a file");
    // It has read secrets; nobody reads them from it.
    let pin = fs::read_to_string(world.path("pin")).unwrap();
    assert!(!report.0.out.contains(pin.trim()) && !report.0.err.contains(pin.trim()));
}

#[test]
fn doctor_names_what_is_wrong_with_a_home() {
    let world = World::of_the_first_version();
    let home = world.path("phone");
    let report = || doctor(&["--home", home.to_str().unwrap()]);
    // This one has no device PIN.
    assert!(report().found("home-keys", "warn").contains("--device-pin-file"));
    chmod(&home.join("hw.key"), 0o640);
    assert!(report().found("home-files", "bad").contains("chmod"));
    chmod(&home.join("hw.key"), 0o600);
    chmod(&home, 0o755);
    report().found("home-folder", "bad");
    chmod(&home, 0o700);
    let state = fs::read(home.join("state")).unwrap();
    fs::write(home.join("state"), &state[..state.len() / 2]).unwrap();
    report().found("home-state", "bad");
    fs::write(home.join("state"), state).unwrap();
    fs::remove_file(home.join("hw.key")).unwrap();
    report().found("home-keys", "bad");
    doctor(&["--home", "/nowhere"]).found("home", "bad");
}

#[test]
fn doctor_names_what_is_wrong_with_a_data_folder() {
    let world = World::of_the_first_version();
    let data = world.data();
    keyferry(&["data", "upgrade", "--data", data.to_str().unwrap()]);
    let report = || doctor(&["--data", data.to_str().unwrap()]);
    report().found("ledger", "ok");
    chmod(&data, 0o755);
    report().found("data-access", "warn");
    let token = data.join("token/root.key");
    chmod(&token, 0o644);
    report().found("token", "bad");
    fs::rename(&token, world.path("elsewhere")).unwrap();
    report().found("token", "bad");
    fs::remove_dir(data.join("run")).unwrap();
    report().found("data-layout", "warn");

    // A row that somebody changed, an older store under a newer ledger, and a store of a later version.
    let good = fs::read(data.join("store/keyferry.db")).unwrap();
    Tables::open(&data).edit("UPDATE rows SET seq = seq + 1");
    assert!(report().found("ledger", "bad").contains("rows"));
    fs::write(data.join("store/keyferry.db"), &good).unwrap();
    Tables::open(&data).edit("DELETE FROM batches WHERE place = (SELECT max(place) FROM batches)");
    assert!(report().found("ledger", "bad").contains("lost a batch"));
    fs::write(data.join("store/keyferry.db"), &good).unwrap();
    Tables::open(&data).connection.execute_batch("PRAGMA user_version = 99").unwrap();
    report().found("schema", "bad");
    fs::write(data.join("store/keyferry.db"), "no database").unwrap();
    report().found("schema", "bad");
    doctor(&["--data", "/nowhere"]).found("data-folder", "bad");
}

#[test]
fn doctor_reports_limits_and_needs_no_folder() {
    let report = doctor(&[]);
    let names: Vec<_> = report.checks().iter().map(|check| check["name"].clone()).collect();
    assert_eq!(names, ["locked-memory"]);
    let text = keyferry(&["doctor"]);
    assert!(text.out.contains("locked-memory") && text.out.contains("checks: 0 bad"), "{text}");
    keyferry(&["doctor", "--tls-cert", "x"]).usage();
}

/// A server that gives one answer, and the report on it.
fn report_on(head: &str, body: &str) -> Report {
    use std::io::{BufRead as _, BufReader, Write as _};
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let answer =
        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n{head}\r\n{body}", body.len());
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut lines = BufReader::new(&stream).lines();
        while !lines.next().unwrap().unwrap().is_empty() {}
        // A client that has read enough may have gone away.
        let _ = (&stream).write_all(answer.as_bytes());
    });
    let report = doctor(&["--server", &url]);
    server.join().unwrap();
    report
}

#[test]
fn doctor_is_not_taken_in_by_a_server_that_lies() {
    let lie =
        r#"{"version":"9.9\u001b[31m","name":"\u001b[2Jkeys","profile":"try","stand_ins":["\u0007bell",7]}"#;
    let report = report_on("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", lie);
    report.found("clock", "bad");
    assert!(report.found("server", "warn").contains("9.9[31m"));
    report.found("profile", "warn");
    assert!(!report.0.out.contains("\\u001b") && !report.0.out.contains("\\u0007"), "{}", report.0);
    let report = report_on("date: yesterday\r\n", "{}");
    report.found("clock", "warn");
    assert!(report.found("server", "warn").contains("unknown"));
    for nonsense in ["", "<html>", "{", &format!("[{}]", "0,".repeat(400_000))] {
        report_on("", nonsense).found("server", "bad");
    }
    for other in ["{}", "[]", "null", "7", r#"{"version":{},"stand_ins":"sim"}"#] {
        report_on("", other).found("server", "warn");
    }
}
