//! The map itself: look up, change, prove, and learn from proofs.

use super::arena::{Arena, Inner, Leaf, Node, NodeRef, Place};
use super::key::{goes_right, ordered, shared_bits, turned};
use super::proof::{check_shape, climb, value_at};
use super::{EMPTY, MapError, map_inner_hash, map_leaf_hash};
use crate::hash::Hash;
use keyferry_wire::publish::{MapEntry, MapProof, Terminal};

/// An authenticated map, full (every key known) or partial (some subtrees known by their hash alone).
#[derive(Clone, Debug)]
pub struct Map {
    top: NodeRef,
    leaves: Arena<Leaf>,
    inners: Arena<Inner>,
    stubs: Arena<Hash>,
}

/// The way from the root to where a key's path ends.
struct Path {
    /// Inner nodes passed, the root first; the node at position i is at depth i.
    inners: Vec<Place>,
    end: Node,
}

impl Default for Map {
    fn default() -> Self {
        Self::new()
    }
}

impl Map {
    /// The map without keys, fully known.
    pub fn new() -> Self {
        Self { top: NodeRef::EMPTY, leaves: Arena::new(), inners: Arena::new(), stubs: Arena::new() }
    }

    /// A map of which the root alone is known; to forget what was learnt, start again from `root`.
    pub fn partial(root: Hash) -> Self {
        let mut map = Self::new();
        map.top = map.stub(root);
        map
    }

    /// Number of keys known: all keys in a full map.
    pub fn len(&self) -> usize {
        self.leaves.len()
    }

    /// Whether the map has no key at all, known or unknown.
    pub fn is_empty(&self) -> bool {
        self.top == NodeRef::EMPTY
    }

    /// Root hash of the present content; hashes again only what has changed since the last call.
    pub fn root(&mut self) -> Hash {
        self.rehash(self.top)
    }

    /// The value of a key, `None` if the key is absent, `Unknown` if its path ends in an unknown subtree.
    pub fn get(&self, key: &Hash) -> Result<Option<Hash>, MapError> {
        match self.path(key).end {
            Node::Stub(_) => Err(MapError::Unknown { key: *key }),
            Node::Leaf(place) => {
                let leaf = self.leaves.at(place);
                Ok((leaf.key == *key).then_some(leaf.value))
            }
            Node::Empty | Node::Inner(_) => Ok(None),
        }
    }

    /// The proof for a key against the present root, of membership or absence; fast right after `root`.
    pub fn prove(&self, key: &Hash) -> Result<MapProof, MapError> {
        let path = self.path(key);
        let terminal = match path.end {
            Node::Stub(_) => return Err(MapError::Unknown { key: *key }),
            Node::Leaf(place) => {
                let leaf = self.leaves.at(place);
                Terminal::Leaf(MapEntry { key: leaf.key, value: leaf.value })
            }
            Node::Empty | Node::Inner(_) => Terminal::Empty,
        };
        let beside = path.inners.iter().enumerate().map(|(depth, place)| {
            let inner = self.inners.at(*place);
            self.hash(if goes_right(key, depth) { inner.left } else { inner.right })
        });
        Ok(MapProof { siblings: beside.collect(), terminal })
    }

    /// Learns the path of a key from a proof and returns the key's present value.
    ///
    /// A path that is known to its end needs no proof and ignores it: the map may have changed since the proof
    /// was made. Otherwise the levels below the first unknown subtree must lead to its hash; the map is unchanged
    /// on an error.
    pub fn admit(&mut self, key: &Hash, proof: &MapProof) -> Result<Option<Hash>, MapError> {
        let path = self.path(key);
        let Node::Stub(stub) = path.end else {
            return self.get(key);
        };
        check_shape(key, proof)?;
        let depth = path.inners.len();
        let mut hashes = Vec::with_capacity(proof.siblings.len().saturating_sub(depth));
        let found = climb(key, proof, depth, |_, hash| hashes.push(hash)).ok_or(MapError::Shape)?;
        if found != *self.stubs.at(stub) {
            return Err(MapError::Root);
        }
        let mut node = match &proof.terminal {
            Terminal::Empty => NodeRef::EMPTY,
            Terminal::Leaf(MapEntry { key, value }) => self.leaf(*key, *value),
        };
        for ((level, sibling), hash) in proof.siblings.iter().enumerate().skip(depth).rev().zip(hashes) {
            let beside = self.stub(*sibling);
            let (left, right) = ordered(key, level, node, beside);
            node = Node::Inner(self.inners.insert(Inner { left, right, hash, dirty: false })).into();
        }
        self.stubs.remove(stub);
        self.put(&path.inners, key, node);
        Ok(value_at(&proof.terminal, key))
    }

