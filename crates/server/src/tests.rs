//! The whole gateway over loopback, with an enclave that is a test stand-in.

mod document;
mod live;

use crate::http::{Class, ROUTES, RateLimits, TlsFiles};
use crate::serve::{Config, Running, StartError, serve_with};
use crate::store::OpenError;
use crate::testing::{
    NAME, Script, StandInBroker, StandInLauncher, TOKEN, account, credential, device, stand_in_evidence,
};
use axum::http::Method;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::{ReplyFrame, RequestFrame, SessionOpen, SessionOpened};
use keyferry_wire::limits::FRAME_MAX;
use keyferry_wire::publish::{AuditPage, Route, SyncPage};
use keyferry_wire::{AccountId, SessionId, Wire};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn cbor<T: Wire>(&self) -> T {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        assert!(self.head.contains("content-type: application/cbor"), "{}", self.head);
        T::from_bytes(&self.body).unwrap()
    }

    fn error(&self) -> String {
        self.json()["error"].as_str().unwrap().to_owned()
    }
}

fn send(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!(
        "{method} {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    // The peer may answer and close before it has read a body that it refuses.
    let _ = stream.write_all(&[head.as_bytes(), b"\r\n", body].concat());
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n").expect("a whole head");
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let status = head[9..12].parse().unwrap();
    let reply = Reply { status, head, body: bytes[end + 4..].to_vec() };
    document::assert_documented(method, path, &reply);
    reply
}

struct Gateway {
    running: Running,
    script: Arc<Mutex<Script>>,
}

impl Gateway {
    fn start(data: &Path) -> Gateway {
        Gateway::with(config(data))
    }

    fn with(config: Config) -> Gateway {
        let launcher = StandInLauncher::default();
        let script = Arc::clone(&launcher.0);
        let running = serve_with(config, Box::new(launcher), Box::new(StandInBroker)).unwrap();
        Gateway { running, script }
    }

    fn get(&self, path: &str) -> Reply {
        send(self.running.address, "GET", path, &[], b"")
    }

    fn get_with_token(&self, path: &str, token: &[u8]) -> Reply {
        let bearer = format!("Bearer {}", URL_SAFE_NO_PAD.encode(token));
        send(self.running.address, "GET", path, &[("authorization", &bearer)], b"")
    }

    fn post(&self, path: &str, body: &[u8]) -> Reply {
        send(self.running.address, "POST", path, &[("content-type", "application/cbor")], body)
    }

    fn request(&self, word: &[u8], account: Option<AccountId>, seen: Option<u64>) -> Reply {
        self.post("/v1/requests", &frame(word, account, seen).to_bytes())
    }

    fn sync(&self, n: u8, query: &str) -> Reply {
        self.get_with_token(&format!("/v1/accounts/{}/sync?{query}", text(account(n))), TOKEN)
    }

    fn audit(&self, n: u8, query: &str) -> Reply {
        self.get_with_token(&format!("/v1/accounts/{}/audit?{query}", text(account(n))), TOKEN)
    }
}

fn config(data: &Path) -> Config {
    let mut config = Config::new(data, SocketAddr::from(([127, 0, 0, 1], 0)), NAME);
    config.rates = RateLimits {
        per_second: 100_000,
        burst: 100_000,
        sessions_per_second: 100_000,
        sessions_burst: 100_000,
    };
    config
}

fn text(account: AccountId) -> String {
    URL_SAFE_NO_PAD.encode(account.0)
}

fn frame(word: &[u8], account: Option<AccountId>, seen: Option<u64>) -> RequestFrame {
    RequestFrame {
        version: 1,
        suite: 1,
        session: SessionId([3; 16]),
        number: 1,
        ciphertext: word.into(),
        account,
        device: Some(device(1)),
        passkeys: vec![credential(1)],
        seen,
    }
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} did not happen");
        thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn sessions_requests_and_reads_are_served() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path());
    let evidence: Evidence = gateway.get("/v1/evidence").cbor();
    assert_eq!(evidence, stand_in_evidence());
    let open = SessionOpen { version: 1, suite: 1, evidence: [1; 32], message: b"one".as_slice().into() };
    let opened: SessionOpened = gateway.post("/v1/sessions", &open.to_bytes()).cbor();
    assert_eq!(&opened.message[..], b"one");
    // Without a hint the enclave asks for the account and gets proof of absence, then writes it.
    let reply: ReplyFrame = gateway.request(b"need", None, None).cbor();
    assert_eq!(&reply.ciphertext[..], b"put");
    let reply: ReplyFrame = gateway.request(b"put", Some(account(1)), Some(2)).cbor();
    // BOOT and its seal were 2 entries, the first write 4, this one 6: the way from 2 has two steps.
    assert_eq!(reply.consistency.len(), 2);
    let read: ReplyFrame = gateway.request(b"read", Some(account(1)), Some(2)).cbor();
    assert!(read.consistency.is_empty());
    let route: Route = gateway.get(&format!("/v1/route/{}", text(account(1)))).cbor();
    assert_eq!(route.account, account(1));

    let page: SyncPage = gateway.sync(1, "cursor=0").cbor();
    assert_eq!((page.rows.len(), page.more), (0, false));
    let page: AuditPage = gateway.audit(1, "from=1&limit=1&seen=2").cbor();
    assert_eq!((page.entries.len(), page.more, page.account.seq), (1, true, 2));
    let page: AuditPage = gateway.audit(1, "from=2").cbor();
    assert_eq!((page.first, page.entries.len(), page.more), (2, 1, false));

    assert_eq!(gateway.get("/v1/openapi.json").json()["openapi"], "3.1.1");
    let health = gateway.get("/healthz");
    assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("serving")));
    assert_eq!(health.json()["profile"], "try");
    let status = gateway.get("/v1/status").json();
    assert_eq!(status["shards"][0]["size"], 6);
    assert_eq!(status["stand_ins"].as_array().unwrap().len(), 2);
    let metrics = String::from_utf8(gateway.get("/metrics").body).unwrap();
    assert!(metrics.contains("keyferry_sessions_total 1\n"), "{metrics}");
    assert!(
        metrics.contains("keyferry_requests_total{route=\"/v1/requests\",status=\"200\"} 3\n"),
        "{metrics}"
    );
    assert!(!metrics.contains(&text(account(1))));
    gateway.running.stop();
}

