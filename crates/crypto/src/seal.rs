//! Sealing: authenticated encryption under a key that is used once.
//!
//! Format: version byte 1 || 16-byte salt || AES-256-GCM ciphertext || 16-byte tag. The AEAD key is
//! HKDF(key, label, salt) and the nonce is zero. Each seal draws a fresh salt, so each AEAD key encrypts one
//! message and there is no counter to keep: a crash, a fork or a restored disk cannot repeat a (key, nonce) pair,
//! and two equal salts of 128 bits do not happen. Associated data is the framed label and `aad`.
//!
//! Absent: negotiation. Another version byte is refused like any other damage.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use crate::{hash, kdf, label::Label, secret::SecretVec};

/// What a sealed text is longer than its plaintext.
pub const OVERHEAD: usize = 1 + SALT + TAG;
const VERSION: u8 = 1;
const SALT: usize = 16;
const TAG: usize = 16;

/// It does not open: damaged, another key, another label or other associated data. Which, is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("sealed data does not open")]
pub struct SealError;

/// Seals `plaintext` under `key` for the purpose `label`. `salt` must be freshly drawn for every call.
pub fn seal(key: &[u8; 32], label: Label, aad: &[&[u8]], plaintext: &[u8], salt: [u8; 16]) -> Vec<u8> {
    seal_text(key, label, aad, salt, plaintext.len(), |out| out.extend_from_slice(plaintext))
}

/// Opens what [`seal`] made with the same key, label and `aad`.
pub fn open(key: &[u8; 32], label: Label, aad: &[&[u8]], sealed: &[u8]) -> Result<SecretVec, SealError> {
    let (&version, rest) = sealed.split_first().ok_or(SealError)?;
    let (salt, body) = rest.split_first_chunk::<SALT>().ok_or(SealError)?;
    if version != VERSION {
        return Err(SealError);
    }
    with_message_key(key, label, salt, |key| open_once(key, label, aad, body))
}

/// As [`seal`], with the plaintext padded to a multiple of `multiple` so that its length hides ([`pad`]).
pub fn seal_padded(
    key: &[u8; 32],
    label: Label,
    aad: &[&[u8]],
    plaintext: &[u8],
    salt: [u8; 16],
    multiple: usize,
) -> Vec<u8> {
    let len = padded_len(plaintext.len(), multiple);
    seal_text(key, label, aad, salt, len, |out| pad_onto(plaintext, multiple, out))
}

/// Seals the `len` bytes that `write` appends, where they are: there is no copy to wipe.
fn seal_text(
    key: &[u8; 32],
    label: Label,
    aad: &[&[u8]],
    salt: [u8; 16],
    len: usize,
    write: impl FnOnce(&mut Vec<u8>),
) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + OVERHEAD);
    out.push(VERSION);
    out.extend_from_slice(&salt);
    let start = out.len();
    write(&mut out);
    with_message_key(key, label, &salt, |key| {
        seal_tail(key, [0; 12], &hash::frame(label, aad), &mut out, start);
    });
    out
}

/// Opens what [`seal_padded`] made.
pub fn open_padded(
    key: &[u8; 32],
    label: Label,
    aad: &[&[u8]],
    sealed: &[u8],
) -> Result<SecretVec, SealError> {
    let mut padded = open(key, label, aad, sealed)?;
    let len = unpad(padded.expose()).ok_or(SealError)?.len();
    padded.truncate(len);
    Ok(padded)
}

/// ISO/IEC 7816-4 padding: 0x80, then zeros up to the next multiple of `multiple` (0 counts as 1). Always adds at
/// least one byte.
pub fn pad(plaintext: &[u8], multiple: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(padded_len(plaintext.len(), multiple));
    pad_onto(plaintext, multiple, &mut out);
    out
}

fn padded_len(len: usize, multiple: usize) -> usize {
    (len + 1).next_multiple_of(multiple.max(1))
}

fn pad_onto(plaintext: &[u8], multiple: usize, out: &mut Vec<u8>) {
    let end = out.len() + padded_len(plaintext.len(), multiple);
    out.extend_from_slice(plaintext);
    out.push(0x80);
    out.resize(end, 0);
}

