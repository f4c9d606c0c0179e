//! The one writer: takes what clients sent, gives it to the enclave in turns, makes the enclave's batches durable,
//! and hands out replies only then.
//!
//! After each commit a turn tells the enclave what became durable, and the enclave says the replies of those batches.
//! Whatever goes wrong on the way (the enclave dies, the disk is full), everyone who waits is told, and a fresh enclave
//! starts from what is durable.

mod boot;
mod keeper;
mod lines;
mod turn;

pub use boot::BootError;
pub use keeper::Keeper;

use crate::desk::{Desk, DeskError, OpenDeskError};
use crate::ledger::LedgerFiles;
use crate::link::{Enclave, KeyBroker, Launcher, LinkError};
use crate::live::{Live, LiveLimits};
use crate::metrics::Metrics;
use crate::serve::CommitMode;
use crate::store::{CommitError, ReadError, SqliteReader, SqliteStore};
use keeper::Move;
use keyferry_wire::InstanceId;
use keyferry_wire::door::{Batch, BatchRef, Drop as Reason, Need};
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::{ReplyFrame, RequestFrame, SessionOpen, SessionOpened};
use keyferry_wire::limits::EVIDENCE_LIFE_MS;
use lines::Lines;
use std::collections::{BTreeMap, HashMap};
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// What a client asks of the enclave, with the place for its answer.
pub enum Job {
    /// A handshake.
    Open(SessionOpen, oneshot::Sender<Result<SessionOpened, Failure>>),
    /// A request in a session.
    Request(RequestFrame, oneshot::Sender<Result<ReplyFrame, Failure>>),
    /// Finish what is on the way, then end.
    Stop,
}

/// Why a client gets no reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The enclave dropped the frame.
    #[error("the enclave dropped the frame")]
    Dropped(Reason),
    /// No room on the store's disk.
    #[error("the store's disk is full: free space on it, then try again")]
    DiskFull,
    /// The store failed otherwise.
    #[error("the store could not be written: try again soon, nothing is done twice")]
    Store,
    /// The enclave is gone.
    #[error("the enclave stopped: it is being restarted")]
    Enclave,
    /// Too many requests wait: of this account, or for what the enclave has little of.
    #[error("too many requests are waiting: try again soon")]
    Busy,
    /// The gateway ends.
    #[error("the service is stopping")]
    Stopping,
}

/// Desk and reader belong together: both stand at the same commit.
pub struct Counter {
    /// Rows and proofs.
    pub desk: Desk,
    /// The store as of the desk's newest batch.
    pub reader: SqliteReader,
    /// One of them moved and the other could not follow: until it has, rows and proofs do not belong together.
    apart: bool,
}

impl Counter {
    /// Takes in batches that are durable.
    fn move_on(&mut self, batches: &[Batch]) -> Result<(), ReadError> {
        self.apart = true;
        self.reader.refresh()?;
        for batch in batches {
            self.desk.apply(batch);
        }
        self.apart = false;
        Ok(())
    }
}

/// The enclave that serves now.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its evidence.
    pub evidence: Evidence,
    /// The evidence's encoding.
    pub evidence_bytes: Vec<u8>,
    /// This life of it.
    pub instance: InstanceId,
    /// C2SP verifier keys, one per shard.
    pub log_keys: Vec<String>,
    /// Its process.
    pub pid: Option<u32>,
}

/// What the pump shares with readers.
pub struct Shared {
    counter: Mutex<Counter>,
    published: RwLock<Option<Arc<Published>>>,
    absence: RwLock<Failure>,
    /// Those who listen.
    pub live: Arc<Live>,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

impl Shared {
    /// State for readers; no enclave serves yet.
    pub fn new(desk: Desk, reader: SqliteReader) -> Shared {
        Shared {
            counter: Mutex::new(Counter { desk, reader, apart: false }),
            published: RwLock::new(None),
            absence: RwLock::new(Failure::Enclave),
            live: Live::new(LiveLimits::default()),
            metrics: Arc::default(),
        }
    }

