//! The host's side: the real desk over a store in memory, and a pump that does in one thread what `server::pump` does
//! in its own, with a place for a crash around each effect. The enclave is the real engine behind the real codec.

mod boot;
mod readers;
mod replies;

use crate::dice::Dice;
use crate::evil::Evil;
use crate::oracle::{Checked, Oracle, Provenance, breach, ensure, law};
use crate::post::{Ask, Body, Letter, Tell};
use crate::sabotage::Sabotage;
use keyferry_crypto::credential::RsaKey;
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::secret::SecretVec;
use keyferry_engine::{Engine, Platform};
use keyferry_server::desk::Desk;
use keyferry_server::ledger::MemoryFiles;
use keyferry_server::store::{MemoryStore, PlannedFault, Store};
use keyferry_wire::cbor::Limits;
use keyferry_wire::door::{
    AccountView, Batch, BatchRef, FromEnclave, Need, Open, Out, OutBody, ToEnclave, Turn, Turned, Work,
};
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::{RequestFrame, SessionOpen};
use keyferry_wire::{AccountId, CredentialId, Wire};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;

/// Name of the simulated deployment.
pub const NAME: &str = "sim.example";

/// Number of the root key.
const ROOT: u32 = 1;

/// Where a crash falls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before the enclave is asked.
    BeforeExchange,
    /// The enclave has answered, the store knows nothing.
    BeforeCommit,
    /// The store refuses.
    CommitRefused,
    /// The store keeps everything and says that it failed.
    CommitKept,
    /// The store has it, the enclave does not know.
    AfterCommit,
    /// The enclave has said its replies, no client has them.
    BeforeReplies,
}

impl Crash {
    /// All places.
    pub const ALL: [Crash; 6] = [
        Crash::BeforeExchange,
        Crash::BeforeCommit,
        Crash::CommitRefused,
        Crash::CommitKept,
        Crash::AfterCommit,
        Crash::BeforeReplies,
    ];

    fn word(self) -> &'static str {
        match self {
            Crash::BeforeExchange => "before-exchange",
            Crash::BeforeCommit => "before-commit",
            Crash::CommitRefused => "commit-refused",
            Crash::CommitKept => "commit-kept-but-failed",
            Crash::AfterCommit => "after-commit",
            Crash::BeforeReplies => "before-replies",
        }
    }
}

/// Who crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The enclave; whoever waits is told.
    Enclave,
    /// The gateway with the enclave: nobody is told, and the desk is built anew.
    Gateway,
}

/// How a turn goes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Plan {
    /// Where it breaks.
    pub crash: Option<(Crash, Who)>,
    /// Leaves some of what is queued for later, in another order.
    pub choosy: bool,
    /// Puts two requests of one account into a turn.
    pub crowded: bool,
    /// Keeps the word that batches are durable back for a while.
    pub silent: bool,
    /// Plays false with rows and tickets.
    pub evil: bool,
}

/// The seeded stand-in for the hardware. It remembers what could be keys.
struct SimPlatform {
    dice: Dice,
    drawn: Vec<[u8; 32]>,
}

impl Random for SimPlatform {
    fn fill(&mut self, out: &mut [u8]) {
        self.dice.fill(out);
        self.drawn.extend(<[u8; 32]>::try_from(&*out));
        // A scalar of P-384 is known by its first bytes.
        if out.len() == 48 {
            self.drawn.extend(out.first_chunk::<32>());
        }
    }
}

impl Platform for SimPlatform {
    fn random(&mut self) -> &mut dyn Random {
        self
    }

    fn evidence(&mut self, runtime_data: Vec<u8>) -> Evidence {
        keyferry_enclave::sim::evidence(runtime_data)
    }

    /// Plays the pool: fixed keys in turn, and often none is ready.
    fn rsa_key(&mut self) -> Option<RsaKey> {
        let key = self.dice.pick(&RSA_KEYS).filter(|_| self.dice.chance(500))?;
        Some(RsaKey::from_pkcs8(SecretVec::new(key.to_vec())))
    }
}

/// Test keys of 2048 bits: making one takes longer than many a world.
const RSA_KEYS: [&[u8]; 2] = [include_bytes!("../keys/rsa-1.der"), include_bytes!("../keys/rsa-2.der")];

struct Enclave {
    engine: Engine,
    platform: SimPlatform,
}

struct Waiter {
    exchange: u64,
    device: usize,
    from: Option<Rc<Provenance>>,
    seen: Option<u64>,
    need: Option<Need>,
    rounds: u8,
}

/// Tickets whose rows are false, and how.
type Tampered = BTreeMap<u64, &'static str>;

enum Item {
    Open(u64, SessionOpen),
    Request(u64, RequestFrame),
    Resume(u64, Need),
}

/// Rounds of `Need` that the pump allows.
const ROUNDS_MAX: u8 = 8;

