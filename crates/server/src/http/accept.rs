//! Connections: TLS 1.3 or loopback, HTTP/1.1 and HTTP/2, each bounded in number, headers and time.

use super::Edge;
use super::routes::{Peer, router};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// Certificate chain and key, in PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("reading {}: {cause}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: rustls::pki_types::pem::Error,
    },
    /// Key and certificate do not go together.
    #[error("the TLS certificate and key cannot be used: {0}")]
    Config(#[from] rustls::Error),
}

/// A client has this long for TLS, and for the head of each request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 * 1024;
/// Requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// TLS 1.3 with the files' certificate.
pub fn tls(files: &TlsFiles) -> Result<TlsAcceptor, TlsError> {
    let failed = |path: &PathBuf| {
        let path = path.clone();
        |cause| TlsError::File { path, cause }
    };
    let chain = CertificateDer::pem_file_iter(&files.certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed(&files.certificates))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(failed(&files.key))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// Accepts until told to stop, then waits for the connections that are left.
pub async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    edge: Arc<Edge>,
    connections_max: usize,
    stopped: watch::Receiver<bool>,
) {
    let connections_max = u32::try_from(connections_max.clamp(1, 1 << 20)).unwrap_or(1);
    let permits = Arc::new(Semaphore::new(usize::try_from(connections_max).unwrap_or(1)));
    let router = router(edge);
    let mut stop = stopped.clone();
    loop {
        let next = async {
            // Beyond the limit, peers wait in the system's queue.
            let permit = Arc::clone(&permits).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let accepted = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = next => accepted,
        };
        match accepted {
            Some((permit, Ok((stream, peer)))) => {
                tokio::spawn(connection(stream, peer, tls.clone(), router.clone(), stopped.clone(), permit));
            }
            Some((_, Err(error))) => {
                tracing::warn!(%error, "no connection could be accepted");
                sleep(Duration::from_millis(50)).await;
            }
            None => break,
        }
    }
    drop(listener);
    // All permits back means that no connection is left.
    let _ = permits.acquire_many(connections_max).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    stopped: watch::Receiver<bool>,
    permit: OwnedSemaphorePermit,
) {
    // Replies are small and awaited: they must not wait for more.
    let _ = stream.set_nodelay(true);
    match tls {
        None => serve(stream, peer.ip(), router, stopped).await,
        Some(tls) => {
            if let Ok(Ok(stream)) = timeout(HEAD_TIME_MAX, tls.accept(stream)).await {
                serve(stream, peer.ip(), router, stopped).await;
            }
        }
    }
    drop(permit);
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: IpAddr,
    router: Router,
    mut stopped: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(Peer(peer));
        router.clone().oneshot(request)
    });
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME_MAX)
        .max_buf_size(HEAD_MAX)
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEAD_TIME_MAX)
        .max_header_list_size(16 * 1024)
        .max_concurrent_streams(STREAMS_MAX);
    let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let stop = async {
        // A sender that is gone has stopped, too.
        let _ = stopped.wait_for(|stop| *stop).await;
    };
    tokio::select! {
        () = stop => connection.as_mut().graceful_shutdown(),
        // Broken connections are the peers' affair.
        _ = connection.as_mut() => return,
    }
    let _ = connection.await;
}
