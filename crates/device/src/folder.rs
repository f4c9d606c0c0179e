//! A home's folder: its files are written whole or not at all, for their owner alone, by one process at a time.

use crate::platform;
use keyferry_client::flow::FlowError;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use zeroize::Zeroizing;

/// How long a second process waits for the first.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_POLL: Duration = Duration::from_millis(20);

/// A home's folder, locked for this process until it is dropped.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    /// Opens the folder, or makes it.
    pub fn create(path: &Path) -> Result<Folder, FlowError> {
        platform::create_private_folder(path)
            .map_err(|error| failed("the home folder cannot be made", path, &error))?;
        Folder::lock(path)
    }

    /// Opens a folder that exists; `None` if there is none.
    pub fn open(path: &Path) -> Result<Option<Folder>, FlowError> {
        if !path.is_dir() {
            return Ok(None);
        }
        Folder::lock(path).map(Some)
    }

    fn lock(path: &Path) -> Result<Folder, FlowError> {
        let file = path.join("lock");
        let lock = platform::create_private_file(&file)
            .map_err(|error| failed("the home's lock file cannot be opened", &file, &error))?;
        let start = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Folder { path: path.to_owned(), _lock: lock }),
                Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_WAIT => std::thread::sleep(LOCK_POLL),
                Err(TryLockError::WouldBlock) => {
                    return Err(FlowError::fault(format!(
                        "another keyferry process is using the home {}; wait until it has ended, or end it",
                        path.display()
                    )));
                }
                Err(TryLockError::Error(error)) => {
                    return Err(failed("the home cannot be locked", &file, &error));
                }
            }
        }
    }

    /// A file's bytes; `None` if there is no such file.
    pub fn read(&self, name: &str) -> Result<Option<Zeroizing<Vec<u8>>>, FlowError> {
        let path = self.path.join(name);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(Zeroizing::new(bytes))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("a file of the home cannot be read", &path, &error)),
        }
    }

    /// Puts a file in place of the old one, durably: after a crash there is the one or the other.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), FlowError> {
        let path = self.path.join(name);
        self.replace(&path, bytes)
            .map_err(|error| failed("a file of the home cannot be written", &path, &error))
    }

    /// Removes a file, if there is one.
    pub fn remove(&self, name: &str) -> Result<(), FlowError> {
        let path = self.path.join(name);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(failed("a file of the home cannot be removed", &path, &error))
            }
            _ => Ok(()),
        }
    }

    fn replace(&self, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
        let new = path.with_extension("new");
        let mut file = platform::create_private_file(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        platform::sync_folder(&self.path)
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> FlowError {
    FlowError::fault(format!("{what} ({}): {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_back_as_it_was_written_and_replaced_whole() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::create(&temp.path().join("home")).unwrap();
        assert!(folder.read("state").unwrap().is_none());
        folder.write("state", b"one").unwrap();
        folder.write("state", b"two").unwrap();
        assert_eq!(folder.read("state").unwrap().unwrap().as_slice(), b"two");
        assert!(!temp.path().join("home/state.new").exists());
    }

    #[test]
    fn a_folder_that_does_not_exist_is_not_made_by_opening_it() {
        let temp = tempfile::tempdir().unwrap();
        assert!(Folder::open(&temp.path().join("none")).unwrap().is_none());
        assert!(!temp.path().join("none").exists());
    }

    #[test]
    fn a_second_opener_waits_until_the_first_is_done() {
        let temp = tempfile::tempdir().unwrap();
        let first = Folder::create(temp.path()).unwrap();
        let path = temp.path().to_owned();
        let (started, has_started) = std::sync::mpsc::channel();
        let second = std::thread::spawn(move || {
            started.send(()).unwrap();
            Folder::open(&path).unwrap().unwrap().read("state").unwrap().unwrap().to_vec()
        });
        has_started.recv().unwrap();
        first.write("state", b"written by the first").unwrap();
        drop(first);
        assert_eq!(second.join().unwrap(), b"written by the first");
    }

    #[cfg(unix)]
    #[test]
    fn folder_and_files_are_for_their_owner_alone() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let home = temp.path().join("home");
        Folder::create(&home).unwrap().write("state", b"secret").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&home), 0o700);
        assert_eq!(mode(&home.join("state")), 0o600);
    }
}
