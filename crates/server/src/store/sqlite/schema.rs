//! Tables, and the settings of a connection.

use super::OpenError;
use super::migrate::{STEPS, Say, upgrade};
use keyferry_wire::ShardId;
use rusqlite::Connection;
use std::path::Path;
use std::time::Duration;

/// Number of the schema; a program refuses a file with a higher one and upgrades one with a lower (`migrate`).
pub const SCHEMA: i64 = 4;

/// `batches.place` is the shard in the upper 15 bits and the first leaf in the lower 48: one integer key, in the
/// order of the log. The batches themselves lie in the order of their commits, one behind the other: if each shard's
/// lay in a place of its own, each commit would write into the middle of the table as often as there are shards, and
/// split pages there.
///
/// `rows` has the row of an account and behind it those of its devices: a sign-in changes one of each, and so writes
/// one page of 4 KB for both. `rows.place` is the account's number and in the lower 16 bits a slot: 0 for the account.
const TABLES: &str = "
CREATE TABLE service (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    row BLOB NOT NULL
);
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    place INTEGER NOT NULL,
    number INTEGER NOT NULL,
    count INTEGER NOT NULL,
    checkpoint TEXT NOT NULL,
    leaves BLOB NOT NULL
);
CREATE UNIQUE INDEX batches_by_place ON batches (place);
CREATE TABLE rows (
    place INTEGER PRIMARY KEY,
    device BLOB,
    access BLOB,
    account BLOB,
    shard INTEGER,
    map_key BLOB,
    seq INTEGER,
    head BLOB,
    vault_seq INTEGER,
    vault_root BLOB,
    tail INTEGER,
    row BLOB NOT NULL
);
CREATE UNIQUE INDEX rows_by_account ON rows (account, shard) WHERE account IS NOT NULL;
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

/// Bits of a slot in `rows.place`.
const SLOT_BITS: u32 = 16;

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

/// Key of an account's own row; those of its devices follow, up to and with [`last_slot`].
pub(super) fn slots(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX >> SLOT_BITS) << SLOT_BITS
}

/// The last key that a device of the account with its own row at `slots` can have.
pub(super) fn last_slot(slots: i64) -> i64 {
    slots | ((1 << SLOT_BITS) - 1)
}

/// Number of the account that a row belongs to.
pub(super) fn number_of(place: i64) -> u64 {
    u64::try_from(place >> SLOT_BITS).unwrap_or(0)
}

/// The last key that a shard can have.
pub(super) fn last_place(shard: ShardId) -> Option<i64> {
    place(shard, (1 << LEAF_BITS) - 1)
}

/// Index of the first leaf of the batch with this key.
pub(super) fn first_leaf(place: i64) -> u64 {
    u64::try_from(place).unwrap_or(0) & ((1 << LEAF_BITS) - 1)
}
