//! HPKE (RFC 9180, base mode): DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
//!
//! Leaves a secret for a party that is not online: a new epoch's SDS for each member. Base mode proves nothing
//! about the sender; what is received this way is compared with a hash in the record.
//!
//! Written out over aws-lc, since each key here seals one message: no context, no exporter, no other mode. Every
//! HKDF output is one block of SHA-256, so that extract and expand are one HMAC each.

use aws_lc_rs::{
    agreement::{self, PrivateKey, UnparsedPublicKey, X25519},
    hmac,
};
use std::fmt;
use zeroize::Zeroizing;

use crate::{
    hash::{self, array},
    label::Label,
    random::Random,
    seal::{self, SealError},
    secret::SecretVec,
};

/// What a boxed text is longer than its plaintext: encapsulated key and tag.
pub const OVERHEAD: usize = 32 + 16;

crate::secret! {
    /// The private half of a [`BoxKey`].
    pub struct BoxSecret(32);
}

/// An X25519 key pair that opens what was sealed to it. Members' M_priv is one.
pub struct BoxKey {
    secret: BoxSecret,
    private: PrivateKey,
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
        let private = PrivateKey::from_private_key(&X25519, secret.expose()).expect("any 32 bytes are a key");
        let public = private.compute_public_key().expect("a private key has a public one");
        let public = array(public.as_ref());
        Self { secret, private, public }
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
        let (encapped, body) = boxed.split_first_chunk::<32>().ok_or(SealError)?;
        let once = self.agree(encapped, encapped, &self.public, label.as_bytes())?;
        seal::open_under(&once.key, once.nonce, &hash::frame(label, aad), body)
    }

    /// The key and nonce of one message: of the shared secret with `peer`, an encapsulated key, the public key to
    /// which it was sealed, and the info. Fails for a peer of small order (RFC 9180, 7.1.4).
    fn agree(
        &self,
        peer: &[u8; 32],
        encapped: &[u8; 32],
        to: &[u8; 32],
        info: &[u8],
    ) -> Result<MessageKey, SealError> {
        agreement::agree(&self.private, UnparsedPublicKey::new(&X25519, peer), SealError, |dh| {
            Ok(MessageKey::schedule(&shared_secret(dh, encapped, to), info))
        })
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
    let ephemeral = BoxKey::generate(random);
    seal_from(&ephemeral, public, label.as_bytes(), &hash::frame(label, aad), plaintext)
}

