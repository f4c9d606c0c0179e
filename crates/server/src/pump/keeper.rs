//! What takes long beside the turns, in a thread of its own: the ledger's files, and the bulk of a move of the store's
//! write-ahead log. In a turn, either would keep everybody waiting for tens of milliseconds.

use super::Shared;
use crate::ledger::{LedgerFiles, RepairError};
use crate::store::{LogMover, Read, SqliteReader};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, channel, sync_channel};
use std::thread::{self, JoinHandle};

enum Chore {
    Publish,
    MoveLog,
}

/// The thread, as the pump sees it. Dropping it waits until its chores are done.
pub struct Keeper {
    chores: Option<SyncSender<Chore>>,
    moved: Receiver<()>,
    moving: bool,
    thread: Option<JoinHandle<()>>,
}

/// Chores that may wait; more would only repeat these.
const CHORES_MAX: usize = 2;

impl Keeper {
    /// Starts the thread, with a reader of its own that sees the newest commit.
    pub fn start(
        shared: Arc<Shared>,
        reader: SqliteReader,
        files: Arc<dyn LedgerFiles>,
        mover: LogMover,
    ) -> io::Result<Keeper> {
        let (chores, asked) = sync_channel(CHORES_MAX);
        let (tell, moved) = channel();
        let work = move || {
            let move_log = || {
                if let Err(error) = mover.move_log() {
                    tracing::warn!(%error, "the store's write-ahead log could not be moved");
                }
                // A pump that is gone needs no word.
                let _ = tell.send(());
            };
            // During a repair, which may take minutes, the log is moved as well, and the end of the service is heard of.
            let go_on = || match asked.try_recv() {
                Ok(Chore::MoveLog) => {
                    move_log();
                    true
                }
                Ok(Chore::Publish) | Err(TryRecvError::Empty) => true,
                Err(TryRecvError::Disconnected) => false,
            };
            for chore in &asked {
                match chore {
                    Chore::Publish => publish(&shared, &reader, &*files, &go_on),
                    Chore::MoveLog => move_log(),
                }
            }
        };
        let thread = thread::Builder::new().name("keyferry-keeper".to_owned()).spawn(work)?;
        Ok(Keeper { chores: Some(chores), moved, moving: false, thread: Some(thread) })
    }

    /// Asks for the ledger's files; `false` when the thread has ended.
    pub(super) fn publish(&self) -> bool {
        self.ask(Chore::Publish) != Asked::Ended
    }

    /// Asks for the move of the write-ahead log, once; `true` when its bulk is moved, or the thread has ended: what is
    /// left is the pump's to move, between two commits, so that the log can start over.
    pub(super) fn moved_log(&mut self) -> bool {
        if self.moving {
            self.moving = matches!(self.moved.try_recv(), Err(TryRecvError::Empty));
            return !self.moving;
        }
        let asked = self.ask(Chore::MoveLog);
        self.moving = asked == Asked::Taken;
        asked == Asked::Ended
    }

    /// Whether the write-ahead log is being moved.
    pub(super) fn is_moving_log(&self) -> bool {
        self.moving
    }

    fn ask(&self, chore: Chore) -> Asked {
        match self.chores.as_ref().map(|chores| chores.try_send(chore)) {
            Some(Ok(())) => Asked::Taken,
            Some(Err(TrySendError::Full(_))) => Asked::Busy,
            Some(Err(TrySendError::Disconnected(_))) | None => Asked::Ended,
        }
    }
}

#[derive(PartialEq)]
enum Asked {
    Taken,
    Busy,
    Ended,
}

impl Drop for Keeper {
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
