//! The PIN as a derivation factor (design, section 6): what the client computes before and after the OPRF, and the
//! little that the enclave computes.
//!
//! ```text
//! client   (access, seed) = Argon2id(PIN, salt mixed with the account)
//!          OPRF input     = access
//!          client_key     = HKDF(OPRF output || seed)
//!          checks commitment(client_key) against the one made at set time, then sends client_key
//! enclave  compares tag(client_key), then K_pin = HKDF(client_key || share)
//! ```
//!
//! The PIN itself never leaves the client. Absent: counting; that is the engine's.

mod normal;
mod weak;

use argon2::{Algorithm, Argon2, Block, Version};
use zeroize::{Zeroize, Zeroizing};

pub use normal::normalise;
pub use weak::{CHARS_MAX, CHARS_MIN, PinWeakness, check_new};

use crate::{hash, kdf, label::Label, oprf::OprfOutput};

crate::secret! {
    /// First half of the hardened PIN: the OPRF input.
    pub struct PinAccess(32);
    /// Second half of the hardened PIN: stays at the client and enters the client key.
    pub struct PinSeed(32);
    /// What the client proves to know: the PIN and one OPRF evaluation, together.
    pub struct ClientKey(32);
    /// The enclave's share of K_pin.
    pub struct PinShare(32);
    /// K_pin: opens the member key of one PIN generation.
    pub struct PinKey(32);
    /// What a local password becomes before it leaves the client.
    pub struct PasswordProof(32);
}

/// The Argon2id parameters of one PIN generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Params {
    /// Memory in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Params {
    /// What new PINs get, and the least that a client accepts.
    pub const FLOOR: Self = Self { memory_kib: 64 * 1024, passes: 3, lanes: 1 };
    /// What new PINs get.
    pub const DEFAULT: Self = Self::FLOOR;
    /// The most that a client accepts: parameters come from the other side, which could otherwise exhaust it.
    pub const CEILING: Self = Self { memory_kib: 1024 * 1024, passes: 16, lanes: 16 };

    /// Hardens nothing. Only for tests, which pass it as floor too.
    pub const fn insecure_fast_for_tests() -> Self {
        Self { memory_kib: 8, passes: 1, lanes: 1 }
    }

    /// Neither memory nor passes below the floor (more of one does not make up for less of the other).
    fn check(self, floor: Self) -> Result<(), HardenError> {
        if self.memory_kib < floor.memory_kib || self.passes < floor.passes || self.lanes < 1 {
            return Err(HardenError::BelowFloor);
        }
        let top = Self::CEILING;
        if self.memory_kib > top.memory_kib || self.passes > top.passes || self.lanes > top.lanes {
            return Err(HardenError::AboveCeiling);
        }
        Ok(())
    }
}

/// Why the client will not harden with these parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HardenError {
    /// Weaker than the client's own floor: whoever sent them wants the PIN.
    #[error("Argon2id parameters below this client's floor")]
    BelowFloor,
    /// More than any device should spend.
    #[error("Argon2id parameters above this client's ceiling")]
    AboveCeiling,
}

/// A PIN after Argon2id.
#[derive(Debug)]
pub struct Hardened {
    /// The OPRF input.
    pub access: PinAccess,
    /// Enters the client key.
    pub seed: PinSeed,
}

/// Normalises and hardens a PIN. Refuses parameters below `floor`.
pub fn harden(
    pin: &str,
    account: &[u8],
    salt: &[u8; 16],
    params: Params,
    floor: Params,
) -> Result<Hardened, HardenError> {
    params.check(floor)?;
    let salt = hash::labelled_hash(Label::PinSalt, &[account, salt]);
    let mut out = Zeroizing::new([0; 64]);
    argon2id(normalise(pin).as_bytes(), &salt, params, out.as_mut())?;
    let (access, seed) = out.split_at(32);
    Ok(Hardened {
        access: PinAccess::make(|cell| cell.copy_from_slice(access)),
        seed: PinSeed::make(|cell| cell.copy_from_slice(seed)),
    })
}

/// client_key: needs both the OPRF output and what the enclave never sees, the seed.
pub fn client_key(output: &OprfOutput, hardened: &Hardened, account: &[u8], generation: u64) -> ClientKey {
    let ikm = Zeroizing::new([output.expose().as_slice(), hardened.seed.expose()].concat());
    let context: &[&[u8]] = &[account, &generation.to_be_bytes()];
    ClientKey::make(|key| kdf::derive_into(&ikm, Label::PinClient, context, key))
}

/// Made when the PIN is set, checked by the client before it sends anything derived from the PIN: a fake enclave
/// that evaluated with another key is found out before it has something to try PINs against.
pub fn commitment(client_key: &ClientKey, account: &[u8], generation: u64) -> [u8; 32] {
    hash::hmac(client_key.expose(), Label::PinCommit, &[account, &generation.to_be_bytes()])
}

