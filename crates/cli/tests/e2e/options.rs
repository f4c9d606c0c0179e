//! What a relying party gets wrong, told as a browser tells it; and what a user gets wrong.

use crate::harness::{Device, Person, World, base64url, creation, keyferry, origin, request};
use serde_json::{Value, json};

struct Case {
    what: &'static str,
    origin: &'static str,
    options: Vec<u8>,
    error: &'static str,
    name: &'static str,
}

const SITE: &str = "https://example.org";

/// Valid creation options with something wrong.
fn spoilt(what: &'static str, error: &'static str, name: &'static str, spoil: impl Fn(&mut Value)) -> Case {
    let mut options = creation("example.org", "ada");
    spoil(&mut options);
    Case { what, origin: SITE, options: options.to_string().into_bytes(), error, name }
}

fn raw(what: &'static str, options: &[u8]) -> Case {
    Case { what, origin: SITE, options: options.to_vec(), error: "bad_options", name: "TypeError" }
}

fn foreign(what: &'static str, origin: &'static str, rp_id: &str) -> Case {
    let options = creation(rp_id, "ada").to_string().into_bytes();
    Case { what, origin, options, error: "origin", name: "SecurityError" }
}

fn creations() -> Vec<Case> {
    let mistyped = |what, member: &'static str, value: Value| {
        spoilt(what, "bad_options", "TypeError", move |options| options[member] = value.clone())
    };
    let remove = |what, member: &'static str| {
        spoilt(what, "bad_options", "TypeError", move |options| {
            options.as_object_mut().unwrap().remove(member);
        })
    };
    let algorithms = |what, list: Value| {
        spoilt(what, "bad_options", "NotSupportedError", move |options| {
            options["pubKeyCredParams"] = list.clone();
        })
    };
    let handle = |what, bytes: usize| {
        spoilt(what, "bad_options", "TypeError", move |options| {
            options["user"]["id"] = json!(base64url(&vec![7; bytes]));
        })
    };
    vec![
        raw("empty", b""),
        raw("not JSON", b"challenge=abc"),
        raw("not UTF-8", b"{\"challenge\":\"\xff\xfe\"}"),
        raw("half a document", b"{\"publicKey\": {\"challenge\""),
        raw("a list", b"[]"),
        raw("null inside", b"{\"publicKey\": null}"),
        raw("much too deep", "[".repeat(60_000).as_bytes()),
        remove("no challenge", "challenge"),
        remove("no rp", "rp"),
        remove("no user", "user"),
        remove("no pubKeyCredParams", "pubKeyCredParams"),
        mistyped("challenge a number", "challenge", json!(17)),
        mistyped("challenge empty", "challenge", json!("")),
        mistyped("user a string", "user", json!("ada")),
        spoilt("bad base64url in the challenge", "bad_options", "EncodingError", |options| {
            options["challenge"] = json!("not base64url!");
        }),
        spoilt("padded base64 in the user handle", "bad_options", "EncodingError", |options| {
            options["user"]["id"] = json!("YWRhYQ==");
        }),
        handle("user handle of 65 bytes", 65),
        handle("user handle of no bytes", 0),
        algorithms("unknown algorithm alone", json!([{"type": "public-key", "alg": -65535}])),
        algorithms("another kind of credential alone", json!([{"type": "password", "alg": -7}])),
        algorithms("algorithms that the enclave lacks", json!([{"type": "public-key", "alg": -36}])),
        foreign("foreign relying party", SITE, "example.com"),
        foreign("child of the origin", SITE, "login.example.org"),
        foreign("name that ends alike", "https://badexample.org", "example.org"),
        foreign("IPv4 address", "https://192.0.2.7", "192.0.2.7"),
        foreign("IPv6 address", "https://[2001:db8::1]", "[2001:db8::1]"),
        foreign("public suffix", "https://example.org", "org"),
        foreign("public suffix of two labels", "https://shop.co.uk", "co.uk"),
        foreign("private suffix", "https://ada.github.io", "github.io"),
        foreign("plain http", "http://example.org", "example.org"),
        foreign("origin with a path", "https://example.org/login", "example.org"),
        foreign("origin that is none", "example.org", "example.org"),
        foreign("upper case", SITE, "EXAMPLE.ORG"),
        foreign("trailing dot", SITE, "example.org."),
    ]
}

#[track_caller]
fn assert_refused(laptop: &Device, command: &str, case: &Case) {
    let said = laptop.run_with(&["passkey", command, "--origin", case.origin], &case.options);
    assert_eq!(said.status, Some(3), "{command}, {}: {said}", case.what);
    let refusal = said.refusal();
    let found = (refusal.error.as_str(), refusal.name.as_deref());
    assert_eq!(found, (case.error, Some(case.name)), "{command}, {}: {said}", case.what);
}

#[test]
fn options_that_a_browser_would_refuse_are_refused_with_the_same_exception() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    for case in creations() {
        assert_refused(&laptop, "create", &case);
    }
    for case in [raw("empty", b""), raw("not JSON", b"{"), raw("no challenge", b"{\"rpId\":\"example.org\"}")]
    {
        assert_refused(&laptop, "get", &case);
    }
    for (what, site, rp_id) in [
        ("foreign relying party", SITE, "example.com"),
        ("public suffix", SITE, "org"),
        ("address", "https://127.0.0.1", "127.0.0.1"),
    ] {
        let options = request(rp_id).to_string().into_bytes();
        let case = Case { what, origin: site, options, error: "origin", name: "SecurityError" };
        assert_refused(&laptop, "get", &case);
    }
    // None of it made a passkey or an entry.
    assert_eq!(laptop.passkey_ids(), Vec::<String>::new());
    assert!(laptop.audit().iter().all(|entry| entry["kind"] != "create-passkey"));
    // And the ordinary form still works: the tests above fail for what they name.
    laptop.create(SITE, &creation("example.org", "ada")).done();
    laptop.create("http://localhost:8080", &creation("localhost", "ada")).done();
    laptop.create("https://login.example.org:8443", &creation("example.org", "ada")).done();
}