/// The text before the padding, or nothing if there is no padding. Only for authenticated bytes: its time depends
/// on the length of the padding.
pub fn unpad(padded: &[u8]) -> Option<&[u8]> {
    let end = padded.iter().rposition(|&byte| byte != 0)?;
    let (text, padding) = padded.split_at_checked(end)?;
    (padding.first() == Some(&0x80)).then_some(text)
}

/// Pads a request or a reply to a multiple of 256 bytes (section 4 of the design).
pub fn pad256(plaintext: &[u8]) -> Vec<u8> {
    pad(plaintext, 256)
}

/// Lends the key of one message, which is wiped where it was made.
fn with_message_key<T>(
    key: &[u8; 32],
    label: Label,
    salt: &[u8; SALT],
    work: impl FnOnce(&[u8; 32]) -> T,
) -> T {
    let mut own = [0; 32];
    kdf::derive_into(key, label, &[salt], &mut own);
    let done = work(&own);
    own.as_mut_slice().zeroize();
    done
}

/// AES-256-GCM with the zero nonce, appended to `out`: `key` must never seal another message.
pub(crate) fn seal_once(key: &[u8; 32], label: Label, aad: &[&[u8]], plaintext: &[u8], out: &mut Vec<u8>) {
    seal_under(key, [0; 12], &hash::frame(label, aad), plaintext, out);
}

/// Opens what [`seal_once`] made: ciphertext || tag.
pub(crate) fn open_once(
    key: &[u8; 32],
    label: Label,
    aad: &[&[u8]],
    body: &[u8],
) -> Result<SecretVec, SealError> {
    open_under(key, [0; 12], &hash::frame(label, aad), body)
}

/// AES-256-GCM, appended to `out`: `key` must never seal another message under this nonce.
pub(crate) fn seal_under(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], plaintext: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(plaintext);
    seal_tail(key, nonce, aad, out, start);
}

/// Encrypts what stands in `out` from `start` on, and appends the tag.
fn seal_tail(key: &[u8; 32], nonce: [u8; 12], aad: &[u8], out: &mut Vec<u8>, start: usize) {
    let text = out.get_mut(start..).expect("the text was just appended");
    let tag = aead(key)
        .seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), text)
        .expect("the message is shorter than 64 GiB");
    out.extend_from_slice(tag.as_ref());
}

/// Opens what [`seal_under`] made.
pub(crate) fn open_under(
    key: &[u8; 32],
    nonce: [u8; 12],
    aad: &[u8],
    body: &[u8],
) -> Result<SecretVec, SealError> {
    // A copy that opens in place takes less time than a buffer of zeros, which comes from `calloc`.
    let mut opened = SecretVec::new(body.to_vec());
    let len = aead(key)
        .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(aad), opened.expose_mut())
        .map_err(|_| SealError)?
        .len();
    opened.truncate(len);
    Ok(opened)
}

