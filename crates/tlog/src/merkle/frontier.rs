//! The right edge of a tree: all that appending and the root need.

use super::{empty_root, node_hash};
use crate::hash::Hash;

/// The maximal complete subtrees of a tree, from the largest to the smallest: appends leaves and gives the root
/// with at most 64 hashes of memory (RFC 9162, 2.1.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Hash>,
}

/// Why stored nodes are no frontier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frontier of size {size} has {wanted} nodes, not {found}")]
pub struct FrontierError {
    /// The size that was given.
    pub size: u64,
    /// How many complete subtrees a tree of that size has.
    pub wanted: u32,
    /// How many nodes were given.
    pub found: usize,
}

impl Default for Frontier {
    fn default() -> Self {
        Self::new()
    }
}

impl Frontier {
    /// The frontier of the empty tree.
    pub fn new() -> Self {
        Self { size: 0, nodes: Vec::new() }
    }

    /// Takes back what `size` and `nodes` gave; only the count can be checked here, so compare the root.
    pub fn from_nodes(size: u64, nodes: Vec<Hash>) -> Result<Self, FrontierError> {
        let wanted = size.count_ones();
        if u32::try_from(nodes.len()) == Ok(wanted) {
            Ok(Self { size, nodes })
        } else {
            Err(FrontierError { size, wanted, found: nodes.len() })
        }
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Hashes of the maximal complete subtrees, from the largest to the smallest.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// Appends a leaf, given by its `leaf_hash`: one hash on average.
    pub fn push(&mut self, leaf_hash: Hash) {
        self.push_visiting(leaf_hash, |_, _| ());
    }

    /// Appends a leaf and shows every subtree that it completes as (level, hash), the leaf itself first.
    pub(crate) fn push_visiting(&mut self, leaf_hash: Hash, mut visit: impl FnMut(u32, &Hash)) {
        let mut node = leaf_hash;
        visit(0, &node);
        for level in 1..=self.size.trailing_ones() {
            let left = self.nodes.pop().expect("every one-bit of the size has its node");
            node = node_hash(&left, &node);
            visit(level, &node);
        }
        self.nodes.push(node);
        self.size = self.size.checked_add(1).expect("a log ends before 2^64 leaves");
    }

    /// Root of the tree (RFC 9162, 2.1.1).
    pub fn root(&self) -> Hash {
        fold_right(&self.nodes).unwrap_or_else(empty_root)
    }
}

/// Joins complete subtrees, largest first, into the root of the tree that they cover.
pub(super) fn fold_right(nodes: &[Hash]) -> Option<Hash> {
    let (last, larger) = nodes.split_last()?;
    Some(larger.iter().rev().fold(*last, |right, left| node_hash(left, &right)))
}
