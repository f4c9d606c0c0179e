//! The authenticated map: against its definition, and partial against full.

use std::collections::BTreeMap;

use keyferry_tlog::map::{EMPTY, map_inner_hash, map_leaf_hash, neighbour, verify};
use keyferry_tlog::{Hash, Map, MapEntry, MapError, MapProof, Terminal};
use keyferry_wire::Wire;
use proptest::prelude::*;

fn bit(key: &Hash, depth: usize) -> bool {
    key[depth / 8] >> (7 - depth % 8) & 1 == 1
}

/// The definition, read aloud.
fn naive_root(content: &[(Hash, Hash)], depth: usize) -> Hash {
    match content {
        [] => EMPTY,
        [(key, value)] => map_leaf_hash(key, value),
        _ => {
            let (right, left): (Vec<_>, Vec<_>) =
                content.iter().copied().partition(|(key, _)| bit(key, depth));
            map_inner_hash(&naive_root(&left, depth + 1), &naive_root(&right, depth + 1))
        }
    }
}

fn root_of(content: &BTreeMap<Hash, Hash>) -> Hash {
    naive_root(&content.iter().map(|(key, value)| (*key, *value)).collect::<Vec<_>>(), 0)
}

/// Few bases with one or two bits turned over: many shared prefixes, up to 255 bits long.
fn any_key() -> impl Strategy<Value = Hash> {
    let base = prop::sample::select(vec![[0u8; 32], [0xff; 32], [0xa5; 32]]);
    let turn = || prop::sample::select(vec![0usize, 1, 2, 7, 8, 9, 100, 200, 254, 255]);
    (base, turn(), turn()).prop_map(|(mut key, a, b)| {
        key[a / 8] ^= 0x80 >> (a % 8);
        key[b / 8] ^= 0x80 >> (b % 8);
        key
    })
}

fn any_value() -> impl Strategy<Value = Hash> {
    (0u8..4).prop_map(|value| [value; 32])
}

fn key(first: u8, last: u8) -> Hash {
    let mut key = [0; 32];
    (key[0], key[31]) = (first, last);
    key
}

fn full(content: &BTreeMap<Hash, Hash>) -> Map {
    let mut map = Map::new();
    for (key, value) in content {
        map.set(*key, *value).expect("full");
    }
    map
}

/// Does what an engine does: tries, fetches the proof that is asked for, tries again; counts the proofs.
fn with_proofs<T>(
    partial: &mut Map,
    host: &Map,
    mut act: impl FnMut(&mut Map) -> Result<T, MapError>,
) -> (T, u32) {
    for proofs in 0..3 {
        match act(partial) {
            Ok(done) => return (done, proofs),
            Err(MapError::Unknown { key }) => {
                let proof = host.prove(&key).expect("full");
                assert_eq!(partial.admit(&key, &proof), host.get(&key));
            }
            Err(other) => unreachable!("{other}"),
        }
    }
    unreachable!("more than two proofs asked for");
}

#[test]
fn the_empty_map_has_the_empty_root_and_proves_absence() {
    let mut map = Map::new();
    assert_eq!((map.root(), map.len(), map.is_empty()), (EMPTY, 0, true));
    let proof = map.prove(&[1; 32]).expect("full");
    assert_eq!(verify(&EMPTY, &[1; 32], &proof), Ok(None));
    let mut partial = Map::partial(EMPTY);
    assert_eq!(partial.get(&[1; 32]), Ok(None));
    partial.set([1; 32], [2; 32]).expect("known to be empty");
    assert_eq!(partial.root(), map_leaf_hash(&[1; 32], &[2; 32]));
}

