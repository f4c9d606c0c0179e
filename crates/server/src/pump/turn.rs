//! One turn: gather, ask the enclave, hand out what may be said, make the batches durable.

use super::boot::references;
use super::lines::LINE_MAX;
use super::{Failure, Item, PUT_OFF_MAX, Pump, Trouble, Waiter, now_ms};
use crate::desk::DeskError;
use crate::serve::CommitMode;
use crate::store::Store;
use keyferry_wire::door::{
    AccountView, Batch, Drop as Reason, FromEnclave, Need, Open, Out, OutBody, Sealed, ToEnclave, Turn,
    Turned, Work,
};
use keyferry_wire::frame::{ReplyFrame, RequestFrame};
use keyferry_wire::ledger::LEAF_LEN;
use keyferry_wire::limits::{BATCH_EVENTS_MAX, CREDENTIAL_LIST_MAX, DOOR_FRAME_MAX};
use keyferry_wire::{AccountId, CredentialId, Hash, ShardId};
use std::collections::VecDeque;
use std::mem;
use std::sync::atomic::Ordering;
use std::time::Instant;
use tokio::sync::oneshot;

/// Requests of one turn.
pub(super) const WORK_MAX: usize = BATCH_EVENTS_MAX;

/// Frames and rows of one turn, well below what the stream takes.
const TURN_BYTES_MAX: usize = 24 * 1024 * 1024;

/// Rows of one request: with a turn that is just short of full they fit into one frame of the stream. The longest that
/// an enclave makes are about half of it: those of 200 devices, each with the answers to 16 times eight creations.
pub(super) const VIEW_BYTES_MAX: usize = 36 * 1024 * 1024;
const _: () = assert!(TURN_BYTES_MAX + VIEW_BYTES_MAX < DOOR_FRAME_MAX);

/// How often the enclave may ask for rows of one request.
const ROUNDS_MAX: u8 = 8;

/// A reply whose consistency proof is still to be made.
struct Due {
    sealed: Sealed,
    seen: Option<u64>,
    shard: Option<ShardId>,
    reply: oneshot::Sender<Result<ReplyFrame, Failure>>,
}

/// What is in the turn that is being put together.
#[derive(Default)]
struct Gathered {
    opens: Vec<Open>,
    work: Vec<Work>,
    bytes: usize,
}

impl Pump {
    pub(super) fn turn(&mut self) -> Result<(), Trouble> {
        let turn = self.gather();
        let started = Instant::now();
        let Some(enclave) = &mut self.enclave else {
            return Ok(());
        };
        let metrics = &self.parts.shared.metrics;
        let requests = turn.work.iter().filter(|work| work.frame.is_some() || work.view.is_some()).count();
        if requests > 0 {
            self.turn_requests = requests;
            metrics.turn_requests.note(u64::try_from(requests).unwrap_or(u64::MAX));
        }
        let answer = enclave.exchange(ToEnclave::Turn(turn))?;
        metrics.turns.note_time(started.elapsed());
        let Turned { out, batches } = match answer {
            FromEnclave::Turned(turned) => turned,
            FromEnclave::Fault(sentence) => return Err(Trouble::Fault(sentence)),
            _ => return Err(Trouble::Answer),
        };
        self.hand_out(out);
        self.commit(&batches)
    }

    /// Puts a turn together from what is ready: at most one request of an account, and none whose client has gone away.
    /// Word of a commit goes alone and first: its replies need not wait until the requests behind them have been run.
    pub(super) fn gather(&mut self) -> Turn {
        if !self.committed.is_empty() {
            let committed = mem::take(&mut self.committed);
            return Turn { now_ms: now_ms(), committed, opens: Vec::new(), work: Vec::new() };
        }
        let mut gathered = Gathered::default();
        let mut later = VecDeque::new();
        let work_max = match self.parts.commit {
            CommitMode::Group => WORK_MAX,
            CommitMode::Each => 1,
        };
        self.lines.call_all();
        while let Some(item) = self.lines.ready.pop_front() {
            let full = gathered.work.len() >= work_max || gathered.bytes >= TURN_BYTES_MAX;
            match item {
                item if self.is_gone(&item) => {
                    self.lines.pass_on(&item);
                    self.turn_away(&item, Failure::Busy);
                }
                Item::Open(ticket, open) => gathered.opens.push(Open { ticket, open }),
                item if full => later.push_back(item),
                item => self.attach(item, &mut gathered),
            }
        }
        self.lines.ready = later;
        let forgotten = mem::take(&mut self.forgotten);
        gathered.work.extend(forgotten.into_iter().map(|ticket| Work { ticket, frame: None, view: None }));
        Turn { now_ms: now_ms(), committed: Vec::new(), opens: gathered.opens, work: gathered.work }
    }

    fn is_gone(&self, item: &Item) -> bool {
        self.waiting.get(&item.ticket()).is_none_or(Waiter::is_gone)
    }

