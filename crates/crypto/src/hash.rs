//! Hashes, MACs and the one framing rule.
//!
//! Framing: a list of parts is written as each part's length (u32, big-endian) followed by its bytes; the label
//! comes first as a part like any other. Two different lists never give the same bytes, so a boundary between
//! parts cannot be shifted by whoever chooses one of them.

use aws_lc_rs::digest;
use subtle::ConstantTimeEq;

use crate::{label::Label, mac::Message, secret::SecretVec};

/// SHA-256 over the plain concatenation of `parts`. For formats fixed elsewhere (RFC 9162, WebAuthn); our own
/// hashes are [`labelled_hash`].
pub fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    if let [whole] = parts {
        return array(digest::digest(&digest::SHA256, whole).as_ref());
    }
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    array(context.finish().as_ref())
}

/// SHA-256 over label and parts in the framing of this module.
pub fn labelled_hash(label: Label, parts: &[&[u8]]) -> [u8; 32] {
    let framed = SecretVec::new(frame(label, parts));
    sha256(&[framed.expose()])
}

/// HMAC-SHA256 over label and parts in the framing of this module.
pub fn hmac(key: &[u8], label: Label, parts: &[&[u8]]) -> [u8; 32] {
    let (mut message, mut tag) = (Message::with_capacity(frame_len(label, parts)), [0; 32]);
    framed(label, parts, |bytes| message.put(bytes));
    message.tag(key, &mut tag);
    tag
}

/// Constant-time equality; only the lengths may show in the time taken.
pub fn ct_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// Label and parts as one byte string: HKDF info and AEAD associated data.
pub fn frame(label: Label, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame_len(label, parts));
    framed(label, parts, |bytes| out.extend_from_slice(bytes));
    out
}

/// Bytes of a frame.
pub(crate) fn frame_len(label: Label, parts: &[&[u8]]) -> usize {
    parts.iter().map(|part| part.len() + 4).sum::<usize>() + label.as_bytes().len() + 4
}

/// Hands out a frame piece by piece.
pub(crate) fn framed(label: Label, parts: &[&[u8]], mut put: impl FnMut(&[u8])) {
    for part in std::iter::once(label.as_bytes()).chain(parts.iter().copied()) {
        let len = u32::try_from(part.len()).expect("a part is shorter than 4 GiB");
        put(&len.to_be_bytes());
        put(part);
    }
}

/// A digest as an array.
pub(crate) fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the algorithm fixes this length")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    #[test]
    fn sha256_is_the_standard_one() {
        let abc = hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(sha256(&[b"a", b"", b"bc"]).to_vec(), abc);
    }

    #[test]
    fn shifting_a_boundary_changes_the_hash() {
        let label = Label::Op;
        assert_ne!(labelled_hash(label, &[b"ab", b"c"]), labelled_hash(label, &[b"a", b"bc"]));
        assert_ne!(labelled_hash(label, &[b"abc"]), labelled_hash(label, &[b"abc", b""]));
        assert_ne!(hmac(b"k", label, &[b"ab", b"c"]), hmac(b"k", label, &[b"a", b"bc"]));
    }

    #[test]
    fn another_label_changes_the_hash() {
        assert_ne!(labelled_hash(Label::Op, &[b"x"]), labelled_hash(Label::Attempt, &[b"x"]));
    }

    #[test]
    fn labelled_hash_is_sha256_of_the_frame() {
        let parts: &[&[u8]] = &[b"one", b""];
        assert_eq!(labelled_hash(Label::Op, parts), sha256(&[&frame(Label::Op, parts)]));
        let frame = frame(Label::Op, parts);
        assert_eq!(frame, b"\0\0\0\x0ekeyferry/v1/op\0\0\0\x03one\0\0\0\0");
    }
}
