//! This machine: what would put secrets of a process on a disk. Core dumps are not looked at: every process of ours
//! switches them off for itself before it holds a secret.

use super::Check;
use crate::platform;

pub(super) fn checks() -> Vec<Check> {
    vec![locked_memory()]
}

/// The enclave locks its memory only where that is allowed without a limit: one that is reached later would end it.
fn locked_memory() -> Check {
    const NAME: &str = "locked-memory";
    match (platform::limit("Max locked memory"), platform::has_swap()) {
        (Ok(None), _) => Check::ok(NAME, "memory may be locked without limit"),
        (Ok(Some(_)), Ok(false)) => Check::ok(NAME, "this machine has no swap"),
        (Ok(Some(bytes)), Ok(true)) => Check::warn(
            NAME,
            format!("only {bytes} bytes may be locked, so the enclave's memory may reach the swap"),
            "set LimitMEMLOCK=infinity in the service's unit, or switch the swap off or encrypt it",
        ),
        (Err(error), _) | (_, Err(error)) => {
            Check::warn(NAME, format!("this system does not say: {error}"), "look it up by hand")
        }
    }
}