/// The gateway and everything behind it.
pub struct Gateway {
    /// The disk.
    pub store: MemoryStore,
    /// The ledger's files.
    pub files: Arc<MemoryFiles>,
    /// Seed of this world's engines.
    seed: u64,
    boots: u64,
    root: [u8; 32],
    shards: u16,
    desk: Option<Desk>,
    enclave: Option<Enclave>,
    evidence: Option<Evidence>,
    evidence_ms: u64,
    tickets: u64,
    waiting: BTreeMap<u64, Waiter>,
    ready: VecDeque<Item>,
    committed: Vec<BatchRef>,
    /// Plays false.
    pub evil: Evil,
    /// Its own chance.
    pub dice: Dice,
    /// What a test breaks on purpose.
    pub sabotage: Option<Sabotage>,
    /// Letters to devices, to be sent.
    pub outbox: Vec<Letter>,
}

impl Gateway {
    /// An empty deployment that has not started.
    pub fn new(seed: u64, shards: u16) -> Gateway {
        let mut dice = Dice::new(seed, 1);
        let root = random::bytes(&mut dice);
        Gateway::over(seed, shards, root, MemoryStore::new(), Arc::default(), dice)
    }

    fn over(
        seed: u64,
        shards: u16,
        root: [u8; 32],
        store: MemoryStore,
        files: Arc<MemoryFiles>,
        dice: Dice,
    ) -> Gateway {
        Gateway {
            store,
            files,
            seed,
            boots: 0,
            root,
            shards,
            desk: None,
            enclave: None,
            evidence: None,
            evidence_ms: 0,
            tickets: 0,
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            committed: Vec::new(),
            evil: Evil::default(),
            dice,
            sabotage: None,
            outbox: Vec::new(),
        }
    }

    /// Another gateway on a copy of the disk.
    pub fn copy(&self, stream: u64) -> Gateway {
        let dice = Dice::new(self.seed, 1 << 32 | stream);
        let mut copy =
            Gateway::over(self.seed, self.shards, self.root, self.store.clone(), self.disk_files(), dice);
        copy.boots = (stream + 1) << 20;
        copy
    }

    /// The root key: a canary.
    pub fn root(&self) -> &[u8; 32] {
        &self.root
    }

    /// Whether an enclave serves.
    pub fn serves(&self) -> bool {
        self.enclave.is_some()
    }

    /// Whether a turn has something to do.
    pub fn is_busy(&self) -> bool {
        self.enclave.is_some() && (!self.ready.is_empty() || !self.committed.is_empty())
    }

    /// Requests that wait for the next turn.
    pub fn queued(&self) -> usize {
        self.ready.len()
    }

    /// A copy of the ledger's files as they are now.
    pub fn disk_files(&self) -> Arc<MemoryFiles> {
        Arc::new(MemoryFiles::clone(&self.files))
    }

    /// Puts yesterday's disk back.
    pub fn restore(&mut self, store: MemoryStore, files: Arc<MemoryFiles>, oracle: &mut Oracle) {
        self.store = store;
        self.files = files;
        self.die(Who::Gateway, oracle, "restore");
    }

    /// Crash and silence.
    pub fn die(&mut self, who: Who, oracle: &mut Oracle, place: &'static str) {
        oracle.stats.crash(place);
        self.enclave = None;
        self.evidence = None;
        self.ready.clear();
        self.committed.clear();
        let waiting = std::mem::take(&mut self.waiting);
        match who {
            Who::Gateway => self.desk = None,
            Who::Enclave => {
                for waiter in waiting.into_values() {
                    self.tell(waiter.exchange, waiter.device, Tell::Unavailable);
                }
            }
        }
    }

    /// Takes a request of a device.
    pub fn take(&mut self, exchange: u64, device: usize, ask: Ask) {
        let tell = match ask {
            _ if self.enclave.is_none() => Some(Tell::Unavailable),
            Ask::Open(open) => {
                let ticket = self.ticket(exchange, device, None, None);
                self.ready.push_back(Item::Open(ticket, open));
                None
            }
            Ask::Request(frame, from) => {
                let ticket = self.ticket(exchange, device, Some(from), frame.seen);
                self.ready.push_back(Item::Request(ticket, frame));
                None
            }
            Ask::Evidence => self.evidence.clone().map(Tell::Evidence),
            Ask::Sync { account, access, cursor, seen } => Some(self.sync(&account, &access, cursor, seen)),
            Ask::Audit { account, access, from, seen } => Some(self.audit(&account, &access, from, seen)),
        };
        if let Some(tell) = tell {
            self.tell(exchange, device, tell);
        }
    }

