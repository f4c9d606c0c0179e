//! A data folder, with or without a service that runs on it.

use super::{Check, private};
use crate::platform;
use crate::up::enclave_command;
use keyferry_device::clock::now_ms;
use keyferry_device::documents::rfc3339;
use keyferry_server::Desk;
use keyferry_server::desk::OpenDeskError;
use keyferry_server::ledger::{DiskFiles, LedgerFiles, LogError};
use keyferry_server::serve::chain;
use keyferry_server::store::{Read, SCHEMA, SqliteReader, schema_of};
use keyferry_wire::ShardId;
use keyferry_wire::ledger::Leaf;
use std::path::Path;
use std::sync::Arc;

const FOLDERS: [&str; 4] = ["store", "ledger", "token", "run"];
/// Below this a commit may fail soon.
const FREE_WARN: u64 = 1 << 30;
const FREE_BAD: u64 = 64 << 20;
/// A service that commits meanwhile may publish more than a reader has seen: then it is looked at again.
const LOOKS_MAX: u32 = 5;

pub(super) fn checks(data: &Path) -> Vec<Check> {
    if !data.is_dir() {
        let found = format!("there is no data folder at {}", data.display());
        return vec![Check::bad("data-folder", found, "name the folder that `keyferry up` was given")];
    }
    let mut checks = vec![layout(data), access(data), free_space(data), running(data), enclave()];
    checks.push(token(data));
    let schema = schema(data);
    let readable = schema.1;
    checks.push(schema.0);
    if readable {
        checks.extend(ledger(data));
    }
    checks
}

fn layout(data: &Path) -> Check {
    const NAME: &str = "data-layout";
    let missing: Vec<_> = FOLDERS.into_iter().filter(|name| !data.join(name).is_dir()).collect();
    if missing.is_empty() {
        return Check::ok(NAME, format!("{} has all of its folders", data.display()));
    }
    let found = format!("{} lacks {}", data.display(), missing.join(", "));
    Check::warn(NAME, found, "start the service: it makes them; store/ and token/ come from a back-up alone")
}

/// Rows are ciphertext, but nobody else has business with them.
fn access(data: &Path) -> Check {
    const NAME: &str = "data-access";
    match platform::mode(data) {
        Ok(mode) if mode & 0o007 == 0 => Check::ok(NAME, "the data folder is closed to everybody else"),
        Ok(mode) => Check::warn(
            NAME,
            format!("everybody on this host can enter the data folder (mode {mode:03o})"),
            format!("chmod o= {}", data.display()),
        ),
        Err(_) => private(NAME, data, "the data folder"),
    }
}

fn free_space(data: &Path) -> Check {
    const NAME: &str = "disk-space";
    let to_do = "free space or give the folder a larger disk: a full one stops all commits";
    match platform::free_bytes(data) {
        Ok(free) if free < FREE_BAD => Check::bad(NAME, format!("{} MB are free", free >> 20), to_do),
        Ok(free) if free < FREE_WARN => Check::warn(NAME, format!("{} MB are free", free >> 20), to_do),
        Ok(free) => Check::ok(NAME, format!("{} MB are free", free >> 20)),
        Err(error) => Check::warn(NAME, format!("the disk does not say: {error}"), "look with df"),
    }
}

fn running(data: &Path) -> Check {
    const NAME: &str = "data-lock";
    match platform::lock_holder(&data.join("store/lock")) {
        Ok(Some(process)) => Check::ok(NAME, format!("a service runs on it (process {process})")),
        Ok(None) => Check::ok(NAME, "no service runs on it"),
        Err(error) => {
            Check::warn(NAME, format!("the system does not say: {error}"), "look for a keyferry process")
        }
    }
}

fn enclave() -> Check {
    const NAME: &str = "enclave";
    match enclave_command(None) {
        Ok((command, None)) => Check::ok(NAME, format!("its program is {}", command.program.display())),
        Ok((_, Some(role))) => Check::warn(
            NAME,
            format!("there is no keyferry-enclave beside this program; it would run as: {role}"),
            "install keyferry-enclave beside keyferry, or name it with up --enclave",
        ),
        Err(_) => Check::bad(NAME, "this program cannot find itself", "start it by its path"),
    }
}

