//! A seeded source of randomness, and evidence of the stand-in kind `sim`.

use keyferry_crypto::credential::RsaKey;
use keyferry_crypto::hash::sha256;
use keyferry_crypto::random::Random;
use keyferry_crypto::secret::SecretVec;
use keyferry_engine::Platform;
use keyferry_wire::Wire;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::evidence::{Evidence, SIM, SimReport};

/// SHA-256 of seed and counter.
pub(crate) struct Seeded {
    seed: u64,
    counter: u64,
}

impl Seeded {
    pub(crate) fn new(seed: u64) -> Self {
        Self { seed, counter: 0 }
    }

    /// Another source, for another party.
    pub(crate) fn fork(&mut self) -> Seeded {
        self.counter += 1;
        Seeded::new(self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.counter))
    }
}

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block = sha256(&[&self.seed.to_be_bytes(), &self.counter.to_be_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.counter += 1;
        }
    }
}

/// Test keys of 2048 bits: making one takes longer than all other tests.
const RSA_KEYS: [&[u8]; 2] = [include_bytes!("keys/rsa-1.der"), include_bytes!("keys/rsa-2.der")];

/// The hardware. Of `rsa_ready` keys one is handed out at each question.
pub(crate) struct Sim {
    random: Seeded,
    pub(crate) rsa_ready: usize,
    pub(crate) rsa_asked: usize,
}

impl Sim {
    pub(crate) fn new(random: Seeded) -> Sim {
        Sim { random, rsa_ready: 0, rsa_asked: 0 }
    }
}

impl Platform for Sim {
    fn random(&mut self) -> &mut dyn Random {
        &mut self.random
    }

    fn evidence(&mut self, runtime_data: Vec<u8>) -> Evidence {
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(&sha256(&[&runtime_data]));
        let report = SimReport { measurement: [7; 32], debug: false, report_data };
        Evidence {
            version: 1,
            kind: SIM.to_owned(),
            report: report.to_bytes().into(),
            endorsements: Vec::new(),
            init_data: Bytes::default(),
            runtime_data: runtime_data.into(),
        }
    }

    fn rsa_key(&mut self) -> Option<RsaKey> {
        self.rsa_asked += 1;
        self.rsa_ready = self.rsa_ready.checked_sub(1)?;
        let der = RSA_KEYS[self.rsa_ready % RSA_KEYS.len()].to_vec();
        Some(RsaKey::from_pkcs8(SecretVec::new(der)))
    }
}
