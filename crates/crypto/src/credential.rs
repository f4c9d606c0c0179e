//! The key of a passkey in each algorithm that relying parties ask for: made, loaded, used to sign; and its public half
//! in the forms in which others read it (COSE_Key, SubjectPublicKeyInfo).
//!
//! ES256 is [`crate::sign`], unchanged, for it is what nearly every sign-in uses. RSA keys are not made here: they take
//! 28 to 170 ms, so the enclave's edge keeps some ready ([`RsaKey`]) and nothing waits while one is being made.

use aws_lc_rs::{
    // tidy-allow: SystemRandom: aws-lc's signing calls want one; ECDSA nonces are its own, RSA PKCS#1 v1.5 needs none.
    rand::SystemRandom,
    signature::{
        ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
        UnparsedPublicKey,
    },
};
use std::fmt;

use crate::{
    hash::array,
    random::Random,
    secret::SecretVec,
    sign::{self, BadKey, Ed25519Seed, SigningKey},
};

crate::secret! {
    /// A private scalar of P-384, big-endian, 1 to n-1.
    pub struct P384Scalar(48);
}

/// The order n of P-384 (SEC 2, 2.5.1).
const P384_ORDER: [u8; 48] = [
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc7, 0x63, 0x4d, 0x81, 0xf4, 0x37, 0x2d, 0xdf, 0x58, 0x1a,
    0x0d, 0xb2, 0x48, 0xb0, 0xa7, 0x7a, 0xec, 0xec, 0x19, 0x6a, 0xcc, 0xc5, 0x29, 0x73,
];
/// A sound source fails one draw in 2^192; one that fails so often in a row is broken and must not be used.
const DRAWS_MAX: usize = 16;

/// Bits of the RSA keys that are made: what every relying party takes.
pub const RSA_BITS: usize = 2048;
/// The public exponent of every RSA key here, 65,537.
const RSA_EXPONENT: [u8; 3] = [1, 0, 1];

/// A signature algorithm of passkeys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// ECDSA with P-256 and SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
    /// ECDSA with P-384 and SHA-384.
    Es384,
    /// RSA-2048, PKCS#1 v1.5 with SHA-256.
    Rs256,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Algorithm; 4] = [Algorithm::Es256, Algorithm::EdDsa, Algorithm::Es384, Algorithm::Rs256];

    /// Its number in COSE (RFC 9053, 2.1 and 2.2; RFC 8812, 2).
    pub fn cose(self) -> i64 {
        match self {
            Algorithm::Es256 => -7,
            Algorithm::EdDsa => -8,
            Algorithm::Es384 => -35,
            Algorithm::Rs256 => -257,
        }
    }

    /// The name that people read.
    pub fn as_str(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Es384 => "ES384",
            Algorithm::Rs256 => "RS256",
        }
    }

    /// The algorithm of a COSE number, if it is known here.
    pub fn of_cose(number: i64) -> Option<Algorithm> {
        Algorithm::ALL.into_iter().find(|algorithm| algorithm.cose() == number)
    }
}

/// A fresh RSA key as the edge made it: PKCS#8, opened only when a passkey is made of it.
pub struct RsaKey(SecretVec);

impl RsaKey {
    /// Takes over an RSA private key in PKCS#8.
    pub fn from_pkcs8(der: SecretVec) -> RsaKey {
        RsaKey(der)
    }
}

impl fmt::Debug for RsaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RsaKey")
    }
}

/// A passkey's signing key.
pub struct CredentialKey(Kind);

enum Kind {
    Es256(SigningKey),
    EdDsa(Ed25519Seed, Ed25519KeyPair),
    Es384(P384Scalar, EcdsaKeyPair),
    Rs256(SecretVec, RsaKeyPair),
}

impl CredentialKey {
    /// Makes an ES256 key.
    pub fn es256(random: &mut dyn Random) -> CredentialKey {
        CredentialKey(Kind::Es256(SigningKey::generate(random)))
    }

    /// Makes an Ed25519 key.
    pub fn ed_dsa(random: &mut dyn Random) -> CredentialKey {
        ed_dsa(Ed25519Seed::random(random)).expect("any 32 bytes are a seed")
    }

