//! A shard's log as everybody may read it: the growing tree, and the static files of c2sp.org/tlog-tiles.
//!
//! The files are never the source of truth. They may lag behind the store, and whatever is missing is made again from
//! the store's leaves: for a proof at once, for the files by a `Repair`. So only few files need to wait in memory.
//! Absent: signatures (checkpoints come signed from the enclave) and the clock.

mod files;
mod repair;
mod shelf;

pub use files::{DiskFiles, LedgerFiles, MemoryFiles};
pub use repair::{Repair, RepairError};

use crate::store::{Read, ReadError, StoredTail};
use keyferry_tlog::{
    Checkpoint, Hash, Nodes, ProveError, TILE_WIDTH, TileSource, TileTree, consistency_proof, entries_path,
    entry_bundle, inclusion_proof, leaf_hash, tile_bytes, tile_path,
};
use keyferry_wire::ShardId;
use keyferry_wire::door::{Batch, Tail};
use keyferry_wire::ledger::LEAF_LEN;
use shelf::Shelf;
use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

/// Name of the checkpoint's file.
pub const CHECKPOINT: &str = "checkpoint";

/// Why a shard's log could not be made ready.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Yesterday's store under today's ledger.
    #[error(
        "shard {}: the store lost a batch that the ledger has (the store ends at entry {store}, the ledger at \
         entry {ledger}): bring it back. An older store must not go on: it would forget attempts that were counted",
        shard.0
    )]
    LedgerAhead {
        /// The shard.
        shard: ShardId,
        /// Entries in the store.
        store: u64,
        /// Entries in the ledger's files.
        ledger: u64,
    },
    /// The store's batches do not give the root that its own checkpoint names.
    #[error("shard {}: the store's batches do not lead to its checkpoint: restore it from a good copy", .0.0)]
    Damaged(ShardId),
    /// The store.
    #[error(transparent)]
    Store(#[from] ReadError),
    /// The files.
    #[error("reading the ledger's files")]
    Files(#[from] io::Error),
}

/// No proof could be made: the sizes do not fit, or a tile is gone.
#[derive(Debug, thiserror::Error)]
#[error("no proof for these sizes, or a tile of the ledger is missing")]
pub struct ProofUnavailable;

/// The log of one shard.
pub struct ShardLog {
    shard: ShardId,
    tree: TileTree,
    shelf: Shelf,
    number: Option<u64>,
    checkpoint: String,
    seal: Vec<u8>,
    /// Leaves behind the last full bundle.
    open: Vec<u8>,
    /// The newest checkpoint is not in the files yet.
    unpublished: bool,
    /// A repair found that the store's leaves have changed: nothing more is written.
    damaged: bool,
    /// Inner nodes inside tiles; a complete subtree never changes.
    nodes: RefCell<HashMap<(u32, u64), Hash>>,
    /// Proof of the last leaf.
    seal_proof: RefCell<Option<Vec<Hash>>>,
}

/// Files to write, tiles before the checkpoint that needs them. Partial tiles stay for the readers of earlier
/// checkpoints until the full tile is there (c2sp.org/tlog-tiles): at most 255 for each tile at the edge.
pub struct Publication {
    /// The shard.
    pub shard: ShardId,
    /// Path and content of full tiles and bundles.
    full: Vec<(String, Arc<Vec<u8>>)>,
    /// The same of those at the edge.
    partial: Vec<(String, Vec<u8>)>,
    checkpoint: String,
}

/// Entries of the proof cache: 3 MB at most for a shard.
const NODES_MAX: usize = 1 << 15;

/// Full tiles whose length is looked at on start: what a power failure could have cut (files are not synced).
const TILES_CHECKED: u64 = 1200;

/// Bytes of a full bundle of entries.
const BUNDLE_LEN: u64 = 256 * (2 + 224);
const WIDTH: u64 = 256;

impl ShardLog {
    /// Makes the log ready from the store, with whatever the files have already.
    pub fn open(store: &dyn Read, files: Arc<dyn LedgerFiles>, shard: ShardId) -> Result<ShardLog, LogError> {
        let tail = store.tail(shard)?;
        let published = published_size(&*files, shard)?;
        let size = tail.as_ref().map_or(0, |tail| tail.size);
        if let Some(ledger) = published.filter(|ledger| *ledger > size) {
            return Err(LogError::LedgerAhead { shard, store: size, ledger });
        }
        let mut log = ShardLog::empty(files, shard);
        let Some(tail) = tail else {
            return Ok(log);
        };
        let known = log.tiles_intact(published.unwrap_or(0) / WIDTH)? * WIDTH;
        if !log.build(store, &tail, known)? && (known == 0 || !log.build(store, &tail, 0)?) {
            return Err(LogError::Damaged(shard));
        }
        log.unpublished = published != Some(size);
        Ok(log)
    }

    fn empty(files: Arc<dyn LedgerFiles>, shard: ShardId) -> ShardLog {
        ShardLog {
            shard,
            tree: TileTree::new(),
            shelf: Shelf::new(files, shard),
            number: None,
            checkpoint: String::new(),
            seal: Vec::new(),
            open: Vec::new(),
            unpublished: false,
            damaged: false,
            nodes: RefCell::default(),
            seal_proof: RefCell::default(),
        }
    }

    /// How many of the given full tiles have their files at full length, looking at the newest.
    fn tiles_intact(&self, full: u64) -> io::Result<u64> {
        for index in full.saturating_sub(TILES_CHECKED)..full {
            let bundle = self.shelf.len(&entries_path(index, TILE_WIDTH))?;
            let tile = self.shelf.len(&tile_path(0, index, TILE_WIDTH))?;
            if bundle != Some(BUNDLE_LEN) || tile != Some(WIDTH * 32) {
                return Ok(index);
            }
        }
        Ok(full)
    }

    /// Builds the tree from full tiles up to `known` and the store's leaves behind; whether the root is right. Writes
    /// nothing: a store that does not match its ledger must leave the ledger as it is, and whoever only looks (the
    /// doctor) must not write. What does not fit on the shelf is written by a `Repair`, a second walk over the leaves.
    fn build(&mut self, store: &dyn Read, tail: &StoredTail, known: u64) -> Result<bool, LogError> {
        self.shelf.forget();
        self.nodes.borrow_mut().clear();
        self.open.clear();
        let Ok(tree) = TileTree::restore(known, &self.shelf, Vec::new()) else {
            return Ok(false);
        };
        self.tree = tree;
        store.leaves_from(self.shard, known, &mut |run| {
            let fits = run.first == self.tree.size();
            if fits {
                self.push_leaves(&run.leaves);
            }
            fits
        })?;
        self.end_batch(tail.number, &tail.checkpoint, &tail.seal);
        let checkpoint = checkpoint_of(&tail.checkpoint);
        Ok(self.tree.size() == tail.size
            && checkpoint.is_some_and(|at| at.size == tail.size && at.root == self.tree.root()))
    }

    /// Appends a batch that is durable.
    pub fn append(&mut self, batch: &Batch) {
        self.push_leaves(&batch.leaves);
        let seal = batch.leaves.rchunks_exact(LEAF_LEN).next().unwrap_or_default();
        self.end_batch(batch.number, &batch.checkpoint, seal);
        self.unpublished = true;
    }

    fn push_leaves(&mut self, leaves: &[u8]) {
        for leaf in leaves.chunks_exact(LEAF_LEN) {
            let full = push_leaf(&mut self.tree, &mut self.open, leaf);
            if !full.is_empty() {
                self.shelf.add(full);
            }
        }
    }

    fn end_batch(&mut self, number: u64, checkpoint: &str, seal: &[u8]) {
        self.number = Some(number);
        self.checkpoint = checkpoint.to_owned();
        self.seal = seal.to_vec();
        *self.seal_proof.borrow_mut() = None;
    }

    /// Entries in the log.
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// Number of the newest batch.
    pub fn number(&self) -> Option<u64> {
        self.number
    }

    /// The newest signed checkpoint; empty before the first batch.
    pub fn checkpoint(&self) -> &str {
        &self.checkpoint
    }

    /// The last leaf.
    pub fn seal(&self) -> &[u8] {
        &self.seal
    }

    /// What the enclave needs to go on from here; `None` before the first batch.
    pub fn tail(&self) -> Result<Option<Tail>, ProofUnavailable> {
        if self.number.is_none() {
            return Ok(None);
        }
        Ok(Some(Tail {
            shard: self.shard,
            checkpoint: self.checkpoint.clone(),
            frontier: self.tree.frontier().nodes().to_vec(),
            seal: self.seal.clone().into(),
            inclusion: self.seal_inclusion()?,
        }))
    }

    /// Proof that the seal is the last leaf of the newest checkpoint; made once a batch.
    pub fn seal_inclusion(&self) -> Result<Vec<Hash>, ProofUnavailable> {
        if let Some(proof) = &*self.seal_proof.borrow() {
            return Ok(proof.clone());
        }
        // The way of the last leaf goes along the edge, which is in memory.
        let last = self.size().checked_sub(1).ok_or(ProofUnavailable)?;
        let proof = found(inclusion_proof(&self.cached(&self.shelf), last, self.size()))?;
        *self.seal_proof.borrow_mut() = Some(proof.clone());
        Ok(proof)
    }

    /// Proof of a leaf against the newest checkpoint. A tile that was lost is made again from the store's leaves.
    pub fn inclusion(&self, store: &dyn Read, index: u64) -> Result<Vec<Hash>, ProofUnavailable> {
        found(inclusion_proof(&self.cached(&self.shelf.with(store)), index, self.size()))
    }

    /// Proof that the log of `new` entries extends that of `old`; empty where there is nothing to prove. A tile that
    /// was lost is made again from the store's leaves.
    pub fn consistency(&self, store: &dyn Read, old: u64, new: u64) -> Result<Vec<Hash>, ProofUnavailable> {
        if old == 0 || old == new {
            return Ok(Vec::new());
        }
        if new > self.size() {
            return Err(ProofUnavailable);
        }
        found(consistency_proof(&self.cached(&self.shelf.with(store)), old, new))
    }

    fn cached<'a, S: TileSource>(&'a self, source: &'a S) -> CachedNodes<'a, impl Nodes + 'a> {
        CachedNodes { inner: self.tree.with(source), cache: &self.nodes }
    }

    /// Full tiles and bundles that wait for their files.
    pub fn tiles_waiting(&self) -> usize {
        self.shelf.waiting()
    }

    /// What has to be made again from the store before anything else is published; `None` when the files lack nothing.
    pub fn repair(&self) -> Option<Repair> {
        let leaves = self.shelf.lacking().filter(|_| !self.damaged)?;
        Some(Repair { shard: self.shard, leaves, size: self.tree.size(), root: self.tree.root() })
    }

    /// Takes note of a repair that was made.
    pub fn repaired(&mut self, repair: &Repair) {
        self.shelf.complete(&repair.leaves);
    }

    /// Takes note that the store's leaves no longer lead to the root: no file is written until the next start, which
    /// will refuse the store.
    pub fn beyond_repair(&mut self) {
        self.damaged = true;
    }

    /// Takes note that a reader found no file of this path: if there should be one, it is made again.
    pub fn missed(&self, path: &str) {
        self.shelf.missed(path, self.size());
    }

    /// What has to be written so that the files show the newest checkpoint; `None` when they do, or when a repair
    /// comes first: a checkpoint must not name tiles that are not there.
    pub fn publication(&self) -> Option<Publication> {
        if self.shelf.lacking().is_some() || (!self.unpublished && self.shelf.waiting() == 0) {
            return None;
        }
        let mut partial = Vec::new();
        for tile in self.tree.partial_tiles() {
            let width = u32::try_from(tile.hashes.len()).unwrap_or(TILE_WIDTH);
            partial.push((tile_path(tile.level, tile.index, width), tile_bytes(tile.hashes)));
        }
        if let Some(width) = u32::try_from(self.open.len() / LEAF_LEN).ok().filter(|width| *width > 0) {
            partial.push((entries_path(self.size() / WIDTH, width), bundle(&self.open)));
        }
        let full = self.shelf.all_waiting();
        Some(Publication { shard: self.shard, full, partial, checkpoint: self.checkpoint.clone() })
    }

    /// Takes note that a publication is in the files.
    pub fn published(&mut self, publication: Publication) {
        self.shelf.written(&publication.full);
        self.unpublished = self.checkpoint != publication.checkpoint;
    }
}

