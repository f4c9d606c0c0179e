//! Full tiles of one shard: those that wait for their files, a few that were read lately, and the files. What is in
//! none of them is made again from the store.

use super::files::LedgerFiles;
use super::{ProofUnavailable, WIDTH};
use crate::store::Read;
use hashlink::LruCache;
use keyferry_tlog::{
    Frontier, Hash, TILE_WIDTH, TileSource, leaf_hash, parse_entries_path, parse_tile, parse_tile_path,
    tile_path,
};
use keyferry_wire::ShardId;
use keyferry_wire::ledger::LEAF_LEN;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Tiles kept in memory: 8 KB each.
const TILES_MAX: usize = 64;

/// Files that may wait: a bundle has 58 KB and a tile 8, so this is 8 MB for a shard, and 32,000 entries, more than come
/// between two publications. There are more at the start without files, and while the files cannot be written.
pub(super) const WAITING_MAX: usize = 256;

type Tile = Arc<Vec<Hash>>;
type Waiting = (String, Arc<Vec<u8>>);

pub(super) struct Shelf {
    files: Arc<dyn LedgerFiles>,
    shard: ShardId,
    waiting: BTreeMap<String, Arc<Vec<u8>>>,
    recent: RefCell<LruCache<(u32, u64), Tile>>,
    /// Leaves whose full files are not all there: too many waited, or a reader missed one. A file belongs to the 256
    /// leaves that end where it became full.
    lacking: RefCell<Option<Range<u64>>>,
}

impl Shelf {
    pub(super) fn new(files: Arc<dyn LedgerFiles>, shard: ShardId) -> Shelf {
        Shelf {
            files,
            shard,
            waiting: BTreeMap::new(),
            recent: RefCell::new(LruCache::new(TILES_MAX)),
            lacking: RefCell::default(),
        }
    }

    /// Takes files that became full; their paths are unused so far, or have the same content. When more would wait than
    /// may, those that do are let go: they will be made again from the store.
    pub(super) fn add(&mut self, full: Vec<(String, Vec<u8>)>) {
        if self.waiting.len().saturating_add(full.len()) > WAITING_MAX {
            self.let_go();
        }
        self.waiting.extend(full.into_iter().map(|(path, bytes)| (path, Arc::new(bytes))));
    }

    fn let_go(&mut self) {
        let ends: Vec<_> = self.waiting.keys().filter_map(|path| end_of(path)).collect();
        ends.into_iter().for_each(|end| self.lack(end));
        self.waiting.clear();
    }

    /// Takes note that a file that became full with leaf `end - 1` is not there.
    fn lack(&self, end: u64) {
        let start = end.saturating_sub(WIDTH);
        let mut lacking = self.lacking.borrow_mut();
        *lacking = Some(match lacking.take() {
            Some(known) => known.start.min(start)..known.end.max(end),
            None => start..end,
        });
    }

    /// Leaves whose full files are not all there.
    pub(super) fn lacking(&self) -> Option<Range<u64>> {
        self.lacking.borrow().clone()
    }

    /// Takes note that the files of these leaves are there.
    pub(super) fn complete(&mut self, leaves: &Range<u64>) {
        let lacking = self.lacking.get_mut();
        // More may have come to lack meanwhile.
        *lacking = lacking.take().and_then(|now| {
            if now.start < leaves.start {
                Some(now)
            } else {
                (now.end > leaves.end).then_some(now.start.max(leaves.end)..now.end)
            }
        });
    }

    /// Takes note of a full file that could not be read, unless it is known to lack; said once, until it is there again.
    fn lose(&self, path: &str, end: u64) {
        let known = |lacking: &Range<u64>| lacking.contains(&end.saturating_sub(1));
        if !self.lacking.borrow().as_ref().is_some_and(known) {
            tracing::warn!(shard = self.shard.0, path, "a file of the ledger was lost: it is made again");
            self.lack(end);
        }
    }