    /// Sets the value of a key and returns the one before.
    pub fn set(&mut self, key: Hash, value: Hash) -> Result<Option<Hash>, MapError> {
        let path = self.path(&key);
        let (node, before) = match path.end {
            Node::Stub(_) => return Err(MapError::Unknown { key }),
            Node::Empty | Node::Inner(_) => (self.leaf(key, value), None),
            Node::Leaf(place) => {
                let leaf = self.leaves.at_mut(place);
                if leaf.key == key {
                    let before = std::mem::replace(&mut leaf.value, value);
                    if before == value {
                        return Ok(Some(before));
                    }
                    (path.end.into(), Some(before))
                } else {
                    let other = leaf.key;
                    (self.fork(path.inners.len(), place, &other, key, value), None)
                }
            }
        };
        self.put(&path.inners, &key, node);
        self.mark_dirty(&path.inners);
        Ok(before)
    }

    /// Removes a key and returns its value, `None` if it was absent.
    ///
    /// The subtree beside it must be known, since a lone leaf there moves up; `Unknown` names the key to prove.
    pub fn remove(&mut self, key: &Hash) -> Result<Option<Hash>, MapError> {
        let mut path = self.path(key);
        let place = match path.end {
            Node::Stub(_) => return Err(MapError::Unknown { key: *key }),
            Node::Leaf(place) if self.leaves.at(place).key == *key => place,
            _ => return Ok(None),
        };
        if let Some(depth) = path.inners.len().checked_sub(1)
            && let Some(Node::Stub(_)) = path.inners.last().map(|last| self.beside(*last, key, depth).node())
        {
            return Err(MapError::Unknown { key: turned(key, depth) });
        }
        let value = self.leaves.at(place).value;
        self.leaves.remove(place);
        let node = self.collapse(&mut path.inners, key);
        self.put(&path.inners, key, node);
        self.mark_dirty(&path.inners);
        Ok(Some(value))
    }

    /// Takes inner nodes off the path as long as one key or none is left below them; gives what remains there.
    fn collapse(&mut self, inners: &mut Vec<Place>, key: &Hash) -> NodeRef {
        let mut rest = NodeRef::EMPTY;
        while let Some(last) = inners.last().copied() {
            let beside = self.beside(last, key, inners.len().saturating_sub(1));
            rest = match (rest.node(), beside.node()) {
                (Node::Empty, Node::Leaf(_) | Node::Empty) => beside,
                (Node::Leaf(_), Node::Empty) => rest,
                _ => break,
            };
            self.inners.remove(last);
            inners.pop();
        }
        rest
    }

    /// The subtree in which the known leaf `place` and a new key stand, from `depth` down: inner nodes as far as
    /// both keys share bits.
    fn fork(&mut self, depth: usize, place: Place, other: &Hash, key: Hash, value: Hash) -> NodeRef {
        let leaf = self.leaf(key, value);
        let split = shared_bits(&key, other);
        let mut node = self.dirty_inner(ordered(&key, split, leaf, Node::Leaf(place).into()));
        for level in (depth..split).rev() {
            node = self.dirty_inner(ordered(&key, level, node, NodeRef::EMPTY));
        }
        node
    }

    fn path(&self, key: &Hash) -> Path {
        // Deep enough for the random keys of the largest map.
        let mut inners = Vec::with_capacity(32);
        let mut end = self.top.node();
        while let Node::Inner(place) = end {
            let inner = self.inners.at(place);
            end = if goes_right(key, inners.len()) { inner.right } else { inner.left }.node();
            inners.push(place);
        }
        Path { inners, end }
    }

