//! What the host has: rows, leaves and their sizes, read from its disk after the service stopped.

use crate::output::Failure;
use crate::table::columns;
use keyferry_server::SqliteStore;
use keyferry_server::serve::chain;
use keyferry_server::store::{Read, ReadError};
use serde_json::{Value, json};
use std::path::Path;

/// Counts and sizes of what is stored.
pub(super) fn look(data: &Path) -> Result<Value, Failure> {
    let store = SqliteStore::open(&data.join("store")).map_err(|error| Failure::Fault(chain(&error)))?;
    read(&store).map_err(|error| Failure::Fault(chain(&error)))
}

fn read(store: &impl Read) -> Result<Value, ReadError> {
    let mut accounts = Vec::new();
    store.accounts(&mut |_, account| accounts.push(account))?;
    let (mut account_bytes, mut devices, mut device_bytes) = (0, 0, 0);
    let (mut passkeys, mut passkey_bytes, mut metadata_bytes) = (0, 0, 0);
    for account in &accounts {
        account_bytes += account.state.row.len();
        let ids = store.device_ids(account.key)?;
        for row in store.devices(account.key, &ids)? {
            devices += 1;
            device_bytes += row.row.len();
        }
        store.vault(account.key, &mut |row| {
            passkeys += 1;
            passkey_bytes += row.blob.len();
            metadata_bytes += row.metadata.len();
        })?;
    }
    let (mut shards, mut leaves) = (0_u16, 0);
    while let Some(tail) = store.tail(keyferry_wire::ShardId(shards))? {
        shards += 1;
        leaves += tail.size;
    }
    Ok(json!({
        "accounts": accounts.len(), "account_bytes": account_bytes,
        "devices": devices, "device_bytes": device_bytes,
        "passkeys": passkeys, "passkey_bytes": passkey_bytes, "metadata_bytes": metadata_bytes,
        "shards": shards, "leaves": leaves, "leaf_bytes": keyferry_wire::ledger::LEAF_LEN,
    }))
}

/// The same for people.
pub(super) fn text(saw: &Value) -> String {
    let row = |what: &str, count: &str, bytes: Option<&str>| {
        let bytes = bytes.map(|name| format!("{} bytes of ciphertext", saw[name])).unwrap_or_default();
        vec![format!("  {what}"), saw[count].to_string(), bytes]
    };
    columns(&[
        row("accounts", "accounts", Some("account_bytes")),
        row("devices", "devices", Some("device_bytes")),
        row("passkeys", "passkeys", Some("passkey_bytes")),
        row("their metadata", "passkeys", Some("metadata_bytes")),
        row("ledger leaves of 224 bytes", "leaves", None),
        row("shards", "shards", None),
    ])
}

/// The first of `words` that stands in a file of the folder; the token's folder, which is not the host's, is left out.
pub(super) fn search(data: &Path, words: &[&str]) -> Result<Option<String>, Failure> {
    for folder in ["store", "ledger", "run"] {
        let mut pending = vec![data.join(folder)];
        while let Some(path) = pending.pop() {
            if path.is_dir() {
                for entry in std::fs::read_dir(&path)? {
                    pending.push(entry?.path());
                }
                continue;
            }
            let bytes = std::fs::read(&path)?;
            let found = words.iter().find(|word| {
                bytes.windows(word.len()).any(|window| window.eq_ignore_ascii_case(word.as_bytes()))
            });
            if let Some(found) = found {
                return Ok(Some(format!("\"{found}\" in {}", path.display())));
            }
        }
    }
    Ok(None)
}