#[test]
fn a_single_key_is_the_root_whatever_its_bits() {
    let mut map = Map::new();
    assert_eq!(map.set([0xff; 32], [1; 32]), Ok(None));
    assert_eq!(map.set([0xff; 32], [2; 32]), Ok(Some([1; 32])));
    assert_eq!(map.root(), map_leaf_hash(&[0xff; 32], &[2; 32]));
    assert_eq!(map.remove(&[0xfe; 32]), Ok(None));
    assert_eq!(map.remove(&[0xff; 32]), Ok(Some([2; 32])));
    assert_eq!(map.root(), EMPTY);
}

#[test]
fn two_keys_that_differ_in_the_last_bit_stand_at_the_deepest_place() {
    let mut map = Map::new();
    map.set(key(0, 0), [1; 32]).expect("full");
    map.set(key(0, 1), [2; 32]).expect("full");
    let root = map.root();
    let proof = map.prove(&key(0, 1)).expect("full");
    assert_eq!(proof.siblings.len(), 256);
    assert_eq!(verify(&root, &key(0, 1), &proof), Ok(Some([2; 32])));
    assert_eq!(map.prove(&key(0x80, 0)).expect("full").siblings.len(), 1);
    let longer = MapProof { siblings: [proof.siblings, vec![[1; 32]]].concat(), ..proof };
    assert_eq!(verify(&root, &key(0, 1), &longer), Err(MapError::Shape));
    map.remove(&key(0, 0)).expect("full");
    assert_eq!(map.root(), map_leaf_hash(&key(0, 1), &[2; 32]));
}

#[test]
fn removing_asks_for_the_neighbour_that_could_move_up() {
    let content = BTreeMap::from([(key(0, 1), [1; 32]), (key(0, 2), [2; 32]), (key(0x80, 0), [3; 32])]);
    let mut host = full(&content);
    let mut partial = Map::partial(host.root());
    let proof = host.prove(&key(0, 1)).expect("full");
    assert_eq!(partial.admit(&key(0, 1), &proof), Ok(Some([1; 32])));
    let before = partial.root();
    let asked = neighbour(&key(0, 1), &proof).expect("not at the root");
    assert_eq!(partial.remove(&key(0, 1)), Err(MapError::Unknown { key: asked }));
    assert_eq!(partial.root(), before);
    let proof = host.prove(&asked).expect("full");
    assert_eq!(partial.admit(&asked, &proof), Ok(None));
    assert_eq!(partial.remove(&key(0, 1)), Ok(Some([1; 32])));
    host.remove(&key(0, 1)).expect("full");
    assert_eq!(partial.root(), host.root());
}

#[test]
fn what_is_known_locally_wins_over_a_proof() {
    let mut host = full(&BTreeMap::from([(key(0, 1), [1; 32]), (key(0x80, 0), [3; 32])]));
    let mut partial = Map::partial(host.root());
    let old = host.prove(&key(0, 1)).expect("full");
    assert_eq!(partial.admit(&key(0, 1), &old), Ok(Some([1; 32])));
    partial.set(key(0, 1), [9; 32]).expect("known");
    assert_eq!(partial.admit(&key(0, 1), &old), Ok(Some([9; 32])));
}

#[test]
fn an_unknown_key_is_neither_present_nor_absent() {
    let mut host = full(&BTreeMap::from([(key(0, 1), [1; 32]), (key(0x80, 0), [3; 32])]));
    let mut partial = Map::partial(host.root());
    let unknown = |key| MapError::Unknown { key };
    assert_eq!(partial.get(&key(5, 5)), Err(unknown(key(5, 5))));
    assert_eq!(partial.prove(&key(5, 5)), Err(unknown(key(5, 5))));
    assert_eq!(partial.set(key(5, 5), [1; 32]), Err(unknown(key(5, 5))));
    assert_eq!(partial.remove(&key(5, 5)), Err(unknown(key(5, 5))));
    assert!(!partial.is_empty());
    assert_eq!(partial.root(), host.root());
}

