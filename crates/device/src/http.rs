//! HTTP to the gateway. It carries ciphertext and proofs; nothing here is believed because of who sent it.

use crate::live::Socket;
use keyferry_client::base64url;
use keyferry_client::flow::FlowError;
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::{ReplyFrame, RequestFrame, SessionOpen, SessionOpened};
use keyferry_wire::publish::{AuditPage, Hint, SyncPage};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{AccountId, Wire};
use rustls::pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use ureq::http::{Response, StatusCode};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body};

/// The gateway's paths.
mod path {
    pub(super) const STATUS: &str = "/v1/status";
    pub(super) const EVIDENCE: &str = "/v1/evidence";
    pub(super) const SESSION: &str = "/v1/sessions";
    pub(super) const REQUEST: &str = "/v1/requests";
    pub(super) const ACCOUNTS: &str = "/v1/accounts";
}

const CBOR: &str = "application/cbor";
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A gated reply waits for a batch and its cosignatures.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest answer: a page of rows or of entries.
const BODY_MAX: u64 = 16 * 1024 * 1024;
const PROBLEM_MAX: u64 = 16 * 1024;
/// A line for each of 256 shards.
const STATUS_MAX: u64 = 256 * 1024;

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// Nobody answered, or the connection broke. Whether the request arrived is not known.
    #[error("{0}")]
    Unreachable(String),
    /// The session is over, or its instance is: a new handshake is needed.
    #[error("the gateway has dropped the session: {0}")]
    SessionGone(String),
    /// Too much to do; later may work.
    #[error("the gateway is busy: {0}")]
    Busy(String),
    /// Too many requests from here; later may work.
    #[error("{0}")]
    Limited(String),
    /// The gateway's guard of an account's rows says no: the one refusal that is its own to make.
    #[error("the gateway does not let this device in: {0}")]
    Shut(String),
    /// It will not work by trying again.
    #[error("{0}")]
    Fault(String),
}

impl From<GatewayError> for FlowError {
    fn from(error: GatewayError) -> FlowError {
        match error {
            GatewayError::Limited(said) => Refusal::new(Code::RateLimited, said).into(),
            GatewayError::Shut(_) => Refusal::new(Code::Auth, error.to_string()).into(),
            other => FlowError::fault(other.to_string()),
        }
    }
}

/// A gateway's address.
#[derive(Debug)]
pub struct Gateway {
    agent: Agent,
    base: String,
    ca: Option<PathBuf>,
}

/// Whom a page is read for.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    pub account: AccountId,
    /// Admits to the account's rows, which are ciphertext.
    pub access: &'a [u8; 32],
    /// Size of the ledger that the reader has seen.
    pub seen: u64,
}

/// What a gateway says of itself, to be shown and never believed.
#[derive(Debug)]
pub struct Status {
    pub document: serde_json::Value,
    /// The time by its clock, which it says in whole seconds.
    pub now_ms: Option<u64>,
}

