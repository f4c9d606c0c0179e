//! The stub path: what an assertion costs when nothing is kept. The same HTTP stack, the same Noise transport, one
//! device signature checked, one ECDSA signature made, a reply. No store, map, policy, ledger, process boundary or
//! queue: whatever the service does beyond this is what the ratio shows.

use crate::Fallible;
use crate::carrier::Peer;
use axum::Router;
use axum::body::{Body, Bytes as Body8};
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode, header::CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use keyferry_crypto::channel::{ChannelKey, Suite, Transport, prologue, respond};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::label::Label;
use keyferry_crypto::random;
use keyferry_crypto::seal::{pad256, unpad};
use keyferry_crypto::sign::{SigningKey, verify_p256};
use keyferry_enclave::HardwareRandom;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Answer, Asserted, Command};
use keyferry_wire::frame::{
    Level, Reply, ReplyFrame, Request, RequestFrame, SessionOpen, SessionOpened, signed_bytes,
};
use keyferry_wire::limits::VERSION;
use keyferry_wire::{SessionId, Wire};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt;

/// Which evidence the stub's sessions name: none.
pub(crate) const NO_EVIDENCE: [u8; 32] = [0; 32];
/// Far above what a page of a sync has.
const BYTES_MAX: usize = 1 << 20;
/// As the gateway's.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);

struct Stub {
    channel: ChannelKey,
    passkey: SigningKey,
    sessions: Mutex<HashMap<SessionId, Arc<Transport>>>,
}

/// Starts the stub on a free port of this machine, in the background of the given runtime.
pub(crate) fn start(runtime: &tokio::runtime::Runtime) -> Fallible<(SocketAddr, Peer)> {
    let mut random = HardwareRandom::default();
    let stub = Arc::new(Stub {
        channel: ChannelKey::generate(&mut random),
        passkey: SigningKey::generate(&mut random),
        sessions: Mutex::default(),
    });
    let peer = Peer { evidence: NO_EVIDENCE, public: stub.channel.public() };
    let router = Router::new()
        .route("/hello", get(async || "hello"))
        .route("/echo", post(async |body: Body8| cbor(body.to_vec())))
        .route("/bytes/{len}", get(async |Path(len): Path<usize>| cbor(vec![7; len.min(BYTES_MAX)])))
        .route("/v1/sessions", post(open))
        .route("/v1/requests", post(request))
        .with_state(stub);
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0)))?;
    let address = listener.local_addr()?;
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, router.clone()));
        }
    });
    Ok((address, peer))
}

/// The gateway's connection, without its limits.
async fn connection(stream: TcpStream, router: Router) {
    let _ = stream.set_nodelay(true);
    let service =
        service_fn(move |request: hyper::Request<Incoming>| router.clone().oneshot(request.map(Body::new)));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIME_MAX);
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn open(State(stub): State<Arc<Stub>>, body: Body8) -> Result<Response, StatusCode> {
    let opened = stub.open(&body).ok_or(StatusCode::BAD_REQUEST)?;
    Ok(cbor(opened.to_bytes()))
}

async fn request(State(stub): State<Arc<Stub>>, body: Body8) -> Result<Response, StatusCode> {
    let reply = stub.request(&body).ok_or(StatusCode::BAD_REQUEST)?;
    Ok(cbor(reply.to_bytes()))
}

fn cbor(bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/cbor"))], bytes).into_response()
}

impl Stub {
    fn open(&self, body: &[u8]) -> Option<SessionOpened> {
        let open = SessionOpen::from_bytes(body).ok()?;
        let mut random = HardwareRandom::default();
        let prologue = prologue(Suite::One, &open.evidence, &[]);
        let (transport, message) =
            respond(&self.channel, &mut random, Suite::One, &prologue, &open.message).ok()?;
        let session = SessionId(random::bytes(&mut random));
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        if sessions.len() >= SESSIONS_MAX {
            sessions.clear();
        }
        sessions.insert(session, Arc::new(transport));
        Some(SessionOpened { version: VERSION, session, message: Bytes(message) })
    }

    fn request(&self, body: &[u8]) -> Option<ReplyFrame> {
        let frame = RequestFrame::from_bytes(body).ok()?;
        let transport = {
            let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(sessions.get(&frame.session)?)
        };
        let padded = transport.open(frame.number, &frame.ciphertext).ok()?;
        let request = Request::from_bytes(unpad(&padded)?).ok()?;
        let answers = self.assert(&transport, &request)?;
        let reply = Reply { version: VERSION, id: request.id, answers, account: None, checkpoint: None };
        let ciphertext = transport.seal(frame.number, &pad256(&reply.to_bytes())).ok()?;
        Some(ReplyFrame {
            version: VERSION,
            session: frame.session,
            number: frame.number,
            ciphertext: Bytes(ciphertext),
            consistency: Vec::new(),
        })
    }

    fn assert(&self, transport: &Transport, request: &Request) -> Option<Vec<Answer>> {
        let signature = request.signatures.iter().find(|signature| signature.level == Level::Hw)?;
        let key = <[u8; 65]>::try_from(&request.key.as_ref()?[..]).ok()?;
        let unsigned = Request { signatures: Vec::new(), ..request.clone() };
        let hash = sha256(&[&unsigned.to_bytes()]);
        let message = signed_bytes(Label::RequestHw.as_bytes(), transport.handshake_hash(), &hash);
        if !verify_p256(&key, &message, &signature.signature) {
            return None;
        }
        let commands = Vec::<Command>::from_bytes(&request.commands).ok()?;
        let [Command::Assert(assert)] = commands.as_slice() else { return None };
        let rp = sha256(&[assert.rp_id.as_bytes()]);
        let data = [&rp[..], &[0x19, 0, 0, 0, 0]].concat();
        let signature = self.passkey.sign(&[&data[..], &assert.client_data_hash].concat());
        Some(vec![Answer::Asserted(Asserted {
            id: assert.id,
            authenticator_data: data.into(),
            signature: signature.into(),
            user_id: Bytes(vec![0; 32]),
            prf: None,
            large_blob: None,
        })])
    }
}

/// As many as the enclave keeps.
const SESSIONS_MAX: usize = keyferry_wire::limits::SESSIONS_MAX;
