//! A key broker with a root key that everybody knows: every process of a bench run makes it anew. A stand-in for the
//! software token, which is itself one for an HSM.

use crate::Fallible;
use crate::calls::{self, Tally};
use keyferry_client::evidence::appraise_for_release;
use keyferry_crypto::tree::RootKey;
use keyferry_crypto::{random, release};
use keyferry_enclave::HardwareRandom;
use keyferry_server::KeyBroker;
use keyferry_wire::door::Release;
use keyferry_wire::evidence::{Evidence, SIM};
use std::path::Path;

/// The key that protects nothing.
pub(crate) const ROOT_KEY: [u8; 32] = *b"keyferry bench: protects nothing";
const ROOT: u32 = 1;

#[derive(Default)]
pub(crate) struct BenchToken {
    random: HardwareRandom,
    calls: Tally,
}

impl BenchToken {
    /// One whose calls are counted beside the data.
    pub(crate) fn counting(folder: &Path) -> Fallible<BenchToken> {
        Ok(BenchToken { calls: Tally::open(&calls::hsm_file(folder))?, ..BenchToken::default() })
    }
}

impl KeyBroker for BenchToken {
    fn challenge(&mut self) -> [u8; 32] {
        self.calls.note();
        random::bytes(&mut self.random)
    }

    fn release(&mut self, challenge: &[u8; 32], evidence: &Evidence) -> Result<Release, String> {
        self.calls.note();
        let verified =
            appraise_for_release(evidence, challenge, &[SIM]).map_err(|reason| reason.to_string())?;
        let key = RootKey::from_bytes(ROOT_KEY);
        let custody = self.custody_level();
        release::seal(&key, ROOT, custody, challenge, verified.hpke_key(), &mut self.random)
            .map_err(|error| error.to_string())
    }

    fn custody_level(&self) -> u16 {
        0
    }
}
