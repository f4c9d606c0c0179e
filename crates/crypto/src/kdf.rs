//! HKDF-SHA256 (RFC 5869): extract without salt, expand with the framed label and context as info.

use aws_lc_rs::{
    hkdf::{HKDF_SHA256, KeyType, Salt},
    hmac,
};
use std::sync::LazyLock;
use zeroize::Zeroize;

use crate::{hash, label::Label};

/// `N` bytes from `ikm` for the purpose `label` in `context` (`N` at most 8160).
pub fn derive<const N: usize>(ikm: &[u8], label: Label, context: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    derive_into(ikm, label, context, &mut out);
    out
}

/// As [`derive`], straight into the cell that will hold the key.
pub fn derive_into(ikm: &[u8], label: Label, context: &[&[u8]], out: &mut [u8]) {
    let info = hash::frame(label, context);
    if out.len() != BLOCK {
        return expand(ikm, &info, out);
    }
    if let Some(block) = out.first_chunk_mut() {
        expand_block(ikm, info, block);
    }
}

/// Bytes of one HMAC-SHA256.
const BLOCK: usize = 32;

/// Extraction without salt: the key of the first HMAC is empty.
static NO_SALT: LazyLock<hmac::Key> = LazyLock::new(|| hmac::Key::new(hmac::HMAC_SHA256, &[]));

/// As [`expand`] for 32 bytes, which most keys have: one HMAC each for extract and expand, straight into the cell.
/// An assertion derives ten keys; this way each costs half.
fn expand_block(ikm: &[u8], mut info: Vec<u8>, out: &mut [u8; BLOCK]) {
    let mut extracted = [0; BLOCK];
    mac(&NO_SALT, ikm, &mut extracted);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &extracted);
    extracted.as_mut_slice().zeroize();
    info.push(1);
    mac(&key, &info, out);
}

fn mac(key: &hmac::Key, message: &[u8], out: &mut [u8; BLOCK]) {
    hmac::sign_to_buffer(key, message, out).expect("the buffer has the length of the tag");
}

/// HKDF with no salt and a raw info.
fn expand(ikm: &[u8], info: &[u8], out: &mut [u8]) {
    let prk = Salt::new(HKDF_SHA256, &[]).extract(ikm);
    prk.expand(&[info], Length(out.len()))
        .and_then(|okm| okm.fill(out))
        .expect("at most 8160 bytes are asked for");
}

struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{hex, vectors};

    #[test]
    fn expand_is_rfc_5869_without_salt() {
        // RFC 5869, A.3: no salt, no info.
        let mut okm = [0; 42];
        expand(&[0x0b; 22], &[], &mut okm);
        let expected =
            hex("8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8");
        assert_eq!(okm.to_vec(), expected);
    }

    #[test]
    fn expand_gives_the_keys_of_the_published_passkey_enclave() {
        let Some(vector) = vectors("gpm/cloud-authenticator.json") else { return };
        let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
        let mut key = [0; 32];
        let ikm = hex(&text(&vector["security_domain_secret"]));
        expand(&ikm, text(&vector["passkey_key"]["info_text"]).as_bytes(), &mut key);
        assert_eq!(key.to_vec(), hex(&text(&vector["passkey_key"]["value"])));
        let mut count = 1;
        for entity in vector["entities"].as_array().unwrap() {
            if let Some(info) = entity["prf_info"].as_str() {
                expand(&hex(&text(&entity["pkcs8"])), info.as_bytes(), &mut key);
                assert_eq!(key.to_vec(), hex(&text(&entity["prf_secret"])));
                count += 1;
            }
        }
        println!("gpm: {count} HKDF values");
    }

    #[test]
    fn a_block_is_the_start_of_the_long_form() {
        for ikm in [&[0x0b; 22][..], &[], &[7; 200]] {
            for info in [&b"info"[..], &[], &[9; 300]] {
                let (mut long, mut block) = ([0; 64], [0; 32]);
                expand(ikm, info, &mut long);
                expand_block(ikm, info.to_vec(), &mut block);
                assert_eq!(block, long[..32]);
            }
        }
    }

    #[test]
    fn label_and_context_separate_keys() {
        let base = derive::<32>(b"ikm", Label::Passkey, &[b"a"]);
        assert_ne!(base, derive(b"ikm", Label::PasskeyBlob, &[b"a"]));
        assert_ne!(base, derive(b"ikm", Label::Passkey, &[b"b"]));
        assert_ne!(base, derive(b"ikm", Label::Passkey, &[b"a", b""]));
        assert_ne!(base, derive(b"ikn", Label::Passkey, &[b"a"]));
        assert_eq!(base, derive(b"ikm", Label::Passkey, &[b"a"]));
    }

    #[test]
    fn the_info_is_the_frame() {
        let mut raw = [0; 32];
        expand(b"ikm", b"\0\0\0\x0ekeyferry/v1/op\0\0\0\x01a", &mut raw);
        assert_eq!(raw, derive(b"ikm", Label::Op, &[b"a"]));
    }
}
