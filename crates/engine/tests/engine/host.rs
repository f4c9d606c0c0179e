//! The host: an honest store with all maps and trees, and hooks by which a test makes it lie.
//!
//! `disk` holds every batch that the enclave gave out, durable or not, for the next turn's proofs must fit it;
//! `durable` is what a crash leaves.

use crate::platform::{Seeded, Sim};
use keyferry_crypto::release;
use keyferry_crypto::tree::RootKey;
use keyferry_engine::Engine;
use keyferry_tlog::state::{self, AccountFields};
use keyferry_tlog::{Frontier, Map, Nodes, inclusion_proof, leaf_hash, node_hash};
use keyferry_wire::door::*;
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::{RequestFrame, SessionOpen};
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, ShardId};
use std::collections::{BTreeMap, VecDeque};

pub(crate) const NAME: &str = "log.example";
pub(crate) const ROOT: [u8; 32] = [0x5a; 32];
/// 1 May 2026.
pub(crate) const START_MS: u64 = 1_777_593_600_000;

#[derive(Clone, Default)]
pub(crate) struct Log {
    pub(crate) leaves: Vec<Vec<u8>>,
    pub(crate) checkpoint: String,
    pub(crate) batch: u64,
}

#[derive(Clone)]
pub(crate) struct Stored {
    pub(crate) map_key: Hash,
    pub(crate) shard: ShardId,
    pub(crate) state: AccountState,
    pub(crate) devices: BTreeMap<DeviceId, DeviceRow>,
    pub(crate) passkeys: BTreeMap<CredentialId, PasskeyRow>,
    pub(crate) large_blobs: BTreeMap<CredentialId, Vec<u8>>,
    /// Places of the account's leaves in its log.
    pub(crate) entries: Vec<u64>,
}

#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) service: Option<ServiceRow>,
    pub(crate) logs: Vec<Log>,
    pub(crate) accounts: BTreeMap<AccountId, Stored>,
    /// As the rows make them; a test that bends rows finds the maps unbent.
    maps: BTreeMap<ShardId, Map>,
}

/// Complete subtrees of a list of leaves, made anew each time: tests are small.
struct Leaves<'a>(&'a [Vec<u8>]);

impl Nodes for Leaves<'_> {
    type Error = ();

    fn node(&self, level: u32, index: u64) -> Result<Hash, ()> {
        if level == 0 {
            return self.0.get(usize::try_from(index).unwrap()).map(|leaf| leaf_hash(leaf)).ok_or(());
        }
        Ok(node_hash(&self.node(level - 1, index * 2)?, &self.node(level - 1, index * 2 + 1)?))
    }
}

impl Log {
    pub(crate) fn tail(&self, shard: ShardId) -> Tail {
        let size = u64::try_from(self.leaves.len()).unwrap();
        let mut frontier = Frontier::new();
        self.leaves.iter().for_each(|leaf| frontier.push(leaf_hash(leaf)));
        Tail {
            shard,
            checkpoint: self.checkpoint.clone(),
            frontier: frontier.nodes().to_vec(),
            seal: self.leaves.last().unwrap().clone().into(),
            inclusion: inclusion_proof(&Leaves(&self.leaves), size - 1, size).unwrap(),
        }
    }
}

impl Disk {
    pub(crate) fn apply(&mut self, batch: &Batch) {
        let number = usize::from(batch.shard.0);
        if self.logs.len() <= number {
            self.logs.resize(number + 1, Log::default());
        }
        let log = &mut self.logs[number];
        assert_eq!(batch.number, log.batch + 1, "batches come one after the other");
        assert_eq!(batch.first_leaf, u64::try_from(log.leaves.len()).unwrap());
        log.leaves.extend(batch.leaves.chunks(LEAF_LEN).map(<[u8]>::to_vec));
        log.checkpoint.clone_from(&batch.checkpoint);
        log.batch = batch.number;
        for put in &batch.accounts {
            let stored = self.accounts.entry(put.account).or_insert_with(|| Stored {
                map_key: put.map_key,
                shard: batch.shard,
                state: put.state.clone(),
                devices: BTreeMap::new(),
                passkeys: BTreeMap::new(),
                large_blobs: BTreeMap::new(),
                entries: Vec::new(),
            });
            stored.state = put.state.clone();
            let map = self.maps.entry(batch.shard).or_default();
            map.set(put.map_key, map_value(&put.state)).unwrap();
            map.root();
            for device in &put.devices {
                let row = DeviceRow { device: device.device, row: device.row.clone() };
                stored.devices.insert(device.device, row);
            }
            for row in &put.passkeys {
                stored.passkeys.insert(row.id, row.clone());
            }
            for blob in &put.large_blobs {
                match &blob.sealed {
                    Some(sealed) => stored.large_blobs.insert(blob.id, sealed.0.clone()),
                    None => stored.large_blobs.remove(&blob.id),
                };
            }
            stored.entries.extend(put.leaves.iter().map(|at| batch.first_leaf + u64::from(*at)));
        }
    }

