//! A store in memory, for the simulator and for tests. A clone is a snapshot, so a test can put yesterday's disk
//! back; all rows are open to whoever plays the evil host.

use super::{
    AccountKey, CommitError, LINKED_LEAF_LEN, Newest, Read, ReadError, Store, StoredAccount, StoredLeaf,
    StoredLeaves, StoredTail, follow, linked_leaves, stored_leaf, tail_after, unlinked,
};
use keyferry_wire::door::{AccountPut, AccountState, Batch, DeviceRow, ServiceRow};
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, ShardId};
use std::collections::BTreeMap;

/// An account with all of its rows.
#[derive(Clone, Debug)]
pub struct MemoryAccount {
    /// Its shard.
    pub shard: ShardId,
    /// The store's number for it.
    pub number: u64,
    /// Its place in the map.
    pub map_key: Hash,
    /// The sealed row and what stands beside it.
    pub state: AccountState,
    /// Its newest leaf.
    pub tail: Option<u64>,
    /// Sealed device rows with the hash of the access token.
    pub devices: BTreeMap<DeviceId, (Vec<u8>, Option<Hash>)>,
    /// Passkeys and tombstones.
    pub passkeys: BTreeMap<CredentialId, PasskeyRow>,
    /// Sealed large blobs.
    pub large_blobs: BTreeMap<CredentialId, Vec<u8>>,
}

/// A batch of a shard's log.
#[derive(Clone, Debug)]
pub struct MemoryBatch {
    /// Its number.
    pub number: u64,
    /// Leaves of `LINKED_LEAF_LEN` bytes.
    pub leaves: Vec<u8>,
    /// The checkpoint that ends it.
    pub checkpoint: String,
}

/// What a test wants to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlannedFault {
    /// The commit is refused and nothing is kept.
    BeforeApplying,
    /// Everything is kept, and the writer is told that it failed.
    AfterApplying,
    /// The disk is full.
    Full,
}

/// All rows, open to the test that holds them.
#[derive(Clone, Debug, Default)]
pub struct MemoryStore {
    /// The sealed service key.
    pub service: Option<ServiceRow>,
    /// All accounts.
    pub accounts: BTreeMap<AccountId, MemoryAccount>,
    /// Batches by shard and first leaf.
    pub batches: BTreeMap<(ShardId, u64), MemoryBatch>,
    by_key: BTreeMap<AccountKey, AccountId>,
    commits: u64,
    fault: Option<(u64, PlannedFault)>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
    }

    /// Commits that were asked for so far.
    pub fn commits(&self) -> u64 {
        self.commits
    }

    /// Lets the commit after `ahead` more of them go wrong: 0 means the next one.
    pub fn plan_fault(&mut self, ahead: u64, fault: PlannedFault) {
        self.fault = Some((self.commits + ahead, fault));
    }

    fn newest(&self, shard: ShardId) -> Option<(u64, &MemoryBatch)> {
        let (key, batch) = self.batches.range((shard, 0)..=(shard, u64::MAX)).next_back()?;
        Some((key.1, batch))
    }

    fn at(&self, key: AccountKey) -> Option<&MemoryAccount> {
        self.accounts.get(self.by_key.get(&key)?)
    }

    fn check(&self, batches: &[Batch]) -> Result<(), CommitError> {
        let mut newest = BTreeMap::new();
        for batch in batches {
            let entry = newest.entry(batch.shard).or_insert_with(|| self.newest_state(batch.shard));
            *entry = follow(*entry, batch)?;
        }
        Ok(())
    }

    fn newest_state(&self, shard: ShardId) -> Newest {
        let (first, batch) = self.newest(shard)?;
        let count = u64::try_from(batch.leaves.len() / LINKED_LEAF_LEN).unwrap_or(0);
        Some((batch.number, first.saturating_add(count)))
    }

    fn apply(&mut self, batch: &Batch) {
        let tails: Vec<_> = batch.accounts.iter().map(|put| self.accounts.get(&put.account)?.tail).collect();
        let leaves = linked_leaves(batch, |at| tails.get(at).copied().flatten());
        let stored = MemoryBatch { number: batch.number, leaves, checkpoint: batch.checkpoint.clone() };
        self.batches.insert((batch.shard, batch.first_leaf), stored);
        for put in &batch.accounts {
            self.put(batch, put);
        }
    }

    fn put(&mut self, batch: &Batch, put: &AccountPut) {
        let number = u64::try_from(self.accounts.len()).unwrap_or(u64::MAX);
        let account = self.accounts.entry(put.account).or_insert_with(|| MemoryAccount {
            shard: batch.shard,
            number,
            map_key: put.map_key,
            state: put.state.clone(),
            tail: None,
            devices: BTreeMap::new(),
            passkeys: BTreeMap::new(),
            large_blobs: BTreeMap::new(),
        });
        account.map_key = put.map_key;
        account.state = put.state.clone();
        account.tail = tail_after(batch, &put.leaves).or(account.tail);
        for device in &put.devices {
            account.devices.insert(device.device, (device.row.0.clone(), device.access));
        }
        for row in &put.passkeys {
            account.passkeys.insert(row.id, row.clone());
        }
        for blob in &put.large_blobs {
            match &blob.sealed {
                Some(sealed) => account.large_blobs.insert(blob.id, sealed.0.clone()),
                None => account.large_blobs.remove(&blob.id),
            };
        }
        let key = AccountKey { shard: account.shard, number: account.number };
        self.by_key.insert(key, put.account);
    }
}

