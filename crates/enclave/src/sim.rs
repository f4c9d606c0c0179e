//! The stand-in for a TEE: evidence of kind `sim`, bound like a real one and signed by nobody. It protects nothing
//! from the host. Clients accept it only when told so by name, and a production build does not contain it
//! (feature `sim`).

use crate::rsa::RsaPool;
use crate::{HardwareRandom, ServeError, serve};
use aws_lc_rs::digest::{SHA256, digest};
use keyferry_crypto::credential::RsaKey;
use keyferry_crypto::random::Random;
use keyferry_engine::Platform;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::evidence::{Evidence, SIM, SimReport};
use keyferry_wire::{Hash, Wire, limits};

/// Evidence of kind `sim` with the operating system's randomness.
#[derive(Default)]
pub struct SimPlatform {
    random: HardwareRandom,
    rsa: RsaPool,
}

impl Platform for SimPlatform {
    fn random(&mut self) -> &mut dyn Random {
        &mut self.random
    }

    fn evidence(&mut self, runtime_data: Vec<u8>) -> Evidence {
        evidence(runtime_data)
    }

    fn rsa_key(&mut self) -> Option<RsaKey> {
        self.rsa.take()
    }
}

/// Evidence of kind `sim` over `runtime_data`.
pub fn evidence(runtime_data: Vec<u8>) -> Evidence {
    let mut report_data = [0; 64];
    let (bound, _) = report_data.split_at_mut(32);
    bound.copy_from_slice(&sha256(&runtime_data));
    let report = SimReport { measurement: measurement(), debug: false, report_data };
    Evidence {
        version: limits::VERSION,
        kind: SIM.to_owned(),
        report: report.to_bytes().into(),
        endorsements: Vec::new(),
        init_data: Bytes::default(),
        runtime_data: runtime_data.into(),
    }
}

/// What the stand-in calls its measurement: a name and a version, for nothing measured it.
fn measurement() -> Hash {
    sha256(concat!("keyferry enclave, sim stand-in, ", env!("CARGO_PKG_VERSION")).as_bytes())
}

fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

/// Serves the gateway on the process's standard input, which is one end of a Unix socket.
pub fn serve_on_stdin() -> Result<(), ServeError> {
    let mut stream = crate::platform::stdin_stream()?;
    serve(&mut stream, &mut SimPlatform::default())
}
