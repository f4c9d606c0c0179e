//! Unix: the stream to the gateway as it was inherited, and what the system can do for a process that holds secrets.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Standard input, which is one end of a socket pair.
#[cfg(feature = "sim")]
pub(crate) fn stdin_stream() -> io::Result<UnixStream> {
    io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)
}

/// Why secrets may reach the swap.
#[derive(Debug, thiserror::Error)]
pub enum NotLocked {
    /// Locking under a limit would work until the limit is reached, and then end the process.
    #[error("RLIMIT_MEMLOCK is {0} bytes; it has to be unlimited")]
    Limit(u64),
    #[error("the system refused: {0}")]
    System(#[from] io::Error),
}

/// Before the first secret: nothing of this process is ever written to a core file or handed to a crash handler, and
/// no process of the same user reads its memory or traces it. Root still can.
#[cfg(target_os = "linux")]
pub fn refuse_dumps() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
    // The limit alone does not keep a crash handler (a pipe in core_pattern) from getting the memory.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(())
}

/// Keeps every page out of the swap, those that are touched later included.
#[cfg(target_os = "linux")]
pub fn lock_memory() -> Result<(), NotLocked> {
    use rustix::mm::{MlockAllFlags, mlockall};
    use rustix::process::{Resource, getrlimit};
    use rustix::thread::{CapabilitySet, capabilities};
    let privileged = capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    match getrlimit(Resource::Memlock).current {
        Some(limit) if !privileged => Err(NotLocked::Limit(limit)),
        _ => {
            let all = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
            Ok(mlockall(all).map_err(io::Error::from)?)
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub fn refuse_dumps() -> io::Result<()> {
    Ok(())
}

#[cfg(not(target_os = "linux"))]
pub fn lock_memory() -> Result<(), NotLocked> {
    Err(io::Error::from(io::ErrorKind::Unsupported).into())
}