    /// Makes an ES384 key.
    pub fn es384(random: &mut dyn Random) -> CredentialKey {
        // Drawn by rejection (FIPS 186-5, A.2.2).
        let scalar = (0..DRAWS_MAX)
            .map(|_| P384Scalar::random(random))
            .find(p384_in_range)
            .expect("the random source is broken");
        es384(scalar, None).expect("the scalar is in range")
    }

    /// Makes an RS256 key of one that the edge had ready. Refused: another size than 2048 bits, another exponent.
    pub fn rs256(key: RsaKey) -> Result<CredentialKey, BadKey> {
        let made = rs256(key.0)?;
        match made.public() {
            PublicKey::Rs256 { modulus, exponent }
                if modulus.len() * 8 == RSA_BITS && exponent == RSA_EXPONENT =>
            {
                Ok(made)
            }
            _ => Err(BadKey),
        }
    }

    /// Loads a key from what [`CredentialKey::private`] and [`PublicKey::to_stored`] gave. Halves that do not belong
    /// together are refused.
    pub fn load(algorithm: Algorithm, private: &[u8], public: &[u8]) -> Result<CredentialKey, BadKey> {
        match algorithm {
            Algorithm::Es256 => {
                let scalar = private.try_into().map_err(|_| BadKey)?;
                let point = public.try_into().map_err(|_| BadKey)?;
                Ok(CredentialKey(Kind::Es256(SigningKey::from_parts(scalar, point)?)))
            }
            Algorithm::EdDsa => {
                let key = ed_dsa(Ed25519Seed::from_slice(private).ok_or(BadKey)?)?;
                key.with_half(public)
            }
            Algorithm::Es384 => {
                let point = public.try_into().map_err(|_| BadKey)?;
                es384(P384Scalar::from_slice(private).ok_or(BadKey)?, Some(point))
            }
            Algorithm::Rs256 => rs256(SecretVec::new(private.to_vec()))?.with_half(public),
        }
    }

    /// The key, if this is its public half.
    fn with_half(self, public: &[u8]) -> Result<CredentialKey, BadKey> {
        if self.public().to_stored() == public { Ok(self) } else { Err(BadKey) }
    }

    /// Which algorithm it is of.
    pub fn algorithm(&self) -> Algorithm {
        match &self.0 {
            Kind::Es256(_) => Algorithm::Es256,
            Kind::EdDsa(..) => Algorithm::EdDsa,
            Kind::Es384(..) => Algorithm::Es384,
            Kind::Rs256(..) => Algorithm::Rs256,
        }
    }

    /// The private half: goes into a sealed blob and nowhere else. A scalar, a seed, or PKCS#8.
    pub fn private(&self) -> &[u8] {
        match &self.0 {
            Kind::Es256(key) => key.scalar().expose(),
            Kind::EdDsa(seed, _) => seed.expose(),
            Kind::Es384(scalar, _) => scalar.expose(),
            Kind::Rs256(der, _) => der.expose(),
        }
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        match &self.0 {
            Kind::Es256(key) => PublicKey::Es256(key.public()),
            Kind::EdDsa(_, pair) => PublicKey::EdDsa(array(pair.public_key().as_ref())),
            Kind::Es384(_, pair) => PublicKey::Es384(array(pair.public_key().as_ref())),
            Kind::Rs256(_, pair) => {
                let (modulus, exponent) =
                    rsa_parts(pair.public_key().as_ref()).expect("aws-lc writes RSAPublicKey of RFC 8017");
                PublicKey::Rs256 { modulus, exponent }
            }
        }
    }

    /// Signs `message` in the form that WebAuthn 6.5.5 wants: DER for ECDSA, the plain signature for the others.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        // tidy-allow: SystemRandom: as above; no decision depends on it.
        let random = SystemRandom::new();
        match &self.0 {
            Kind::Es256(key) => key.sign(message),
            Kind::EdDsa(_, pair) => pair.sign(message).as_ref().to_vec(),
            Kind::Es384(_, pair) => pair.sign(&random, message).expect("a valid key signs").as_ref().to_vec(),
            Kind::Rs256(_, pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature).expect("a valid key signs");
                signature
            }
        }
    }
}

impl fmt::Debug for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialKey")
    }
}

