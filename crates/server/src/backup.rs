//! Back-up of a data folder while its service runs, and restoring it.
//!
//! The store is the source of truth: it is copied in one piece as of its newest commit, and the copy is opened as a
//! start would open it, so that its batches and account rows must lead to the roots in its own ledger; and each vault's
//! rows and large blobs are held against the vault root in its account's row. The ledger's files are then made from that
//! copy: they always fit it. A manifest with the hash of every file comes last; a folder without one is no back-up. Absent: secrets. Further folders (the software token's) are copied as bytes when the operator asks.

use crate::desk::{Desk, OpenDeskError};
use crate::ledger::{DiskFiles, LedgerFiles, RepairError, checkpoint_of};
use crate::platform;
use crate::store::{
    AccountKey, DATABASE, OpenError, Read, ReadError, SCHEMA, SqliteReader, SqliteStore, StoredAccount,
};
use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_tlog::{Map, state};
use keyferry_wire::ShardId;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Read as _, Write};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// Name of the manifest in a back-up.
pub const MANIFEST: &str = "manifest.json";
/// Version of the manifest.
pub const FORMAT: u32 = 1;
/// Longest manifest that is read: a hundred bytes for each file of a ledger with 10^8 entries.
const MANIFEST_MAX: u64 = 128 * 1024 * 1024;
const STORE: &str = "store";
const LEDGER: &str = "ledger";

/// What a back-up holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format.
    pub keyferry_backup: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// When, RFC 3339.
    pub created: String,
    /// Schema of the store.
    pub schema: i64,
    /// Name of the deployment.
    pub name: String,
    /// Its shards.
    pub shards: u16,
    /// Where each shard's log ends.
    pub logs: Vec<LogEnd>,
    /// Every file but this one.
    pub files: Vec<FileSum>,
}

/// The end of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogEnd {
    /// Its origin.
    pub origin: String,
    /// Entries.
    pub size: u64,
    /// Root of the tree, base64url.
    pub root: String,
}

/// A file and what its content hashes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Path in the back-up, with slashes.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256, base64url.
    pub sha256: String,
}

/// Why nothing was backed up or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something lies where the copy shall go.
    #[error("{} exists and is not empty: nothing is written over it; name another folder", .0.display())]
    Occupied(PathBuf),
    /// The folder has no deployment.
    #[error("{} has no deployment to back up yet", .0.display())]
    Unused(PathBuf),
    /// No manifest.
    #[error("{} is not a back-up: it has no readable {MANIFEST}", .0.display())]
    NoBackup(PathBuf),
    /// Written by a later program.
    #[error("the back-up has {what} {found}, this program knows {known}: it was written by a newer keyferry")]
    Newer {
        /// Of what.
        what: &'static str,
        /// The manifest's number.
        found: i64,
        /// This program's.
        known: i64,
    },
    /// The store is older than this program.
    #[error(
        "the store has schema {found}, this program {SCHEMA}: upgrade it first with \"keyferry data upgrade\""
    )]
    Older {
        /// The store's.
        found: i64,
    },
    /// A file is not what the manifest says.
    #[error("the back-up is damaged: {0} is not what its manifest says; use another back-up")]
    Damaged(String),
    /// Rows that do not lead to the ledger's root.
    #[error("shard {}: the store's rows do not lead to the root in its ledger: this copy must not be used", .0.0)]
    Rows(ShardId),
    /// Passkey rows that do not lead to the root in their account's row.
    #[error(
        "shard {}: the passkeys of the store's account number {} do not lead to its vault root: this copy must not \
         be used",
        .0.shard.0, .0.number
    )]
    Vault(AccountKey),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Reading it.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is in it.
    #[error(transparent)]
    Desk(#[from] OpenDeskError),
    /// The ledger that is made from it.
    #[error(transparent)]
    Repair(#[from] RepairError),
    /// A file.
    #[error("working on {}", .path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why it failed.
        #[source]
        cause: io::Error,
    },
}

type Result<T> = std::result::Result<T, BackupError>;

