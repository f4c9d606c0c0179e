//! The synchronous heart of the gateway: what the store holds, with proofs. It attaches rows and paths to requests,
//! takes in what became durable, and answers readers.
//!
//! It decides nothing and believes nobody; whatever it says, an enclave or an owner checks. Absent: files (but for
//! reading tiles), sockets, the clock, and every write to the store.

mod account;
mod audit;
mod cache;
mod publish;
mod repair;

pub use audit::{AUDIT_LIMIT_MAX, Trail};
pub use publish::SYNC_LIMIT_MAX;

use crate::ledger::{LedgerFiles, LogError, ProofUnavailable, Publication, ShardLog};
use crate::store::{AccountKey, Read, ReadError};
use account::{Accounts, Entry};
use cache::Cache;
use keyferry_tlog::Map;
use keyferry_tlog::state::{self, AccountFields};
use keyferry_wire::door::{AccountState, AccountView, Batch, Load, Need, PasskeyView, Release, ServiceRow};
use keyferry_wire::frame::RequestFrame;
use keyferry_wire::ledger::Leaf;
use keyferry_wire::publish::{MapProof, PasskeyRow};
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, ShardId};
use std::sync::Arc;

/// Bytes of rows that are kept at hand: enough for 10,000 accounts of daily use. An account that is not at hand costs
/// the gateway about 75 us more, since its vault's rows are read to build the map over them.
pub const CACHE_BYTES: usize = 64 * 1024 * 1024;

/// A vault that changed so often, at most, is read for a mere hint: that takes a few milliseconds.
const HINTED_CHANGES_MAX: u64 = 1_000;

/// Part of the cache for passkey rows: the rest is for accounts, which every request needs.
const PASSKEY_SHARE: usize = 4;

/// Why the desk could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDeskError {
    /// A shard's log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// The store is of a deployment with another number of shards.
    #[error(
        "the store has {found} shards, {asked} were asked for: the number is fixed when a deployment is made"
    )]
    Shards {
        /// Of the store.
        found: u16,
        /// Of the configuration.
        asked: u16,
    },
}

/// Why the desk has no answer.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// The store could not be read.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// No proof could be made.
    #[error(transparent)]
    Proof(#[from] ProofUnavailable),
    /// There is no such shard here.
    #[error("there is no shard {}", .0.0)]
    Shard(ShardId),
    /// There is no such account.
    #[error("there is no such account")]
    Account,
}

struct Shard {
    log: ShardLog,
    map: Map,
}

/// All shards of one store. Reading methods take the store as an argument, and it must show exactly the batches that
/// the desk has taken in (see `SqliteReader::refresh`).
pub struct Desk {
    shards: Vec<Shard>,
    service: Option<ServiceRow>,
    accounts: Accounts,
    passkeys: Cache<(AccountId, CredentialId), PasskeyRow>,
}

impl Desk {
    /// Reads the store from end to end and builds maps and trees.
    pub fn open(
        store: &dyn Read,
        files: Arc<dyn LedgerFiles>,
        shards: u16,
        cache_bytes: usize,
    ) -> Result<Desk, OpenDeskError> {
        let service = store.service()?;
        if let Some(found) = service.as_ref().map(|service| service.shards).filter(|found| *found != shards) {
            return Err(OpenDeskError::Shards { found, asked: shards });
        }
        let open = |number| {
            let log = ShardLog::open(store, Arc::clone(&files), ShardId(number))?;
            Ok(Shard { log, map: Map::new() })
        };
        let mut shards = (0..shards).map(open).collect::<Result<Vec<_>, OpenDeskError>>()?;
        store.accounts(&mut |_, account| {
            if let Some(shard) = shards.get_mut(usize::from(account.key.shard.0)) {
                set(&mut shard.map, account.map_key, map_value(&account.state));
            }
        })?;
        for shard in &mut shards {
            shard.map.root();
        }
        Ok(Desk {
            shards,
            service,
            accounts: Accounts::new(cache_bytes - cache_bytes / PASSKEY_SHARE),
            passkeys: Cache::new(cache_bytes / PASSKEY_SHARE),
        })
    }

    /// Shards whose rows do not lead to the map root that their last leaf names: damaged or exchanged rows.
    pub fn shards_with_wrong_rows(&mut self) -> Vec<ShardId> {
        let numbered = (0..).zip(&mut self.shards);
        let wrong = numbered.filter_map(|(number, shard)| {
            let seal = Leaf::from_bytes(shard.log.seal())?;
            (seal.tag != shard.map.root()).then_some(ShardId(number))
        });
        wrong.collect()
    }

