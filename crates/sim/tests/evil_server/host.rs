//! The host between client and enclave: an HTTP server that passes everything on to the real gateway, hears what it
//! can, and lies on the way back.

use crate::enclave::Memory;
use crate::lie::{Http, Lie, Told};
use keyferry_client::evidence::{Trust, appraise};
use keyferry_crypto::channel::Transport;
use keyferry_crypto::hash::sha256;
use keyferry_crypto::seal::{pad256, unpad};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::Command;
use keyferry_wire::evidence::{Evidence, SIM};
use keyferry_wire::frame::{Reply, ReplyFrame, Request, RequestFrame, SessionOpen, SessionOpened};
use keyferry_wire::publish::{AuditPage, SyncPage};
use keyferry_wire::{RequestId, SessionId, Wire};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A host at an address of its own.
pub(crate) struct Host {
    pub(crate) url: String,
    state: Arc<Mutex<State>>,
}

struct State {
    upstream: SocketAddr,
    memory: Memory,
    lie: Option<Lie>,
    /// How often the lie was told.
    told: usize,
    sessions: HashMap<SessionId, Arc<Transport>>,
    heard: Vec<Heard>,
}

/// A request as a false enclave reads it.
pub(crate) struct Heard {
    pub(crate) id: RequestId,
    pub(crate) commands: Vec<Command>,
    pub(crate) bytes: Vec<u8>,
    /// Lies told before it came.
    pub(crate) told: usize,
}

/// A request as it came.
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) path: String,
    authorization: Option<String>,
    body: Vec<u8>,
}

/// An answer.
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Host {
    /// Opens for business in front of a gateway.
    pub(crate) fn open(upstream: SocketAddr, memory: Memory) -> Host {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (lie, told, sessions, heard) = (None, 0, HashMap::new(), Vec::new());
        let state = Arc::new(Mutex::new(State { upstream, memory, lie, told, sessions, heard }));
        let shared = Arc::clone(&state);
        // It ends with the test's process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that has heard enough of an answer may hang up.
                let _ = stream.and_then(|stream| serve(&stream, &shared));
            }
        });
        Host { url, state }
    }

    /// From now on it lies like this, or not at all.
    pub(crate) fn lie(&self, lie: Option<Lie>) {
        let mut state = self.state.lock().unwrap();
        (state.lie, state.told) = (lie, 0);
        state.heard.clear();
    }

    /// Sends everybody to another gateway.
    pub(crate) fn route(&self, upstream: SocketAddr) {
        self.state.lock().unwrap().upstream = upstream;
    }

    /// How often the lie was told, and what was heard since it began.
    pub(crate) fn overheard(&self) -> (usize, Vec<Heard>) {
        let mut state = self.state.lock().unwrap();
        (state.told, std::mem::take(&mut state.heard))
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let Some(asked) = Asked::read(stream)? else { return Ok(()) };
    let mut state = state.lock().unwrap();
    if let Some(Lie::Http(lie)) = &mut state.lie
        && let Some(http) = lie(&asked)
    {
        state.told += 1;
        drop(state);
        return answer_falsely(stream, http);
    }
    let answered = state.pass_on(&asked)?;
    drop(state);
    answered.write(stream)
}

fn answer_falsely(mut stream: &TcpStream, http: Http) -> std::io::Result<()> {
    match http {
        Http::Answer(answered) => answered.write(stream),
        Http::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-type: application/cbor\r\nconnection: close\r\n\r\n")?;
            loop {
                stream.write_all(&[0xa1; 65_536])?;
            }
        }
    }
}

impl State {
    fn pass_on(&mut self, asked: &Asked) -> std::io::Result<Answered> {
        let request = asked.path.starts_with("/v1/requests").then(|| self.hear(&asked.body)).flatten();
        let mut answered = asked.ask(self.upstream)?;
        if answered.status == 200 {
            answered.body = self.retell(asked, request, answered.body);
        }
        Ok(answered)
    }

    fn hear(&mut self, body: &[u8]) -> Option<(Arc<Transport>, Request)> {
        let frame = RequestFrame::from_bytes(body).ok()?;
        let transport = Arc::clone(self.sessions.get(&frame.session)?);
        let padded = transport.open(frame.number, &frame.ciphertext).ok()?;
        let bytes = unpad(&padded)?.to_vec();
        let request = Request::from_bytes(&bytes).ok()?;
        let commands = Vec::<Command>::from_bytes(&request.commands).unwrap();
        self.heard.push(Heard { id: request.id, commands, bytes, told: self.told });
        Some((transport, request))
    }

