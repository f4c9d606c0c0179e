//! What is refused, tried at every node of every example.

use crate::item::Item::{self, Array, Bool, Bytes, Map, Negative, Raw, Text, Uint};
use crate::item::{head, head_of_width};
use crate::sources::{Shape, declaration};
use crate::table::cases;
use keyferry_wire::cbor::{DecodeError, Fault};
use keyferry_wire::door::ToEnclave;
use keyferry_wire::frame::{Reply, Request};
use keyferry_wire::publish::AuditPage;
use keyferry_wire::{Hash, ShardId, Wire};

/// Every form that `change` makes of a node, anywhere in any example, is refused.
fn refused_everywhere(change: impl Fn(&Item) -> Vec<Item>) {
    let mut tried = 0;
    for case in cases() {
        for example in &case.examples {
            for changed in Item::parse(example).changed(&change) {
                let bytes = changed.to_bytes();
                assert!((case.again)(&bytes).is_err(), "{} accepts {changed}", case.full());
                tried += 1;
            }
        }
    }
    assert!(tried > 50, "only {tried} forms were tried");
}

#[test]
fn another_type_in_any_place_is_refused() {
    refused_everywhere(|node| match node {
        Uint(_) | Negative(_) => {
            vec![Bytes(vec![1]), Text("1".into()), Array(vec![Uint(1)]), Map(vec![]), Bool(true)]
        }
        Bytes(bytes) => {
            let numbers = bytes.iter().map(|byte| Uint(u64::from(*byte))).collect();
            let text = String::from_utf8_lossy(bytes).into_owned();
            vec![Text(text), Array(numbers), Uint(1), Map(vec![]), Bool(false)]
        }
        Text(text) => vec![Bytes(text.clone().into_bytes()), Uint(1), Array(vec![]), Bool(true)],
        Array(items) => {
            let pairs = (1..).map(Uint).zip(items.iter().cloned()).collect();
            vec![Map(pairs), Bytes(vec![]), Text(String::new()), Uint(0), Bool(true)]
        }
        Map(pairs) => {
            let values = pairs.iter().map(|(_, value)| value.clone()).collect();
            vec![Array(values), Bytes(vec![]), Uint(1), Bool(false)]
        }
        Bool(_) => vec![Uint(0), Uint(1), Text("true".into()), Array(vec![])],
        Raw(_) => Vec::new(),
    });
}

#[test]
fn longer_heads_than_needed_are_refused() {
    refused_everywhere(|node| {
        let Some((major, value)) = node.head() else { return Vec::new() };
        let needed = head(major, value).len() - 1;
        let longer = [1, 2, 4, 8].into_iter().filter(|width| *width > needed);
        longer.map(|width| Raw([head_of_width(major, value, width), node.body()].concat())).collect()
    });
}

#[test]
fn reserved_heads_are_refused() {
    refused_everywhere(|node| {
        let Some((major, _)) = node.head() else { return Vec::new() };
        (28..=31).map(|info| Raw([vec![major << 5 | info], node.body()].concat())).collect()
    });
}

#[test]
fn indefinite_lengths_are_refused() {
    refused_everywhere(|node| {
        let open = |first: u8, body: Vec<u8>| vec![Raw([vec![first], body, vec![0xff]].concat())];
        match node {
            Bytes(_) => open(0x5f, node.to_bytes()),
            Text(_) => open(0x7f, node.to_bytes()),
            Array(_) => open(0x9f, node.body()),
            Map(_) => open(0xbf, node.body()),
            _ => Vec::new(),
        }
    });
}

#[test]
fn null_floats_tags_and_simple_values_are_refused() {
    refused_everywhere(|node| {
        let tagged = |tag: &[u8]| Raw([tag, &node.to_bytes()].concat());
        let mut forms = vec![
            Raw(vec![0xf6]),
            Raw(vec![0xf7]),
            Raw(vec![0xf9, 0, 0]),
            Raw(vec![0xfa, 0, 0, 0, 0]),
            Raw(vec![0xfb, 0, 0, 0, 0, 0, 0, 0, 0]),
            Raw(vec![0xe0]),
            Raw(vec![0xf8, 0x20]),
            Raw(vec![0xff]),
            tagged(&[0xc0]),
            tagged(&[0xd8, 0x18]),
        ];
        if let Bool(value) = node {
            // The one-byte form is the shortest.
            forms.push(Raw(vec![0xf8, 20 + u8::from(*value)]));
        }
        forms
    });
}

#[test]
fn text_that_is_not_utf_8_is_refused() {
    refused_everywhere(|node| {
        let Text(_) = node else { return Vec::new() };
        // A stray byte, an overlong zero, a surrogate, a code point beyond the last, a cut sequence.
        let bad: [&[u8]; 5] =
            [&[0xff], &[0xc0, 0x80], &[0xed, 0xa0, 0x80], &[0xf4, 0x90, 0x80, 0x80], &[0xe2, 0x82]];
        bad.iter().map(|bytes| Raw([head(3, bytes.len() as u64), bytes.to_vec()].concat())).collect()
    });
}

#[test]
fn unknown_fields_are_refused() {
    refused_everywhere(|node| {
        let Map(pairs) = node else { return Vec::new() };
        let with = |at: usize, key: Item| {
            let mut pairs = pairs.clone();
            pairs.insert(at, (key, Uint(0)));
            Map(pairs)
        };
        let end = pairs.len();
        vec![with(end, Uint(23)), with(end, Uint(1000)), with(0, Uint(0)), with(end, Negative(0))]
    });
}