#[test]
fn the_public_ledger_follows_within_a_moment() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path());
    for _ in 0..130 {
        gateway.request(b"put", Some(account(1)), None);
        gateway.request(b"need", None, None);
    }
    let size = gateway.get("/v1/status").json()["shards"][0]["size"].as_u64().unwrap();
    assert!(size > 256);
    wait_until("the checkpoint", || {
        let checkpoint = gateway.get("/v1/log/0/checkpoint");
        String::from_utf8(checkpoint.body).unwrap().lines().nth(1) == Some(&size.to_string())
    });
    let full = gateway.get("/v1/log/0/tile/0/000");
    assert_eq!((full.status, full.body.len()), (200, 256 * 32));
    let cut = gateway.get("/v1/log/0/tile/0/000.p/7");
    assert_eq!(cut.body, full.body[..7 * 32]);
    let (index, width) = (size / 256, size % 256);
    let partial = gateway.get(&format!("/v1/log/0/tile/entries/{index:03}.p/{width}"));
    assert_eq!(partial.body.len(), usize::try_from(width).unwrap() * 226);
    for path in
        ["tile/0/1", "tile/0/x000/000", "tile/9/000", "tile/0/../0/000", "tile/entries/000.p/0", "lock"]
    {
        assert_eq!(gateway.get(&format!("/v1/log/0/{path}")).status, 404, "{path}");
    }
    for shard in ["1", "00", "+0", "65536", "-1"] {
        assert_eq!(gateway.get(&format!("/v1/log/{shard}/checkpoint")).status, 404, "{shard}");
    }
}

#[test]
fn malformed_and_unauthorised_requests_are_told_apart_and_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path());
    gateway.request(b"put", Some(account(1)), None);
    let address = gateway.running.address;
    let one = text(account(1));
    let body = frame(b"put", None, None).to_bytes();
    assert_eq!(send(address, "POST", "/v1/requests", &[], &body).status, 415);
    assert_eq!(gateway.post("/v1/requests", b"nonsense").error(), "bad_request");
    assert_eq!(gateway.post("/v1/sessions", &body).error(), "bad_request");
    let dropped = gateway.request(b"drop", Some(account(1)), None);
    assert_eq!((dropped.status, dropped.error().as_str()), (409, "session"));
    for (path, status) in [
        ("/v1/nothing".to_owned(), 404),
        ("/v1/route/short".to_owned(), 400),
        (format!("/v1/accounts/{one}/sync"), 401),
        (format!("/v1/accounts/{one}/audit"), 401),
    ] {
        assert_eq!(gateway.get(&path).status, status, "{path}");
    }
    for query in ["cursor=x", "cursor=1&cursor=2", "other=1", "cursor", "cursor=-1"] {
        assert_eq!(gateway.sync(1, query).status, 400, "{query}");
    }
    let wrong = gateway.get_with_token(&format!("/v1/accounts/{one}/sync"), b"another");
    let unknown = gateway.sync(77, "");
    assert_eq!(
        (wrong.status, wrong.body),
        (401, unknown.body),
        "an unknown account looks like a wrong token"
    );
    for (method, path, allowed) in [("PUT", "/v1/requests", "POST"), ("DELETE", "/v1/status", "GET,HEAD")] {
        let refused = send(address, method, path, &[], b"");
        assert_eq!((refused.status, refused.error().as_str()), (405, "method"));
        assert!(refused.head.contains(&format!("allow: {allowed}")), "{}", refused.head);
    }
}

