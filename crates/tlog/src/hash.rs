//! SHA-256 with a leading domain byte: the only hash function of this crate.

use aws_lc_rs::digest::{SHA256, digest};

pub use keyferry_wire::Hash;

/// SHA-256 of `tag || left || right`, the shape of every inner hash here (RFC 9162, 2.1.1); one call, no allocation.
pub(crate) fn tagged_pair(tag: u8, left: &Hash, right: &Hash) -> Hash {
    let mut input = [0u8; 65];
    input[0] = tag;
    input[1..33].copy_from_slice(left);
    input[33..65].copy_from_slice(right);
    sha256(&input)
}

/// SHA-256 of `tag || data` (RFC 9162, 2.1.1, for leaves).
pub(crate) fn tagged(tag: u8, data: &[u8]) -> Hash {
    sha256(&[&[tag], data].concat())
}

/// SHA-256 of `data`.
pub(crate) fn sha256(data: &[u8]) -> Hash {
    array(digest(&SHA256, data).as_ref())
}

fn array(digest: &[u8]) -> Hash {
    digest.try_into().expect("SHA-256 has 32 bytes")
}
