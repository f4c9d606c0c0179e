//! B12: appending to the ledger in memory, against the least that a Merkle tree hashes: in the enclave (the leaf's
//! bytes, the tree's right edge), in the gateway (the tree with its tiles), and there with the authenticated map.

use crate::Fallible;
use crate::ceiling;
use crate::host::thread_cpu_ns;
use crate::measure::{Effort, Spread, rounded};
use crate::report::{Goal, Row};
use crate::settings::Settings;
use keyferry_crypto::hash::sha256;
use keyferry_server::MemoryStore;
use keyferry_server::ledger::{MemoryFiles, ShardLog};
use keyferry_tlog::{Frontier, Map, leaf_hash};
use keyferry_wire::door::Batch;
use keyferry_wire::ledger::{Class, Leaf, SEALED_EVENT_LEN};
use keyferry_wire::limits::BATCH_EVENTS_MAX;
use keyferry_wire::{Hash, ShardId};
use serde_json::{Value, json};
use std::hint::black_box;
use std::sync::Arc;

/// A batch as 64 connections make one in a single shard.
const SMALL_BATCH: usize = 64;

/// Nanoseconds of CPU time per leaf, in one round.
#[derive(Clone, Copy)]
struct Round {
    ceiling: f64,
    enclave: f64,
    gateway: f64,
    mapped: f64,
    mapped_small: f64,
}

pub(crate) struct Appends {
    accounts: usize,
    rounds: Vec<Round>,
}

/// Everything that is appended to.
struct Bench {
    frontier: Frontier,
    log: ShardLog,
    map: Map,
    keys: Vec<Hash>,
    /// Leaves so far: each is another one.
    serial: u64,
}

/// Measures on this thread, which is bound to the server's core.
pub(crate) fn measure(settings: &Settings) -> Fallible<Appends> {
    let keys: Vec<Hash> = (0..settings.mapped).map(|number| sha256(&[&number.to_be_bytes()])).collect();
    let mut map = Map::new();
    for key in &keys {
        map.set(*key, *key)?;
    }
    map.root();
    let log = ShardLog::open(&MemoryStore::default(), Arc::new(MemoryFiles::default()), ShardId(0))?;
    let mut bench = Bench { frontier: Frontier::new(), log, map, keys, serial: 0 };
    let mut rounds = Vec::new();
    // The first round fills caches.
    for round in 0..=settings.rounds {
        let measured = bench.round(settings.leaves, settings.cpu)?;
        if round > 0 {
            rounds.push(measured);
        }
    }
    Ok(Appends { accounts: settings.mapped, rounds })
}

impl Bench {
    fn round(&mut self, leaves: usize, effort: Effort) -> Fallible<Round> {
        Ok(Round {
            ceiling: ceiling::append(effort),
            enclave: self.in_enclave(leaves),
            gateway: self.in_gateway(leaves, BATCH_EVENTS_MAX, false)?,
            mapped: self.in_gateway(leaves, BATCH_EVENTS_MAX, true)?,
            mapped_small: self.in_gateway(leaves, SMALL_BATCH, true)?,
        })
    }

    fn leaf(&mut self) -> Leaf {
        self.serial += 1;
        Leaf {
            class: Class::Event,
            batch: self.serial / 64,
            time_secs: self.serial,
            tag: [7; 32],
            salt: [8; 16],
            commitment: [9; 32],
            sealed: [10; SEALED_EVENT_LEN],
        }
    }

    fn in_enclave(&mut self, leaves: usize) -> f64 {
        let mut spent = 0;
        for _ in 0..leaves / BATCH_EVENTS_MAX {
            let batch: Vec<_> = (0..BATCH_EVENTS_MAX).map(|_| self.leaf()).collect();
            let start = thread_cpu_ns();
            for leaf in &batch {
                self.frontier.push(leaf_hash(&leaf.to_bytes()));
            }
            black_box(self.frontier.root());
            spent += thread_cpu_ns() - start;
        }
        per_leaf(spent, leaves, BATCH_EVENTS_MAX)
    }