fn token(data: &Path) -> Check {
    const NAME: &str = "token";
    let file = data.join("token/root.key");
    let has_store = data.join("store").join(keyferry_server::store::DATABASE).exists();
    match (file.exists(), has_store) {
        (false, true) => Check::bad(
            NAME,
            "the token is gone: nothing in the store opens without it",
            "bring token/ back from where you keep its copy",
        ),
        (false, false) => Check::ok(NAME, "no token yet: the first start makes it"),
        (true, _) => match private(NAME, &file, "the token") {
            check if check.to_do.is_some() => check,
            _ => Check::warn(
                NAME,
                "the software token lies beside the store: whoever copies both has everything",
                "back the two up apart; a stand-in for an HSM, for development",
            ),
        },
    }
}

/// And whether this program can read the rows.
fn schema(data: &Path) -> (Check, bool) {
    const NAME: &str = "schema";
    match schema_of(&data.join("store")) {
        Ok(Some(found)) if found == SCHEMA => {
            (Check::ok(NAME, format!("the store has today's schema {found}")), true)
        }
        Ok(Some(found)) if found < SCHEMA => {
            let to_do = "stop the service and give keyferry data upgrade, or let the next start do it";
            (Check::warn(NAME, format!("the store has schema {found}, today's is {SCHEMA}"), to_do), false)
        }
        Ok(Some(found)) => {
            let found = format!("the store has schema {found}, this program knows {SCHEMA}");
            (Check::bad(NAME, found, "use the newer keyferry that wrote it, or restore a back-up"), false)
        }
        Ok(None) => (Check::ok(NAME, "no store yet: the first start makes it"), false),
        Err(error) => {
            let to_do = "run as the service's user; a damaged file is replaced from a back-up";
            (Check::bad(NAME, chain(&error), to_do), false)
        }
    }
}

/// What a start would find: batches that lead to the checkpoint, rows that lead to the root, files that are not ahead.
fn ledger(data: &Path) -> Vec<Check> {
    const NAME: &str = "ledger";
    let to_do = "stop the service and restore a good copy; then find out who changed the files";
    let opened = open(data);
    let (reader, mut desk) = match opened {
        Ok(Some(opened)) => opened,
        Ok(None) => return vec![Check::ok(NAME, "the store is empty: there is no deployment yet")],
        Err(sentence) => return vec![Check::bad(NAME, sentence, to_do)],
    };
    if let Some(shard) = desk.shards_with_wrong_rows().first() {
        let found = format!("shard {}: rows of the store do not lead to the root in its ledger", shard.0);
        return vec![Check::bad(NAME, found, to_do)];
    }
    let entries: u64 = shards(&desk).filter_map(|shard| Some(desk.log(shard).ok()?.size())).sum();
    let agree = format!("store and ledger agree: {entries} entries in {} shards", desk.shard_count());
    vec![Check::ok(NAME, agree), newest_entry(&reader, &desk)]
}

fn open(data: &Path) -> Result<Option<(SqliteReader, Desk)>, String> {
    let said = |error: &dyn std::error::Error| chain(error);
    let files: Arc<dyn LedgerFiles> = Arc::new(DiskFiles::new(&data.join("ledger")));
    for look in 1.. {
        let reader = SqliteReader::untouched(&data.join("store")).map_err(|error| said(&error))?;
        reader.refresh().map_err(|error| said(&error))?;
        let Some(service) = reader.service().map_err(|error| said(&error))? else {
            return Ok(None);
        };
        match Desk::open(&reader, Arc::clone(&files), service.shards, 1 << 20) {
            Ok(desk) => return Ok(Some((reader, desk))),
            Err(OpenDeskError::Log(LogError::LedgerAhead { .. })) if look < LOOKS_MAX => {}
            Err(error) => return Err(said(&error)),
        }
    }
    Ok(None)
}

fn shards(desk: &Desk) -> impl Iterator<Item = ShardId> + use<> {
    (0..desk.shard_count()).map(ShardId)
}

/// A clock behind the newest entry runs wrong, or did when the entry was made.
fn newest_entry(reader: &SqliteReader, desk: &Desk) -> Check {
    const NAME: &str = "ledger-time";
    let seals = shards(desk).filter_map(|shard| reader.tail(shard).ok().flatten());
    let newest = seals.filter_map(|tail| Some(Leaf::from_bytes(&tail.seal)?.time_secs)).max();
    let Some(newest_ms) = newest.map(|secs| secs.saturating_mul(1000)) else {
        return Check::ok(NAME, "no entry yet");
    };
    let found = format!("the newest entry is of {}", rfc3339(newest_ms));
    if newest_ms > now_ms().saturating_add(60_000) {
        Check::bad(NAME, format!("{found}, which is yet to come"), "set this machine's clock by NTP")
    } else {
        Check::ok(NAME, found)
    }
}
