//! snow's primitives from aws-lc-rs. Randomness is what the caller drew beforehand: one ephemeral scalar.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    agreement::{self, PrivateKey, UnparsedPublicKey},
    digest, hmac,
};
use snow::{
    Error,
    params::{CipherChoice, DHChoice, HashChoice},
    resolvers::CryptoResolver,
    types::{Cipher, Dh, Hash, Random},
};
use std::cell::Cell;

use crate::{random::Once, sign::P256Scalar};

const TAG: usize = 16;

/// Serves one handshake: its ephemeral key can be drawn once.
pub(super) struct Resolver(Cell<Option<Once<32>>>);

impl Resolver {
    pub(super) fn new(ephemeral: &P256Scalar) -> Self {
        Self(Cell::new(Some(Once::new(*ephemeral.expose()))))
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Ephemeral(self.0.take()?)))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        match choice {
            DHChoice::P256 => Some(Box::new(AwsDh::new("P256", &agreement::ECDH_P256, 65))),
            // Only so that the public vectors, which are for 25519, can exercise cipher and hash.
            #[cfg(test)]
            DHChoice::Curve25519 => Some(Box::new(AwsDh::new("25519", &agreement::X25519, 32))),
            _ => None,
        }
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        match choice {
            HashChoice::SHA256 => Some(Box::new(Sha256::new())),
            _ => None,
        }
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        match choice {
            CipherChoice::AESGCM => Some(Box::new(AesGcm(None))),
            _ => None,
        }
    }
}

struct Ephemeral(Once<32>);

impl Random for Ephemeral {
    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Error> {
        if self.0.take(out) { Ok(()) } else { Err(Error::Rng) }
    }
}

/// ECDH; the private half stays inside aws-lc, which wipes it.
struct AwsDh {
    name: &'static str,
    algorithm: &'static agreement::Algorithm,
    private: Option<PrivateKey>,
    public: Vec<u8>,
}

impl AwsDh {
    fn new(name: &'static str, algorithm: &'static agreement::Algorithm, public_len: usize) -> Self {
        Self { name, algorithm, private: None, public: vec![0; public_len] }
    }

    fn load(&mut self, scalar: &[u8]) -> Result<(), Error> {
        self.private = None;
        let private = PrivateKey::from_private_key(self.algorithm, scalar).map_err(|_| Error::Dh)?;
        let public = private.compute_public_key().map_err(|_| Error::Dh)?;
        self.public = public.as_ref().to_vec();
        self.private = Some(private);
        Ok(())
    }
}

impl Dh for AwsDh {
    fn name(&self) -> &'static str {
        self.name
    }

    fn pub_len(&self) -> usize {
        self.public.len()
    }

    fn priv_len(&self) -> usize {
        32
    }

    /// A key that does not load leaves none behind, and [`Dh::dh`] then fails.
    fn set(&mut self, scalar: &[u8]) {
        let _ = self.load(scalar);
    }

    fn generate(&mut self, random: &mut dyn Random) -> Result<(), Error> {
        let mut scalar = zeroize::Zeroizing::new([0; 32]);
        random.try_fill_bytes(scalar.as_mut())?;
        self.load(scalar.as_ref())
    }

    fn pubkey(&self) -> &[u8] {
        &self.public
    }

    /// Not handed out: snow asks for it in `generate_keypair` alone, which we do not use.
    fn privkey(&self) -> &[u8] {
        &[]
    }

    /// Refuses points that are not on the curve (invalid-curve attack) and forms other than the fixed-length one.
    fn dh(&self, public: &[u8], out: &mut [u8]) -> Result<(), Error> {
        let private = self.private.as_ref().ok_or(Error::Dh)?;
        let public = public.get(..self.pub_len()).ok_or(Error::Dh)?;
        if self.pub_len() == 65 && public.first() != Some(&4) {
            return Err(Error::Dh);
        }
        agreement::agree(private, UnparsedPublicKey::new(self.algorithm, public), Error::Dh, |secret| {
            out.get_mut(..secret.len()).ok_or(Error::Dh)?.copy_from_slice(secret);
            Ok(())
        })
    }

    fn dh_len(&self) -> usize {
        32
    }
}

struct AesGcm(Option<LessSafeKey>);

/// Noise, section 12.4: four zero bytes, then the counter, big-endian.
fn nonce(counter: u64) -> Nonce {
    Nonce::assume_unique_for_key(crate::hash::array(&[&[0; 4], counter.to_be_bytes().as_slice()].concat()))
}

impl Cipher for AesGcm {
    fn name(&self) -> &'static str {
        "AESGCM"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes")));
    }

    fn encrypt(&self, counter: u64, aad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let key = self.0.as_ref().expect("snow sets the key first");
        let (text, rest) = out.split_at_mut_checked(plaintext.len()).expect("snow checks the room");
        text.copy_from_slice(plaintext);
        let tag = key
            .seal_in_place_separate_tag(nonce(counter), Aad::from(aad), text)
            .expect("a Noise message is shorter than 64 KiB");
        rest.get_mut(..TAG).expect("snow checks the room").copy_from_slice(tag.as_ref());
        plaintext.len() + TAG
    }

    fn decrypt(&self, counter: u64, aad: &[u8], sealed: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        let (text, tag) = sealed.split_last_chunk::<TAG>().ok_or(Error::Decrypt)?;
        let out = out.get_mut(..text.len()).ok_or(Error::Decrypt)?;
        key.open_separate_gather(nonce(counter), Aad::from(aad), text, tag, out)
            .map_err(|_| Error::Decrypt)?;
        Ok(text.len())
    }
}

struct Sha256(digest::Context);

impl Sha256 {
    fn new() -> Self {
        Self(digest::Context::new(&digest::SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let done = std::mem::replace(self, Self::new());
        put(done.0.finish().as_ref(), out);
    }

    fn hmac(&mut self, key: &[u8], data: &[u8], out: &mut [u8]) {
        put(hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data).as_ref(), out);
    }
}

/// snow's buffers have room for the longest hash that Noise knows.
fn put(hash: &[u8], out: &mut [u8]) {
    out.get_mut(..hash.len()).expect("snow's buffers hold 64 bytes").copy_from_slice(hash);
}
