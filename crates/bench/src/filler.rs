//! Accounts that are there and that nobody uses. A million accounts take the protocol twenty minutes; here their rows
//! are written straight into the store, sealed text replaced by bytes of the same length, and each shard ends in a SEAL
//! over the map with all of them, signed with the log's key. That key is known because a bench's root key is: what the
//! enclave checks at its start holds, and the depth of the map and the size of the store's tables are those of so many
//! accounts. No filler has passkeys, and none has an entry in the ledger.

use crate::Fallible;
use crate::token::ROOT_KEY;
use keyferry_crypto::hash::{labelled_hash, sha256};
use keyferry_crypto::label::Label;
use keyferry_crypto::tree::{RootKey, ServiceKey};
use keyferry_server::store::{Read, StoredAccount};
use keyferry_server::{SqliteStore, Store};
use keyferry_tlog::state::{self, AccountFields};
use keyferry_tlog::{Checkpoint, Frontier, Map, leaf_hash};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::door::{AccountPut, AccountState, Batch, DevicePut, ServiceRow};
use keyferry_wire::ledger::{Class, LEAF_LEN, Leaf, SEALED_EVENT_LEN};
use keyferry_wire::{AccountId, DeviceId, Hash, ShardId};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

/// Adds accounts to a store that no gateway holds, until there are `total`.
pub(crate) fn fill(folder: &Path, total: usize) -> Fallible<()> {
    let mut store = SqliteStore::open(&folder.join("store"))?;
    let service = store.service()?.ok_or("a store without a service key")?;
    let keys = service_key(&service)?;
    let mut real: Vec<StoredAccount> = Vec::new();
    store.accounts(&mut |_, account| real.push(account))?;
    let template = Template::of(&store, real.first().ok_or("a store without accounts")?)?;
    let missing = total.saturating_sub(real.len());
    let shards = usize::from(service.shards);
    for number in 0..service.shards {
        let at = usize::from(number);
        let mine = missing * at / shards..missing * (at + 1) / shards;
        let accounts = mine.map(|serial| template.account(serial, number, service.shards));
        let batch = batch(&store, &service, &keys, ShardId(number), &real, accounts.collect())?;
        store.commit(None, &[batch])?;
        // The write-ahead log would grow without end.
        if store.log_is_long() {
            store.move_log()?;
        }
    }
    Ok(())
}

/// What the enclave does with the root key at its start.
fn service_key(row: &ServiceRow) -> Fallible<ServiceKey> {
    let bound =
        labelled_hash(Label::ServiceSeal, &[&row.log_id, row.name.as_bytes(), &row.shards.to_be_bytes()]);
    Ok(RootKey::from_bytes(ROOT_KEY).open_service(&row.sealed, &bound, u64::from(row.root))?)
}

/// Sizes of rows as the real accounts have them.
struct Template {
    account_row: usize,
    device_row: usize,
}

impl Template {
    fn of(store: &SqliteStore, account: &StoredAccount) -> Fallible<Template> {
        let ids = store.device_ids(account.key)?;
        let device = store.devices(account.key, &ids)?.pop().ok_or("an account without a device")?;
        Ok(Template { account_row: account.state.row.len(), device_row: device.row.len() })
    }

    fn account(&self, serial: usize, shard: u16, shards: u16) -> AccountPut {
        let part = |name: &str| sha256(&[b"filler", name.as_bytes(), &serial.to_be_bytes()]);
        let device = DevicePut {
            device: DeviceId(half(&part("device"))),
            row: filled(self.device_row, &part("device row")),
            access: Some(part("access")),
        };
        AccountPut {
            account: AccountId(rising(serial, part("account"))),
            map_key: within(shard, shards, part("map key")),
            state: AccountState {
                row: filled(self.account_row, &part("row")),
                seq: 1,
                head: part("head"),
                vault_seq: 0,
                vault_root: keyferry_tlog::map::EMPTY,
            },
            devices: vec![device],
            passkeys: Vec::new(),
            leaves: Vec::new(),
            large_blobs: Vec::new(),
        }
    }
}

