//! One account while a request works on it: rows that were checked against the roots, changes that are not in force
//! yet. Dropping it undoes everything.

use crate::load::Keys;
use crate::record::{AccountRecord, DeviceEntry, DeviceRecord, RowKey};
use crate::shard::{Filling, Shard};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::random::{self, Ahead, Random};
use keyferry_crypto::tree::AuditKey;
use keyferry_tlog::Map;
use keyferry_tlog::state::{self, AccountFields};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::DeviceState;
use keyferry_wire::door::{
    AccountPut, AccountState, AccountView, DevicePut, DeviceRow, LargeBlobPut, PasskeyView,
};
use keyferry_wire::frame::AccountHead;
use keyferry_wire::ledger::{Class, Event, Leaf};
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash};
use std::collections::{BTreeMap, BTreeSet};

/// A row that the host handed over is not the current one, or is missing: the operator is alarmed.
#[derive(Debug)]
pub(crate) struct StoreLies;

pub(crate) struct Account {
    pub(crate) id: AccountId,
    pub(crate) map_key: Hash,
    /// `None` until the account is created.
    pub(crate) record: Option<AccountRecord>,
    fields: AccountFields,
    rows: RowKey,
    /// Rows of devices and passkeys are in cells of their own: a tree's node has room for eleven, and most accounts
    /// are opened with one of each.
    devices: BTreeMap<DeviceId, Box<DeviceRecord>>,
    touched: BTreeSet<DeviceId>,
    vault: Map,
    passkeys: BTreeMap<CredentialId, Option<Box<PasskeyRow>>>,
    changed: Vec<PasskeyRow>,
    /// Sealed large blobs, each as the row that names it says.
    large_blobs: BTreeMap<CredentialId, Bytes>,
    changed_large_blobs: Vec<LargeBlobPut>,
}

impl Account {
    /// Takes an account over from the host, if everything in the view is current. `map_key` is this account's.
    pub(crate) fn open(
        keys: &Keys,
        map_key: Hash,
        filling: &mut Filling,
        view: AccountView,
    ) -> Result<Account, StoreLies> {
        if map_key != view.map_key || keys.shard(&map_key) != view.shard {
            return Err(StoreLies);
        }
        let value = filling.admit(&map_key, &view.proof).map_err(|_| StoreLies)?;
        let rows = keys.rows(&view.account);
        let (record, fields) = match (value, &view.state) {
            (None, None) => (None, NEW),
            (Some(value), Some(state)) => {
                let fields = fields_of(state);
                if state::map_value(&fields) != value {
                    return Err(StoreLies);
                }
                let record = rows.open_account(&state.row, state.seq).map_err(|_| StoreLies)?;
                (Some(record), fields)
            }
            _ => return Err(StoreLies),
        };
        let mut account = Account {
            id: view.account,
            map_key,
            record,
            fields,
            rows,
            devices: BTreeMap::new(),
            touched: BTreeSet::new(),
            vault: Map::partial(fields.vault_root),
            passkeys: BTreeMap::new(),
            changed: Vec::new(),
            large_blobs: BTreeMap::new(),
            changed_large_blobs: Vec::new(),
        };
        view.devices.iter().try_for_each(|row| account.admit_device(row))?;
        view.passkeys.into_iter().try_for_each(|row| account.admit_passkey(row))?;
        Ok(account)
    }

    fn admit_device(&mut self, row: &DeviceRow) -> Result<(), StoreLies> {
        let record = self.record.as_ref().ok_or(StoreLies)?;
        let Some(entry) = record.entry(&row.device) else {
            return Ok(());
        };
        if state::row_hash(&row.row) != entry.row {
            return Err(StoreLies);
        }
        let device = self.rows.open_device(&row.row, &row.device).map_err(|_| StoreLies)?;
        self.devices.insert(row.device, Box::new(device));
        Ok(())
    }