    fn ticket(
        &mut self,
        exchange: u64,
        device: usize,
        from: Option<Rc<Provenance>>,
        seen: Option<u64>,
    ) -> u64 {
        self.tickets += 1;
        let waiter = Waiter { exchange, device, from, seen, need: None, rounds: 0 };
        self.waiting.insert(self.tickets, waiter);
        self.tickets
    }

    fn tell(&mut self, exchange: u64, device: usize, tell: Tell) {
        self.outbox.push(Letter { exchange, device, body: Body::Tell(tell) });
    }

    /// One turn of the pump.
    pub fn turn(&mut self, now_ms: u64, plan: Plan, oracle: &mut Oracle) -> Checked {
        oracle.stats.turns += 1;
        if let Some((Crash::BeforeExchange, who)) = plan.crash {
            self.die(who, oracle, Crash::BeforeExchange.word());
            return Ok(());
        }
        let (turn, tampered) = self.gather(now_ms, &plan, oracle)?;
        let Some(enclave) = &mut self.enclave else { return Ok(()) };
        let Turned { out, batches } = ask_turn(enclave, turn, oracle)?;
        self.check_tampered(&tampered, &out)?;
        let early = self.spoil(now_ms, &batches, oracle)?;
        self.see(&out, oracle)?;
        if let Some((Crash::BeforeCommit, who)) = plan.crash {
            self.die(who, oracle, Crash::BeforeCommit.word());
            return Ok(());
        }
        if plan.crash.is_none_or(|(crash, _)| crash != Crash::BeforeReplies) {
            self.hand_out(out);
        }
        let committed = early || self.commit(&batches, &plan, oracle)?;
        if let Some((crash, who)) = plan.crash
            && (!committed || matches!(crash, Crash::AfterCommit | Crash::BeforeReplies))
        {
            self.die(who, oracle, crash.word());
        }
        Ok(())
    }

    /// Makes batches durable. `false`: the store said that it failed.
    fn commit(&mut self, batches: &[Batch], plan: &Plan, oracle: &mut Oracle) -> Checked<bool> {
        if batches.is_empty() {
            return Ok(true);
        }
        let fault = match plan.crash {
            Some((Crash::CommitRefused, _)) => Some(PlannedFault::BeforeApplying),
            Some((Crash::CommitKept, _)) => Some(PlannedFault::AfterApplying),
            _ => None,
        };
        if let Some(fault) = fault {
            self.store.plan_fault(0, fault);
        }
        let kept = self.store.commit(None, batches);
        if kept.is_ok() || fault == Some(PlannedFault::AfterApplying) {
            oracle.committed(batches)?;
        }
        if let Err(error) = kept {
            ensure(fault.is_some(), law::CALM, || format!("the store refuses a batch: {error}"))?;
            return Ok(false);
        }
        let desk = self.desk()?;
        batches.iter().for_each(|batch| desk.apply(batch));
        self.committed.extend(references(batches));
        Ok(true)
    }

    fn gather(&mut self, now_ms: u64, plan: &Plan, oracle: &mut Oracle) -> Checked<(Turn, Tampered)> {
        let (mut opens, mut work, mut tampered) = (Vec::new(), Vec::new(), Tampered::new());
        let mut accounts = BTreeSet::new();
        let mut later = VecDeque::new();
        while let Some(item) = self.ready.pop_front() {
            let taken = item.account().is_some_and(|account| accounts.contains(&account)) && !plan.crowded;
            if taken || (plan.choosy && self.dice.chance(400)) {
                later.push_back(item);
                continue;
            }
            accounts.extend(item.account());
            match item {
                Item::Open(ticket, open) => opens.push(Open { ticket, open }),
                item => {
                    let mut one = self.attach(item)?;
                    if let Some(kind) = self.evil.tamper(&mut one, plan.evil, &mut self.dice, oracle) {
                        tampered.insert(one.ticket, kind);
                    }
                    if let Some(view) = &one.view {
                        self.evil.remember(view);
                    }
                    work.push(one);
                }
            }
        }
        if plan.evil {
            self.evil.forge_tickets(&mut work, &mut self.dice, oracle);
        }
        if plan.choosy && later.len() > 1 {
            let by = self.dice.index(later.len());
            later.rotate_left(by);
        }
        self.ready = later;
        let committed = if plan.silent { Vec::new() } else { std::mem::take(&mut self.committed) };
        Ok((Turn { now_ms, committed, opens, work }, tampered))
    }

    fn attach(&mut self, item: Item) -> Checked<Work> {
        let store = &self.store;
        let desk = self.desk.as_mut().expect("an enclave runs on a desk");
        let (ticket, frame, view) = match item {
            Item::Open(ticket, _) => (ticket, None, Ok(None)),
            Item::Request(ticket, frame) => {
                let view = desk.hinted(store, &frame);
                (ticket, Some(frame), view)
            }
            Item::Resume(ticket, need) => (ticket, None, desk.needed(store, &need).map(Some)),
        };
        let view = view.or_else(|error| breach(law::CALM, format!("the desk cannot read: {error}")))?;
        if let (Some(waiter), Some(view)) = (self.waiting.get_mut(&ticket), &view) {
            waiter.need = Some(need_of(view));
        }
        Ok(Work { ticket, frame, view })
    }

