//! Gateway and enclave within this thread, without HTTP, process or queue: each step of a turn is done by itself and
//! its CPU time taken. The steps are the ones of `keyferry_server::pump`, in its order, on the same types.

use crate::Fallible;
use crate::carrier::{Carrier, Peer};
use crate::host::thread_cpu_ns;
use crate::member::Member;
use crate::role::NAME;
use crate::token::BenchToken;
use keyferry_enclave::sim::SimPlatform;
use keyferry_engine::Engine;
use keyferry_server::desk::CACHE_BYTES;
use keyferry_server::ledger::{DiskFiles, LedgerFiles};
use keyferry_server::store::SqliteReader;
use keyferry_server::{Desk, KeyBroker, SqliteStore, Store};
use keyferry_wire::cbor::Limits;
use keyferry_wire::door::{
    AccountView, Batch, BatchRef, FromEnclave, Hello, Loaded, Need, Open, OutBody, ToEnclave, Turn, Turned,
    Work,
};
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::{ReplyFrame, RequestFrame, SessionOpen, SessionOpened};
use keyferry_wire::limits::VERSION;
use keyferry_wire::{ShardId, Wire};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// CPU time of each step of the turns so far, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Steps {
    pub(crate) view: u64,
    pub(crate) door_in_encode: u64,
    pub(crate) door_in_decode: u64,
    pub(crate) engine: u64,
    pub(crate) door_out_encode: u64,
    pub(crate) door_out_decode: u64,
    pub(crate) commit: u64,
    pub(crate) refresh: u64,
    pub(crate) apply: u64,
    pub(crate) consistency: u64,
    pub(crate) checkpoint: u64,
}

pub(crate) struct Local {
    engine: Engine,
    platform: SimPlatform,
    desk: Desk,
    store: SqliteStore,
    reader: SqliteReader,
    evidence: Evidence,
    committed: Vec<BatchRef>,
    tickets: u64,
    pub(crate) steps: Steps,
    /// Wall time of each commit, and of each move of the write-ahead log, in nanoseconds.
    pub(crate) walls: (Vec<u64>, Vec<u64>),
    /// Bytes of the frames to and from the enclave.
    pub(crate) door_bytes: (usize, usize),
}

/// A request that waits: the size that its client has seen, and the rows that it asked for.
struct Waiting {
    seen: Option<u64>,
    shard: Option<ShardId>,
    need: Option<Need>,
}

impl Local {
    pub(crate) fn start(folder: &Path, shards: u16) -> Fallible<Local> {
        let mut store = SqliteStore::open(&folder.join("store"))?;
        let reader = store.reader()?;
        reader.refresh()?;
        let files: Arc<dyn LedgerFiles> = Arc::new(DiskFiles::new(&folder.join("ledger")));
        let mut desk = Desk::open(&reader, files, shards, CACHE_BYTES)?;
        let (mut engine, mut platform, mut broker) =
            (Engine::default(), SimPlatform::default(), BenchToken::default());
        let challenge = broker.challenge();
        let hello = Hello { version: VERSION, challenge, now_ms: now_ms() };
        let FromEnclave::Evidence(evidence) = engine.handle(&mut platform, ToEnclave::Hello(hello)) else {
            return Err("no evidence".into());
        };
        let release = broker.release(&challenge, &evidence)?;
        let load = desk.load(now_ms(), NAME, release)?;
        let FromEnclave::Loaded(loaded) = engine.handle(&mut platform, ToEnclave::Load(load)) else {
            return Err("the engine did not load".into());
        };
        let Loaded { service, evidence, batches, .. } = loaded;
        store.commit(Some(&service), &batches)?;
        reader.refresh()?;
        desk.serve_as(service);
        batches.iter().for_each(|batch| desk.apply(batch));
        let committed = references(&batches);
        Ok(Local {
            engine,
            platform,
            desk,
            store,
            reader,
            evidence,
            committed,
            tickets: 0,
            steps: Steps::default(),
            walls: (Vec::new(), Vec::new()),
            door_bytes: (0, 0),
        })
    }

    pub(crate) fn peer(&self) -> Fallible<Peer> {
        Peer::appraised(&self.evidence)
    }

    /// What the gateway attaches to a sign-in of this member.
    pub(crate) fn view(&mut self, member: &Member) -> Fallible<AccountView> {
        let passkeys: Vec<_> = member.passkeys.iter().take(1).map(|passkey| passkey.id).collect();
        Ok(self.desk.view(&self.store, &member.account, &[member.device], &passkeys)?)
    }

