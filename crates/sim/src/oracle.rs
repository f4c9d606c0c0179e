//! What must hold whatever happens. The oracle sees what the sim alone can see: every batch at the moment when the
//! store keeps it, every reply at the moment when it leaves the enclave (opened with the client's own session),
//! and what each user typed. It believes neither the engine's count nor the ledger's words about it.

mod truth;

use crate::canary::Canaries;
use crate::stats::Stats;
use keyferry_client::evidence::LogPin;
use keyferry_client::exchange::{self, Sent};
use keyferry_client::flow::Call;
use keyferry_client::home::Home;
use keyferry_client::session::Session;
use keyferry_crypto::tree::AuditKey;
use keyferry_tlog::{Checkpoint, Frontier, Note, SignedCheckpoint, VerifierKey, leaf_hash};
use keyferry_wire::command::{Answer, Command};
use keyferry_wire::door::{AccountPut, Batch};
use keyferry_wire::frame::ReplyFrame;
use keyferry_wire::ledger::{Event, LEAF_LEN, Leaf};
use keyferry_wire::{AccountId, DeviceId, Hash, RequestId};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::rc::Rc;
pub use truth::{KeyTruth, Truth};

/// The oracles, each a sentence.
pub mod law {
    /// P6.
    pub const GUESSES: &str = "never an eleventh wrong evaluation";
    /// Write down first, then speak: the PIN.
    pub const PAID: &str = "an evaluation leaves the enclave only after its ATTEMPT leaf is durable";
    /// Write down first, then speak: everything.
    pub const DURABLE: &str = "no reply leaves the enclave before the state that it tells of is durable";
    /// An acknowledged write survives.
    pub const KEPT: &str = "every acknowledged write is found again";
    /// Retries are harmless.
    pub const ONCE: &str = "an operation is applied at most once";
    /// Nothing is made up.
    pub const ASKED: &str = "nothing stands in the ledger that nobody asked for";
    /// P4.
    pub const AUDIT: &str = "each device's own audit passes and is complete";
    /// Whoever is honest is not accused.
    pub const HONEST: &str = "a host that plays fair is never called a fraud";
    /// No fork, no rollback.
    pub const LOG: &str = "all published checkpoints are of one growing log";
    /// P5.
    pub const EQUAL: &str = "devices that sync hold the vault that its root names";
    /// P1.
    pub const CANARY: &str = "no canary in anything that the host held";
    /// Faults cost time, nothing else.
    pub const LIVE: &str = "an honest user gets in after the faults stop";
    /// Locked is locked.
    pub const LOCKED: &str = "a locked PIN stays locked until a member sets another, and members still sign";
    /// The enclave's judgement of a PIN.
    pub const TRUTH: &str = "a right PIN is called right and a wrong one wrong";
    /// A tombstone stays.
    pub const DELETED: &str = "a deleted passkey never signs again";
    /// P11 and the use of it all.
    pub const SIGNS: &str = "a passkey's signature verifies under the key it was made with";
    /// What a site encrypts with it opens again, and not without the user where it was made with the user.
    pub const PRF: &str = "a passkey's PRF is one function, and another one without user verification";
    /// A host that lies about rows is refused.
    pub const STALE: &str = "a row that is not the account's current one is refused";
    /// The program itself.
    pub const CALM: &str = "the enclave neither panics nor faults";
}

/// An oracle that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which: one of [`law`].
    pub oracle: &'static str,
    /// What was seen.
    pub detail: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.oracle, self.detail)
    }
}

/// The result of a check.
pub type Checked<T = ()> = Result<T, Breach>;

/// Fails an oracle.
pub fn breach<T>(oracle: &'static str, detail: impl Into<String>) -> Checked<T> {
    Err(Breach { oracle, detail: detail.into() })
}

/// Fails an oracle unless something holds.
pub fn ensure(holds: bool, oracle: &'static str, detail: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { breach(oracle, detail()) }
}

