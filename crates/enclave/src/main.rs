//! `keyferry-enclave`: the binary in the TEE. It is started by the gateway with one end of a stream as its standard
//! input, and takes neither arguments nor environment.

use std::alloc::System;
use std::process::ExitCode;
use zeroizing_alloc::ZeroAlloc;

/// Wipes whatever is freed, so that no buffer of ours or of a library leaves a secret behind.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

#[cfg(feature = "sim")]
fn main() -> ExitCode {
    if let Err(error) = keyferry_enclave::platform::refuse_dumps() {
        eprintln!("keyferry-enclave: core dumps cannot be switched off: {error}");
        return ExitCode::FAILURE;
    }
    match keyferry_enclave::sim::serve_on_stdin() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keyferry-enclave (sim stand-in): {error}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(feature = "sim"))]
fn main() -> ExitCode {
    eprintln!(
        "keyferry-enclave: this build knows no TEE yet; build it with the feature `sim` for the stand-in"
    );
    ExitCode::FAILURE
}