/// The enclave's check value; compare with [`hash::ct_eq`].
pub fn tag(client_key: &ClientKey, account: &[u8], generation: u64) -> [u8; 32] {
    hash::hmac(client_key.expose(), Label::PinTag, &[account, &generation.to_be_bytes()])
}

/// K_pin: needs the client's key and the enclave's share.
pub fn pin_key(client_key: &ClientKey, share: &PinShare) -> PinKey {
    let ikm = Zeroizing::new([client_key.expose().as_slice(), share.expose()].concat());
    PinKey::make(|key| kdf::derive_into(&ikm, Label::PinKey, &[], key))
}

/// What proves a local account password. The salt is fixed by names, so that a new device needs nothing first.
pub fn password_proof(
    password: &str,
    issuer: &[u8],
    account_name: &[u8],
    params: Params,
    floor: Params,
) -> Result<PasswordProof, HardenError> {
    params.check(floor)?;
    let salt = hash::labelled_hash(Label::PasswordSalt, &[issuer, account_name]);
    let mut out = Zeroizing::new([0; 32]);
    argon2id(normal::decompose(password).as_bytes(), &salt, params, out.as_mut())?;
    Ok(PasswordProof::make(|cell| cell.copy_from_slice(out.as_ref())))
}

/// Argon2id version 1.3 (RFC 9106); wipes its working memory, from which a PIN could be tried without Argon2's cost.
fn argon2id(input: &[u8], salt: &[u8], params: Params, out: &mut [u8]) -> Result<(), HardenError> {
    let settings = argon2::Params::new(params.memory_kib, params.passes, params.lanes, Some(out.len()))
        .map_err(|_| HardenError::BelowFloor)?;
    let mut memory = vec![Block::default(); settings.block_count()];
    let done = Argon2::new(Algorithm::Argon2id, Version::V0x13, settings).hash_password_into_with_memory(
        input,
        salt,
        out,
        &mut memory,
    );
    memory.iter_mut().for_each(Zeroize::zeroize);
    done.expect("lengths and parameters were checked");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        oprf::{self, OprfKey},
        testing::{Seeded, hex},
    };

    const FAST: Params = Params::insecure_fast_for_tests();
    const ACCOUNT: [u8; 32] = [2; 32];

    fn quick(pin: &str, account: &[u8], salt: u8) -> Hardened {
        harden(pin, account, &[salt; 16], FAST, FAST).unwrap()
    }

    // Computed in Python (`cryptography` Argon2id, HKDF, HMAC) from the framing rule alone.
    #[test]
    fn hardening_is_that_of_another_implementation() {
        let expected = hex(concat!(
            "8eaa038e8502c16a58b24c45d070a1c9e320d31824b6a70c78e0306c3df59b4d",
            "f7a9129533d0e71397e650f8f5d3ec6ecb9eb0d1f4c557fdfa6f79aaaa337435",
        ));
        let hardened = harden("284017", &ACCOUNT, &[4; 16], Params::DEFAULT, Params::FLOOR).unwrap();
        assert!(hardened.access.matches(&expected[..32]));
        assert!(hardened.seed.matches(&expected[32..]));
    }

    #[test]
    fn the_password_proof_is_that_of_another_implementation() {
        let expected = hex("68fc1b7da7b2fe592d8e7101f1875f06912ee6538cd9eab2c013e7754c3d7df7");
        let proof = |password| {
            password_proof(password, b"log.example/0", b"alice", Params::DEFAULT, Params::FLOOR).unwrap()
        };
        assert!(proof("pass\u{308}word").matches(&expected));
        assert!(!proof("password").matches(&expected));
    }

    #[test]
    fn client_key_commitment_tag_and_pin_key_are_those_of_another_implementation() {
        let key = ClientKey::from_bytes([8; 32]);
        let hardened =
            Hardened { access: PinAccess::from_bytes([3; 32]), seed: PinSeed::from_bytes([2; 32]) };
        let made = client_key(&OprfOutput::from_bytes([1; 64]), &hardened, &ACCOUNT, 1);
        assert!(made.matches(&hex("691d74d4e81ef79cc33ad7197d6ba1a643139e487bb3e2f508dee82422c25df5")));
        let commit = hex("427c453ef46ceae95db6f8310ee321aa9e7e9af1e0dfb22af6a56a59a8352369");
        assert_eq!(commitment(&key, &ACCOUNT, 1).to_vec(), commit);
        let check = hex("37e64c9bcd80404d11732847ef96fe290b0b0ddcfb9bc42080dc149530dcd199");
        assert_eq!(tag(&key, &ACCOUNT, 1).to_vec(), check);
        let wrap = hex("0fa30fc3003710d27f584aca1037a50135ca0e7339b3be902574b7412e6075b2");
        assert!(pin_key(&key, &PinShare::from_bytes([9; 32])).matches(&wrap));
    }

    #[test]
    fn parameters_below_the_floor_are_refused_one_by_one() {
        let floor = Params::FLOOR;
        let weaker = [
            Params { memory_kib: floor.memory_kib - 1, ..floor },
            Params { passes: floor.passes - 1, ..floor },
            Params { lanes: 0, ..floor },
            Params { memory_kib: floor.memory_kib * 2, passes: 2, lanes: 1 },
            FAST,
        ];
        for params in weaker {
            let refused = harden("284017", &ACCOUNT, &[4; 16], params, floor).unwrap_err();
            assert_eq!(refused, HardenError::BelowFloor, "{params:?}");
            assert!(password_proof("secret", b"", b"", params, floor).is_err());
        }
    }

    #[test]
    fn parameters_that_would_exhaust_the_device_are_refused() {
        let top = Params::CEILING;
        for params in [
            Params { memory_kib: top.memory_kib + 1, ..top },
            Params { passes: top.passes + 1, ..top },
            Params { lanes: top.lanes + 1, ..top },
            Params { memory_kib: u32::MAX, passes: u32::MAX, lanes: u32::MAX },
        ] {
            let refused = harden("284017", &ACCOUNT, &[4; 16], params, Params::FLOOR).unwrap_err();
            assert_eq!(refused, HardenError::AboveCeiling, "{params:?}");
        }
    }

    #[test]
    fn parameters_that_argon2_cannot_take_are_refused_without_a_panic() {
        let params = Params { memory_kib: 8, passes: 1, lanes: 16 };
        assert!(harden("284017", &ACCOUNT, &[4; 16], params, FAST).is_err());
    }

    #[test]
    fn pin_salt_and_account_each_change_the_hardened_pin() {
        let base = quick("284017", &ACCOUNT, 4);
        assert!(base.access.matches(quick("２８４０１７", &ACCOUNT, 4).access.expose()));
        for other in
            [quick("284018", &ACCOUNT, 4), quick("284017", &[3; 32], 4), quick("284017", &ACCOUNT, 5)]
        {
            assert!(!base.access.matches(other.access.expose()));
            assert!(!base.seed.matches(other.seed.expose()));
        }
        assert!(!base.access.matches(base.seed.expose()));
    }

    #[test]
    fn the_right_pin_meets_commitment_and_tag_and_a_wrong_one_neither() {
        let key = OprfKey::generate(&mut Seeded::new(1));
        let enter = |pin: &str, seed| {
            let hardened = quick(pin, &ACCOUNT, 4);
            let (state, blinded) = oprf::blind(hardened.access.expose(), &mut Seeded::new(seed)).unwrap();
            let evaluation = key.evaluate(&blinded, &mut Seeded::new(seed + 1)).unwrap();
            let output = state.finalize(hardened.access.expose(), &evaluation, &key.public()).unwrap();
            client_key(&output, &hardened, &ACCOUNT, 3)
        };
        let set = enter("284017", 10);
        let (right, wrong) = (enter("284017", 20), enter("284018", 30));
        assert_eq!(commitment(&right, &ACCOUNT, 3), commitment(&set, &ACCOUNT, 3));
        assert_eq!(tag(&right, &ACCOUNT, 3), tag(&set, &ACCOUNT, 3));
        assert_ne!(commitment(&wrong, &ACCOUNT, 3), commitment(&set, &ACCOUNT, 3));
        assert_ne!(tag(&wrong, &ACCOUNT, 3), tag(&set, &ACCOUNT, 3));
        assert_ne!(tag(&set, &ACCOUNT, 4), tag(&set, &ACCOUNT, 3));
        assert_ne!(tag(&set, &ACCOUNT, 3), commitment(&set, &ACCOUNT, 3));
    }

    #[test]
    fn the_pin_key_needs_both_halves() {
        let (key, share) = (ClientKey::from_bytes([8; 32]), PinShare::from_bytes([9; 32]));
        let both = pin_key(&key, &share);
        assert!(!both.matches(pin_key(&ClientKey::from_bytes([7; 32]), &share).expose()));
        assert!(!both.matches(pin_key(&key, &PinShare::from_bytes([8; 32])).expose()));
    }

    #[test]
    fn debug_of_a_hardened_pin_shows_names_alone() {
        assert_eq!(
            format!("{:?}", quick("284017", &ACCOUNT, 4)),
            "Hardened { access: PinAccess, seed: PinSeed }"
        );
    }
}