    /// The answer as the client gets it.
    fn retell(
        &mut self,
        asked: &Asked,
        request: Option<(Arc<Transport>, Request)>,
        body: Vec<u8>,
    ) -> Vec<u8> {
        let path = asked.path.split('?').next().unwrap_or_default();
        match (path, request) {
            ("/v1/evidence", _) => {
                self.note_evidence(&body);
                self.tell(&body, |evidence: &mut Evidence| Told::Evidence(evidence))
            }
            ("/v1/sessions", _) => {
                self.note_session(&asked.body, &body);
                self.tell(&body, |opened: &mut SessionOpened| Told::Opened(opened))
            }
            ("/v1/requests", Some((transport, request))) => self.tell_reply(&transport, &request, &body),
            (path, _) if path.ends_with("/sync") => self.tell(&body, |page: &mut SyncPage| Told::Sync(page)),
            (path, _) if path.ends_with("/audit") => {
                self.tell(&body, |page: &mut AuditPage| Told::Audit(page))
            }
            _ => body,
        }
    }

    fn tell<T: Wire>(&mut self, body: &[u8], told: impl FnOnce(&mut T) -> Told<'_>) -> Vec<u8> {
        let mut message = T::from_bytes(body).unwrap();
        if let Some(Lie::Told(lie)) = &mut self.lie {
            lie(&mut told(&mut message));
        }
        let retold = message.to_bytes();
        self.told += usize::from(retold != body);
        retold
    }

    /// A false enclave opens the honest reply, changes what it likes, and seals it again.
    fn tell_reply(&mut self, transport: &Transport, request: &Request, body: &[u8]) -> Vec<u8> {
        let mut frame = ReplyFrame::from_bytes(body).unwrap();
        let plain = open_own(transport, &frame);
        let mut reply = Reply::from_bytes(unpad(&plain).unwrap()).unwrap();
        let honest = reply.to_bytes();
        if let Some(Lie::Told(lie)) = &mut self.lie {
            lie(&mut Told::Reply(request, &mut reply, &mut frame));
        }
        if reply.to_bytes() != honest {
            let sealed = transport.seal(frame.number, &pad256(&reply.to_bytes())).unwrap();
            frame.ciphertext = Bytes(sealed);
        }
        let retold = frame.to_bytes();
        self.told += usize::from(retold != body);
        retold
    }

    fn note_evidence(&self, body: &[u8]) {
        let evidence = Evidence::from_bytes(body).unwrap();
        let trust = Trust { stand_ins: vec![SIM.to_owned()], ..Trust::default() };
        if let Ok(verified) = appraise(&evidence, &trust, 0) {
            self.memory.note_evidence(sha256(&[body]), verified.channel_key());
        }
    }

    fn note_session(&mut self, open: &[u8], opened: &[u8]) {
        let (open, opened) =
            (SessionOpen::from_bytes(open).unwrap(), SessionOpened::from_bytes(opened).unwrap());
        if let Some(transport) = self.memory.transport(&open, &opened) {
            self.sessions.insert(opened.session, Arc::new(transport));
        }
    }
}

/// What the enclave itself sealed: its end of the channel opens the other direction only. But AES-GCM is a stream, and
/// sealing zeros under the same number gives the key stream.
fn open_own(transport: &Transport, frame: &ReplyFrame) -> Vec<u8> {
    let len = frame.ciphertext.len() - 16;
    let stream = transport.seal(frame.number, &vec![0; len]).unwrap();
    frame.ciphertext.iter().zip(stream).take(len).map(|(sealed, key)| sealed ^ key).collect()
}

impl Asked {
    fn read(stream: &TcpStream) -> std::io::Result<Option<Asked>> {
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let headers = headers(&mut reader)?;
        let mut body = vec![0; length(&headers).unwrap_or(0)];
        reader.read_exact(&mut body)?;
        Ok(Some(Asked { method, path, authorization: headers.get("authorization").cloned(), body }))
    }

    fn ask(&self, upstream: SocketAddr) -> std::io::Result<Answered> {
        let mut stream = TcpStream::connect(upstream)?;
        let authorization = self.authorization.iter().map(|text| format!("authorization: {text}\r\n"));
        let (method, path, len) = (&self.method, &self.path, self.body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {upstream}\r\ncontent-type: application/cbor\r\n\
             content-length: {len}\r\nconnection: close\r\n{}\r\n",
            authorization.collect::<String>()
        )?;
        stream.write_all(&self.body)?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let headers = headers(&mut reader)?;
        let mut body = Vec::new();
        match length(&headers) {
            Some(len) => reader.take(len as u64).read_to_end(&mut body)?,
            None => reader.read_to_end(&mut body)?,
        };
        Ok(Answered { status, body })
    }
}

impl Answered {
    fn write(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let kind = if self.status == 200 { "application/cbor" } else { "application/json" };
        let (status, len) = (self.status, self.body.len());
        write!(
            stream,
            "HTTP/1.1 {status} x\r\ncontent-type: {kind}\r\ncontent-length: {len}\r\nconnection: close\r\n\r\n"
        )?;
        stream.write_all(&self.body)
    }
}

fn headers(reader: &mut impl BufRead) -> std::io::Result<HashMap<String, String>> {
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { return Ok(headers) };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
}

fn length(headers: &HashMap<String, String>) -> Option<usize> {
    headers.get("content-length").and_then(|value| value.parse().ok())
}
