//! The embedded default: one SQLite file in WAL mode, synced at every commit, one writer and one reader.
//!
//! Rows are small and many, so accounts have a number that stands for their 32 bytes in the other tables, and a
//! batch is one row with all of its leaves. Plain SQL but for the blob reads; PostgreSQL can follow the same shape.

mod migrate;
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
use rusqlite::{Connection, OpenFlags};
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
    /// Written by a version that this program no longer reads.
    #[error(
        "the store has schema {found}, from which this program cannot upgrade: use the version in between first"
    )]
    NoSteps {
        /// What the file says.
        found: i64,
    },
    /// There is none.
    #[error("there is no store in {}", .0.display())]
    Missing(PathBuf),
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
    /// Pages in the write-ahead log that are to be moved, roughly.
    logged_pages: usize,
    _lock: File,
}

/// A reader. After its first `refresh` its view stands still until the next; before that each read sees the newest.
pub struct SqliteReader {
    connection: Connection,
}

impl SqliteStore {
    /// Opens or makes the store in a folder and takes the folder's lock. A store of an older schema is upgraded, which
    /// is told in the log.
    pub fn open(folder: &Path) -> Result<SqliteStore, OpenError> {
        SqliteStore::open_telling(folder, &mut |sentence| tracing::info!("{sentence}"))
    }

    /// The same; `say` hears of an upgrade.
    pub fn open_telling(folder: &Path, say: &mut dyn FnMut(&str)) -> Result<SqliteStore, OpenError> {
        let failed = |cause| OpenError::File { path: folder.to_path_buf(), cause };
        fs::create_dir_all(folder).map_err(failed)?;
        let lock = File::create(folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(folder.to_path_buf())),
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        let path = folder.join(DATABASE);
        let mut connection = Connection::open(&path)?;
        schema::prepare_writer(&mut connection, &path, say)?;
        let logged_pages = pages_in(&log_in(folder));
        Ok(SqliteStore { connection, recent: write::Recent::default(), path, logged_pages, _lock: lock })
    }

    /// A reader of this store.
    pub fn reader(&self) -> Result<SqliteReader, OpenError> {
        let connection = Connection::open(&self.path)?;
        schema::prepare_reader(&connection)?;
        Ok(SqliteReader { connection })
    }

    /// Pages of 4 KB in the write-ahead log that are to be moved into the database, roughly.
    pub fn logged_pages(&self) -> usize {
        self.logged_pages
    }

    /// Whether the write-ahead log has grown so long that it is to be moved.
    pub fn log_is_long(&self) -> bool {
        self.logged_pages >= LOGGED_PAGES_MAX
    }

    /// Moves the write-ahead log into the database. Readers must have been refreshed just before, and again after, so
    /// that the log can start over. What others read stays, and stays counted.
    pub fn move_log(&mut self) -> Result<(), rusqlite::Error> {
        if let Some(left) = move_log(&self.connection)? {
            self.logged_pages = left;
        }
        Ok(())
    }

    /// Moves the log of this store while it is written to.
    pub fn mover(&self) -> Result<LogMover, OpenError> {
        let connection = Connection::open(&self.path)?;
        connection.pragma_update(None, "cache_size", 0)?;
        Ok(LogMover { connection })
    }

