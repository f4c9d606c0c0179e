//! Contents of the static files: entry bundles and hash tiles.

use super::TILE_WIDTH;
use crate::hash::Hash;

/// Why entries and bytes do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// An entry is longer than 65,535 bytes, which its length prefix cannot say.
    #[error("an entry is longer than 65535 bytes")]
    EntryTooLong,
    /// The count is not in `1..=TILE_WIDTH` or not the one that the path names.
    #[error("the file does not hold the number of entries that its path names")]
    Width,
    /// The bytes end within an entry, or go on behind the last one.
    #[error("the file is cut short or has bytes to spare")]
    Length,
}

/// Joins entries into the bytes of a bundle: a big-endian 16-bit length before each (c2sp.org/tlog-tiles).
pub fn entry_bundle<L: AsRef<[u8]>>(leaves: &[L]) -> Result<Vec<u8>, BundleError> {
    if !fits(leaves.len()) {
        return Err(BundleError::Width);
    }
    let mut bytes = Vec::new();
    for leaf in leaves {
        let leaf = leaf.as_ref();
        let length = u16::try_from(leaf.len()).map_err(|_| BundleError::EntryTooLong)?;
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(leaf);
    }
    Ok(bytes)
}

/// Splits a bundle into exactly `width` entries.
pub fn parse_entry_bundle(mut bytes: &[u8], width: u32) -> Result<Vec<&[u8]>, BundleError> {
    if !(1..=TILE_WIDTH).contains(&width) {
        return Err(BundleError::Width);
    }
    let mut leaves = Vec::new();
    for _ in 0..width {
        let (length, rest) = bytes.split_first_chunk::<2>().ok_or(BundleError::Length)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (leaf, rest) = rest.split_at_checked(length).ok_or(BundleError::Length)?;
        leaves.push(leaf);
        bytes = rest;
    }
    if bytes.is_empty() { Ok(leaves) } else { Err(BundleError::Length) }
}

/// Bytes of a hash tile: its hashes one after another (c2sp.org/tlog-tiles).
pub fn tile_bytes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// Splits a hash tile into exactly `width` hashes.
pub fn parse_tile(bytes: &[u8], width: u32) -> Result<Vec<Hash>, BundleError> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        Err(BundleError::Length)
    } else if !fits(hashes.len()) || u32::try_from(hashes.len()) != Ok(width) {
        Err(BundleError::Width)
    } else {
        Ok(hashes.to_vec())
    }
}

fn fits(count: usize) -> bool {
    u32::try_from(count).is_ok_and(|count| (1..=TILE_WIDTH).contains(&count))
}
