//! For tests: batches that verify, and an enclave that is a stand-in in every respect.

use crate::link::{Enclave, KeyBroker, Launcher, LinkError};
use keyferry_tlog::state::{self, AccountFields};
use keyferry_tlog::{Checkpoint, Frontier, Hash, Map, leaf_hash};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::door::{
    AccountPut, AccountState, AccountView, Batch, DevicePut, Drop as Reason, FromEnclave, Load, Loaded, Need,
    Out, OutBody, Release, Sealed, ServiceRow, ToEnclave, Turn, Turned,
};
use keyferry_wire::evidence::{Evidence, SIM};
use keyferry_wire::frame::{ReplyFrame, RequestFrame, SessionOpened};
use keyferry_wire::ledger::{Class, Leaf};
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, CredentialId, DeviceId, InstanceId, SessionId, ShardId};
use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex};

/// The access token of every device that the stand-in enclave makes.
pub(crate) const TOKEN: &[u8] = b"token";

pub(crate) const NAME: &str = "keyferry.test";

pub(crate) fn account(n: u8) -> AccountId {
    AccountId([n; 32])
}

pub(crate) fn device(n: u8) -> DeviceId {
    DeviceId([n; 16])
}

pub(crate) fn credential(n: u8) -> CredentialId {
    CredentialId([n; 16])
}

/// The engine blinds; tests only need a key that is another.
pub(crate) fn map_key(account: &AccountId) -> Hash {
    state::row_hash(&account.0)
}

pub(crate) fn service_row(shards: u16) -> ServiceRow {
    ServiceRow { log_id: [7; 32], root: 1, sealed: vec![1, 2, 3].into(), name: NAME.into(), shards }
}

pub(crate) fn passkey(n: u8, version: u64, vault_seq: u64) -> PasskeyRow {
    PasskeyRow {
        id: credential(n),
        version,
        vault_seq,
        deleted: false,
        epoch: 1,
        blob: vec![n; 90].into(),
        metadata: vec![n, 1].into(),
        large_blob: None,
    }
}

pub(crate) fn device_put(n: u8, row: &[u8], access: Option<Hash>) -> DevicePut {
    DevicePut { device: device(n), row: row.into(), access }
}

/// One account's part of a batch.
pub(crate) struct Edit {
    pub(crate) account: AccountId,
    pub(crate) before: Option<AccountState>,
    pub(crate) devices: Vec<DevicePut>,
    pub(crate) passkeys: Vec<PasskeyRow>,
    pub(crate) vault_root: Hash,
    pub(crate) events: u32,
}

/// Writes a shard's log as the engine would; checkpoints are unsigned.
pub(crate) struct Scribe {
    pub(crate) shard: ShardId,
    pub(crate) frontier: Frontier,
    pub(crate) map: Map,
    pub(crate) number: u64,
}

impl Scribe {
    pub(crate) fn new(shard: u16) -> Scribe {
        Scribe { shard: ShardId(shard), frontier: Frontier::new(), map: Map::new(), number: 0 }
    }

