//! Full tiles and bundles made again from the store's leaves: those that a start did not find, that had to be let go
//! while the files could not be written, and that were lost.
//!
//! It walks over the leaves piece by piece and keeps nothing, so a log of any size is written in little memory, beside
//! a service that goes on. The first walk writes nothing: only leaves that lead to the log's root may take the place of
//! files, which are the better copy when it is the store that was damaged.

use super::files::LedgerFiles;
use super::{push_leaf, put_full};
use crate::store::{Read, ReadError};
use keyferry_tlog::{Hash, TILE_WIDTH, TileSource, TileTree, parse_tile, tile_path};
use keyferry_wire::ShardId;
use keyferry_wire::ledger::LEAF_LEN;
use std::io;
use std::ops::Range;
use std::sync::Arc;

/// Leaves of a piece, roughly: a view of the store that is held for long would keep its write-ahead log from starting over.
const PIECE: usize = 1 << 14;

/// Files of a shard to be made again. Later files may come to lack meanwhile: they are the next repair's.
pub struct Repair {
    /// The shard.
    pub shard: ShardId,
    /// Leaves whose full files are not all there.
    pub(super) leaves: Range<u64>,
    /// The log that the leaves must lead to.
    pub(super) size: u64,
    pub(super) root: Hash,
}

/// Why files could not be made again.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The store's leaves have changed since they were proven.
    #[error(
        "shard {}: the store's batches do not lead to the ledger's root any more: restore it from a good copy",
        .0.0
    )]
    Damaged(ShardId),
    /// Whoever asked for it wants it no more.
    #[error("the repair of the ledger's files was broken off")]
    BrokenOff,
    /// The store.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// The files.
    #[error("writing the ledger's files")]
    Files(#[from] io::Error),
}

impl Repair {
    /// Writes what is missing or wrong. `go_on` is asked every few milliseconds: the walk may take minutes.
    pub fn write(
        &self,
        store: &dyn Read,
        files: &dyn LedgerFiles,
        go_on: &dyn Fn() -> bool,
    ) -> Result<(), RepairError> {
        let walk = Walk { repair: self, store, files, go_on };
        let near = TileTree::restore(self.leaves.start, &Files { files, shard: self.shard }, Vec::new());
        // A tile before may be gone or wrong as well: then from the beginning, and all are looked at.
        for tree in near.into_iter().chain([TileTree::new()]) {
            if walk.along(tree.clone(), false)? {
                walk.along(tree, true)?;
                return Ok(());
            }
        }
        Err(RepairError::Damaged(self.shard))
    }
}

struct Walk<'a> {
    repair: &'a Repair,
    store: &'a dyn Read,
    files: &'a dyn LedgerFiles,
    go_on: &'a dyn Fn() -> bool,
}

impl Walk<'_> {
    /// Goes on from a tree of full tiles to the log's end; whether the root is right. Writes the files on the way, if it
    /// is to.
    fn along(&self, mut tree: TileTree, write: bool) -> Result<bool, RepairError> {
        let mut open = Vec::new();
        while tree.size() < self.repair.size {
            if !(self.go_on)() {
                return Err(RepairError::BrokenOff);
            }
            let leaves = self.piece(tree.size())?;
            if leaves.is_empty() {
                return Ok(false);
            }
            let left = usize::try_from(self.repair.size - tree.size()).unwrap_or(usize::MAX);
            for leaf in leaves.chunks_exact(LEAF_LEN).take(left) {
                let full = push_leaf(&mut tree, &mut open, leaf);
                if write && tree.size() <= self.repair.leaves.end {
                    self.put(full)?;
                }
            }
        }
        Ok(tree.root() == self.repair.root)
    }

    fn piece(&self, first: u64) -> Result<Vec<u8>, ReadError> {
        let mut piece = Vec::new();
        self.store.leaves_from(self.repair.shard, first, &mut |run| {
            piece.extend_from_slice(&run.leaves);
            piece.len() < PIECE * LEAF_LEN
        })?;
        Ok(piece)
    }

    fn put(&self, full: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        let shard = self.repair.shard;
        for (path, bytes) in full {
            // What cannot be read is written over.
            if self.files.read(shard, &path).ok().flatten().as_ref() != Some(&bytes) {
                put_full(self.files, shard, &path, &bytes)?;
            }
        }
        Ok(())
    }
}

struct Files<'a> {
    files: &'a dyn LedgerFiles,
    shard: ShardId,
}

impl TileSource for Files<'_> {
    type Error = io::Error;

    fn tile(&self, level: u32, index: u64) -> Result<Arc<Vec<Hash>>, io::Error> {
        let path = tile_path(level, index, TILE_WIDTH);
        let bytes = self.files.read(self.shard, &path)?.ok_or(io::ErrorKind::NotFound)?;
        parse_tile(&bytes, TILE_WIDTH).map(Arc::new).map_err(io::Error::other)
    }
}