#[test]
fn proofs_of_impossible_shape_are_refused() {
    let leaf = Terminal::Leaf(MapEntry { key: key(0, 1), value: [1; 32] });
    let leaf_hash = map_leaf_hash(&key(0, 1), &[1; 32]);
    let above = map_inner_hash(&leaf_hash, &EMPTY);
    let proof = |siblings: &[Hash], terminal: &Terminal| MapProof {
        siblings: siblings.to_vec(),
        terminal: terminal.clone(),
    };
    // A lone leaf one level too deep: right hashes, wrong shape.
    assert_eq!(verify(&above, &key(0, 1), &proof(&[EMPTY], &leaf)), Err(MapError::Shape));
    assert_eq!(
        verify(&map_inner_hash(&EMPTY, &EMPTY), &key(0, 1), &proof(&[EMPTY], &Terminal::Empty)),
        Err(MapError::Shape)
    );
    // A leaf from the left half cannot end a path into the right half.
    let root = map_inner_hash(&[7; 32], &leaf_hash);
    assert_eq!(verify(&root, &key(0x80, 0), &proof(&[[7; 32]], &leaf)), Err(MapError::Shape));
    let mut partial = Map::partial(root);
    assert_eq!(partial.admit(&key(0x80, 0), &proof(&[[7; 32]], &leaf)), Err(MapError::Shape));
    assert_eq!(partial.admit(&key(0x80, 0), &proof(&[], &Terminal::Empty)), Err(MapError::Root));
    let longest = proof(&vec![[7; 32]; 257], &leaf);
    assert_eq!(verify(&root, &key(0, 1), &longest), Err(MapError::Shape));
}

#[test]
fn a_proof_that_ends_above_an_unknown_subtree_is_refused() {
    let content = BTreeMap::from([(key(0, 1), [1; 32]), (key(0, 2), [2; 32]), (key(0x80, 0), [3; 32])]);
    let mut host = full(&content);
    let mut partial = Map::partial(host.root());
    partial.admit(&key(0x80, 0), &host.prove(&key(0x80, 0)).expect("full")).expect("right");
    let short = MapProof { siblings: vec![], terminal: Terminal::Empty };
    assert_eq!(partial.admit(&key(0, 1), &short), Err(MapError::Shape));
    assert_eq!(partial.root(), host.root());
}

/// Every proof one bit away, cut short or made longer.
fn damaged(proof: &MapProof) -> Vec<MapProof> {
    let mut all = Vec::new();
    for at in 0..proof.siblings.len() {
        for bit in 0..256 {
            let mut other = proof.clone();
            other.siblings[at][bit / 8] ^= 1 << (bit % 8);
            all.push(other);
        }
    }
    if let Terminal::Leaf(MapEntry { key, value }) = proof.terminal {
        for bit in 0..256 {
            let (mut other_key, mut other_value) = (key, value);
            other_key[bit / 8] ^= 1 << (bit % 8);
            other_value[bit / 8] ^= 1 << (bit % 8);
            all.push(MapProof {
                terminal: Terminal::Leaf(MapEntry { key: other_key, value }),
                ..proof.clone()
            });
            all.push(MapProof {
                terminal: Terminal::Leaf(MapEntry { key, value: other_value }),
                ..proof.clone()
            });
        }
        all.push(MapProof { terminal: Terminal::Empty, ..proof.clone() });
    }
    for cut in 0..proof.siblings.len() {
        all.push(MapProof { siblings: proof.siblings[..cut].to_vec(), ..proof.clone() });
        all.push(MapProof { siblings: proof.siblings[cut + 1..].to_vec(), ..proof.clone() });
    }
    for more in [EMPTY, [1; 32]] {
        all.push(MapProof { siblings: [proof.siblings.clone(), vec![more]].concat(), ..proof.clone() });
        all.push(MapProof { siblings: [vec![more], proof.siblings.clone()].concat(), ..proof.clone() });
    }
    all
}

