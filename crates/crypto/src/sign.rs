//! Signatures: ECDSA P-256 with SHA-256 (passkeys, devices, attestation) and Ed25519 (log checkpoints).
//!
//! Keys are built once and cached in aws-lc's form, since signing is hot. ECDSA nonces are aws-lc's own: they mix
//! the key, the message and its generator, so no argument of ours can make two signatures share one.

use aws_lc_rs::{
    // tidy-allow: SystemRandom: aws-lc's signing call wants one; its ECDSA nonces are its own.
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair,
        KeyPair, ParsedPublicKey, UnparsedPublicKey,
    },
};
use std::fmt;

use crate::{hash::array, random::Random, secret::SecretVec};

crate::secret! {
    /// A private scalar of P-256, big-endian, 1 to n-1.
    pub struct P256Scalar(32);
    /// The seed of an Ed25519 key.
    pub struct Ed25519Seed(32);
}

/// Not a key: out of range, not on the curve, or the parts do not belong together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a valid key")]
pub struct BadKey;

/// The order n of P-256 (SEC 2, 2.4.2).
const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc,
    0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];
/// A sound source fails one draw in 2^32; one that fails so often in a row is broken and must not be used.
const DRAWS_MAX: usize = 16;

impl P256Scalar {
    /// Whether the bytes are in 1..n. The comparison stops early only for values whose first 32 bits are all ones.
    fn in_range(&self) -> bool {
        !self.matches(&[0; 32]) && self.expose() < &ORDER
    }
}

/// Draws a scalar by rejection (FIPS 186-5, A.2.2).
pub(crate) fn random_scalar(random: &mut dyn Random) -> P256Scalar {
    (0..DRAWS_MAX)
        .map(|_| P256Scalar::random(random))
        .find(P256Scalar::in_range)
        .expect("the random source is broken")
}

/// A P-256 signing key.
pub struct SigningKey {
    scalar: P256Scalar,
    public: [u8; 65],
    pair: EcdsaKeyPair,
}

impl SigningKey {
    /// Makes a fresh key.
    pub fn generate(random: &mut dyn Random) -> Self {
        Self::load(random_scalar(random)).expect("the scalar is in range")
    }

    /// Loads a key and computes its public half.
    pub fn from_scalar(scalar: &[u8; 32]) -> Result<Self, BadKey> {
        Self::load(P256Scalar::make(|cell| *cell = *scalar))
    }

    /// Loads a key whose public half is known: 11 us against 18 us, and passkeys are loaded for every assertion.
    /// Halves that do not belong together are refused.
    pub fn from_parts(scalar: &[u8; 32], public: &[u8; 65]) -> Result<Self, BadKey> {
        Self::parse(P256Scalar::make(|cell| *cell = *scalar), Some(public))
    }

    fn load(scalar: P256Scalar) -> Result<Self, BadKey> {
        Self::parse(scalar, None)
    }

    fn parse(scalar: P256Scalar, public: Option<&[u8; 65]>) -> Result<Self, BadKey> {
        if !scalar.in_range() || public.is_some_and(|point| point.first() != Some(&4)) {
            return Err(BadKey);
        }
        let der = rfc5915(&scalar, public);
        let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, der.expose())
            .map_err(|_| BadKey)?;
        let public = array(pair.public_key().as_ref());
        Ok(Self { scalar, public, pair })
    }

    /// The private scalar: goes into a sealed blob and nowhere else.
    pub fn scalar(&self) -> &P256Scalar {
        &self.scalar
    }

    /// Keeps the scalar alone.
    pub fn into_scalar(self) -> P256Scalar {
        self.scalar
    }

    /// The public point, uncompressed (0x04 || x || y).
    pub fn public(&self) -> [u8; 65] {
        self.public
    }

    /// Signs SHA-256 of `message`; DER, at most 72 bytes.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        // tidy-allow: SystemRandom: as above; no decision depends on it.
        let signature = self.pair.sign(&SystemRandom::new(), message).expect("a valid key signs");
        signature.as_ref().to_vec()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey")
    }
}