impl Gateway {
    /// `http://` only to this very machine: elsewhere it would show who talks to whom.
    pub fn new(server: &str, ca: Option<&Path>) -> Result<Gateway, FlowError> {
        let base = server.trim_end_matches('/').to_owned();
        check_address(&base)?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls =
            TlsConfig::builder().root_certs(roots(ca)?).unversioned_rustls_crypto_provider(provider).build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_global(Some(CALL_TIMEOUT))
            .user_agent(concat!("keyferry/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Gateway { agent, base, ca: ca.map(Path::to_path_buf) })
    }

    pub fn status(&self) -> Result<Status, GatewayError> {
        let request = self.agent.get(format!("{}{}", self.base, path::STATUS));
        let response = request.call().map_err(|error| self.failed(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(problem(status, response));
        }
        let now_ms = response.headers().get("date").and_then(|date| http_time_ms(date.to_str().ok()?));
        let body = response.into_body().into_with_config().limit(STATUS_MAX).read_to_vec();
        let document = body.ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let document = document
            .ok_or_else(|| GatewayError::Fault(format!("{} does not answer as a gateway does", self.base)))?;
        Ok(Status { document, now_ms })
    }

    pub fn evidence(&self) -> Result<Evidence, GatewayError> {
        self.get(path::EVIDENCE, None)
    }

    pub fn open_session(&self, open: &SessionOpen) -> Result<SessionOpened, GatewayError> {
        self.post(path::SESSION, open)
    }

    pub fn request(&self, frame: &RequestFrame) -> Result<ReplyFrame, GatewayError> {
        self.post(path::REQUEST, frame)
    }

    pub fn sync(&self, reader: Reader<'_>, cursor: u64) -> Result<SyncPage, GatewayError> {
        self.get(&reader.path("sync", "cursor", cursor), Some(reader.access))
    }

    pub fn audit(&self, reader: Reader<'_>, from: u64) -> Result<AuditPage, GatewayError> {
        self.get(&reader.path("audit", "from", from), Some(reader.access))
    }

    /// Connects to be told of changes. The gateway says at once where the account stands, unless it is at `position`.
    pub fn live(&self, reader: Reader<'_>, position: Hint) -> Result<Socket, GatewayError> {
        let account = base64url::encode(&reader.account.0);
        let Hint { seq, vault_seq } = position;
        let path = format!("{}/{account}/live?seq={seq}&vault_seq={vault_seq}", path::ACCOUNTS);
        Socket::connect(&self.base, self.ca.as_deref(), &path, base64url::encode(reader.access))
    }

    fn get<T: Wire>(&self, path: &str, access: Option<&[u8; 32]>) -> Result<T, GatewayError> {
        let mut request = self.agent.get(format!("{}{path}", self.base)).header("accept", CBOR);
        if let Some(access) = access {
            request = request.header("authorization", format!("Bearer {}", base64url::encode(access)));
        }
        self.answer(request.call())
    }

    fn post<T: Wire>(&self, path: &str, message: &impl Wire) -> Result<T, GatewayError> {
        let request = self
            .agent
            .post(format!("{}{path}", self.base))
            .header("accept", CBOR)
            .header("content-type", CBOR);
        self.answer(request.send(message.to_bytes()))
    }

    fn answer<T: Wire>(&self, result: Result<Response<Body>, ureq::Error>) -> Result<T, GatewayError> {
        let response = result.map_err(|error| self.failed(&error))?;
        let status = response.status();
        if !status.is_success() {
            return Err(problem(status, response));
        }
        let bytes = response
            .into_body()
            .into_with_config()
            .limit(BODY_MAX)
            .read_to_vec()
            .map_err(|error| self.failed(&error))?;
        T::from_bytes(&bytes).map_err(|error| {
            GatewayError::Fault(format!("{} does not answer as a gateway does: {error}", self.base))
        })
    }

    /// A sentence that says what to do.
    fn failed(&self, error: &ureq::Error) -> GatewayError {
        let base = &self.base;
        match error {
            ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
                GatewayError::Unreachable(format!(
                    "nothing listens at {base}: start the server (`keyferry up`) or check the address"
                ))
            }
            ureq::Error::HostNotFound => GatewayError::Fault(format!(
                "the host of {base} is not known: check the address and the network"
            )),
            ureq::Error::Timeout(_) => {
                GatewayError::Unreachable(format!("{base} did not answer in time: try again later"))
            }
            ureq::Error::Rustls(error) => GatewayError::Fault(format!(
                "no trusted connection to {base} ({error}): if it has a certificate of its own, name it with --ca"
            )),
            ureq::Error::BodyExceedsLimit(_) => {
                GatewayError::Fault(format!("{base} answers with more than a gateway has to say"))
            }
            ureq::Error::BadUri(_) => GatewayError::Fault(format!("{base} is not the address of a server")),
            error => GatewayError::Unreachable(format!("{base} cannot be reached: {error}")),
        }
    }
}

impl Reader<'_> {
    fn path(&self, what: &str, start_name: &str, start: u64) -> String {
        let account = base64url::encode(&self.account.0);
        format!("{}/{account}/{what}?{start_name}={start}&seen={}", path::ACCOUNTS, self.seen)
    }
}

fn http_time_ms(text: &str) -> Option<u64> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

/// What a gateway says in place of an answer.
#[derive(serde::Deserialize, Default)]
#[serde(default)]
struct Problem {
    message: String,
}

fn problem(status: StatusCode, response: Response<Body>) -> GatewayError {
    let text = response.into_body().into_with_config().limit(PROBLEM_MAX).read_to_vec().unwrap_or_default();
    let Problem { message } = serde_json::from_slice(&text).unwrap_or_default();
    let said = if message.is_empty() { status.to_string() } else { printable(&message) };
    // Words like `pin_locked` or `revoked` count from the enclave alone, inside the channel: here anybody could have
    // written them, and a client that believed them would ask for another PIN or be enrolled anew.
    match status.as_u16() {
        409 => GatewayError::SessionGone(said),
        429 => GatewayError::Limited(said),
        502..=504 => GatewayError::Busy(said),
        401 => GatewayError::Shut(said),
        _ => GatewayError::Fault(format!("the gateway answered {status}: {said}")),
    }
}

/// A stranger's text for a terminal: one line, no control characters.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}

pub(crate) fn check_address(base: &str) -> Result<(), FlowError> {
    let usage =
        || FlowError::fault(format!("{} is not the address of a server: use https://HOST", printable(base)));
    let uri: ureq::http::Uri = base.parse().map_err(|_| usage())?;
    let host = uri.host().ok_or_else(usage)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let local =
        bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if local => Ok(()),
        Some("http") => Err(FlowError::fault("http:// is for this machine only: use https://")),
        _ => Err(usage()),
    }
}

