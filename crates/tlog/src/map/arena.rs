//! Memory of the map: nodes in flat arrays, named by 32-bit references; freed places are used again.

use crate::hash::Hash;

/// A reference to a node: kind in the upper two bits, place in its array in the others. A million keys need
/// about 1.4 million inner nodes, so four bytes saved here are ten megabytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeRef(u32);

/// A reference, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Empty,
    Leaf(Place),
    Inner(Place),
    Stub(Place),
}

/// A place in one of the arrays, below 2^30.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

const KIND_SHIFT: u32 = 30;
const PLACE_MASK: u32 = (1 << KIND_SHIFT) - 1;

/// A key and its value; the hash is made when needed, which saves a third of the memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Leaf {
    pub(super) key: Hash,
    pub(super) value: Hash,
}

/// A node with at least two keys below it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inner {
    pub(super) left: NodeRef,
    pub(super) right: NodeRef,
    /// Meaningless while `dirty`.
    pub(super) hash: Hash,
    /// Something below has changed since `hash` was made; then all nodes above are dirty, too.
    pub(super) dirty: bool,
}

impl NodeRef {
    pub(super) const EMPTY: NodeRef = NodeRef(0);

    pub(super) fn node(self) -> Node {
        let place = Place(self.0 & PLACE_MASK);
        match self.0 >> KIND_SHIFT {
            0 => Node::Empty,
            1 => Node::Leaf(place),
            2 => Node::Inner(place),
            _ => Node::Stub(place),
        }
    }
}

impl From<Node> for NodeRef {
    fn from(node: Node) -> Self {
        match node {
            Node::Empty => Self::EMPTY,
            Node::Leaf(Place(place)) => Self(1 << KIND_SHIFT | place),
            Node::Inner(Place(place)) => Self(2 << KIND_SHIFT | place),
            Node::Stub(Place(place)) => Self(3 << KIND_SHIFT | place),
        }
    }
}

/// One array of nodes with a list of its free places.
#[derive(Clone, Debug)]
pub(super) struct Arena<T> {
    items: Vec<T>,
    free: Vec<Place>,
}

impl<T> Arena<T> {
    pub(super) fn new() -> Self {
        Self { items: Vec::new(), free: Vec::new() }
    }

    /// Items in use.
    pub(super) fn len(&self) -> usize {
        self.items.len().saturating_sub(self.free.len())
    }

    /// Items in use and free.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.items.len()
    }

    pub(super) fn insert(&mut self, item: T) -> Place {
        if let Some(place) = self.free.pop() {
            *self.at_mut(place) = item;
            return place;
        }
        if self.items.len() == self.items.capacity() {
            // Grow by a quarter, not by doubling: the array is the larger part of the process's memory.
            self.items.reserve_exact(self.items.len() / 4 + 16);
        }
        let place = u32::try_from(self.items.len()).ok().filter(|place| *place <= PLACE_MASK);
        self.items.push(item);
        Place(place.expect("a map has fewer than 2^30 nodes of a kind"))
    }

    /// Gives the place back; no reference to it may remain.
    pub(super) fn remove(&mut self, place: Place) {
        self.free.push(place);
    }

    pub(super) fn at(&self, place: Place) -> &T {
        usize::try_from(place.0)
            .ok()
            .and_then(|place| self.items.get(place))
            .expect("the place is of this arena")
    }

    pub(super) fn at_mut(&mut self, Place(place): Place) -> &mut T {
        let place = usize::try_from(place).ok();
        place.and_then(|place| self.items.get_mut(place)).expect("the place is of this arena")
    }
}
