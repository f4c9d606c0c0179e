//! Unix: the stream to the gateway as the enclave's process inherits it.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;

/// Standard input, which is one end of a socket pair.
pub(crate) fn stdin_stream() -> std::io::Result<UnixStream> {
    std::io::stdin().as_fd().try_clone_to_owned().map(UnixStream::from)
}
