//! The body that a fuzzer would run, on random bytes and on damaged examples: whatever is accepted has just one
//! encoding, and nothing panics.

use crate::item::Item;
use crate::table::{Case, cases};
use proptest::{collection::vec, prelude::*, test_runner::FileFailurePersistence};
use std::sync::LazyLock;

static CASES: LazyLock<Vec<Case>> = LazyLock::new(cases);

pub(crate) fn config() -> ProptestConfig {
    let file = FileFailurePersistence::Direct("tests/wire.regressions");
    ProptestConfig { failure_persistence: Some(Box::new(file)), ..ProptestConfig::default() }
}

/// The body.
fn accepted_only_as_written(bytes: &[u8]) {
    for case in CASES.iter() {
        if let Ok(again) = (case.again)(bytes) {
            assert_eq!(again, bytes, "{}", case.full());
        }
    }
}

/// How an example is damaged.
#[derive(Clone, Debug)]
enum Damage {
    Set(usize, u8),
    Cut(usize, usize),
    Insert(usize, Vec<u8>),
    Repeat(usize, usize),
    /// A piece of another example is put over this one.
    Splice(usize, usize, usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<usize>;
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Damage::Set(at, byte)),
        (at(), 1..40_usize).prop_map(|(at, len)| Damage::Cut(at, len)),
        (at(), vec(any::<u8>(), 1..12)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
        (at(), 1..40_usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        (at(), at(), at(), 1..80_usize).prop_map(|(at, of, from, len)| Damage::Splice(at, of, from, len)),
    ]
}

fn example(pick: usize) -> Vec<u8> {
    let case = &CASES[pick % CASES.len()];
    case.examples[pick / CASES.len() % case.examples.len()].clone()
}

fn range(at: usize, len: usize, whole: usize) -> std::ops::Range<usize> {
    let start = at % (whole + 1);
    start..(start + len).min(whole)
}

fn apply(bytes: &mut Vec<u8>, damage: Damage) {
    let whole = bytes.len();
    match damage {
        Damage::Set(at, byte) => {
            if let Some(slot) = bytes.get_mut(at % (whole + 1)) {
                *slot = byte;
            }
        }
        Damage::Cut(at, len) => {
            bytes.drain(range(at, len, whole));
        }
        Damage::Insert(at, new) => {
            let at = at % (whole + 1);
            bytes.splice(at..at, new);
        }
        Damage::Repeat(at, len) => {
            let piece = range(at, len, whole);
            let copy = bytes[piece.clone()].to_vec();
            bytes.splice(piece.end..piece.end, copy);
        }
        Damage::Splice(at, of, from, len) => {
            let other = example(of);
            let piece = other[range(from, len, other.len())].to_vec();
            let place = range(at, piece.len(), whole);
            bytes.splice(place, piece);
        }
    }
}

/// Any CBOR of our kind, canonical or nearly so: random bytes alone seldom get past the first head.
fn any_item() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        (0..30_u64).prop_map(Item::Uint),
        any::<u64>().prop_map(Item::Uint),
        any::<u64>().prop_map(Item::Negative),
        prop_oneof![Just(8), Just(16), Just(32), Just(64), 0..70_usize]
            .prop_map(|len| Item::Bytes(vec![7; len])),
        "[a-z_]{0,12}".prop_map(Item::Text),
        Just(Item::Text("stale".to_owned())),
        any::<bool>().prop_map(Item::Bool),
        vec(any::<u8>(), 0..4).prop_map(Item::Raw),
    ];
    leaf.prop_recursive(6, 60, 10, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Item::Array),
            (1..16_u64, inner.clone()).prop_map(|(number, body)| Item::Array(vec![Item::Uint(number), body])),
            vec(inner, 0..10).prop_map(|values| Item::Map((1..).map(Item::Uint).zip(values).collect())),
        ]
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn random_bytes_are_refused_or_come_back(bytes in vec(any::<u8>(), 0..400)) {
        accepted_only_as_written(&bytes);
    }

    #[test]
    fn random_trees_are_refused_or_come_back(item in any_item()) {
        accepted_only_as_written(&item.to_bytes());
    }

    #[test]
    fn damaged_examples_are_refused_or_come_back(pick in any::<usize>(), all in vec(damage(), 1..5)) {
        let mut bytes = example(pick);
        all.into_iter().for_each(|damage| apply(&mut bytes, damage));
        accepted_only_as_written(&bytes);
    }
}

/// Each type in its turn, so that none depends on the picks above.
#[test]
fn every_type_meets_damaged_examples_of_its_own() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as usize
    };
    for case in CASES.iter() {
        for example in &case.examples {
            for _ in 0..200 {
                let mut bytes = example.clone();
                for _ in 0..1 + random() % 3 {
                    let at = random() % bytes.len();
                    bytes[at] = random() as u8;
                }
                if let Ok(again) = (case.again)(&bytes) {
                    assert_eq!(again, bytes, "{}", case.full());
                }
            }
        }
    }
}
