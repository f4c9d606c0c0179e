//! CBOR as a tree, written without the crate under test: to take examples apart, to damage them in one place, and to
//! print them in diagnostic notation (RFC 8949, section 8).

use std::fmt;

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Item {
    Uint(u64),
    /// -1 - value.
    Negative(u64),
    Bytes(Vec<u8>),
    Text(String),
    Array(Vec<Item>),
    Map(Vec<(Item, Item)>),
    Bool(bool),
    /// Bytes put in as they are.
    Raw(Vec<u8>),
}

use Item::{Array, Bool, Bytes, Map, Negative, Raw, Text, Uint};

impl Item {
    /// Reads canonical CBOR; panics on anything else, for it is only given what an encoder made.
    pub(crate) fn parse(bytes: &[u8]) -> Item {
        let mut rest = bytes;
        let item = parse(&mut rest);
        assert!(rest.is_empty());
        item
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Uint(value) => out.extend(head(0, *value)),
            Negative(value) => out.extend(head(1, *value)),
            Bytes(bytes) => {
                out.extend(head(2, bytes.len() as u64));
                out.extend(bytes);
            }
            Text(text) => {
                out.extend(head(3, text.len() as u64));
                out.extend(text.as_bytes());
            }
            Array(items) => {
                out.extend(head(4, items.len() as u64));
                items.iter().for_each(|item| item.write(out));
            }
            Map(pairs) => {
                out.extend(head(5, pairs.len() as u64));
                pairs.iter().for_each(|(key, value)| {
                    key.write(out);
                    value.write(out);
                });
            }
            Bool(value) => out.push(if *value { 0xf5 } else { 0xf4 }),
            Raw(bytes) => out.extend(bytes),
        }
    }

    /// Every copy of this tree in which one node was exchanged; `change` gives the forms to put in its place.
    pub(crate) fn changed(&self, change: &impl Fn(&Item) -> Vec<Item>) -> Vec<Item> {
        let mut out = change(self);
        match self {
            Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    for new in item.changed(change) {
                        let mut items = items.clone();
                        items[at] = new;
                        out.push(Array(items));
                    }
                }
            }
            Map(pairs) => {
                for (at, (key, value)) in pairs.iter().enumerate() {
                    for new in key.changed(change) {
                        let mut pairs = pairs.clone();
                        pairs[at].0 = new;
                        out.push(Map(pairs));
                    }
                    for new in value.changed(change) {
                        let mut pairs = pairs.clone();
                        pairs[at].1 = new;
                        out.push(Map(pairs));
                    }
                }
            }
            _ => {}
        }
        out
    }

    /// Major type and argument of the head, for everything that has one.
    pub(crate) fn head(&self) -> Option<(u8, u64)> {
        match self {
            Uint(value) => Some((0, *value)),
            Negative(value) => Some((1, *value)),
            Bytes(bytes) => Some((2, bytes.len() as u64)),
            Text(text) => Some((3, text.len() as u64)),
            Array(items) => Some((4, items.len() as u64)),
            Map(pairs) => Some((5, pairs.len() as u64)),
            Bool(_) | Raw(_) => None,
        }
    }

    /// The bytes behind the head.
    pub(crate) fn body(&self) -> Vec<u8> {
        let whole = self.to_bytes();
        let (major, value) = self.head().unwrap();
        whole[head(major, value).len()..].to_vec()
    }
}

/// The shortest head.
pub(crate) fn head(major: u8, value: u64) -> Vec<u8> {
    let width = match value {
        0..=23 => 0,
        24..=0xff => 1,
        0x100..=0xffff => 2,
        0x1_0000..=0xffff_ffff => 4,
        _ => 8,
    };
    head_of_width(major, value, width)
}

/// A head whose argument has `width` bytes behind the first.
pub(crate) fn head_of_width(major: u8, value: u64, width: usize) -> Vec<u8> {
    let info = match width {
        0 => value as u8,
        1 => 24,
        2 => 25,
        4 => 26,
        8 => 27,
        _ => panic!("no head of {width} bytes"),
    };
    let mut out = vec![major << 5 | info];
    out.extend(&value.to_be_bytes()[8 - width..]);
    out
}

fn parse(rest: &mut &[u8]) -> Item {
    let first = rest[0];
    let (major, info) = (first >> 5, first & 0x1f);
    if major == 7 {
        *rest = &rest[1..];
        return Bool(match info {
            20 => false,
            21 => true,
            _ => panic!("no simple value {info} in our messages"),
        });
    }
    let width = match info {
        0..=23 => 0,
        24 => 1,
        25 => 2,
        26 => 4,
        _ => 8,
    };
    let argument = rest[1..=width].iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
    let value = if width == 0 { u64::from(info) } else { argument };
    *rest = &rest[1 + width..];
    let mut take = |len: u64| {
        let (taken, left) = rest.split_at(len as usize);
        *rest = left;
        taken.to_vec()
    };
    match major {
        0 => Uint(value),
        1 => Negative(value),
        2 => Bytes(take(value)),
        3 => Text(String::from_utf8(take(value)).unwrap()),
        4 => Array((0..value).map(|_| parse(rest)).collect()),
        5 => Map((0..value).map(|_| (parse(rest), parse(rest))).collect()),
        _ => panic!("no tags in our messages"),
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, parts: Vec<String>| f.write_str(&parts.join(", "));
        match self {
            Uint(value) => write!(f, "{value}"),
            Negative(value) => write!(f, "{}", -1 - i128::from(*value)),
            Bytes(bytes) => write!(f, "h'{}'", hex(bytes)),
            Text(text) => write!(f, "{text:?}"),
            Array(items) => {
                f.write_str("[")?;
                list(f, items.iter().map(ToString::to_string).collect())?;
                f.write_str("]")
            }
            Map(pairs) => {
                f.write_str("{")?;
                list(f, pairs.iter().map(|(key, value)| format!("{key}: {value}")).collect())?;
                f.write_str("}")
            }
            Bool(value) => write!(f, "{value}"),
            Raw(bytes) => write!(f, "raw'{}'", hex(bytes)),
        }
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2));
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn a_tree_is_written_as_it_was_read() {
    // RFC 8949, appendix A.
    for (text, diagnostic) in [
        ("1bffffffffffffffff", "18446744073709551615"),
        ("3903e7", "-1000"),
        ("4401020304", "h'01020304'"),
        ("6449455446", "\"IETF\""),
        ("8301820203820405", "[1, [2, 3], [4, 5]]"),
        ("a26161016162820203", "{\"a\": 1, \"b\": [2, 3]}"),
        ("f5", "true"),
    ] {
        let item = Item::parse(&unhex(text));
        assert_eq!((hex(&item.to_bytes()).as_str(), item.to_string().as_str()), (text, diagnostic));
    }
}
