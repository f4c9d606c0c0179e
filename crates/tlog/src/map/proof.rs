//! Proofs of membership and of absence: one shape for both, which `keyferry-wire` encodes.

use super::key::{ordered, shared_bits, turned};
use super::{DEPTH_MAX, EMPTY, MapError, map_inner_hash, map_leaf_hash};
use crate::hash::Hash;
use keyferry_wire::publish::{MapEntry, MapProof, Terminal};

/// Checks a proof against a root: the value of `key`, or `None` when the proof shows that it is absent.
pub fn verify(root: &Hash, key: &Hash, proof: &MapProof) -> Result<Option<Hash>, MapError> {
    check_shape(key, proof)?;
    let top = climb(key, proof, 0, |_, _| ()).ok_or(MapError::Shape)?;
    if top == *root { Ok(value_at(&proof.terminal, key)) } else { Err(MapError::Root) }
}

/// A key beside the end of this path: its proof shows what `Map::remove` must know when the last sibling moves up.
/// `None` if the path ends at the root.
pub fn neighbour(key: &Hash, proof: &MapProof) -> Option<Hash> {
    Some(turned(key, proof.siblings.len().checked_sub(1)?))
}

/// Refuses what no map produces, so that there is one proof for each key and root.
pub(super) fn check_shape(key: &Hash, proof: &MapProof) -> Result<(), MapError> {
    let depth = proof.siblings.len();
    let misplaced = match &proof.terminal {
        Terminal::Empty => false,
        // A leaf of another subtree says nothing about this key.
        Terminal::Leaf(entry) => shared_bits(key, &entry.key) < depth,
    };
    // A subtree with one key or none is no inner node: it would have a second encoding of the same content.
    let uncollapsed = proof.siblings.last() == Some(&EMPTY);
    if depth > DEPTH_MAX || misplaced || uncollapsed { Err(MapError::Shape) } else { Ok(()) }
}

/// Hash of the subtree at `depth` on the path; shows every inner node passed, deepest first, as (depth, hash).
/// `None` if the proof ends above that depth.
pub(super) fn climb(
    key: &Hash,
    proof: &MapProof,
    depth: usize,
    mut visit: impl FnMut(usize, Hash),
) -> Option<Hash> {
    let mut node = match &proof.terminal {
        Terminal::Empty => EMPTY,
        Terminal::Leaf(MapEntry { key, value }) => map_leaf_hash(key, value),
    };
    for (level, sibling) in proof.siblings.iter().enumerate().skip(depth).rev() {
        let (left, right) = ordered(key, level, &node, sibling);
        node = map_inner_hash(left, right);
        visit(level, node);
    }
    (depth <= proof.siblings.len()).then_some(node)
}

/// What the end of a path says of `key`.
pub(super) fn value_at(terminal: &Terminal, key: &Hash) -> Option<Hash> {
    match terminal {
        Terminal::Leaf(entry) if entry.key == *key => Some(entry.value),
        _ => None,
    }
}