/// Where a request frame comes from: for the oracle's eyes, never the host's.
pub struct Provenance {
    /// Which device of the world.
    pub device: usize,
    /// Which account of the world.
    pub account: usize,
    /// The device's id.
    pub id: DeviceId,
    /// What was asked.
    pub call: Rc<Call>,
    /// How it was sealed.
    pub sent: Sent,
    /// In which session.
    pub session: Rc<RefCell<Session>>,
    /// The PIN that the user typed to prove it.
    pub typed: Option<String>,
    /// The PIN that the user sets.
    pub sets: Option<String>,
}

/// What became durable of an account.
#[derive(Clone, Debug, Default)]
struct Durable {
    shard: u16,
    heads: BTreeMap<u64, Hash>,
    vaults: BTreeMap<u64, Hash>,
    leaves: Vec<Vec<u8>>,
}

/// One shard's log as committed.
#[derive(Clone, Debug)]
struct Log {
    key: VerifierKey,
    frontier: Frontier,
    heads: BTreeMap<u64, Hash>,
}

/// The judge of one world.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    /// What the host must never see.
    pub canaries: Canaries,
    /// Numbers of this run.
    pub stats: Stats,
    /// What was seen since somebody last looked: for the trace.
    pub notes: Vec<String>,
    /// What the users know, by account of the world.
    pub truths: Vec<Truth>,
    by_id: BTreeMap<AccountId, usize>,
    durable: BTreeMap<AccountId, Durable>,
    logs: BTreeMap<u16, Log>,
}

impl Oracle {
    /// A judge of this many accounts.
    pub fn new(accounts: usize) -> Oracle {
        Oracle { truths: vec![Truth::default(); accounts], ..Oracle::default() }
    }

    /// Bytes that the host sees.
    pub fn seen_by_host(&self, place: &str, bytes: &[u8]) -> Checked {
        match self.canaries.find(bytes) {
            Some(name) => breach(law::CANARY, format!("{name} stands in {place}")),
            None => Ok(()),
        }
    }

    /// A log shows its key when the enclave is loaded; it never gets another.
    pub fn log_keys(&mut self, keys: &[String]) -> Checked {
        for (shard, text) in (0..).zip(keys) {
            let Ok(key) = VerifierKey::parse(text) else {
                return breach(law::LOG, format!("shard {shard} has no key: {text}"));
            };
            let fresh = || Log { key: key.clone(), frontier: Frontier::new(), heads: BTreeMap::new() };
            let log = self.logs.entry(shard).or_insert_with(fresh);
            ensure(log.key == key, law::LOG, || format!("the key of shard {shard} changed"))?;
        }
        Ok(())
    }

    /// A request goes out.
    pub fn sent(&mut self, from: &Provenance) {
        for command in &from.call.commands {
            match command {
                Command::Authenticate(identity) | Command::CreateAccount(identity) => {
                    self.canaries.add("the proof of a password", &identity.proof);
                }
                Command::Finish(finish) => self.canaries.add("what closes a try", &finish.value),
                Command::Expose(expose) => self.canaries.add("a client key", &expose.client_key),
                _ => {}
            }
        }
        self.truths[from.account].sent(from);
    }

    /// An account of the world and its id belong together.
    pub fn meet(&mut self, account: usize, id: AccountId) -> Checked {
        let known = *self.by_id.entry(id).or_insert(account);
        ensure(known == account, law::TRUTH, || format!("{id:?} is the account of two names"))?;
        self.truths[account].meet(id);
        Ok(())
    }

    /// A member's key to its account's ledger.
    pub fn audit_key(&mut self, account: usize, key: &[u8; 32]) -> Checked {
        if self.truths[account].audit.is_none() {
            self.truths[account].audit = Some(*key);
            return self.read_events(account);
        }
        Ok(())
    }

    /// The store kept these batches.
    pub fn committed(&mut self, batches: &[Batch]) -> Checked {
        self.stats.commits += 1;
        for batch in batches {
            self.extend_log(batch)?;
            for put in &batch.accounts {
                self.put(batch, put)?;
            }
        }
        Ok(())
    }