    pub(crate) fn map(&self, shard: ShardId) -> Map {
        self.maps.get(&shard).cloned().unwrap_or_default()
    }

    pub(crate) fn view(
        &self,
        account: &AccountId,
        need: Option<&Need>,
        frame: Option<&RequestFrame>,
    ) -> AccountView {
        let stored = self.accounts.get(account);
        let (shard, map_key) = match (stored, need) {
            (Some(stored), _) => (stored.shard, stored.map_key),
            (None, Some(need)) => (need.shard, need.map_key),
            (None, None) => panic!("nobody asked for this account"),
        };
        let asked_devices = need.map(|need| need.devices.clone()).unwrap_or_default();
        let asked_blobs = need.map(|need| need.large_blobs.clone()).unwrap_or_default();
        let asked_passkeys = need.map(|need| need.passkeys.clone()).unwrap_or_default();
        let hints = frame.map(|frame| (frame.device, frame.passkeys.clone()));
        let (hint_device, hint_passkeys) = hints.unwrap_or_default();
        let devices = asked_devices.into_iter().chain(hint_device);
        let mut vault = vault(stored);
        vault.root();
        let passkeys = asked_passkeys.into_iter().chain(hint_passkeys).map(|id| PasskeyView {
            id,
            proof: vault.prove(&state::vault_key(&id)).unwrap(),
            row: stored.and_then(|stored| stored.passkeys.get(&id).cloned()),
            large_blob: stored
                .filter(|_| asked_blobs.contains(&id))
                .and_then(|stored| stored.large_blobs.get(&id).cloned().map(Into::into)),
        });
        AccountView {
            account: *account,
            shard,
            map_key,
            proof: self.map(shard).prove(&map_key).unwrap(),
            state: stored.map(|stored| stored.state.clone()),
            devices: devices.filter_map(|id| stored?.devices.get(&id).cloned()).collect(),
            passkeys: passkeys.collect(),
        }
    }
}

fn vault(stored: Option<&Stored>) -> Map {
    let mut map = Map::new();
    for row in stored.iter().flat_map(|stored| stored.passkeys.values()) {
        map.set(state::vault_key(&row.id), state::vault_value(row)).unwrap();
    }
    map
}

pub(crate) fn map_value(state: &AccountState) -> Hash {
    state::map_value(&AccountFields {
        row: state::row_hash(&state.row),
        seq: state.seq,
        head: state.head,
        vault_seq: state.vault_seq,
        vault_root: state.vault_root,
    })
}

/// Changes a view before the enclave sees it.
pub(crate) type Lie = Box<dyn FnMut(&mut AccountView)>;

pub(crate) struct Host {
    pub(crate) engine: Engine,
    pub(crate) platform: Sim,
    random: Seeded,
    pub(crate) now_ms: u64,
    pub(crate) shards: u16,
    pub(crate) root: [u8; 32],
    pub(crate) disk: Disk,
    pub(crate) durable: Disk,
    /// Given out and not durable yet.
    pub(crate) flying: VecDeque<Batch>,
    /// Durable, and the enclave does not know.
    acknowledged: Vec<BatchRef>,
    pub(crate) evidence: Option<Evidence>,
    pub(crate) greeting: Option<Evidence>,
    tickets: u64,
    pub(crate) frames: BTreeMap<u64, RequestFrame>,
    /// Passkeys that the enclave asked for.
    asked: BTreeMap<u64, Vec<CredentialId>>,
    pub(crate) lie: Option<Lie>,
    pub(crate) batches: Vec<Batch>,
}

