//! What processes said in any test, kept for the search with which `cargo xtask test` ends, and what must not be in it.
//! The contract is in `xtask/src/hygiene.rs`; without the variable nothing is kept.

use super::canary::{forms, hex};
use keyferry_client::home::Home;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// Whole files beyond this are no secret that somebody types.
const SECRET_MAX: usize = 256;
/// What is shorter stands somewhere by chance.
const SECRET_MIN: usize = 10;

fn folder() -> Option<PathBuf> {
    std::env::var_os("KEYFERRY_TRACES").map(PathBuf::from)
}

/// Whether anybody will search what is kept.
pub(crate) fn are_kept() -> bool {
    folder().is_some()
}

fn append(folder: &Path, name: &str, bytes: &[u8]) {
    // One write: tests run side by side.
    let file = OpenOptions::new().create(true).append(true).open(folder.join(name));
    file.and_then(|mut file| file.write_all(bytes)).expect("what is not kept would not be searched");
}

/// Keeps what somebody said in this test.
pub(crate) fn keep(kind: &str, said: &[u8]) {
    let Some(folder) = folder().filter(|_| !said.is_empty()) else { return };
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("unnamed").replace(|letter: char| !letter.is_alphanumeric(), "_");
    append(&folder, &format!("{test}.{kind}"), said);
}

/// Declares a secret of this test.
pub(crate) fn declare(kind: &str, secret: &[u8]) {
    let Some(folder) = folder().filter(|_| (SECRET_MIN..=SECRET_MAX).contains(&secret.len())) else { return };
    let forms: String = forms(secret).iter().map(|form| format!("\t{}", hex(form))).collect();
    append(&folder, "canaries", format!("{kind}{forms}\n").as_bytes());
}

/// Declares everything secret in a home.
pub(crate) fn declare_home(home: &Path) {
    if let Ok(key) = fs::read(home.join("hw.key")) {
        declare("private key of a device", &key);
    }
    let Some(home) = fs::read(home.join("state")).ok().and_then(|state| Home::load(&state).ok()) else {
        return;
    };
    declare("sealing key of a device", home.keys.sealing.expose());
    let Ok(member) = home.membership() else { return };
    declare("half of a security domain secret", &member.wrapped);
    declare("half of a member key", &member.member_key);
    declare("audit key", member.audit_key.expose());
    declare("metadata key", member.metadata_key.expose());
    declare("access token", member.access.expose());
}