/// `ECPrivateKey` of RFC 5915. aws-lc checks a public half that is there and computes one that is not.
fn rfc5915(scalar: &P256Scalar, public: Option<&[u8; 65]>) -> SecretVec {
    const VERSION_1: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x20];
    const CURVE: [u8; 12] = [0xa0, 0x0a, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const POINT: [u8; 5] = [0xa1, 0x44, 0x03, 0x42, 0x00];
    let scalar = scalar.expose();
    SecretVec::new(match public {
        None => [[0x30, 0x31].as_slice(), &VERSION_1, scalar, &CURVE].concat(),
        Some(point) => [[0x30, 0x77].as_slice(), &VERSION_1, scalar, &CURVE, &POINT, point].concat(),
    })
}

/// A P-256 public key whose point was checked to be on the curve; uncompressed.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 65]);

impl PublicKey {
    /// Parses an uncompressed point (0x04 || x || y).
    pub fn parse(bytes: &[u8]) -> Result<Self, BadKey> {
        let point: [u8; 65] = bytes.try_into().map_err(|_| BadKey)?;
        if point.first() != Some(&4) {
            return Err(BadKey);
        }
        ParsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).map_err(|_| BadKey)?;
        Ok(Self(point))
    }

    /// The uncompressed point.
    pub fn as_bytes(&self) -> &[u8; 65] {
        &self.0
    }

    /// The compressed point (0x02 or 0x03 || x).
    pub fn to_compressed(&self) -> [u8; 33] {
        let (_, point) = self.0.split_at(1);
        let (x, y) = point.split_at(32);
        let odd = y.last().is_some_and(|byte| byte & 1 == 1);
        array(&[&[2 + u8::from(odd)], x].concat())
    }

    /// Verifies a DER signature over SHA-256 of `message`.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        verify_p256(&self.0, message, signature)
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(")?;
        self.to_compressed().iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

/// Verifies a DER ECDSA signature over SHA-256 of `message`; `false` also for a point that is none.
pub fn verify_p256(public: &[u8; 65], message: &[u8], signature: &[u8]) -> bool {
    public.first() == Some(&4)
        && UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, public).verify(message, signature).is_ok()
}

/// The Ed25519 key that signs a shard's checkpoints.
pub struct LogKey {
    pair: Ed25519KeyPair,
    public: [u8; 32],
}

impl LogKey {
    /// Builds the key from its seed.
    pub fn from_seed(seed: &Ed25519Seed) -> Self {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).expect("any 32 bytes are a seed");
        let public = array(pair.public_key().as_ref());
        Self { pair, public }
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Signs `message` (RFC 8032, deterministic).
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        array(self.pair.sign(message).as_ref())
    }
}

impl fmt::Debug for LogKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LogKey")
    }
}