impl Host {
    pub(crate) fn new(seed: u64, shards: u16) -> Host {
        let mut random = Seeded::new(seed);
        Host {
            engine: Engine::default(),
            platform: Sim::new(random.fork()),
            random,
            now_ms: START_MS,
            shards,
            root: ROOT,
            disk: Disk::default(),
            durable: Disk::default(),
            flying: VecDeque::new(),
            acknowledged: Vec::new(),
            evidence: None,
            greeting: None,
            tickets: 0,
            frames: BTreeMap::new(),
            asked: BTreeMap::new(),
            lie: None,
            batches: Vec::new(),
        }
    }

    pub(crate) fn send(&mut self, message: ToEnclave) -> FromEnclave {
        self.engine.handle(&mut self.platform, message)
    }

    pub(crate) fn greet(&mut self) -> [u8; 32] {
        let challenge = keyferry_crypto::random::bytes(&mut self.random);
        let hello = Hello { version: 1, challenge, now_ms: self.now_ms };
        match self.send(ToEnclave::Hello(hello)) {
            FromEnclave::Evidence(evidence) => self.greeting = Some(evidence),
            other => panic!("{other:?}"),
        }
        challenge
    }

    pub(crate) fn release(&mut self, challenge: &[u8; 32]) -> Release {
        let greeting = self.greeting.clone().unwrap();
        let hpke_key = jwk(&greeting, "hpke", "x").try_into().unwrap();
        let root = RootKey::from_bytes(self.root);
        release::seal(&root, 1, 0, challenge, &hpke_key, &mut self.random).unwrap()
    }

    pub(crate) fn load_message(&mut self) -> Load {
        let challenge = self.greet();
        Load {
            now_ms: self.now_ms,
            name: NAME.to_owned(),
            shards: self.shards,
            release: self.release(&challenge),
            service: self.disk.service.clone(),
            tails: (0..).zip(&self.disk.logs).map(|(id, log)| log.tail(ShardId(id))).collect(),
        }
    }

    /// A `Load` with the release of this life, for an enclave that has had one.
    pub(crate) fn load_message_again(&mut self) -> Load {
        let release = self.release(&[0; 32]);
        Load {
            now_ms: self.now_ms,
            name: NAME.to_owned(),
            shards: self.shards,
            release,
            service: self.disk.service.clone(),
            tails: Vec::new(),
        }
    }

    /// Starts a new enclave from what is durable, as far as its BOOT.
    pub(crate) fn start(&mut self) -> Loaded {
        self.engine = Engine::default();
        self.disk = self.durable.clone();
        self.flying.clear();
        self.acknowledged.clear();
        self.frames.clear();
        let load = self.load_message();
        match self.send(ToEnclave::Load(load)) {
            FromEnclave::Loaded(loaded) => {
                self.disk.service = Some(loaded.service.clone());
                self.durable.service = Some(loaded.service.clone());
                self.evidence = Some(loaded.evidence.clone());
                self.take(&loaded.batches);
                loaded
            }
            other => panic!("{other:?}"),
        }
    }

    /// Starts a new enclave and makes its BOOT durable.
    pub(crate) fn boot(&mut self) {
        self.start();
        self.persist();
        assert!(self.turn(Vec::new(), Vec::new()).is_empty());
    }

    fn take(&mut self, batches: &[Batch]) {
        for batch in batches {
            self.disk.apply(batch);
            self.flying.push_back(batch.clone());
            self.batches.push(batch.clone());
        }
    }

    /// Makes everything durable; the enclave learns of it with the next turn.
    pub(crate) fn persist(&mut self) {
        while let Some(batch) = self.flying.pop_front() {
            self.durable.apply(&batch);
            self.acknowledged.push(BatchRef { shard: batch.shard, number: batch.number });
        }
    }

    pub(crate) fn ticket(&mut self) -> u64 {
        self.tickets += 1;
        self.tickets
    }

