//! What devices read without the enclave: what changed in the vault, and the account's proof.

use super::{Desk, DeskError, fields, prove};
use crate::store::{AccountKey, Read, ReadError};
use keyferry_wire::publish::{AccountProof, Hint, PasskeyRow, SyncPage};
use keyferry_wire::{AccountId, Hash};

/// Rows of one page of a sync: at most 4 MB if every row is as large as one can be made.
pub const SYNC_LIMIT_MAX: usize = 500;

impl Desk {
    /// Whether a device of the account holds the access token with this SHA-256.
    pub fn may_read(
        &mut self,
        store: &dyn Read,
        account: &AccountId,
        token: &Hash,
    ) -> Result<bool, DeskError> {
        let Some(entry) = self.accounts.fetch(store, account)? else {
            return Ok(false);
        };
        let allowed = entry.access(store)?.iter().any(|(_, access)| access == token);
        Ok(allowed)
    }

    /// Where the account stands, for a device that holds the access token with this SHA-256.
    pub fn position(
        &mut self,
        store: &dyn Read,
        account: &AccountId,
        token: &Hash,
    ) -> Result<Option<Hint>, DeskError> {
        if !self.may_read(store, account, token)? {
            return Ok(None);
        }
        let entry = self.accounts.fetch(store, account)?.ok_or(DeskError::Account)?;
        Ok(Some(Hint { seq: entry.state.seq, vault_seq: entry.state.vault_seq }))
    }

    /// The account's state and the way from it to the newest checkpoint, with consistency from `seen`.
    pub fn account_proof(
        &mut self,
        store: &dyn Read,
        account: &AccountId,
        seen: u64,
    ) -> Result<AccountProof, DeskError> {
        let entry = self.accounts.fetch(store, account)?.ok_or(DeskError::Account)?;
        let (shard, map_key) = (entry.key.shard, entry.map_key);
        let fields = fields(&entry.state);
        let shard = self.shard(shard)?;
        let log = &shard.log;
        // A reader that claims to have seen more than there is gets no proof: it will say so itself.
        let consistency =
            if seen > log.size() { Vec::new() } else { log.consistency(store, seen, log.size())? };
        Ok(AccountProof {
            map_key,
            row: fields.row,
            seq: fields.seq,
            head: fields.head,
            vault_seq: fields.vault_seq,
            vault_root: fields.vault_root,
            proof: prove(&shard.map, &map_key),
            seal: log.seal().into(),
            inclusion: log.seal_inclusion()?,
            checkpoint: log.checkpoint().to_owned(),
            consistency,
        })
    }

    /// Rows that changed since a cursor. Costs next to nothing when none did.
    pub fn sync(
        &mut self,
        store: &dyn Read,
        account: &AccountId,
        cursor: u64,
        limit: usize,
        seen: u64,
    ) -> Result<SyncPage, DeskError> {
        let entry = self.accounts.fetch(store, account)?.ok_or(DeskError::Account)?;
        let vault_seq = entry.state.vault_seq;
        if cursor == vault_seq {
            return Ok(SyncPage { rows: Vec::new(), cursor, more: false, account: None });
        }
        let limit = limit.clamp(1, SYNC_LIMIT_MAX);
        let mut rows = match cursor {
            // A small vault from its beginning: one walk through its rows, which takes half as long as the way by the
            // index of changes, row by row.
            0 if usize::try_from(vault_seq).is_ok_and(|changes| changes <= limit) => whole(store, entry.key)?,
            _ if cursor < vault_seq => store.changed(entry.key, cursor, limit + 1)?,
            _ => Vec::new(),
        };
        let more = rows.len() > limit;
        rows.truncate(limit);
        if more {
            let cursor = rows.last().map_or(cursor, |row| row.vault_seq);
            return Ok(SyncPage { rows, cursor, more, account: None });
        }
        let proof = self.account_proof(store, account, seen)?;
        Ok(SyncPage { rows, cursor: vault_seq, more, account: Some(proof) })
    }
}

/// All rows of a vault in the order of their changes.
fn whole(store: &dyn Read, at: AccountKey) -> Result<Vec<PasskeyRow>, ReadError> {
    let mut rows = Vec::new();
    store.vault(at, &mut |row| rows.push(row))?;
    rows.sort_unstable_by_key(|row| row.vault_seq);
    Ok(rows)
}
