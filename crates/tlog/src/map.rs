//! The authenticated map: a compressed binary sparse Merkle tree from 256-bit keys to 32-byte values.
//!
//! A subtree without a key is EMPTY (32 zero bytes), a subtree with exactly one key is that leaf wherever it
//! sits, any other is an inner node; the same tree as in Jellyfish (Gao et al., 2021, without its radix 16). So the
//! root depends on the content alone, never on the order of updates. Bits of a key count from the most
//! significant bit of its first byte; 0 goes left.
//!
//! The host holds a full `Map`; the enclave holds a partial one, which starts as a bare root and learns paths from
//! proofs. Both run the same code, so that both agree on every root.

mod arena;
mod key;
mod proof;
mod tree;

pub use keyferry_wire::publish::{MapEntry, MapProof, Terminal};
pub use proof::{neighbour, verify};
pub use tree::Map;

use crate::hash::{Hash, tagged_pair};

/// Hash of a subtree without a key.
pub const EMPTY: Hash = [0; 32];

/// Deepest place of a leaf: one level for each bit of the key.
pub const DEPTH_MAX: usize = 256;

const LEAF_TAG: u8 = 0x02;
const INNER_TAG: u8 = 0x03;

/// Hash of a leaf: SHA-256(0x02 || key || value).
pub fn map_leaf_hash(key: &Hash, value: &Hash) -> Hash {
    tagged_pair(LEAF_TAG, key, value)
}

/// Hash of an inner node: SHA-256(0x03 || left || right).
pub fn map_inner_hash(left: &Hash, right: &Hash) -> Hash {
    tagged_pair(INNER_TAG, left, right)
}

/// Why the map refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// This partial map does not know the place; a proof for `key` would tell.
    #[error("this partial map needs a proof of another key first")]
    Unknown {
        /// The key whose proof is to be admitted before trying again.
        key: Hash,
    },
    /// The proof has a shape that no map has, or ends at a place where the key cannot be.
    #[error("the proof has an impossible shape")]
    Shape,
    /// The proof leads to another root.
    #[error("the proof does not lead to the root")]
    Root,
}
