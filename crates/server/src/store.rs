//! The durable state of all shards: sealed rows, batches of the ledger, and the one operation that changes them, an
//! atomic commit with a compare-and-swap on each shard's batch number.
//!
//! A store is believed in nothing: its faults cost availability, never guesses. Absent: roots, proofs and any
//! decision about an account.

#[cfg(test)]
mod conformance;
mod memory;
mod sqlite;

pub use memory::{MemoryAccount, MemoryBatch, MemoryStore, PlannedFault};
pub use sqlite::{
    DATABASE, LogMover, OpenError, SCHEMA, SqliteReader, SqliteStore, kept_by_upgrade, schema_of,
};

use keyferry_wire::door::{AccountState, Batch, DeviceRow, ServiceRow};
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, ShardId};

/// Bytes that a store keeps for each leaf: the leaf and the index of the account's leaf before it.
pub const LINKED_LEAF_LEN: usize = LEAF_LEN + 8;

/// Stands for "no leaf before this one".
pub(crate) const NO_LEAF: u64 = u64::MAX;

/// Where an account's rows lie: a short name of the store's own, so that rows need not repeat 32 bytes each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountKey {
    /// The shard that the account belongs to.
    pub shard: ShardId,
    /// The store's number for the account.
    pub number: u64,
}

/// An account's row as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredAccount {
    /// Where its devices and passkeys lie.
    pub key: AccountKey,
    /// Blinded account id: its place in the shard's authenticated map.
    pub map_key: Hash,
    /// The sealed row and the fields beside it.
    pub state: AccountState,
    /// Index of its newest leaf in the shard's log.
    pub tail: Option<u64>,
}

/// The end of a shard's log as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredTail {
    /// Number of the newest batch.
    pub number: u64,
    /// Leaves in the log.
    pub size: u64,
    /// The newest signed checkpoint.
    pub checkpoint: String,
    /// The last leaf.
    pub seal: Vec<u8>,
}

/// A run of leaves that starts at a known place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLeaves {
    /// Index of the first leaf.
    pub first: u64,
    /// Leaves of `LEAF_LEN` bytes, one after the other.
    pub leaves: Vec<u8>,
}

/// One leaf and its place in the chain of its account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredLeaf {
    /// The leaf.
    pub leaf: Vec<u8>,
    /// Index of the same account's leaf before it.
    pub previous: Option<u64>,
}