    fn attach(&mut self, item: Item, gathered: &mut Gathered) {
        self.lines.leave(&item);
        let held = matches!(item, Item::Resume(..));
        let (ticket, frame, view) = match item {
            Item::Open(..) => return,
            Item::Request(ticket, mut frame) => {
                frame.passkeys.truncate(CREDENTIAL_LIST_MAX);
                let view = self.hinted(&frame);
                (ticket, Some(frame), view)
            }
            Item::Resume(ticket, need) => (ticket, None, self.needed(&need).map(Some)),
        };
        let view = match view {
            Ok(view) => view,
            Err(error) => {
                tracing::error!(error = %crate::serve::chain(&error), "rows of a request could not be read");
                self.forgotten.extend(held.then_some(ticket));
                return self.fail(ticket, Failure::Store);
            }
        };
        let bytes = view.as_ref().map_or(0, size_of_view);
        if bytes > VIEW_BYTES_MAX {
            tracing::error!(bytes, "the rows of one request are more than the stream to the enclave takes");
            self.forgotten.extend(held.then_some(ticket));
            return self.fail(ticket, Failure::Store);
        }
        if let Some(Waiter::Request { need, .. }) = self.waiting.get_mut(&ticket)
            && let Some(view) = &view
        {
            *need = Some(need_of(view));
        }
        gathered.bytes += frame.as_ref().map_or(0, |frame| frame.ciphertext.len() + 256);
        gathered.bytes += bytes;
        gathered.work.push(Work { ticket, frame, view });
    }

    /// Rows come from the writer's own connection: it stands at the desk's newest batch whenever a turn is put together,
    /// and its pages stay at hand, while a reader drops its own at each commit.
    fn hinted(&self, frame: &RequestFrame) -> Result<Option<AccountView>, DeskError> {
        self.parts.shared.counter().desk.hinted(&self.parts.store, frame)
    }

    fn needed(&self, need: &Need) -> Result<AccountView, DeskError> {
        self.parts.shared.counter().desk.needed(&self.parts.store, need)
    }

    fn hand_out(&mut self, out: Vec<Out>) {
        let mut due = Vec::new();
        for Out { ticket, body } in out {
            match body {
                OutBody::Opened(opened) => {
                    self.parts.shared.metrics.sessions.fetch_add(1, Ordering::Relaxed);
                    if let Some(Waiter::Open(reply)) = self.waiting.remove(&ticket) {
                        drop(reply.send(Ok(opened)));
                    }
                }
                OutBody::Reply(sealed) => {
                    if let Some(Waiter::Request { reply, seen, need, .. }) = self.waiting.remove(&ticket) {
                        due.push(Due { sealed, seen, shard: need.map(|need| need.shard), reply });
                    }
                }
                OutBody::Need(need) => self.resume(ticket, Some(need)),
                OutBody::Busy => self.resume(ticket, None),
                OutBody::Later => self.put_off(ticket),
                // What was to be forgotten is dropped, too: nobody waits for it.
                OutBody::Dropped(reason) if self.waiting.contains_key(&ticket) => {
                    self.parts.shared.metrics.dropped(reason);
                    self.fail(ticket, Failure::Dropped(reason));
                }
                OutBody::Dropped(_) => {}
            }
        }
        self.lines.turn_is_over();
        self.reply(due);
    }

    /// Adds consistency proofs and answers.
    fn reply(&self, due: Vec<Due>) {
        let mut answers = Vec::with_capacity(due.len());
        {
            let counter = self.parts.shared.counter();
            for Due { sealed: Sealed { mut reply, size }, seen, shard, reply: to } in due {
                if let (Some(size), Some(seen), Some(shard)) = (size, seen, shard)
                    && seen < size
                {
                    // Without a proof the client refuses the reply, asks again and says why.
                    let proof = counter.desk.consistency(&counter.reader, shard, seen, size);
                    reply.consistency = proof.unwrap_or_else(|error| self.unproven(&error));
                }
                answers.push((to, reply));
            }
        }
        let say = move || answers.into_iter().for_each(|(to, reply)| drop(to.send(Ok(reply))));
        match &self.parts.runtime {
            Some(runtime) => drop(runtime.spawn(async move { say() })),
            None => say(),
        }
    }

    /// Counts a reply that goes without its proof, and says so the 1st, 2nd, 4th, 8th time: each of a full turn may.
    fn unproven(&self, error: &DeskError) -> Vec<Hash> {
        let before = self.parts.shared.metrics.unproven.fetch_add(1, Ordering::Relaxed);
        if before.saturating_add(1).is_power_of_two() {
            tracing::error!(error = %crate::serve::chain(error), "a reply goes without its proof of consistency");
        }
        Vec::new()
    }

