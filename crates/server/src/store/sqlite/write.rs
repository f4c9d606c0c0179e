//! The one transaction.

use super::schema::{first_leaf, last_place, place};
use crate::store::{CommitError, Newest, follow, linked_leaves, tail_after};
use keyferry_wire::door::{AccountPut, Batch, DevicePut, LargeBlobPut, ServiceRow};
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, ShardId, Wire};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::{BTreeMap, HashMap};

/// An account's number in the store and its newest leaf.
type Known = Option<(i64, Option<u64>)>;

/// Accounts that were written lately, as they are in the store. Nobody else writes to it, so that they need not be
/// looked up before each write.
#[derive(Default)]
pub(super) struct Recent(HashMap<AccountId, (i64, Option<u64>)>);

/// Accounts known at most: about 5 MB.
const RECENT_MAX: usize = 50_000;

pub(super) fn commit(
    connection: &mut Connection,
    recent: &mut Recent,
    service: Option<&ServiceRow>,
    batches: &[Batch],
) -> Result<(), CommitError> {
    if recent.0.len() > RECENT_MAX {
        recent.0.clear();
    }
    let done = commit_all(connection, recent, service, batches);
    if done.is_err() {
        recent.0.clear();
    }
    done
}

fn commit_all(
    connection: &mut Connection,
    recent: &mut Recent,
    service: Option<&ServiceRow>,
    batches: &[Batch],
) -> Result<(), CommitError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(refusal)?;
    check(&transaction, batches)?;
    write(&transaction, recent, service, batches).map_err(refusal)?;
    transaction.commit().map_err(refusal)
}

fn check(transaction: &Transaction<'_>, batches: &[Batch]) -> Result<(), CommitError> {
    let mut newest = BTreeMap::new();
    for batch in batches {
        let before = match newest.get(&batch.shard) {
            Some(before) => *before,
            None => newest_state(transaction, batch.shard).map_err(refusal)?,
        };
        newest.insert(batch.shard, follow(before, batch)?);
    }
    Ok(())
}

fn newest_state(transaction: &Transaction<'_>, shard: ShardId) -> rusqlite::Result<Newest> {
    let sql =
        "SELECT place, number, count FROM batches WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1";
    let row = transaction.prepare_cached(sql)?.query_row((place(shard, 0), last_place(shard)), |row| {
        let size = first_leaf(row.get(0)?).saturating_add(row.get::<_, u64>(2)?);
        Ok((row.get(1)?, size))
    });
    row.optional()
}

fn write(
    transaction: &Transaction<'_>,
    recent: &mut Recent,
    service: Option<&ServiceRow>,
    batches: &[Batch],
) -> rusqlite::Result<()> {
    if let Some(service) = service {
        transaction
            .prepare_cached(
                "INSERT INTO service (id, row) VALUES (1, ?1) ON CONFLICT DO UPDATE SET row = ?1",
            )?
            .execute([service.to_bytes()])?;
    }
    for batch in batches {
        write_batch(transaction, recent, batch)?;
    }
    Ok(())
}

fn write_batch(transaction: &Transaction<'_>, recent: &mut Recent, batch: &Batch) -> rusqlite::Result<()> {
    let mut tails = Vec::with_capacity(batch.accounts.len());
    for put in &batch.accounts {
        let known = match recent.0.get(&put.account) {
            Some(known) => Some(*known),
            None => known(transaction, put)?,
        };
        let written = write_account(transaction, batch, put, known)?;
        recent.0.insert(put.account, written);
        tails.push(known.and_then(|(_, tail)| tail));
    }
    let linked = linked_leaves(batch, |at| tails.get(at).copied().flatten());
    let count = u64::try_from(batch.leaves.len() / LEAF_LEN).unwrap_or(0);
    let seal = batch.leaves.rchunks_exact(LEAF_LEN).next().unwrap_or_default();
    let sql = "INSERT INTO batches (place, number, count, checkpoint, seal, leaves) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
    transaction.prepare_cached(sql)?.execute(params![
        place(batch.shard, batch.first_leaf).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, 0))?,
        batch.number,
        count,
        batch.checkpoint,
        seal,
        linked,
    ])?;
    Ok(())
}

