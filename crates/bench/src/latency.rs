//! B3: how long an assertion takes at half of the capacity, by an open loop: with the disk's sync, and on a store in
//! memory, where a sync costs nothing.

use crate::Fallible;
use crate::assertion::{outcome_json, sign_in};
use crate::commit::copy_folder;
use crate::disk::{Syncs, sync_times};
use crate::host;
use crate::load::{Fleet, Outcome, Pace};
use crate::measure::Spread;
use crate::member::Member;
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use keyferry_server::CommitMode;
use serde_json::json;
use std::path::Path;

/// Without a disk sync.
const WITHOUT_SYNC_MS: f64 = 2.0;
/// With it: so many times the p99 of one sync.
const SYNCS: f64 = 1.5;

/// Where a store needs no disk.
const IN_MEMORY: &str = "/dev/shm";

/// An open loop, and right after it the disk alone.
struct Round {
    outcome: Outcome,
    syncs: Option<Syncs>,
}

/// Rounds at one rate.
pub(crate) struct Latency {
    rate: f64,
    rounds: Vec<Round>,
}

/// Measures on the disk, with accounts in daily use.
pub(crate) fn on_disk(
    settings: &Settings,
    service: &Service,
    members: Vec<Member>,
    capacity: f64,
) -> Fallible<(Latency, Vec<Member>)> {
    rounds(settings, service, members, capacity / 2.0, |_| sync_times(settings).map(Some))
}

/// Measures on a copy of the store in memory; `None` where this machine has no such place.
pub(crate) fn in_memory(
    settings: &Settings,
    store: &Path,
    members: Vec<Member>,
    capacity: f64,
) -> Fallible<(Option<Latency>, Vec<Member>)> {
    // The store grows while it is measured.
    let Some(place) = in_memory_place(2 * folder_len(store)) else { return Ok((None, members)) };
    copy_folder(store, place.path())?;
    let plan = settings.gateway(place.path(), Some(settings.cores.server), CommitMode::Group);
    let service = Service::gateway(plan)?;
    let (latency, members) = rounds(settings, &service, members, capacity / 2.0, |_| Ok(None))?;
    service.stop()?;
    Ok((Some(latency), members))
}

/// A folder in memory with room for so many bytes.
pub(crate) fn in_memory_place(bytes: u64) -> Option<tempfile::TempDir> {
    let place = Path::new(IN_MEMORY);
    let fits = host::is_in_memory(place) && host::free_bytes(place).is_some_and(|free| free > bytes);
    if !fits {
        return None;
    }
    tempfile::Builder::new().prefix("keyferry-bench-").tempdir_in(place).ok()
}

/// Bytes of all files in a folder.
pub(crate) fn folder_len(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => folder_len(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

fn rounds(
    settings: &Settings,
    service: &Service,
    members: Vec<Member>,
    rate: f64,
    after: impl Fn(usize) -> Fallible<Option<Syncs>>,
) -> Fallible<(Latency, Vec<Member>)> {
    let mut fleet = Fleet::connect(service, settings.connections)?;
    fleet.deal(members);
    fleet.open_sessions()?;
    let pace = Pace::Open((1e9 / rate) as u64);
    // The first fills caches.
    fleet.run(service, settings.round / 4, pace, sign_in)?;
    let mut rounds = Vec::new();
    for round in 0..settings.rounds {
        eprintln!("    open loop at {rate:.0} a second, {} of {}", round + 1, settings.rounds);
        let outcome = fleet.run(service, settings.round / 2, pace, sign_in)?;
        rounds.push(Round { outcome, syncs: after(round)? });
    }
    Ok((Latency { rate, rounds }, fleet.collect()))
}

impl Latency {
    fn spread(&self, part: f64) -> Spread {
        Spread::of(&self.rounds.iter().map(|round| round.outcome.latency_ms(part)).collect::<Vec<_>>())
    }

    fn batch_note(&self) -> String {
        let (p50, p99) = (self.spread(0.5), self.spread(0.99));
        format!(
            "p50 {:.3} ms, p99 {:.3} ms (spread {:.3}..{:.3}) over {} rounds; latency counts from when a request was due",
            p50.median, p99.median, p99.low, p99.high, p99.count
        )
    }

    fn json(&self) -> serde_json::Value {
        let each = |round: &Round| json!({ "outcome": outcome_json(&round.outcome), "fdatasync": round.syncs.as_ref().map(Syncs::json) });
        self.rounds.iter().map(each).collect()
    }

    pub(crate) fn disk_row(&self, settings: &Settings) -> Row {
        let pairs: Vec<_> = self
            .rounds
            .iter()
            .filter_map(|round| {
                let sync = round.syncs.as_ref()?.p99_ns as f64 / 1e6;
                Some((round.outcome.latency_ms(0.99), sync))
            })
            .collect();
        let sync = Spread::of(&pairs.iter().map(|(_, sync)| *sync).collect::<Vec<_>>());
        let p99 = self.spread(0.99).median;
        let what = format!("latency p99 at half capacity ({:.0}/s, open loop), synced", self.rate);
        let row = Row::new("B3", what, p99, "ms")
            .against(sync.median)
            .ratio(Spread::of(&pairs.iter().map(|(ours, sync)| ours / sync).collect::<Vec<_>>()))
            // A disk may sync in less than an assertion takes at all: with a sync nobody is asked to be quicker than
            // without one.
            .goal_of_value(Goal::AtMost { reach: f64::max(WITHOUT_SYNC_MS, SYNCS * sync.median), floor: None })
            .note(self.batch_note())
            .note(format!(
                "one fdatasync between the rounds: p99 {:.3} ms (spread {:.3}..{:.3}); reach is {SYNCS} x that p99, or the \
                 {WITHOUT_SYNC_MS} ms allowed without a sync where those are more",
                sync.median, sync.low, sync.high
            ))
            .because(format!(
                "at p50 it takes {:.3} ms: the queue behind a batch and its sync makes the difference to p99",
                self.spread(0.5).median
            ))
            .details(self.json());
        settings.small_note(row)
    }

    pub(crate) fn memory_row(&self, settings: &Settings) -> Row {
        let what = format!("latency p99 at half capacity ({:.0}/s, open loop), no sync", self.rate);
        let row = Row::new("B3", what, self.spread(0.99).median, "ms")
            .goal(Goal::AtMost { reach: WITHOUT_SYNC_MS, floor: None })
            .note(format!("the store is in memory ({IN_MEMORY}): {}", self.batch_note()))
            .because(format!(
                "at p50 it takes {:.3} ms: what is left is the queue on one core, on which gateway and enclave take turns",
                self.spread(0.5).median
            ))
            .details(self.json());
        settings.small_note(row)
    }
}
