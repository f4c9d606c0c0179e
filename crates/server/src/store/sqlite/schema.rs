//! Tables, and the settings of a connection.

use super::OpenError;
use super::migrate::{STEPS, Say, upgrade};
use keyferry_wire::ShardId;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// Number of the schema; a program refuses a file with a higher one and upgrades one with a lower (`migrate`).
pub const SCHEMA: i64 = 3;

/// `batches.place` is the shard in the upper 15 bits and the first leaf in the lower 48: one integer key, in the
/// order of the log, under which a piece of the leaves can be read without the rest.
///
/// A device's row has about a kilobyte, which in a table `WITHOUT ROWID` would take an overflow page of its own: each
/// sign-in would write two pages of 4 KB for it, and each device would take 4 KB more on the disk.
const TABLES: &str = "
CREATE TABLE service (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    row BLOB NOT NULL
);
CREATE TABLE batches (
    place INTEGER PRIMARY KEY,
    number INTEGER NOT NULL,
    count INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,
    seal BLOB NOT NULL,
    leaves BLOB NOT NULL
);
CREATE TABLE accounts (
    number INTEGER PRIMARY KEY,
    shard INTEGER NOT NULL,
    account BLOB NOT NULL,
    map_key BLOB NOT NULL,
    seq INTEGER NOT NULL,
    head BLOB NOT NULL,
    vault_seq INTEGER NOT NULL,
    vault_root BLOB NOT NULL,
    tail INTEGER,
    row BLOB NOT NULL
);
CREATE UNIQUE INDEX accounts_by_id ON accounts (account, shard);
CREATE TABLE devices (
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    device BLOB NOT NULL,
    access BLOB,
    row BLOB NOT NULL,
    PRIMARY KEY (shard, number, device)
);
CREATE TABLE passkeys (
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    id BLOB NOT NULL,
    version INTEGER NOT NULL,
    vault_seq INTEGER NOT NULL,
    deleted INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    blob BLOB NOT NULL,
    metadata BLOB NOT NULL,
    large_blob BLOB,
    PRIMARY KEY (shard, number, id)
) WITHOUT ROWID;
CREATE INDEX passkeys_by_change ON passkeys (shard, number, vault_seq);
CREATE TABLE large_blobs (
    shard INTEGER NOT NULL,
    number INTEGER NOT NULL,
    id BLOB NOT NULL,
    sealed BLOB NOT NULL,
    PRIMARY KEY (shard, number, id)
);
";

/// A commit waits this long for whoever else holds the database (nobody should).
const BUSY_MS: u64 = 250;

/// Bits of a leaf's index in `batches.place`.
const LEAF_BITS: u32 = 48;

/// Makes the writer's connection ready; makes the tables, or upgrades them.
pub(super) fn prepare_writer(
    connection: &mut Connection,
    file: &Path,
    say: Say<'_>,
) -> Result<(), OpenError> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // The gateway moves the log by itself, when its reader stands at the newest commit.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update(None, "cache_size", -48 * 1024)?;
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.set_prepared_statement_cache_capacity(32);
    match version(connection)? {
        0 => create(connection),
        SCHEMA => Ok(()),
        found if found > SCHEMA => Err(OpenError::Newer { found }),
        found => upgrade(connection, file, STEPS, (found, SCHEMA), say),
    }
}

/// The schema that a file says it has; 0 for an empty one.
pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

pub(super) fn prepare_reader(connection: &Connection) -> Result<(), OpenError> {
    connection.busy_timeout(Duration::from_millis(BUSY_MS))?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_update(None, "cache_size", -8 * 1024)?;
    connection.set_prepared_statement_cache_capacity(32);
    Ok(())
}

fn create(connection: &Connection) -> Result<(), OpenError> {
    connection.execute_batch(&format!("BEGIN; {TABLES} PRAGMA user_version = {SCHEMA}; COMMIT;"))?;
    Ok(())
}

/// Key of the batch that starts at a leaf; `None` beyond 2^48 leaves or 2^15 shards.
pub(super) fn place(shard: ShardId, leaf: u64) -> Option<i64> {
    if leaf >> LEAF_BITS != 0 || shard.0 >> 15 != 0 {
        return None;
    }
    i64::try_from(u64::from(shard.0) << LEAF_BITS | leaf).ok()
}

/// The last key that a shard can have.
pub(super) fn last_place(shard: ShardId) -> Option<i64> {
    place(shard, (1 << LEAF_BITS) - 1)
}

/// Index of the first leaf of the batch with this key.
pub(super) fn first_leaf(place: i64) -> u64 {
    u64::try_from(place).unwrap_or(0) & ((1 << LEAF_BITS) - 1)
}