fn ed_dsa(seed: Ed25519Seed) -> Result<CredentialKey, BadKey> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed.expose()).map_err(|_| BadKey)?;
    Ok(CredentialKey(Kind::EdDsa(seed, pair)))
}

fn es384(scalar: P384Scalar, public: Option<&[u8; 97]>) -> Result<CredentialKey, BadKey> {
    if !p384_in_range(&scalar) || public.is_some_and(|point| point.first() != Some(&4)) {
        return Err(BadKey);
    }
    let der = rfc5915(&scalar, public);
    let pair = EcdsaKeyPair::from_private_key_der(&ECDSA_P384_SHA384_ASN1_SIGNING, der.expose())
        .map_err(|_| BadKey)?;
    Ok(CredentialKey(Kind::Es384(scalar, pair)))
}

fn rs256(der: SecretVec) -> Result<CredentialKey, BadKey> {
    let pair = RsaKeyPair::from_pkcs8(der.expose()).map_err(|_| BadKey)?;
    Ok(CredentialKey(Kind::Rs256(der, pair)))
}

/// Whether the bytes are in 1..n. The comparison stops early only for values whose first 192 bits are all ones.
fn p384_in_range(scalar: &P384Scalar) -> bool {
    !scalar.matches(&[0; 48]) && scalar.expose() < &P384_ORDER
}

/// `ECPrivateKey` of RFC 5915. aws-lc checks a public half that is there and computes one that is not.
fn rfc5915(scalar: &P384Scalar, public: Option<&[u8; 97]>) -> SecretVec {
    const VERSION_1: [u8; 5] = [0x02, 0x01, 0x01, 0x04, 0x30];
    const CURVE: [u8; 9] = [0xa0, 0x07, 0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    const POINT: [u8; 5] = [0xa1, 0x64, 0x03, 0x62, 0x00];
    let scalar = scalar.expose();
    SecretVec::new(match public {
        None => [[0x30, 0x3e].as_slice(), &VERSION_1, scalar, &CURVE].concat(),
        Some(point) => [[0x30, 0x81, 0xa4].as_slice(), &VERSION_1, scalar, &CURVE, &POINT, point].concat(),
    })
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017, A.1.1), without leading zeros.
fn rsa_parts(der: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (sequence, rest) = der_item(0x30, der)?;
    let (modulus, more) = der_item(0x02, sequence)?;
    let (exponent, end) = der_item(0x02, more)?;
    (rest.is_empty() && end.is_empty()).then(|| (unsigned(modulus), unsigned(exponent)))
}

/// The content of the DER item with this tag at the start, and what follows it.
fn der_item(tag: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let ([found, first], rest) = der.split_first_chunk::<2>()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(len, rest)| (usize::from(*len), rest))?,
        0x82 => {
            rest.split_first_chunk::<2>().map(|(len, rest)| (usize::from(u16::from_be_bytes(*len)), rest))?
        }
        _ => return None,
    };
    if *found == tag { rest.split_at_checked(len) } else { None }
}

fn unsigned(integer: &[u8]) -> Vec<u8> {
    integer.iter().copied().skip_while(|byte| *byte == 0).collect()
}

/// The public half of a passkey.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    /// An uncompressed point of P-256.
    Es256([u8; 65]),
    /// An Ed25519 public key.
    EdDsa([u8; 32]),
    /// An uncompressed point of P-384.
    Es384([u8; 97]),
    /// An RSA public key, its numbers big-endian without leading zeros.
    Rs256 { modulus: Vec<u8>, exponent: Vec<u8> },
}