fn known(transaction: &Transaction<'_>, put: &AccountPut) -> rusqlite::Result<Known> {
    transaction
        .prepare_cached("SELECT number, tail FROM accounts WHERE account = ?1")?
        .query_row([&put.account.0[..]], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn write_account(
    transaction: &Transaction<'_>,
    batch: &Batch,
    put: &AccountPut,
    known: Known,
) -> rusqlite::Result<(i64, Option<u64>)> {
    let state = &put.state;
    let tail = tail_after(batch, &put.leaves).or(known.and_then(|(_, tail)| tail));
    let number = match known {
        Some((number, _)) => {
            let sql = "UPDATE accounts SET map_key = ?2, seq = ?3, head = ?4, vault_seq = ?5, vault_root = ?6, \
                       tail = ?7, row = ?8 WHERE number = ?1";
            let changed = transaction.prepare_cached(sql)?.execute(params![
                number,
                &put.map_key[..],
                state.seq,
                &state.head[..],
                state.vault_seq,
                &state.vault_root[..],
                tail,
                &state.row[..],
            ])?;
            if changed == 0 {
                return Err(rusqlite::Error::StatementChangedRows(0));
            }
            number
        }
        None => {
            let sql = "INSERT INTO accounts (shard, account, map_key, seq, head, vault_seq, vault_root, tail, row) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
            transaction.prepare_cached(sql)?.execute(params![
                batch.shard.0,
                &put.account.0[..],
                &put.map_key[..],
                state.seq,
                &state.head[..],
                state.vault_seq,
                &state.vault_root[..],
                tail,
                &state.row[..],
            ])?;
            transaction.last_insert_rowid()
        }
    };
    for device in &put.devices {
        write_device(transaction, batch.shard, number, device)?;
    }
    for row in &put.passkeys {
        write_passkey(transaction, batch.shard, number, row)?;
    }
    for put in &put.large_blobs {
        write_large_blob(transaction, batch.shard, number, put)?;
    }
    Ok((number, tail))
}

fn write_device(
    transaction: &Transaction<'_>,
    shard: ShardId,
    number: i64,
    put: &DevicePut,
) -> rusqlite::Result<()> {
    let access = put.access.as_ref().map(|hash| &hash[..]);
    let row = params![shard.0, number, &put.device.0[..], access, &put.row[..]];
    // Nearly always it is there.
    let sql = "UPDATE devices SET access = ?4, row = ?5 WHERE shard = ?1 AND number = ?2 AND device = ?3";
    if transaction.prepare_cached(sql)?.execute(row)? == 0 {
        let sql = "INSERT INTO devices (shard, number, device, access, row) VALUES (?1, ?2, ?3, ?4, ?5)";
        transaction.prepare_cached(sql)?.execute(row)?;
    }
    Ok(())
}

fn write_passkey(
    transaction: &Transaction<'_>,
    shard: ShardId,
    number: i64,
    row: &PasskeyRow,
) -> rusqlite::Result<()> {
    let sql = "INSERT INTO passkeys (shard, number, id, version, vault_seq, deleted, epoch, blob, metadata, \
               large_blob) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO UPDATE SET version = ?4, \
               vault_seq = ?5, deleted = ?6, epoch = ?7, blob = ?8, metadata = ?9, large_blob = ?10";
    transaction.prepare_cached(sql)?.execute(params![
        shard.0,
        number,
        &row.id.0[..],
        row.version,
        row.vault_seq,
        row.deleted,
        row.epoch,
        &row.blob[..],
        &row.metadata[..],
        row.large_blob.as_ref().map(|hash| &hash[..]),
    ])?;
    Ok(())
}

fn write_large_blob(
    transaction: &Transaction<'_>,
    shard: ShardId,
    number: i64,
    put: &LargeBlobPut,
) -> rusqlite::Result<()> {
    let id = &put.id.0[..];
    match &put.sealed {
        Some(sealed) => {
            let sql = "INSERT INTO large_blobs (shard, number, id, sealed) VALUES (?1, ?2, ?3, ?4) \
                       ON CONFLICT DO UPDATE SET sealed = ?4";
            transaction.prepare_cached(sql)?.execute(params![shard.0, number, id, &sealed[..]])?;
        }
        None => {
            let sql = "DELETE FROM large_blobs WHERE shard = ?1 AND number = ?2 AND id = ?3";
            transaction.prepare_cached(sql)?.execute(params![shard.0, number, id])?;
        }
    }
    Ok(())
}

/// What an SQLite error means for the writer.
fn refusal(error: rusqlite::Error) -> CommitError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => CommitError::Full,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => CommitError::Busy,
        _ => CommitError::Other(Box::new(error)),
    }
}
