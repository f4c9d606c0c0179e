//! Where the static files lie: a folder, or memory.

use keyferry_wire::ShardId;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Small enough for a folder, memory, or an object store.
pub trait LedgerFiles: Send + Sync {
    /// The content of a file; `None` if there is none.
    fn read(&self, shard: ShardId, path: &str) -> io::Result<Option<Vec<u8>>>;
    /// The length of a file; `None` if there is none.
    fn len(&self, shard: ShardId, path: &str) -> io::Result<Option<u64>>;
    /// Puts a file in place at once: a reader sees the old content or the new, never a piece.
    fn write(&self, shard: ShardId, path: &str, bytes: &[u8]) -> io::Result<()>;
    /// Removes a file if there is one.
    fn remove(&self, shard: ShardId, path: &str) -> io::Result<()>;
    /// Removes the partial forms of a full tile or bundle, if there are any: all that lies in `path` with `.p` behind.
    fn remove_partials(&self, shard: ShardId, path: &str) -> io::Result<()>;
}

/// Files in a folder, one folder a shard.
pub struct DiskFiles {
    root: PathBuf,
}

impl DiskFiles {
    /// Files below `root`, which need not exist yet.
    pub fn new(root: &Path) -> DiskFiles {
        DiskFiles { root: root.to_path_buf() }
    }

    fn place(&self, shard: ShardId, path: &str) -> PathBuf {
        self.root.join(shard.0.to_string()).join(path)
    }
}

impl LedgerFiles for DiskFiles {
    fn read(&self, shard: ShardId, path: &str) -> io::Result<Option<Vec<u8>>> {
        if_there(fs::read(self.place(shard, path)))
    }

    fn len(&self, shard: ShardId, path: &str) -> io::Result<Option<u64>> {
        Ok(if_there(fs::metadata(self.place(shard, path)))?.map(|metadata| metadata.len()))
    }

    fn write(&self, shard: ShardId, path: &str, bytes: &[u8]) -> io::Result<()> {
        let place = self.place(shard, path);
        let mut temporary = place.clone().into_os_string();
        temporary.push(".new");
        if let Err(error) = fs::write(&temporary, bytes) {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            fs::create_dir_all(place.parent().unwrap_or(&self.root))?;
            fs::write(&temporary, bytes)?;
        }
        fs::rename(&temporary, place)
    }

    fn remove(&self, shard: ShardId, path: &str) -> io::Result<()> {
        if_there(fs::remove_file(self.place(shard, path))).map(drop)
    }

    fn remove_partials(&self, shard: ShardId, path: &str) -> io::Result<()> {
        let mut folder = self.place(shard, path).into_os_string();
        folder.push(".p");
        if_there(fs::remove_dir_all(folder)).map(drop)
    }
}

/// Files in memory, for the simulator and for tests.
#[derive(Default)]
pub struct MemoryFiles {
    files: Mutex<BTreeMap<(ShardId, String), Vec<u8>>>,
}

impl MemoryFiles {
    /// No files yet.
    pub fn new() -> MemoryFiles {
        MemoryFiles::default()
    }

    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<(ShardId, String), Vec<u8>>> {
        self.files.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Clone for MemoryFiles {
    fn clone(&self) -> MemoryFiles {
        MemoryFiles { files: Mutex::new(self.files().clone()) }
    }
}

impl LedgerFiles for MemoryFiles {
    fn read(&self, shard: ShardId, path: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files().get(&(shard, path.to_owned())).cloned())
    }

    fn len(&self, shard: ShardId, path: &str) -> io::Result<Option<u64>> {
        Ok(self.read(shard, path)?.and_then(|bytes| u64::try_from(bytes.len()).ok()))
    }

    fn write(&self, shard: ShardId, path: &str, bytes: &[u8]) -> io::Result<()> {
        self.files().insert((shard, path.to_owned()), bytes.to_vec());
        Ok(())
    }

    fn remove(&self, shard: ShardId, path: &str) -> io::Result<()> {
        self.files().remove(&(shard, path.to_owned()));
        Ok(())
    }

    fn remove_partials(&self, shard: ShardId, path: &str) -> io::Result<()> {
        let folder = format!("{path}.p/");
        self.files().retain(|(of, path), _| *of != shard || !path.starts_with(&folder));
        Ok(())
    }
}

fn if_there<T>(found: io::Result<T>) -> io::Result<Option<T>> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