/// The public roots, or the certificates of a PEM file in their place.
fn roots(ca: Option<&Path>) -> Result<RootCerts, FlowError> {
    let Some(path) = ca else { return Ok(RootCerts::WebPki) };
    let certificates: Vec<_> =
        pem_certificates(path)?.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The certificates of a PEM file, of which there must be one.
pub(crate) fn pem_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FlowError> {
    let cannot =
        |why: String| FlowError::fault(format!("the CA file {} cannot be used: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| cannot(error.to_string()))?;
    let mut certificates = Vec::new();
    for item in parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| cannot(error.to_string()))? {
            certificates.push(CertificateDer::from(certificate.der().to_vec()));
        }
    }
    if certificates.is_empty() {
        return Err(cannot("it has no certificate".to_owned()));
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_goes_to_this_machine_alone() {
        for good in ["https://ferry.example", "http://127.0.0.1:8443", "http://localhost", "http://[::1]:80"]
        {
            assert!(Gateway::new(good, None).is_ok(), "{good}");
        }
        for bad in
            ["http://ferry.example", "http://10.0.0.1", "http://localhost.example", "ftp://localhost", "x"]
        {
            assert!(Gateway::new(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_refused_connection_says_what_to_do() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let error = Gateway::new(&format!("http://{address}"), None).unwrap().evidence().unwrap_err();
        assert!(matches!(&error, GatewayError::Unreachable(text) if text.contains("keyferry up")), "{error}");
    }

    /// A gateway that gives one answer.
    fn answering(status: &'static str, body: &'static str) -> GatewayError {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines();
            while !lines.next().unwrap().unwrap().is_empty() {}
            let length = body.len();
            write!(
                &stream,
                "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
            )
            .unwrap();
        });
        let error = Gateway::new(&format!("http://{address}"), None).unwrap().evidence().unwrap_err();
        server.join().unwrap();
        error
    }

    #[test]
    fn what_a_gateway_says_is_understood_by_its_status_and_code() {
        let gone = answering("409 Conflict", r#"{"error":"evidence","message":"fetch it again"}"#);
        assert!(matches!(gone, GatewayError::SessionGone(text) if text == "fetch it again"));
        let busy = answering("503 Service Unavailable", r#"{"error":"unavailable","message":"soon"}"#);
        assert!(matches!(busy, GatewayError::Busy(text) if text == "soon"));
        let limited = answering("429 Too Many Requests", r#"{"error":"rate_limited","message":"wait"}"#);
        assert!(matches!(limited, GatewayError::Limited(_)));
        let auth = answering("401 Unauthorized", r#"{"error":"auth","message":"no"}"#);
        assert!(matches!(auth, GatewayError::Shut(text) if text == "no"));
        let forged = answering("403 Forbidden", r#"{"error":"pin_locked","message":"no"}"#);
        assert!(matches!(forged, GatewayError::Fault(text) if text.contains("the gateway answered 403")));
        let other = answering("400 Bad Request", r#"{"error":"frame","message":"no frame"}"#);
        assert!(matches!(other, GatewayError::Fault(text) if text.contains("no frame")));
        let html = answering("404 Not Found", "<html>");
        assert!(matches!(html, GatewayError::Fault(text) if text.contains("404")));
        let foreign = answering("200 OK", "<html>");
        assert!(
            matches!(foreign, GatewayError::Fault(text) if text.contains("does not answer as a gateway"))
        );
    }

    #[test]
    fn the_time_of_a_header_is_read_or_left_out() {
        assert_eq!(http_time_ms("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        for nonsense in ["", "yesterday", "Sun, 06 Nov 1994 08:49:37", "Wed, 31 Dec 1969 23:59:59 GMT"] {
            assert_eq!(http_time_ms(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn a_redirect_is_not_followed() {
        let moved = answering("307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/", "");
        assert!(matches!(moved, GatewayError::Fault(text) if text.contains("307")));
    }

    #[test]
    fn a_ca_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(Gateway::new("https://ferry.example", Some(file.path())).is_err());
    }

    #[test]
    fn a_strangers_text_is_shown_without_control_characters() {
        assert_eq!(printable("a\u{1b}[31mb\nc"), "a[31mbc");
    }
}