    /// The same with other limits for those who listen.
    #[must_use]
    pub fn with_live(mut self, limits: LiveLimits) -> Shared {
        self.live = Live::new(limits);
        self
    }

    /// Desk and reader; nobody holds them for longer than a batch takes to be taken in.
    pub fn counter(&self) -> MutexGuard<'_, Counter> {
        self.counter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Desk and reader for whoever reads without the enclave; fails while they stand apart.
    pub fn reading(&self) -> Result<MutexGuard<'_, Counter>, Failure> {
        let counter = self.counter();
        if counter.apart { Err(Failure::Store) } else { Ok(counter) }
    }

    /// The enclave that serves now, if one does.
    pub fn published(&self) -> Option<Arc<Published>> {
        self.published.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Why no enclave serves, while none does.
    pub fn absence(&self) -> Failure {
        *self.absence.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn absent(&self, why: Failure) {
        *self.absence.write().unwrap_or_else(PoisonError::into_inner) = why;
        self.publish(None);
    }

    fn publish(&self, published: Option<Published>) {
        let published = published.map(Arc::new);
        *self.published.write().unwrap_or_else(PoisonError::into_inner) = published;
    }
}

/// Everything that the pump works with.
pub struct Parts {
    /// Shared with readers.
    pub shared: Arc<Shared>,
    /// The writer.
    pub store: SqliteStore,
    /// The ledger's files.
    pub files: Arc<dyn LedgerFiles>,
    /// Starts enclaves.
    pub launcher: Box<dyn Launcher>,
    /// Releases the root key.
    pub broker: Box<dyn KeyBroker>,
    /// Name of the deployment.
    pub name: String,
    /// Number of shards.
    pub shards: u16,
    /// Bytes of rows that are kept at hand.
    pub cache_bytes: usize,
    /// How much goes into one commit.
    pub commit: CommitMode,
    /// Where those who wait are woken, all of a turn at once; without it each is woken by itself, which costs a system
    /// call and often two switches of threads each.
    pub runtime: Option<Handle>,
    /// Does what takes long beside the turns; without it the pump does so itself.
    pub keeper: Option<Keeper>,
}

/// The writer with its queue; runs on a thread of its own.
pub struct Pump {
    parts: Parts,
    queue: Receiver<Job>,
    enclave: Option<Box<dyn Enclave>>,
    evidence_at: (Instant, u64),
    tickets: u64,
    waiting: HashMap<u64, Waiter>,
    lines: Lines,
    /// Requests that the enclave holds and nobody waits for any more: it is told to forget them.
    forgotten: Vec<u64>,
    /// Requests that wait for an RSA key, by their tickets and so in the order in which they came, and since when none of
    /// them was handed in.
    put_off: BTreeMap<u64, Need>,
    put_off_at: Instant,
    committed: Vec<BatchRef>,
    /// When the write-ahead log may be moved again: what stands in its way is not tried at each commit.
    move_log_at: Instant,
    /// Requests of the last turn that had any.
    turn_requests: usize,
    published_at: Instant,
    stopping: bool,
    /// Restarts in a row that failed, and when to try next.
    failures: u32,
    retry_at: Instant,
}

/// Someone who waits for an answer.
enum Waiter {
    Open(oneshot::Sender<Result<SessionOpened, Failure>>),
    Request {
        reply: oneshot::Sender<Result<ReplyFrame, Failure>>,
        seen: Option<u64>,
        /// The rows that were attached last, and how often rows were.
        need: Option<Need>,
        rounds: u8,
    },
}

/// What goes into a turn.
enum Item {
    Open(u64, SessionOpen),
    Request(u64, RequestFrame),
    /// A request that the enclave holds, with the rows that it needs.
    Resume(u64, Need),
}

/// What stopped a turn.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("the link to the enclave broke")]
    Link(#[from] LinkError),
    #[error("the enclave stopped: {0}")]
    Fault(String),
    #[error("the enclave gave an answer of another kind")]
    Answer,
    #[error("the store refused the commit")]
    Commit(#[from] CommitError),
    #[error("the reader of the store failed")]
    Desk(#[from] DeskError),
    #[error("the store could not be read again")]
    Open(#[from] OpenDeskError),
}

/// Idle for so long: time to bring the files up to date.
const IDLE: Duration = Duration::from_millis(20);
/// Files lag no longer than this when busy: for each shard some eight files are made, put in place or removed.
const PUBLISH_EVERY: Duration = Duration::from_secs(5);
/// A turn of so few requests leaves time to move the write-ahead log, by so many pages.
const CALM: usize = 8;
const CALM_PAGES: usize = 256;
/// Jobs that are taken before the next turn: those that are told at once that too many wait do not put it off for ever.
const DRAIN_MAX: usize = 4096;
/// How long a request waits before it asks for an RSA key again: a part of what making one takes.
const KEY_PAUSE: Duration = Duration::from_millis(10);
/// Requests that then ask again: as many keys as can lie ready in the enclave. Each is run as far as the key, in vain when
/// there is none, so that a thousand would take most of the enclave's time.
const KEYS_MAX: usize = 4;
/// Requests that wait for an RSA key at most: those behind them would wait for longer than their clients do.
const PUT_OFF_MAX: usize = 256;
/// Longest pause between two starts of an enclave.
const RETRY_MAX: Duration = Duration::from_secs(5);
/// Rests when nothing at all is to be done, and before a move of the write-ahead log that was blocked is tried again.
const REST: Duration = Duration::from_secs(1);

impl Pump {
    /// Starts an enclave and makes its start durable; on success the service can serve.
    pub fn start(parts: Parts, queue: Receiver<Job>) -> Result<Pump, BootError> {
        let now = Instant::now();
        let mut pump = Pump {
            parts,
            queue,
            enclave: None,
            evidence_at: (now, now_ms()),
            tickets: 0,
            waiting: HashMap::new(),
            lines: Lines::default(),
            forgotten: Vec::new(),
            put_off: BTreeMap::new(),
            put_off_at: now,
            committed: Vec::new(),
            move_log_at: now,
            turn_requests: 0,
            published_at: now,
            stopping: false,
            failures: 0,
            retry_at: now,
        };
        pump.boot()?;
        Ok(pump)
    }

    /// Serves until told to stop.
    pub fn run(mut self) {
        while !(self.stopping && self.is_idle()) {
            if self.is_idle() {
                self.wait();
            }
            self.drain();
            if self.enclave.is_none() {
                self.restart_if_due();
            } else if !self.is_idle()
                && let Err(trouble) = self.turn()
            {
                self.recover(&trouble);
            }
            if self.published_at.elapsed() >= PUBLISH_EVERY {
                self.publish_files();
            }
            self.refresh_evidence_if_due();
        }
        // What it has begun is finished first.
        self.parts.keeper = None;
        self.publish_files();
        self.parts.shared.publish(None);
        self.fail_everyone(Failure::Stopping);
    }

    fn is_idle(&self) -> bool {
        self.lines.is_empty() && self.committed.is_empty() && self.forgotten.is_empty()
    }

    /// Waits for a job; does what was put off when none comes.
    fn wait(&mut self) {
        let patience = match &self.enclave {
            None => self.retry_at.saturating_duration_since(Instant::now()).min(REST),
            Some(_) if !self.put_off.is_empty() => KEY_PAUSE,
            Some(_) => IDLE,
        };
        match self.queue.recv_timeout(patience) {
            Ok(job) => self.take(job),
            Err(RecvTimeoutError::Timeout) if self.enclave.is_some() && self.put_off.is_empty() => {
                self.turn_requests = 0;
                self.publish_files();
                self.move_log();
                self.rest();
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stopping = true,
        }
    }

    /// Everything is up to date: sleeps until there is something new.
    fn rest(&mut self) {
        match self.queue.recv_timeout(REST) {
            Ok(job) => self.take(job),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.stopping = true,
        }
    }

    /// Takes what is queued, without waiting, until a turn is full: what waits in line behind others does not count.
    fn drain(&mut self) {
        for _ in 0..DRAIN_MAX {
            if self.lines.ready.len() >= turn::WORK_MAX {
                break;
            }
            let Ok(job) = self.queue.try_recv() else {
                break;
            };
            self.take(job);
        }
        if !self.put_off.is_empty() && self.put_off_at.elapsed() >= KEY_PAUSE {
            self.hand_in_put_off();
        }
    }

    /// The first of those who wait for an RSA key, ahead of all others, so that keys go to who came first.
    fn hand_in_put_off(&mut self) {
        self.put_off_at = Instant::now();
        let behind = self.put_off.keys().nth(KEYS_MAX).copied();
        let later = behind.map(|ticket| self.put_off.split_off(&ticket)).unwrap_or_default();
        for (ticket, need) in mem::replace(&mut self.put_off, later).into_iter().rev() {
            if let Some(item) = self.lines.enter_first(Item::Resume(ticket, need)) {
                self.turn_away(&item, Failure::Busy);
            }
        }
    }

    fn take(&mut self, job: Job) {
        let unavailable = if self.stopping {
            Some(Failure::Stopping)
        } else if self.enclave.is_none() {
            Some(self.parts.shared.absence())
        } else {
            None
        };
        // A client that has gone away in the meantime needs no answer.
        match (job, unavailable) {
            (Job::Stop, _) => self.stopping = true,
            (Job::Open(_, reply), Some(failure)) => drop(reply.send(Err(failure))),
            (Job::Request(_, reply), Some(failure)) => drop(reply.send(Err(failure))),
            (Job::Open(open, reply), None) => {
                let ticket = self.ticket(Waiter::Open(reply));
                self.enter(Item::Open(ticket, open));
            }
            (Job::Request(frame, reply), None) => {
                let waiter = Waiter::Request { reply, seen: frame.seen, need: None, rounds: 0 };
                let ticket = self.ticket(waiter);
                self.enter(Item::Request(ticket, frame));
            }
        }
    }

    /// Lets a request wait for its turn, or tells its client that too many of its account do.
    fn enter(&mut self, item: Item) {
        if let Some(item) = self.lines.enter(item) {
            self.turn_away(&item, Failure::Busy);
        }
    }

    /// Ends a request that goes into no turn.
    fn turn_away(&mut self, item: &Item, failure: Failure) {
        if let Item::Resume(ticket, _) = item {
            self.forgotten.push(*ticket);
        }
        self.fail(item.ticket(), failure);
    }

    fn ticket(&mut self, waiter: Waiter) -> u64 {
        self.tickets += 1;
        self.waiting.insert(self.tickets, waiter);
        self.tickets
    }

    /// Tells everyone, ends the enclave, and starts another one at once.
    fn recover(&mut self, trouble: &Trouble) {
        let failure = match trouble {
            Trouble::Commit(CommitError::Full) => Failure::DiskFull,
            Trouble::Commit(_) | Trouble::Desk(_) | Trouble::Open(_) => Failure::Store,
            Trouble::Link(_) | Trouble::Fault(_) | Trouble::Answer => Failure::Enclave,
        };
        tracing::error!(error = %crate::serve::chain(trouble), "the enclave is restarted");
        self.end_enclave(failure);
        self.fail_everyone(failure);
        self.parts.shared.metrics.enclave_restarts.fetch_add(1, Ordering::Relaxed);
        self.retry_at = Instant::now();
        self.restart_if_due();
    }

    fn end_enclave(&mut self, why: Failure) {
        self.parts.shared.absent(why);
        self.enclave = None;
        self.lines = Lines::default();
        self.forgotten.clear();
        self.put_off.clear();
        self.committed.clear();
    }

    fn fail_everyone(&mut self, failure: Failure) {
        for (_, waiter) in self.waiting.drain() {
            waiter.fail(failure);
        }
    }

    fn restart_if_due(&mut self) {
        if self.stopping || Instant::now() < self.retry_at {
            return;
        }
        match self.boot() {
            Ok(()) => self.failures = 0,
            Err(error) => {
                tracing::error!(error = %crate::serve::chain(&error), "the enclave did not start");
                self.end_enclave(Failure::from(&error));
                self.failures = self.failures.saturating_add(1);
                let pause = Duration::from_millis(50).saturating_mul(1 << self.failures.min(8));
                self.retry_at = Instant::now() + pause.min(RETRY_MAX);
            }
        }
    }

    /// Brings the ledger's files up to date.
    fn publish_files(&mut self) {
        self.published_at = Instant::now();
        if !self.parts.keeper.as_ref().is_some_and(Keeper::publish) {
            // A long repair is left to the next start.
            let go_on = || !self.stopping;
            keeper::publish(&self.parts.shared, &self.parts.store, &*self.parts.files, &go_on);
        }
    }

    /// Moves the store's write-ahead log when it has grown. While turns are small, early: a little of it, so that nobody
    /// waits for long. Under load late, since a page that changes often is then moved once for many changes. A log that
    /// has become long the keeper moves first, and only the rest is moved here, between two commits.
    fn move_log(&mut self) {
        if Instant::now() >= self.move_log_at && self.is_log_due() {
            self.move_log_now();
        }
        let pages = u64::try_from(self.parts.store.logged_pages()).unwrap_or(u64::MAX);
        self.parts.shared.metrics.store_log_pages.store(pages, Ordering::Relaxed);
    }

    fn is_log_due(&mut self) -> bool {
        let Parts { store, keeper, .. } = &mut self.parts;
        if !store.log_is_long() && !keeper.as_ref().is_some_and(Keeper::is_moving_log) {
            return self.turn_requests <= CALM && store.logged_pages() >= CALM_PAGES;
        }
        let how_far = keeper.as_mut().map_or(Move::Done, Keeper::move_log);
        if how_far == Move::Blocked {
            self.move_log_at = Instant::now() + REST;
        }
        how_far == Move::Done
    }

    fn move_log_now(&mut self) {
        let Parts { store, shared, .. } = &mut self.parts;
        let moved = store.move_log();
        if let Err(error) = &moved {
            tracing::warn!(%error, "the store's write-ahead log could not be moved");
        }
        if moved.is_err() || store.logged_pages() >= CALM_PAGES {
            self.move_log_at = Instant::now() + REST;
        }
        let mut counter = shared.counter();
        if let Err(error) = counter.reader.refresh() {
            counter.apart = true;
            tracing::warn!(error = %crate::serve::chain(&error), "the reader of the store failed");
        }
    }

    fn refresh_evidence_if_due(&mut self) {
        // Both clocks: the one stands still while the machine sleeps, the other may be set back. The enclave counts by
        // the wall clock that it is told.
        let (started, told_ms) = self.evidence_at;
        let age = started.elapsed().max(Duration::from_millis(now_ms().abs_diff(told_ms)));
        if age < Duration::from_millis(EVIDENCE_LIFE_MS) || self.enclave.is_none() {
            return;
        }
        if let Err(trouble) = self.refresh_evidence() {
            self.recover(&trouble);
        }
    }
}

impl From<&BootError> for Failure {
    fn from(error: &BootError) -> Failure {
        match error {
            BootError::Commit(CommitError::Full) => Failure::DiskFull,
            BootError::Commit(_) | BootError::Tail(_) | BootError::Read(_) | BootError::Desk(_) => {
                Failure::Store
            }
            BootError::Launch(_)
            | BootError::Link(_)
            | BootError::Fault(_)
            | BootError::Answer
            | BootError::Broker(_) => Failure::Enclave,
        }
    }
}

impl Waiter {
    /// The client has gone away.
    fn is_gone(&self) -> bool {
        match self {
            Waiter::Open(reply) => reply.is_closed(),
            Waiter::Request { reply, .. } => reply.is_closed(),
        }
    }

    fn fail(self, failure: Failure) {
        // The client may have gone away: then nobody needs to know.
        match self {
            Waiter::Open(reply) => drop(reply.send(Err(failure))),
            Waiter::Request { reply, .. } => drop(reply.send(Err(failure))),
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