    pub(crate) fn batch(&mut self, class: Class, edits: Vec<Edit>) -> Batch {
        self.number += 1;
        let first_leaf = self.frontier.size();
        let mut leaves = Vec::new();
        let mut accounts = Vec::new();
        if class != Class::Event {
            self.leaf(&mut leaves, class, [0; 32]);
        }
        for edit in edits {
            let before = edit.before.as_ref();
            let mut head = before.map_or(state::NO_HEAD, |state| state.head);
            let mut positions = Vec::new();
            for _ in 0..edit.events {
                let position = u32::try_from(self.frontier.size() - first_leaf).unwrap();
                positions.push(position);
                let leaf = self.leaf(&mut leaves, Class::Event, edit.account.0);
                head = state::account_head(&head, &leaf_hash(&leaf));
            }
            let seq = before.map_or(0, |state| state.seq) + u64::from(edit.events);
            let vault_seq = edit.passkeys.iter().map(|row| row.vault_seq).max();
            let next = AccountState {
                row: format!("row {seq}").into_bytes().into(),
                seq,
                head,
                vault_seq: vault_seq.or(before.map(|state| state.vault_seq)).unwrap_or(0),
                vault_root: edit.vault_root,
            };
            self.map.set(map_key(&edit.account), value(&next)).unwrap();
            accounts.push(AccountPut {
                account: edit.account,
                map_key: map_key(&edit.account),
                state: next,
                devices: edit.devices,
                passkeys: edit.passkeys,
                leaves: positions,
                large_blobs: Vec::new(),
            });
        }
        let root = self.map.root();
        self.leaf(&mut leaves, Class::Seal, root);
        let origin = format!("{NAME}/{}", self.shard.0);
        let body = Checkpoint::new(origin.clone(), self.frontier.size(), self.frontier.root()).body();
        let checkpoint = format!("{body}\n\u{2014} {origin} AAAA\n");
        Batch {
            shard: self.shard,
            number: self.number,
            first_leaf,
            leaves: leaves.into(),
            checkpoint,
            accounts,
        }
    }

    fn leaf(&mut self, leaves: &mut Vec<u8>, class: Class, tag: Hash) -> Vec<u8> {
        let leaf = Leaf {
            class,
            batch: self.number,
            time_secs: 1_700_000_000,
            tag,
            salt: u128::from(self.frontier.size()).to_be_bytes(),
            commitment: [0; 32],
            sealed: [0; 126],
        };
        let bytes = leaf.to_bytes();
        self.frontier.push(leaf_hash(&bytes));
        leaves.extend_from_slice(&bytes);
        bytes.to_vec()
    }
}

pub(crate) fn value(state: &AccountState) -> Hash {
    state::map_value(&AccountFields {
        row: state::row_hash(&state.row),
        seq: state.seq,
        head: state.head,
        vault_seq: state.vault_seq,
        vault_root: state.vault_root,
    })
}

/// A scribe that remembers accounts and vaults.
pub(crate) struct World {
    pub(crate) scribe: Scribe,
    pub(crate) states: BTreeMap<AccountId, AccountState>,
    vaults: HashMap<AccountId, Map>,
}

impl World {
    pub(crate) fn new(shard: u16) -> World {
        World { scribe: Scribe::new(shard), states: BTreeMap::new(), vaults: HashMap::new() }
    }

    pub(crate) fn edit(&mut self, account: AccountId) -> Edit {
        let vault_root = self.vaults.entry(account).or_default().root();
        let before = self.states.get(&account).cloned();
        Edit { account, before, devices: Vec::new(), passkeys: Vec::new(), vault_root, events: 1 }
    }

    /// An edit that writes passkeys with the numbers `ids`.
    pub(crate) fn passkeys(&mut self, account: AccountId, ids: impl IntoIterator<Item = u8>) -> Edit {
        let mut edit = self.edit(account);
        let mut vault_seq = edit.before.as_ref().map_or(0, |state| state.vault_seq);
        let vault = self.vaults.get_mut(&account).unwrap();
        for id in ids {
            vault_seq += 1;
            let row = passkey(id, vault_seq, vault_seq);
            vault.set(state::vault_key(&row.id), state::vault_value(&row)).unwrap();
            edit.passkeys.push(row);
        }
        edit.vault_root = vault.root();
        edit
    }

    pub(crate) fn batch(&mut self, edits: Vec<Edit>) -> Batch {
        let batch = self.scribe.batch(Class::Event, edits);
        for put in &batch.accounts {
            self.states.insert(put.account, put.state.clone());
        }
        batch
    }
}

/// What a test tells its stand-in enclaves, over all of their lives.
#[derive(Default)]
pub(crate) struct Script {
    pub(crate) launches: u32,
    pub(crate) turns: u32,
    pub(crate) largest_turn: usize,
    /// Requests of the last turn.
    pub(crate) tickets: Vec<u64>,
    /// The next start fails.
    pub(crate) refuse_launches: u32,
    /// So often a frame `later` is put off.
    pub(crate) put_off: u32,
    /// Requests that the enclave holds.
    pub(crate) held: usize,
}

