//! Unix: files that their owner alone can read, and what the system says of a process.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// A new file of mode 0600; an older one is emptied.
pub(crate) fn create_private(file: &Path) -> std::io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)
}

/// Whether a process keeps its memory out of the swap; `false` where the system does not tell.
pub(crate) fn is_memory_locked(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    locked.is_some_and(|size| !size.trim_start().starts_with("0 "))
}
