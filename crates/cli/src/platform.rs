//! Unix: files that their owner alone can read, and what Linux says of files, processes and the service manager.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

/// A new file of mode 0600; an older one is emptied.
pub(crate) fn create_private(file: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(file)
}

/// Makes a folder that only its owner enters, and the folders above it.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Who may do what with a file, as the nine bits of its mode.
pub(crate) fn mode(path: &Path) -> io::Result<u32> {
    Ok(std::fs::metadata(path)?.mode() & 0o777)
}

/// Bytes that are free on a path's disk for those who are not root.
pub(crate) fn free_bytes(path: &Path) -> io::Result<u64> {
    let found = rustix::fs::statvfs(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}

/// The process that holds a lock on a file, as the kernel lists them: asking for the lock would stand in the way of a
/// service that starts at this moment. A lock on a file of the same number on another disk would be taken for it.
pub(crate) fn lock_holder(file: &Path) -> io::Result<Option<u32>> {
    let inode = match std::fs::metadata(file) {
        Ok(metadata) => format!(":{}", metadata.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // "1: FLOCK  ADVISORY  WRITE 2325 fe:00:6004783 0 EOF"
    let locks = std::fs::read_to_string("/proc/locks")?;
    let held = locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let of_file = fields.get(1) == Some(&"FLOCK") && fields.get(5)?.ends_with(&inode);
        of_file.then(|| fields.get(4)?.parse().ok()).flatten()
    });
    Ok(held)
}

/// This process's soft limit of a kind, in bytes; `None` without a limit.
pub(crate) fn limit(name: &str) -> io::Result<Option<u64>> {
    let limits = std::fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix(name));
    let soft = line.and_then(|line| line.split_whitespace().next());
    Ok(soft.and_then(|soft| soft.parse().ok()))
}

/// Whether memory can reach a disk at all.
pub(crate) fn has_swap() -> io::Result<bool> {
    // One line of headings, then a line for each.
    Ok(std::fs::read_to_string("/proc/swaps")?.lines().count() > 1)
}

/// Says a state to the service manager that started this process, if it waits for one (systemd's sd_notify).
pub(crate) fn notify_service_manager(state: &str) -> io::Result<()> {
    let Some(address) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let socket = UnixDatagram::unbound()?;
    let sent = match address.as_encoded_bytes().strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            let address = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            socket.send_to_addr(state.as_bytes(), &address)
        }
        #[cfg(not(target_os = "linux"))]
        Some(_) => return Ok(()),
        None => socket.send_to(state.as_bytes(), &address),
    };
    sent.map(|_| ())
}

/// Whether a process keeps its memory out of the swap; `false` where the system does not tell.
pub(crate) fn is_memory_locked(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let locked = status.lines().find_map(|line| line.strip_prefix("VmLck:"));
    locked.is_some_and(|size| !size.trim_start().starts_with("0 "))
}