/// Backs up `data` into the new folder `to`, together with its folders `extras`. A service may run meanwhile.
pub fn make(data: &Path, to: &Path, created: &str, extras: &[&str]) -> Result<Manifest> {
    whole(to, |partial| {
        let store = partial.join(STORE);
        make_folder(&store)?;
        let source = SqliteReader::beside(&data.join(STORE))?;
        match source.schema()? {
            0 => return Err(BackupError::Unused(data.to_path_buf())),
            found if found < SCHEMA => return Err(BackupError::Older { found }),
            found if found > SCHEMA => return Err(OpenError::Newer { found }.into()),
            _ => {}
        }
        source.copy_to(&store.join(DATABASE))?;
        let copy = SqliteReader::untouched(&store)?;
        let files: Arc<dyn LedgerFiles> = Arc::new(DiskFiles::new(&partial.join(LEDGER)));
        let (mut desk, name) = open(&copy, &files)?.ok_or_else(|| BackupError::Unused(data.to_path_buf()))?;
        for repair in desk.repairs() {
            let outcome = repair.write(&copy, &*files, &|| true);
            desk.repaired(&repair, &outcome);
            outcome?;
        }
        for publication in desk.publications() {
            publication.write(&*files).map_err(|cause| file_error(partial, cause))?;
        }
        for extra in extras {
            copy_folder(&data.join(extra), &partial.join(extra))?;
        }
        let manifest = Manifest {
            keyferry_backup: FORMAT,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            created: created.to_owned(),
            schema: SCHEMA,
            shards: desk.shard_count(),
            logs: log_ends(&desk, &name)?,
            name,
            files: sums(partial)?,
        };
        write_manifest(partial, &manifest)?;
        Ok(manifest)
    })
}

/// Restores a back-up into `data`, which must be empty or missing. Every file is checked against the manifest, and the
/// store against its ledger, before anything is in place. A store of an older schema is upgraded; `say` hears of it.
pub fn restore(from: &Path, data: &Path, say: &mut dyn FnMut(&str)) -> Result<Manifest> {
    let manifest = read_manifest(from)?;
    whole(data, |partial| {
        for sum in &manifest.files {
            let path = safe(&sum.path).ok_or_else(|| BackupError::Damaged(sum.path.clone()))?;
            let target = partial.join(&path);
            make_folder(target.parent().unwrap_or(partial))?;
            let found = copy(&from.join(&path), &target)?;
            if found != (sum.size, sum.sha256.clone()) {
                return Err(BackupError::Damaged(sum.path.clone()));
            }
        }
        for folder in [STORE, LEDGER, "run"] {
            make_folder(&partial.join(folder))?;
        }
        let store = SqliteStore::open_telling(&partial.join(STORE), say)?;
        let files: Arc<dyn LedgerFiles> = Arc::new(DiskFiles::new(&partial.join(LEDGER)));
        let opened = open(&store, &files)?;
        let (desk, name) = opened.ok_or_else(|| BackupError::Damaged(MANIFEST.to_owned()))?;
        let same = name == manifest.name
            && desk.shard_count() == manifest.shards
            && log_ends(&desk, &name)? == manifest.logs;
        if !same {
            return Err(BackupError::Damaged(MANIFEST.to_owned()));
        }
        Ok(manifest.clone())
    })
}

/// Opens a store as a start does, and looks at the vaults, which a start leaves to the enclave; gives the desk and the
/// deployment's name, `None` before genesis.
fn open(store: &dyn Read, files: &Arc<dyn LedgerFiles>) -> Result<Option<(Desk, String)>> {
    let Some(service) = store.service()? else {
        return Ok(None);
    };
    let mut desk = Desk::open(store, Arc::clone(files), service.shards, 1 << 20)?;
    match desk.shards_with_wrong_rows().first() {
        Some(shard) => Err(BackupError::Rows(*shard)),
        None => check_vaults(store).map(|()| Some((desk, service.name))),
    }
}

/// Holds every passkey row against its account's vault root, one account at a time.
fn check_vaults(store: &dyn Read) -> Result<()> {
    let mut checked = Ok(());
    store.accounts(&mut |_, account| {
        if checked.is_ok() {
            checked = check_vault(store, &account);
        }
    })?;
    checked
}

fn check_vault(store: &dyn Read, account: &StoredAccount) -> Result<()> {
    let mut vault = Map::new();
    let mut blobs = Vec::new();
    store.vault(account.key, &mut |row| {
        blobs.extend(row.large_blob.map(|hash| (row.id, hash)));
        let set = vault.set(state::vault_key(&row.id), state::vault_value(&row));
        set.expect("a full map knows every place");
    })?;
    let mut right = vault.root() == account.state.vault_root;
    for (id, hash) in blobs {
        let sealed = store.large_blob(account.key, &id)?;
        right &= sealed.is_some_and(|sealed| digest(&SHA256, &sealed).as_ref() == hash);
    }
    if right { Ok(()) } else { Err(BackupError::Vault(account.key)) }
}

