//! HKDF-SHA256 (RFC 5869): extract without salt, expand with the framed label and context as info.

use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use zeroize::Zeroize;

use crate::{
    hash,
    label::Label,
    mac::{self, Message},
};

/// `N` bytes from `ikm` for the purpose `label` in `context` (`N` at most 8160).
pub fn derive<const N: usize>(ikm: &[u8], label: Label, context: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    derive_into(ikm, label, context, &mut out);
    out
}

/// As [`derive`], straight into the cell that will hold the key.
pub fn derive_into(ikm: &[u8], label: Label, context: &[&[u8]], out: &mut [u8]) {
    match out.try_into() {
        Ok(key) => derive_key(ikm, label, context, key),
        Err(_) => expand(ikm, &hash::frame(label, context), out),
    }
}

/// 32 bytes, which most keys have: one HMAC each for extract and expand, straight into the cell. An assertion derives
/// ten keys; this way each costs a quarter.
fn derive_key(ikm: &[u8], label: Label, context: &[&[u8]], out: &mut [u8; mac::LEN]) {
    let info_len = hash::frame_len(label, context) + 1;
    let (mut message, mut extracted) = (Message::with_capacity(ikm.len().max(info_len)), [0; mac::LEN]);
    message.put(ikm);
    message.tag(&[], &mut extracted);
    hash::framed(label, context, |bytes| message.put(bytes));
    message.put(&[1]);
    message.tag(&extracted, out);
    extracted.as_mut_slice().zeroize();
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
    fn a_key_is_the_start_of_the_long_form() {
        for ikm in [&[0x0b; 22][..], &[], &[7; 200]] {
            for part in [&b"info"[..], &[], &[9; 300]] {
                let long = derive::<64>(ikm, Label::Passkey, &[part]);
                assert_eq!(derive::<32>(ikm, Label::Passkey, &[part]), long[..32]);
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
