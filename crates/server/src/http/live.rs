//! Live connections: a device is told that its account has changed, and fetches what changed by itself.
//!
//! A hint has no content, and nothing is believed because of it. What a client may say is nothing at all: it answers
//! pings and ends.

use super::Edge;
use super::problem::Problem;
use super::read::{Query, access_hash, account_id};
use crate::live::{Crowded, Listener, Wake};
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use keyferry_wire::publish::Hint;
use keyferry_wire::{AccountId, Hash, Wire};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::time::{MissedTickBehavior, interval, timeout};

/// Bytes that are read at once; a client has pings to answer and no more.
const READ_BUFFER: usize = 512;
/// The longest message of a client: a control frame (RFC 6455, 5.5).
const MESSAGE_MAX: usize = 125;
/// Bytes that wait to be written: some hints and pings. Beyond it the connection ends.
const WRITE_BUFFER: usize = 2048;

/// Why a connection ends.
enum End {
    /// Told to the other side, with a code of RFC 6455, 7.4.
    Said(u16, &'static str),
    /// It has gone, or said that it goes.
    Gone,
    /// It does not read, or does not answer.
    Deaf,
}

pub(super) async fn live(
    State(edge): State<Arc<Edge>>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let account = account_id(&account)?;
    let token = access_hash(&headers)?;
    let [seq, vault_seq] = Query::parse(query.as_deref(), ["seq", "vault_seq"])?.0;
    let said = Hint { seq: seq.unwrap_or(0), vault_seq: vault_seq.unwrap_or(0) };
    position(&edge, &account, &token)?.ok_or(Problem::UNAUTHORIZED)?;
    let upgrade = upgrade.map_err(|_| Problem::UPGRADE)?;
    let listener = edge.shared.live.listen(account, token)?;
    let upgrade = upgrade
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(WRITE_BUFFER)
        .max_message_size(MESSAGE_MAX)
        .max_frame_size(MESSAGE_MAX);
    Ok(upgrade.on_upgrade(move |socket| attend(edge, listener, socket, said)))
}

/// Where the account stands; `None` for a token that is none of its devices'.
fn position(edge: &Edge, account: &AccountId, token: &Hash) -> Result<Option<Hint>, Problem> {
    let counter = &mut *edge.shared.reading()?;
    let (desk, reader) = (&mut counter.desk, &counter.reader);
    Ok(desk.position(reader, account, token)?)
}

async fn attend(edge: Arc<Edge>, mut listener: Listener, mut socket: WebSocket, said: Hint) {
    let metrics = &edge.shared.metrics;
    metrics.live_connections.fetch_add(1, Ordering::Relaxed);
    let patience = edge.shared.live.limits().send_max;
    match follow(&edge, &mut listener, &mut socket, said).await {
        End::Said(code, reason) => {
            let close = CloseFrame { code, reason: reason.into() };
            // Whoever does not listen any more misses nothing.
            let _ = timeout(patience, socket.send(Message::Close(Some(close)))).await;
        }
        End::Gone => {}
        End::Deaf => {
            metrics.live_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
    metrics.live_connections.fetch_sub(1, Ordering::Relaxed);
}

/// Tells of changes until there is a reason to end. Each time the token is looked at again: a device that lost its
/// access is told nothing more.
async fn follow(edge: &Edge, listener: &mut Listener, socket: &mut WebSocket, said: Hint) -> End {
    let limits = *edge.shared.live.limits();
    let (mut told, mut heard) = (said, Instant::now());
    let mut pings = interval(limits.ping_every);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    pings.tick().await;
    loop {
        let now = match position(edge, &listener.account, &listener.token) {
            Ok(Some(now)) => now,
            Ok(None) => return End::Said(close_code::POLICY, "the device has lost its access"),
            Err(_) => return End::Said(close_code::ERROR, "the service's store could not be read"),
        };
        if now != told {
            if !sent(socket, Message::Binary(now.to_bytes().into()), limits.send_max).await {
                return End::Deaf;
            }
            edge.shared.metrics.hints.fetch_add(1, Ordering::Relaxed);
            told = now;
        }
        tokio::select! {
            wake = listener.woken() => match wake {
                Wake::Rung => {}
                Wake::Closing => return End::Said(close_code::AWAY, "the service stops"),
            },
            message = socket.recv() => match message {
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => heard = Instant::now(),
                Some(Ok(Message::Text(_) | Message::Binary(_))) => {
                    return End::Said(close_code::POLICY, "nothing is said here");
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return End::Gone,
            },
            _ = pings.tick() => {
                if heard.elapsed() > limits.silence_max
                    || !sent(socket, Message::Ping(Vec::new().into()), limits.send_max).await
                {
                    return End::Deaf;
                }
            }
        }
    }
}

async fn sent(socket: &mut WebSocket, message: Message, patience: std::time::Duration) -> bool {
    matches!(timeout(patience, socket.send(message)).await, Ok(Ok(())))
}

impl From<Crowded> for Problem {
    fn from(crowded: Crowded) -> Problem {
        match crowded {
            Crowded::Here => Problem::BUSY,
            Crowded::There => Problem::LISTENERS,
        }
    }
}