fn aead(key: &[u8; 32]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("the key has 32 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hex, vectors};

    const KEY: [u8; 32] = [3; 32];
    const AAD: &[&[u8]] = &[b"account", b"7"];

    fn sealed() -> Vec<u8> {
        seal(&KEY, Label::PasskeyBlob, AAD, b"plaintext", [9; 16])
    }

    #[test]
    fn what_was_sealed_opens() {
        assert_eq!(sealed().len(), b"plaintext".len() + OVERHEAD);
        assert_eq!(open(&KEY, Label::PasskeyBlob, AAD, &sealed()).unwrap().expose(), b"plaintext");
        let empty = seal(&KEY, Label::PasskeyBlob, AAD, b"", [9; 16]);
        assert!(open(&KEY, Label::PasskeyBlob, AAD, &empty).unwrap().is_empty());
    }

    #[test]
    fn the_bytes_are_fixed() {
        // Kept for ever: rows of today must open tomorrow. Computed by another implementation (see below).
        let expected = hex(FIXED);
        assert_eq!(sealed(), expected);
    }

    // Python `cryptography`: HKDF(SHA256, salt=None, info=frame(label, salt)), AESGCM(key).encrypt(bytes(12), ..).
    const FIXED: &str =
        "010909090909090909090909090909090904e5772644d070d55b812d17b67372dfc75e1cba1f320ef659";

    #[test]
    fn every_bit_flip_is_refused() {
        let good = sealed();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(&KEY, Label::PasskeyBlob, AAD, &bad).unwrap_err(), SealError, "bit {bit}");
        }
    }

    #[test]
    fn every_truncation_and_any_extension_is_refused() {
        let good = sealed();
        for len in 0..good.len() {
            assert!(open(&KEY, Label::PasskeyBlob, AAD, &good[..len]).is_err(), "{len}");
        }
        assert!(open(&KEY, Label::PasskeyBlob, AAD, &[good.as_slice(), &[0]].concat()).is_err());
    }

    #[test]
    fn swapped_or_shifted_aad_is_refused() {
        let good = sealed();
        let others: [&[&[u8]]; 5] =
            [&[b"7", b"account"], &[b"account7"], &[b"accoun", b"t7"], &[b"account"], &[]];
        for aad in others {
            assert!(open(&KEY, Label::PasskeyBlob, aad, &good).is_err(), "{aad:?}");
        }
    }

    #[test]
    fn wrong_label_and_wrong_key_are_refused() {
        assert!(open(&KEY, Label::Passkey, AAD, &sealed()).is_err());
        assert!(open(&[4; 32], Label::PasskeyBlob, AAD, &sealed()).is_err());
    }

    #[test]
    fn another_salt_gives_another_ciphertext() {
        let other = seal(&KEY, Label::PasskeyBlob, AAD, b"plaintext", [10; 16]);
        assert_ne!(other[17..], sealed()[17..]);
    }

    #[test]
    fn padding_hides_the_length_within_a_multiple() {
        let len = |n: usize| seal_padded(&KEY, Label::MetadataRow, AAD, &vec![1; n], [1; 16], 64).len();
        assert_eq!(len(0), 64 + OVERHEAD);
        assert_eq!(len(63), 64 + OVERHEAD);
        assert_eq!(len(64), 128 + OVERHEAD);
        for n in [0, 1, 63, 64, 65, 300] {
            let text = vec![0; n];
            let sealed = seal_padded(&KEY, Label::MetadataRow, AAD, &text, [1; 16], 64);
            assert_eq!(open_padded(&KEY, Label::MetadataRow, AAD, &sealed).unwrap().expose(), text);
        }
    }

    #[test]
    fn text_without_padding_is_refused() {
        let bare = seal(&KEY, Label::MetadataRow, AAD, b"no padding", [1; 16]);
        assert!(open_padded(&KEY, Label::MetadataRow, AAD, &bare).is_err());
        assert_eq!(unpad(&[]), None);
        assert_eq!(unpad(&[0; 16]), None);
        assert_eq!(unpad(&[0x80]), Some([].as_slice()));
        assert_eq!(unpad(&[1, 0x80, 0x80, 0, 0]), Some([1, 0x80].as_slice()));
    }

    #[test]
    fn requests_are_padded_to_256() {
        for (len, padded) in [(0, 256), (255, 256), (256, 512), (511, 512)] {
            assert_eq!(pad256(&vec![7; len]).len(), padded);
            assert_eq!(unpad(&pad256(&vec![7; len])).unwrap(), vec![7; len]);
        }
    }

    // The entities carry a random nonce in front, not a salt: only the backend's AES-256-GCM is exercised. The
    // vectors' noise_symmetric_state is skipped: it has another nonce layout and another transcript than Noise.
    #[test]
    fn the_backend_opens_entities_of_the_published_passkey_enclave() {
        let Some(vector) = vectors("gpm/cloud-authenticator.json") else { return };
        let key: [u8; 32] = hex(vector["passkey_key"]["value"].as_str().unwrap()).try_into().unwrap();
        let entities = vector["entities"].as_array().unwrap();
        for entity in entities {
            let field = |name: &str| entity[name].as_str().unwrap();
            let bytes = hex(field("ciphertext"));
            let nonce = Nonce::try_assume_unique_for_key(&bytes[..12]).unwrap();
            let mut text = bytes[12..].to_vec();
            let aad = Aad::from(field("aad_text").as_bytes());
            assert_eq!(aead(&key).open_in_place(nonce, aad, &mut text).unwrap(), hex(field("plaintext")));
        }
        println!("gpm: {} entities", entities.len());
    }
}