/// A read failed.
#[derive(Debug, thiserror::Error)]
#[error("reading {what} from the store")]
pub struct ReadError {
    /// What was being read.
    pub what: &'static str,
    /// Why it failed.
    #[source]
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

/// Why a commit changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// Another writer was there first, or this one forgot a batch.
    #[error("shard {} is at batch {newest:?}, so batch {offered} cannot follow", shard.0)]
    Conflict {
        /// The shard.
        shard: ShardId,
        /// Number of its newest batch.
        newest: Option<u64>,
        /// Number of the batch that was offered.
        offered: u64,
    },
    /// No room.
    #[error("the store's disk is full")]
    Full,
    /// Another process holds the database.
    #[error("the store is locked by another process")]
    Busy,
    /// Anything else.
    #[error("writing to the store")]
    Other(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// What can be read. A view of a store may stand still between calls (see `SqliteReader::refresh`).
pub trait Read {
    /// The sealed service key; `None` before genesis.
    fn service(&self) -> Result<Option<ServiceRow>, ReadError>;

    /// The end of a shard's log; `None` before its first batch.
    fn tail(&self, shard: ShardId) -> Result<Option<StoredTail>, ReadError>;

    /// Hands over all leaves from index `from` on, in order, in pieces; stops at the first `false`.
    fn leaves_from(
        &self,
        shard: ShardId,
        from: u64,
        each: &mut dyn FnMut(StoredLeaves) -> bool,
    ) -> Result<(), ReadError>;

    /// Hands over every account once, in no particular order.
    fn accounts(&self, each: &mut dyn FnMut(AccountId, StoredAccount)) -> Result<(), ReadError>;

    /// One account.
    fn account(&self, account: &AccountId) -> Result<Option<StoredAccount>, ReadError>;

    /// Rows of those of the given devices that exist.
    fn devices(&self, at: AccountKey, ids: &[DeviceId]) -> Result<Vec<DeviceRow>, ReadError>;

    /// Ids of all devices of an account.
    fn device_ids(&self, at: AccountKey) -> Result<Vec<DeviceId>, ReadError>;

    /// Hashes of the access tokens that an account's devices hold.
    fn access(&self, at: AccountKey) -> Result<Vec<(DeviceId, Hash)>, ReadError>;

    /// One passkey.
    fn passkey(&self, at: AccountKey, id: &CredentialId) -> Result<Option<PasskeyRow>, ReadError>;

    /// The sealed large blob of a passkey.
    fn large_blob(&self, at: AccountKey, id: &CredentialId) -> Result<Option<Vec<u8>>, ReadError>;

    /// Hands over all rows of a vault, tombstones included.
    fn vault(&self, at: AccountKey, each: &mut dyn FnMut(PasskeyRow)) -> Result<(), ReadError>;

    /// At most `limit` rows with a `vault_seq` above `after`, in that order.
    fn changed(&self, at: AccountKey, after: u64, limit: usize) -> Result<Vec<PasskeyRow>, ReadError>;

    /// One leaf.
    fn leaf(&self, shard: ShardId, index: u64) -> Result<Option<StoredLeaf>, ReadError>;
}

/// A store that can be written to, by one writer.
pub trait Store: Read + Send {
    /// Makes batches of any shards, and the service row if there is a new one, durable in one transaction: all of
    /// it or nothing. A shard's batches must be numbered without a gap from its newest.
    fn commit(&mut self, service: Option<&ServiceRow>, batches: &[Batch]) -> Result<(), CommitError>;
}

/// Number and size of a shard's log at its newest batch.
type Newest = Option<(u64, u64)>;

/// Compare-and-swap: the batch must go on exactly where the shard's log ends. Gives the newest state after it.
fn follow(newest: Newest, batch: &Batch) -> Result<Newest, CommitError> {
    let fits = match newest {
        // An engine may count its first batch as 0 or as 1.
        None => batch.number <= 1 && batch.first_leaf == 0,
        Some((number, size)) => number.checked_add(1) == Some(batch.number) && size == batch.first_leaf,
    };
    if !fits {
        let newest = newest.map(|(number, _)| number);
        return Err(CommitError::Conflict { shard: batch.shard, newest, offered: batch.number });
    }
    let count = u64::try_from(batch.leaves.len() / LEAF_LEN).unwrap_or(0);
    Ok(Some((batch.number, batch.first_leaf.saturating_add(count))))
}

/// Links the leaves of a batch: gives them with the index of each one's predecessor, in the stored form.
///
/// `tail_before` gives the newest leaf of the account with this position in `batch.accounts`.
fn linked_leaves(batch: &Batch, tail_before: impl Fn(usize) -> Option<u64>) -> Vec<u8> {
    let mut previous = vec![NO_LEAF; batch.leaves.len() / LEAF_LEN];
    for (at, account) in batch.accounts.iter().enumerate() {
        let mut tail = tail_before(at).unwrap_or(NO_LEAF);
        for position in &account.leaves {
            if let Some(slot) = usize::try_from(*position).ok().and_then(|at| previous.get_mut(at)) {
                *slot = tail;
                tail = batch.first_leaf.saturating_add(u64::from(*position));
            }
        }
    }
    let mut out = Vec::with_capacity(previous.len() * LINKED_LEAF_LEN);
    for (leaf, previous) in batch.leaves.chunks_exact(LEAF_LEN).zip(previous) {
        out.extend_from_slice(leaf);
        out.extend_from_slice(&previous.to_be_bytes());
    }
    out
}

/// The newest leaf of an account after a batch, if the batch has leaves of it.
pub(crate) fn tail_after(batch: &Batch, leaves: &[u32]) -> Option<u64> {
    leaves.last().map(|position| batch.first_leaf.saturating_add(u64::from(*position)))
}

/// The leaves of stored ones, without their links.
fn unlinked(stored: &[u8]) -> Vec<u8> {
    let leaves = stored.chunks_exact(LINKED_LEAF_LEN).filter_map(|linked| linked.get(..LEAF_LEN));
    leaves.collect::<Vec<_>>().concat()
}

/// Takes a stored leaf apart.
fn stored_leaf(linked: &[u8]) -> Option<StoredLeaf> {
    let (leaf, link) = linked.split_at_checked(LEAF_LEN)?;
    let previous = u64::from_be_bytes(link.try_into().ok()?);
    Some(StoredLeaf { leaf: leaf.to_vec(), previous: (previous != NO_LEAF).then_some(previous) })
}
