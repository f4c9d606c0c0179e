//! Counters for operators, in Prometheus' text format. No names, ids or addresses of anybody.

use keyferry_wire::door::Drop as Reason;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// All counters of one gateway.
#[derive(Default)]
pub struct Metrics {
    /// By route template and status.
    requests: Mutex<BTreeMap<(&'static str, u16), u64>>,
    drops: Mutex<BTreeMap<&'static str, u64>>,
    /// Sessions opened.
    pub sessions: AtomicU64,
    /// Turns of the enclave.
    pub turns: Histogram,
    /// Durable commits.
    pub commits: Histogram,
    /// Requests in one turn.
    pub turn_requests: Histogram,
    /// Ledger entries in one commit.
    pub commit_entries: Histogram,
    /// Commits that the store refused.
    pub commit_failures: AtomicU64,
    /// Rows that did not verify: somebody changed the store.
    pub store_refused: AtomicU64,
    /// Pages of the store's write-ahead log that are to be moved into its database, roughly.
    pub store_log_pages: AtomicU64,
    /// Restarts of the enclave.
    pub enclave_restarts: AtomicU64,
    /// Publications and repairs of ledger files that failed.
    pub ledger_failures: AtomicU64,
    /// Repairs of ledger files: lost ones, or such as could not wait for longer.
    pub ledger_repairs: AtomicU64,
    /// Full ledger files that waited after the last publication.
    pub ledger_files_waiting: AtomicU64,
    /// Replies without the proof of consistency that they need.
    pub unproven: AtomicU64,
    /// TLS pairs that took the place of another one.
    pub tls_reloads: AtomicU64,
    /// TLS pairs that could not.
    pub tls_reload_failures: AtomicU64,
    /// When the TLS certificate ends, in seconds since 1970; 0 without one.
    pub tls_not_after: AtomicU64,
    /// Live connections that are open.
    pub live_connections: AtomicU64,
    /// Hints sent.
    pub hints: AtomicU64,
    /// Live connections that were ended because the other side did not read or answer.
    pub live_dropped: AtomicU64,
}

/// Upper bounds in powers of four, from 1: microseconds up to 67 s, or counts.
#[derive(Default)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum: AtomicU64,
}

const BUCKETS: usize = 14;

impl Histogram {
    /// Takes note of a value.
    pub fn note(&self, value: u64) {
        let bucket = (0..BUCKETS).find(|bucket| value <= bound(*bucket)).unwrap_or(BUCKETS - 1);
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    /// Takes note of a time in microseconds.
    pub fn note_time(&self, time: Duration) {
        self.note(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    fn write(&self, out: &mut String, name: &str, help: &str) {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} histogram");
        let mut count = 0;
        for (at, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Ordering::Relaxed);
            if at + 1 < BUCKETS {
                let _ = writeln!(out, "{name}_bucket{{le=\"{}\"}} {count}", bound(at));
            }
        }
        let sum = self.sum.load(Ordering::Relaxed);
        let _ = writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {count}\n{name}_sum {sum}\n{name}_count {count}");
    }
}

fn bound(bucket: usize) -> u64 {
    1 << (2 * bucket)
}

impl Metrics {
    /// Counts an answered request.
    pub fn request(&self, route: &'static str, status: u16) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        *requests.entry((route, status)).or_default() += 1;
    }

    /// Counts a frame that got no reply.
    pub fn dropped(&self, reason: Reason) {
        if reason == Reason::Store {
            self.store_refused.fetch_add(1, Ordering::Relaxed);
        }
        let mut drops = self.drops.lock().unwrap_or_else(PoisonError::into_inner);
        *drops.entry(reason_text(reason)).or_default() += 1;
    }

    /// Everything as text.
    pub fn text(&self) -> String {
        let mut out = String::new();
        let name = "keyferry_requests_total";
        let _ = writeln!(out, "# HELP {name} HTTP requests by route and status.\n# TYPE {name} counter");
        for ((route, status), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "{name}{{route=\"{route}\",status=\"{status}\"}} {count}");
        }
        let name = "keyferry_dropped_total";
        let _ = writeln!(out, "# HELP {name} Frames without a reply by reason.\n# TYPE {name} counter");
        for (reason, count) in &*self.drops.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "{name}{{reason=\"{reason}\"}} {count}");
        }
        let counters = [
            ("keyferry_sessions_total", "Sessions opened.", &self.sessions),
            ("keyferry_commit_failures_total", "Commits that the store refused.", &self.commit_failures),
            ("keyferry_store_refused_total", "Rows that did not verify.", &self.store_refused),
            ("keyferry_enclave_restarts_total", "Restarts of the enclave.", &self.enclave_restarts),
            ("keyferry_ledger_failures_total", "Ledger files that were not written.", &self.ledger_failures),
            (
                "keyferry_ledger_repairs_total",
                "Ledger files made again from the store.",
                &self.ledger_repairs,
            ),
            ("keyferry_unproven_total", "Replies without their proof of consistency.", &self.unproven),
            ("keyferry_tls_reloads_total", "TLS pairs put in place of another.", &self.tls_reloads),
            (
                "keyferry_tls_reload_failures_total",
                "TLS pairs that cannot be served.",
                &self.tls_reload_failures,
            ),
            ("keyferry_hints_total", "Hints sent over live connections.", &self.hints),
            (
                "keyferry_live_dropped_total",
                "Live connections ended because the other side neither read nor answered.",
                &self.live_dropped,
            ),
        ];
        let mut write = |kind, name, help, value: &AtomicU64| {
            let value = value.load(Ordering::Relaxed);
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}");
        };
        counters.into_iter().for_each(|(name, help, value)| write("counter", name, help, value));
        if self.tls_not_after.load(Ordering::Relaxed) != 0 {
            let (name, help) = ("keyferry_tls_not_after_seconds", "End of the TLS certificate, since 1970.");
            write("gauge", name, help, &self.tls_not_after);
        }
        let gauges = [
            ("keyferry_live_connections", "Live connections that are open.", &self.live_connections),
            (
                "keyferry_store_log_pages",
                "Pages of the store's write-ahead log that are to be moved.",
                &self.store_log_pages,
            ),
            (
                "keyferry_ledger_files_waiting",
                "Full ledger files that wait to be written.",
                &self.ledger_files_waiting,
            ),
        ];
        gauges.into_iter().for_each(|(name, help, value)| write("gauge", name, help, value));
        self.turns.write(&mut out, "keyferry_turn_micros", "Time of a turn of the enclave.");
        self.commits.write(&mut out, "keyferry_commit_micros", "Time of a durable commit.");
        self.turn_requests.write(&mut out, "keyferry_turn_requests", "Requests in a turn.");
        self.commit_entries.write(&mut out, "keyferry_commit_entries", "Ledger entries in a commit.");
        out
    }
}

fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::Session => "session",
        Reason::Frame => "frame",
        Reason::Version => "version",
        Reason::Evidence => "evidence",
        Reason::Store => "store",
        Reason::Full => "full",
        Reason::Starting => "starting",
    }
}
