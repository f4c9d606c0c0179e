//! TLS, with a certificate authority made here.

use crate::harness::{Device, Person, Service, Watching, World, creation, keyferry, request, signal, until};
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

/// A client with one connection that stays open, which believes one authority alone.
fn connection(authority: &Authority<'_>) -> ureq::Agent {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};
    let pem = std::fs::read(authority.certificate()).unwrap();
    let roots = RootCerts::new_with_certs(&[Certificate::from_pem(&pem).unwrap()]);
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = TlsConfig::builder().root_certs(roots).unversioned_rustls_crypto_provider(provider).build();
    let config = ureq::Agent::config_builder().tls_config(tls).max_idle_age(crate::harness::PATIENCE);
    config.proxy(None).build().new_agent()
}

#[test]
fn certificate_that_changes_is_served_without_a_restart() {
    let world = World::new();
    let (ours, theirs) = (Authority::new(&world, "ours"), Authority::new(&world, "theirs"));
    let old = ours.issue("old", "IP:127.0.0.1");
    let new = theirs.issue("new", "IP:127.0.0.1");
    let [certificate, key] = ["served.pem", "served.key"].map(|name| world.path(name));
    let put = |from: &str, to: &PathBuf| assert!(std::fs::copy(from, to).unwrap() > 0);
    put(&old[0], &certificate);
    put(&old[1], &key);
    let words = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
    let service = Service::start(&world.data(), &words);
    let metrics = format!("{}/metrics", service.url);
    let metric = |agent: &ureq::Agent, name: &str| {
        let text = agent.get(&metrics).call().ok()?.body_mut().read_to_string().ok()?;
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    let open = connection(&ours);
    assert_eq!(metric(&open, "keyferry_tls_reloads_total"), Some(0));
    // It lasts two days: that is told at start, in the log and as a figure.
    assert!(service.log().contains("ends soon"), "{}", service.log());
    let not_after = metric(&open, "keyferry_tls_not_after_seconds").unwrap();

    // A new certificate whose key has not come yet: told, and the old pair stays.
    put(&new[0], &certificate);
    signal(service.pid(), "HUP");
    let failed = || metric(&open, "keyferry_tls_reload_failures_total").filter(|count| *count > 0);
    until("the broken pair to be told", failed);
    assert!(service.log().contains("the certificate read before stays in use"), "{}", service.log());
    assert_eq!(metric(&connection(&ours), "keyferry_tls_reloads_total"), Some(0));
    assert_eq!(metric(&open, "keyferry_tls_not_after_seconds"), Some(not_after));

    // Its key: new connections get it, the open one goes on.
    put(&new[1], &key);
    signal(service.pid(), "HUP");
    until("the new pair", || metric(&open, "keyferry_tls_reloads_total").filter(|count| *count == 1));
    assert_eq!(metric(&connection(&theirs), "keyferry_tls_reloads_total"), Some(1));
    assert_eq!(metric(&connection(&ours), "keyferry_tls_reloads_total"), None, "the old one is not served");

    // Without a signal, too, and replaced by renaming as tools for certificates do.
    for (from, to) in [(&old[0], &certificate), (&old[1], &key)] {
        let beside = world.path("beside");
        put(from, &beside);
        std::fs::rename(beside, to).unwrap();
    }
    until("the old pair again", || metric(&open, "keyferry_tls_reloads_total").filter(|count| *count == 2));
    let doctor = ["doctor", "--server", &service.url, "--ca", &ours.path("ca.pem"), "--json"];
    let said = keyferry(&[&doctor[..], &words].concat());
    assert_eq!(said.done()["ok"], true, "{said}");
    assert!(said.out.contains("days") && said.out.contains("tls-names"), "{said}");
}

#[test]
fn doctor_names_what_is_wrong_with_a_certificate() {
    let world = World::new();
    let authority = Authority::new(&world, "ours");
    let one = authority.issue("one", "DNS:keys.example.org");
    let other = authority.issue("other", "DNS:keys.example.org");
    let check = |certificate: &str, key: &str, server: &str, name: &str| {
        let words = ["doctor", "--json", "--tls-cert", certificate, "--tls-key", key, "--server", server];
        let said = keyferry(&words);
        assert_eq!(said.status, Some(3), "the server is not there, at least: {said}");
        let document: serde_json::Value = serde_json::from_str(&said.out).unwrap();
        let checks = document["checks"].as_array().unwrap().iter();
        let found = checks.clone().find(|check| check["name"] == name);
        found.unwrap_or_else(|| panic!("no {name}: {said}"))["state"].as_str().unwrap().to_owned()
    };
    let named = "https://keys.example.org:1";
    assert_eq!(check(&one[0], &other[1], named, "tls-pair"), "bad");
    assert_eq!(check(&one[0], "/nowhere", named, "tls-pair"), "bad");
    assert_eq!(check(&one[0], &one[1], named, "tls-pair"), "ok");
    assert_eq!(check(&one[0], &one[1], named, "tls-names"), "ok");
    assert_eq!(check(&one[0], &one[1], "https://elsewhere.example:1", "tls-names"), "bad");
    // Two days are left.
    assert_eq!(check(&one[0], &one[1], named, "tls-expiry"), "warn");
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(&one[1], std::fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(check(&one[0], &one[1], named, "tls-key"), "bad");
}
