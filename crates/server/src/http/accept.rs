//! Connections: TLS 1.3 or loopback, HTTP/1.1 and HTTP/2, each bounded in number, headers and time.

use super::Edge;
use super::routes::{Peer, router};
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

/// A client has this long for TLS, and for the head of each request.
const HEAD_TIME_MAX: Duration = Duration::from_secs(15);
/// Bytes of a request's head.
const HEAD_MAX: usize = 16 * 1024;
/// Requests at a time on one HTTP/2 connection.
const STREAMS_MAX: u32 = 128;

/// Accepts until told to stop, then waits for the connections that are left.
pub async fn accept(
    listener: TcpListener,
    tls: Option<watch::Receiver<TlsAcceptor>>,
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
                // The certificate of this moment; the connection keeps it.
                let tls = tls.as_ref().map(|tls| tls.borrow().clone());
                tokio::spawn(connection(stream, peer, tls, router.clone(), stopped.clone(), permit));
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