    fn extend_log(&mut self, batch: &Batch) -> Checked {
        let shard = batch.shard.0;
        let Some(log) = self.logs.get_mut(&shard) else {
            return breach(law::LOG, format!("shard {shard} is not known"));
        };
        let from = log.frontier.size();
        ensure(batch.first_leaf == from, law::LOG, || {
            format!("shard {shard}: a batch does not go on at {from}")
        })?;
        for leaf in batch.leaves.chunks_exact(LEAF_LEN) {
            log.frontier.push(leaf_hash(leaf));
        }
        let (size, root) = (log.frontier.size(), log.frontier.root());
        let signed = signed(&log.key, &batch.checkpoint);
        let right = signed.is_some_and(|at| at.size == size && at.root == root);
        ensure(right, law::LOG, || format!("shard {shard}: the checkpoint is not that of {size} leaves"))?;
        log.heads.insert(size, root);
        Ok(())
    }

    fn put(&mut self, batch: &Batch, put: &AccountPut) -> Checked {
        let durable = self.durable.entry(put.account).or_default();
        durable.shard = batch.shard.0;
        let leaves: Vec<&[u8]> = batch.leaves.chunks_exact(LEAF_LEN).collect();
        for position in &put.leaves {
            let leaf = usize::try_from(*position).ok().and_then(|at| leaves.get(at));
            durable.leaves.push(leaf.map(|leaf| leaf.to_vec()).unwrap_or_default());
        }
        let count = u64::try_from(durable.leaves.len()).unwrap_or(u64::MAX);
        let state = &put.state;
        ensure(state.seq == count, law::LOG, || {
            format!("{:?} says {} entries, the ledger has {count}", put.account, state.seq)
        })?;
        durable.heads.insert(state.seq, state.head);
        durable.vaults.insert(state.vault_seq, state.vault_root);
        match self.by_id.get(&put.account) {
            Some(account) => self.read_events(*account),
            None => Ok(()),
        }
    }

    /// Reads what is new in an account's ledger, as far as a member's key is known.
    fn read_events(&mut self, account: usize) -> Checked {
        let truth = &mut self.truths[account];
        let (Some(id), Some(key)) = (truth.id, truth.audit) else { return Ok(()) };
        let Some(durable) = self.durable.get(&id) else { return Ok(()) };
        let key = AuditKey::from_bytes(key);
        for leaf in durable.leaves.iter().skip(truth.events.len()) {
            let seq = u64::try_from(truth.events.len()).unwrap_or(u64::MAX) + 1;
            let Some(event) = open_event(&key, seq, leaf) else {
                return breach(law::AUDIT, format!("entry {seq} of account {account} does not open"));
            };
            self.stats.events += 1;
            self.notes
                .push(format!("account {account} has entry {seq}: {:?} {:?}", event.kind, event.outcome));
            truth.happened(&event, &mut self.stats)?;
            truth.events.push(event);
        }
        Ok(())
    }

    /// A reply leaves the enclave, on its way to a device.
    pub fn left_enclave(&mut self, from: &Provenance, frame: &ReplyFrame) -> Checked {
        self.stats.replies += 1;
        let mut scratch = Home::new("", "", [4; 65], None, &mut Zeros);
        scratch.trust.log = self.log_of(from.account);
        let opened = exchange::open(&from.session.borrow(), &mut scratch, &from.call, &from.sent, frame);
        let answers = match opened {
            Ok(answers) => answers,
            Err(error) => {
                return breach(law::TRUTH, format!("the client's own session refuses a reply: {error}"));
            }
        };
        if let Some(id) = scratch.account {
            self.meet(from.account, id)?;
        }
        let said: Vec<_> = answers.iter().map(word_of).collect();
        self.notes.push(format!("device {} is told: {}", from.device, said.join(" + ")));
        let pairs = || from.call.commands.iter().zip(&answers);
        for (command, answer) in pairs() {
            self.truths[from.account].check_event(from, command, answer)?;
        }
        self.check_durable(from, &scratch)?;
        let as_of = scratch.head.map_or(u64::MAX, |head| head.seq);
        for (command, answer) in pairs() {
            self.truths[from.account].answered(as_of, from, command, answer, &mut self.stats)?;
        }
        Ok(())
    }

