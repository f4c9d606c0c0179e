//! Tiles: names, bytes, growth, restart.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use keyferry_tlog::*;
use proptest::prelude::*;

use crate::vectors::Leaves;

/// Full tiles by (level, index).
#[derive(Default)]
struct Disk(RefCell<Tiles>);

type Tiles = BTreeMap<(u32, u64), Arc<Vec<Hash>>>;

#[derive(Debug, PartialEq)]
struct Missing;

impl TileSource for Disk {
    type Error = Missing;

    fn tile(&self, level: u32, index: u64) -> Result<Arc<Vec<Hash>>, Missing> {
        self.0.borrow().get(&(level, index)).cloned().ok_or(Missing)
    }
}

impl Disk {
    fn keep(&self, tiles: Vec<FullTile>) {
        for tile in tiles {
            let before = self.0.borrow_mut().insert((tile.level, tile.index), Arc::new(tile.hashes.to_vec()));
            assert_eq!(before, None, "a tile is handed out once");
        }
    }
}

fn leaf(i: u64) -> Hash {
    leaf_hash(&i.to_be_bytes())
}

fn grown(size: u64) -> (TileTree, Disk) {
    let (mut tree, disk) = (TileTree::new(), Disk::default());
    (0..size).for_each(|i| disk.keep(tree.push(leaf(i))));
    (tree, disk)
}

#[test]
fn tile_paths_are_those_of_the_specification() {
    assert_eq!(tile_path(0, 1234067, 256), "tile/0/x001/x234/067");
    assert_eq!(tile_path(0, 1067, 256), "tile/0/x001/067");
    assert_eq!(tile_path(2, 0, 1), "tile/2/000.p/1");
    assert_eq!(entries_path(273, 112), "tile/entries/273.p/112");
    assert_eq!(entries_path(999, 256), "tile/entries/999");
    assert_eq!(entries_path(u64::MAX, 256), "tile/entries/x018/x446/x744/x073/x709/x551/615");
}

#[test]
fn other_spellings_of_tile_paths_are_refused() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/00/000",
        "tile/64/000",
        "tile/+0/000",
        "tile/-1/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/x001/x002",
        "tile/0/xx001/002",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000.p/1.p/1",
        "tile/0/+01",
        "tile/0/00x",
        "tile/x/000",
        "tile//000",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x100/x000/x000/x000/x000/x000/x000/000",
        "tile/0/\u{661}00",
        "tile/entries/000",
    ] {
        assert_eq!(parse_tile_path(path), Err(PathError), "{path}");
    }
    for path in
        ["tile/entries/", "tile/entries/0", "tile/entries/x000/000", "tile/entries/000.p/256", "tile/0/000"]
    {
        assert_eq!(parse_entries_path(path), Err(PathError), "{path}");
    }
}

#[test]
fn bundles_of_a_wrong_width_or_length_are_refused() {
    let bundle = entry_bundle(&[b"a".as_slice(), b"", b"ccc"]).expect("fits");
    assert_eq!(bundle, b"\x00\x01a\x00\x00\x00\x03ccc");
    for cut in 0..bundle.len() {
        assert_eq!(parse_entry_bundle(&bundle[..cut], 3), Err(BundleError::Length), "{cut}");
    }
    assert_eq!(parse_entry_bundle(&bundle, 2), Err(BundleError::Length));
    assert_eq!(parse_entry_bundle(&bundle, 4), Err(BundleError::Length));
    assert_eq!(parse_entry_bundle(b"", 0), Err(BundleError::Width));
    assert_eq!(parse_entry_bundle(&bundle, 257), Err(BundleError::Width));
    assert_eq!(entry_bundle(&[vec![0; 65536]]), Err(BundleError::EntryTooLong));
    assert_eq!(entry_bundle(&vec![b""; 257]), Err(BundleError::Width));
    assert_eq!(entry_bundle::<&[u8]>(&[]), Err(BundleError::Width));
    let longest = entry_bundle(&[vec![1; 65535]]).expect("fits");
    assert_eq!(parse_entry_bundle(&longest, 1).expect("fits")[0].len(), 65535);
}

#[test]
fn tiles_of_a_wrong_width_are_refused() {
    let bytes = tile_bytes(&[[1; 32], [2; 32]]);
    assert_eq!(parse_tile(&bytes, 2), Ok(vec![[1; 32], [2; 32]]));
    assert_eq!(parse_tile(&bytes, 1), Err(BundleError::Width));
    assert_eq!(parse_tile(&bytes[..63], 2), Err(BundleError::Length));
    assert_eq!(parse_tile(&[], 0), Err(BundleError::Width));
    assert_eq!(parse_tile(&vec![0; 257 * 32], 257), Err(BundleError::Width));
}

#[test]
fn a_log_of_70000_leaves_has_the_tiles_that_the_specification_counts() {
    let (tree, disk) = grown(70_000);
    let tiles = disk.0.borrow();
    assert_eq!(tiles.keys().filter(|(level, _)| *level == 0).count(), 273);
    assert_eq!(tiles.keys().filter(|(level, _)| *level > 0).collect::<Vec<_>>(), [&(1, 0)]);
    let partial: Vec<_> =
        tree.partial_tiles().iter().map(|tile| (tile.level, tile.index, tile.hashes.len())).collect();
    assert_eq!(partial, [(0, 273, 112), (1, 1, 17), (2, 0, 1)]);
    drop(tiles);
    let restored = TileTree::restore(70_000, &disk, (69_888..70_000).map(leaf).collect()).expect("complete");
    assert_eq!((restored.size(), restored.root()), (tree.size(), tree.root()));
    assert_eq!(restored.partial_tiles(), tree.partial_tiles());
    let index = 65_535;
    let proof = inclusion_proof(&tree.with(&disk), index, 70_000).expect("complete");
    assert_eq!(verify_inclusion(&leaf(index), index, 70_000, &proof, &tree.root()), Ok(()));
}

