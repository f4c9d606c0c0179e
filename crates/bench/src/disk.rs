//! What the disk can do: one sync, and one commit of a raw SQLite database with the settings of the store.

use crate::Fallible;
use crate::host;
use crate::measure::{Spread, percentile, rounded};
use crate::settings::Settings;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

/// A commit: CPU time and wall time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Commit {
    pub(crate) cpu_ns: f64,
    pub(crate) wall_ns: u64,
}

/// The disk's ceilings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Disk {
    pub(crate) commit_1: Commit,
    pub(crate) commit_64: Commit,
    pub(crate) sync_p50_ns: u64,
    pub(crate) sync_p99_ns: u64,
}

/// How often each is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) commits: u32,
    pub(crate) syncs: usize,
}

impl Effort {
    pub(crate) const SHORT: Effort = Effort { commits: 128, syncs: 200 };
    pub(crate) const LONG: Effort = Effort { commits: 512, syncs: 1000 };
}

impl Disk {
    /// Measures in a folder of the file system on which the store will lie.
    pub(crate) fn measure(folder: &Path, effort: Effort) -> Fallible<Disk> {
        let folder = tempfile::tempdir_in(folder)?;
        let mut syncs = syncs(folder.path(), effort.syncs)?;
        syncs.sort_unstable();
        Ok(Disk {
            commit_1: commits(folder.path(), 1, effort.commits)?,
            commit_64: commits(folder.path(), 64, effort.commits)?,
            sync_p50_ns: percentile(&syncs, 0.5),
            sync_p99_ns: percentile(&syncs, 0.99),
        })
    }

    pub(crate) fn mean(&self, later: &Disk) -> Disk {
        let commit = |a: Commit, b: Commit| Commit {
            cpu_ns: f64::midpoint(a.cpu_ns, b.cpu_ns),
            wall_ns: u64::midpoint(a.wall_ns, b.wall_ns),
        };
        Disk {
            commit_1: commit(self.commit_1, later.commit_1),
            commit_64: commit(self.commit_64, later.commit_64),
            sync_p50_ns: u64::midpoint(self.sync_p50_ns, later.sync_p50_ns),
            sync_p99_ns: u64::midpoint(self.sync_p99_ns, later.sync_p99_ns),
        }
    }

    pub(crate) fn json(&self) -> Value {
        let us = |ns: u64| rounded(ns as f64 / 1000.0);
        json!({
            "fdatasync_p50_us": us(self.sync_p50_ns),
            "fdatasync_p99_us": us(self.sync_p99_ns),
            "commit_1_wall_us": us(self.commit_1.wall_ns),
            "commit_64_wall_us": us(self.commit_64.wall_ns),
        })
    }
}

/// How long one sync takes, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Syncs {
    pub(crate) p50_ns: u64,
    pub(crate) p99_ns: u64,
}

impl Syncs {
    pub(crate) fn json(&self) -> Value {
        let us = |ns: u64| rounded(ns as f64 / 1000.0);
        json!({ "p50_us": us(self.p50_ns), "p99_us": us(self.p99_ns) })
    }
}

/// Syncs between the rounds of a measurement that waits for the disk.
const BETWEEN: usize = 300;

/// The disk alone, in the minute of a round.
pub(crate) fn sync_times(settings: &Settings) -> Fallible<Syncs> {
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let mut times = syncs(folder.path(), BETWEEN.min(settings.disk.syncs))?;
    times.sort_unstable();
    Ok(Syncs { p50_ns: percentile(&times, 0.5), p99_ns: percentile(&times, 0.99) })
}

/// A page is appended and synced, as a log does it.
fn syncs(folder: &Path, count: usize) -> Fallible<Vec<u64>> {
    let mut file = File::create(folder.join("sync"))?;
    let page = [1; 4096];
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        file.write_all(&page)?;
        let start = Instant::now();
        file.sync_data()?;
        times.push(u64::try_from(start.elapsed().as_nanos())?);
    }
    Ok(times)
}

/// Rows of the raw database, and their size: about an account's row with its device's.
const ROWS: u32 = 10_000;
const ROW_LEN: usize = 1024;
/// As in the store: the write-ahead log is moved every so many commits.
const CHECKPOINT_COMMITS: u32 = 64;

fn commits(folder: &Path, rows: u32, count: u32) -> Fallible<Commit> {
    let mut database = Connection::open(folder.join(format!("raw-{rows}.db")))?;
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update(None, "wal_autocheckpoint", 0)?;
    database.execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, row BLOB NOT NULL)")?;
    let fill = database.transaction()?;
    for id in 0..ROWS {
        fill.prepare_cached("INSERT INTO rows VALUES (?1, ?2)")?.execute(params![id, [0u8; ROW_LEN]])?;
    }
    fill.commit()?;
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    let (mut cpus, mut walls) = (Vec::new(), Vec::new());
    for turn in 0..count {
        let (cpu, wall) = (host::thread_cpu_ns(), Instant::now());
        let transaction = database.transaction()?;
        for row in 0..rows {
            // Spread over the whole table: a stride that is prime to its size.
            let id = (turn * rows + row) * 7919 % ROWS;
            let row = [u8::try_from(turn % 256)?; ROW_LEN];
            transaction
                .prepare_cached("UPDATE rows SET row = ?2 WHERE id = ?1")?
                .execute(params![id, &row[..]])?;
        }
        transaction.commit()?;
        if (turn + 1) % CHECKPOINT_COMMITS == 0 {
            database.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        }
        cpus.push((host::thread_cpu_ns() - cpu) as f64);
        walls.push(u64::try_from(wall.elapsed().as_nanos())?);
    }
    walls.sort_unstable();
    Ok(Commit { cpu_ns: Spread::of(&cpus).median, wall_ns: percentile(&walls, 0.5) })
}