    /// Batches of one size; `mapped`: with a change to an account for each leaf, and the map's root for each batch.
    fn in_gateway(&mut self, leaves: usize, together: usize, mapped: bool) -> Fallible<f64> {
        let mut spent = 0;
        for _ in 0..leaves / together {
            let batch = self.batch(together);
            let changes: Vec<_> = (0..together).map(|_| self.change()).collect();
            let start = thread_cpu_ns();
            self.log.append(&batch);
            if mapped {
                for (key, value) in changes {
                    self.map.set(key, value)?;
                }
                black_box(self.map.root());
            }
            spent += thread_cpu_ns() - start;
            // Full tiles go to their files, off the clock.
            if let Some(publication) = self.log.publication() {
                self.log.published(publication);
            }
        }
        Ok(per_leaf(spent, leaves, together))
    }

    fn batch(&mut self, together: usize) -> Batch {
        let first_leaf = self.log.size();
        let leaves: Vec<u8> = (0..together).flat_map(|_| self.leaf().to_bytes()).collect();
        let number = self.log.number().unwrap_or(0) + 1;
        let (checkpoint, accounts) = (String::new(), Vec::new());
        Batch { shard: ShardId(0), number, first_leaf, leaves: leaves.into(), checkpoint, accounts }
    }

    /// A random account with a value that it never had.
    fn change(&mut self) -> (Hash, Hash) {
        self.serial += 1;
        let value = sha256(&[&self.serial.to_be_bytes()]);
        let mut number = [0; 8];
        number.copy_from_slice(value.split_at(8).0);
        let at = u64::from_be_bytes(number) % self.keys.len().max(1) as u64;
        (self.keys.get(at as usize).copied().unwrap_or(value), value)
    }
}

fn per_leaf(spent: u64, leaves: usize, together: usize) -> f64 {
    spent as f64 / (leaves / together * together) as f64
}

impl Appends {
    pub(crate) fn rows(&self, settings: &Settings) -> Vec<Row> {
        let of =
            |value: &dyn Fn(&Round) -> f64| Spread::of(&self.rounds.iter().map(value).collect::<Vec<_>>());
        let least = of(&|round| round.ceiling).median;
        let row = |what: String, value: fn(&Round) -> f64, goal| {
            let ours = of(&value);
            Row::new("B12", what, ours.median / 1000.0, "us CPU")
                .against(least / 1000.0)
                .ratio(of(&|round| round.ceiling / value(round)))
                .goal(Goal::AtLeast { reach: goal, floor: None })
                .because(format!(
                    "{:.2} us of it are not the two hashes ({:.2} us) that an append needs",
                    (ours.median - least) / 1000.0,
                    least / 1000.0
                ))
        };
        let enclave = row("ledger append in memory, enclave".to_owned(), |round| round.enclave, 0.5).note(
            "batches of 1000: the leaf's bytes, its hash, the tree's right edge, a root for each batch",
        );
        let gateway = row("ledger append in memory, gateway".to_owned(), |round| round.gateway, 0.5)
            .note("batches of 1000: the tree with its tiles; their files are written off the clock");
        let small = of(&|round| round.mapped_small);
        let what = format!("ledger append with the authenticated map of {} accounts", self.accounts);
        let mapped = row(what, |round| round.mapped, 0.05)
            .note(format!(
                "batches of 1000 changes of random accounts with one root; in batches of {SMALL_BATCH}: {:.2} us, {:.3} of the ceiling",
                small.median / 1000.0,
                of(&|round| round.ceiling / round.mapped_small).median
            ))
            .because(format!(
                "changing the account in the map and the batch's root take {:.2} us of it",
                of(&|round| round.mapped - round.gateway).median / 1000.0
            ))
            .details(self.json());
        [enclave, gateway, mapped].map(|row| settings.judged_at_full_size(row)).into()
    }

    fn json(&self) -> Value {
        let each = |round: &Round| {
            json!({
                "ceiling_ns": rounded(round.ceiling), "enclave_ns": rounded(round.enclave),
                "gateway_ns": rounded(round.gateway), "with_map_ns": rounded(round.mapped),
                "with_map_batches_of_64_ns": rounded(round.mapped_small),
            })
        };
        self.rounds.iter().map(each).collect()
    }
}