    fn admit_passkey(&mut self, view: PasskeyView) -> Result<(), StoreLies> {
        let key = state::vault_key(&view.id);
        let value = self.vault.admit(&key, &view.proof).map_err(|_| StoreLies)?;
        let fits = match (&value, &view.row) {
            (None, None) => true,
            (Some(value), Some(row)) => row.id == view.id && state::vault_value(row) == *value,
            _ => false,
        };
        if !fits {
            return Err(StoreLies);
        }
        if let Some(sealed) = view.large_blob {
            let named = view.row.as_ref().and_then(|row| row.large_blob);
            if named != Some(sha256(&[&sealed])) {
                return Err(StoreLies);
            }
            self.large_blobs.insert(view.id, sealed);
        }
        self.passkeys.insert(view.id, view.row.map(Box::new));
        Ok(())
    }

    pub(crate) fn head(&self) -> AccountHead {
        let AccountFields { seq, head, vault_seq, vault_root, .. } = self.fields;
        AccountHead { seq, head, vault_seq, vault_root }
    }

    /// The record, to be changed.
    pub(crate) fn record_mut(&mut self) -> Option<&mut AccountRecord> {
        self.record.as_mut()
    }

    /// A member's or former member's row, if the host attached it.
    pub(crate) fn device(&self, device: &DeviceId) -> Option<&DeviceRecord> {
        self.devices.get(device).map(Box::as_ref)
    }

    /// The same, to be changed.
    pub(crate) fn device_mut(&mut self, device: &DeviceId) -> Option<&mut DeviceRecord> {
        self.touched.insert(*device);
        self.devices.get_mut(device).map(Box::as_mut)
    }

    /// Adds a device as a member, or gives a member a new row.
    pub(crate) fn add_device(&mut self, device: DeviceId, record: DeviceRecord) {
        if let Some(account) = self.record_mut().filter(|account| account.entry(&device).is_none()) {
            account.devices.push(DeviceEntry { device, row: [0; 32], state: DeviceState::Member });
        }
        self.touched.insert(device);
        self.devices.insert(device, Box::new(record));
    }

    /// A passkey's row; the outer `None` means that the host has to attach it.
    pub(crate) fn passkey(&self, id: &CredentialId) -> Option<Option<&PasskeyRow>> {
        self.passkeys.get(id).map(Option::as_deref)
    }

    /// Writes a passkey's row: one more change of the vault.
    pub(crate) fn write_passkey(&mut self, mut row: PasskeyRow) -> Result<(), StoreLies> {
        self.fields.vault_seq += 1;
        row.vault_seq = self.fields.vault_seq;
        self.vault.set(state::vault_key(&row.id), state::vault_value(&row)).map_err(|_| StoreLies)?;
        self.fields.vault_root = self.vault.root();
        self.passkeys.insert(row.id, Some(Box::new(row.clone())));
        self.changed.retain(|other| other.id != row.id);
        self.changed.push(row);
        Ok(())
    }

    /// A passkey's sealed large blob, if the host attached it.
    pub(crate) fn large_blob(&self, id: &CredentialId) -> Option<&Bytes> {
        self.large_blobs.get(id)
    }

    /// Puts a large blob beside the row that `row` becomes, or takes it away.
    pub(crate) fn put_large_blob(&mut self, row: &mut PasskeyRow, sealed: Option<Vec<u8>>) {
        row.large_blob = sealed.as_ref().map(|sealed| sha256(&[sealed]));
        let sealed = sealed.map(Bytes);
        match &sealed {
            Some(sealed) => drop(self.large_blobs.insert(row.id, sealed.clone())),
            None => drop(self.large_blobs.remove(&row.id)),
        }
        self.changed_large_blobs.retain(|put| put.id != row.id);
        self.changed_large_blobs.push(LargeBlobPut { id: row.id, sealed });
    }