/// Ids rise, so that the store's index grows at its end: it is filled in seconds instead of minutes.
fn rising(serial: usize, mut id: Hash) -> Hash {
    if let Some(head) = id.first_chunk_mut::<4>() {
        *head = u32::try_from(serial).unwrap_or(u32::MAX).to_be_bytes();
    }
    id
}

/// A place of the map that belongs to this shard: shards are ranges of the first 16 bits.
fn within(shard: u16, shards: u16, mut key: Hash) -> Hash {
    let (shard, shards) = (u32::from(shard), u32::from(shards.max(1)));
    let (start, end) = ((shard << 16).div_ceil(shards), ((shard + 1) << 16).div_ceil(shards));
    if let Some(head) = key.first_chunk_mut::<2>() {
        let place = start + u32::from(u16::from_be_bytes(*head)) % (end - start).max(1);
        *head = u16::try_from(place).unwrap_or(u16::MAX).to_be_bytes();
    }
    key
}

fn half(hash: &Hash) -> [u8; 16] {
    let mut half = [0; 16];
    half.copy_from_slice(hash.split_at(16).0);
    half
}

fn filled(len: usize, seed: &Hash) -> Bytes {
    Bytes(seed.iter().copied().cycle().take(len).collect())
}

fn value(state: &AccountState) -> Hash {
    let AccountState { row, seq, head, vault_seq, vault_root } = state;
    let row = state::row_hash(row);
    let fields =
        AccountFields { row, seq: *seq, head: *head, vault_seq: *vault_seq, vault_root: *vault_root };
    state::map_value(&fields)
}

/// One batch of a shard with these accounts and its SEAL.
fn batch(
    store: &SqliteStore,
    service: &ServiceRow,
    keys: &ServiceKey,
    shard: ShardId,
    real: &[StoredAccount],
    accounts: Vec<AccountPut>,
) -> Fallible<Batch> {
    let tail = store.tail(shard)?.ok_or("a shard without a log")?;
    let mut frontier = Frontier::new();
    store.leaves_from(shard, 0, &mut |run| {
        run.leaves.chunks_exact(LEAF_LEN).for_each(|leaf| frontier.push(leaf_hash(leaf)));
        true
    })?;
    let mut map = Map::new();
    for account in real.iter().filter(|account| account.key.shard == shard) {
        map.set(account.map_key, value(&account.state))?;
    }
    for account in &accounts {
        map.set(account.map_key, value(&account.state))?;
    }
    let number = tail.number + 1;
    let seal = Leaf {
        class: Class::Seal,
        batch: number,
        time_secs: SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs(),
        tag: map.root(),
        salt: [0; 16],
        commitment: [0; 32],
        sealed: [0; SEALED_EVENT_LEN],
    }
    .to_bytes();
    frontier.push(leaf_hash(&seal));
    let key = keys.log_key(&service.log_id, u64::from(shard.0));
    let checkpoint =
        Checkpoint::new(format!("{}/{}", service.name, shard.0), frontier.size(), frontier.root())
            .sign(&key.public(), |message| key.sign(message));
    Ok(Batch { shard, number, first_leaf: tail.size, leaves: seal.to_vec().into(), checkpoint, accounts })
}

#[cfg(test)]
mod tests {
    use super::{rising, within};

    #[test]
    fn places_of_fillers_belong_to_their_shard() {
        for shards in [1, 3, 16] {
            for shard in 0..shards {
                for byte in 0..=255 {
                    let key = within(shard, shards, [byte; 32]);
                    let prefix = u32::from(key[0]) << 8 | u32::from(key[1]);
                    assert_eq!((prefix * u32::from(shards)) >> 16, u32::from(shard), "{shards} {byte}");
                }
            }
        }
    }

    #[test]
    fn ids_of_fillers_rise() {
        assert!(rising(1, [255; 32]) < rising(2, [0; 32]));
        assert!(rising(255, [255; 32]) < rising(256, [0; 32]));
    }
}