    /// Hands a request in again with the next turn, with the rows of before and those that are asked for now.
    fn resume(&mut self, ticket: u64, asked: Option<Need>) {
        let Some(Waiter::Request { need, rounds, .. }) = self.waiting.get_mut(&ticket) else {
            return;
        };
        *rounds = rounds.saturating_add(u8::from(asked.is_some()));
        let next = match (asked, &*need) {
            (Some(asked), Some(before)) if asked.account == before.account => Some(joined(before, asked)),
            (Some(asked), _) => Some(asked),
            (None, before) => before.clone(),
        };
        match next.filter(|_| *rounds <= ROUNDS_MAX) {
            Some(next) => self.enter(Item::Resume(ticket, next)),
            // The enclave asks for a row that its records name and the store does not have.
            None => {
                tracing::error!("a row is missing in the store: it was deleted behind the service's back");
                self.parts.shared.metrics.dropped(Reason::Store);
                self.forgotten.push(ticket);
                self.fail(ticket, Failure::Dropped(Reason::Store));
            }
        }
    }

    /// Hands a request in again after a moment: turn upon turn would only keep a core from what it waits for.
    fn put_off(&mut self, ticket: u64) {
        let Some(Waiter::Request { need: Some(need), .. }) = self.waiting.get(&ticket) else {
            self.forgotten.push(ticket);
            return self.fail(ticket, Failure::Dropped(Reason::Store));
        };
        if self.put_off.is_empty() {
            self.put_off_at = Instant::now();
        }
        let account = need.account;
        self.put_off.insert(ticket, need.clone());
        // The last to come is one too many: of its account, or of all.
        let mut own =
            self.put_off.iter().filter(|(_, need)| need.account == account).map(|(ticket, _)| *ticket);
        let last = own.nth(LINE_MAX).or_else(|| self.put_off.keys().nth(PUT_OFF_MAX).copied());
        if let Some(last) = last {
            self.put_off.remove(&last);
            self.forgotten.push(last);
            self.fail(last, Failure::Busy);
        }
    }

    pub(super) fn fail(&mut self, ticket: u64, failure: Failure) {
        if let Some(waiter) = self.waiting.remove(&ticket) {
            waiter.fail(failure);
        }
    }

    /// Makes batches durable, then shows them to readers.
    fn commit(&mut self, batches: &[Batch]) -> Result<(), Trouble> {
        if batches.is_empty() {
            return Ok(());
        }
        let metrics = &self.parts.shared.metrics;
        let started = Instant::now();
        if let Err(error) = self.parts.store.commit(None, batches) {
            metrics.commit_failures.fetch_add(1, Ordering::Relaxed);
            return Err(error.into());
        }
        metrics.commits.note_time(started.elapsed());
        let entries: usize = batches.iter().map(|batch| batch.leaves.len() / LEAF_LEN).sum();
        metrics.commit_entries.note(u64::try_from(entries).unwrap_or(u64::MAX));
        {
            let mut counter = self.parts.shared.counter();
            counter.move_on(batches).map_err(DeskError::from)?;
        }
        self.parts.shared.live.ring(batches);
        self.committed = references(batches);
        self.move_log();
        Ok(())
    }
}

impl Item {
    pub(super) fn ticket(&self) -> u64 {
        match self {
            Item::Open(ticket, _) | Item::Request(ticket, _) | Item::Resume(ticket, _) => *ticket,
        }
    }

    /// The account that the client's hint or the enclave names.
    pub(super) fn account(&self) -> Option<AccountId> {
        match self {
            Item::Open(..) => None,
            Item::Request(_, frame) => frame.account,
            Item::Resume(_, need) => Some(need.account),
        }
    }
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

/// What was asked for now, and before that.
fn joined(before: &Need, asked: Need) -> Need {
    let mut joined = asked;
    let devices = before.devices.iter().filter(|id| !joined.devices.contains(id));
    joined.devices = devices.copied().chain(joined.devices.iter().copied()).collect();
    let passkeys = before.passkeys.iter().filter(|id| !joined.passkeys.contains(id));
    joined.passkeys = passkeys.copied().chain(joined.passkeys.iter().copied()).collect();
    let blobs = before.large_blobs.iter().filter(|id| !joined.large_blobs.contains(id));
    joined.large_blobs = blobs.copied().chain(joined.large_blobs.iter().copied()).collect();
    joined
}

fn size_of_view(view: &AccountView) -> usize {
    let devices: usize = view.devices.iter().map(|row| row.row.len() + 32).sum();
    let passkeys = view.passkeys.iter().map(|view| {
        let row = view.row.as_ref().map_or(0, |row| row.blob.len() + row.metadata.len() + 64);
        row + view.large_blob.as_ref().map_or(0, |blob| blob.len()) + view.proof.siblings.len() * 34 + 128
    });
    let row = view.state.as_ref().map_or(0, |state| state.row.len());
    row + devices + passkeys.sum::<usize>() + view.proof.siblings.len() * 34 + 256
}
