//! What goes to the enclave: sealed frames, which the gateway carries without understanding them.

use super::Edge;
use super::problem::Problem;
use super::read::cbor;
use crate::pump::{Failure, Job};
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use axum::response::Response;
use keyferry_wire::Wire;
use keyferry_wire::frame::{RequestFrame, SessionOpen};
use std::sync::Arc;
use std::sync::mpsc::TrySendError;
use tokio::sync::oneshot;

pub(super) async fn sessions(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let open = frame::<SessionOpen>(&headers, &body)?;
    let opened = ask(&edge, |reply| Job::Open(open, reply)).await?;
    Ok(cbor(opened.to_bytes()))
}

pub(super) async fn requests(
    State(edge): State<Arc<Edge>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let frame = frame::<RequestFrame>(&headers, &body)?;
    let reply = ask(&edge, |reply| Job::Request(frame, reply)).await?;
    Ok(cbor(reply.to_bytes()))
}

fn frame<T: Wire>(headers: &HeaderMap, body: &[u8]) -> Result<T, Problem> {
    if headers.get(CONTENT_TYPE).is_none_or(|kind| kind != "application/cbor") {
        return Err(Problem::MEDIA_TYPE);
    }
    T::from_bytes(body).map_err(|_| Problem::BAD_REQUEST)
}

/// Queues a job and waits for its answer; a full queue is told at once.
async fn ask<T>(
    edge: &Edge,
    job: impl FnOnce(oneshot::Sender<Result<T, Failure>>) -> Job,
) -> Result<T, Problem> {
    let (reply, answer) = oneshot::channel();
    edge.jobs.try_send(job(reply)).map_err(|error| match error {
        TrySendError::Full(_) => Problem::BUSY,
        TrySendError::Disconnected(_) => Problem::from(Failure::Stopping),
    })?;
    // A sender that was dropped without a word belonged to a pump that ended.
    Ok(answer.await.unwrap_or(Err(Failure::Stopping))?)
}
