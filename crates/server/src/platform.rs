//! Unix: an enclave as a child process, with a socket pair as its standard input; files for their owner alone.

use crate::link::{Enclave, Launcher, LinkError, StreamEnclave};
use keyferry_wire::door::{FromEnclave, ToEnclave};
use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The command line of an enclave.
#[derive(Clone, Debug)]
pub struct EnclaveCommand {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
}

/// An enclave in a child process. It ends with this value, or by itself when the gateway dies: its stream ends.
struct ProcessEnclave {
    child: Child,
    stream: StreamEnclave<UnixStream>,
}

/// An enclave that is silent for so long has hung.
const SILENCE_MAX: Duration = Duration::from_secs(30);

impl Launcher for EnclaveCommand {
    fn launch(&mut self) -> io::Result<Box<dyn Enclave>> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_read_timeout(Some(SILENCE_MAX))?;
        ours.set_write_timeout(Some(SILENCE_MAX))?;
        let child = Command::new(&self.program)
            .args(&self.args)
            .env_clear()
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()?;
        Ok(Box::new(ProcessEnclave { child, stream: StreamEnclave::new(ours) }))
    }
}

impl Enclave for ProcessEnclave {
    fn exchange(&mut self, message: ToEnclave) -> Result<FromEnclave, LinkError> {
        self.stream.exchange(message)
    }

    fn pid(&self) -> Option<u32> {
        Some(self.child.id())
    }
}

impl Drop for ProcessEnclave {
    fn drop(&mut self) {
        // It may be gone already; either way it must not stay behind as a zombie.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Makes a folder that only its owner enters, and the folders above it.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A new file that only its owner reads.
pub(crate) fn create_private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

/// Takes a file away from all but its owner.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    std::fs::set_permissions(path, Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_wire::door::Refresh;

    fn launch(program: &str) -> Box<dyn Enclave> {
        EnclaveCommand { program: program.into(), args: Vec::new() }.launch().unwrap()
    }

    #[test]
    fn a_process_that_ends_breaks_the_link() {
        let mut enclave = launch("true");
        let answer = loop {
            // The first frames may still fit into the socket.
            if let Err(error) = enclave.exchange(ToEnclave::Refresh(Refresh { now_ms: 1 })) {
                break error;
            }
        };
        assert!(matches!(answer, LinkError::Stream(_)), "{answer:?}");
    }

    #[test]
    fn a_process_ends_with_its_gateway() {
        let enclave = launch("cat");
        let status = format!("/proc/{}/status", enclave.pid().unwrap());
        assert!(std::fs::exists(&status).unwrap());
        drop(enclave);
        assert!(!std::fs::exists(&status).unwrap(), "killed and reaped");
    }
}