impl PublicKey {
    /// Which algorithm it is of.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            PublicKey::Es256(_) => Algorithm::Es256,
            PublicKey::EdDsa(_) => Algorithm::EdDsa,
            PublicKey::Es384(_) => Algorithm::Es384,
            PublicKey::Rs256 { .. } => Algorithm::Rs256,
        }
    }

    /// What a sealed passkey keeps of it: point, key or modulus.
    pub fn to_stored(&self) -> Vec<u8> {
        match self {
            PublicKey::Es256(point) => point.to_vec(),
            PublicKey::EdDsa(key) => key.to_vec(),
            PublicKey::Es384(point) => point.to_vec(),
            PublicKey::Rs256 { modulus, .. } => modulus.clone(),
        }
    }

    /// Whether it is a key at all: a point of its curve, an RSA number of a size that is verified with.
    pub(crate) fn is_valid(&self) -> bool {
        match self {
            PublicKey::Es256(point) => sign::PublicKey::parse(point).is_ok(),
            PublicKey::EdDsa(key) => {
                ParsedPublicKey::new(&aws_lc_rs::signature::ED25519, key.as_slice()).is_ok()
            }
            PublicKey::Es384(point) => {
                point.first() == Some(&4)
                    && ParsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point.as_slice()).is_ok()
            }
            PublicKey::Rs256 { modulus, exponent } => {
                (RSA_BITS..=8192).contains(&(modulus.len() * 8))
                    && modulus.first().is_some_and(|first| *first != 0)
                    && exponent.first().is_some_and(|first| *first != 0)
            }
        }
    }

    /// Verifies what [`CredentialKey::sign`] made.
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            PublicKey::Es256(point) => sign::verify_p256(point, message, signature),
            PublicKey::EdDsa(key) => sign::verify_ed25519(key, message, signature),
            PublicKey::Es384(point) => {
                point.first() == Some(&4)
                    && UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point)
                        .verify(message, signature)
                        .is_ok()
            }
            PublicKey::Rs256 { modulus, exponent } => RsaPublicKeyComponents { n: modulus, e: exponent }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
        }
    }

    /// SubjectPublicKeyInfo in DER (RFC 5280; RFC 5480, RFC 8410, RFC 3279): what `getPublicKey()` gives.
    pub fn to_spki(&self) -> Vec<u8> {
        const P256: [u8; 21] = [
            0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48,
            0xce, 0x3d, 0x03, 0x01, 0x07,
        ];
        const P384: [u8; 18] = [
            0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b, 0x81, 0x04,
            0x00, 0x22,
        ];
        const ED25519: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
        const RSA: [u8; 15] =
            [0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];
        match self {
            PublicKey::Es256(point) => info(&P256, point),
            PublicKey::Es384(point) => info(&P384, point),
            PublicKey::EdDsa(key) => info(&ED25519, key),
            PublicKey::Rs256 { modulus, exponent } => {
                let numbers = [der_unsigned(modulus), der_unsigned(exponent)].concat();
                info(&RSA, &der(0x30, &numbers))
            }
        }
    }
}

fn info(algorithm: &[u8], key: &[u8]) -> Vec<u8> {
    let bits = der(0x03, &[&[0], key].concat());
    der(0x30, &[algorithm, &bits].concat())
}

/// An INTEGER that is not negative.
fn der_unsigned(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number.first().is_some_and(|first| first & 0x80 != 0) { &[0] } else { &[] };
    der(0x02, &[sign, number].concat())
}

