//! TLS, with a certificate authority made here.

use crate::harness::{Device, Person, Service, Watching, World, creation, keyferry, request};
use std::path::PathBuf;
use std::process::Command;

const SITE: &str = "https://example.org";
const RP_ID: &str = "example.org";

struct Authority<'a> {
    world: &'a World,
    name: &'static str,
}

impl<'a> Authority<'a> {
    #[track_caller]
    fn new(world: &'a World, name: &'static str) -> Authority<'a> {
        let authority = Authority { world, name };
        openssl(&format!(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={name} -keyout {} -out {}",
            authority.path("ca.key"),
            authority.path("ca.pem"),
        ));
        authority
    }

    fn path(&self, file: &str) -> String {
        self.world.path(&format!("{}.{file}", self.name)).to_str().unwrap().to_owned()
    }

    fn certificate(&self) -> PathBuf {
        PathBuf::from(self.path("ca.pem"))
    }

    /// A certificate for these names, and its key.
    #[track_caller]
    fn issue(&self, file: &str, names: &str) -> [String; 2] {
        let [key, request, certificate] =
            ["key", "csr", "pem"].map(|end| self.path(&format!("{file}.{end}")));
        let extensions = self.world.file("extensions", format!("subjectAltName={names}\n"));
        openssl(&format!(
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=server -keyout {key} -out {request}"
        ));
        openssl(&format!(
            "x509 -req -days 2 -in {request} -CA {} -CAkey {} -CAcreateserial -extfile {} -out {certificate}",
            self.path("ca.pem"),
            self.path("ca.key"),
            extensions.display(),
        ));
        [certificate, key]
    }
}

#[track_caller]
fn openssl(words: &str) {
    let output = Command::new("openssl").args(words.split(' ')).output().expect("openssl is installed");
    assert!(output.status.success(), "openssl {words}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn service_with_a_certificate_serves_those_who_believe_its_authority() {
    let world = World::new();
    let (ours, theirs) = (Authority::new(&world, "ours"), Authority::new(&world, "theirs"));
    let [certificate, key] = ours.issue("server", "IP:127.0.0.1,DNS:localhost");
    let mut service = Service::start(&world.data(), &["--tls-cert", &certificate, "--tls-key", &key]);
    assert!(service.url.starts_with("https://"), "{}", service.url);
    let ada = Person::stranger(&world, &service, "ada").believing(ours.certificate());
    ada.create_account().done();
    let laptop = ada.enrol("laptop");
    laptop.create(SITE, &creation(RP_ID, "ada")).done();
    // The live connection believes whom the others believe.
    laptop.run(&["sync"]).done();
    let follower = Watching::start(&laptop, &["sync", "--follow", "--count", "1"]);
    follower.until_connected();
    laptop.create(SITE, &creation(RP_ID, "bob")).done();
    assert_eq!(follower.ended().0, Some(0));
    let phone = ada.join("phone");
    phone.get(SITE, &request(RP_ID)).done();
    phone.audit();

    // Nobody else believes it.
    let trusting = Device { ca: None, ..laptop.clone() };
    let elsewhere = Device { ca: Some(theirs.certificate()), ..laptop.clone() };
    for device in [&trusting, &elsewhere] {
        for words in [&["sync"][..], &["pin", "status"], &["audit"], &["attest", "show"]] {
            device.run(words).fault();
        }
        device.get(SITE, &request(RP_ID)).fault();
    }
    Person::stranger(&world, &service, "eve").create_account().fault();
    // Plain HTTP gets nothing from it.
    let plain = service.url.replace("https://", "http://");
    Person::stranger(&world, &service, "eve").through(&plain).create_account().fault();
    // A CA file that is none.
    let nonsense = Device { ca: Some(world.file("nonsense.pem", "nonsense")), ..laptop.clone() };
    nonsense.run(&["sync"]).fault();

    // The same folder with a certificate for another name, and with one of another authority.
    service.stop();
    for (authority, names) in [(&ours, "DNS:elsewhere.example"), (&theirs, "IP:127.0.0.1")] {
        let [certificate, key] = authority.issue("other", names);
        let words = ["--tls-cert", &certificate, "--tls-key", &key];
        let mut other = Service::try_start(&world.data(), service.address(), &words).unwrap();
        laptop.run(&["sync"]).fault();
        other.stop();
    }
    service.start_again();
    laptop.run(&["sync"]).done();
}

#[test]
fn nobody_but_this_machine_is_served_without_tls() {
    let world = World::new();
    for address in ["0.0.0.0:0", "[::]:0"] {
        let Err(refused) = Service::try_start(&world.data(), address, &[]) else {
            panic!("it serves {address} without TLS");
        };
        assert!(matches!(refused.status, Some(1 | 2)), "{refused:?}");
        assert!(refused.said.contains("TLS"), "{refused:?}");
    }
    // Broken files are told, not served.
    let authority = Authority::new(&world, "ours");
    let [certificate, key] = authority.issue("one", "IP:127.0.0.1");
    let [_, other_key] = authority.issue("two", "IP:127.0.0.1");
    let nonsense = world.file("nonsense.pem", "nonsense");
    let nonsense = nonsense.to_str().unwrap();
    for (certificate, key) in [
        (certificate.as_str(), other_key.as_str()),
        (certificate.as_str(), nonsense),
        (nonsense, key.as_str()),
        ("/nowhere.pem", key.as_str()),
    ] {
        let words = ["--tls-cert", certificate, "--tls-key", key];
        let Err(refused) = Service::try_start(&world.data(), "127.0.0.1:0", &words) else {
            panic!("it serves with {certificate} and {key}");
        };
        assert!(matches!(refused.status, Some(1 | 2)), "{refused:?}");
        assert!(!refused.said.contains("panicked"), "{refused:?}");
    }
    keyferry(&["up", "--data", "/nowhere", "--tls-key", &key]).usage();
}
