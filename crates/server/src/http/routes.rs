//! The table of routes, each with its limits, and the guard that stands before every handler.

use super::problem::Problem;
use super::{Edge, live, openapi, read, talk};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::Method;
use axum::http::header::CONTENT_LENGTH;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use keyferry_wire::limits::FRAME_MAX;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::time::timeout;

/// What routes have in common for the rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// Handshakes.
    Session,
    /// Sealed requests.
    Request,
    /// Rows and proofs of an account.
    Read,
    /// Connections that stay, to be told of changes.
    Live,
    /// The public ledger.
    Ledger,
    /// Status and figures.
    Status,
}

/// A route and its limits.
#[derive(Debug)]
pub struct Route {
    /// Method.
    pub method: Method,
    /// Path; what is in braces is never logged.
    pub template: &'static str,
    /// Class for the rates.
    pub class: Class,
    /// Longest body.
    pub body_max: usize,
    /// Longest time for an answer.
    pub time_max: Duration,
    pub(super) handler: Handler,
}

/// What a route does; [`super::openapi`] documents each.
#[derive(Clone, Copy, Debug)]
pub(super) enum Handler {
    Document,
    Health,
    Metrics,
    Status,
    Evidence,
    Sessions,
    Requests,
    RouteOf,
    Sync,
    Audit,
    Live,
    Checkpoint,
    Tile,
}

/// Longest time for an answer.
const TIME_MAX: Duration = Duration::from_secs(30);

const fn read_only(template: &'static str, class: Class, handler: Handler) -> Route {
    Route { method: Method::GET, template, class, body_max: 0, time_max: TIME_MAX, handler }
}

const fn takes_frame(template: &'static str, class: Class, handler: Handler) -> Route {
    Route { method: Method::POST, template, class, body_max: FRAME_MAX, time_max: TIME_MAX, handler }
}

/// All routes.
pub static ROUTES: [Route; 13] = [
    read_only("/healthz", Class::Status, Handler::Health),
    read_only("/metrics", Class::Status, Handler::Metrics),
    read_only("/v1/openapi.json", Class::Status, Handler::Document),
    read_only("/v1/status", Class::Status, Handler::Status),
    read_only("/v1/evidence", Class::Read, Handler::Evidence),
    takes_frame("/v1/sessions", Class::Session, Handler::Sessions),
    takes_frame("/v1/requests", Class::Request, Handler::Requests),
    read_only("/v1/route/{account}", Class::Read, Handler::RouteOf),
    read_only("/v1/accounts/{account}/sync", Class::Read, Handler::Sync),
    read_only("/v1/accounts/{account}/audit", Class::Read, Handler::Audit),
    read_only("/v1/accounts/{account}/live", Class::Live, Handler::Live),
    read_only("/v1/log/{shard}/checkpoint", Class::Ledger, Handler::Checkpoint),
    read_only("/v1/log/{shard}/tile/{*path}", Class::Ledger, Handler::Tile),
];

/// Address of the peer, put into each request by the accept loop.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

pub(super) fn router(edge: Arc<Edge>) -> Router {
    let mut router = Router::new();
    for route in &ROUTES {
        let guarded = method_router(route.handler)
            .route_layer(from_fn_with_state((Arc::clone(&edge), route), guard))
            .fallback(|| async { Problem::METHOD });
        router = router.route(route.template, guarded);
    }
    router.fallback(|| async { Problem::NOT_FOUND }).with_state(edge)
}

fn method_router(handler: Handler) -> MethodRouter<Arc<Edge>> {
    match handler {
        Handler::Document => get(openapi::openapi),
        Handler::Health => get(read::health),
        Handler::Metrics => get(read::metrics),
        Handler::Status => get(read::status),
        Handler::Evidence => get(read::evidence),
        Handler::Sessions => post(talk::sessions),
        Handler::Requests => post(talk::requests),
        Handler::RouteOf => get(read::route_of),
        Handler::Sync => get(read::sync),
        Handler::Audit => get(read::audit),
        Handler::Live => get(live::live),
        Handler::Checkpoint | Handler::Tile => get(read::ledger),
    }
}

/// Rate, body, time; then the figures. The only place that writes about requests, and it knows the template alone.
async fn guard(
    State((edge, route)): State<(Arc<Edge>, &'static Route)>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let response = match limited(&edge, route, request, started).await {
        Ok(request) => match timeout(route.time_max, next.run(request)).await {
            Ok(response) => response,
            Err(_) => Problem::TIMEOUT.into_response(),
        },
        Err(problem) => problem.into_response(),
    };
    let status = response.status().as_u16();
    edge.shared.metrics.request(route.template, status);
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    let method = route.method.as_str();
    if status >= 500 {
        tracing::warn!(method, route = route.template, status, micros, "request");
    } else {
        tracing::debug!(method, route = route.template, status, micros, "request");
    }
    response
}

/// Takes a token for the peer and reads the body up to the route's limit.
async fn limited(edge: &Edge, route: &Route, request: Request, now: Instant) -> Result<Request, Problem> {
    let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
        return Err(Problem::INTERNAL);
    };
    if !edge.buckets.take(peer, route.class, now) {
        return Err(Problem::RATE_LIMITED);
    }
    let announced =
        request.headers().get(CONTENT_LENGTH).map(|value| value.to_str().ok()?.parse::<usize>().ok());
    match announced {
        Some(None) => return Err(Problem::BAD_REQUEST),
        Some(Some(length)) if length > route.body_max => return Err(Problem::TOO_LARGE),
        _ => {}
    }
    let (parts, body) = request.into_parts();
    let read = timeout(route.time_max, to_bytes(body, route.body_max)).await;
    let bytes = read.map_err(|_| Problem::TIMEOUT)?.map_err(|_| Problem::TOO_LARGE)?;
    Ok(Request::from_parts(parts, Body::from(bytes)))
}
