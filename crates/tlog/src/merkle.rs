//! The Merkle tree of RFC 9162 (2.1) with SHA-256: hashes, the right edge, proofs and their verification.

mod frontier;
mod prove;
mod verify;

pub use frontier::{Frontier, FrontierError};
pub use prove::{Nodes, ProveError, consistency_proof, frontier_at, inclusion_proof, root_at};
pub use verify::{ProofError, verify_consistency, verify_inclusion};

use crate::hash::{Hash, sha256, tagged, tagged_pair};

const LEAF_TAG: u8 = 0x00;
const NODE_TAG: u8 = 0x01;

/// Hash of one log entry: SHA-256(0x00 || entry) (RFC 9162, 2.1.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    tagged(LEAF_TAG, entry)
}

/// Hash of an inner node: SHA-256(0x01 || left || right) (RFC 9162, 2.1.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    tagged_pair(NODE_TAG, left, right)
}

/// Root of the tree without leaves: SHA-256 of nothing (RFC 9162, 2.1.1).
pub fn empty_root() -> Hash {
    sha256(&[])
}