    /// A request with a false view goes nowhere.
    fn check_tampered(&self, tampered: &Tampered, out: &[Out]) -> Checked {
        for (ticket, kind) in tampered {
            let said = out.iter().find(|out| out.ticket == *ticket).map(|out| &out.body);
            let refused =
                matches!(said, Some(OutBody::Dropped(_) | OutBody::Need(_) | OutBody::Busy | OutBody::Later));
            ensure(refused, law::STALE, || format!("ticket {ticket} is served from {kind}"))?;
        }
        Ok(())
    }

    /// The oracle looks at each reply as it leaves the enclave.
    fn see(&self, out: &[Out], oracle: &mut Oracle) -> Checked {
        for Out { ticket, body } in out {
            let OutBody::Reply(sealed) = body else { continue };
            match self.waiting.get(ticket).and_then(|waiter| waiter.from.as_ref()) {
                Some(from) => oracle.left_enclave(from, &sealed.reply)?,
                None => return breach(law::ONCE, format!("ticket {ticket} is answered though nobody waits")),
            }
        }
        Ok(())
    }
}

impl Item {
    fn account(&self) -> Option<AccountId> {
        match self {
            Item::Open(..) => None,
            Item::Request(_, frame) => frame.account,
            Item::Resume(_, need) => Some(need.account),
        }
    }
}

/// One message to the enclave and its answer, as bytes, which the host sees.
fn exchange(enclave: &mut Enclave, message: &ToEnclave, oracle: &mut Oracle) -> Checked<FromEnclave> {
    let bytes = message.to_bytes();
    oracle.seen_by_host("a message to the enclave", &bytes)?;
    let Ok(message) = ToEnclave::from_bytes_within(&bytes, Limits::DOOR) else {
        return breach(law::CALM, "a message to the enclave does not decode");
    };
    // What is drawn 32 bytes at a time in a turn are keys (of passkeys, members, channels); at the start it is BOOT's
    // public randomness as well.
    let secret = matches!(message, ToEnclave::Turn(_));
    let answer = enclave.engine.handle(&mut enclave.platform, message);
    for key in enclave.platform.drawn.drain(..).filter(|_| secret) {
        oracle.canaries.add("a key that the enclave drew", &key);
    }
    let bytes = answer.to_bytes();
    oracle.seen_by_host("a message of the enclave", &bytes)?;
    match FromEnclave::from_bytes_within(&bytes, Limits::DOOR) {
        Ok(FromEnclave::Fault(sentence)) => breach(law::CALM, format!("the enclave faults: {sentence}")),
        Ok(same) if same == answer => Ok(same),
        _ => breach(law::CALM, "a message of the enclave does not decode to itself"),
    }
}

fn ask_turn(enclave: &mut Enclave, turn: Turn, oracle: &mut Oracle) -> Checked<Turned> {
    match exchange(enclave, &ToEnclave::Turn(turn), oracle)? {
        FromEnclave::Turned(turned) => Ok(turned),
        _ => breach(law::CALM, "the enclave answers a turn with something else"),
    }
}

impl Gateway {
    /// What a sabotaged gateway does between the enclave's answer and the commit.
    fn spoil(&mut self, now_ms: u64, batches: &[Batch], oracle: &mut Oracle) -> Checked<bool> {
        if self.sabotage != Some(Sabotage::SpeakBeforeCommit) || batches.is_empty() {
            return Ok(false);
        }
        // Tells the enclave that the batch is durable before it is, and lets the replies go.
        let turn = Turn { now_ms, committed: references(batches), opens: Vec::new(), work: Vec::new() };
        let Some(enclave) = &mut self.enclave else { return Ok(false) };
        let Turned { out, .. } = ask_turn(enclave, turn, oracle)?;
        self.see(&out, oracle)?;
        self.hand_out(out);
        Ok(false)
    }
}

fn references(batches: &[Batch]) -> Vec<BatchRef> {
    batches.iter().map(|batch| BatchRef { shard: batch.shard, number: batch.number }).collect()
}

fn need_of(view: &AccountView) -> Need {
    Need {
        account: view.account,
        shard: view.shard,
        map_key: view.map_key,
        devices: view.devices.iter().map(|row| row.device).collect(),
        passkeys: view.passkeys.iter().map(|view| view.id).collect(),
        large_blobs: with_large_blob(view),
    }
}

fn with_large_blob(view: &AccountView) -> Vec<CredentialId> {
    view.passkeys.iter().filter(|view| view.large_blob.is_some()).map(|view| view.id).collect()
}