#[test]
fn every_damaged_proof_is_refused_and_changes_nothing() {
    let content: BTreeMap<Hash, Hash> = (0..12u8).map(|i| (key(i.wrapping_mul(37), i), [i; 32])).collect();
    let mut host = full(&content);
    let root = host.root();
    // Present; absent beside another key; absent in an empty subtree.
    for asked in [key(37, 1), key(37, 2), key(74, 0), key(0xfe, 0)] {
        let proof = host.prove(&asked).expect("full");
        assert_eq!(verify(&root, &asked, &proof), Ok(content.get(&asked).copied()));
        for bad in damaged(&proof) {
            assert!(verify(&root, &asked, &bad).is_err(), "{bad:?}");
            let mut partial = Map::partial(root);
            assert!(partial.admit(&asked, &bad).is_err());
            assert_eq!((partial.len(), partial.root()), (0, root));
            assert_eq!(partial.get(&asked), Err(MapError::Unknown { key: asked }));
        }
    }
}

#[test]
fn every_damaged_encoding_of_a_proof_is_refused() {
    let content: BTreeMap<Hash, Hash> = (0..12u8).map(|i| (key(i.wrapping_mul(37), i), [i; 32])).collect();
    let mut host = full(&content);
    let root = host.root();
    for asked in [key(37, 1), key(37, 2), key(0xfe, 0)] {
        let bytes = host.prove(&asked).expect("full").to_bytes();
        let accepts = |bytes: &[u8]| {
            MapProof::from_bytes(bytes).is_ok_and(|proof| verify(&root, &asked, &proof).is_ok())
        };
        assert!(accepts(&bytes));
        for bit in 0..bytes.len() * 8 {
            let mut other = bytes.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert!(!accepts(&other), "bit {bit}");
        }
        for cut in 0..bytes.len() {
            assert!(!accepts(&bytes[..cut]), "cut at {cut}");
        }
    }
}