#[test]
fn every_route_has_its_limits() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.rates = RateLimits { per_second: 1, burst: 60, sessions_per_second: 1, sessions_burst: 60 };
    let gateway = Gateway::with(config);
    let address = gateway.running.address;
    for route in &ROUTES {
        assert!(route.time_max <= Duration::from_secs(30), "{}", route.template);
        assert_eq!(
            route.body_max,
            if route.method == Method::POST { FRAME_MAX } else { 0 },
            "{}",
            route.template
        );
        let path = route
            .template
            .replace("{account}", &text(account(1)))
            .replace("{shard}", "0")
            .replace("{*path}", "0/000");
        let method = route.method.as_str();
        let large = send(
            address,
            method,
            &path,
            &[("content-type", "application/cbor")],
            &vec![0; route.body_max + 1],
        );
        assert_eq!((large.status, large.error().as_str()), (413, "too_large"), "{}", route.template);
        // Without a length up front the limit holds as well.
        let chunk = "1000\r\n".to_owned() + &"x".repeat(4096) + "\r\n";
        let chunked = chunk.repeat(route.body_max / 4096 + 1) + "0\r\n\r\n";
        let mut stream = TcpStream::connect(address).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n");
        let _ = stream.write_all((head + &chunked).as_bytes());
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(&status, b"HTTP/1.1 413", "{}", route.template);
    }
    for route in &ROUTES {
        let path = route.template.replace("{account}", "x").replace("{shard}", "x").replace("{*path}", "x");
        let limited = (0..80)
            .map(|_| send(address, route.method.as_str(), &path, &[], b""))
            .find(|reply| reply.status == 429);
        let limited = limited.unwrap_or_else(|| panic!("{} has no rate", route.template));
        assert_eq!(limited.error(), "rate_limited");
        assert!(limited.head.contains("retry-after: 1"));
    }
    assert!(ROUTES.iter().any(|route| route.class == Class::Session));
}

#[test]
fn many_clients_share_commits_and_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path());
    thread::scope(|scope| {
        for client in 0..16u8 {
            let gateway = &gateway;
            scope.spawn(move || {
                for round in 0..10u8 {
                    // All clients write to account 1, and each to one of its own.
                    let target = if round % 2 == 0 { 1 } else { 10 + client };
                    let reply: ReplyFrame = gateway.request(b"put", Some(account(target)), None).cbor();
                    assert_eq!(&reply.ciphertext[..], b"put");
                }
            });
        }
    });
    let shared: AuditPage = gateway.audit(1, "limit=200").cbor();
    assert_eq!((shared.account.seq, shared.entries.len()), (80, 80));
    let own: AuditPage = gateway.audit(10, "").cbor();
    assert_eq!(own.account.seq, 5);
    assert!(gateway.script.lock().unwrap().largest_turn > 1);
}

#[test]
fn a_page_that_says_that_there_is_more_has_entries_while_others_write() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path());
    gateway.request(b"put", Some(account(1)), None).cbor::<ReplyFrame>();
    let mut next = 1;
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for _ in 0..100 {
                gateway.request(b"put", Some(account(1)), None).cbor::<ReplyFrame>();
            }
        });
        while !writer.is_finished() {
            let page: AuditPage = gateway.audit(1, &format!("from={next}&limit=256")).cbor();
            let shown = u64::try_from(page.entries.len()).unwrap();
            assert_eq!(next + shown, page.account.seq + 1, "the entries reach the state that is proved");
            next += shown;
        }
    });
    let page: AuditPage = gateway.audit(1, &format!("from={next}&limit=256")).cbor();
    assert_eq!((page.account.seq, page.more), (101, false));
}