    /// As if the log were longer than it is: for tests.
    #[cfg(test)]
    pub(crate) fn count_logged(&mut self, pages: usize) {
        self.logged_pages += pages;
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

/// The database in the store's folder.
pub const DATABASE: &str = "keyferry.db";

/// Schema of the store in a folder, without touching it; `None` if there is no store.
pub fn schema_of(folder: &Path) -> Result<Option<i64>, OpenError> {
    match SqliteReader::untouched(folder) {
        Ok(reader) => reader.schema().map(Some),
        Err(OpenError::Missing(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Where an upgrade of the store in a folder keeps the file of schema `found`.
pub fn kept_by_upgrade(folder: &Path, found: i64) -> PathBuf {
    migrate::kept_file(&folder.join(DATABASE), found)
}

/// Pages of 4 KB after which the write-ahead log is moved: few enough that a start after a crash reads them in
/// hundredths of a second, many enough that a page which changes often is moved once for many changes.
const LOGGED_PAGES_MAX: usize = 8000;

/// Moves the write-ahead log beside the writer. What is written meanwhile stays in the log, which starts over only when
/// the writer has moved that, too.
pub struct LogMover {
    connection: Connection,
}

impl LogMover {
    /// Moves what is in the log now; whether most of it is moved.
    pub fn move_log(&self) -> Result<bool, rusqlite::Error> {
        Ok(move_log(&self.connection)?.is_some_and(|left| left < LOGGED_PAGES_MAX))
    }
}

/// As far as readers let it. Pages that are left; `None` when somebody else is moving it.
fn move_log(connection: &Connection) -> Result<Option<usize>, rusqlite::Error> {
    connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
        let (logged, moved) = (row.get::<_, i64>(1)?, row.get::<_, i64>(2)?);
        Ok((logged >= 0).then(|| usize::try_from(logged.saturating_sub(moved)).unwrap_or(0)))
    })
}

fn log_in(folder: &Path) -> PathBuf {
    folder.join(format!("{DATABASE}-wal"))
}

/// Bytes of a page in the log, with its header.
const LOGGED_PAGE_LEN: u64 = 4096 + 24;

/// Pages that a log has room for: those of a log that started over are among them, until it is moved.
fn pages_in(log: &Path) -> usize {
    let len = fs::metadata(log).map_or(0, |file| file.len());
    usize::try_from(len / LOGGED_PAGE_LEN).unwrap_or(0)
}

impl SqliteReader {
    /// A reader of a store that others may be writing, or nobody. Changes nothing in the folder: the files that SQLite
    /// keeps beside a database in use are used if they are there, and not made if they are not.
    pub fn untouched(folder: &Path) -> Result<SqliteReader, OpenError> {
        let file = existing(folder)?;
        let only_reads = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if log_in(folder).exists() {
            Connection::open_with_flags(&file, only_reads)?
        } else {
            let uri = format!("file:{}?immutable=1", percent_encoded(&file));
            Connection::open_with_flags(uri, only_reads | OpenFlags::SQLITE_OPEN_URI)?
        };
        schema::prepare_reader(&connection)?;
        Ok(SqliteReader { connection })
    }

    /// A reader of a store that a service may be writing, for a back-up of it.
    pub(crate) fn beside(folder: &Path) -> Result<SqliteReader, OpenError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(existing(folder)?, flags)?;
        connection.busy_timeout(std::time::Duration::from_secs(10))?;
        Ok(SqliteReader { connection })
    }

    /// Writes the newest commit into a new file, whole and in one piece.
    pub(crate) fn copy_to(&self, file: &Path) -> Result<(), OpenError> {
        self.connection.execute("VACUUM INTO ?1", [file.to_string_lossy()])?;
        Ok(())
    }

    /// Schema of the store.
    pub fn schema(&self) -> Result<i64, OpenError> {
        Ok(schema::version(&self.connection)?)
    }

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

fn existing(folder: &Path) -> Result<PathBuf, OpenError> {
    let file = folder.join(DATABASE);
    if file.is_file() { Ok(file) } else { Err(OpenError::Missing(folder.to_path_buf())) }
}

/// A path in a URI.
fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(*byte))
            }
            other => text.push_str(&format!("%{other:02X}")),
        }
    }
    text
}

impl Store for SqliteStore {
    fn commit(&mut self, service: Option<&ServiceRow>, batches: &[Batch]) -> Result<(), CommitError> {
        self.logged_pages += batches.iter().map(pages_of).sum::<usize>();
        write::commit(&mut self.connection, &mut self.recent, service, batches)
    }
}

/// Pages that a batch writes, roughly: its own row and its index, and for an account its rows, and for each passkey its
/// row and its index.
fn pages_of(batch: &Batch) -> usize {
    let accounts = batch.accounts.iter().map(|put| 1 + put.devices.len() / 2 + 2 * put.passkeys.len());
    2 + batch.leaves.len() / 4096 + accounts.sum::<usize>()
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
            fn large_blob(&self, at: AccountKey, id: &CredentialId) -> Result<Option<Vec<u8>>, ReadError> {
                read::large_blob(&self.connection, at, id)
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
