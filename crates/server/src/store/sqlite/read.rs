//! All reads, for the writer's connection and the reader's alike.

use super::schema::{first_leaf, last_place, last_slot, number_of, place, slots};
use crate::store::{
    AccountKey, LINKED_LEAF_LEN, ReadError, StoredAccount, StoredLeaf, StoredLeaves, StoredTail, stored_leaf,
    unlinked,
};
use keyferry_wire::door::{AccountState, DeviceRow, ServiceRow};
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, ShardId, Wire};
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ValueRef};
use rusqlite::{Connection, OptionalExtension, Row};

const ACCOUNT: &str = "account, shard, place, map_key, seq, head, vault_seq, vault_root, tail, row";
const PASSKEY: &str = "id, version, vault_seq, deleted, epoch, blob, metadata, large_blob";

pub(super) fn service(connection: &Connection) -> Result<Option<ServiceRow>, ReadError> {
    let what = "the service row";
    let bytes = reading(what, || {
        let mut statement = connection.prepare_cached("SELECT row FROM service")?;
        statement.query_row([], |row| row.get::<_, Vec<u8>>(0)).optional()
    })?;
    let row = bytes.map(|bytes| ServiceRow::from_bytes(&bytes)).transpose();
    row.map_err(|error| ReadError { what, cause: Box::new(error) })
}

pub(super) fn tail(connection: &Connection, shard: ShardId) -> Result<Option<StoredTail>, ReadError> {
    reading("the end of a log", || {
        let sql = "SELECT place, number, count, checkpoint, leaves FROM batches WHERE place BETWEEN ?1 AND ?2 \
                   ORDER BY place DESC LIMIT 1";
        let mut statement = connection.prepare_cached(sql)?;
        let row = statement.query_row((place(shard, 0), last_place(shard)), |row| {
            let leaves = row.get_ref(4)?.as_blob()?;
            let last = leaves.rchunks_exact(LINKED_LEAF_LEN).next().and_then(|linked| linked.get(..LEAF_LEN));
            Ok(StoredTail {
                number: row.get(1)?,
                size: first_leaf(row.get(0)?).saturating_add(row.get::<_, u64>(2)?),
                checkpoint: row.get(3)?,
                seal: last.unwrap_or_default().to_vec(),
            })
        });
        row.optional()
    })
}

pub(super) fn leaves_from(
    connection: &Connection,
    shard: ShardId,
    from: u64,
    each: &mut dyn FnMut(StoredLeaves) -> bool,
) -> Result<(), ReadError> {
    reading("batches", || {
        let Some((_, start)) = batch_of(connection, shard, from)? else {
            return Ok(());
        };
        let sql = "SELECT place, leaves FROM batches WHERE place BETWEEN ?1 AND ?2 ORDER BY place";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query((start, last_place(shard)))?;
        while let Some(row) = rows.next()? {
            let first = first_leaf(row.get(0)?);
            let mut leaves = unlinked(row.get_ref(1)?.as_blob()?);
            let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX);
            leaves.drain(..skip.saturating_mul(LEAF_LEN).min(leaves.len()));
            if !leaves.is_empty() && !each(StoredLeaves { first: from.max(first), leaves }) {
                break;
            }
        }
        Ok(())
    })
}

pub(super) fn accounts(
    connection: &Connection,
    each: &mut dyn FnMut(AccountId, StoredAccount),
) -> Result<(), ReadError> {
    reading("accounts", || {
        // In the order of the table, not of the index: every page is read once.
        let sql = format!("SELECT {ACCOUNT} FROM rows NOT INDEXED WHERE account IS NOT NULL");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let Fixed(account) = row.get(0)?;
            each(AccountId(account), account_row(row)?);
        }
        Ok(())
    })
}

