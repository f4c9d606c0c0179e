//! What the gateway answers by itself. All of it is public, ciphertext, or proven to whoever reads it.

use super::Edge;
use super::problem::Problem;
use crate::desk::{DeskError, Trail};
use crate::ledger::CHECKPOINT;
use crate::pump::Published;
use crate::store::{Read, SqliteReader};
use aws_lc_rs::digest::{SHA256, digest};
use axum::extract::{Path, RawQuery, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hashlink::LruCache;
use keyferry_tlog::{TILE_WIDTH, entries_path, parse_entries_path, parse_tile_path, tile_path};
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::publish::{AuditPage, Route};
use keyferry_wire::{AccountId, Hash, ShardId, Wire, evidence};
use serde_json::{Value, json};
use std::io;
use std::sync::{Arc, PoisonError};
use tokio::task::spawn_blocking;

/// Rows of a page when the reader does not say.
const PAGE: u64 = 100;

/// Trails of accounts that were audited lately, and a reader that sees the newest commit.
pub(super) struct Trails {
    reader: SqliteReader,
    recent: LruCache<AccountId, Trail>,
}

/// Trails kept: 8 bytes an entry.
const TRAILS_MAX: usize = 64;

impl Trails {
    pub(super) fn new(reader: SqliteReader) -> Trails {
        Trails { reader, recent: LruCache::new(TRAILS_MAX) }
    }
}

pub(super) async fn health(State(edge): State<Arc<Edge>>) -> Response {
    let serving = edge.shared.published().is_some();
    let mut body = posture(&edge);
    put(&mut body, "status", json!(if serving { "serving" } else { "starting" }));
    let status = if serving { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, fresh("application/json"), body.to_string()).into_response()
}

/// The enclave that serves, or why none does.
fn serving(edge: &Edge) -> Result<Arc<Published>, Problem> {
    edge.shared.published().ok_or_else(|| edge.shared.absence().into())
}

pub(super) async fn metrics(State(edge): State<Arc<Edge>>) -> Response {
    (fresh("text/plain; version=0.0.4"), edge.shared.metrics.text()).into_response()
}

pub(super) async fn status(State(edge): State<Arc<Edge>>) -> Result<Response, Problem> {
    let published = serving(&edge)?;
    let mut body = posture(&edge);
    let counter = edge.shared.counter();
    let shards = (0..edge.shards).zip(&published.log_keys).map(|(shard, log_key)| {
        let size = counter.desk.log(ShardId(shard)).map_or(0, |log| log.size());
        let origin = format!("{}/{shard}", edge.name);
        json!({ "shard": shard, "origin": origin, "size": size, "log_key": log_key })
    });
    put(&mut body, "version", json!(env!("CARGO_PKG_VERSION")));
    put(&mut body, "name", json!(edge.name));
    put(&mut body, "shards", shards.collect());
    put(&mut body, "instance", json!(URL_SAFE_NO_PAD.encode(published.instance.0)));
    Ok((fresh("application/json"), body.to_string()).into_response())
}

/// What this deployment is and is not, from the facts: evidence, custody, anchor.
fn posture(edge: &Edge) -> Value {
    let published = edge.shared.published();
    let kind = published.as_ref().map_or(evidence::SIM, |published| published.evidence.kind.as_str());
    let mut stand_ins = edge.stand_ins.clone();
    if kind == evidence::SIM {
        stand_ins.push(format!("evidence {}", evidence::SIM));
    }
    if edge.custody_level == 0 {
        stand_ins.push("software token".to_owned());
    }
    stand_ins.sort();
    stand_ins.dedup();
    let profile = match (kind, edge.custody_level, edge.anchor_level) {
        (evidence::SIM, _, _) => "try",
        (kind, 1.., 3) if kind != "tpm" => "confidential",
        _ => "home",
    };
    json!({
        "profile": profile,
        "anchor_level": edge.anchor_level,
        "custody_level": edge.custody_level,
        "stand_ins": stand_ins,
    })
}

fn put(object: &mut Value, name: &str, value: Value) {
    if let Value::Object(object) = object {
        object.insert(name.to_owned(), value);
    }
}

pub(super) async fn evidence(State(edge): State<Arc<Edge>>) -> Result<Response, Problem> {
    let published = serving(&edge)?;
    Ok(cbor(published.evidence_bytes.clone()))
}

pub(super) async fn route_of(
    State(edge): State<Arc<Edge>>,
    Path(account): Path<String>,
) -> Result<Response, Problem> {
    let account = account_id(&account)?;
    let published = serving(&edge)?;
    // One gateway serves all shards so far, so an account that does not exist is routed here as well, and the
    // answer does not tell whether it does.
    let route = Route { account, shard: ShardId(0), instance: published.instance };
    Ok(cbor(route.to_bytes()))
}

pub(super) async fn sync(
    State(edge): State<Arc<Edge>>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let account = account_id(&account)?;
    let token = access_hash(&headers)?;
    let query = Query::parse(query.as_deref(), ["cursor", "limit", "seen"])?;
    let [cursor, limit, seen] = query.0;
    let page = {
        let counter = &mut *edge.shared.reading()?;
        let (desk, reader) = (&mut counter.desk, &counter.reader);
        if !desk.may_read(reader, &account, &token)? {
            return Err(Problem::UNAUTHORIZED);
        }
        desk.sync(reader, &account, cursor.unwrap_or(0), size(limit), seen.unwrap_or(0))?
    };
    Ok(cbor(page.to_bytes()))
}

pub(super) async fn audit(
    State(edge): State<Arc<Edge>>,
    Path(account): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let account = account_id(&account)?;
    let token = access_hash(&headers)?;
    let [from, limit, seen] = Query::parse(query.as_deref(), ["from", "limit", "seen"])?.0;
    let work = move || -> Result<AuditPage, Problem> {
        let end = {
            let counter = &mut *edge.shared.reading()?;
            let (desk, reader) = (&mut counter.desk, &counter.reader);
            if !desk.may_read(reader, &account, &token)? {
                return Err(Problem::UNAUTHORIZED);
            }
            desk.trail_end(reader, &account)?
        };
        let mut trail = walk(&edge, &account, &end)?;
        let counter = &mut *edge.shared.reading()?;
        // What was committed during the walk belongs to the state that the page proves.
        let end = counter.desk.trail_end(&counter.reader, &account)?;
        trail.extend(&counter.reader, &end).map_err(DeskError::from)?;
        let (from, seen) = (from.unwrap_or(1), seen.unwrap_or(0));
        Ok(counter.desk.audit_page(&counter.reader, &account, &trail, from, size(limit), seen)?)
    };
    let page = spawn_blocking(work).await.map_err(|_| Problem::INTERNAL)??;
    Ok(cbor(page.to_bytes()))
}

/// The account's trail up to `end`. Long histories are walked with a reader of their own, while others are served.
fn walk(edge: &Edge, account: &AccountId, end: &Trail) -> Result<Trail, Problem> {
    let mut trails = edge.trails.lock().unwrap_or_else(PoisonError::into_inner);
    let mut trail = trails.recent.remove(account).unwrap_or_else(|| end.clone());
    trail.extend(&trails.reader as &dyn Read, end).map_err(DeskError::from)?;
    trails.recent.insert(*account, trail.clone());
    Ok(trail)
}

pub(super) async fn ledger(
    State(edge): State<Arc<Edge>>,
    Path(parts): Path<Vec<(String, String)>>,
) -> Result<Response, Problem> {
    let field = |name| parts.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str());
    let shard =
        field("shard").and_then(|text| text.parse::<u16>().ok().filter(|shard| shard.to_string() == text));
    let shard = ShardId(shard.filter(|shard| *shard < edge.shards).ok_or(Problem::NOT_FOUND)?);
    let tile = field("path").map(|path| format!("tile/{path}"));
    let cacheable = tile.is_some();
    let read = move || match tile {
        Some(path) => {
            let found = tile_bytes(&*edge.files, shard, &path)?;
            if found.is_none() {
                edge.shared.counter().desk.log(shard).inspect(|log| log.missed(&path)).ok();
            }
            Ok(found)
        }
        None => edge.files.read(shard, CHECKPOINT),
    };
    let found = spawn_blocking(read).await.map_err(|_| Problem::INTERNAL)?;
    let bytes = found.map_err(|_| Problem::INTERNAL)?.ok_or(Problem::NOT_FOUND)?;
    let (kind, cache) = if cacheable {
        ("application/octet-stream", "public, max-age=31536000, immutable")
    } else {
        ("text/plain; charset=utf-8", "no-cache")
    };
    Ok(([(CONTENT_TYPE, kind), (CACHE_CONTROL, cache)], bytes).into_response())
}

