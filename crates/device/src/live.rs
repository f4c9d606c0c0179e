//! The live connection: the gateway says over a WebSocket that the account has changed. A hint has no content and is
//! believed in nothing; whoever hears one reads and verifies (`Agent::sync`).

use crate::http::{GatewayError, check_address, pem_certificates, printable};
use keyferry_client::flow::FlowError;
use keyferry_wire::Wire;
use keyferry_wire::publish::Hint;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tungstenite::client::{ClientRequestBuilder, client_with_config};
use tungstenite::error::ProtocolError;
use tungstenite::http::Uri;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Error, HandshakeError, Message, WebSocket};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// A gateway asks for a sign of life every 30 seconds; one that is silent for longer than this is gone.
const SILENCE_MAX: Duration = Duration::from_secs(90);
/// Bytes of a hint, with room; a gateway that says more is none.
const MESSAGE_MAX: usize = 256;

/// A connection on which hints come.
pub struct Socket {
    socket: WebSocket<Stream>,
    heard: Instant,
}

/// TCP to this machine, or TLS.
enum Stream {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Socket {
    /// Connects to `path` of a server. `ca`: certificates that are trusted in place of the public roots.
    pub(crate) fn connect(
        server: &str,
        ca: Option<&Path>,
        path: &str,
        bearer: String,
    ) -> Result<Socket, GatewayError> {
        let address = Address::parse(server)?;
        let stream = address.stream(ca)?;
        let uri = format!("{}://{}{}{path}", address.scheme(), address.authority, address.prefix);
        let uri: Uri = uri.parse().map_err(|_| address.fault("it is not the address of a server"))?;
        let request = ClientRequestBuilder::new(uri)
            .with_header("authorization", format!("Bearer {bearer}"))
            .with_header("user-agent", concat!("keyferry/", env!("CARGO_PKG_VERSION")));
        let config = WebSocketConfig::default()
            .read_buffer_size(4096)
            .write_buffer_size(0)
            .max_write_buffer_size(4096)
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        match client_with_config(request, stream, Some(config)) {
            Ok((socket, _)) => Ok(Socket { socket, heard: Instant::now() }),
            Err(HandshakeError::Failure(error)) => Err(address.refused(error)),
            Err(HandshakeError::Interrupted(_)) => {
                Err(GatewayError::Unreachable(format!("{} did not answer in time", address.server)))
            }
        }
    }

    /// Waits for the next hint. `None`: none came within `patience`.
    pub fn next(&mut self, patience: Duration) -> Result<Option<Hint>, GatewayError> {
        let begun = Instant::now();
        loop {
            let left = patience.saturating_sub(begun.elapsed());
            let quiet = SILENCE_MAX.saturating_sub(self.heard.elapsed());
            if quiet.is_zero() {
                return Err(lost("it is silent"));
            }
            // A timeout of zero means none at all.
            self.tcp()
                .set_read_timeout(Some(left.min(quiet).max(Duration::from_millis(1))))
                .map_err(|error| lost(&error.to_string()))?;
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => {
                    self.heard = Instant::now();
                    let hint = Hint::from_bytes(&bytes);
                    return hint.map(Some).map_err(|_| lost("what came is no hint"));
                }
                // A ping is answered with the next read.
                Ok(Message::Ping(_) | Message::Pong(_)) => self.heard = Instant::now(),
                Ok(Message::Close(frame)) => {
                    let why = frame.map(|frame| printable(&frame.reason)).unwrap_or_default();
                    return Err(lost(if why.is_empty() { "it was closed" } else { &why }));
                }
                Ok(Message::Text(_) | Message::Frame(_)) => return Err(lost("what came is no hint")),
                Err(Error::Io(error)) if is_timeout(&error) => {
                    if begun.elapsed() >= patience {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(lost(&error.to_string())),
            }
        }
    }

    fn tcp(&self) -> &TcpStream {
        match self.socket.get_ref() {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => &tls.sock,
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // The gateway notices the end of the stream as well.
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}

/// A server's address in its parts.
struct Address<'a> {
    server: &'a str,
    uri: Uri,
    authority: String,
    prefix: String,
}

impl Address<'_> {
    fn parse(server: &str) -> Result<Address<'_>, GatewayError> {
        let server = server.trim_end_matches('/');
        let bad = || GatewayError::Fault(format!("{} is not the address of a server", printable(server)));
        check_address(server).map_err(|_| bad())?;
        let uri: Uri = server.parse().map_err(|_| bad())?;
        let authority = uri.authority().ok_or_else(bad)?.as_str().to_owned();
        let prefix = uri.path().trim_end_matches('/').to_owned();
        Ok(Address { server, uri, authority, prefix })
    }

