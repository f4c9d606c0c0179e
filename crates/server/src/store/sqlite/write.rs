//! The one transaction.

use super::schema::{first_leaf, last_place, last_slot, number_of, place, slots};
use crate::store::{CommitError, Newest, follow, linked_leaves, tail_after};
use keyferry_wire::door::{AccountPut, Batch, DevicePut, LargeBlobPut, ServiceRow};
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, DeviceId, ShardId, Wire};
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};
use std::collections::HashMap;

/// What was written lately, as it is in the store. Nobody else writes to it, so that it need not be looked up before
/// each write.
#[derive(Default)]
pub(super) struct Recent {
    accounts: HashMap<AccountId, Known>,
    logs: HashMap<ShardId, Newest>,
}

/// An account in the store.
#[derive(Clone, Copy)]
struct Known {
    /// Key of its row.
    place: i64,
    /// Its newest leaf.
    tail: Option<u64>,
    /// The device that was written last, with the key of its row: nearly always it is the next one, too.
    device: Option<(DeviceId, i64)>,
}

/// Accounts known at most: about 6 MB.
const RECENT_MAX: usize = 50_000;

pub(super) fn commit(
    connection: &mut Connection,
    recent: &mut Recent,
    service: Option<&ServiceRow>,
    batches: &[Batch],
) -> Result<(), CommitError> {
    if recent.accounts.len() > RECENT_MAX {
        recent.accounts.clear();
    }
    let done = commit_all(connection, recent, service, batches);
    if done.is_err() {
        *recent = Recent::default();
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
    check(&transaction, recent, batches)?;
    write(&transaction, recent, service, batches).map_err(refusal)?;
    transaction.commit().map_err(refusal)
}

/// What is noted of a commit that then fails is forgotten by the caller.
fn check(transaction: &Transaction<'_>, recent: &mut Recent, batches: &[Batch]) -> Result<(), CommitError> {
    for batch in batches {
        let before = match recent.logs.get(&batch.shard) {
            Some(before) => *before,
            None => newest_state(transaction, batch.shard).map_err(refusal)?,
        };
        recent.logs.insert(batch.shard, follow(before, batch)?);
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
        let known = match recent.accounts.get(&put.account) {
            Some(known) => Some(*known),
            None => known(transaction, put)?,
        };
        let written = write_account(transaction, batch, put, known)?;
        recent.accounts.insert(put.account, written);
        tails.push(known.and_then(|known| known.tail));
    }
    let linked = linked_leaves(batch, |at| tails.get(at).copied().flatten());
    let count = u64::try_from(batch.leaves.len() / LEAF_LEN).unwrap_or(0);
    let sql = "INSERT INTO batches (place, number, count, checkpoint, leaves) VALUES (?1, ?2, ?3, ?4, ?5)";
    transaction.prepare_cached(sql)?.execute(params![
        place(batch.shard, batch.first_leaf).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, 0))?,
        batch.number,
        count,
        batch.checkpoint,
        linked,
    ])?;
    Ok(())
}

fn known(transaction: &Transaction<'_>, put: &AccountPut) -> rusqlite::Result<Option<Known>> {
    transaction
        .prepare_cached("SELECT place, tail FROM rows WHERE account = ?1")?
        .query_row([&put.account.0[..]], |row| {
            Ok(Known { place: row.get(0)?, tail: row.get(1)?, device: None })
        })
        .optional()
}

fn write_account(
    transaction: &Transaction<'_>,
    batch: &Batch,
    put: &AccountPut,
    known: Option<Known>,
) -> rusqlite::Result<Known> {
    let state = &put.state;
    let tail = tail_after(batch, &put.leaves).or(known.and_then(|known| known.tail));
    let place = match known {
        Some(Known { place, .. }) => {
            let sql = "UPDATE rows SET map_key = ?2, seq = ?3, head = ?4, vault_seq = ?5, vault_root = ?6, \
                       tail = ?7, row = ?8 WHERE place = ?1";
            let changed = transaction.prepare_cached(sql)?.execute(params![
                place,
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
            place
        }
        None => {
            let newest = newest_in(transaction, (0, i64::MAX))?;
            let place = slots(newest.map_or(1, |place| number_of(place).saturating_add(1)));
            let sql = "INSERT INTO rows (place, shard, account, map_key, seq, head, vault_seq, vault_root, tail, row) \
                       VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
            transaction.prepare_cached(sql)?.execute(params![
                place,
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
            place
        }
    };
    let mut device = known.and_then(|known| known.device);
    for put in &put.devices {
        let at = write_device(transaction, place, put, device)?;
        device = Some((put.device, at));
    }
    let number = number_of(place);
    for row in &put.passkeys {
        write_passkey(transaction, batch.shard, number, row)?;
    }
    for put in &put.large_blobs {
        write_large_blob(transaction, batch.shard, number, put)?;
    }
    Ok(Known { place, tail, device })
}

/// The newest key within these bounds.
fn newest_in(transaction: &Transaction<'_>, bounds: (i64, i64)) -> rusqlite::Result<Option<i64>> {
    let sql = "SELECT place FROM rows WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1";
    transaction.prepare_cached(sql)?.query_row(bounds, |row| row.get(0)).optional()
}

/// Writes a device's row into its slot, or into the next one that the account has; gives its key.
fn write_device(
    transaction: &Transaction<'_>,
    account: i64,
    put: &DevicePut,
    known: Option<(DeviceId, i64)>,
) -> rusqlite::Result<i64> {
    let access = put.access.as_ref().map(|hash| &hash[..]);
    let last = last_slot(account);
    let found = match known.filter(|(device, _)| *device == put.device) {
        Some((_, place)) => Some(place),
        None => transaction
            .prepare_cached("SELECT place FROM rows WHERE place BETWEEN ?1 AND ?2 AND device = ?3")?
            .query_row(params![account, last, &put.device.0[..]], |row| row.get(0))
            .optional()?,
    };
    if let Some(place) = found {
        let sql = "UPDATE rows SET access = ?2, row = ?3 WHERE place = ?1";
        return match transaction.prepare_cached(sql)?.execute(params![place, access, &put.row[..]])? {
            0 => Err(rusqlite::Error::StatementChangedRows(0)),
            _ => Ok(place),
        };
    }
    let next = newest_in(transaction, (account, last))?.map_or(account, |place| place.saturating_add(1));
    if next <= account || next > last {
        return Err(rusqlite::Error::IntegralValueOutOfRange(0, next));
    }
    let sql = "INSERT INTO rows (place, device, access, row) VALUES (?1, ?2, ?3, ?4)";
    transaction.prepare_cached(sql)?.execute(params![next, &put.device.0[..], access, &put.row[..]])?;
    Ok(next)
}

fn write_passkey(
    transaction: &Transaction<'_>,
    shard: ShardId,
    number: u64,
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
    number: u64,
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