    /// What the enclave needs to start.
    pub fn load(&self, now_ms: u64, name: &str, release: Release) -> Result<Load, ProofUnavailable> {
        let tails = self.shards.iter().map(|shard| shard.log.tail());
        Ok(Load {
            now_ms,
            name: name.to_owned(),
            shards: self.shard_count(),
            release,
            service: self.service.clone(),
            tails: tails.filter_map(Result::transpose).collect::<Result<_, _>>()?,
        })
    }

    /// The service row as stored.
    pub fn service(&self) -> Option<&ServiceRow> {
        self.service.as_ref()
    }

    /// Takes note of a service row that is durable.
    pub fn serve_as(&mut self, service: ServiceRow) {
        self.service = Some(service);
    }

    /// Takes in a batch that is durable.
    pub fn apply(&mut self, batch: &Batch) {
        let Some(shard) = self.shards.get_mut(usize::from(batch.shard.0)) else {
            return;
        };
        shard.log.append(batch);
        for put in &batch.accounts {
            set(&mut shard.map, put.map_key, map_value(&put.state));
            self.accounts.apply(batch, put);
            // Whether or not the account is at hand: a passkey may be without it, and would stay as it was.
            for row in &put.passkeys {
                self.passkeys.insert((put.account, row.id), row.clone(), passkey_weight(row));
            }
        }
        shard.map.root();
    }

    /// The account that a frame hints at, if the store has it. Anybody can hint at anything: a large vault is read only
    /// when the enclave asks for its passkeys, for a request whose signature holds.
    pub fn hinted(
        &mut self,
        store: &dyn Read,
        frame: &RequestFrame,
    ) -> Result<Option<AccountView>, DeskError> {
        let Some(account) = &frame.account else {
            return Ok(None);
        };
        let Some(entry) = self.accounts.fetch(store, account)? else {
            return Ok(None);
        };
        let cheap = entry.has_vault_at_hand() || entry.state.vault_seq <= HINTED_CHANGES_MAX;
        let passkeys = if cheap { &frame.passkeys[..] } else { &[] };
        self.view(store, account, frame.device.as_slice(), passkeys).map(Some)
    }

    /// What the enclave asked for: an account's rows, or proof that there is no such account.
    pub fn needed(&mut self, store: &dyn Read, need: &Need) -> Result<AccountView, DeskError> {
        match self.view(store, &need.account, &need.devices, &need.passkeys) {
            Err(DeskError::Account) => self.absence(need),
            Ok(mut view) if !need.large_blobs.is_empty() => {
                self.attach_large_blobs(store, &mut view, &need.large_blobs)?;
                Ok(view)
            }
            found => found,
        }
    }

    /// Large blobs are read when they are asked for, and kept nowhere: they are few and would push out rows.
    fn attach_large_blobs(
        &mut self,
        store: &dyn Read,
        view: &mut AccountView,
        ids: &[CredentialId],
    ) -> Result<(), DeskError> {
        let key = self.accounts.fetch(store, &view.account)?.ok_or(DeskError::Account)?.key;
        for passkey in view.passkeys.iter_mut().filter(|passkey| ids.contains(&passkey.id)) {
            passkey.large_blob = store.large_blob(key, &passkey.id)?.map(Into::into);
        }
        Ok(())
    }

    /// An account with the rows that were asked for, all with proofs. Devices that do not exist are left out.
    pub fn view(
        &mut self,
        store: &dyn Read,
        account: &AccountId,
        devices: &[DeviceId],
        passkeys: &[CredentialId],
    ) -> Result<AccountView, DeskError> {
        let entry = self.accounts.fetch(store, account)?.ok_or(DeskError::Account)?;
        let rows = entry.devices(store, devices)?;
        let views = passkey_views(&mut self.passkeys, store, account, entry, passkeys)?;
        let shard = entry.key.shard;
        let view = AccountView {
            account: *account,
            shard,
            map_key: entry.map_key,
            proof: prove(
                &self.shards.get(usize::from(shard.0)).ok_or(DeskError::Shard(shard))?.map,
                &entry.map_key,
            ),
            state: Some(entry.state.clone()),
            devices: rows,
            passkeys: views,
        };
        self.accounts.weigh(account);
        Ok(view)
    }

