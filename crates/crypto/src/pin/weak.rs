//! Which new PINs are refused: those that ten guesses find.
//!
//! The attempt counter leaves a guesser ten tries, so only the most common PINs matter. The list and the rules
//! cover the head of the published frequency tables of leaked six-digit PINs and passwords.

use super::normalise;

/// Shortest account PIN, in characters after normalising.
pub const CHARS_MIN: usize = 6;
/// Longest account PIN, in characters after normalising.
pub const CHARS_MAX: usize = 64;

/// Why a new PIN is refused; it is told to its owner and to nobody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PinWeakness {
    /// Fewer than [`CHARS_MIN`] characters.
    #[error("a PIN has at least {CHARS_MIN} characters")]
    TooShort,
    /// More than [`CHARS_MAX`] characters.
    #[error("a PIN has at most {CHARS_MAX} characters")]
    TooLong,
    /// One character, or a short group of characters, over and over.
    #[error("this PIN repeats itself")]
    Repeated,
    /// Characters that follow each other, up or down.
    #[error("this PIN is a plain sequence")]
    Sequence,
    /// Among the most used.
    #[error("this PIN is among the most used")]
    Common,
}

/// The most used PINs that no rule below catches.
const COMMON: [&str; 106] = [
    "112233", "223344", "332211", "445566", "778899", "998877", "665544", "147258", "258369", "159753",
    "159357", "147852", "258456", "789456", "147896", "963852", "852963", "741852", "852456", "951753",
    "357159", "753951", "369258", "321654", "654123", "789123", "456123", "123654", "123789", "123987",
    "987321", "789321", "321987", "123098", "124578", "134679", "142536", "748596", "101112", "102030",
    "908070", "112358", "314159", "271828", "141421", "161803", "123321", "111222", "222333", "333444",
    "111333", "222111", "000111", "110011", "100001", "111000", "222000", "555666", "666777", "777888",
    "888999", "999000", "102938", "129834", "520131", "521131", "131420", "201314", "420691", "696942",
    "246810", "135790", "135791", "024680", "975310", "864200", "111112", "111110", "123450", "123455",
    "123457", "123466", "123459", "123412", "123452", "010203", "030201", "311299", "010100", "010180",
    "010190", "010170", "200000", "199000", "198000", "197000", "qwerty", "asdfgh", "zxcvbn", "1q2w3e",
    "1q2w3e4r", "qwertz", "azerty", "password", "passwort", "letmein",
];

/// Whether `pin` may become an account's PIN.
pub fn check_new(pin: &str) -> Result<(), PinWeakness> {
    let normal = normalise(pin);
    match normal.chars().count() {
        ..CHARS_MIN => return Err(PinWeakness::TooShort),
        CHARS_MIN..=CHARS_MAX => {}
        _ => return Err(PinWeakness::TooLong),
    }
    if repeats(&normal) {
        return Err(PinWeakness::Repeated);
    }
    if is_sequence(&normal) {
        return Err(PinWeakness::Sequence);
    }
    if COMMON.iter().any(|common| common.eq_ignore_ascii_case(&normal)) {
        return Err(PinWeakness::Common);
    }
    Ok(())
}

/// A group of one to three characters over and over, the last one perhaps cut short: 111111, 121212, 123123.
fn repeats(pin: &str) -> bool {
    (1..=3).any(|period| pin.chars().zip(pin.chars().skip(period)).all(|(a, b)| a == b))
}

/// Each character one above (or one below) the one before; 9 and 0 are neighbours: 345678, 765432, 890123.
fn is_sequence(pin: &str) -> bool {
    let follows = |a: char, b: char| match (a.to_digit(10), b.to_digit(10)) {
        (Some(a), Some(b)) => (a + 1) % 10 == b,
        _ => u32::from(a) + 1 == u32::from(b),
    };
    let pairs = || pin.chars().zip(pin.chars().skip(1));
    pairs().all(|(a, b)| follows(a, b)) || pairs().all(|(a, b)| follows(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_and_long_pins_are_refused_after_normalising() {
        assert_eq!(check_new("28401"), Err(PinWeakness::TooShort));
        assert_eq!(check_new(""), Err(PinWeakness::TooShort));
        assert_eq!(check_new("284017"), Ok(()));
        assert_eq!(check_new(&"a7b".repeat(22)[..65]), Err(PinWeakness::TooLong));
        assert_eq!(check_new(&("284017".to_owned() + &"xk".repeat(29))), Ok(()));
    }

    #[test]
    fn repetitions_are_refused() {
        for pin in ["111111", "000000", "121212", "123123", "1231231", "aaaaaa", "７７７７７７", "abcabc"]
        {
            assert_eq!(check_new(pin), Err(PinWeakness::Repeated), "{pin}");
        }
    }

    #[test]
    fn sequences_up_and_down_are_refused() {
        for pin in
            ["123456", "654321", "012345", "987654", "567890", "098765", "1234567890", "abcdef", "٣٤٥٦٧٨"]
        {
            assert_eq!(check_new(pin), Err(PinWeakness::Sequence), "{pin}");
        }
    }

    #[test]
    fn the_most_used_pins_are_refused() {
        for pin in ["112233", "159753", "147258", "QWERTY", "１５９７５３", "696969"] {
            assert!(check_new(pin).is_err(), "{pin}");
        }
        assert_eq!(check_new("159753"), Err(PinWeakness::Common));
    }

    #[test]
    fn the_list_holds_only_what_no_rule_catches() {
        for pin in COMMON {
            assert_eq!(normalise(pin).as_str(), pin);
            assert!(!repeats(pin) && !is_sequence(pin), "{pin}");
            assert_eq!(check_new(pin), Err(PinWeakness::Common));
        }
        let distinct: std::collections::BTreeSet<_> = COMMON.iter().collect();
        assert_eq!(distinct.len(), COMMON.len());
    }

    #[test]
    fn ordinary_pins_are_accepted() {
        for pin in ["284017", "930571", "blue kettle 9", "Grüße!", "508213964"] {
            assert_eq!(check_new(pin), Ok(()), "{pin}");
        }
    }
}
