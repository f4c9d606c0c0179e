//! Verification of inclusion and consistency proofs: strict, as RFC 9162 writes it.

use super::node_hash;
use crate::hash::Hash;

/// Why a proof is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The index or the sizes do not describe a proof: index beyond the tree, size 0, a tree that shrinks.
    #[error("the proof is for impossible sizes")]
    Sizes,
    /// The proof has a hash too many or too few.
    #[error("the proof has the wrong number of hashes")]
    Length,
    /// The proof leads to another root.
    #[error("the proof does not lead to the root")]
    Root,
}

/// Checks that the leaf is at `index` in the tree of `size` leaves with `root` (RFC 9162, 2.1.3.2).
pub fn verify_inclusion(
    leaf_hash: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Sizes);
    }
    let mut walk = Walk::new(index, size);
    let mut node = *leaf_hash;
    for sibling in proof {
        node = match walk.step()? {
            Side::Left => node_hash(sibling, &node),
            Side::Right => node_hash(&node, sibling),
        };
    }
    walk.finish()?;
    same(&node, root)
}

/// Checks that the tree (`new_size`, `new_root`) only appends to (`old_size`, `old_root`) (RFC 9162, 2.1.4.2).
///
/// An old size of 0 is refused even with an empty proof: the RFC defines no proof there, and everything extends
/// the empty tree.
pub fn verify_consistency(
    old_size: u64,
    old_root: &Hash,
    new_size: u64,
    new_root: &Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old_size == 0 || old_size > new_size {
        return Err(ProofError::Sizes);
    }
    if old_size == new_size {
        return if proof.is_empty() { same(old_root, new_root) } else { Err(ProofError::Length) };
    }
    // A complete old tree is itself a node of the new one: its root is not repeated in the proof.
    let (first, rest) = if old_size.is_power_of_two() {
        (old_root, proof)
    } else {
        proof.split_first().ok_or(ProofError::Length)?
    };
    let mut walk = Walk::new(old_size.saturating_sub(1), new_size);
    walk.skip_complete();
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        match walk.step()? {
            Side::Left => {
                old = node_hash(sibling, &old);
                new = node_hash(sibling, &new);
            }
            Side::Right => new = node_hash(&new, sibling),
        }
    }
    walk.finish()?;
    same(&old, old_root)?;
    same(&new, new_root)
}

fn same(found: &Hash, wanted: &Hash) -> Result<(), ProofError> {
    if found == wanted { Ok(()) } else { Err(ProofError::Root) }
}

/// On which side of the path the next sibling stands.
enum Side {
    Left,
    Right,
}

/// The climb from a node to the root: `fn` and `sn` of the RFC.
struct Walk {
    node: u64,
    last: u64,
}

impl Walk {
    fn new(index: u64, size: u64) -> Self {
        Self { node: index, last: size.saturating_sub(1) }
    }

    fn up(&mut self) {
        self.node >>= 1;
        self.last >>= 1;
    }

    fn skip_complete(&mut self) {
        while self.node & 1 == 1 {
            self.up();
        }
    }

    fn step(&mut self) -> Result<Side, ProofError> {
        if self.last == 0 {
            return Err(ProofError::Length);
        }
        let side = if self.node & 1 == 1 || self.node == self.last {
            // At the right edge a subtree without a sibling is its own parent: climb until there was one.
            while self.node & 1 == 0 && self.node != 0 {
                self.up();
            }
            Side::Left
        } else {
            Side::Right
        };
        self.up();
        Ok(side)
    }

    fn finish(self) -> Result<(), ProofError> {
        if self.last == 0 { Ok(()) } else { Err(ProofError::Length) }
    }
}
