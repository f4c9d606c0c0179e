//! Full tiles of one shard: those that wait for their files, a few that were read lately, and the files.

use super::files::LedgerFiles;
use hashlink::LruCache;
use keyferry_tlog::{Hash, TILE_WIDTH, TileSource, parse_tile, tile_path};
use keyferry_wire::ShardId;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

/// Tiles kept in memory: 8 KB each.
const TILES_MAX: usize = 64;

type Tile = Arc<Vec<Hash>>;

pub(super) struct Shelf {
    files: Arc<dyn LedgerFiles>,
    shard: ShardId,
    waiting: BTreeMap<String, Arc<Vec<u8>>>,
    recent: RefCell<LruCache<(u32, u64), Tile>>,
}

impl Shelf {
    pub(super) fn new(files: Arc<dyn LedgerFiles>, shard: ShardId) -> Shelf {
        Shelf { files, shard, waiting: BTreeMap::new(), recent: RefCell::new(LruCache::new(TILES_MAX)) }
    }

    /// Takes a full file; its path is unused so far, or has the same content.
    pub(super) fn add(&mut self, path: String, bytes: Vec<u8>) {
        self.waiting.insert(path, Arc::new(bytes));
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn all_waiting(&self) -> Vec<(String, Arc<Vec<u8>>)> {
        self.waiting.iter().map(|(path, bytes)| (path.clone(), Arc::clone(bytes))).collect()
    }

    /// Lets go of what is in the files now.
    pub(super) fn written(&mut self, files: &[(String, Arc<Vec<u8>>)]) {
        for (path, _) in files {
            self.waiting.remove(path);
        }
    }

    /// Starts over.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.recent.borrow_mut().clear();
    }

    pub(super) fn len(&self, path: &str) -> io::Result<Option<u64>> {
        self.files.len(self.shard, path)
    }
}

impl TileSource for Shelf {
    type Error = io::Error;

    fn tile(&self, level: u32, index: u64) -> Result<Tile, io::Error> {
        if let Some(tile) = self.recent.borrow_mut().get(&(level, index)) {
            return Ok(Arc::clone(tile));
        }
        let path = tile_path(level, index, TILE_WIDTH);
        let bytes = match self.waiting.get(&path) {
            Some(bytes) => Arc::clone(bytes),
            None => Arc::new(self.files.read(self.shard, &path)?.ok_or(io::ErrorKind::NotFound)?),
        };
        let tile = Arc::new(parse_tile(&bytes, TILE_WIDTH).map_err(io::Error::other)?);
        self.recent.borrow_mut().insert((level, index), Arc::clone(&tile));
        Ok(tile)
    }
}
