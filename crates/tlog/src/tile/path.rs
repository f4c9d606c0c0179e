//! Names of tiles and bundles: `tile/0/x001/067`, `tile/entries/000.p/15`.

use super::TILE_WIDTH;

/// The highest tile level that a path can name (c2sp.org/tlog-tiles).
const LEVEL_MAX: u32 = 63;

/// What the path of a hash tile says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TilePath {
    /// Level of the tile, 0 for leaf hashes.
    pub level: u32,
    /// Index of the tile within its level.
    pub index: u64,
    /// Hashes in the tile: `TILE_WIDTH`, or fewer in a partial one.
    pub width: u32,
}

/// The text is no path of a tile or bundle in its one spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a tile path")]
pub struct PathError;

/// Path of a hash tile; a width below `TILE_WIDTH` names the partial tile.
///
/// # Panics
/// On a level above 63 or a width outside `1..=TILE_WIDTH`: no such tile exists.
pub fn tile_path(level: u32, index: u64, width: u32) -> String {
    assert!(level <= LEVEL_MAX, "tile level {level} does not exist");
    format!("tile/{level}/{}", index_and_width(index, width))
}

/// Path of an entry bundle; a width below `TILE_WIDTH` names the partial bundle.
///
/// # Panics
/// On a width outside `1..=TILE_WIDTH`: no such bundle exists.
pub fn entries_path(index: u64, width: u32) -> String {
    format!("tile/entries/{}", index_and_width(index, width))
}

/// Reads the path of a hash tile; every spelling but that of `tile_path` is refused.
pub fn parse_tile_path(path: &str) -> Result<TilePath, PathError> {
    let (level, rest) = path.strip_prefix("tile/").and_then(|rest| rest.split_once('/')).ok_or(PathError)?;
    let level = decimal(level).and_then(|level| u32::try_from(level).ok()).ok_or(PathError)?;
    let (index, width) = parse_index_and_width(rest)?;
    if level <= LEVEL_MAX && tile_path(level, index, width) == path {
        Ok(TilePath { level, index, width })
    } else {
        Err(PathError)
    }
}

/// Reads the path of an entry bundle as (index, width); every spelling but that of `entries_path` is refused.
pub fn parse_entries_path(path: &str) -> Result<(u64, u32), PathError> {
    let rest = path.strip_prefix("tile/entries/").ok_or(PathError)?;
    let (index, width) = parse_index_and_width(rest)?;
    if entries_path(index, width) == path { Ok((index, width)) } else { Err(PathError) }
}

/// Groups of three digits, all but the last marked with `x`: `x001/x234/067`, then `.p/W` when partial.
fn index_and_width(index: u64, width: u32) -> String {
    assert!((1..=TILE_WIDTH).contains(&width), "a tile of width {width} does not exist");
    let mut text = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        text = format!("x{:03}/{text}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH {
        text.push_str(&format!(".p/{width}"));
    }
    text
}

/// Reads generously; the callers compare with the one right spelling.
fn parse_index_and_width(text: &str) -> Result<(u64, u32), PathError> {
    let (groups, width) = match text.split_once(".p/") {
        None => (text, TILE_WIDTH),
        Some((groups, width)) => {
            let width = decimal(width).and_then(|width| u32::try_from(width).ok());
            (groups, width.filter(|width| (1..TILE_WIDTH).contains(width)).ok_or(PathError)?)
        }
    };
    let mut index = 0u64;
    for group in groups.split('/') {
        let digits =
            decimal(group.trim_start_matches('x')).filter(|digits| *digits < 1000).ok_or(PathError)?;
        index = index.checked_mul(1000).and_then(|index| index.checked_add(digits)).ok_or(PathError)?;
    }
    Ok((index, width))
}

/// Digits only: `u64::from_str` would take a plus sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}
