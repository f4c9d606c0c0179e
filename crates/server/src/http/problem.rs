//! Errors as a client sees them: a code, a sentence, and nothing about anybody.

use crate::pump::Failure;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use keyferry_wire::door::Drop as Reason;
use serde::Serialize;

/// An answer that is an error.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Problem {
    #[serde(skip)]
    status: StatusCode,
    error: &'static str,
    message: &'static str,
}

impl Problem {
    pub(super) const BAD_REQUEST: Problem =
        Problem::new(StatusCode::BAD_REQUEST, "bad_request", "the request is malformed");
    pub(super) const UNAUTHORIZED: Problem = Problem::new(
        StatusCode::UNAUTHORIZED,
        "auth",
        "the access token is not one of a device of this account",
    );
    pub(super) const NOT_FOUND: Problem =
        Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such thing here");
    pub(super) const METHOD: Problem =
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this address is not used with this method");
    pub(super) const TOO_LARGE: Problem = Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too_large",
        "the request's body is too large for this address",
    );
    pub(super) const MEDIA_TYPE: Problem =
        Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", "the body has to be application/cbor");
    pub(super) const RATE_LIMITED: Problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "too many requests from this address: wait a second",
    );
    pub(super) const UPGRADE: Problem = Problem::new(
        StatusCode::UPGRADE_REQUIRED,
        "upgrade",
        "this address speaks WebSocket version 13 over HTTP/1.1 alone",
    );
    pub(super) const LISTENERS: Problem = Problem::new(
        StatusCode::TOO_MANY_REQUESTS,
        "rate_limited",
        "this device or account listens too often already: end another listener",
    );
    pub(super) const TIMEOUT: Problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "the service did not answer in time: try again",
    );
    pub(super) const BUSY: Problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "too many requests are waiting: try again soon",
    );
    pub(super) const NOT_SERVING: Problem = Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "the enclave stopped: it is being restarted",
    );
    pub(super) const INTERNAL: Problem =
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the service's store could not be read");

    const fn new(status: StatusCode, error: &'static str, message: &'static str) -> Problem {
        Problem { status, error, message }
    }

    pub(super) fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) fn error(&self) -> &'static str {
        self.error
    }

    pub(super) fn message(&self) -> &'static str {
        self.message
    }

    /// Headers that the status asks for (RFC 9110, sections 7.8, 10.2.3 and 11.6.1).
    pub(super) fn headers(&self) -> Option<(&'static str, &'static str)> {
        match self.status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => Some(("retry-after", "1")),
            StatusCode::UNAUTHORIZED => Some(("www-authenticate", "Bearer")),
            StatusCode::UPGRADE_REQUIRED => Some(("upgrade", "websocket")),
            _ => None,
        }
    }
}

impl From<Failure> for Problem {
    fn from(failure: Failure) -> Problem {
        let unavailable = |message| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", message);
        match failure {
            Failure::Dropped(reason) => dropped(reason),
            Failure::DiskFull => unavailable("the store's disk is full: free space on it, then try again"),
            Failure::Store => {
                unavailable("the store could not be written: try again soon, nothing is done twice")
            }
            Failure::Enclave => Problem::NOT_SERVING,
            Failure::Busy => Problem::BUSY,
            Failure::Stopping => unavailable("the service is stopping"),
        }
    }
}

fn dropped(reason: Reason) -> Problem {
    let (status, error, message) = match reason {
        Reason::Session => (StatusCode::CONFLICT, "session", "the session is over: open another"),
        Reason::Evidence => (
            StatusCode::CONFLICT,
            "evidence",
            "this evidence is no longer in use: fetch it again, then open a session",
        ),
        Reason::Frame => {
            (StatusCode::BAD_REQUEST, "frame", "the frame is not one of this session, or was seen before")
        }
        Reason::Version => (StatusCode::BAD_REQUEST, "version", "this version or suite is not spoken here"),
        Reason::Store => (
            StatusCode::SERVICE_UNAVAILABLE,
            "store",
            "the store's rows do not verify: the operator has been alarmed",
        ),
        Reason::Full | Reason::Starting => return Problem::BUSY,
    };
    Problem::new(status, error, message)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some((name, value)) = self.headers() {
            headers.insert(name, HeaderValue::from_static(value));
        }
        response
    }
}