fn log_ends(desk: &Desk, name: &str) -> Result<Vec<LogEnd>> {
    let end = |number: u16| {
        let log = desk.log(ShardId(number)).ok()?;
        let root = checkpoint_of(log.checkpoint())?.root;
        let origin = format!("{name}/{number}");
        Some(LogEnd { origin, size: log.size(), root: URL_SAFE_NO_PAD.encode(root) })
    };
    let ends: Option<Vec<_>> = (0..desk.shard_count()).map(end).collect();
    ends.ok_or_else(|| BackupError::Damaged("a shard's checkpoint".to_owned()))
}

/// Makes a folder whole or not at all: in a folder beside it that takes its name in the end.
fn whole<T>(folder: &Path, make: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
    if occupied(folder)? {
        return Err(BackupError::Occupied(folder.to_path_buf()));
    }
    let mut partial = folder.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    if occupied(&partial)? {
        return Err(BackupError::Occupied(partial));
    }
    make_folder(&partial)?;
    let made = make(&partial).and_then(|made| put_in_place(&partial, folder).map(|()| made));
    if made.is_err() {
        // What is wrong was said; a piece that stays behind would only stop the next one.
        let _ = fs::remove_dir_all(&partial);
    }
    made
}

fn put_in_place(partial: &Path, folder: &Path) -> Result<()> {
    let place = || {
        settle_tree(partial)?;
        if folder.is_dir() {
            fs::remove_dir(folder)?;
        }
        fs::rename(partial, folder)?;
        let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    };
    place().map_err(|cause| file_error(folder, cause))
}

/// Whether there is something at a path other than an empty folder.
fn occupied(path: &Path) -> Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_some()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => Ok(true),
        Err(cause) => Err(file_error(path, cause)),
    }
}

fn read_manifest(from: &Path) -> Result<Manifest> {
    let none = || BackupError::NoBackup(from.to_path_buf());
    let file = File::open(from.join(MANIFEST)).map_err(|_| none())?;
    let mut text = Vec::new();
    file.take(MANIFEST_MAX).read_to_end(&mut text).map_err(|_| none())?;
    // The version first: a later form may have other members.
    let version: serde_json::Value = serde_json::from_slice(&text).map_err(|_| none())?;
    let number = |name: &str| version.get(name).and_then(serde_json::Value::as_i64);
    let known = [("format", "keyferry_backup", i64::from(FORMAT)), ("schema", "schema", SCHEMA)];
    for (what, member, known) in known {
        let found = number(member).ok_or_else(none)?;
        if found > known {
            return Err(BackupError::Newer { what, found, known });
        }
    }
    serde_json::from_slice(&text).map_err(|_| none())
}

fn write_manifest(folder: &Path, manifest: &Manifest) -> Result<()> {
    let path = folder.join(MANIFEST);
    let mut text = serde_json::to_vec_pretty(manifest).map_err(|error| file_error(&path, error.into()))?;
    text.push(b'\n');
    let write = || platform::create_private_file(&path)?.write_all(&text);
    write().map_err(|cause| file_error(&path, cause))
}

/// A path of the manifest, if it leads nowhere but into the folder.
fn safe(path: &str) -> Option<PathBuf> {
    let path = PathBuf::from(path);
    let normal = path.components().all(|part| matches!(part, Component::Normal(_)));
    (normal && path.components().count() > 1).then_some(path)
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for path in files_below(from)? {
        let name = path.strip_prefix(from).unwrap_or(&path);
        let target = to.join(name);
        make_folder(target.parent().unwrap_or(to))?;
        copy(&path, &target)?;
    }
    Ok(())
}

/// Copies a file for its owner's eyes alone; gives its size and hash.
fn copy(from: &Path, to: &Path) -> Result<(u64, String)> {
    let mut out = platform::create_private_file(to).map_err(|cause| file_error(to, cause))?;
    hash(from, |piece| out.write_all(piece)).map_err(|cause| file_error(from, cause))
}

/// Sums of all files below a folder, in the order of their paths.
fn sums(folder: &Path) -> Result<Vec<FileSum>> {
    let sum = |path: PathBuf| {
        let (size, sha256) = hash(&path, |_| Ok(())).map_err(|cause| file_error(&path, cause))?;
        let name = path.strip_prefix(folder).unwrap_or(&path);
        let parts: Vec<_> = name.components().map(|part| part.as_os_str().to_string_lossy()).collect();
        Ok(FileSum { path: parts.join("/"), size, sha256 })
    };
    files_below(folder)?.into_iter().map(sum).collect()
}

