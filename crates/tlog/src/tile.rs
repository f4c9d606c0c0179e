//! The log as static files (c2sp.org/tlog-tiles): paths, entry bundles, hash tiles, and the tree that fills them.

mod bundle;
mod path;
mod tree;

pub use bundle::{BundleError, entry_bundle, parse_entry_bundle, parse_tile, tile_bytes};
pub use path::{PathError, TilePath, entries_path, parse_entries_path, parse_tile_path, tile_path};
pub use tree::{FullTile, PartialTile, TileError, TileNodes, TileSource, TileTree};

/// Hashes in a full tile, and entries in a full bundle (c2sp.org/tlog-tiles).
pub const TILE_WIDTH: u32 = 256;

/// Levels of the tree in one level of tiles: log2 of `TILE_WIDTH`.
const TILE_HEIGHT: u32 = 8;
