//! One shard: a log, an authenticated map of which only the root is kept, and one batch after the other.

use crate::commit::{Committed, Pending};
use keyferry_crypto::sign::LogKey;
use keyferry_tlog::{Checkpoint, Frontier, Map, MapError, leaf_hash};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::door::{AccountPut, Batch};
use keyferry_wire::ledger::{Class, LEAF_LEN, Leaf, SEALED_EVENT_LEN};
use keyferry_wire::publish::MapProof;
use keyferry_wire::{AccountId, Hash, ShardId, limits};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

pub(crate) struct Shard {
    pub(crate) id: ShardId,
    pub(crate) origin: String,
    pub(crate) key: LogKey,
    frontier: Frontier,
    map_root: Hash,
    batch: u64,
    /// Newest checkpoint, durable or not.
    pub(crate) checkpoint: Checkpoint,
    pending: VecDeque<Undurable>,
    /// The newest batch of this life that is durable.
    durable: Option<Arc<Committed>>,
}

/// A batch that is not known to be durable, and what is to be said once it is.
struct Undurable {
    number: u64,
    checkpoint: String,
    size: u64,
    pending: Vec<Pending>,
}

/// A batch of a busy service has some leaves; room for more is made when they come.
const USUAL_LEAVES: usize = 4;

/// Where a shard's log stood when the enclave started.
pub(crate) struct Standing {
    pub(crate) frontier: Frontier,
    pub(crate) map_root: Hash,
    pub(crate) batch: u64,
}

/// A batch that is being filled.
pub(crate) struct Filling {
    first_leaf: u64,
    leaves: Vec<u8>,
    count: u32,
    map: Map,
    accounts: Vec<AccountPut>,
    pub(crate) seen: HashSet<AccountId>,
    pub(crate) pending: Vec<Pending>,
}

impl Shard {
    pub(crate) fn new(id: ShardId, origin: String, key: LogKey, standing: Standing) -> Shard {
        let checkpoint = Checkpoint::new(origin.clone(), standing.frontier.size(), standing.frontier.root());
        let Standing { frontier, map_root, batch } = standing;
        Shard {
            id,
            origin,
            key,
            frontier,
            map_root,
            batch,
            checkpoint,
            pending: VecDeque::new(),
            durable: None,
        }
    }

    pub(crate) fn fill(&self) -> Filling {
        Filling {
            first_leaf: self.frontier.size(),
            leaves: Vec::with_capacity(USUAL_LEAVES * LEAF_LEN),
            count: 0,
            map: Map::partial(self.map_root),
            accounts: Vec::with_capacity(USUAL_LEAVES),
            seen: HashSet::new(),
            pending: Vec::new(),
        }
    }

    /// The number that the batch being filled will have.
    pub(crate) fn next_batch(&self) -> u64 {
        self.batch + 1
    }

    /// Ends a batch with its SEAL and a signed checkpoint. A batch without leaves writes nothing: what is to be said
    /// then waits for the batch before it, or for nothing.
    pub(crate) fn seal(&mut self, mut filling: Filling, now_ms: u64) -> (Option<Batch>, Vec<Pending>) {
        if filling.count == 0 {
            return match self.pending.back_mut() {
                Some(last) => {
                    last.pending.append(&mut filling.pending);
                    (None, Vec::new())
                }
                None => (None, filling.pending),
            };
        }
        let number = self.next_batch();
        let map_root = filling.map.root();
        let seal = Leaf {
            class: Class::Seal,
            batch: number,
            time_secs: now_ms / 1000,
            tag: map_root,
            salt: [0; 16],
            commitment: [0; 32],
            sealed: [0; SEALED_EVENT_LEN],
        };
        self.append(&mut filling, &seal);
        self.batch = number;
        self.map_root = map_root;
        self.checkpoint = Checkpoint::new(self.origin.clone(), self.frontier.size(), self.frontier.root());
        let note = self.checkpoint.sign(&self.key.public(), |message| self.key.sign(message));
        let (checkpoint, size) = (note.clone(), self.checkpoint.size);
        self.pending.push_back(Undurable { number, checkpoint, size, pending: filling.pending });
        let batch = Batch {
            shard: self.id,
            number,
            first_leaf: filling.first_leaf,
            leaves: Bytes(filling.leaves),
            checkpoint: note,
            accounts: filling.accounts,
        };
        (Some(batch), Vec::new())
    }

    /// Appends a leaf; returns its hash and its place in the batch.
    pub(crate) fn append(&mut self, filling: &mut Filling, leaf: &Leaf) -> (Hash, u32) {
        let bytes = leaf.to_bytes();
        let hash = leaf_hash(&bytes);
        self.frontier.push(hash);
        filling.leaves.extend_from_slice(&bytes);
        let position = filling.count;
        filling.count += 1;
        (hash, position)
    }

    /// The gateway's word that a batch is durable: batches become so in their order, each once.
    pub(crate) fn commit(&mut self, number: u64) -> Option<(Arc<Committed>, Vec<Pending>)> {
        if self.pending.front()?.number != number {
            return None;
        }
        let Undurable { checkpoint, size, pending, .. } = self.pending.pop_front()?;
        let committed = Arc::new(Committed::new(checkpoint, size));
        self.durable = Some(Arc::clone(&committed));
        Some((committed, pending))
    }

    /// Whether this life's BOOT is durable.
    pub(crate) fn started(&self) -> bool {
        self.durable.is_some()
    }

    /// The newest commit.
    pub(crate) fn durable(&self) -> Option<&Committed> {
        self.durable.as_deref()
    }
}

impl Filling {
    pub(crate) fn full(&self) -> bool {
        usize::try_from(self.count).is_ok_and(|count| count >= limits::BATCH_EVENTS_MAX)
    }

    /// Checks a path against the map as it was before this batch.
    pub(crate) fn admit(&mut self, key: &Hash, proof: &MapProof) -> Result<Option<Hash>, MapError> {
        self.map.admit(key, proof)
    }

    /// Puts an account's new value in force.
    pub(crate) fn put(&mut self, put: AccountPut, value: Hash) -> Result<(), MapError> {
        self.map.set(put.map_key, value)?;
        self.accounts.push(put);
        Ok(())
    }
}