#[test]
fn a_damaged_proof_of_a_half_known_path_is_refused_or_changes_nothing() {
    let content: BTreeMap<Hash, Hash> = (0..12u8).map(|i| (key(i.wrapping_mul(37), i), [i; 32])).collect();
    let mut host = full(&content);
    let root = host.root();
    let (known, asked) = (key(37, 1), key(74, 2));
    let known_proof = host.prove(&known).expect("full");
    let proof = host.prove(&asked).expect("full");
    for bad in damaged(&proof) {
        let mut partial = Map::partial(root);
        partial.admit(&known, &known_proof).expect("right");
        let admitted = partial.admit(&asked, &bad);
        assert!(admitted.is_err() || admitted == Ok(content.get(&asked).copied()));
        assert_eq!(partial.root(), root);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Set(Hash, Hash),
    Remove(Hash),
    /// Admit a proof that was made at the beginning.
    AdmitOld(Hash),
    AdmitNew(Hash),
    Get(Hash),
    Root,
    Prove(Hash),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (any_key(), any_value()).prop_map(|(key, value)| Step::Set(key, value)),
        4 => any_key().prop_map(Step::Remove),
        1 => any_key().prop_map(Step::AdmitOld),
        2 => any_key().prop_map(Step::AdmitNew),
        1 => any_key().prop_map(Step::Get),
        1 => Just(Step::Root),
        1 => any_key().prop_map(Step::Prove),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn partial_full_and_definition_agree_under_any_updates(
        start in prop::collection::btree_map(any_key(), any_value(), 0..40),
        steps in prop::collection::vec(any_step(), 0..60),
    ) {
        let mut content = start.clone();
        let original = full(&start);
        let mut host = full(&start);
        let mut partial = Map::partial(host.root());
        for step in steps {
            match step {
                Step::Set(key, value) => {
                    let (before, _) = with_proofs(&mut partial, &host, |map| map.set(key, value));
                    prop_assert_eq!(before, content.insert(key, value));
                    prop_assert_eq!(host.set(key, value), Ok(before));
                }
                Step::Remove(key) => {
                    let (before, _) = with_proofs(&mut partial, &host, |map| map.remove(&key));
                    prop_assert_eq!(before, content.remove(&key));
                    prop_assert_eq!(host.remove(&key), Ok(before));
                }
                // What is still unknown has not changed since the beginning, so the old proof still fits there.
                Step::AdmitOld(key) => {
                    let proof = original.prove(&key).expect("full");
                    prop_assert_eq!(partial.admit(&key, &proof), Ok(content.get(&key).copied()));
                }
                Step::AdmitNew(key) => {
                    let proof = host.prove(&key).expect("full");
                    prop_assert_eq!(partial.admit(&key, &proof), Ok(content.get(&key).copied()));
                }
                Step::Get(key) => {
                    let (value, proofs) = with_proofs(&mut partial, &host, |map| map.get(&key));
                    prop_assert!(proofs <= 1);
                    prop_assert_eq!(value, content.get(&key).copied());
                }
                Step::Root => {
                    prop_assert_eq!(partial.root(), root_of(&content));
                    prop_assert_eq!(host.root(), root_of(&content));
                }
                Step::Prove(key) => {
                    let (proof, _) = with_proofs(&mut partial, &host, |map| map.prove(&key));
                    prop_assert_eq!(&proof, &host.prove(&key).expect("full"));
                    prop_assert_eq!(verify(&root_of(&content), &key, &proof), Ok(content.get(&key).copied()));
                }
            }
        }
        prop_assert_eq!(host.len(), content.len());
        prop_assert_eq!(host.root(), root_of(&content));
        prop_assert_eq!(partial.root(), root_of(&content));
    }

    #[test]
    fn the_root_does_not_depend_on_the_order_of_updates(
        content in prop::collection::btree_map(any_key(), any_value(), 0..30),
        detour in prop::collection::btree_map(any_key(), any_value(), 0..30),
    ) {
        let mut map = full(&detour);
        for (key, value) in content.iter().rev() {
            map.set(*key, *value).expect("full");
        }
        for key in detour.keys().filter(|key| !content.contains_key(*key)) {
            map.remove(key).expect("full");
        }
        prop_assert_eq!(map.root(), root_of(&content));
        prop_assert_eq!(map.len(), content.len());
    }

    #[test]
    fn random_proofs_never_stop_the_map(
        root in any::<Hash>(),
        asked in any_key(),
        siblings in prop::collection::vec(prop_oneof![Just(EMPTY), any::<Hash>()], 0..300),
        terminal in prop_oneof![Just(Terminal::Empty), (any_key(), any_value()).prop_map(|(key, value)| Terminal::Leaf(MapEntry { key, value }))],
    ) {
        let proof = MapProof { siblings, terminal };
        prop_assert!(verify(&root, &asked, &proof).is_err());
        prop_assert!(Map::partial(root).admit(&asked, &proof).is_err());
        // Under its own root a proof of possible shape is admitted, and used without a stop.
        let top = own_root(&asked, &proof);
        let mut partial = Map::partial(top);
        if partial.admit(&asked, &proof).is_ok() {
            prop_assert_eq!(partial.root(), top);
            let _ = partial.remove(&asked);
            partial.set(asked, [1; 32]).expect("known");
            prop_assert_eq!(partial.get(&asked), Ok(Some([1; 32])));
            partial.root();
        }
    }
}

fn own_root(key: &Hash, proof: &MapProof) -> Hash {
    let end = match proof.terminal {
        Terminal::Empty => EMPTY,
        Terminal::Leaf(MapEntry { key, value }) => map_leaf_hash(&key, &value),
    };
    let upwards = proof.siblings.iter().take(256).enumerate().rev();
    upwards.fold(end, |node, (depth, beside)| {
        if bit(key, depth) { map_inner_hash(beside, &node) } else { map_inner_hash(&node, beside) }
    })
}
