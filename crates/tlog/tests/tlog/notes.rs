//! Notes and keys: what is refused, and that nothing stops the parser.

use keyferry_tlog::*;
use proptest::prelude::*;

use crate::support::TestKey;

const TEXT: &str = "a text\n\nwith an empty line\n";

fn log_key() -> (TestKey, VerifierKey) {
    let key = TestKey::new(1);
    let verifier = VerifierKey::ed25519("log.example/a", key.public()).expect("a name");
    (key, verifier)
}

fn signed() -> (String, VerifierKey) {
    let (key, verifier) = log_key();
    (sign_note(TEXT, verifier.name(), verifier.public(), |message| key.sign(message)), verifier)
}

#[test]
fn a_signed_note_is_read_back_and_verified() {
    let (note, key) = signed();
    let parsed = Note::parse(&note).expect("a note");
    assert_eq!(parsed.text(), TEXT);
    assert_eq!(parsed.to_string(), note);
    assert_eq!(parsed.verify(&key), Ok(()));
    assert_eq!(VerifierKey::parse(&key.to_string()), Ok(key));
}

#[test]
fn a_note_is_refused_under_another_key_name_or_kind() {
    let (note, key) = signed();
    let note = Note::parse(note).expect("a note");
    let under = |name: &str, alg, seed| {
        note.verify(&VerifierKey::new(name, alg, TestKey::new(seed).public()).expect("a name"))
    };
    assert_eq!(under(key.name(), KeyAlg::Ed25519, 2), Err(VerifyError::NoSignature));
    assert_eq!(under("log.example/b", KeyAlg::Ed25519, 1), Err(VerifyError::NoSignature));
    assert_eq!(under(key.name(), KeyAlg::CosignatureV1, 1), Err(VerifyError::KeyKind));
    assert_eq!(verify_cosignature(&note, &key), Err(VerifyError::KeyKind));
}

#[test]
fn one_bad_signature_of_the_key_refuses_the_note_beside_a_good_one() {
    let (note, key) = signed();
    let other = sign_note("another\n", key.name(), key.public(), |message| TestKey::new(1).sign(message));
    let stray = Note::parse(other).expect("a note").signatures().to_vec();
    let mut note = Note::parse(note).expect("a note");
    note.add_signatures(stray).expect("room");
    assert_eq!(note.verify(&key), Err(VerifyError::BadSignature));
}

#[test]
fn unknown_signatures_are_kept_and_ignored() {
    let (note, key) = signed();
    let note = format!("{note}\u{2014} someone.else AAAAAAE=\n");
    let parsed = Note::parse(&note).expect("a note");
    assert_eq!(parsed.verify(&key), Ok(()));
    assert_eq!(parsed.signatures()[1].bytes(), [1]);
    assert_eq!(parsed.to_string(), note);
}

#[test]
fn malformed_notes_are_refused() {
    let good = "\u{2014} n AAAAAAE=\n";
    for (note, error) in [
        ("", NoteError::NoBlankLine),
        ("text\n", NoteError::NoBlankLine),
        ("\n\u{2014} n AAAAAAE=\n", NoteError::NoBlankLine),
        ("text\n\n", NoteError::SignatureLine),
        ("text\n\n\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n AAAAAAE=", NoteError::SignatureLine),
        ("text\n\n- n AAAAAAE=\n", NoteError::SignatureLine),
        ("text\n\n\u{2014}n AAAAAAE=\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} AAAAAAE=\n", NoteError::SignatureLine),
        ("text\n\n\u{2014}  AAAAAAE=\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n+m AAAAAAE=\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n\u{a0}m AAAAAAE=\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n AAAAAAE= \n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n  AAAAAAE=\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n AAAAAAE\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n AAAAAA==\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n AAA=\n", NoteError::SignatureLine),
        ("text\n\n\u{2014} n \n", NoteError::SignatureLine),
        ("te\txt\n\n\u{2014} n AAAAAAE=\n", NoteError::Encoding),
        ("text\r\n\r\n\u{2014} n AAAAAAE=\n", NoteError::Encoding),
        ("text\n\n\u{2014} n AAAAAAE=\0\n", NoteError::Encoding),
    ] {
        assert_eq!(Note::parse(note), Err(error), "{note:?}");
    }
    assert_eq!(Note::parse(b"\xff\n\n\xe2\x80\x94 n AAAAAAE=\n"), Err(NoteError::Encoding));
    assert!(Note::parse(format!("text\n\n{good}")).is_ok());
}

