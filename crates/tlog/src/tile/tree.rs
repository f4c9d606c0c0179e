//! The growing tree: right edge in memory, full tiles handed out once and read back through a source.

use std::sync::Arc;

use super::{TILE_HEIGHT, TILE_WIDTH};
use crate::hash::Hash;
use crate::merkle::{Frontier, Nodes, frontier_at, node_hash};

/// Where full tiles come back from.
pub trait TileSource {
    /// Why a tile could not be had.
    type Error;

    /// The `TILE_WIDTH` hashes of a full tile.
    fn tile(&self, level: u32, index: u64) -> Result<Arc<Vec<Hash>>, Self::Error>;
}

/// A tile that has just become full and will never change again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullTile {
    /// Level of the tile.
    pub level: u32,
    /// Index of the tile within its level.
    pub index: u64,
    /// Its hashes.
    pub hashes: Box<[Hash; 256]>,
}

/// A tile at the right edge, with 1 to 255 hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartialTile<'a> {
    /// Level of the tile.
    pub level: u32,
    /// Index of the tile within its level.
    pub index: u64,
    /// Its hashes so far.
    pub hashes: &'a [Hash],
}

/// Why a node could not be read from tiles.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TileError<E> {
    /// The source failed.
    #[error("reading a tile")]
    Source(#[source] E),
    /// The source gave a tile that is not full.
    #[error("tile {index} of level {level} does not have 256 hashes")]
    Width {
        /// Level of the tile.
        level: u32,
        /// Index of the tile within its level.
        index: u64,
    },
    /// The node is not, or not completely, within the tree.
    #[error("the tree of {size} leaves has no complete node {index} at level {level}")]
    Beyond {
        /// Level of the node, in the tree.
        level: u32,
        /// Index of the node within its level.
        index: u64,
        /// Leaves of the tree.
        size: u64,
    },
    /// Restoring was given another number of trailing leaves than the size leaves over.
    #[error("a tree of {size} leaves has {} leaves behind its last full tile", size % u64::from(TILE_WIDTH))]
    Trailing {
        /// Leaves of the tree.
        size: u64,
    },
}

/// A log that grows: the right-edge tiles of all levels and the frontier, a few hundred hashes at any size.
#[derive(Clone, Debug, Default)]
pub struct TileTree {
    frontier: Frontier,
    /// Hashes behind the last full tile, by tile level; each holds fewer than `TILE_WIDTH`.
    edge: Vec<Vec<Hash>>,
}

impl TileTree {
    /// The tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rebuilds the tree of `size` leaves from its full tiles and the leaf hashes behind the last of them.
    ///
    /// The source is not believed, only read: compare `root` with a checkpoint before anything else.
    pub fn restore<S: TileSource>(
        size: u64,
        source: &S,
        trailing: Vec<Hash>,
    ) -> Result<Self, TileError<S::Error>> {
        let width = u64::from(TILE_WIDTH);
        if u64::try_from(trailing.len()) != Ok(size % width) {
            return Err(TileError::Trailing { size });
        }
        let mut edge = vec![trailing];
        let mut level = 0u32;
        let mut full = size / width;
        while full > 0 {
            let hashes = (full - full % width..full).map(|index| full_tile_root(source, level, index));
            edge.push(hashes.collect::<Result<_, _>>()?);
            level = level.saturating_add(1);
            full /= width;
        }
        let unrooted = Self { frontier: Frontier::new(), edge };
        let frontier = frontier_at(&TileNodes { tree: &unrooted, size, source }, size)?;
        Ok(Self { frontier, ..unrooted })
    }

    /// Number of leaves.
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    /// Root of the tree (RFC 9162, 2.1.1).
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The complete subtrees at the right edge.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// Appends a leaf, given by its `leaf_hash`, and returns the tiles that it fills (nearly always none).
    pub fn push(&mut self, leaf_hash: Hash) -> Vec<FullTile> {
        let mut full = Vec::new();
        let size = self.size();
        let edge = &mut self.edge;
        self.frontier.push_visiting(leaf_hash, |level, hash| {
            if level % TILE_HEIGHT == 0 {
                full.extend(push_to_edge(edge, level / TILE_HEIGHT, size >> level, *hash));
            }
        });
        full
    }

