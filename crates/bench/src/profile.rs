//! Where the CPU time of an assertion goes: the steps of a turn as they follow each other, and below the engine's the
//! parts that it is made of, each measured by itself on data of the same size.

use crate::ceiling::Ceilings;
use crate::engine::{frames, open_sessions};
use crate::local::{Local, Steps};
use crate::measure::{percentile, rounded};
use crate::member::Member;
use crate::settings::Settings;
use crate::{Fallible, parts};
use serde_json::{Value, json};
use std::fmt::Write;

/// Requests of a batch: as many as there are connections.
pub(crate) const BATCH: usize = 64;

/// Batches of different accounts: a device signs in 120 times a minute at most.
const GROUPS: usize = 6;

/// A part with its microseconds per assertion.
pub(crate) type Part = (&'static str, f64);

pub(crate) struct Profile {
    steps: Vec<Part>,
    engine: Vec<Part>,
    sizes: Value,
    walls: Value,
}

/// Bytes of a request's frame and of a reply's, roughly: what an HTTP echo of the same size carries.
pub(crate) const FRAME_LEN: usize = 900;

/// What was measured before.
pub(crate) struct Given<'a> {
    pub(crate) ceilings: &'a Ceilings,
    /// An HTTP request and its answer of the right size, at the stub's server.
    pub(crate) http_ns: f64,
    /// An assertion over HTTP, in microseconds, if B1 was measured.
    pub(crate) assertion: Option<f64>,
}

/// Runs batches of sign-ins within this thread; accounts take turns, since each signs in 120 times a minute at most.
pub(crate) fn measure(
    settings: &Settings,
    local: &mut Local,
    members: &mut [Member],
    given: &Given<'_>,
) -> Fallible<Profile> {
    let most = members.len().min(GROUPS * BATCH) / BATCH * BATCH;
    let members = members.get_mut(..most).ok_or("too few accounts for a profile")?;
    open_sessions(local, members)?;
    let groups = most / BATCH;
    let batches = if settings.quick { 60 } else { 480 };
    for batch in 0..groups + batches {
        // The first round fills caches.
        if batch == groups {
            local.steps = Steps::default();
            local.door_bytes = (0, 0);
            local.walls = (Vec::new(), Vec::new());
        }
        let group = members.chunks_exact_mut(BATCH).nth(batch % groups.max(1)).ok_or("too few accounts")?;
        let frames = frames(group, batch)?;
        local.requests(frames)?;
    }
    let count = (batches * BATCH) as f64;
    let (steps, door) = (local.steps, local.door_bytes);
    let views = members.iter().rev().take(BATCH).map(|member| local.view(member));
    let views = views.collect::<Fallible<Vec<_>>>()?;
    let view = views.first().ok_or("no account")?;
    let engine = steps.engine as f64 / count / 1000.0;
    let parts = parts::of_engine(settings, view, &views, given.ceilings, engine)?;
    let sizes = json!({
        "account_row": view.state.as_ref().map(|state| state.row.len()),
        "device_row": view.devices.first().map(|row| row.row.len()),
        "passkey_row": view.passkeys.first().and_then(|view| Some(view.row.as_ref()?.blob.len())),
        "map_proof": view.proof.siblings.len(),
        "to_enclave_per_assertion": rounded(door.0 as f64 / count),
        "from_enclave_per_assertion": rounded(door.1 as f64 / count),
        "batch": BATCH,
    });
    let walls = json!({ "commit": wall(&mut local.walls.0), "wal_moved": wall(&mut local.walls.1) });
    Ok(Profile { steps: step_parts(&steps, count, given), engine: parts, sizes, walls })
}

fn wall(times: &mut [u64]) -> Value {
    times.sort_unstable();
    let ms = |part| rounded(percentile(times, part) as f64 / 1e6);
    json!({ "count": times.len(), "p50": ms(0.5), "p99": ms(0.99) })
}

fn step_parts(steps: &Steps, count: f64, given: &Given<'_>) -> Vec<Part> {
    let us = |ns: u64| ns as f64 / count / 1000.0;
    let mut parts = vec![
        ("HTTP, as an echo of the same size at the stub's server", given.http_ns / 1000.0),
        ("gateway: rows and proofs attached", us(steps.view)),
        ("door to the enclave: encode", us(steps.door_in_encode)),
        ("door to the enclave: decode", us(steps.door_in_decode)),
        ("enclave: engine", us(steps.engine)),
        ("door from the enclave: encode", us(steps.door_out_encode)),
        ("door from the enclave: decode", us(steps.door_out_decode)),
        ("gateway: SQLite commit", us(steps.commit)),
        ("gateway: reader moved forward", us(steps.refresh)),
        ("gateway: desk takes the batch in", us(steps.apply)),
        ("gateway: WAL moved", us(steps.checkpoint)),
        ("gateway: consistency proofs", us(steps.consistency)),
    ];
    if let Some(whole) = given.assertion {
        let sum: f64 = parts.iter().map(|(_, us)| us).sum();
        parts
            .push(("over HTTP besides: queue, processes, smaller batches, guard, ledger files", whole - sum));
    }
    parts
}

/// Steps that are named where a goal is missed.
const NAMED: usize = 4;

impl Profile {
    /// The largest steps, for people.
    pub(crate) fn largest(&self) -> String {
        let mut steps = self.steps.clone();
        steps.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let named = steps.iter().take(NAMED).map(|(name, us)| format!("{name} {us:.1}"));
        named.collect::<Vec<_>>().join("; ")
    }

    /// The largest parts of the engine's work.
    pub(crate) fn largest_in_engine(&self) -> String {
        let mut parts = self.engine.clone();
        parts.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let named = parts.iter().take(2 * NAMED).map(|(name, us)| format!("{name} {us:.1}"));
        named.collect::<Vec<_>>().join("; ")
    }

    pub(crate) fn json(&self) -> Value {
        let list = |parts: &[Part]| -> Vec<Value> {
            parts.iter().map(|(name, us)| json!({ "part": name, "us": rounded(*us) })).collect()
        };
        json!({ "steps": list(&self.steps), "engine": list(&self.engine), "sizes": self.sizes, "wall_ms": self.walls })
    }

    pub(crate) fn text(&self) -> String {
        let mut out = "where the CPU time of an assertion goes, us per assertion:\n".to_owned();
        let mut list = |title: &str, parts: &[Part]| {
            let sum: f64 = parts.iter().map(|(_, us)| us).sum();
            let _ = writeln!(out, "  {title}: {sum:.1}");
            for (name, us) in parts {
                let _ = writeln!(out, "    {us:7.2}  {name}");
            }
        };
        list("all steps, each but HTTP within one thread", &self.steps);
        list("of which in the engine, measured part by part", &self.engine);
        let _ = writeln!(out, "  sizes in bytes: {}", self.sizes);
        let _ = writeln!(
            out,
            "  wall time of a batch's commit, and of moving the WAL every 64 of them, ms: {}",
            self.walls
        );
        out
    }
}
