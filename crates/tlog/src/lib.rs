//! Merkle tree, tiles, signed notes, checkpoints, cosignatures and the authenticated map.
//!
//! The one place of Keyferry where a root is computed. What the wire shows follows C2SP (tlog-tiles, signed-note,
//! tlog-checkpoint, tlog-cosignature) and RFC 9162, so that any public monitor can check a Keyferry ledger.
//!
//! Deliberately absent: clock, file, socket, thread, environment, randomness, and every secret. Whoever signs
//! passes a closure; whoever stores passes a source.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::unwrap_used, clippy::panic)
)]
#![deny(missing_docs)]

pub mod checkpoint;
pub mod cosignature;
mod hash;
pub mod map;
pub mod merkle;
pub mod note;
pub mod state;
pub mod tile;

pub use checkpoint::{Checkpoint, CheckpointError, SignedCheckpoint};
pub use cosignature::{
    LedgerTime, Quorum, QuorumError, cosign, cosigned_message, encode_timestamped, parse_timestamped,
    verify_cosignature,
};
pub use hash::Hash;
pub use map::{Map, MapEntry, MapError, MapProof, Terminal};
pub use merkle::{
    Frontier, FrontierError, Nodes, ProofError, ProveError, consistency_proof, empty_root, frontier_at,
    inclusion_proof, leaf_hash, node_hash, root_at, verify_consistency, verify_inclusion,
};
pub use note::{KeyAlg, KeyError, Note, NoteError, NoteSignature, VerifierKey, VerifyError, sign_note};
pub use tile::{
    BundleError, FullTile, PartialTile, PathError, TILE_WIDTH, TileError, TileNodes, TilePath, TileSource,
    TileTree, entries_path, entry_bundle, parse_entries_path, parse_entry_bundle, parse_tile,
    parse_tile_path, tile_bytes, tile_path,
};
