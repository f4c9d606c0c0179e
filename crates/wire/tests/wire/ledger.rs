//! Leaves and events: fixed layouts, so every byte has one meaning.

use keyferry_wire::ledger::{
    Class, EVENT_LEN, Event, Kind, LEAF_LEN, Leaf, NO_DEVICE, Outcome, SEALED_EVENT_LEN,
};
use proptest::prelude::*;

fn leaf() -> Leaf {
    Leaf {
        class: Class::Event,
        batch: 0x0102_0304_0506_0708,
        time_secs: 0x1112_1314_1516_1718,
        tag: [0x21; 32],
        salt: [0x22; 16],
        commitment: [0x23; 32],
        sealed: [0x24; SEALED_EVENT_LEN],
    }
}

fn event() -> Event {
    Event {
        kind: Kind::Attempt,
        outcome: Outcome::Again,
        seq: 0x0102_0304_0506_0708,
        time_ms: 0x1112_1314_1516_1718,
        device: 0x3132,
        operation: [0x41; 16],
        credential: [0x42; 16],
        generation: 0x5152_5354,
        left: 9,
        detail: [0x43; 32],
        verified: true,
    }
}

#[test]
fn a_leaf_has_the_published_layout() {
    let bytes = leaf().to_bytes();
    let expected = [
        &[1, 1][..],
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
        &[0x21; 32],
        &[0x22; 16],
        &[0x23; 32],
        &[0x24; 126],
    ]
    .concat();
    assert_eq!(bytes.to_vec(), expected);
    assert_eq!((LEAF_LEN, EVENT_LEN, SEALED_EVENT_LEN), (224, 110, 126));
    assert_eq!(Leaf::from_bytes(&bytes), Some(leaf()));
}

#[test]
fn an_event_has_the_published_layout() {
    let bytes = event().to_bytes();
    let expected = [
        &[5, 3][..],
        &[1, 2, 3, 4, 5, 6, 7, 8],
        &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18],
        &[0x31, 0x32],
        &[0x41; 16],
        &[0x42; 16],
        &[0x51, 0x52, 0x53, 0x54],
        &[9],
        &[0x43; 32],
        &[1],
        &[0; 20],
    ]
    .concat();
    assert_eq!(bytes.to_vec(), expected);
    assert_eq!(Event::from_bytes(&bytes), Some(event()));
    assert_eq!(NO_DEVICE, 0xffff);
}

#[test]
fn leaves_of_every_class_and_events_of_every_kind_come_back() {
    for class in Class::ALL {
        let leaf = Leaf { class: *class, ..leaf() };
        assert_eq!(Leaf::from_bytes(&leaf.to_bytes()), Some(leaf));
    }
    for kind in Kind::ALL {
        for outcome in Outcome::ALL {
            let event = Event { kind: *kind, outcome: *outcome, verified: false, ..event() };
            assert_eq!(Event::from_bytes(&event.to_bytes()), Some(event));
        }
    }
}

#[test]
fn other_lengths_are_refused() {
    let (leaf, event) = (leaf().to_bytes(), event().to_bytes());
    for len in 0..leaf.len() {
        assert_eq!(Leaf::from_bytes(&leaf[..len]), None, "{len}");
    }
    for len in 0..event.len() {
        assert_eq!(Event::from_bytes(&event[..len]), None, "{len}");
    }
    assert_eq!(Leaf::from_bytes(&[&leaf[..], &[0]].concat()), None);
    assert_eq!(Event::from_bytes(&[&event[..], &[0]].concat()), None);
}

#[test]
fn unknown_versions_classes_kinds_and_outcomes_are_refused() {
    let with = |at: usize, value: u8| {
        let mut bytes = leaf().to_bytes();
        bytes[at] = value;
        Leaf::from_bytes(&bytes)
    };
    for unknown in [0, 2, 255] {
        assert_eq!(with(0, unknown), None, "version {unknown}");
    }
    for unknown in [0, 6, 255] {
        assert_eq!(with(1, unknown), None, "class {unknown}");
    }
    let with = |at: usize, value: u8| {
        let mut bytes = event().to_bytes();
        bytes[at] = value;
        Event::from_bytes(&bytes)
    };
    for (at, unknown) in [(0, 0), (0, 16), (0, 255), (1, 0), (1, 4), (1, 255)] {
        assert_eq!(with(at, unknown), None, "byte {at} is {unknown}");
    }
}

#[test]
fn a_truth_value_other_than_0_and_1_and_padding_other_than_0_are_refused() {
    for at in 89..EVENT_LEN {
        for value in [2, 0x80, 0xff] {
            let mut bytes = event().to_bytes();
            bytes[at] = value;
            assert_eq!(Event::from_bytes(&bytes), None, "byte {at}");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_gives_just_these_bytes() {
    let (leaf, event) = (leaf().to_bytes(), event().to_bytes());
    for bit in 0..leaf.len() * 8 {
        let mut bad = leaf;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Leaf::from_bytes(&bad).is_none_or(|leaf| leaf.to_bytes() == bad), "bit {bit}");
    }
    for bit in 0..event.len() * 8 {
        let mut bad = event;
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Event::from_bytes(&bad).is_none_or(|event| event.to_bytes() == bad), "bit {bit}");
    }
}

proptest! {
    #![proptest_config(crate::fuzz::config())]

    #[test]
    fn any_bytes_are_refused_or_come_back(mut bytes in prop::collection::vec(any::<u8>(), LEAF_LEN)) {
        prop_assert!(Leaf::from_bytes(&bytes).is_none_or(|leaf| leaf.to_bytes().to_vec() == bytes));
        bytes[0] = 1;
        bytes[1] %= 8;
        prop_assert!(Leaf::from_bytes(&bytes).is_none_or(|leaf| leaf.to_bytes().to_vec() == bytes));
        bytes.truncate(EVENT_LEN);
        bytes[0] = bytes[2] % 17;
        bytes[89] &= 1;
        bytes[90..].fill(0);
        prop_assert!(Event::from_bytes(&bytes).is_none_or(|event| event.to_bytes().to_vec() == bytes));
    }
}
