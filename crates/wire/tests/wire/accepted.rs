//! One encoding for each value, and one value for each encoding.

use crate::item::Item;
use crate::table::cases;
use keyferry_wire::cbor::{DecodeError, Fault};

#[test]
fn every_example_decodes_to_the_value_that_it_was_made_of() {
    for case in cases() {
        assert!((case.round_trips)(), "{}", case.full());
        for example in &case.examples {
            assert_eq!((case.again)(example).as_ref(), Ok(example), "{}", case.full());
        }
    }
}

/// Another implementation agrees on where items begin and end.
#[test]
fn every_example_is_canonical_cbor_to_another_reader() {
    for case in cases() {
        for example in &case.examples {
            assert_eq!(&Item::parse(example).to_bytes(), example, "{}", case.full());
        }
    }
}

#[test]
fn every_truncation_is_refused() {
    for case in cases() {
        for example in &case.examples {
            for len in 0..example.len() {
                assert!((case.again)(&example[..len]).is_err(), "{} cut to {len}", case.full());
            }
        }
    }
}

#[test]
fn bytes_behind_the_end_are_refused() {
    for case in cases() {
        for tail in [&[0x00][..], &[0xa0], &[0xff], b"more"] {
            let long = [case.examples[0].as_slice(), tail].concat();
            let trailing = DecodeError { path: Vec::new(), fault: Fault::Trailing };
            assert_eq!((case.again)(&long), Err(trailing), "{}", case.full());
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_or_gives_a_value_with_just_these_bytes() {
    let mut refused = 0;
    for case in cases() {
        for example in &case.examples {
            for bit in 0..example.len() * 8 {
                let mut bad = example.clone();
                bad[bit / 8] ^= 1 << (bit % 8);
                match (case.again)(&bad) {
                    Ok(again) => assert_eq!(again, bad, "{} bit {bit}", case.full()),
                    Err(_) => refused += 1,
                }
            }
        }
    }
    assert!(refused > 10_000, "{refused}");
}

#[test]
fn optional_fields_may_be_left_out_one_by_one() {
    for case in cases() {
        let Some(declared) = crate::sources::declaration(case.module, case.name) else { continue };
        for row in declared.rows.iter().filter(|row| row.optional) {
            let Item::Map(mut pairs) = Item::parse(&case.examples[0]) else { panic!("a message is a map") };
            pairs.retain(|(key, _)| *key != Item::Uint(u64::from(row.key)));
            let bytes = Item::Map(pairs).to_bytes();
            assert_eq!((case.again)(&bytes), Ok(bytes), "{} without {}", case.full(), row.name);
        }
    }
}