impl Publication {
    /// Writes all of it. A failure leaves files that are right, if too few.
    pub fn write(&self, files: &dyn LedgerFiles) -> io::Result<()> {
        for (path, bytes) in &self.full {
            put_full(files, self.shard, path, bytes)?;
        }
        for (path, bytes) in &self.partial {
            files.write(self.shard, path, bytes)?;
        }
        files.write(self.shard, CHECKPOINT, self.checkpoint.as_bytes())
    }
}

/// Puts a full tile or bundle in place; its partial forms are needed no more. Before the checkpoint, so that a kill in
/// between leaves none behind: the next start writes the file again.
fn put_full(files: &dyn LedgerFiles, shard: ShardId, path: &str, bytes: &[u8]) -> io::Result<()> {
    files.write(shard, path, bytes)?;
    if let Err(error) = files.remove_partials(shard, path) {
        // They are right, only superfluous.
        tracing::warn!(%error, "partial files of a full tile could not be removed");
    }
    Ok(())
}

/// Appends a leaf; gives the tiles and the bundle that it fills. `open` holds the leaves behind the last full bundle.
fn push_leaf(tree: &mut TileTree, open: &mut Vec<u8>, leaf: &[u8]) -> Vec<(String, Vec<u8>)> {
    let index = tree.size() / WIDTH;
    open.extend_from_slice(leaf);
    let tiles = tree.push(leaf_hash(leaf)).into_iter();
    let path = |level, index| tile_path(level, index, TILE_WIDTH);
    let mut full: Vec<_> =
        tiles.map(|tile| (path(tile.level, tile.index), tile_bytes(&tile.hashes[..]))).collect();
    if tree.size().is_multiple_of(WIDTH) {
        full.push((entries_path(index, TILE_WIDTH), bundle(open)));
        open.clear();
    }
    full
}

