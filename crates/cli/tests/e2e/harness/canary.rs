//! Byte strings that must be nowhere, in the forms in which they could be somewhere, and the search for many of them.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};

/// Shorter strings stand everywhere by chance.
const LEN_MIN: usize = 5;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The bytes themselves, hexadecimal, base64 and base64url, and what becomes of text.
pub(crate) fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![bytes.to_vec(), hex(bytes).into_bytes(), hex(bytes).to_uppercase().into_bytes()];
    for engine in [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD] {
        // In the middle of something longer it may stand at three places against the groups of three bytes; the
        // characters at either end depend on its neighbours.
        for before in 0..3 {
            let padded = [&vec![0; before][..], bytes].concat();
            let text = engine.encode(&padded);
            let skip = [0, 2, 3][before];
            let whole = padded.len() / 3 * 4;
            forms.push(text.as_bytes()[skip..whole].to_vec());
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        forms.push(text.encode_utf16().flat_map(u16::to_le_bytes).collect());
        forms.push(text.to_uppercase().into_bytes());
        forms.push(text.bytes().rev().collect());
    }
    forms.retain(|form| form.len() >= LEN_MIN);
    forms.sort();
    forms.dedup();
    forms
}

/// Finds many byte strings in one pass, whatever their number.
pub(crate) struct Finder {
    strings: Vec<Vec<u8>>,
    /// By the first two bytes of a string: the strings that begin so.
    begin: Vec<Vec<usize>>,
}

impl Finder {
    pub(crate) fn new(strings: Vec<Vec<u8>>) -> Finder {
        let mut begin = vec![Vec::new(); 1 << 16];
        for (number, string) in strings.iter().enumerate() {
            begin[usize::from(string[0]) << 8 | usize::from(string[1])].push(number);
        }
        Finder { strings, begin }
    }

    /// The number of each string that was found and where, once for each time that it stands there.
    pub(crate) fn find(&self, text: &[u8]) -> Vec<(usize, usize)> {
        let mut found = Vec::new();
        let mut before = 0;
        for (at, byte) in text.iter().enumerate() {
            let pair = before << 8 | usize::from(*byte);
            before = usize::from(*byte);
            for number in &self.begin[pair] {
                if at > 0 && text[at - 1..].starts_with(&self.strings[*number]) {
                    found.push((*number, at - 1));
                }
            }
        }
        found
    }
}

#[test]
fn finder_finds_each_string_as_often_as_it_stands_there() {
    let finder = Finder::new(["abc", "bca", "xyz"].map(|text| text.as_bytes().to_vec()).to_vec());
    assert_eq!(finder.find(b"abcabc"), [(0, 0), (1, 1), (0, 3)]);
    assert_eq!(finder.find(b""), []);
    assert_eq!(finder.find(b"c"), []);
}