/// A tile or bundle in its one spelling. Partial ones that were removed are cut from the full one.
fn tile_bytes(
    files: &dyn crate::ledger::LedgerFiles,
    shard: ShardId,
    path: &str,
) -> io::Result<Option<Vec<u8>>> {
    let (full, width, each) = if let Ok((index, width)) = parse_entries_path(path) {
        (entries_path(index, TILE_WIDTH), width, 2 + LEAF_LEN)
    } else if let Ok(tile) = parse_tile_path(path) {
        (tile_path(tile.level, tile.index, TILE_WIDTH), tile.width, 32)
    } else {
        return Ok(None);
    };
    if let Some(bytes) = files.read(shard, path)? {
        return Ok(Some(bytes));
    }
    let mut bytes = files.read(shard, &full)?;
    if let Some(bytes) = &mut bytes {
        bytes.truncate(usize::try_from(width).unwrap_or(usize::MAX).saturating_mul(each));
    }
    Ok(bytes)
}

impl From<DeskError> for Problem {
    fn from(error: DeskError) -> Problem {
        match error {
            DeskError::Account => Problem::UNAUTHORIZED,
            DeskError::Store(_) | DeskError::Proof(_) | DeskError::Shard(_) => {
                tracing::error!(error = %crate::serve::chain(&error), "a reader could not be served");
                Problem::INTERNAL
            }
        }
    }
}

