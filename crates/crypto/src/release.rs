//! Release of a root key: a key broker seals it to the `hpke` key of the evidence that it appraised, for one challenge
//! alone, and with the custody that it states, so that nobody on the way can state another.

use crate::hpke::{self, BoxKey};
use crate::label::Label;
use crate::random::Random;
use crate::seal::SealError;
use crate::tree::RootKey;
use keyferry_wire::door::Release;

/// The broker's side: seals root key number `root` for the enclave that answered `challenge`.
pub fn seal(
    key: &RootKey,
    root: u32,
    custody_level: u16,
    challenge: &[u8; 32],
    hpke_public: &[u8; 32],
    random: &mut dyn Random,
) -> Result<Release, SealError> {
    let numbers = (root.to_be_bytes(), custody_level.to_be_bytes());
    let aad: [&[u8]; 3] = [challenge, &numbers.0, &numbers.1];
    let sealed = hpke::seal_to(hpke_public, Label::Release, &aad, key.expose(), random)?;
    Ok(Release { root, sealed: sealed.into(), custody_level })
}

/// The enclave's side.
pub fn open(key: &BoxKey, challenge: &[u8; 32], release: &Release) -> Result<RootKey, SealError> {
    let numbers = (release.root.to_be_bytes(), release.custody_level.to_be_bytes());
    let aad: [&[u8]; 3] = [challenge, &numbers.0, &numbers.1];
    let opened = key.open(Label::Release, &aad, &release.sealed)?;
    RootKey::from_slice(opened.expose()).ok_or(SealError)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Seeded;

    #[test]
    fn a_release_opens_for_its_challenge_number_and_custody_alone() {
        let random = &mut Seeded::new(7);
        let enclave = BoxKey::generate(random);
        let root = RootKey::random(random);
        let release = seal(&root, 1, 0, &[7; 32], &enclave.public(), random).unwrap();
        assert!(open(&enclave, &[7; 32], &release).unwrap().matches(root.expose()));
        assert!(open(&enclave, &[8; 32], &release).is_err());
        assert!(open(&enclave, &[7; 32], &Release { root: 2, ..release.clone() }).is_err());
        assert!(open(&enclave, &[7; 32], &Release { custody_level: 3, ..release.clone() }).is_err());
        assert!(open(&BoxKey::generate(random), &[7; 32], &release).is_err());
    }
}
