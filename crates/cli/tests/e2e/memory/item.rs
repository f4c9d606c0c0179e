//! Any CBOR item that the project writes: the search must know every byte string of a record, also those that are
//! added to it later.

pub(super) enum Item {
    Bytes(Vec<u8>),
    List(Vec<Item>),
    Map(Vec<(u64, Item)>),
    Number(u64),
    Other,
}

impl Item {
    #[track_caller]
    pub(super) fn parse(bytes: &[u8]) -> Item {
        let mut rest = bytes;
        let item = Item::take(&mut rest);
        assert!(rest.is_empty(), "bytes behind the item");
        item
    }

    fn take(rest: &mut &[u8]) -> Item {
        let (major, value) = head(rest);
        let len = || usize::try_from(value).unwrap();
        match major {
            0 => Item::Number(value),
            2 | 3 => Item::Bytes(rest.split_off(..len()).unwrap().to_vec()),
            4 => Item::List((0..value).map(|_| Item::take(rest)).collect()),
            5 => Item::Map((0..value).map(|_| (head(rest).1, Item::take(rest))).collect()),
            _ => Item::Other,
        }
    }

    /// The item at the end of a path of keys.
    pub(super) fn at(&self, path: &[u64]) -> Option<&Item> {
        let Some((key, path)) = path.split_first() else { return Some(self) };
        let Item::Map(entries) = self else { return None };
        entries.iter().find(|(other, _)| other == key)?.1.at(path)
    }

    #[track_caller]
    pub(super) fn bytes(&self, path: &[u64]) -> &[u8] {
        match self.at(path) {
            Some(Item::Bytes(bytes)) => bytes,
            _ => panic!("no byte string at {path:?}"),
        }
    }

    #[track_caller]
    pub(super) fn number(&self, path: &[u64]) -> u64 {
        match self.at(path) {
            Some(Item::Number(number)) => *number,
            _ => panic!("no number at {path:?}"),
        }
    }

    /// Every byte string inside with its place.
    pub(super) fn each_bytes(&self, place: &str, each: &mut impl FnMut(&str, &[u8])) {
        match self {
            Item::Bytes(bytes) => each(place, bytes),
            Item::List(items) => items.iter().for_each(|item| item.each_bytes(&format!("{place}[]"), each)),
            Item::Map(entries) => {
                entries.iter().for_each(|(key, item)| item.each_bytes(&format!("{place}.{key}"), each));
            }
            Item::Number(_) | Item::Other => {}
        }
    }
}

/// Major type and value of the next head; negative numbers and truth values have nothing behind it.
fn head(rest: &mut &[u8]) -> (u8, u64) {
    let first = *rest.split_off_first().unwrap();
    let len = match first & 0x1f {
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return (first >> 5, u64::from(first & 0x1f)),
    };
    let value = rest.split_off(..len).unwrap().iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    (first >> 5, value)
}