#[test]
fn a_dead_enclave_is_replaced_and_nothing_acknowledged_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path());
    gateway.request(b"put", Some(account(1)), None).cbor::<ReplyFrame>();
    gateway.script.lock().unwrap().refuse_launches = 1;
    let dead = gateway.request(b"die", Some(account(1)), None);
    assert_eq!((dead.status, dead.error().as_str()), (503, "unavailable"));
    assert!(dead.head.contains("retry-after"));
    wait_until("the restart", || gateway.get("/healthz").status == 200);
    gateway.request(b"put", Some(account(1)), None).cbor::<ReplyFrame>();
    let page: AuditPage = gateway.audit(1, "").cbor();
    assert_eq!(page.account.seq, 2);
    assert_eq!(gateway.script.lock().unwrap().launches, 2);
}

#[test]
fn a_stopped_gateway_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = Gateway::start(folder.path());
    gateway.request(b"put", Some(account(1)), None).cbor::<ReplyFrame>();
    let idle = TcpStream::connect(gateway.running.address).unwrap();
    let start = Instant::now();
    gateway.running.stop();
    assert!(start.elapsed() < Duration::from_secs(5));
    drop(idle);
    let checkpoint = std::fs::read_to_string(folder.path().join("ledger/0/checkpoint")).unwrap();
    assert_eq!(checkpoint.lines().nth(1), Some("4"));
    let gateway = Gateway::start(folder.path());
    gateway.request(b"put", Some(account(1)), None).cbor::<ReplyFrame>();
    let page: AuditPage = gateway.audit(1, "").cbor();
    assert_eq!((page.account.seq, page.entries.len()), (2, 2));
}

#[test]
fn what_must_not_start_does_not_start() {
    let folder = tempfile::tempdir().unwrap();
    let start =
        |config| serve_with(config, Box::new(StandInLauncher::default()), Box::new(StandInBroker)).err();
    let mut public = config(folder.path());
    public.listen = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = start(public).unwrap();
    assert!(matches!(refused, StartError::NotLoopback(_)), "{refused}");
    let gateway = Gateway::start(folder.path());
    let second = start(config(folder.path())).unwrap();
    assert!(matches!(second, StartError::Store(OpenError::InUse(_))), "{second}");
    gateway.running.stop();
    let mut renamed = config(folder.path());
    renamed.name = "another.test".into();
    assert!(matches!(start(renamed), Some(StartError::Name { .. })));
    let mut more = config(folder.path());
    more.shards = 2;
    assert!(matches!(start(more), Some(StartError::Desk(_))));
}

/// A certificate for `localhost`, its key, and a client that believes it.
fn tls_of(folder: &Path) -> (TlsFiles, Arc<rustls::ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles { certificates: folder.join("cert.pem"), key: folder.join("key.pem") };
    std::fs::write(&files.certificates, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (files, Arc::new(client))
}

#[test]
fn tls_1_3_is_spoken_and_nothing_older() {
    let folder = tempfile::tempdir().unwrap();
    let (files, client) = tls_of(folder.path());
    let mut config = config(folder.path());
    config.tls = Some(files);
    config.listen = SocketAddr::from(([0, 0, 0, 0], 0));
    let gateway = Gateway::with(config);
    assert!(gateway.running.url.starts_with("https://"));
    let address = SocketAddr::from(([127, 0, 0, 1], gateway.running.address.port()));
    let talk = |client| {
        let name = "localhost".try_into().unwrap();
        let mut session = rustls::ClientConnection::new(client, name).unwrap();
        let mut socket = TcpStream::connect(address).unwrap();
        let mut stream = rustls::Stream::new(&mut session, &mut socket);
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    assert_eq!(&talk(Arc::clone(&client)).unwrap(), b"HTTP/1.1 200");
    let mut old = rustls::ClientConfig::clone(&client);
    old = rustls::ClientConfig::builder_with_provider(Arc::clone(old.crypto_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let refused = talk(Arc::new(old)).unwrap_err();
    assert!(refused.to_string().contains("ProtocolVersion"), "{refused}");
    // What is no TLS gets no answer.
    let mut plain = TcpStream::connect(address).unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"));
    gateway.running.stop();
}

#[test]
fn connections_beyond_the_limit_wait_for_their_turn() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.connections_max = 2;
    let gateway = Gateway::with(config);
    let idle = [(); 2].map(|()| TcpStream::connect(gateway.running.address).unwrap());
    let address = gateway.running.address;
    let waiting = thread::spawn(move || send(address, "GET", "/healthz", &[], b"").status);
    // No condition shows that nothing happens; a gateway without the limit would mostly be caught here.
    thread::sleep(Duration::from_millis(50));
    assert!(!waiting.is_finished());
    drop(idle);
    assert_eq!(waiting.join().unwrap(), 200);
}
