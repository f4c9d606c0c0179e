//! What happened in a run, in numbers.

use std::collections::BTreeMap;
use std::fmt;

/// Counters of one or many runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Worlds that were run.
    pub seeds: u64,
    /// Events.
    pub steps: u64,
    /// Simulated time.
    pub simulated_ms: u64,
    /// Turns of the pump.
    pub turns: u64,
    /// Commits that the store kept.
    pub commits: u64,
    /// Ledger events that became durable.
    pub events: u64,
    /// Replies that left an enclave.
    pub replies: u64,
    /// Evaluations of a PIN that left an enclave, each attempt once.
    pub evaluations: u64,
    /// Signatures of passkeys that were verified.
    pub signatures: u64,
    /// Flows that users began, and how they ended.
    pub flows: BTreeMap<String, u64>,
    /// Restarts of enclave or gateway, by the place where they fell.
    pub crashes: BTreeMap<&'static str, u64>,
    /// Everything else that went wrong on purpose.
    pub faults: BTreeMap<&'static str, u64>,
    /// Accounts whose PIN was locked.
    pub locks: u64,
}

impl Stats {
    /// Counts a fault.
    pub fn fault(&mut self, kind: &'static str) {
        *self.faults.entry(kind).or_default() += 1;
    }

    /// Counts a crash.
    pub fn crash(&mut self, place: &'static str) {
        *self.crashes.entry(place).or_default() += 1;
    }

    /// Counts the end of a flow.
    pub fn flow(&mut self, kind: &str, end: &str) {
        *self.flows.entry(format!("{kind} {end}")).or_default() += 1;
    }

    /// Adds another run's numbers.
    pub fn add(&mut self, other: &Stats) {
        self.seeds += other.seeds;
        self.steps += other.steps;
        self.simulated_ms += other.simulated_ms;
        self.turns += other.turns;
        self.commits += other.commits;
        self.events += other.events;
        self.replies += other.replies;
        self.evaluations += other.evaluations;
        self.signatures += other.signatures;
        self.locks += other.locks;
        add(&mut self.flows, &other.flows);
        add(&mut self.crashes, &other.crashes);
        add(&mut self.faults, &other.faults);
    }
}

fn add<K: Ord + Clone>(into: &mut BTreeMap<K, u64>, from: &BTreeMap<K, u64>) {
    for (key, count) in from {
        *into.entry(key.clone()).or_default() += count;
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.simulated_ms / 3_600_000;
        writeln!(f, "seeds {} · steps {} · simulated hours {hours}", self.seeds, self.steps)?;
        writeln!(
            f,
            "turns {} · commits {} · ledger events {} · replies {} · PIN evaluations {} · signatures verified {} · locks {}",
            self.turns,
            self.commits,
            self.events,
            self.replies,
            self.evaluations,
            self.signatures,
            self.locks
        )?;
        line(f, "crashes", &self.crashes)?;
        line(f, "faults", &self.faults)?;
        line(f, "flows", &self.flows)
    }
}

fn line<K: fmt::Display>(f: &mut fmt::Formatter<'_>, name: &str, counts: &BTreeMap<K, u64>) -> fmt::Result {
    write!(f, "{name} {}:", counts.values().sum::<u64>())?;
    for (kind, count) in counts {
        write!(f, " {kind} {count},")?;
    }
    writeln!(f)
}
