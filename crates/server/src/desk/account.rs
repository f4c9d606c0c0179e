//! Accounts at hand: row, device rows, access hashes and the vault's map, each read when first asked for.

use super::cache::Cache;
use super::set;
use crate::store::{AccountKey, Read, ReadError, tail_after};
use keyferry_tlog::Map;
use keyferry_tlog::state;
use keyferry_wire::door::{AccountPut, AccountState, Batch, DevicePut, DeviceRow};
use keyferry_wire::{AccountId, DeviceId, Hash};

/// One account.
pub(super) struct Entry {
    pub(super) key: AccountKey,
    pub(super) map_key: Hash,
    pub(super) state: AccountState,
    pub(super) tail: Option<u64>,
    devices: Vec<DeviceRow>,
    access: Option<Vec<(DeviceId, Hash)>>,
    vault: Option<Map>,
}

/// The accounts used last.
pub(super) struct Accounts {
    cache: Cache<AccountId, Entry>,
}

/// Device rows at hand for one account: a person has few in use at a time.
const DEVICES_KEPT: usize = 8;

impl Accounts {
    pub(super) fn new(bytes_max: usize) -> Accounts {
        Accounts { cache: Cache::new(bytes_max) }
    }

    /// An account, from the store if need be.
    pub(super) fn fetch(
        &mut self,
        store: &dyn Read,
        account: &AccountId,
    ) -> Result<Option<&mut Entry>, ReadError> {
        if !self.cache.contains(account) {
            let Some(stored) = store.account(account)? else {
                return Ok(None);
            };
            let entry = Entry {
                key: stored.key,
                map_key: stored.map_key,
                state: stored.state,
                tail: stored.tail,
                devices: Vec::new(),
                access: None,
                vault: None,
            };
            let weight = entry.weight();
            self.cache.insert(*account, entry, weight);
        }
        Ok(self.cache.fetch(account))
    }

    /// Takes note of what an account weighs after rows were added to it.
    pub(super) fn weigh(&mut self, account: &AccountId) {
        self.cache.weigh(account, Entry::weight);
    }

    /// Brings an account up to date that is at hand.
    pub(super) fn apply(&mut self, batch: &Batch, put: &AccountPut) {
        let Some(entry) = self.cache.peek(&put.account) else {
            return;
        };
        entry.map_key = put.map_key;
        entry.state = put.state.clone();
        entry.tail = tail_after(batch, &put.leaves).or(entry.tail);
        for device in &put.devices {
            entry.keep_device(DeviceRow { device: device.device, row: device.row.clone() });
            entry.keep_access(device);
        }
        if let Some(vault) = &mut entry.vault {
            for row in &put.passkeys {
                set(vault, state::vault_key(&row.id), state::vault_value(row));
            }
            vault.root();
        }
        self.weigh(&put.account);
    }
}

impl Entry {
    /// Those of the given devices that exist.
    pub(super) fn devices(
        &mut self,
        store: &dyn Read,
        ids: &[DeviceId],
    ) -> Result<Vec<DeviceRow>, ReadError> {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(row) = self.devices.iter().find(|row| row.device == *id) {
                found.push(row.clone());
            } else if let Some(row) = store.devices(self.key, &[*id])?.pop() {
                self.keep_device(row.clone());
                found.push(row);
            }
        }
        Ok(found)
    }

    /// Hashes of the access tokens.
    pub(super) fn access(&mut self, store: &dyn Read) -> Result<&[(DeviceId, Hash)], ReadError> {
        if self.access.is_none() {
            self.access = Some(store.access(self.key)?);
        }
        Ok(self.access.as_deref().unwrap_or_default())
    }

    /// Whether the map of the vault is made already.
    pub(super) fn has_vault_at_hand(&self) -> bool {
        self.vault.is_some()
    }

    /// The map of the vault.
    pub(super) fn vault(&mut self, store: &dyn Read) -> Result<&Map, ReadError> {
        if self.vault.is_none() {
            let mut map = Map::new();
            store.vault(self.key, &mut |row| {
                set(&mut map, state::vault_key(&row.id), state::vault_value(&row));
            })?;
            map.root();
            self.vault = Some(map);
        }
        Ok(self.vault.as_ref().expect("made above"))
    }

    fn keep_device(&mut self, row: DeviceRow) {
        match self.devices.iter_mut().find(|kept| kept.device == row.device) {
            Some(kept) => *kept = row,
            None => {
                if self.devices.len() == DEVICES_KEPT {
                    self.devices.remove(0);
                }
                self.devices.push(row);
            }
        }
    }

    fn keep_access(&mut self, put: &DevicePut) {
        if let Some(access) = &mut self.access {
            access.retain(|(device, _)| *device != put.device);
            access.extend(put.access.map(|access| (put.device, access)));
        }
    }

    /// Bytes in memory, roughly: a vault's map takes about 110 bytes a key, and its first 16 at once.
    fn weight(&self) -> usize {
        let devices: usize = self.devices.iter().map(|row| row.row.len() + 64).sum();
        let access = self.access.as_ref().map_or(0, |access| access.len() * 48);
        let vault = self.vault.as_ref().map_or(0, |vault| vault.len().max(16) * 110);
        480 + self.state.row.len() + devices + access + vault
    }
}