    pub(crate) fn turn(&mut self, opens: Vec<Open>, work: Vec<Work>) -> Vec<Out> {
        let committed = std::mem::take(&mut self.acknowledged);
        let turn = Turn { now_ms: self.now_ms, committed, opens, work };
        match self.send(ToEnclave::Turn(turn)) {
            FromEnclave::Turned(turned) => {
                self.take(&turned.batches);
                turned.out
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn open(&mut self, open: SessionOpen) -> OutBody {
        let ticket = self.ticket();
        let mut out = self.turn(vec![Open { ticket, open }], Vec::new());
        assert_eq!(out.len(), 1);
        assert_eq!(out[0].ticket, ticket);
        out.remove(0).body
    }

    /// A new request with the view that its hints lead to.
    pub(crate) fn work(&mut self, frame: RequestFrame) -> Work {
        let ticket = self.ticket();
        let known = frame.account.filter(|account| self.disk.accounts.contains_key(account));
        let view = known.map(|account| self.view(&account, None, Some(&frame)));
        self.frames.insert(ticket, frame.clone());
        Work { ticket, frame: Some(frame), view }
    }

    /// A request that waits, with what it needs.
    pub(crate) fn resume(&mut self, ticket: u64, need: &Need) -> Work {
        let frame = self.frames.get(&ticket).cloned();
        Work { ticket, frame: None, view: Some(self.view(&need.account, Some(need), frame.as_ref())) }
    }

    /// A member's request that was put off, with what its hints lead to.
    pub(crate) fn resume_with_frame(&mut self, ticket: u64) -> Work {
        let frame = self.frames[&ticket].clone();
        let account = frame.account.unwrap();
        let passkeys = self.asked.get(&ticket).cloned().unwrap_or_default();
        let stored = &self.disk.accounts[&account];
        let need = Need {
            account,
            shard: stored.shard,
            map_key: stored.map_key,
            devices: frame.device.into_iter().collect(),
            passkeys,
            large_blobs: Vec::new(),
        };
        self.resume(ticket, &need)
    }

    fn view(
        &mut self,
        account: &AccountId,
        need: Option<&Need>,
        frame: Option<&RequestFrame>,
    ) -> AccountView {
        let mut view = self.disk.view(account, need, frame);
        if let Some(lie) = &mut self.lie {
            lie(&mut view);
        }
        view
    }

    /// Runs one request until its rows are there; `None` when the answer waits for a batch.
    pub(crate) fn submit(&mut self, frame: RequestFrame) -> (u64, Option<OutBody>) {
        let mut work = self.work(frame);
        let ticket = work.ticket;
        loop {
            let mut out = self.turn(Vec::new(), vec![work]);
            let at = out.iter().position(|out| out.ticket == ticket);
            match at.map(|at| out.remove(at).body) {
                Some(OutBody::Need(need)) => {
                    self.asked.insert(ticket, need.passkeys.clone());
                    work = self.resume(ticket, &need);
                }
                other => return (ticket, other),
            }
        }
    }

    /// Runs one request to its end.
    pub(crate) fn serve(&mut self, frame: RequestFrame) -> OutBody {
        let (ticket, body) = self.submit(frame);
        body.unwrap_or_else(|| self.settle(ticket))
    }

    /// Makes everything durable and takes the answer for a ticket.
    pub(crate) fn settle(&mut self, ticket: u64) -> OutBody {
        self.persist();
        let out = self.turn(Vec::new(), Vec::new());
        out.into_iter().find(|out| out.ticket == ticket).expect("the answer comes with the batch").body
    }

    pub(crate) fn entries(&self, account: &AccountId) -> usize {
        self.disk.accounts.get(account).map_or(0, |stored| stored.entries.len())
    }
}

/// A member of a key in the evidence's runtime data.
pub(crate) fn jwk(evidence: &Evidence, kid: &str, member: &str) -> Vec<u8> {
    use base64::Engine as _;
    let data: serde_json::Value = serde_json::from_slice(&evidence.runtime_data).unwrap();
    let key = data["keys"].as_array().unwrap().iter().find(|key| key["kid"] == kid).unwrap();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(key[member].as_str().unwrap()).unwrap()
}
