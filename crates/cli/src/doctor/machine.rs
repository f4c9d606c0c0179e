//! This machine: what would put secrets of a process on a disk.

use super::Check;
use crate::platform;

/// What the enclave's process may lock; its secrets need less.
const LOCKED_MIN: u64 = 1024 * 1024;

pub(super) fn checks() -> Vec<Check> {
    vec![core_dumps(), locked_memory()]
}

fn core_dumps() -> Check {
    const NAME: &str = "core-dumps";
    match platform::limit("Max core file size") {
        Ok(Some(0)) => Check::ok(NAME, "a process that crashes leaves no core dump"),
        Ok(limit) => {
            let size =
                limit.map_or_else(|| "without limit".to_owned(), |bytes| format!("up to {bytes} bytes"));
            Check::warn(
                NAME,
                format!("core dumps are on, {size}: a crash may write secrets to a disk"),
                "set LimitCORE=0 in the service's unit, or ulimit -c 0",
            )
        }
        Err(error) => unknown(NAME, &error),
    }
}

fn locked_memory() -> Check {
    const NAME: &str = "locked-memory";
    match platform::limit("Max locked memory") {
        Ok(None) => Check::ok(NAME, "memory may be locked without limit"),
        Ok(Some(bytes)) if bytes >= LOCKED_MIN => {
            Check::ok(NAME, format!("{bytes} bytes may be kept out of swap"))
        }
        Ok(Some(bytes)) => Check::warn(
            NAME,
            format!("only {bytes} bytes may be kept out of swap"),
            "set LimitMEMLOCK=64M in the service's unit, or switch swap off",
        ),
        Err(error) => unknown(NAME, &error),
    }
}

fn unknown(name: &'static str, error: &std::io::Error) -> Check {
    Check::warn(name, format!("this system does not say: {error}"), "look it up by hand")
}