#[test]
fn largest_options_are_taken_and_larger_ones_refused_in_words() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    let mut options = creation("example.org", "ada");
    options["user"]["id"] = json!(base64url(&[7; 64]));
    options["user"]["name"] = json!("n".repeat(1000));
    options["challenge"] = json!(base64url(&[9; 1024]));
    options["excludeCredentials"] =
        (0..200_u8).map(|n| json!({"type": "public-key", "id": base64url(&[n; 16])})).collect();
    laptop.create(SITE, &options).done();
    options["user"]["displayName"] = json!("d".repeat(300 * 1024));
    let said = laptop.create(SITE, &options);
    assert!(matches!(said.status, Some(2 | 3)), "{said}");
}

#[test]
fn mistakes_in_usage_end_with_2() {
    for words in [
        &[][..],
        &["fly"],
        &["passkey"],
        &["passkey", "create"],
        &["passkey", "create", "--home", "/nowhere"],
        &["up"],
        &["up", "--data", "/nowhere", "--shards", "0"],
        &["up", "--data", "/nowhere", "--listen", "everywhere"],
        &["up", "--data", "/nowhere", "--tls-cert", "/nowhere.pem"],
        &["sync", "--home", "/nowhere", "--fast"],
        &["device", "enrol", "--home", "/nowhere"],
        &["help", "fly"],
    ] {
        keyferry(words).usage();
    }
    assert!(!std::path::Path::new("/nowhere").exists());
}

#[test]
fn secrets_come_from_files_and_never_from_arguments() {
    let tree = keyferry(&["help", "--tree"]).out;
    for flag in ["--pin", "--password", "--new-pin", "--device-pin", "--old-pin"] {
        let given = tree.lines().any(|line| line.split_whitespace().any(|word| word == flag));
        assert!(!given, "{flag} would be read by `ps`");
    }
}

#[test]
fn what_is_out_of_reach_or_missing_is_said_in_a_sentence() {
    let world = World::new();
    let mut service = world.service();
    let ada = Person::new(&world, &service, "ada");
    let laptop = ada.enrol("laptop");
    let created = laptop.create(SITE, &creation("example.org", "ada")).done();

    // A home that is none.
    let nobody = Device::new(&world.path("nobody"));
    for words in [&["sync"][..], &["passkey", "list"], &["device", "list"], &["audit"], &["pin", "status"]] {
        let said = nobody.run(words);
        assert!(matches!(said.status, Some(1 | 3)), "{said}");
        said.failed();
    }
    assert!(!nobody.home.exists(), "looking must not make a home");

    // Files that are not there.
    let missing = world.path("missing").to_str().unwrap().to_owned();
    let said = laptop.run(&["passkey", "get", "--origin", SITE, "--options", &missing]);
    assert!(matches!(said.status, Some(1 | 2)) && said.err.contains("missing"), "{said}");
    let said = laptop.run(&["pin", "change", "--pin-file", &missing, "--new-pin-file", &missing]);
    assert!(matches!(said.status, Some(1 | 2)) && said.err.contains("missing"), "{said}");

    // A server that is not there.
    service.stop();
    for words in [&["sync"][..], &["audit"], &["pin", "status"], &["device", "list"], &["attest", "show"]] {
        laptop.run(words).fault();
    }
    laptop.create(SITE, &creation("example.org", "ada")).fault();
    laptop.get(SITE, &request("example.org")).fault();
    ada.create_account().fault();
    // It comes back, and so does everything.
    service.start_again();
    assert_eq!(laptop.get(SITE, &request("example.org")).done()["id"], created["id"]);
    assert_eq!(laptop.passkey_ids().len(), 1);

    // A server that is something else.
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", other.local_addr().unwrap());
    std::thread::spawn(move || {
        use std::io::{Read as _, Write as _};
        for stream in other.incoming().flatten() {
            let mut stream = stream;
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
        }
    });
    Person::stranger(&world, &service, "eve").through(&address).create_account().failed();
    let plain = Person::stranger(&world, &service, "eve").through("http://192.0.2.1:7420");
    let said = plain.create_account();
    assert!(matches!(said.status, Some(1..=3)) && said.err.contains("https"), "{said}");
}

#[test]
fn origin_of_a_page_is_checked_before_anything_is_signed() {
    let world = World::new();
    let service = world.service();
    let laptop = Person::new(&world, &service, "ada").enrol("laptop");
    laptop.create(SITE, &creation("example.org", "ada")).done();
    let asserts = |laptop: &Device| laptop.audit().iter().filter(|e| e["kind"] == "assert").count();
    for page in
        ["https://evil.com", "https://example.org.evil.com", "https://evilexample.org", "http://example.org"]
    {
        let refusal = laptop.get(page, &request("example.org")).refused("origin");
        assert_eq!(refusal.name.as_deref(), Some("SecurityError"), "{page}");
    }
    assert_eq!(asserts(&laptop), 0);
    laptop.get(&origin("example.org"), &request("example.org")).done();
    assert_eq!(asserts(&laptop), 1);
}