    /// The partial tiles to publish with a checkpoint of this size, from level 0 up (c2sp.org/tlog-tiles).
    pub fn partial_tiles(&self) -> Vec<PartialTile<'_>> {
        let tiles = (0u32..).zip(&self.edge).filter(|(_, hashes)| !hashes.is_empty());
        tiles
            .map(|(level, hashes)| {
                let index = tile_index(self.size(), level);
                PartialTile { level, index, hashes }
            })
            .collect()
    }

    /// This tree with a source for its full tiles: answers for every complete subtree.
    pub fn with<'a, S: TileSource>(&'a self, source: &'a S) -> TileNodes<'a, S> {
        TileNodes { tree: self, size: self.size(), source }
    }
}

/// A `TileTree` together with the source of its full tiles.
#[derive(Debug)]
pub struct TileNodes<'a, S> {
    tree: &'a TileTree,
    size: u64,
    source: &'a S,
}

impl<S: TileSource> Nodes for TileNodes<'_, S> {
    type Error = TileError<S::Error>;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        let beyond = TileError::Beyond { level, index, size: self.size };
        let complete = self.size.checked_shr(level).unwrap_or(0);
        if index >= complete {
            return Err(beyond);
        }
        let tile_level = level / TILE_HEIGHT;
        let within = level % TILE_HEIGHT;
        // `index << within` cannot overflow: it is below `size >> (level - within)`.
        let first = index << within;
        let tile = first / u64::from(TILE_WIDTH);
        let offset = usize::try_from(first % u64::from(TILE_WIDTH)).expect("below 256");
        let end = offset.saturating_add(1 << within);
        if tile == tile_index(self.size, tile_level) {
            let edge = usize::try_from(tile_level).ok().and_then(|level| self.tree.edge.get(level));
            return edge.and_then(|hashes| hashes.get(offset..end)).and_then(subtree_root).ok_or(beyond);
        }
        let hashes = full_tile(self.source, tile_level, tile)?;
        hashes
            .get(offset..end)
            .and_then(subtree_root)
            .ok_or(TileError::Width { level: tile_level, index: tile })
    }
}

/// Index of the tile of a level that is being filled.
fn tile_index(size: u64, tile_level: u32) -> u64 {
    let shift = tile_level.saturating_add(1).saturating_mul(TILE_HEIGHT);
    size.checked_shr(shift).unwrap_or(0)
}

/// Adds the hash with number `position` of its tile level to the edge; gives the tile if that was its last hash.
fn push_to_edge(edge: &mut Vec<Vec<Hash>>, level: u32, position: u64, hash: Hash) -> Option<FullTile> {
    let at = usize::try_from(level).expect("at most 8 tile levels");
    if edge.len() <= at {
        edge.resize_with(at.saturating_add(1), Vec::new);
    }
    let hashes = edge.get_mut(at).expect("made above");
    hashes.push(hash);
    let hashes = Box::new(hashes.as_slice().try_into().ok()?);
    *edge.get_mut(at)? = Vec::new();
    Some(FullTile { level, index: position / u64::from(TILE_WIDTH), hashes })
}

fn full_tile<S: TileSource>(
    source: &S,
    level: u32,
    index: u64,
) -> Result<Arc<Vec<Hash>>, TileError<S::Error>> {
    let hashes = source.tile(level, index).map_err(TileError::Source)?;
    if u32::try_from(hashes.len()) == Ok(TILE_WIDTH) {
        Ok(hashes)
    } else {
        Err(TileError::Width { level, index })
    }
}

fn full_tile_root<S: TileSource>(source: &S, level: u32, index: u64) -> Result<Hash, TileError<S::Error>> {
    let hashes = full_tile(source, level, index)?;
    subtree_root(&hashes).ok_or(TileError::Width { level, index })
}

/// Root over a power-of-two number of hashes.
fn subtree_root(hashes: &[Hash]) -> Option<Hash> {
    let mut layer = hashes.to_vec();
    while layer.len() > 1 {
        layer = layer.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    layer.first().copied()
}
