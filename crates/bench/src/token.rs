//! A key broker with a root key that everybody knows: every process of a bench run makes it anew. A stand-in for the
//! software token, which is itself one for an HSM.

use keyferry_client::evidence::appraise_for_release;
use keyferry_crypto::tree::RootKey;
use keyferry_crypto::{random, release};
use keyferry_enclave::HardwareRandom;
use keyferry_server::KeyBroker;
use keyferry_wire::door::Release;
use keyferry_wire::evidence::{Evidence, SIM};

/// The key that protects nothing.
const ROOT_KEY: [u8; 32] = *b"keyferry bench: protects nothing";
const ROOT: u32 = 1;

#[derive(Default)]
pub(crate) struct BenchToken(HardwareRandom);

impl KeyBroker for BenchToken {
    fn challenge(&mut self) -> [u8; 32] {
        random::bytes(&mut self.0)
    }

    fn release(&mut self, challenge: &[u8; 32], evidence: &Evidence) -> Result<Release, String> {
        let verified =
            appraise_for_release(evidence, challenge, &[SIM]).map_err(|reason| reason.to_string())?;
        let key = RootKey::from_bytes(ROOT_KEY);
        let custody = self.custody_level();
        release::seal(&key, ROOT, custody, challenge, verified.hpke_key(), &mut self.0)
            .map_err(|error| error.to_string())
    }

    fn custody_level(&self) -> u16 {
        0
    }
}
