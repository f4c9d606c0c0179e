//! Live connections over loopback.

use super::*;
use crate::live::LiveLimits;
use keyferry_wire::publish::Hint;
use tungstenite::client::{ClientRequestBuilder, client};
use tungstenite::{Error, HandshakeError, Message, WebSocket};

type Socket = WebSocket<TcpStream>;

/// Listens to account 1, having seen this; the status if it may not.
fn listen(gateway: &Gateway, token: Option<&[u8]>, seq: u64) -> Result<Socket, u16> {
    let address = gateway.running.address;
    let uri = format!("ws://{address}/v1/accounts/{}/live?seq={seq}", text(account(1)));
    let mut request = ClientRequestBuilder::new(uri.parse().unwrap());
    if let Some(token) = token {
        request = request.with_header("authorization", format!("Bearer {}", URL_SAFE_NO_PAD.encode(token)));
    }
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    match client(request, stream) {
        Ok((socket, _)) => Ok(socket),
        Err(HandshakeError::Failure(Error::Http(response))) => Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    }
}

/// The next hint, or the code with which the gateway ends.
fn next(socket: &mut Socket) -> Result<u64, u16> {
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => return Ok(Hint::from_bytes(&bytes).unwrap().seq),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(Message::Close(frame)) => return Err(frame.map_or(0, |frame| frame.code.into())),
            Ok(other) => panic!("{other:?}"),
            Err(error) => panic!("{error}"),
        }
    }
}

fn put(gateway: &Gateway, n: u8) {
    gateway.request(b"put", Some(account(n)), None).cbor::<ReplyFrame>();
}

/// A gateway with these limits and an account that has one entry.
fn gateway(folder: &Path, limits: LiveLimits) -> Gateway {
    let mut config = config(folder);
    config.live = limits;
    let gateway = Gateway::with(config);
    put(&gateway, 1);
    gateway
}

fn metric(gateway: &Gateway, name: &str) -> u64 {
    let text = String::from_utf8(gateway.get("/metrics").body).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("no {name} in {text}"))
}

#[test]
fn a_listener_is_told_of_its_accounts_changes_and_at_once_of_what_it_missed() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), LiveLimits::default());
    let mut behind = listen(&gateway, Some(TOKEN), 0).unwrap();
    assert_eq!(next(&mut behind), Ok(1));
    let mut level = listen(&gateway, Some(TOKEN), 1).unwrap();
    put(&gateway, 2);
    put(&gateway, 1);
    assert_eq!((next(&mut behind), next(&mut level)), (Ok(2), Ok(2)), "account 2 is not heard");
    // What is readable when the hint comes is at least what it names.
    let page: AuditPage = gateway.audit(1, "").cbor();
    assert_eq!(page.account.seq, 2);
    assert_eq!(metric(&gateway, "keyferry_hints_total"), 3);
    assert_eq!(metric(&gateway, "keyferry_live_connections"), 2);
}

#[test]
fn many_changes_reach_a_slow_listener_as_the_newest() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), LiveLimits::default());
    let mut socket = listen(&gateway, Some(TOKEN), 1).unwrap();
    (0..40).for_each(|_| put(&gateway, 1));
    let mut last = 1;
    while last < 41 {
        let hint = next(&mut socket).unwrap();
        assert!(hint > last, "hints rise: {hint} after {last}");
        last = hint;
    }
}

#[test]
fn without_the_token_of_a_device_nobody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), LiveLimits::default());
    assert_eq!(listen(&gateway, None, 0).err(), Some(401));
    assert_eq!(listen(&gateway, Some(b"another"), 0).err(), Some(401));
    let path = format!("/v1/accounts/{}/live", text(account(1)));
    assert_eq!(gateway.get(&path).status, 401, "the token comes first");
    let plain = gateway.get_with_token(&path, TOKEN);
    assert_eq!((plain.status, plain.error().as_str()), (426, "upgrade"));
    assert!(plain.head.contains("upgrade: websocket"), "{}", plain.head);
    assert_eq!(gateway.get_with_token(&format!("{path}?seq=x"), TOKEN).status, 400);
    let unknown = format!("/v1/accounts/{}/live", text(account(77)));
    assert_eq!(gateway.get_with_token(&unknown, TOKEN).status, 401);
    assert_eq!(metric(&gateway, "keyferry_live_connections"), 0);
}