#[test]
fn notes_beyond_the_limits_are_refused() {
    let line = "\u{2014} n AAAAAAE=\n";
    assert!(Note::parse(format!("text\n\n{}", line.repeat(64))).is_ok());
    assert_eq!(Note::parse(format!("text\n\n{}", line.repeat(65))), Err(NoteError::TooLarge));
    let long = "x".repeat(note::NOTE_BYTES_MAX);
    assert_eq!(Note::parse(format!("{long}\n\n{line}")), Err(NoteError::TooLarge));
    let mut full = Note::parse(format!("text\n\n{}", line.repeat(64))).expect("a note");
    let more = full.signatures().to_vec();
    assert_eq!(full.add_signatures(more), Err(NoteError::TooLarge));
}

#[test]
fn a_note_cut_at_any_byte_is_refused() {
    let (note, key) = signed();
    for cut in 0..note.len() {
        let verdict = Note::parse(&note.as_bytes()[..cut]).map(|note| note.verify(&key));
        assert!(!matches!(verdict, Ok(Ok(()))), "{cut}");
    }
}

#[test]
fn a_note_with_any_byte_changed_is_refused() {
    let (note, key) = signed();
    let signature_ends = note.len() - 3;
    for at in 0..signature_ends {
        for bit in 0..8 {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let verdict = Note::parse(&bytes).map(|note| note.verify(&key));
            assert!(!matches!(verdict, Ok(Ok(()))), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn malformed_verifier_keys_are_refused() {
    let (_, key) = log_key();
    let vkey = key.to_string();
    let (head, base64) = vkey.rsplit_once('+').expect("three parts");
    let witness = VerifierKey::cosignature_v1(key.name(), *key.public()).expect("a name").to_string();
    let (_, witness_base64) = witness.rsplit_once('+').expect("three parts");
    let upper = head.to_uppercase().replace("LOG.EXAMPLE/A", "log.example/a");
    for (bad, error) in [
        (String::new(), KeyError::Malformed),
        (format!("{head}+"), KeyError::Malformed),
        (format!("{head}+{base64}="), KeyError::Malformed),
        (format!("{head}+{base64}\n"), KeyError::Malformed),
        (format!("{head}+{}", &base64[..40]), KeyError::Malformed),
        (vkey.replace("+A", "+B"), KeyError::Malformed),
        (vkey.replace("+A", "+C"), KeyError::Malformed),
        (vkey.replace("log.example/a", ""), KeyError::Name),
        (vkey.replace("log.example/a", "log example"), KeyError::Name),
        (vkey.replace("log.example/a", "log.example/b"), KeyError::KeyId),
        (format!("{upper}+{base64}"), KeyError::KeyId),
        (format!("{head}+{witness_base64}"), KeyError::KeyId),
    ] {
        assert_eq!(VerifierKey::parse(&bad), Err(error), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn random_bytes_never_stop_the_note_parser(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Note::parse(&bytes);
        let _ = NoteSignature::parse_lines(&bytes);
        let text = String::from_utf8_lossy(&bytes);
        let _ = VerifierKey::parse(&text);
        let _ = Checkpoint::parse(&text);
    }

    #[test]
    fn note_like_text_never_stops_the_note_parser(text in "[a\n\u{2014} +=A-Za-z0-9/]{0,20}\n\n(\u{2014} [a-z+]{0,3} [A-Za-z0-9+/]{0,12}={0,2}\n){0,3}") {
        if let Ok(note) = Note::parse(&text) {
            let again = Note::parse(note.to_string()).expect("printed by us");
            prop_assert_eq!(again, note);
        }
    }

    #[test]
    fn vkey_like_text_never_stops_the_key_parser(text in "[a-z]{0,3}\\+[0-9a-f]{8}\\+[A-Za-z0-9+/]{42}[A-Za-z0-9+/=]{0,3}") {
        if let Ok(key) = VerifierKey::parse(&text) {
            prop_assert_eq!(key.to_string(), text);
        }
    }
}