    /// Takes note that a reader found no file of this path, if a log of this size should have it.
    pub(super) fn missed(&self, path: &str, size: u64) {
        let end = end_of(path).filter(|end| *end <= size);
        // It may have come since the reader looked.
        let there = || self.waiting.contains_key(path) || matches!(self.len(path), Ok(Some(_)));
        if let Some(end) = end.filter(|_| !there()) {
            self.lose(path, end);
        }
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn all_waiting(&self) -> Vec<Waiting> {
        self.waiting.iter().map(|(path, bytes)| (path.clone(), Arc::clone(bytes))).collect()
    }

    /// Lets go of what is in the files now.
    pub(super) fn written(&mut self, files: &[Waiting]) {
        for (path, _) in files {
            self.waiting.remove(path);
        }
    }

    /// Starts over.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.recent.borrow_mut().clear();
        *self.lacking.get_mut() = None;
    }

    pub(super) fn len(&self, path: &str) -> io::Result<Option<u64>> {
        self.files.len(self.shard, path)
    }

    /// This shelf with a store from whose leaves it makes what it does not have.
    pub(super) fn with<'a>(&'a self, store: &'a dyn Read) -> Restocked<'a> {
        Restocked { shelf: self, store }
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

/// A shelf that never runs out. The store's leaves are not believed: a wrong one makes a proof that its reader refuses.
pub(super) struct Restocked<'a> {
    shelf: &'a Shelf,
    store: &'a dyn Read,
}

impl TileSource for Restocked<'_> {
    type Error = ProofUnavailable;

    fn tile(&self, level: u32, index: u64) -> Result<Tile, ProofUnavailable> {
        if let Ok(tile) = self.shelf.tile(level, index) {
            return Ok(tile);
        }
        let hashes = match level.checked_sub(1) {
            None => self.leaf_hashes(index)?,
            Some(below) => self.roots(below, index)?,
        };
        let tile = Arc::new(hashes);
        self.shelf.recent.borrow_mut().insert((level, index), Arc::clone(&tile));
        let path = tile_path(level, index, TILE_WIDTH);
        self.shelf.lose(&path, end_of(&path).ok_or(ProofUnavailable)?);
        Ok(tile)
    }
}

impl Restocked<'_> {
    fn leaf_hashes(&self, index: u64) -> Result<Vec<Hash>, ProofUnavailable> {
        let first = index.checked_mul(WIDTH).ok_or(ProofUnavailable)?;
        let mut hashes = Vec::new();
        let read = self.store.leaves_from(self.shelf.shard, first, &mut |run| {
            let missing = 256usize.saturating_sub(hashes.len());
            hashes.extend(run.leaves.chunks_exact(LEAF_LEN).take(missing).map(leaf_hash));
            hashes.len() < 256
        });
        if let Err(error) = &read {
            tracing::error!(error = %crate::serve::chain(error), "leaves of a lost tile could not be read");
        }
        (read.is_ok() && hashes.len() == 256).then_some(hashes).ok_or(ProofUnavailable)
    }

    fn roots(&self, below: u32, index: u64) -> Result<Vec<Hash>, ProofUnavailable> {
        let first = index.checked_mul(WIDTH).ok_or(ProofUnavailable)?;
        let root = |at| {
            let mut tree = Frontier::new();
            self.tile(below, first.saturating_add(at))?.iter().for_each(|hash| tree.push(*hash));
            Ok(tree.root())
        };
        (0..WIDTH).map(root).collect()
    }
}

/// Entries of a log when the full file of this path became full; `None` for any other path.
fn end_of(path: &str) -> Option<u64> {
    let (index, level) = match parse_entries_path(path) {
        Ok((index, TILE_WIDTH)) => (index, 0),
        Ok(_) => return None,
        Err(_) => {
            let tile = parse_tile_path(path).ok().filter(|tile| tile.width == TILE_WIDTH)?;
            (tile.index, tile.level)
        }
    };
    let leaves = WIDTH.checked_pow(level.checked_add(1)?)?;
    index.checked_add(1)?.checked_mul(leaves)
}