impl Read for MemoryStore {
    fn service(&self) -> Result<Option<ServiceRow>, ReadError> {
        Ok(self.service.clone())
    }

    fn tail(&self, shard: ShardId) -> Result<Option<StoredTail>, ReadError> {
        Ok(self.newest(shard).map(|(first, batch)| {
            let leaves = unlinked(&batch.leaves);
            let count = u64::try_from(leaves.len() / LEAF_LEN).unwrap_or(0);
            StoredTail {
                number: batch.number,
                size: first + count,
                checkpoint: batch.checkpoint.clone(),
                seal: leaves.rchunks_exact(LEAF_LEN).next().unwrap_or_default().to_vec(),
            }
        }))
    }

    fn leaves_from(
        &self,
        shard: ShardId,
        from: u64,
        each: &mut dyn FnMut(StoredLeaves) -> bool,
    ) -> Result<(), ReadError> {
        for ((_, first), batch) in self.batches.range((shard, 0)..=(shard, u64::MAX)) {
            let mut leaves = unlinked(&batch.leaves);
            let skip = usize::try_from(from.saturating_sub(*first)).unwrap_or(usize::MAX);
            leaves.drain(..skip.saturating_mul(LEAF_LEN).min(leaves.len()));
            if !leaves.is_empty() && !each(StoredLeaves { first: from.max(*first), leaves }) {
                break;
            }
        }
        Ok(())
    }

    fn accounts(&self, each: &mut dyn FnMut(AccountId, StoredAccount)) -> Result<(), ReadError> {
        for (id, account) in &self.accounts {
            each(*id, stored(account));
        }
        Ok(())
    }

    fn account(&self, account: &AccountId) -> Result<Option<StoredAccount>, ReadError> {
        Ok(self.accounts.get(account).map(stored))
    }

    fn devices(&self, at: AccountKey, ids: &[DeviceId]) -> Result<Vec<DeviceRow>, ReadError> {
        let devices = self.at(at).map(|account| &account.devices);
        let row = |id: &DeviceId| {
            let (row, _) = devices?.get(id)?;
            Some(DeviceRow { device: *id, row: row.clone().into() })
        };
        Ok(ids.iter().filter_map(row).collect())
    }

    fn device_ids(&self, at: AccountKey) -> Result<Vec<DeviceId>, ReadError> {
        Ok(self.at(at).map(|account| account.devices.keys().copied().collect()).unwrap_or_default())
    }

    fn access(&self, at: AccountKey) -> Result<Vec<(DeviceId, Hash)>, ReadError> {
        let devices = self.at(at).into_iter().flat_map(|account| &account.devices);
        Ok(devices.filter_map(|(id, (_, access))| Some((*id, (*access)?))).collect())
    }

    fn passkey(&self, at: AccountKey, id: &CredentialId) -> Result<Option<PasskeyRow>, ReadError> {
        Ok(self.at(at).and_then(|account| account.passkeys.get(id)).cloned())
    }

    fn large_blob(&self, at: AccountKey, id: &CredentialId) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.at(at).and_then(|account| account.large_blobs.get(id)).cloned())
    }

    fn vault(&self, at: AccountKey, each: &mut dyn FnMut(PasskeyRow)) -> Result<(), ReadError> {
        for row in self.at(at).into_iter().flat_map(|account| account.passkeys.values()) {
            each(row.clone());
        }
        Ok(())
    }

    fn changed(&self, at: AccountKey, after: u64, limit: usize) -> Result<Vec<PasskeyRow>, ReadError> {
        let rows = self.at(at).into_iter().flat_map(|account| account.passkeys.values());
        let mut rows: Vec<_> = rows.filter(|row| row.vault_seq > after).cloned().collect();
        rows.sort_by_key(|row| row.vault_seq);
        rows.truncate(limit);
        Ok(rows)
    }

    fn leaf(&self, shard: ShardId, index: u64) -> Result<Option<StoredLeaf>, ReadError> {
        let batch = self.batches.range((shard, 0)..=(shard, index)).next_back();
        Ok(batch.and_then(|((_, first), batch)| {
            let at = usize::try_from(index - first).ok()?;
            stored_leaf(batch.leaves.chunks_exact(LINKED_LEAF_LEN).nth(at)?)
        }))
    }
}

impl Store for MemoryStore {
    fn commit(&mut self, service: Option<&ServiceRow>, batches: &[Batch]) -> Result<(), CommitError> {
        let fault = self.fault.take_if(|(at, _)| *at == self.commits).map(|(_, fault)| fault);
        self.commits += 1;
        match fault {
            Some(PlannedFault::BeforeApplying) => return Err(CommitError::Other("planned fault".into())),
            Some(PlannedFault::Full) => return Err(CommitError::Full),
            Some(PlannedFault::AfterApplying) | None => {}
        }
        self.check(batches)?;
        for batch in batches {
            self.apply(batch);
        }
        if let Some(service) = service {
            self.service = Some(service.clone());
        }
        match fault {
            Some(_) => Err(CommitError::Other("planned fault after the commit".into())),
            None => Ok(()),
        }
    }
}

fn stored(account: &MemoryAccount) -> StoredAccount {
    StoredAccount {
        key: AccountKey { shard: account.shard, number: account.number },
        map_key: account.map_key,
        state: account.state.clone(),
        tail: account.tail,
    }
}