/// Remembers the nodes that cost hashing: a proof over a full tile would hash it again each time.
struct CachedNodes<'a, N> {
    inner: N,
    cache: &'a RefCell<HashMap<(u32, u64), Hash>>,
}

impl<N: Nodes> Nodes for CachedNodes<'_, N> {
    type Error = N::Error;

    fn node(&self, level: u32, index: u64) -> Result<Hash, N::Error> {
        if level.is_multiple_of(8) {
            return self.inner.node(level, index);
        }
        if let Some(hash) = self.cache.borrow().get(&(level, index)) {
            return Ok(*hash);
        }
        let hash = self.inner.node(level, index)?;
        let mut cache = self.cache.borrow_mut();
        if cache.len() >= NODES_MAX {
            cache.clear();
        }
        cache.insert((level, index), hash);
        Ok(hash)
    }
}

/// Size of the log that the files show.
fn published_size(files: &dyn LedgerFiles, shard: ShardId) -> io::Result<Option<u64>> {
    let bytes = files.read(shard, CHECKPOINT)?;
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(text.and_then(|text| checkpoint_of(&text)).map(|checkpoint| checkpoint.size))
}

/// The checkpoint in a signed note. The signature is not looked at: it is the enclave's and the reader's affair.
pub fn checkpoint_of(note: &str) -> Option<Checkpoint> {
    let (text, _) = note.split_once("\n\n")?;
    Checkpoint::parse(&format!("{text}\n")).ok()
}

fn bundle(leaves: &[u8]) -> Vec<u8> {
    let leaves: Vec<_> = leaves.chunks_exact(LEAF_LEN).collect();
    entry_bundle(&leaves).expect("1 to 256 leaves of 224 bytes")
}

fn found<E>(proof: Result<Vec<Hash>, ProveError<E>>) -> Result<Vec<Hash>, ProofUnavailable> {
    proof.map_err(|_| ProofUnavailable)
}