    /// Runs requests of different accounts in one batch, to their replies.
    pub(crate) fn requests(&mut self, frames: Vec<RequestFrame>) -> Fallible<Vec<ReplyFrame>> {
        let count = frames.len();
        let mut waiting = HashMap::new();
        let mut work = Vec::with_capacity(count);
        for frame in frames {
            self.tickets += 1;
            let before = thread_cpu_ns();
            let view = self.desk.hinted(&self.store, &frame)?;
            self.steps.view += thread_cpu_ns() - before;
            let shard = view.as_ref().map(|view| view.shard);
            waiting.insert(self.tickets, Waiting { seen: frame.seen, shard, need: None });
            work.push(Work { ticket: self.tickets, frame: Some(frame), view });
        }
        let mut replies = Vec::with_capacity(count);
        // The replies of a batch are said in the turn after its commit.
        while !waiting.is_empty() {
            let turned = self.turn(Vec::new(), std::mem::take(&mut work))?;
            for out in turned.out {
                match out.body {
                    OutBody::Reply(sealed) => {
                        let before = thread_cpu_ns();
                        let mut reply = sealed.reply;
                        let known = waiting.remove(&out.ticket);
                        if let (Some(size), Some(Waiting { seen: Some(seen), shard: Some(shard), .. })) =
                            (sealed.size, known)
                            && seen < size
                        {
                            reply.consistency = self.desk.consistency(&self.reader, shard, seen, size)?;
                        }
                        self.steps.consistency += thread_cpu_ns() - before;
                        replies.push((out.ticket, reply));
                    }
                    OutBody::Need(need) => work.push(self.resumed(out.ticket, &mut waiting, need)?),
                    other => return Err(format!("a request got no reply: {other:?}").into()),
                }
            }
        }
        replies.sort_by_key(|(ticket, _)| *ticket);
        Ok(replies.into_iter().map(|(_, reply)| reply).collect())
    }

    /// The rows of before with those that are asked for now.
    fn resumed(
        &mut self,
        ticket: u64,
        waiting: &mut HashMap<u64, Waiting>,
        mut need: Need,
    ) -> Fallible<Work> {
        let known = waiting.get_mut(&ticket).ok_or("an unknown ticket")?;
        if let Some(before) = &known.need {
            need.devices.extend(&before.devices);
            need.passkeys.extend(&before.passkeys);
        }
        known.need = Some(need.clone());
        known.shard = Some(need.shard);
        let view = self.desk.needed(&self.store, &need)?;
        Ok(Work { ticket, frame: None, view: Some(view) })
    }

    fn turn(&mut self, opens: Vec<Open>, work: Vec<Work>) -> Fallible<Turned> {
        let committed = std::mem::take(&mut self.committed);
        let turn = ToEnclave::Turn(Turn { now_ms: now_ms(), committed, opens, work });
        let mut clock = Clock::start();
        let bytes = turn.to_bytes();
        clock.lap(&mut self.steps.door_in_encode);
        let turn = ToEnclave::from_bytes_within(&bytes, Limits::DOOR)?;
        clock.lap(&mut self.steps.door_in_decode);
        let answer = self.engine.handle(&mut self.platform, turn);
        clock.lap(&mut self.steps.engine);
        let out = answer.to_bytes();
        clock.lap(&mut self.steps.door_out_encode);
        let answer = FromEnclave::from_bytes_within(&out, Limits::DOOR)?;
        clock.lap(&mut self.steps.door_out_decode);
        self.door_bytes.0 += bytes.len();
        self.door_bytes.1 += out.len();
        let FromEnclave::Turned(turned) = answer else {
            return Err(format!("the engine answered {answer:?}").into());
        };
        if !turned.batches.is_empty() {
            clock.lap(&mut 0);
            let start = Instant::now();
            self.store.commit(None, &turned.batches)?;
            self.walls.0.push(u64::try_from(start.elapsed().as_nanos())?);
            clock.lap(&mut self.steps.commit);
            self.reader.refresh()?;
            clock.lap(&mut self.steps.refresh);
            turned.batches.iter().for_each(|batch| self.desk.apply(batch));
            clock.lap(&mut self.steps.apply);
            self.committed = references(&turned.batches);
            let start = Instant::now();
            if self.store.log_is_long() {
                self.store.move_log()?;
                self.reader.refresh()?;
                self.walls.1.push(u64::try_from(start.elapsed().as_nanos())?);
            }
            clock.lap(&mut self.steps.checkpoint);
        }
        Ok(turned)
    }
}

impl Carrier for Local {
    fn evidence(&mut self) -> Fallible<Evidence> {
        Ok(self.evidence.clone())
    }

    fn open(&mut self, open: &SessionOpen) -> Fallible<SessionOpened> {
        self.tickets += 1;
        let open = Open { ticket: self.tickets, open: open.clone() };
        match self.turn(vec![open], Vec::new())?.out.pop().map(|out| out.body) {
            Some(OutBody::Opened(opened)) => Ok(opened),
            other => Err(format!("no session: {other:?}").into()),
        }
    }

    fn request(&mut self, frame: RequestFrame) -> Fallible<ReplyFrame> {
        self.requests(vec![frame])?.pop().ok_or_else(|| "no reply".into())
    }
}

/// Adds what passed since the last lap.
struct Clock(u64);

impl Clock {
    fn start() -> Clock {
        Clock(thread_cpu_ns())
    }

    fn lap(&mut self, sum: &mut u64) {
        let now = thread_cpu_ns();
        *sum += now - self.0;
        self.0 = now;
    }
}

fn references(batches: &[Batch]) -> Vec<BatchRef> {
    batches.iter().map(|batch| BatchRef { shard: batch.shard, number: batch.number }).collect()
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