    /// What a member has pinned of its account's log.
    fn log_of(&self, account: usize) -> Option<LogPin> {
        let durable = self.truths[account].id.and_then(|id| self.durable.get(&id))?;
        let key = &self.logs.get(&durable.shard)?.key;
        Some(LogPin { origin: key.name().to_owned(), key: key.to_string() })
    }

    fn check_durable(&self, from: &Provenance, shown: &Home) -> Checked {
        let durable = self.truths[from.account].id.and_then(|id| self.durable.get(&id));
        if let Some(head) = shown.head {
            let kept = durable.is_some_and(|durable| {
                durable.heads.get(&head.seq) == Some(&head.head)
                    && (head.vault_seq == 0 || durable.vaults.get(&head.vault_seq) == Some(&head.vault_root))
            });
            ensure(kept, law::DURABLE, || {
                format!("a reply tells of entry {} before the store has it", head.seq)
            })?;
        }
        if let (Some(seen), Some(pin)) = (shown.trust.seen, &shown.trust.log) {
            let log = self.logs.values().find(|log| log.key.name() == pin.origin);
            let kept = log.is_some_and(|log| log.heads.get(&seen.size) == Some(&seen.root));
            ensure(kept, law::DURABLE, || {
                format!("a reply shows a checkpoint of size {} that was not kept", seen.size)
            })?;
        }
        Ok(())
    }

    /// Whether these rows are the vault as it was when its number was `seq`.
    pub fn is_vault(&self, account: usize, seq: u64, root: &Hash) -> bool {
        let durable = self.truths[account].id.and_then(|id| self.durable.get(&id));
        seq == 0 || durable.is_some_and(|durable| durable.vaults.get(&seq) == Some(root))
    }

    /// The newest number of an account's vault.
    pub fn vault_seq(&self, account: usize) -> u64 {
        let durable = self.truths[account].id.and_then(|id| self.durable.get(&id));
        durable.and_then(|durable| durable.vaults.keys().next_back().copied()).unwrap_or(0)
    }

    /// The host has put an old disk back, and the ledger with it: what is durable is what was. What the users know,
    /// and the evaluations that they were given, is not undone.
    pub fn rolled_back(&mut self, to: &Oracle) {
        self.durable = to.durable.clone();
        self.logs = to.logs.clone();
        for (truth, old) in self.truths.iter_mut().zip(&to.truths) {
            truth.roll_back(old);
        }
    }

    /// How many entries an account has.
    pub fn entries(&self, account: usize) -> u64 {
        let durable = self.truths[account].id.and_then(|id| self.durable.get(&id));
        durable.map_or(0, |durable| u64::try_from(durable.leaves.len()).unwrap_or(u64::MAX))
    }

    /// Whether this is a head of a log that was published.
    pub fn is_head(&self, size: u64, root: &Hash) -> bool {
        self.logs.values().any(|log| log.heads.get(&size) == Some(root))
    }

    /// The events of an account, in order.
    pub fn events(&self, account: usize) -> &[Event] {
        &self.truths[account].events
    }

    /// Ids of all operations that devices of an account ever sent.
    pub fn requests(&self, account: usize) -> BTreeSet<RequestId> {
        self.truths[account].requests()
    }
}

fn signed(key: &VerifierKey, note: &str) -> Option<Checkpoint> {
    let note = Note::parse(note).ok()?;
    SignedCheckpoint::open(&note, key, key.name()).ok().map(SignedCheckpoint::into_checkpoint)
}

fn open_event(key: &AuditKey, seq: u64, leaf: &[u8]) -> Option<Event> {
    let leaf = Leaf::from_bytes(leaf).filter(|leaf| leaf.tag == key.tag(seq))?;
    let plain = key.leaf_keys(seq, &leaf.salt).open_event(&[], &leaf.sealed).ok()?;
    Event::from_bytes(plain.expose()).filter(|event| event.seq == seq)
}

fn word_of(answer: &Answer) -> String {
    match answer {
        Answer::Refused(refusal) => refusal.to_string(),
        other => format!("{other:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned(),
    }
}

/// For a home that keeps no secret.
struct Zeros;

impl keyferry_crypto::random::Random for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(1);
    }
}

/// Whether an answer says that something was done, rather than refused.
pub fn is_refusal(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(_))
}
