//! What takes long beside the turns, in a thread each: the ledger's files, and the bulk of a move of the store's
//! write-ahead log. In a turn, either would keep everybody waiting for tens of milliseconds; and the one does not wait
//! for the other, whose disk may be slow.

use super::Shared;
use crate::ledger::{LedgerFiles, RepairError};
use crate::store::{LogMover, Read, SqliteReader};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};

/// The threads, as the pump sees them. Dropping it waits until their chores are done.
pub struct Keeper {
    publisher: Worker,
    mover: Worker,
    /// Whether the bulk is moved.
    moved: Receiver<bool>,
    moving: bool,
    ending: Arc<AtomicBool>,
}

/// How far the move of the write-ahead log is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Move {
    /// On the way.
    Runs,
    /// The bulk is moved, or the thread has ended: what is left is the pump's to move, between two commits, so that the
    /// log can start over.
    Done,
    /// Somebody who reads the store for long stands in the way, or the disk does.
    Blocked,
}

impl Keeper {
    /// Starts the threads; `reader` sees the newest commit.
    pub fn start(
        shared: Arc<Shared>,
        reader: SqliteReader,
        files: Arc<dyn LedgerFiles>,
        mover: LogMover,
    ) -> io::Result<Keeper> {
        let ending = Arc::new(AtomicBool::new(false));
        // A repair may take minutes: the end of the service is heard of.
        let stop = Arc::clone(&ending);
        let go_on = move || !stop.load(Ordering::Relaxed);
        let publisher = Worker::start("keyferry-keeper", move || publish(&shared, &reader, &*files, &go_on))?;
        let (tell, moved) = channel();
        let mover = Worker::start("keyferry-mover", move || {
            let moved = mover.move_log().unwrap_or_else(|error| {
                tracing::warn!(%error, "the store's write-ahead log could not be moved");
                false
            });
            // A pump that is gone needs no word.
            let _ = tell.send(moved);
        })?;
        Ok(Keeper { publisher, mover, moved, moving: false, ending })
    }

    /// Asks for the ledger's files; `false` when the thread has ended.
    pub(super) fn publish(&self) -> bool {
        self.publisher.ask()
    }

    /// Asks for the move of the write-ahead log, once, and how far it is.
    pub(super) fn move_log(&mut self) -> Move {
        if !self.moving {
            self.moving = self.mover.ask();
            return if self.moving { Move::Runs } else { Move::Done };
        }
        let moved = self.moved.try_recv();
        self.moving = moved == Err(TryRecvError::Empty);
        match moved {
            Err(TryRecvError::Empty) => Move::Runs,
            Ok(true) | Err(TryRecvError::Disconnected) => Move::Done,
            Ok(false) => Move::Blocked,
        }
    }

    /// Whether the write-ahead log is being moved.
    pub(super) fn is_moving_log(&self) -> bool {
        self.moving
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::Relaxed);
    }
}

/// A thread with one chore.
struct Worker {
    chores: Option<SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Chores that may wait; more would only repeat it.
const CHORES_MAX: usize = 1;

impl Worker {
    fn start(name: &str, chore: impl Fn() + Send + 'static) -> io::Result<Worker> {
        let (chores, asked) = sync_channel(CHORES_MAX);
        let work = move || asked.into_iter().for_each(|()| chore());
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Worker { chores: Some(chores), thread: Some(thread) })
    }

    /// Asks for the chore, if it does not wait to be done already; `false` when the thread has ended.
    fn ask(&self) -> bool {
        let asked = self.chores.as_ref().map(|chores| chores.try_send(()));
        matches!(asked, Some(Ok(()) | Err(TrySendError::Full(()))))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.chores.take());
        if let Some(thread) = self.thread.take() {
            // A panic was printed by its own thread.
            let _ = thread.join();
        }
    }
}

/// Brings the ledger's files up to date. A failure is tried again: the store has everything.
pub(super) fn publish(shared: &Shared, store: &dyn Read, files: &dyn LedgerFiles, go_on: &dyn Fn() -> bool) {
    repair(shared, store, files, go_on);
    let publications = shared.counter().desk.publications();
    for publication in publications {
        match publication.write(files) {
            Ok(()) => shared.counter().desk.published(publication),
            Err(error) => {
                shared.metrics.ledger_failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "the ledger's files could not be written");
            }
        }
    }
    let waiting = u64::try_from(shared.counter().desk.tiles_waiting()).unwrap_or(u64::MAX);
    shared.metrics.ledger_files_waiting.store(waiting, Ordering::Relaxed);
}

/// Makes files again that are lost or were let go, which takes as long as a start when there are none.
fn repair(shared: &Shared, store: &dyn Read, files: &dyn LedgerFiles, go_on: &dyn Fn() -> bool) {
    let repairs = shared.counter().desk.repairs();
    for repair in repairs {
        let outcome = repair.write(store, files, go_on);
        match &outcome {
            Ok(()) => {
                shared.metrics.ledger_repairs.fetch_add(1, Ordering::Relaxed);
                tracing::info!(shard = repair.shard.0, "files of the ledger were made again from the store");
            }
            Err(RepairError::BrokenOff) => return,
            Err(error) => {
                shared.metrics.ledger_failures.fetch_add(1, Ordering::Relaxed);
                let error = crate::serve::chain(error);
                tracing::error!(error, "files of the ledger could not be made again");
            }
        }
        shared.counter().desk.repaired(&repair, &outcome);
    }
}
