//! The least HTTP/1.1 client that is one: a connection that is kept, a request, an answer with its length. The load
//! generator must cost less than what it measures.

use crate::Fallible;
use crate::carrier::{Carrier, SessionGone};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use keyferry_wire::Wire;
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::{ReplyFrame, RequestFrame, SessionOpen, SessionOpened};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// One connection to a gateway.
pub(crate) struct Http {
    address: SocketAddr,
    stream: TcpStream,
    used: Instant,
    out: Vec<u8>,
    input: Vec<u8>,
}

/// Longer than the gateway's own patience.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Less than the 15 s after which a gateway closes an idle connection.
const IDLE_SAFE: Duration = Duration::from_secs(10);
/// Far above what a reply has.
const ANSWER_MAX: usize = 1 << 20;

impl Http {
    pub(crate) fn connect(address: SocketAddr) -> Fallible<Http> {
        Ok(Http {
            address,
            stream: stream(address)?,
            used: Instant::now(),
            out: Vec::new(),
            input: Vec::new(),
        })
    }

    /// The body of a 200.
    pub(crate) fn get(&mut self, path: &str) -> Fallible<Vec<u8>> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"), &[])
    }

    /// The body of a 200 to somebody who may read an account.
    pub(crate) fn get_as(&mut self, path: &str, access: &[u8; 32]) -> Fallible<Vec<u8>> {
        let bearer = BASE64.encode(access);
        self.ask(
            &format!("GET {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {bearer}\r\n\r\n"),
            &[],
        )
    }

    /// Ledger entries in all shards of a gateway.
    pub(crate) fn ledger_size(&mut self) -> Fallible<u64> {
        let status: Value = serde_json::from_slice(&self.get("/v1/status")?)?;
        let shards = status.get("shards").and_then(Value::as_array).ok_or("a status without shards")?;
        Ok(shards.iter().filter_map(|shard| shard.get("size")?.as_u64()).sum())
    }

    /// What was sent.
    pub(crate) fn echo(&mut self, body: &[u8]) -> Fallible<Vec<u8>> {
        self.post("/echo", body)
    }

    fn post(&mut self, path: &str, body: &[u8]) -> Fallible<Vec<u8>> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/cbor\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.ask(&head, body)
    }

    /// A gateway closes connections that were idle for long: such a one is made anew before it is used.
    fn ask(&mut self, head: &str, body: &[u8]) -> Fallible<Vec<u8>> {
        self.out.clear();
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(body);
        if self.used.elapsed() > IDLE_SAFE {
            *self = Http { out: std::mem::take(&mut self.out), ..Http::connect(self.address)? };
        }
        self.stream.write_all(&self.out)?;
        let answer = self.answer(head);
        self.used = Instant::now();
        answer
    }

    fn answer(&mut self, asked: &str) -> Fallible<Vec<u8>> {
        self.input.clear();
        let mut piece = [0; 8192];
        loop {
            if let Some((status, start, len)) = parsed(&self.input)? {
                let Some(body) = self.input.get(start..start + len) else {
                    self.more(&mut piece)?;
                    continue;
                };
                return judged(asked, status, body);
            }
            self.more(&mut piece)?;
        }
    }

    fn more(&mut self, piece: &mut [u8]) -> Fallible<()> {
        let count = self.stream.read(piece)?;
        if count == 0 || self.input.len() > ANSWER_MAX {
            return Err("the gateway broke off its answer".into());
        }
        self.input.extend(piece.get(..count).unwrap_or_default());
        Ok(())
    }
}

fn stream(address: SocketAddr) -> Fallible<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    Ok(stream)
}

/// The body of a 200; anything else is an error here.
fn judged(asked: &str, status: u16, body: &[u8]) -> Fallible<Vec<u8>> {
    if status == 409 && body.starts_with(br#"{"error":"session""#) {
        return Err(Box::new(SessionGone));
    }
    if status != 200 {
        let asked = asked.lines().next().unwrap_or_default();
        return Err(format!("{asked}: {status} {}", String::from_utf8_lossy(body)).into());
    }
    Ok(body.to_vec())
}

/// Status, start and length of the body, once the head is complete.
fn parsed(input: &[u8]) -> Fallible<Option<(u16, usize, usize)>> {
    let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(input.get(..end).unwrap_or_default())?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or("no HTTP status")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>())
    });
    Ok(Some((status, end + 4, length.transpose()?.unwrap_or(0))))
}

impl Carrier for Http {
    fn evidence(&mut self) -> Fallible<Evidence> {
        Ok(Evidence::from_bytes(&self.get("/v1/evidence")?)?)
    }

    fn open(&mut self, open: &SessionOpen) -> Fallible<SessionOpened> {
        Ok(SessionOpened::from_bytes(&self.post("/v1/sessions", &open.to_bytes())?)?)
    }

    fn request(&mut self, frame: RequestFrame) -> Fallible<ReplyFrame> {
        Ok(ReplyFrame::from_bytes(&self.post("/v1/requests", &frame.to_bytes())?)?)
    }
}