/// Ticket, reply, and the size of its checkpoint.
type Waiting = (u64, ReplyFrame, u64);

/// A test stand-in for an enclave: no secrets, no checks. A frame's ciphertext is a word that says what to do:
/// `put` writes an entry, `revoke` takes the device's access away, `need` asks for rows first, `later` puts off and then
/// answers, `read` answers at once, `drop` drops, `die` breaks the link.
pub(crate) struct StandInEnclave {
    script: Arc<Mutex<Script>>,
    scribes: Vec<Scribe>,
    held: HashMap<u64, RequestFrame>,
    pending: HashMap<(ShardId, u64), Vec<Waiting>>,
}

#[derive(Clone, Default)]
pub(crate) struct StandInLauncher(pub(crate) Arc<Mutex<Script>>);

impl Launcher for StandInLauncher {
    fn launch(&mut self) -> io::Result<Box<dyn Enclave>> {
        let mut script = self.0.lock().unwrap();
        if script.refuse_launches > 0 {
            script.refuse_launches -= 1;
            return Err(io::Error::other("planned"));
        }
        script.launches += 1;
        Ok(Box::new(StandInEnclave {
            script: Arc::clone(&self.0),
            scribes: Vec::new(),
            held: HashMap::new(),
            pending: HashMap::new(),
        }))
    }
}

/// A test stand-in for a key broker.
pub(crate) struct StandInBroker;

impl KeyBroker for StandInBroker {
    fn challenge(&mut self) -> [u8; 32] {
        [9; 32]
    }

    fn release(&mut self, _: &[u8; 32], evidence: &Evidence) -> Result<Release, String> {
        assert_eq!(evidence.kind, SIM);
        Ok(Release { root: 1, sealed: Bytes::default(), custody_level: 0 })
    }

    fn custody_level(&self) -> u16 {
        0
    }
}

impl Enclave for StandInEnclave {
    fn exchange(&mut self, message: ToEnclave) -> Result<FromEnclave, LinkError> {
        Ok(match message {
            ToEnclave::Hello(_) | ToEnclave::Refresh(_) => FromEnclave::Evidence(stand_in_evidence()),
            ToEnclave::Load(load) => FromEnclave::Loaded(self.load(load)),
            ToEnclave::Turn(turn) => return self.turn(turn).map(FromEnclave::Turned),
        })
    }
}

pub(crate) fn stand_in_evidence() -> Evidence {
    Evidence {
        version: 1,
        kind: SIM.into(),
        report: Bytes::default(),
        endorsements: Vec::new(),
        init_data: Bytes::default(),
        runtime_data: Bytes::default(),
    }
}

impl StandInEnclave {
    fn load(&mut self, load: Load) -> Loaded {
        for shard in 0..load.shards {
            let mut scribe = Scribe::new(shard);
            if let Some(tail) = load.tails.get(usize::from(shard)) {
                let size = tail.checkpoint.lines().nth(1).unwrap().parse().unwrap();
                let seal = Leaf::from_bytes(&tail.seal).unwrap();
                scribe.frontier = Frontier::from_nodes(size, tail.frontier.clone()).unwrap();
                scribe.map = Map::partial(seal.tag);
                scribe.number = seal.batch;
            }
            self.scribes.push(scribe);
        }
        Loaded {
            service: load.service.unwrap_or_else(|| service_row(load.shards)),
            evidence: stand_in_evidence(),
            log_keys: (0..load.shards).map(|shard| format!("{NAME}/{shard}+stand-in")).collect(),
            batches: self.scribes.iter_mut().map(|scribe| scribe.batch(Class::Boot, Vec::new())).collect(),
            instance: InstanceId([4; 8]),
        }
    }

