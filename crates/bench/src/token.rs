//! A key broker with a root key that everybody knows: every process of a bench run makes it anew. A stand-in for the
//! software token, which is itself one for an HSM.

use keyferry_client::evidence::{Trust, appraise};
use keyferry_crypto::hpke;
use keyferry_crypto::label::Label;
use keyferry_crypto::random;
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
        let trust = Trust { stand_ins: vec![SIM.to_owned()], ..Trust::default() };
        let verified = appraise(evidence, &trust, 0).map_err(|reason| reason.to_string())?;
        let context = Release::context(challenge, ROOT, self.custody_level());
        let sealed = hpke::seal_to(verified.hpke_key(), Label::Release, &[&context], &ROOT_KEY, &mut self.0)
            .map_err(|error| error.to_string())?;
        Ok(Release { root: ROOT, sealed: sealed.into(), custody_level: self.custody_level() })
    }

    fn custody_level(&self) -> u16 {
        0
    }
}
