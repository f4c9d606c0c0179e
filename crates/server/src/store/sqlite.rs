//! The embedded default: one SQLite file in WAL mode, synced at every commit, one writer and one reader.
//!
//! Rows are small and many, so accounts have a number that stands for their 32 bytes in the other tables, and a
//! batch is one row with all of its leaves. Plain SQL but for the blob reads; PostgreSQL can follow the same shape.

mod read;
mod schema;
mod write;

pub use schema::SCHEMA;

use super::{
    AccountKey, CommitError, Read, ReadError, Store, StoredAccount, StoredLeaf, StoredLeaves, StoredTail,
};
use keyferry_wire::door::{Batch, DeviceRow, ServiceRow};
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, ShardId};
use rusqlite::Connection;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another gateway has it.
    #[error("another gateway is running on {}: stop it first, or use another data folder", .0.display())]
    InUse(PathBuf),
    /// Written by a later version of this program.
    #[error("the store has schema {found}, this program knows {SCHEMA}: it was written by a newer keyferry")]
    Newer {
        /// What the file says.
        found: i64,
    },
    /// The file or its folder.
    #[error("opening the store in {}", .path.display())]
    File {
        /// The folder.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: std::io::Error,
    },
    /// The database.
    #[error("opening the store's database")]
    Database(#[from] rusqlite::Error),
}

/// The writer. Holds the folder's lock for as long as it lives.
pub struct SqliteStore {
    connection: Connection,
    recent: write::Recent,
    path: PathBuf,
    /// Pages in the write-ahead log, roughly.
    logged_pages: usize,
    _lock: File,
}

/// A reader. After its first `refresh` its view stands still until the next; before that each read sees the newest.
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteStore {
    /// Opens or makes the store in a folder and takes the folder's lock.
    pub fn open(folder: &Path) -> Result<SqliteStore, OpenError> {
        let failed = |cause| OpenError::File { path: folder.to_path_buf(), cause };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_path_buf())),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        let path = folder.join("keyferry.db");
        let connection = Connection::open(&path)?;
        schema::prepare_writer(&connection)?;
        Ok(SqliteStore { connection, recent: write::Recent::default(), path, logged_pages: 0, _lock: lock })
    }

    /// A reader of this store.
    pub fn reader(&self) -> Result<SqliteReader, OpenError> {
        let connection = Connection::open(&self.path)?;
        schema::prepare_reader(&connection)?;
        Ok(SqliteReader { connection })
    }

    /// Moves the write-ahead log into the database if it has grown. Readers must have been refreshed just before,
    /// and again after, so that the log can start over.
    pub fn checkpoint_if_due(&mut self) -> Result<Checkpointed, rusqlite::Error> {
        if self.logged_pages < LOGGED_PAGES_MAX {
            return Ok(Checkpointed::NotDue);
        }
        self.logged_pages = 0;
        self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
        Ok(Checkpointed::Done)
    }

    /// Limits the database to so many pages, as a full disk would: for tests.
    #[cfg(test)]
    pub(crate) fn limit_pages(&self, pages: i64) {
        self.connection.pragma_update(None, "max_page_count", pages).expect("the pragma exists");
    }

    #[cfg(test)]
    pub(crate) fn pages(&self) -> i64 {
        self.connection.pragma_query_value(None, "page_count", |row| row.get(0)).expect("the pragma exists")
    }
}

/// Pages of 4 KB after which the write-ahead log is moved: few enough that a start after a crash reads them in
/// hundredths of a second, many enough that a page which changes often is moved once for many changes.
const LOGGED_PAGES_MAX: usize = 8000;

/// Whether the write-ahead log was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checkpointed {
    /// It was too early.
    NotDue,
    /// It was moved as far as readers let it.
    Done,
}

impl SqliteReader {
    /// Moves the view forward to the newest commit.
    pub fn refresh(&self) -> Result<(), ReadError> {
        let step = || {
            if !self.connection.is_autocommit() {
                self.connection.prepare_cached("COMMIT")?.execute([])?;
            }
            self.connection.prepare_cached("BEGIN")?.execute([])?;
            // A read transaction begins with its first read.
            self.connection
                .prepare_cached("SELECT count(*) FROM service")?
                .query_row([], |row| row.get::<_, i64>(0))
        };
        step().map(|_| ()).map_err(|error| read::failed("the newest state", error))
    }
}

impl Store for SqliteStore {
    fn commit(&mut self, service: Option<&ServiceRow>, batches: &[Batch]) -> Result<(), CommitError> {
        self.logged_pages += batches.iter().map(pages_of).sum::<usize>();
        write::commit(&mut self.connection, &mut self.recent, service, batches)
    }
}

/// Pages that a batch writes, roughly: its own row, and for an account its row, those of its devices, and for each
/// passkey its row and its index.
fn pages_of(batch: &Batch) -> usize {
    let accounts = batch.accounts.iter().map(|put| 1 + put.devices.len() + 2 * put.passkeys.len());
    4 + batch.leaves.len() / 4096 + accounts.sum::<usize>()
}

/// Both kinds of connection read alike.
macro_rules! reads {
    ($($store:ty),*) => {$(
        impl Read for $store {
            fn service(&self) -> Result<Option<ServiceRow>, ReadError> {
                read::service(&self.connection)
            }
            fn tail(&self, shard: ShardId) -> Result<Option<StoredTail>, ReadError> {
                read::tail(&self.connection, shard)
            }
            fn leaves_from(
                &self,
                shard: ShardId,
                from: u64,
                each: &mut dyn FnMut(StoredLeaves) -> bool,
            ) -> Result<(), ReadError> {
                read::leaves_from(&self.connection, shard, from, each)
            }
            fn accounts(&self, each: &mut dyn FnMut(AccountId, StoredAccount)) -> Result<(), ReadError> {
                read::accounts(&self.connection, each)
            }
            fn account(&self, account: &AccountId) -> Result<Option<StoredAccount>, ReadError> {
                read::account(&self.connection, account)
            }
            fn devices(&self, at: AccountKey, ids: &[DeviceId]) -> Result<Vec<DeviceRow>, ReadError> {
                read::devices(&self.connection, at, ids)
            }
            fn device_ids(&self, at: AccountKey) -> Result<Vec<DeviceId>, ReadError> {
                read::device_ids(&self.connection, at)
            }
            fn access(&self, at: AccountKey) -> Result<Vec<(DeviceId, Hash)>, ReadError> {
                read::access(&self.connection, at)
            }
            fn passkey(&self, at: AccountKey, id: &CredentialId) -> Result<Option<PasskeyRow>, ReadError> {
                read::passkey(&self.connection, at, id)
            }
            fn vault(&self, at: AccountKey, each: &mut dyn FnMut(PasskeyRow)) -> Result<(), ReadError> {
                read::vault(&self.connection, at, each)
            }
            fn changed(&self, at: AccountKey, after: u64, limit: usize) -> Result<Vec<PasskeyRow>, ReadError> {
                read::changed(&self.connection, at, after, limit)
            }
            fn leaf(&self, shard: ShardId, index: u64) -> Result<Option<StoredLeaf>, ReadError> {
                read::leaf(&self.connection, shard, index)
            }
        }
    )*};
}
reads!(SqliteStore, SqliteReader);
