//! An account's entries in the ledger, found by the chain that the store keeps: each leaf names the one before.
//!
//! The chain is walked from its end, so a long history costs one walk; `Trail` keeps what was found. Walking needs
//! the store alone and is done without the desk, so that no writer waits for a reader.

use super::{Desk, DeskError};
use crate::ledger::ProofUnavailable;
use crate::store::{Read, ReadError};
use keyferry_wire::publish::{AuditEntry, AuditPage};
use keyferry_wire::{AccountId, ShardId};

/// Entries of one page: about 1 KB each.
pub const AUDIT_LIMIT_MAX: usize = 256;

/// Where the leaves of an account stand in its shard's log, the oldest first.
#[derive(Clone, Debug)]
pub struct Trail {
    shard: ShardId,
    tail: Option<u64>,
    indices: Vec<u64>,
}

impl Trail {
    /// Goes on to the end that the account had when `end` was made; reads only leaves that are new to it.
    pub fn extend(&mut self, store: &dyn Read, end: &Trail) -> Result<(), ReadError> {
        let known = self.indices.last().copied();
        if end.tail <= known {
            // An end from before: this trail has gone on since.
            return Ok(());
        }
        let mut found = Vec::new();
        let mut next = end.tail;
        while let Some(index) = next.filter(|index| known.is_none_or(|known| *index > known)) {
            found.push(index);
            // A chain that does not go down would never end.
            next = store.leaf(end.shard, index)?.and_then(|leaf| leaf.previous).filter(|next| *next < index);
        }
        if next != known {
            self.indices.clear();
        }
        self.indices.extend(found.into_iter().rev());
        Ok(())
    }

    /// Entries known.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether no entry is known.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

impl Desk {
    /// The end of an account's trail, to walk back from.
    pub fn trail_end(&mut self, store: &dyn Read, account: &AccountId) -> Result<Trail, DeskError> {
        let entry = self.accounts.fetch(store, account)?.ok_or(DeskError::Account)?;
        Ok(Trail { shard: entry.key.shard, tail: entry.tail, indices: Vec::new() })
    }

    /// Entries `from..` of an account (the first is number 1), each with its place in the newest checkpoint's tree.
    pub fn audit(
        &mut self,
        store: &dyn Read,
        account: &AccountId,
        from: u64,
        limit: usize,
        seen: u64,
    ) -> Result<AuditPage, DeskError> {
        let mut trail = self.trail_end(store, account)?;
        let end = trail.clone();
        trail.extend(store, &end)?;
        self.audit_page(store, account, &trail, from, limit, seen)
    }

    /// The same along a trail that was walked before.
    pub fn audit_page(
        &mut self,
        store: &dyn Read,
        account: &AccountId,
        trail: &Trail,
        from: u64,
        limit: usize,
        seen: u64,
    ) -> Result<AuditPage, DeskError> {
        let proof = self.account_proof(store, account, seen)?;
        let first = from.max(1);
        let skip = usize::try_from(first - 1).unwrap_or(usize::MAX);
        let indices = trail.indices.iter().skip(skip).take(limit.clamp(1, AUDIT_LIMIT_MAX));
        let log = self.log(trail.shard)?;
        let mut entries = Vec::new();
        for index in indices {
            let stored = store.leaf(trail.shard, *index)?.ok_or(ProofUnavailable)?;
            entries.push(AuditEntry {
                index: *index,
                leaf: stored.leaf.into(),
                inclusion: log.inclusion(store, *index)?,
            });
        }
        let shown = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        let more = first.saturating_add(shown) <= proof.seq;
        Ok(AuditPage { account: proof, first, entries, more })
    }
}