pub(super) fn account(
    connection: &Connection,
    account: &AccountId,
) -> Result<Option<StoredAccount>, ReadError> {
    reading("an account", || {
        // A constant text: the cache of statements looks it up by its bytes.
        const SQL: &str = "SELECT account, shard, place, map_key, seq, head, vault_seq, vault_root, tail, row \
                           FROM rows WHERE account = ?1";
        connection.prepare_cached(SQL)?.query_row([&account.0[..]], account_row).optional()
    })
}

pub(super) fn devices(
    connection: &Connection,
    at: AccountKey,
    ids: &[DeviceId],
) -> Result<Vec<DeviceRow>, ReadError> {
    reading("devices", || {
        let sql = "SELECT row FROM rows WHERE place BETWEEN ?1 AND ?2 AND device = ?3";
        let mut statement = connection.prepare_cached(sql)?;
        let mut found = Vec::with_capacity(ids.len());
        let (first, last) = (slots(at.number), last_slot(slots(at.number)));
        for id in ids {
            let row = statement.query_row((first, last, &id.0[..]), |row| row.get::<_, Vec<u8>>(0));
            found.extend(row.optional()?.map(|row| DeviceRow { device: *id, row: row.into() }));
        }
        Ok(found)
    })
}

pub(super) fn device_ids(connection: &Connection, at: AccountKey) -> Result<Vec<DeviceId>, ReadError> {
    reading("devices", || {
        let sql =
            "SELECT device FROM rows WHERE place BETWEEN ?1 AND ?2 AND device IS NOT NULL ORDER BY device";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map((slots(at.number), last_slot(slots(at.number))), |row| {
            let Fixed(id) = row.get(0)?;
            Ok(DeviceId(id))
        })?;
        rows.collect()
    })
}

pub(super) fn access(connection: &Connection, at: AccountKey) -> Result<Vec<(DeviceId, Hash)>, ReadError> {
    reading("devices", || {
        let sql = "SELECT device, access FROM rows WHERE place BETWEEN ?1 AND ?2 AND access IS NOT NULL";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map((slots(at.number), last_slot(slots(at.number))), |row| {
            let (Fixed(id), Fixed(access)) = (row.get(0)?, row.get(1)?);
            Ok((DeviceId(id), access))
        })?;
        rows.collect()
    })
}

pub(super) fn passkey(
    connection: &Connection,
    at: AccountKey,
    id: &CredentialId,
) -> Result<Option<PasskeyRow>, ReadError> {
    reading("a passkey", || {
        const SQL: &str = "SELECT id, version, vault_seq, deleted, epoch, blob, metadata, large_blob FROM passkeys \
                           WHERE shard = ?1 AND number = ?2 AND id = ?3";
        let mut statement = connection.prepare_cached(SQL)?;
        statement.query_row((at.shard.0, at.number, &id.0[..]), passkey_row).optional()
    })
}

pub(super) fn large_blob(
    connection: &Connection,
    at: AccountKey,
    id: &CredentialId,
) -> Result<Option<Vec<u8>>, ReadError> {
    reading("a large blob", || {
        let sql = "SELECT sealed FROM large_blobs WHERE shard = ?1 AND number = ?2 AND id = ?3";
        let mut statement = connection.prepare_cached(sql)?;
        statement.query_row((at.shard.0, at.number, &id.0[..]), |row| row.get(0)).optional()
    })
}

pub(super) fn vault(
    connection: &Connection,
    at: AccountKey,
    each: &mut dyn FnMut(PasskeyRow),
) -> Result<(), ReadError> {
    reading("a vault", || {
        let sql = format!("SELECT {PASSKEY} FROM passkeys WHERE shard = ?1 AND number = ?2");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query((at.shard.0, at.number))?;
        while let Some(row) = rows.next()? {
            each(passkey_row(row)?);
        }
        Ok(())
    })
}

