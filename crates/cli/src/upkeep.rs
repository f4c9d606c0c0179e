//! What an operator does with a data folder besides serving from it: back-up, restoring, upgrade.

use crate::args::{Backup, Restore};
use crate::output::{Document, Failure};
use keyferry_device::clock::now_ms;
use keyferry_device::documents::rfc3339;
use keyferry_server::SqliteStore;
use keyferry_server::backup::{self, BackupError, Manifest};
use keyferry_server::serve::chain;
use keyferry_server::store::{OpenError, SCHEMA, kept_by_upgrade, schema_of};
use keyferry_wire::refusal::{Code, Refusal};
use serde_json::{Value, json};
use std::path::Path;

const TOKEN: &str = "token";

pub(crate) fn backup(arguments: &Backup, json: bool) -> Result<(), Failure> {
    let extras: &[&str] = if arguments.with_token { &[TOKEN] } else { &[] };
    let manifest = backup::make(&arguments.data, &arguments.to, &rfc3339(now_ms()), extras)?;
    let mut text = format!(
        "{} is a back-up of {}: {} files, {} ledger entries, opened and checked",
        arguments.to.display(),
        manifest.name,
        manifest.files.len(),
        entries(&manifest),
    );
    if arguments.with_token {
        eprintln!(
            "keyferry: THE ROOT KEY IS IN THIS BACK-UP: whoever gets it can open everything that is sealed in it. \
             Keep it as you keep the key itself."
        );
    } else {
        text.push_str("\nthe token is not in it: keep a copy of token/ elsewhere, without it nothing opens");
    }
    Document { json: document(&manifest, arguments.with_token), text }.print(json)
}

pub(crate) fn restore(arguments: &Restore, json: bool) -> Result<(), Failure> {
    let manifest = backup::restore(&arguments.from, &arguments.data, &mut tell)?;
    let with_token = arguments.data.join(TOKEN).join("root.key").exists();
    let mut text = format!(
        "{} is {} as of {}: {} ledger entries, every file and every row checked",
        arguments.data.display(),
        manifest.name,
        manifest.created,
        entries(&manifest),
    );
    if !with_token {
        text.push_str("\nput token/ back into it before the service starts: it is not in this back-up");
    }
    text.push_str(
        "\nanchor level 0: PIN tries, devices and passkeys are as they were then; wrong tries made since are forgotten.\
         \na device that used the service since then refuses it from now on (stale, evidence): let it join again",
    );
    Document { json: document(&manifest, with_token), text }.print(json)
}

pub(crate) fn upgrade(data: &Path, check: bool, json: bool) -> Result<(), Failure> {
    let folder = data.join("store");
    let found = schema_of(&folder)?.ok_or_else(|| OpenError::Missing(folder.clone()))?;
    if found > SCHEMA {
        return Err(OpenError::Newer { found }.into());
    }
    let due = found < SCHEMA;
    if due && !check {
        drop(SqliteStore::open_telling(&folder, &mut tell)?);
    }
    let kept = (due && !check).then(|| kept_by_upgrade(&folder, found));
    let text = match &kept {
        Some(kept) => format!("the store has schema {SCHEMA} now; the file before is {}", kept.display()),
        None if due => format!("the store has schema {found}; an upgrade to {SCHEMA} is due"),
        None => format!("the store has schema {found}, which is today's: nothing to do"),
    };
    let json_document = json!({
        "schema": found, "known": SCHEMA, "due": due, "upgraded": kept.is_some(), "kept": kept,
    });
    Document { json: json_document, text }.print(json)
}

/// Progress is for the terminal; stdout has the document alone.
fn tell(sentence: &str) {
    eprintln!("keyferry: {sentence}");
}

fn entries(manifest: &Manifest) -> u64 {
    manifest.logs.iter().map(|log| log.size).sum()
}

fn document(manifest: &Manifest, with_token: bool) -> Value {
    json!({
        "name": manifest.name,
        "created": manifest.created,
        "schema": manifest.schema,
        "shards": manifest.shards,
        "entries": entries(manifest),
        "files": manifest.files.len(),
        "bytes": manifest.files.iter().map(|file| file.size).sum::<u64>(),
        "token": with_token,
    })
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Failure {
        match error {
            BackupError::Occupied(_) => Failure::Refused(Refusal::new(Code::Exists, error.to_string())),
            other => Failure::Fault(chain(&other)),
        }
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Failure {
        Failure::Fault(chain(&error))
    }
}
