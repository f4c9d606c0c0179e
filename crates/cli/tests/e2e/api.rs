//! The gateway's HTTP interface as its documents describe it: the OpenAPI document, tried by a fuzzer of others, and the
//! CDDL of the messages, held against what really passes.

use crate::harness::{
    Cddl, Device, Person, Recorder, Service, World, base64url, creation, head_and_body, python, request,
    workspace,
};
use crate::secrecy::tap;
use keyferry_client::home::Home;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

const SITE: &str = "https://example.org";
const RP_ID: &str = "example.org";

#[track_caller]
fn get(service: &Service, path: &str) -> Vec<u8> {
    let url = format!("{}{path}", service.url.trim_end_matches('/'));
    ureq::get(&url).call().unwrap().body_mut().read_to_vec().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn said(output: &Output) -> String {
    format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn home(device: &Device) -> Home {
    Home::load(&fs::read(device.home.join("state")).unwrap()).unwrap()
}

/// Bodies of the requests to a path.
fn bodies(recorder: &Recorder, path: &str) -> Vec<Vec<u8>> {
    let begin = format!("POST {path} ");
    let requests = recorder.requests().into_iter();
    let ours = requests.filter(|request| request.starts_with(begin.as_bytes()));
    ours.map(|request| head_and_body(&request).1.to_vec()).collect()
}

#[test]
fn document_is_openapi_to_a_reader_of_others() {
    let Some(python) = python() else { return };
    let world = World::new();
    let service = world.service();
    let file = world.file("openapi.json", get(&service, "/v1/openapi.json"));
    let output = Command::new(python).args(["-m", "openapi_spec_validator"]).arg(&file).output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
}

/// Statuses by operation, as `peers/api.py` counted them.
type Counted = BTreeMap<String, BTreeMap<String, u64>>;

#[test]
fn fuzzer_of_others_finds_nothing_that_the_document_does_not_say() {
    let Some(python) = python() else { return };
    let world = World::new();
    let service = world.service();
    let recorder = Recorder::before(service.address());
    let ada = Person::new(&world, &service, "ada").through(&recorder.url);
    let laptop = ada.enrol("laptop");
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    let opened = bodies(&recorder, "/v1/sessions");
    let sent = bodies(&recorder, "/v1/requests").len();
    // Frames that are still good: nobody has seen them.
    recorder.withhold();
    laptop.run(&["pin", "status"]).fault();
    let frames = bodies(&recorder, "/v1/requests").split_off(sent);
    assert!(!frames.is_empty(), "the client sent nothing");

    let home = home(&laptop);
    let member = home.membership().unwrap();
    let status: Value = serde_json::from_slice(&get(&service, "/v1/status")).unwrap();
    let size = status["shards"][0]["size"].as_u64().unwrap();
    let facts = json!({
        "cddl": workspace().join("docs/keyferry.cddl"),
        "account": base64url(&home.account.expect("an account").0),
        "session_open": hex(opened.last().unwrap()),
        "request_frames": frames.iter().map(|frame| hex(frame)).collect::<Vec<_>>(),
        "tile": format!("0/000.p/{}", size % 256),
    });
    world.file("facts.json", facts.to_string());
    let mut document: Value = serde_json::from_slice(&get(&service, "/v1/openapi.json")).unwrap();
    let bearer = format!("Bearer {}", base64url(member.access.expose()));
    let found = fuzz(&world, &python, &service, &document, &bearer, &[]);
    assert!(found.status.success(), "{}", said(&found));

    let counted: Value = serde_json::from_slice(&fs::read(world.path("counted.json")).unwrap()).unwrap();
    println!("schemathesis: CBOR answers held against CDDL: {}", counted["cbor_answers"]);
    let counted: Counted = serde_json::from_value(counted["statuses"].clone()).unwrap();
    let total: u64 = counted.values().flat_map(BTreeMap::values).sum();
    println!("schemathesis: {total} cases of {} operations, no finding: {counted:?}", counted.len());
    for (path, methods) in document["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            let label = format!("{} {path}", method.to_uppercase());
            let successes = operation["responses"].as_object().unwrap().keys();
            // What only switches protocols is tried elsewhere.
            let successes: Vec<_> = successes.filter(|status| status.starts_with('2')).collect();
            let tried = counted.get(&label).unwrap_or_else(|| panic!("{label} was not tried"));
            let reached = successes.iter().any(|status| tried.contains_key(*status));
            assert!(successes.is_empty() || reached, "{label} never succeeded: {tried:?}");
            for status in tried.keys().filter(|status| **status != "405") {
                assert!(operation["responses"].get(status).is_some(), "{label} gave {status}");
            }
        }
    }
    assert!(total >= 400, "{total}");
    // And it serves as before.
    Person::stranger(&world, &service, "bob").create_account().done();

    // It is no fuzzer that finds nothing: one status less in the document, and it does.
    let checkpoint = "/v1/log/{shard}/checkpoint";
    document["paths"][checkpoint]["get"]["responses"].as_object_mut().unwrap().remove("404").unwrap();
    let found = fuzz(&world, &python, &service, &document, &bearer, &["--include-path", checkpoint]);
    assert!(said(&found).contains("Undocumented status code"), "{}", said(&found));
}

/// Runs schemathesis on the service with a document of it.
fn fuzz(
    world: &World,
    python: &Path,
    service: &Service,
    document: &Value,
    bearer: &str,
    more: &[&str],
) -> Output {
    // From a file: it leaves out the address that it read a document from.
    let document = world.file("openapi.json", document.to_string());
    Command::new(python.with_file_name("schemathesis"))
        .current_dir(world.root())
        .env("SCHEMATHESIS_HOOKS", "api")
        .env("PYTHONPATH", workspace().join("peers"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .arg("--config-file")
        .arg(workspace().join("peers/schemathesis.toml"))
        .args(["run", "--phases", "examples,coverage,fuzzing", "--seed", "1", "--max-examples", "25"])
        .args(["--generation-database", "none", "--no-color", "--warnings", "off"])
        .args(["--continue-on-failure", "--request-timeout", "60"])
        .args(["--header", &format!("Authorization: {bearer}"), "--url", service.url.trim_end_matches('/')])
        .args(more)
        .arg(document)
        .output()
        .unwrap()
}

/// The rules of request and answer, by the first line of a request.
fn rules(line: &str) -> Option<(Option<&'static str>, &'static str)> {
    let path = line.split(' ').nth(1)?.split('?').next()?;
    Some(match path {
        "/v1/evidence" => (None, "Evidence"),
        "/v1/sessions" => (Some("SessionOpen"), "SessionOpened"),
        "/v1/requests" => (Some("RequestFrame"), "ReplyFrame"),
        _ if path.starts_with("/v1/route/") => (None, "Route"),
        _ if path.ends_with("/sync") => (None, "SyncPage"),
        _ if path.ends_with("/audit") => (None, "AuditPage"),
        _ => return None,
    })
}

#[test]
fn messages_of_a_real_run_follow_the_cddl() {
    let Some(mut cddl) = Cddl::start() else { return };
    let world = World::new();
    let Some((enclave, record)) = tap(&world) else { return };
    let mut service = Service::start(&world.data(), &["--enclave", enclave.to_str().unwrap()]);
    let recorder = Recorder::before(service.address());
    let ada = Person::new(&world, &service, "ada").through(&recorder.url);
    let laptop = ada.enrol_verifying("laptop");
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    laptop.get_verified(SITE, &request(RP_ID)).done();
    let phone = ada.join("phone");
    ada.try_join("thief", &ada.device("thief"), &world.file("wrong", "wrong-and-long")).refusal();
    for device in [&laptop, &phone] {
        device.run(&["sync"]).done();
        device.run(&["device", "list"]).done();
        device.audit();
    }
    service.stop();

    let mut held: BTreeMap<&str, usize> = BTreeMap::new();
    let mut hold = |rule: &'static str, message: &[u8]| {
        cddl.accepts(rule, message);
        *held.entry(rule).or_default() += 1;
    };
    for (asked, answered) in recorder.exchanges() {
        let ((line, body), (head, answer)) = (head_and_body(&asked), head_and_body(&answered));
        let Some((takes, gives)) = rules(&line) else { continue };
        if let Some(rule) = takes {
            hold(rule, body);
        }
        if head.starts_with("HTTP/1.1 200") {
            hold(gives, answer);
        }
    }
    for file in fs::read_dir(&record).unwrap().flatten() {
        let rule =
            if file.path().extension().is_some_and(|end| end == "to") { "ToEnclave" } else { "FromEnclave" };
        let bytes = fs::read(file.path()).unwrap();
        let mut rest = bytes.as_slice();
        while let Some((length, behind)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap();
            let Some((frame, behind)) = behind.split_at_checked(length) else { break };
            hold(rule, frame);
            rest = behind;
        }
    }
    println!("cddl: messages of a real run: {held:?}");
    for rule in
        ["Evidence", "SessionOpen", "SessionOpened", "RequestFrame", "ReplyFrame", "SyncPage", "AuditPage"]
    {
        assert!(held.contains_key(rule), "no {rule} passed: {held:?}");
    }
    assert!(held["ToEnclave"] > 10 && held["FromEnclave"] > 10, "{held:?}");
}