    /// Hangs `node` at the end of a path.
    fn put(&mut self, inners: &[Place], key: &Hash, node: NodeRef) {
        let Some((last, above)) = inners.split_last() else {
            self.top = node;
            return;
        };
        let inner = self.inners.at_mut(*last);
        if goes_right(key, above.len()) {
            inner.right = node;
        } else {
            inner.left = node;
        }
    }

    fn beside(&self, place: Place, key: &Hash, depth: usize) -> NodeRef {
        let inner = self.inners.at(place);
        if goes_right(key, depth) { inner.left } else { inner.right }
    }

    fn mark_dirty(&mut self, inners: &[Place]) {
        for place in inners {
            self.inners.at_mut(*place).dirty = true;
        }
    }

    fn leaf(&mut self, key: Hash, value: Hash) -> NodeRef {
        Node::Leaf(self.leaves.insert(Leaf { key, value })).into()
    }

    fn stub(&mut self, hash: Hash) -> NodeRef {
        if hash == EMPTY { NodeRef::EMPTY } else { Node::Stub(self.stubs.insert(hash)).into() }
    }

    fn dirty_inner(&mut self, (left, right): (NodeRef, NodeRef)) -> NodeRef {
        Node::Inner(self.inners.insert(Inner { left, right, hash: EMPTY, dirty: true })).into()
    }

    /// Hash of a node, made again where dirty and kept. As deep as the tree: at most 256 calls.
    fn rehash(&mut self, node: NodeRef) -> Hash {
        let Node::Inner(place) = node.node() else {
            return self.hash(node);
        };
        let Inner { left, right, hash, dirty } = *self.inners.at(place);
        if !dirty {
            return hash;
        }
        let hash = map_inner_hash(&self.rehash(left), &self.rehash(right));
        let inner = self.inners.at_mut(place);
        (inner.hash, inner.dirty) = (hash, false);
        hash
    }

    /// Hash of a node, made again where dirty.
    fn hash(&self, node: NodeRef) -> Hash {
        match node.node() {
            Node::Empty => EMPTY,
            Node::Stub(place) => *self.stubs.at(place),
            Node::Leaf(place) => {
                let leaf = self.leaves.at(place);
                map_leaf_hash(&leaf.key, &leaf.value)
            }
            Node::Inner(place) => match self.inners.at(place) {
                Inner { left, right, dirty: true, .. } => {
                    map_inner_hash(&self.hash(*left), &self.hash(*right))
                }
                inner => inner.hash,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_use_freed_places_again() {
        let mut map = Map::new();
        let key = |i: u8| [i.wrapping_mul(29); 32];
        (0..100).for_each(|i| assert_eq!(map.set(key(i), [i; 32]), Ok(None)));
        let places = |map: &Map| (map.leaves.places(), map.inners.places());
        let before = places(&map);
        for _ in 0..50 {
            (0..100).for_each(|i| assert_eq!(map.remove(&key(i)), Ok(Some([i; 32]))));
            assert_eq!((map.len(), map.inners.len(), map.top), (0, 0, NodeRef::EMPTY));
            (0..100).for_each(|i| assert_eq!(map.set(key(i), [i; 32]), Ok(None)));
        }
        assert_eq!(places(&map), before);
    }

    #[test]
    fn admitted_stubs_give_their_place_back() {
        let mut host = Map::new();
        (0..=255u8).for_each(|i| assert_eq!(host.set([i; 32], [i; 32]), Ok(None)));
        let mut partial = Map::partial(host.root());
        for i in 0..=255u8 {
            let proof = host.prove(&[i; 32]).unwrap();
            assert_eq!(partial.admit(&[i; 32], &proof), Ok(Some([i; 32])));
        }
        assert_eq!((partial.stubs.len(), partial.len()), (0, 256));
        assert_eq!(partial.root(), host.root());
    }
}
