//! Verifier keys and their text form, the "vkey" (c2sp.org/signed-note): `name+key id+base64(type || key)`.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::hash::sha256;

/// What a key signs; the byte is the signature type of c2sp.org/signed-note.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyAlg {
    /// 0x01: Ed25519 over the note text, the key of a log.
    Ed25519,
    /// 0x04: Ed25519 over time and note text, the key of a witness (c2sp.org/tlog-cosignature).
    CosignatureV1,
}

/// Why a text is no verifier key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not three parts in their one spelling, or an unknown type, or a key that is not 32 bytes.
    #[error("the verifier key is malformed or of an unknown type")]
    Malformed,
    /// Empty, or with a space, a plus or a control character.
    #[error("the key name is not one that a note can carry")]
    Name,
    /// The id does not follow from name, type and key.
    #[error("the key id does not belong to the key")]
    KeyId,
}

/// A public key that a note or cosignature is checked with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerifierKey {
    name: String,
    key_id: u32,
    alg: KeyAlg,
    public: [u8; 32],
}

impl KeyAlg {
    fn byte(self) -> u8 {
        match self {
            KeyAlg::Ed25519 => 0x01,
            KeyAlg::CosignatureV1 => 0x04,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [KeyAlg::Ed25519, KeyAlg::CosignatureV1].into_iter().find(|alg| alg.byte() == byte)
    }
}

impl VerifierKey {
    /// A key under a name; the id follows from both.
    pub fn new(name: &str, alg: KeyAlg, public: [u8; 32]) -> Result<Self, KeyError> {
        if !is_key_name(name) {
            return Err(KeyError::Name);
        }
        Ok(Self { name: name.to_owned(), key_id: key_id(name, alg, &public), alg, public })
    }

    /// The key of a log.
    pub fn ed25519(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, KeyAlg::Ed25519, public)
    }

    /// The key of a witness.
    pub fn cosignature_v1(name: &str, public: [u8; 32]) -> Result<Self, KeyError> {
        Self::new(name, KeyAlg::CosignatureV1, public)
    }

    /// Reads a vkey; every spelling but that of `Display` is refused.
    pub fn parse(vkey: &str) -> Result<Self, KeyError> {
        let mut parts = vkey.splitn(3, '+');
        let (Some(name), Some(id), Some(base64)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Malformed);
        };
        let typed = STANDARD.decode(base64).map_err(|_| KeyError::Malformed)?;
        let (alg, public) = typed.split_first().ok_or(KeyError::Malformed)?;
        let alg = KeyAlg::from_byte(*alg).ok_or(KeyError::Malformed)?;
        let key = Self::new(name, alg, public.try_into().map_err(|_| KeyError::Malformed)?)?;
        if format!("{:08x}", key.key_id) == id { Ok(key) } else { Err(KeyError::KeyId) }
    }

    /// Name of the key, which for a log is its origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of SHA-256(name || 0x0A || type || key), big-endian.
    pub fn key_id(&self) -> u32 {
        self.key_id
    }

    /// What the key signs.
    pub fn alg(&self) -> KeyAlg {
        self.alg
    }

    /// The Ed25519 public key (RFC 8032).
    pub fn public(&self) -> &[u8; 32] {
        &self.public
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let typed = [&[self.alg.byte()], self.public.as_slice()].concat();
        write!(f, "{}+{:08x}+{}", self.name, self.key_id, STANDARD.encode(typed))
    }
}

/// Key id of c2sp.org/signed-note.
pub(crate) fn key_id(name: &str, alg: KeyAlg, public: &[u8; 32]) -> u32 {
    let hash = sha256(&[name.as_bytes(), b"\n", &[alg.byte()], public].concat());
    let [a, b, c, d, ..] = hash;
    u32::from_be_bytes([a, b, c, d])
}

/// Key names are not empty and have no Unicode space, plus or control character (c2sp.org/signed-note).
pub(crate) fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.chars().any(|c| c.is_whitespace() || c == '+' || u32::from(c) < 0x20)
}