    fn turn(&mut self, turn: Turn) -> Result<Turned, LinkError> {
        let mut script = self.script.lock().unwrap();
        script.turns += 1;
        script.tickets = turn.work.iter().map(|work| work.ticket).collect();
        script.largest_turn = script.largest_turn.max(turn.work.len());
        drop(script);
        let mut out = Vec::new();
        for batch in turn.committed {
            for (ticket, reply, size) in self.pending.remove(&(batch.shard, batch.number)).unwrap_or_default()
            {
                out.push(Out { ticket, body: OutBody::Reply(Sealed { reply, size: Some(size) }) });
            }
        }
        for open in turn.opens {
            let session = SessionId([3; 16]);
            let opened = SessionOpened { version: 1, session, message: open.open.message };
            out.push(Out { ticket: open.ticket, body: OutBody::Opened(opened) });
        }
        let mut edits = Vec::new();
        let mut replies = Vec::new();
        for work in turn.work {
            if work.frame.is_none() && work.view.is_none() {
                self.held.remove(&work.ticket);
                out.push(Out { ticket: work.ticket, body: OutBody::Dropped(Reason::Frame) });
                continue;
            }
            let frame = work.frame.or_else(|| self.held.remove(&work.ticket)).expect("a held frame");
            let body = match (&frame.ciphertext[..], work.view) {
                (b"die", _) => return Err(LinkError::Stream(io::ErrorKind::BrokenPipe.into())),
                (b"drop", _) => OutBody::Dropped(Reason::Session),
                (b"later", Some(_)) if self.is_put_off() => {
                    self.held.insert(work.ticket, frame);
                    OutBody::Later
                }
                (b"read" | b"later", Some(_)) => OutBody::Reply(Sealed { reply: reply(&frame), size: None }),
                (b"put", Some(view)) => {
                    replies.push((work.ticket, reply(&frame)));
                    edits.push(self.edit(view));
                    continue;
                }
                (b"revoke", Some(view)) => {
                    replies.push((work.ticket, reply(&frame)));
                    let devices = vec![device_put(1, b"revoked device", None)];
                    edits.push(Edit { devices, ..self.edit(view) });
                    continue;
                }
                (_, _) => {
                    let mut frame = frame;
                    let account = frame.account.take().unwrap_or(account(1));
                    frame.ciphertext = b"put".as_slice().into();
                    self.held.insert(work.ticket, frame);
                    OutBody::Need(Need {
                        account,
                        shard: ShardId(0),
                        map_key: map_key(&account),
                        devices: vec![device(1)],
                        passkeys: vec![credential(1)],
                        large_blobs: Vec::new(),
                    })
                }
            };
            out.push(Out { ticket: work.ticket, body });
        }
        self.script.lock().unwrap().held = self.held.len();
        let mut batches = Vec::new();
        if !edits.is_empty() {
            let batch = self.scribes[0].batch(Class::Event, edits);
            let size = self.scribes[0].frontier.size();
            let replies = replies.into_iter().map(|(ticket, reply)| (ticket, reply, size)).collect();
            self.pending.insert((batch.shard, batch.number), replies);
            batches.push(batch);
        }
        Ok(Turned { out, batches })
    }

    fn is_put_off(&self) -> bool {
        let mut script = self.script.lock().unwrap();
        let left = script.put_off.checked_sub(1);
        script.put_off = left.unwrap_or_default();
        left.is_some()
    }

    fn edit(&mut self, view: AccountView) -> Edit {
        let found = self.scribes[0].map.admit(&view.map_key, &view.proof).expect("a proof that holds");
        assert_eq!(found, view.state.as_ref().map(value), "a view of the newest state");
        let devices = if view.state.is_none() {
            vec![device_put(1, b"new device", Some(state::row_hash(TOKEN)))]
        } else {
            Vec::new()
        };
        let vault_root = view.state.as_ref().map_or(keyferry_tlog::map::EMPTY, |state| state.vault_root);
        Edit {
            account: view.account,
            before: view.state,
            devices,
            passkeys: Vec::new(),
            vault_root,
            events: 1,
        }
    }
}

fn reply(frame: &RequestFrame) -> ReplyFrame {
    ReplyFrame {
        version: 1,
        session: frame.session,
        number: frame.number,
        ciphertext: frame.ciphertext.clone(),
        consistency: Vec::new(),
    }
}