    fn absence(&self, need: &Need) -> Result<AccountView, DeskError> {
        let shard = self.shard(need.shard)?;
        Ok(AccountView {
            account: need.account,
            shard: need.shard,
            map_key: need.map_key,
            proof: prove(&shard.map, &need.map_key),
            state: None,
            devices: Vec::new(),
            passkeys: Vec::new(),
        })
    }

    /// Proof that a shard's log of `new` entries extends that of `old`.
    pub fn consistency(
        &self,
        store: &dyn Read,
        shard: ShardId,
        old: u64,
        new: u64,
    ) -> Result<Vec<Hash>, DeskError> {
        Ok(self.shard(shard)?.log.consistency(store, old, new)?)
    }

    /// The log of a shard.
    pub fn log(&self, shard: ShardId) -> Result<&ShardLog, DeskError> {
        Ok(&self.shard(shard)?.log)
    }

    /// The shard of an account; `None` if there is no such account.
    pub fn shard_of(&mut self, store: &dyn Read, account: &AccountId) -> Result<Option<ShardId>, DeskError> {
        Ok(self.accounts.fetch(store, account)?.map(|entry| entry.key.shard))
    }

    /// Number of shards.
    pub fn shard_count(&self) -> u16 {
        u16::try_from(self.shards.len()).unwrap_or(u16::MAX)
    }

    /// Files that the ledger lacks, shard by shard.
    pub fn publications(&self) -> Vec<Publication> {
        self.shards.iter().filter_map(|shard| shard.log.publication()).collect()
    }

    /// Takes note of a publication that was written.
    pub fn published(&mut self, publication: Publication) {
        if let Some(shard) = self.shards.get_mut(usize::from(publication.shard.0)) {
            shard.log.published(publication);
        }
    }

    /// Full tiles and bundles that wait for their files.
    pub fn tiles_waiting(&self) -> usize {
        self.shards.iter().map(|shard| shard.log.tiles_waiting()).sum()
    }

    fn shard(&self, shard: ShardId) -> Result<&Shard, DeskError> {
        self.shards.get(usize::from(shard.0)).ok_or(DeskError::Shard(shard))
    }
}

/// Passkeys with their proofs, or proofs that there are none of these ids.
fn passkey_views(
    cache: &mut Cache<(AccountId, CredentialId), PasskeyRow>,
    store: &dyn Read,
    account: &AccountId,
    entry: &mut Entry,
    ids: &[CredentialId],
) -> Result<Vec<PasskeyView>, ReadError> {
    let at = entry.key;
    let mut views = Vec::with_capacity(ids.len());
    for id in ids {
        let vault = entry.vault(store)?;
        let vault_key = state::vault_key(id);
        let exists = vault.get(&vault_key).ok().flatten().is_some();
        let row = if exists { passkey(cache, store, (*account, *id), at)? } else { None };
        views.push(PasskeyView { id: *id, proof: prove(vault, &vault_key), row, large_blob: None });
    }
    Ok(views)
}

fn passkey(
    cache: &mut Cache<(AccountId, CredentialId), PasskeyRow>,
    store: &dyn Read,
    key: (AccountId, CredentialId),
    at: AccountKey,
) -> Result<Option<PasskeyRow>, ReadError> {
    if let Some(row) = cache.fetch(&key) {
        return Ok(Some(row.clone()));
    }
    let row = store.passkey(at, &key.1)?;
    if let Some(row) = &row {
        cache.insert(key, row.clone(), passkey_weight(row));
    }
    Ok(row)
}

/// Bytes in memory, roughly: the row, its two buffers and its place in the cache.
fn passkey_weight(row: &PasskeyRow) -> usize {
    row.blob.len() + row.metadata.len() + 240
}

fn fields(state: &AccountState) -> AccountFields {
    AccountFields {
        row: state::row_hash(&state.row),
        seq: state.seq,
        head: state.head,
        vault_seq: state.vault_seq,
        vault_root: state.vault_root,
    }
}

fn map_value(state: &AccountState) -> Hash {
    state::map_value(&fields(state))
}

fn set(map: &mut Map, key: Hash, value: Hash) {
    map.set(key, value).expect("a full map knows every place");
}

fn prove(map: &Map, key: &Hash) -> MapProof {
    map.prove(key).expect("a full map knows every place")
}

#[cfg(test)]
mod tests;