pub(super) fn changed(
    connection: &Connection,
    at: AccountKey,
    after: u64,
    limit: usize,
) -> Result<Vec<PasskeyRow>, ReadError> {
    reading("changes of a vault", || {
        let sql = format!(
            "SELECT {PASSKEY} FROM passkeys WHERE shard = ?1 AND number = ?2 AND vault_seq > ?3 \
             ORDER BY vault_seq LIMIT ?4"
        );
        let mut statement = connection.prepare_cached(&sql)?;
        // SQLite's integers end at 2^63 - 1, where no vault will ever be.
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let rows = statement.query_map((at.shard.0, at.number, after, limit), passkey_row)?;
        rows.collect()
    })
}

pub(super) fn leaf(
    connection: &Connection,
    shard: ShardId,
    index: u64,
) -> Result<Option<StoredLeaf>, ReadError> {
    reading("a leaf", || {
        let Some((batch, place)) = batch_of(connection, shard, index)? else {
            return Ok(None);
        };
        // Reads these bytes alone: a batch has up to a quarter of a megabyte.
        let blob = connection.blob_open("main", "batches", "leaves", batch, true)?;
        let at = usize::try_from(index.saturating_sub(first_leaf(place))).unwrap_or(usize::MAX);
        let start = at.saturating_mul(LINKED_LEAF_LEN);
        if start.saturating_add(LINKED_LEAF_LEN) > blob.len() {
            return Ok(None);
        }
        let mut linked = [0; LINKED_LEAF_LEN];
        blob.read_at_exact(&mut linked, start)?;
        Ok(stored_leaf(&linked))
    })
}

/// Id and place of the batch that a leaf is in, if the shard has batches up to there.
fn batch_of(connection: &Connection, shard: ShardId, leaf: u64) -> rusqlite::Result<Option<(i64, i64)>> {
    let sql = "SELECT id, place FROM batches WHERE place BETWEEN ?1 AND ?2 ORDER BY place DESC LIMIT 1";
    connection
        .prepare_cached(sql)?
        .query_row((place(shard, 0), place(shard, leaf)), |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
}

fn account_row(row: &Row<'_>) -> rusqlite::Result<StoredAccount> {
    let (Fixed(map_key), Fixed(head), Fixed(vault_root)) = (row.get(3)?, row.get(5)?, row.get(7)?);
    Ok(StoredAccount {
        key: AccountKey { shard: ShardId(row.get(1)?), number: number_of(row.get(2)?) },
        map_key,
        state: AccountState {
            row: row.get::<_, Vec<u8>>(9)?.into(),
            seq: row.get(4)?,
            head,
            vault_seq: row.get(6)?,
            vault_root,
        },
        tail: row.get(8)?,
    })
}

fn passkey_row(row: &Row<'_>) -> rusqlite::Result<PasskeyRow> {
    let Fixed(id) = row.get(0)?;
    Ok(PasskeyRow {
        id: CredentialId(id),
        version: row.get(1)?,
        vault_seq: row.get(2)?,
        deleted: row.get(3)?,
        epoch: row.get(4)?,
        blob: row.get::<_, Vec<u8>>(5)?.into(),
        metadata: row.get::<_, Vec<u8>>(6)?.into(),
        large_blob: row.get::<_, Option<Fixed<32>>>(7)?.map(|Fixed(hash)| hash),
    })
}

fn reading<T>(what: &'static str, read: impl FnOnce() -> rusqlite::Result<T>) -> Result<T, ReadError> {
    read().map_err(|error| failed(what, error))
}

pub(super) fn failed(what: &'static str, error: rusqlite::Error) -> ReadError {
    ReadError { what, cause: Box::new(error) }
}

/// A column with exactly so many bytes.
struct Fixed<const N: usize>([u8; N]);

impl<const N: usize> FromSql for Fixed<N> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        let bytes = value.as_blob()?;
        let fixed = bytes
            .try_into()
            .map_err(|_| FromSqlError::InvalidBlobSize { expected_size: N, blob_size: bytes.len() })?;
        Ok(Fixed(fixed))
    }
}