/// The same with the ephemeral key, which must never seal again, and with info and associated data as they are.
fn seal_from(
    ephemeral: &BoxKey,
    public: &[u8; 32],
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>, SealError> {
    let encapped = ephemeral.public();
    let once = ephemeral.agree(public, &encapped, public, info)?;
    let mut out = Vec::with_capacity(plaintext.len() + OVERHEAD);
    out.extend_from_slice(&encapped);
    seal::seal_under(&once.key, once.nonce, aad, plaintext, &mut out);
    Ok(out)
}

/// "KEM" with the number of DHKEM(X25519, HKDF-SHA256).
const KEM: &[u8] = b"KEM\x00\x20";
/// "HPKE" with the numbers of that KEM, HKDF-SHA256 and AES-256-GCM.
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x02";
const MODE_BASE: &[u8] = &[0];

type Block = Zeroizing<[u8; 32]>;

/// ExtractAndExpand of RFC 9180, 4.1.
fn shared_secret(dh: &[u8], encapped: &[u8; 32], to: &[u8; 32]) -> Block {
    let key = extract(&[], KEM, b"eae_prk", dh);
    expand(&key, KEM, b"shared_secret", &[encapped, to], 32)
}

/// Key and nonce of the first and only message of a context.
struct MessageKey {
    key: Block,
    nonce: [u8; 12],
}

impl MessageKey {
    /// KeySchedule of RFC 9180, 5.1, without a pre-shared key.
    fn schedule(shared: &Block, info: &[u8]) -> Self {
        let psk_id = extract(&[], SUITE, b"psk_id_hash", &[]);
        let info = extract(&[], SUITE, b"info_hash", info);
        let context: [&[u8]; 3] = [MODE_BASE, psk_id.as_ref(), info.as_ref()];
        let secret = extract(shared.as_ref(), SUITE, b"secret", &[]);
        let key = expand(&secret, SUITE, b"key", &context, 32);
        let nonce = expand(&secret, SUITE, b"base_nonce", &context, 12);
        Self { key, nonce: array(nonce.split_at(12).0) }
    }
}

/// LabeledExtract of RFC 9180, 4.
fn extract(salt: &[u8], suite: &[u8], label: &[u8], ikm: &[u8]) -> Block {
    block(salt, &[b"HPKE-v1", suite, label, ikm])
}

/// LabeledExpand of RFC 9180, 4: the block of which the first `len` bytes (at most 32) are the output.
fn expand(key: &Block, suite: &[u8], label: &[u8], info: &[&[u8]], len: u8) -> Block {
    let head: [&[u8]; 4] = [&[0, len], b"HPKE-v1", suite, label];
    block(key.as_ref(), &[&head, info, &[[1].as_slice()]].concat())
}

/// HMAC-SHA256 over the plain concatenation of `parts`.
fn block(key: &[u8], parts: &[&[u8]]) -> Block {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, key));
    parts.iter().for_each(|part| context.update(part));
    Zeroizing::new(array(context.sign().as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Script, Seeded, hex};

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
        let key = BoxKey::generate(&mut Seeded::new(1));
        assert!(key.open(Label::MemberWrap, &[], &[0; OVERHEAD]).is_err());
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
        let aad: [&[u8]; 2] = [b"m", b"1"];
        let again = seal_to(&key.public(), Label::MemberWrap, &aad, b"secret", &mut Script(vec![7; 32]));
        assert_eq!(again.unwrap(), hex(FIXED));
    }

    // github.com/cfrg/draft-irtf-cfrg-hpke, test-vectors.json: mode 0, KEM 32, KDF 1, AEAD 2, first message.
    #[test]
    fn the_published_vector_of_this_suite_holds() {
        let key = |text: &str| BoxKey::from_bytes(&hex(text).try_into().unwrap());
        let receiver = key("497b4502664cfea5d5af0b39934dac72242a74f8480451e1aee7d6a53320333d");
        let ephemeral = key("179d4b53b6365c45b600c4163b61d95cbc2f4d9e36f1695558dce265ab8bab11");
        let public = hex("430f4b9859665145a6b1ba274024487bd66f03a2dd577d7753c68d7d7d00c00c");
        let encapped = hex("6c93e09869df3402d7bf231bf540fadd35cd56be14f97178f0954db94b7fc256");
        assert_eq!((receiver.public().to_vec(), ephemeral.public().to_vec()), (public, encapped.clone()));
        let info = b"Ode on a Grecian Urn";
        let once =
            receiver.agree(&ephemeral.public(), &ephemeral.public(), &receiver.public(), info).unwrap();
        let expected = hex("f50b0609186798729ed0564b36ef2ef8044f1f9d05636874d1f46c819c7a669f");
        assert_eq!((once.key.to_vec(), once.nonce.to_vec()), (expected, hex("151d9929e2449747889bc923")));
        let text = b"Beauty is truth, truth beauty";
        let sealed = seal_from(&ephemeral, &receiver.public(), info, b"Count-0", text).unwrap();
        let ciphertext = hex(concat!(
            "e5d84cd531cfb583096e7cfa9641bd3079cf3a91cda813c52deb5f512be99319",
            "80a41de125a925cdad859d5b7a",
        ));
        assert_eq!(sealed, [encapped, ciphertext].concat());
    }

    #[test]
    fn debug_shows_the_name_alone() {
        assert_eq!(format!("{:?}", BoxKey::generate(&mut Seeded::new(1))), "BoxKey");
    }
}
