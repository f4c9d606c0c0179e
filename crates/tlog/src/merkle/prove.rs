//! Proofs and roots at any size, made from the hashes of complete subtrees alone.
//!
//! A complete subtree never changes again, so whoever answers these questions can cache without an end.

use super::frontier::fold_right;
use super::{Frontier, empty_root};
use crate::hash::Hash;

/// A store of complete subtrees.
pub trait Nodes {
    /// Why a node could not be had.
    type Error;

    /// Hash of the complete subtree over the leaves `[index * 2^level, (index + 1) * 2^level)`.
    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error>;
}

/// Why no proof could be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProveError<E> {
    /// The index or the sizes do not describe a proof.
    #[error("no proof exists for these sizes")]
    Sizes,
    /// A node could not be had.
    #[error("a node of the tree is missing")]
    Node(#[source] E),
}

/// Proof that the leaf at `index` is in the tree of `size` leaves (RFC 9162, 2.1.3.1).
pub fn inclusion_proof<N: Nodes>(
    nodes: &N,
    index: u64,
    size: u64,
) -> Result<Vec<Hash>, ProveError<N::Error>> {
    if index >= size {
        return Err(ProveError::Sizes);
    }
    let mut range = Range { start: 0, len: size };
    let mut proof = Vec::new();
    while range.len > 1 {
        let (left, right) = range.split();
        let (into, sibling) = if index < right.start { (left, right) } else { (right, left) };
        proof.push(range_hash(nodes, sibling).map_err(ProveError::Node)?);
        range = into;
    }
    proof.reverse();
    Ok(proof)
}

/// Proof that the tree of `new` leaves extends that of `old` leaves (RFC 9162, 2.1.4.1).
pub fn consistency_proof<N: Nodes>(nodes: &N, old: u64, new: u64) -> Result<Vec<Hash>, ProveError<N::Error>> {
    if old == 0 || old > new {
        return Err(ProveError::Sizes);
    }
    let mut range = Range { start: 0, len: new };
    let mut proof = Vec::new();
    while range.end() != old {
        let (left, right) = range.split();
        let (into, sibling) = if old <= right.start { (left, right) } else { (right, left) };
        proof.push(range_hash(nodes, sibling).map_err(ProveError::Node)?);
        range = into;
    }
    if range.start != 0 {
        proof.push(range_hash(nodes, range).map_err(ProveError::Node)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Root of the tree of the first `size` leaves (RFC 9162, 2.1.1).
pub fn root_at<N: Nodes>(nodes: &N, size: u64) -> Result<Hash, N::Error> {
    if size == 0 { Ok(empty_root()) } else { range_hash(nodes, Range { start: 0, len: size }) }
}

/// Frontier of the tree of the first `size` leaves.
pub fn frontier_at<N: Nodes>(nodes: &N, size: u64) -> Result<Frontier, N::Error> {
    let subtrees = complete_subtrees(nodes, Range { start: 0, len: size })?;
    Ok(Frontier::from_nodes(size, subtrees).expect("one subtree for each one-bit of the size"))
}

/// Leaves `[start, start + len)`, as the recursion of the RFC meets them: `start` is a multiple of the largest
/// power of two that fits into `len`.
#[derive(Clone, Copy)]
struct Range {
    start: u64,
    len: u64,
}

impl Range {
    fn end(self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Splits at the largest power of two below `len`, which is at least 2 (RFC 9162, 2.1.1).
    fn split(self) -> (Range, Range) {
        let k = 1u64 << self.len.saturating_sub(1).ilog2();
        let right = Range { start: self.start.saturating_add(k), len: self.len.saturating_sub(k) };
        (Range { start: self.start, len: k }, right)
    }
}

/// Hash over a range of at least one leaf.
fn range_hash<N: Nodes>(nodes: &N, range: Range) -> Result<Hash, N::Error> {
    Ok(fold_right(&complete_subtrees(nodes, range)?).expect("a range has a leaf"))
}

/// The maximal complete subtrees of a range, from the largest to the smallest.
fn complete_subtrees<N: Nodes>(nodes: &N, range: Range) -> Result<Vec<Hash>, N::Error> {
    let mut found = Vec::new();
    let Range { mut start, mut len } = range;
    while let Some(level) = len.checked_ilog2() {
        found.push(nodes.node(level, start >> level)?);
        let width = 1u64 << level;
        start = start.saturating_add(width);
        len = len.saturating_sub(width);
    }
    Ok(found)
}