#[test]
fn connections_are_bounded_and_their_places_are_free_again() {
    let folder = tempfile::tempdir().unwrap();
    let limits = LiveLimits { total: 3, per_account: 3, per_device: 2, ..LiveLimits::default() };
    let gateway = gateway(folder.path(), limits);
    let first = listen(&gateway, Some(TOKEN), 1).unwrap();
    let _second = listen(&gateway, Some(TOKEN), 1).unwrap();
    assert_eq!(listen(&gateway, Some(TOKEN), 1).err(), Some(429));
    drop(first);
    wait_until("a free place", || listen(&gateway, Some(TOKEN), 1).is_ok());
    let full = LiveLimits { total: 0, ..LiveLimits::default() };
    let folder = tempfile::tempdir().unwrap();
    let gateway = self::gateway(folder.path(), full);
    assert_eq!(listen(&gateway, Some(TOKEN), 1).err(), Some(503));
}

#[test]
fn a_device_that_loses_its_access_loses_the_connection() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), LiveLimits::default());
    let mut socket = listen(&gateway, Some(TOKEN), 1).unwrap();
    gateway.request(b"revoke", Some(account(1)), None).cbor::<ReplyFrame>();
    assert_eq!(next(&mut socket), Err(1008), "it is not told of the change any more");
    assert_eq!(listen(&gateway, Some(TOKEN), 1).err(), Some(401));
}

#[test]
fn whoever_talks_is_shown_out() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), LiveLimits::default());
    let mut socket = listen(&gateway, Some(TOKEN), 1).unwrap();
    socket.send(Message::Binary(vec![1].into())).unwrap();
    assert_eq!(next(&mut socket), Err(1008));
    // Too long to be read at all.
    let mut socket = listen(&gateway, Some(TOKEN), 1).unwrap();
    socket.send(Message::Binary(vec![1; 4096].into())).unwrap();
    while socket.read().is_ok() {}
    wait_until("the ends", || metric(&gateway, "keyferry_live_connections") == 0);
}

#[test]
fn whoever_is_silent_is_taken_for_gone() {
    let folder = tempfile::tempdir().unwrap();
    let (ping_every, silence_max) = (Duration::from_millis(5), Duration::from_millis(20));
    let limits = LiveLimits { ping_every, silence_max, ..LiveLimits::default() };
    let gateway = gateway(folder.path(), limits);
    // It never reads, so it answers no ping.
    let _silent = listen(&gateway, Some(TOKEN), 1).unwrap();
    wait_until("its end", || metric(&gateway, "keyferry_live_dropped_total") == 1);
    assert_eq!(metric(&gateway, "keyferry_live_connections"), 0);
}

#[test]
fn a_gateway_that_stops_says_so_to_its_listeners() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), LiveLimits::default());
    let mut socket = listen(&gateway, Some(TOKEN), 1).unwrap();
    let Gateway { running, .. } = gateway;
    let stopping = thread::spawn(move || running.stop());
    assert_eq!(next(&mut socket), Err(1001));
    stopping.join().unwrap();
}

#[test]
fn listeners_outlive_an_enclave() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = gateway(folder.path(), LiveLimits::default());
    let mut socket = listen(&gateway, Some(TOKEN), 1).unwrap();
    assert_eq!(gateway.request(b"die", Some(account(1)), None).status, 503);
    wait_until("the restart", || gateway.get("/healthz").status == 200);
    put(&gateway, 1);
    assert_eq!(next(&mut socket), Ok(2));
}