/// Numbers of a query string, by name; anything else in it is refused.
pub(super) struct Query<const N: usize>(pub(super) [Option<u64>; N]);

impl<const N: usize> Query<N> {
    pub(super) fn parse(query: Option<&str>, names: [&str; N]) -> Result<Query<N>, Problem> {
        let mut values = [None; N];
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(Problem::BAD_REQUEST)?;
            let slot = names.iter().position(|known| *known == name).and_then(|at| values.get_mut(at));
            let slot = slot.filter(|slot| slot.is_none()).ok_or(Problem::BAD_REQUEST)?;
            *slot = Some(value.parse().map_err(|_| Problem::BAD_REQUEST)?);
        }
        Ok(Query(values))
    }
}

fn size(limit: Option<u64>) -> usize {
    usize::try_from(limit.unwrap_or(PAGE)).unwrap_or(usize::MAX)
}

pub(super) fn account_id(text: &str) -> Result<AccountId, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| Problem::BAD_REQUEST)?;
    AccountId::try_from(&bytes[..]).map_err(|_| Problem::BAD_REQUEST)
}

/// SHA-256 of the access token, which is all that the store knows of it.
pub(super) fn access_hash(headers: &HeaderMap) -> Result<Hash, Problem> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    let token = token.and_then(|token| URL_SAFE_NO_PAD.decode(token).ok()).ok_or(Problem::UNAUTHORIZED)?;
    digest(&SHA256, &token).as_ref().try_into().map_err(|_| Problem::UNAUTHORIZED)
}

pub(super) fn cbor(bytes: Vec<u8>) -> Response {
    (fresh("application/cbor"), bytes).into_response()
}

/// Headers of an answer that nobody may keep for another.
fn fresh(kind: &'static str) -> [(HeaderName, &'static str); 2] {
    [(CONTENT_TYPE, kind), (CACHE_CONTROL, "no-store")]
}