    fn is_tls(&self) -> bool {
        self.uri.scheme_str() == Some("https")
    }

    fn scheme(&self) -> &'static str {
        if self.is_tls() { "wss" } else { "ws" }
    }

    /// Without the brackets of an IPv6 address.
    fn host(&self) -> &str {
        self.uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']')
    }

    fn stream(&self, ca: Option<&Path>) -> Result<Stream, GatewayError> {
        let tcp = self.tcp()?;
        let settle = || {
            tcp.set_nodelay(true)?;
            tcp.set_read_timeout(Some(CONNECT_TIMEOUT))?;
            tcp.set_write_timeout(Some(CONNECT_TIMEOUT))
        };
        settle().map_err(|error| self.unreachable(&error))?;
        if !self.is_tls() {
            return Ok(Stream::Plain(tcp));
        }
        let fault = |error: &dyn std::fmt::Display| {
            GatewayError::Fault(format!("no trusted connection to {}: {error}", self.server))
        };
        let name = ServerName::try_from(self.host().to_owned()).map_err(|error| fault(&error))?;
        let config = tls(ca).map_err(|error| fault(&error))?;
        let connection = ClientConnection::new(Arc::new(config), name).map_err(|error| fault(&error))?;
        Ok(Stream::Tls(Box::new(StreamOwned::new(connection, tcp))))
    }

    fn tcp(&self) -> Result<TcpStream, GatewayError> {
        let port = self.uri.port_u16().unwrap_or(if self.is_tls() { 443 } else { 80 });
        let found = (self.host(), port).to_socket_addrs().map_err(|error| self.unreachable(&error))?;
        let mut last = std::io::Error::from(ErrorKind::NotFound);
        for address in found {
            match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
                Ok(stream) => return Ok(stream),
                Err(error) => last = error,
            }
        }
        Err(self.unreachable(&last))
    }

    fn unreachable(&self, error: &dyn std::fmt::Display) -> GatewayError {
        GatewayError::Unreachable(format!("{} cannot be reached: {error}", self.server))
    }

    fn fault(&self, why: &str) -> GatewayError {
        GatewayError::Fault(format!("{}: {why}", self.server))
    }

    /// What an answer that is no upgrade means.
    fn refused(&self, error: Error) -> GatewayError {
        match error {
            Error::Http(response) => match response.status().as_u16() {
                401 => GatewayError::Shut("it does not take this device's access token".to_owned()),
                429 => GatewayError::Limited("this device or account listens too often already".to_owned()),
                502..=504 => GatewayError::Busy("it has no room for another listener".to_owned()),
                status => self.fault(&format!("it does not push changes (status {status})")),
            },
            Error::Io(error) => self.unreachable(&error),
            Error::Protocol(ProtocolError::HandshakeIncomplete) => self.unreachable(&"the connection broke"),
            error => self.fault(&error.to_string()),
        }
    }
}

/// TLS as for every other request: the public roots, or the certificates of a file in their place.
fn tls(ca: Option<&Path>) -> Result<ClientConfig, FlowError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for der in pem_certificates(path)? {
                let cannot = |error| FlowError::fault(format!("{}: {error}", path.display()));
                roots.add(der).map_err(cannot)?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = builder
        .map_err(|error| FlowError::fault(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

fn lost(why: &str) -> GatewayError {
    GatewayError::Unreachable(format!("the live connection is gone: {why}"))
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.read(buffer),
            Stream::Tls(tls) => tls.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Stream::Plain(tcp) => tcp.write(bytes),
            Stream::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Stream::Plain(tcp) => tcp.flush(),
            Stream::Tls(tls) => tls.flush(),
        }
    }
}