fn der(tag: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).expect("a public key is short").to_be_bytes();
    let head = match (high, low) {
        (0, 0..=0x7f) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    [&head, content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cose;
    use crate::testing::Seeded;

    /// A fresh RSA key, as an enclave's edge makes one.
    fn rsa() -> RsaKey {
        use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        RsaKey::from_pkcs8(SecretVec::new(der.as_ref().to_vec()))
    }

    fn one_of_each(seed: u64) -> [CredentialKey; 4] {
        let random = &mut Seeded::new(seed);
        [
            CredentialKey::es256(random),
            CredentialKey::ed_dsa(random),
            CredentialKey::es384(random),
            CredentialKey::rs256(rsa()).unwrap(),
        ]
    }

    #[test]
    fn each_algorithm_signs_for_its_own_key_and_message_alone() {
        let others = one_of_each(2);
        for (key, other) in one_of_each(1).into_iter().zip(others) {
            let (public, mut signature) = (key.public(), key.sign(b"message"));
            assert!(public.verify(b"message", &signature), "{:?}", key.algorithm());
            assert!(!public.verify(b"massage", &signature), "{:?}", key.algorithm());
            assert!(!other.public().verify(b"message", &signature), "{:?}", key.algorithm());
            let middle = signature.len() / 2;
            signature[middle] ^= 1;
            assert!(!public.verify(b"message", &signature), "{:?}", key.algorithm());
        }
    }

    #[test]
    fn a_key_comes_back_from_what_is_stored_and_not_with_another_half() {
        let others = one_of_each(2);
        for (key, other) in one_of_each(1).into_iter().zip(others) {
            let (algorithm, public) = (key.algorithm(), key.public());
            let again = CredentialKey::load(algorithm, key.private(), &public.to_stored()).unwrap();
            assert!(public.verify(b"m", &again.sign(b"m")));
            assert_eq!(again.public(), public);
            let foreign = other.public().to_stored();
            assert!(CredentialKey::load(algorithm, key.private(), &foreign).is_err(), "{algorithm:?}");
            assert!(CredentialKey::load(algorithm, &key.private()[1..], &public.to_stored()).is_err());
            assert!(CredentialKey::load(algorithm, key.private(), &[]).is_err());
        }
    }

    #[test]
    fn every_algorithm_has_its_cose_number_and_no_other_is_known() {
        for algorithm in Algorithm::ALL {
            assert_eq!(Algorithm::of_cose(algorithm.cose()), Some(algorithm));
        }
        assert_eq!(Algorithm::ALL.map(Algorithm::cose), [-7, -8, -35, -257]);
        for unknown in [0, 7, -36, -37, -9, -53, -65_535, i64::MIN] {
            assert_eq!(Algorithm::of_cose(unknown), None);
        }
    }

    #[test]
    fn scalars_of_p384_out_of_range_are_refused() {
        let load = |scalar: [u8; 48]| es384(P384Scalar::from_bytes(scalar), None);
        assert!(load([0; 48]).is_err());
        assert!(load(P384_ORDER).is_err());
        assert!(load([0xff; 48]).is_err());
        let mut last = P384_ORDER;
        last[47] -= 1;
        assert!(load(last).is_ok());
    }

    #[test]
    fn what_is_no_rsa_key_of_2048_bits_is_refused() {
        for bad in [Vec::new(), vec![0x30, 0x00], vec![7; 1200]] {
            assert!(CredentialKey::rs256(RsaKey::from_pkcs8(SecretVec::new(bad))).is_err());
        }
        use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
        let pair = RsaKeyPair::generate(aws_lc_rs::rsa::KeySize::Rsa3072).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let long = RsaKey::from_pkcs8(SecretVec::new(der.as_ref().to_vec()));
        assert!(CredentialKey::rs256(long).is_err());
    }

    #[test]
    fn subject_public_key_infos_are_those_that_aws_lc_reads() {
        for key in one_of_each(3) {
            let (spki, message) = (key.public().to_spki(), b"m".as_slice());
            let signature = key.sign(message);
            let algorithm: &'static dyn aws_lc_rs::signature::VerificationAlgorithm = match key.algorithm() {
                Algorithm::Es256 => &aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1,
                Algorithm::EdDsa => &aws_lc_rs::signature::ED25519,
                Algorithm::Es384 => &ECDSA_P384_SHA384_ASN1,
                Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
            };
            let parsed = ParsedPublicKey::new(algorithm, &spki).unwrap();
            assert!(parsed.verify_sig(message, &signature).is_ok(), "{:?}", key.algorithm());
        }
    }

    #[test]
    fn debug_of_keys_shows_their_name_alone() {
        assert_eq!(format!("{:?}", CredentialKey::ed_dsa(&mut Seeded::new(1))), "CredentialKey");
        assert_eq!(format!("{:?}", RsaKey::from_pkcs8(SecretVec::new(vec![1, 2, 3]))), "RsaKey");
    }

    #[test]
    fn cose_keys_come_back_and_any_other_encoding_is_refused() {
        for key in one_of_each(4) {
            let public = key.public();
            let bytes = cose::public_key(&public);
            assert_eq!(cose::parse_public_key(&bytes), Ok(public));
            assert!(cose::parse_public_key(&bytes[..bytes.len() - 1]).is_err());
            assert!(cose::parse_public_key(&[bytes.as_slice(), &[0]].concat()).is_err());
            // Head, parameters and lengths: each byte that is not a coordinate is fixed.
            for at in [0, 1, 2, 3, 4] {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                assert!(cose::parse_public_key(&bad).is_err(), "{:?} {at}", key.algorithm());
            }
        }
    }
}
