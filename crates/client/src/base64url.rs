//! base64url without padding (RFC 4648 section 5): how WebAuthn JSON and our own JSON write bytes.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

pub fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `None` for anything but the one encoding: no padding, no other alphabet, no spare bits.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// Bytes of exactly this length, in base64url or in the standard alphabet, in which C2SP writes hashes.
pub(crate) fn decode_either<const N: usize>(text: &str) -> Option<[u8; N]> {
    decode(text).or_else(|| STANDARD.decode(text).ok())?.try_into().ok()
}
