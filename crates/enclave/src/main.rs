//! `keyferry-enclave`: the binary in the TEE. It is started by the gateway with one end of a stream as its standard
//! input, and takes neither arguments nor environment.

use std::process::ExitCode;

#[cfg(feature = "sim")]
fn main() -> ExitCode {
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