fn hash(path: &Path, mut each: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<(u64, String)> {
    let mut file = File::open(path)?;
    let mut context = Context::new(&SHA256);
    let mut buffer = vec![0; 64 * 1024];
    let mut size = 0;
    loop {
        let len = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..len).filter(|piece| !piece.is_empty()) else { break };
        context.update(piece);
        each(piece)?;
        size += u64::try_from(len).unwrap_or(0);
    }
    Ok((size, URL_SAFE_NO_PAD.encode(context.finish())))
}

fn files_below(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    walk(folder, &mut |path, is_folder| {
        if !is_folder {
            found.push(path.to_path_buf());
        }
        Ok(())
    })
    .map_err(|cause| file_error(folder, cause))?;
    found.sort();
    Ok(found)
}

/// Makes everything durable, and for its owner's eyes alone: SQLite and the ledger's files have modes of their own.
fn settle_tree(folder: &Path) -> io::Result<()> {
    walk(folder, &mut |path, is_folder| {
        if !is_folder {
            platform::make_private(path)?;
        }
        File::open(path)?.sync_all()
    })
}

fn walk(folder: &Path, each: &mut dyn FnMut(&Path, bool) -> io::Result<()>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let is_folder = entry.file_type()?.is_dir();
        if is_folder {
            walk(&entry.path(), each)?;
        }
        each(&entry.path(), is_folder)?;
    }
    each(folder, true)
}

fn make_folder(path: &Path) -> Result<()> {
    platform::create_private_folder(path).map_err(|cause| file_error(path, cause))
}

fn file_error(path: &Path, cause: io::Error) -> BackupError {
    BackupError::File { path: path.to_path_buf(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;
    use crate::testing::{World, account, credential, service_row};

    #[test]
    fn a_flipped_bit_in_a_passkey_row_is_found_and_named() {
        let temp = tempfile::tempdir().unwrap();
        let data = temp.path().join("data");
        let mut store = SqliteStore::open(&data.join(STORE)).unwrap();
        let mut world = World::new(0);
        for n in 1..4 {
            let edit = world.passkeys(account(n), 0..n);
            let batch = world.batch(vec![edit]);
            store.commit(Some(&service_row(1)), &[batch]).unwrap();
        }
        drop(store);
        let good = temp.path().join("good");
        make(&data, &good, "now", &[]).unwrap();
        restore(&good, &temp.path().join("restored"), &mut |_| {}).unwrap();

        let database = rusqlite::Connection::open(data.join(STORE).join(DATABASE)).unwrap();
        let id = &credential(1).0[..];
        let read = "SELECT blob FROM passkeys WHERE number = 2 AND id = ?1";
        let mut blob: Vec<u8> = database.query_row(read, [id], |row| row.get(0)).unwrap();
        blob[7] ^= 1;
        let flip = "UPDATE passkeys SET blob = ?2 WHERE number = 2 AND id = ?1";
        assert_eq!(database.execute(flip, (id, blob)).unwrap(), 1);
        drop(database);
        let refused = make(&data, &temp.path().join("bad"), "now", &[]).unwrap_err();
        assert!(matches!(refused, BackupError::Vault(key) if key.number == 2), "{refused}");
        let sentence = "shard 0: the passkeys of the store's account number 2 do not lead to its vault root";
        assert!(refused.to_string().starts_with(sentence), "{refused}");
        assert!(!temp.path().join("bad").exists());
    }

    #[test]
    fn path_that_leads_out_of_a_back_up_is_none() {
        for bad in ["../store/x", "/etc/passwd", "store/../../x", "keyferry.db", ""] {
            assert_eq!(safe(bad), None, "{bad}");
        }
        assert_eq!(safe("store/keyferry.db"), Some(PathBuf::from("store/keyferry.db")));
    }

    #[test]
    fn folder_comes_whole_or_not_at_all() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("copy");
        let failed: Result<()> = whole(&folder, |partial| {
            fs::write(partial.join("piece"), "half").unwrap();
            Err(BackupError::Damaged("piece".to_owned()))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 0, "no piece stays behind");
        whole(&folder, |partial| {
            fs::write(partial.join("piece"), "whole").map_err(|cause| file_error(partial, cause))
        })
        .unwrap();
        assert_eq!(fs::read_to_string(folder.join("piece")).unwrap(), "whole");
        let again = whole(&folder, |_| Ok(()));
        assert!(matches!(again, Err(BackupError::Occupied(path)) if path == folder));
    }
}
