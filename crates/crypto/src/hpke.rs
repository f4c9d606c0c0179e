//! HPKE (RFC 9180, base mode): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
//!
//! Leaves a secret for a party that is not online: a new epoch's SDS for each member. Base mode proves nothing
//! about the sender; what is received this way is compared with a hash in the record.

use ::hpke::{
    Deserializable, Kem, OpModeR, OpModeS, Serializable, aead::AesGcm256, kdf::HkdfSha256,
    kem::X25519HkdfSha256,
};
use std::fmt;

use crate::{
    hash,
    label::Label,
    random::{Random, RngAdapter},
    seal::SealError,
    secret::SecretVec,
};

type Private = <X25519HkdfSha256 as Kem>::PrivateKey;
type Public = <X25519HkdfSha256 as Kem>::PublicKey;
type Encapped = <X25519HkdfSha256 as Kem>::EncappedKey;

/// What a boxed text is longer than its plaintext: encapsulated key and tag.
pub const OVERHEAD: usize = 32 + 16;

crate::secret! {
    /// The private half of a [`BoxKey`].
    pub struct BoxSecret(32);
}

/// An X25519 key pair that opens what was sealed to it. Members' M_priv is one.
pub struct BoxKey {
    secret: BoxSecret,
    public: [u8; 32],
}

impl BoxKey {
    /// Makes a fresh key pair.
    pub fn generate(random: &mut dyn Random) -> Self {
        Self::new(BoxSecret::random(random))
    }

    /// Loads a key pair; any 32 bytes are one (RFC 7748 clamps them).
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        Self::new(BoxSecret::make(|cell| *cell = *bytes))
    }

    fn new(secret: BoxSecret) -> Self {
        let private = Private::from_bytes(secret.expose()).expect("any 32 bytes are a key");
        let public = X25519HkdfSha256::sk_to_pk(&private).to_bytes().into();
        Self { secret, public }
    }

    /// The private half: goes into a wrap and nowhere else.
    pub fn secret(&self) -> &BoxSecret {
        &self.secret
    }

    /// The public half.
    pub fn public(&self) -> [u8; 32] {
        self.public
    }

    /// Opens what [`seal_to`] made for this key with the same label and `aad`.
    pub fn open(&self, label: Label, aad: &[&[u8]], boxed: &[u8]) -> Result<SecretVec, SealError> {
        let (encapped, ciphertext) = boxed.split_first_chunk::<32>().ok_or(SealError)?;
        let private = Private::from_bytes(self.secret.expose()).map_err(|_| SealError)?;
        let encapped = Encapped::from_bytes(encapped).map_err(|_| SealError)?;
        ::hpke::single_shot_open::<AesGcm256, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &private,
            &encapped,
            label.as_bytes(),
            ciphertext,
            &hash::frame(label, aad),
        )
        .map(SecretVec::new)
        .map_err(|_| SealError)
    }
}

impl fmt::Debug for BoxKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxKey")
    }
}

/// Seals `plaintext` to `public`: encapsulated key (32) || ciphertext || tag. Fails only for a public key that is
/// a point of small order.
pub fn seal_to(
    public: &[u8; 32],
    label: Label,
    aad: &[&[u8]],
    plaintext: &[u8],
    random: &mut dyn Random,
) -> Result<Vec<u8>, SealError> {
    let public = Public::from_bytes(public).map_err(|_| SealError)?;
    let (encapped, ciphertext) = ::hpke::single_shot_seal::<AesGcm256, HkdfSha256, X25519HkdfSha256, _>(
        &OpModeS::Base,
        &public,
        label.as_bytes(),
        plaintext,
        &hash::frame(label, aad),
        &mut RngAdapter(random),
    )
    .map_err(|_| SealError)?;
    Ok([encapped.to_bytes().as_slice(), &ciphertext].concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Seeded, hex};

    fn boxed(key: &BoxKey) -> Vec<u8> {
        seal_to(&key.public(), Label::MemberWrap, &[b"m", b"1"], b"secret", &mut Seeded::new(9)).unwrap()
    }

    #[test]
    fn what_was_boxed_opens() {
        let key = BoxKey::generate(&mut Seeded::new(1));
        assert_eq!(boxed(&key).len(), b"secret".len() + OVERHEAD);
        assert_eq!(key.open(Label::MemberWrap, &[b"m", b"1"], &boxed(&key)).unwrap().expose(), b"secret");
        let again = BoxKey::from_bytes(key.secret().expose());
        assert_eq!(again.public(), key.public());
    }

    #[test]
    fn wrong_key_label_or_aad_is_refused() {
        let key = BoxKey::generate(&mut Seeded::new(1));
        let other = BoxKey::generate(&mut Seeded::new(2));
        let text = boxed(&key);
        assert!(other.open(Label::MemberWrap, &[b"m", b"1"], &text).is_err());
        assert!(key.open(Label::DeviceBox, &[b"m", b"1"], &text).is_err());
        assert!(key.open(Label::MemberWrap, &[b"m1"], &text).is_err());
        assert!(key.open(Label::MemberWrap, &[b"m", b"1"], &text[..40]).is_err());
        assert!(key.open(Label::MemberWrap, &[b"m", b"1"], &[]).is_err());
    }

    #[test]
    fn every_bit_flip_is_refused() {
        let key = BoxKey::generate(&mut Seeded::new(1));
        let good = boxed(&key);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            // RFC 7748 ignores the top bit of a point, but HPKE hashes the bytes as they came.
            assert!(key.open(Label::MemberWrap, &[b"m", b"1"], &bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn points_of_small_order_are_refused() {
        assert!(seal_to(&[0; 32], Label::MemberWrap, &[], b"x", &mut Seeded::new(1)).is_err());
    }

    // Written out from RFC 9180 in Python (`cryptography` X25519 and AES-GCM), ephemeral key [7; 32].
    const FIXED: &str = concat!(
        "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d81a17cf14601400ba84b84ebe64b1344",
        "13b243d5ad03",
    );

    #[test]
    fn the_bytes_are_those_of_another_implementation() {
        let key = BoxKey::from_bytes(&std::array::from_fn(|i| u8::try_from(i + 1).unwrap()));
        let public = hex("07a37cbc142093c8b755dc1b10e86cb426374ad16aa853ed0bdfc0b2b86d1c7c");
        assert_eq!(key.public().to_vec(), public);
        assert_eq!(key.open(Label::MemberWrap, &[b"m", b"1"], &hex(FIXED)).unwrap().expose(), b"secret");
    }

    #[test]
    fn debug_shows_the_name_alone() {
        assert_eq!(format!("{:?}", BoxKey::generate(&mut Seeded::new(1))), "BoxKey");
    }
}
