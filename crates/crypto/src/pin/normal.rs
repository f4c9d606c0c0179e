//! One spelling for each PIN: NFKD, then every decimal digit of Unicode as the ASCII digit.
//!
//! The table of digits is written out, so that a newer Unicode cannot change what an old PIN means.

use unicode_normalization::UnicodeNormalization;
use zeroize::Zeroizing;

/// The zeros of all decimal digit runs (general category Nd, Unicode 17) that NFKD leaves alone.
const ZEROS: [u32; 67] = [
    0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0DE6,
    0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0,
    0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0x104A0, 0x10D30, 0x10D40,
    0x11066, 0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x116D0, 0x116DA,
    0x11730, 0x118E0, 0x11950, 0x11BF0, 0x11C50, 0x11D50, 0x11DA0, 0x11DE0, 0x11F50, 0x16A60, 0x16AC0,
    0x16B50, 0x1CCF0, 0x1E140, 0x1E2F0, 0x1E4F0, 0x1E5F1, 0x1E950,
];

/// The spelling that enters every computation.
pub fn normalise(pin: &str) -> Zeroizing<String> {
    // Room for the longest decomposition, so that growing leaves no copy behind (NFKD: at most 18 scalars for 1).
    let mut out = Zeroizing::new(String::with_capacity(pin.len() * 18 * 4));
    pin.nfkd().map(ascii_digit).for_each(|c| out.push(c));
    out
}

/// As [`normalise`], but letters and digits stay what they are: for passwords.
pub(super) fn decompose(password: &str) -> Zeroizing<String> {
    let mut out = Zeroizing::new(String::with_capacity(password.len() * 18 * 4));
    password.nfkd().for_each(|c| out.push(c));
    out
}

fn ascii_digit(c: char) -> char {
    let code = u32::from(c);
    // The run that begins at or before this character; `from_digit` refuses what lies beyond its ten digits.
    let start = ZEROS.partition_point(|&zero| zero <= code);
    start
        .checked_sub(1)
        .and_then(|index| ZEROS.get(index))
        .and_then(|zero| char::from_digit(code - zero, 10))
        .unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_every_script_become_ascii() {
        for zero in ZEROS {
            for value in 0..10 {
                let c = char::from_u32(zero + value).expect("assigned");
                assert_eq!(normalise(&c.to_string()).as_str(), value.to_string(), "U+{:04X}", zero + value);
            }
        }
        assert_eq!(normalise("１２３４５６").as_str(), "123456");
        assert_eq!(normalise("٠١٢٣٤٥").as_str(), "012345");
        assert_eq!(normalise("\u{1D7CE}\u{1D7FF}").as_str(), "09");
    }

    #[test]
    fn neighbours_of_digits_stay_what_they_are() {
        for text in ["abc", "\u{066A}", "\u{065F}", "漢字", "١a"] {
            let normal = normalise(text);
            assert_eq!(normal.chars().count(), text.chars().count());
            assert_eq!(normal.replace('1', "١"), text);
        }
    }

    #[test]
    fn composed_and_decomposed_letters_are_one_pin() {
        assert_eq!(normalise("caf\u{e9}12"), normalise("cafe\u{301}12"));
        assert_eq!(normalise("\u{fb01}nger"), normalise("finger"));
    }

    #[test]
    fn normalising_twice_changes_nothing() {
        for text in ["１２३", "caf\u{e9}", "\u{212b}ngstr\u{f6}m", "٣٤٥"] {
            let once = normalise(text);
            assert_eq!(normalise(&once), once);
        }
    }

    #[test]
    fn the_table_of_zeros_is_sorted() {
        assert!(ZEROS.windows(2).all(|pair| pair[0] + 10 <= pair[1]));
    }
}