/// Verifies an Ed25519 signature.
pub fn verify_ed25519(public: &[u8; 32], message: &[u8], signature: &[u8]) -> bool {
    UnparsedPublicKey::new(&ED25519, public).verify(message, signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Script, Seeded, hex};

    #[test]
    fn a_signature_verifies_and_any_change_refuses_it() {
        let key = SigningKey::generate(&mut Seeded::new(1));
        let other = SigningKey::generate(&mut Seeded::new(2));
        let signature = key.sign(b"message");
        assert!(signature.len() <= 72);
        assert!(verify_p256(&key.public(), b"message", &signature));
        assert!(!verify_p256(&key.public(), b"massage", &signature));
        assert!(!verify_p256(&other.public(), b"message", &signature));
        assert!(!verify_p256(&key.public(), b"message", &[signature.as_slice(), &[0]].concat()));
        for bit in 0..signature.len() * 8 {
            let mut bad = signature.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(!verify_p256(&key.public(), b"message", &bad), "bit {bit}");
        }
    }

    #[test]
    fn a_key_comes_back_from_its_scalar_and_from_its_parts() {
        let key = SigningKey::generate(&mut Seeded::new(3));
        let scalar = *key.scalar().expose();
        assert_eq!(SigningKey::from_scalar(&scalar).unwrap().public(), key.public());
        let parts = SigningKey::from_parts(&scalar, &key.public()).unwrap();
        assert!(verify_p256(&key.public(), b"m", &parts.sign(b"m")));
    }

    #[test]
    fn halves_of_different_keys_are_refused() {
        let a = SigningKey::generate(&mut Seeded::new(4));
        let b = SigningKey::generate(&mut Seeded::new(5));
        assert!(SigningKey::from_parts(a.scalar().expose(), &b.public()).is_err());
        let mut negated = a.public();
        negated[64] ^= 1;
        assert!(SigningKey::from_parts(a.scalar().expose(), &negated).is_err());
        assert!(SigningKey::from_parts(a.scalar().expose(), &[0; 65]).is_err());
    }

    #[test]
    fn scalars_out_of_range_are_refused() {
        assert!(SigningKey::from_scalar(&[0; 32]).is_err());
        assert!(SigningKey::from_scalar(&ORDER).is_err());
        assert!(SigningKey::from_scalar(&[0xff; 32]).is_err());
        let mut last = ORDER;
        last[31] -= 1;
        assert!(SigningKey::from_scalar(&last).is_ok());
    }

    #[test]
    fn the_scalar_one_has_the_base_point_as_public_key() {
        let mut one = [0; 32];
        one[31] = 1;
        let expected = hex(concat!(
            "046b17d1f2e12c4247f8bce6e563a440f277037d812deb33a0f4a13945d898c296",
            "4fe342e2fe1a7f9b8ee7eb4a7c0f9e162bce33576b315ececbb6406837bf51f5"
        ));
        assert_eq!(SigningKey::from_scalar(&one).unwrap().public().to_vec(), expected);
    }

    #[test]
    fn generation_draws_again_when_a_scalar_is_out_of_range() {
        let mut script = Script([vec![0xff; 32], vec![0; 32], vec![7; 32]].concat());
        assert!(SigningKey::generate(&mut script).scalar().matches(&[7; 32]));
    }

    #[test]
    #[should_panic(expected = "the random source is broken")]
    fn a_dead_random_source_stops_the_program() {
        SigningKey::generate(&mut Script(Vec::new()));
    }

    #[test]
    fn points_that_are_none_are_refused() {
        let good = SigningKey::generate(&mut Seeded::new(6)).public();
        assert_eq!(PublicKey::parse(&good).unwrap().as_bytes(), &good);
        let mut off_curve = good;
        off_curve[64] ^= 1;
        assert!(PublicKey::parse(&off_curve).is_err());
        let mut hybrid = good;
        hybrid[0] = 6 + (good[64] & 1);
        assert!(PublicKey::parse(&hybrid).is_err());
        assert!(PublicKey::parse(&PublicKey(good).to_compressed()).is_err());
        assert!(PublicKey::parse(&[0]).is_err());
        assert!(PublicKey::parse(&good[..64]).is_err());
        assert!(!verify_p256(&off_curve, b"", &[]));
        assert!(!verify_p256(&hybrid, b"", &[]));
    }

    #[test]
    fn compression_keeps_x_and_the_parity_of_y() {
        for seed in 0..8 {
            let public = SigningKey::generate(&mut Seeded::new(seed)).public();
            let compressed = PublicKey::parse(&public).unwrap().to_compressed();
            assert_eq!(compressed[0], 2 + (public[64] & 1));
            assert_eq!(compressed[1..], public[1..33]);
        }
    }

    #[test]
    fn ed25519_gives_the_signature_of_rfc_8032() {
        // RFC 8032, 7.1, test 2.
        let seed = hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let key = LogKey::from_seed(&Ed25519Seed::from_slice(&seed).unwrap());
        let public = hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        assert_eq!(key.public().to_vec(), public);
        let signature = hex(concat!(
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da",
            "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
        ));
        assert_eq!(key.sign(&[0x72]).to_vec(), signature);
        assert!(verify_ed25519(&key.public(), &[0x72], &signature));
        assert!(!verify_ed25519(&key.public(), &[0x73], &signature));
    }

    #[test]
    fn debug_of_keys_shows_their_name_alone() {
        let mut random = Seeded::new(7);
        assert_eq!(format!("{:?}", SigningKey::generate(&mut random)), "SigningKey");
        assert_eq!(format!("{:?}", LogKey::from_seed(&Ed25519Seed::random(&mut random))), "LogKey");
    }
}