    /// Puts events and changes in force: leaves into the log, rows sealed anew, the map updated. A change without an
    /// event does not exist: what no leaf tells of is dropped.
    pub(crate) fn write(
        mut self,
        shard: &mut Shard,
        filling: &mut Filling,
        events: Vec<Event>,
        random: &mut dyn Random,
    ) -> Result<AccountHead, StoreLies> {
        if events.is_empty() {
            return Ok(self.head());
        }
        let salts = &mut Ahead::<SALTS>::draw(random);
        let leaves = self.append(shard, filling, events, salts)?;
        let devices = self.seal_devices(salts);
        let record = self.record.as_ref().ok_or(StoreLies)?;
        let row = self.rows.seal_account(record, self.fields.seq, salts);
        self.fields.row = state::row_hash(&row);
        let AccountFields { seq, head, vault_seq, vault_root, .. } = self.fields;
        let put = AccountPut {
            account: self.id,
            map_key: self.map_key,
            state: AccountState { row: Bytes(row), seq, head, vault_seq, vault_root },
            devices,
            passkeys: std::mem::take(&mut self.changed),
            leaves,
            large_blobs: std::mem::take(&mut self.changed_large_blobs),
        };
        filling.put(put, state::map_value(&self.fields)).map_err(|_| StoreLies)?;
        Ok(self.head())
    }

    /// Seals events into leaves that only the account's owner reads, and chains them into its head.
    fn append(
        &mut self,
        shard: &mut Shard,
        filling: &mut Filling,
        events: Vec<Event>,
        random: &mut dyn Random,
    ) -> Result<Vec<u32>, StoreLies> {
        let record = self.record.as_ref().ok_or(StoreLies)?;
        let audit = AuditKey::from_bytes(record.audit_key.0);
        let mut positions = Vec::with_capacity(events.len());
        for mut event in events {
            self.fields.seq += 1;
            event.seq = self.fields.seq;
            let leaf = seal_event(&audit, &event, shard.next_batch(), random).ok_or(StoreLies)?;
            let (hash, position) = shard.append(filling, &leaf);
            self.fields.head = state::account_head(&self.fields.head, &hash);
            positions.push(position);
        }
        Ok(positions)
    }

    fn seal_devices(&mut self, random: &mut dyn Random) -> Vec<DevicePut> {
        let mut puts = Vec::with_capacity(self.touched.len());
        for device in std::mem::take(&mut self.touched) {
            let Some(record) = self.devices.get(&device) else { continue };
            let row = self.rows.seal_device(record, &device, random);
            let entry = self
                .record
                .as_mut()
                .and_then(|account| account.devices.iter_mut().find(|entry| entry.device == device));
            let Some(entry) = entry else { continue };
            entry.row = state::row_hash(&row);
            let access = (entry.state == DeviceState::Member).then_some(record.access);
            puts.push(DevicePut { device, row: Bytes(row), access });
        }
        puts
    }
}

/// Salts of what nearly every request writes: one leaf, a device's row, the account's.
const SALTS: usize = 3 * 16;

const NEW: AccountFields = AccountFields {
    row: [0; 32],
    seq: 0,
    head: state::NO_HEAD,
    vault_seq: 0,
    vault_root: keyferry_tlog::map::EMPTY,
};

fn fields_of(state: &AccountState) -> AccountFields {
    AccountFields {
        row: state::row_hash(&state.row),
        seq: state.seq,
        head: state.head,
        vault_seq: state.vault_seq,
        vault_root: state.vault_root,
    }
}

fn seal_event(audit: &AuditKey, event: &Event, batch: u64, random: &mut dyn Random) -> Option<Leaf> {
    let salt = random::bytes(random);
    let keys = audit.leaf_keys(event.seq, &salt);
    let plain = event.to_bytes();
    Some(Leaf {
        class: Class::Event,
        batch,
        time_secs: event.time_ms / 1000,
        tag: audit.tag(event.seq),
        salt,
        commitment: keys.commitment(&[&plain]),
        sealed: keys.seal_event(&[], &plain).try_into().ok()?,
    })
}