#[test]
fn a_tree_of_256_leaves_has_one_full_tile_and_one_hash_above() {
    let (tree, disk) = grown(256);
    assert_eq!(disk.0.borrow().len(), 1);
    let partial = tree.partial_tiles();
    assert_eq!((partial.len(), partial[0].level, partial[0].hashes), (1, 1, [tree.root()].as_slice()));
}

#[test]
fn roots_and_nodes_agree_with_the_plain_tree_at_every_size() {
    let leaves = Leaves((0..600).map(leaf).collect());
    let (mut tree, disk) = (TileTree::new(), Disk::default());
    for size in 0..600u64 {
        if size % 37 == 0 || size % 256 <= 1 {
            assert_eq!(Ok(tree.root()), root_at(&leaves, size));
            for level in 0..10u32 {
                for index in 0..size >> level {
                    assert_eq!(
                        tree.with(&disk).node(level, index),
                        Ok(leaves.node(level, index).expect("infallible"))
                    );
                }
                let beyond = tree.with(&disk).node(level, size >> level);
                assert_eq!(beyond, Err(TileError::Beyond { level, index: size >> level, size }));
            }
        }
        disk.keep(tree.push(leaf(size)));
    }
    assert!(matches!(tree.with(&disk).node(64, 0), Err(TileError::Beyond { .. })));
    assert!(matches!(tree.with(&disk).node(u32::MAX, u64::MAX), Err(TileError::Beyond { .. })));
}

#[test]
fn a_missing_or_short_tile_is_an_error() {
    let (tree, disk) = grown(600);
    let restore = |disk: &Disk, trailing: u64| {
        TileTree::restore(600, disk, (600 - trailing..600).map(leaf).collect()).map(|tree| tree.root())
    };
    assert_eq!(restore(&disk, 88), Ok(tree.root()));
    assert_eq!(restore(&disk, 87), Err(TileError::Trailing { size: 600 }));
    assert_eq!(restore(&disk, 89), Err(TileError::Trailing { size: 600 }));
    disk.0.borrow_mut().insert((0, 1), Arc::new(vec![[0; 32]; 255]));
    assert_eq!(tree.with(&disk).node(0, 300), Err(TileError::Width { level: 0, index: 1 }));
    assert_eq!(restore(&disk, 88), Err(TileError::Width { level: 0, index: 1 }));
    disk.0.borrow_mut().remove(&(0, 1));
    assert_eq!(tree.with(&disk).node(0, 300), Err(TileError::Source(Missing)));
    assert_eq!(restore(&disk, 88), Err(TileError::Source(Missing)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_restored_tree_grows_like_one_that_never_stopped(size in 0u64..1200, more in 0u64..300) {
        let (mut tree, disk) = grown(size);
        let trailing = (size - size % 256..size).map(leaf).collect();
        let mut restored = TileTree::restore(size, &disk, trailing).expect("complete");
        for i in size..size + more {
            let full = tree.push(leaf(i));
            prop_assert_eq!(&restored.push(leaf(i)), &full);
            disk.keep(full);
        }
        prop_assert_eq!(restored.root(), tree.root());
        prop_assert_eq!(restored.frontier(), tree.frontier());
        prop_assert_eq!(restored.partial_tiles(), tree.partial_tiles());
    }

    #[test]
    fn proofs_from_tiles_are_accepted(size in 1u64..1500, a in any::<prop::sample::Index>()) {
        let (tree, disk) = grown(size);
        let nodes = tree.with(&disk);
        let index = a.index(size as usize) as u64;
        let proof = inclusion_proof(&nodes, index, size).expect("complete");
        prop_assert_eq!(verify_inclusion(&leaf(index), index, size, &proof, &tree.root()), Ok(()));
        let old = index + 1;
        let proof = consistency_proof(&nodes, old, size).expect("complete");
        let old_root = root_at(&nodes, old).expect("complete");
        prop_assert_eq!(verify_consistency(old, &old_root, size, &tree.root(), &proof), Ok(()));
    }
}

proptest! {
    #[test]
    fn every_tile_path_is_read_back(level in 0u32..64, index in any::<u64>(), shift in 0u32..64, width in 1u32..=256) {
        let index = index >> shift;
        prop_assert_eq!(parse_tile_path(&tile_path(level, index, width)), Ok(TilePath { level, index, width }));
        prop_assert_eq!(parse_entries_path(&entries_path(index, width)), Ok((index, width)));
    }

    #[test]
    fn tile_paths_of_random_text_are_read_in_one_spelling(text in "tile/(entries|[0-9]{1,2})/[x0-9/.p]{0,14}") {
        if let Ok(TilePath { level, index, width }) = parse_tile_path(&text) {
            prop_assert_eq!(tile_path(level, index, width), text.as_str());
        }
        if let Ok((index, width)) = parse_entries_path(&text) {
            prop_assert_eq!(entries_path(index, width), text.as_str());
        }
    }

    #[test]
    fn random_bytes_never_stop_the_bundle_parser(bytes in prop::collection::vec(any::<u8>(), 0..400), width in 0u32..300) {
        if let Ok(leaves) = parse_entry_bundle(&bytes, width) {
            prop_assert_eq!(entry_bundle(&leaves).expect("came out of a bundle"), bytes);
        }
    }
}