#[test]
fn repeated_and_unordered_keys_are_refused() {
    refused_everywhere(|node| {
        let Map(pairs) = node else { return Vec::new() };
        let repeated = (0..pairs.len()).map(|at| {
            let mut pairs = pairs.clone();
            pairs.insert(at, pairs[at].clone());
            Map(pairs)
        });
        let swapped = (1..pairs.len()).map(|at| {
            let mut pairs = pairs.clone();
            pairs.swap(at - 1, at);
            Map(pairs)
        });
        repeated.chain(swapped).collect()
    });
}

#[test]
fn a_missing_field_is_named() {
    for case in cases() {
        let Some(declared) = declaration(case.module, case.name) else { continue };
        if declared.shape != Shape::Message {
            continue;
        }
        for row in declared.rows.iter().filter(|row| !row.optional) {
            let Map(mut pairs) = Item::parse(&case.examples[0]) else { panic!("a message is a map") };
            pairs.retain(|(key, _)| *key != Uint(u64::from(row.key)));
            let error = (case.again)(&Map(pairs).to_bytes()).unwrap_err();
            let path: Vec<_> = error.path.iter().map(|name| (*name).to_owned()).collect();
            assert_eq!((path, error.fault), (vec![row.name.clone()], Fault::MissingField), "{}", case.full());
        }
    }
}

#[test]
fn variants_of_unknown_number_or_wrong_arity_are_refused() {
    for case in cases() {
        let Some(declared) = declaration(case.module, case.name) else { continue };
        if declared.shape != Shape::Choice {
            continue;
        }
        for example in &case.examples {
            let Array(items) = Item::parse(example) else { panic!("a choice is an array") };
            let with = |items: Vec<Item>| (case.again)(&Array(items).to_bytes()).unwrap_err().fault;
            let mut longer = items.clone();
            longer.push(Uint(0));
            assert_eq!(with(longer), Fault::UnknownVariant, "{}", case.full());
            let mut shorter = items.clone();
            shorter.pop();
            let fault = if shorter.is_empty() { Fault::MissingField } else { Fault::UnknownVariant };
            assert_eq!(with(shorter), fault, "{}", case.full());
            for unknown in [0, declared.rows.len() as u64 + 1, 255, 256, u64::MAX] {
                let mut other = items.clone();
                other[0] = Uint(unknown);
                assert_eq!(with(other), Fault::UnknownVariant, "{} number {unknown}", case.full());
            }
        }
    }
}

#[test]
fn numbers_beyond_their_type_are_out_of_range() {
    let fault = |error: DecodeError| error.fault;
    assert_eq!(ShardId::from_bytes(&head(0, 0x1_0000)).map_err(fault), Err(Fault::OutOfRange));
    assert_eq!(u16::from_bytes(&head(0, 0x1_0000)).map_err(fault), Err(Fault::OutOfRange));
    assert_eq!(u32::from_bytes(&head(0, 0x1_0000_0000)).map_err(fault), Err(Fault::OutOfRange));
    assert_eq!(u64::from_bytes(&head(0, u64::MAX)), Ok(u64::MAX));
    assert_eq!(u64::from_bytes(&head(1, 0)).map_err(fault), Err(Fault::WrongType));
    assert_eq!(i64::from_bytes(&head(0, 1 << 63)).map_err(fault), Err(Fault::OutOfRange));
    assert_eq!(i64::from_bytes(&head(1, 1 << 63)).map_err(fault), Err(Fault::OutOfRange));
    assert_eq!(i64::from_bytes(&head(1, i64::MAX as u64)), Ok(i64::MIN));
    assert_eq!(i64::from_bytes(&head(0, i64::MAX as u64)), Ok(i64::MAX));
}

#[test]
fn byte_strings_of_another_length_are_out_of_range() {
    for len in [0, 31, 33] {
        let bytes = Bytes(vec![7; len]).to_bytes();
        assert_eq!(Hash::from_bytes(&bytes).unwrap_err().fault, Fault::OutOfRange, "{len}");
    }
}

/// The fault of `bytes` with the field in which it lies, as an operator reads it.
fn complaint<T: Wire>(bytes: &[u8]) -> String {
    T::from_bytes(bytes).err().map(|error| error.to_string()).unwrap()
}

#[test]
fn a_complaint_names_the_way_to_the_fault() {
    use crate::examples::Examples as _;
    let damaged = |bytes: Vec<u8>, find: &Item, with: Item| {
        let all = Item::parse(&bytes).changed(&|node| if node == find { vec![with.clone()] } else { vec![] });
        all[0].to_bytes()
    };
    let page = damaged(AuditPage::one().to_bytes(), &Bytes((66..98).collect()), Bytes(vec![1]));
    assert_eq!(complaint::<AuditPage>(&page), "account.proof.terminal.Leaf.key is out of range");
    let reply = damaged(Reply::one().to_bytes(), &Text("pin_wrong".into()), Text("pin_bad".into()));
    assert_eq!(complaint::<Reply>(&reply), "answers.Refused.code is of a kind that is not known");
    assert_eq!(complaint::<Request>(&[0xa0]), "version is missing");
    assert_eq!(complaint::<Request>(&[]), "message ends too early");
    assert_eq!(complaint::<ToEnclave>(&[0x80]), "message is missing");
}
