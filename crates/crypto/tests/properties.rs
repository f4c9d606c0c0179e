//! What must hold for any bytes; also the bodies that a fuzzer would run.

use keyferry_crypto::{channel, cose, hash, hpke, label::Label, oprf, pin, random::Random, seal, sign};
use proptest::{collection::vec, prelude::*, test_runner::FileFailurePersistence};

struct Zeros;

impl Random for Zeros {
    fn fill(&mut self, out: &mut [u8]) {
        out.fill(1);
    }
}

fn parts() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 0..6), 0..4)
}

fn refs(parts: &[Vec<u8>]) -> Vec<&[u8]> {
    parts.iter().map(Vec::as_slice).collect()
}

fn config() -> ProptestConfig {
    let file = FileFailurePersistence::Direct("tests/properties.regressions");
    ProptestConfig { failure_persistence: Some(Box::new(file)), ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn unpad_undoes_pad(text in vec(any::<u8>(), 0..600), multiple in 0_usize..300) {
        let padded = seal::pad(&text, multiple);
        prop_assert!(padded.len() > text.len() && padded.len().is_multiple_of(multiple.max(1)));
        prop_assert_eq!(seal::unpad(&padded), Some(text.as_slice()));
    }

    #[test]
    fn different_lists_have_different_frames(a in parts(), b in parts()) {
        let (x, y) = (hash::frame(Label::Op, &refs(&a)), hash::frame(Label::Op, &refs(&b)));
        prop_assert_eq!(a == b, x == y);
    }

    #[test]
    fn seal_and_open_are_inverse(key: [u8; 32], salt: [u8; 16], aad in parts(), text in vec(any::<u8>(), 0..200)) {
        let sealed = seal::seal(&key, Label::PasskeyBlob, &refs(&aad), &text, salt);
        let opened = seal::open(&key, Label::PasskeyBlob, &refs(&aad), &sealed).unwrap();
        prop_assert_eq!(opened.expose(), text.as_slice());
    }

    #[test]
    fn nonsense_never_opens_and_never_panics(bytes in vec(any::<u8>(), 0..300)) {
        prop_assert!(seal::open(&[1; 32], Label::Op, &[], &bytes).is_err());
        prop_assert!(seal::open_padded(&[1; 32], Label::Op, &[], &bytes).is_err());
        prop_assert!(hpke::BoxKey::from_bytes(&[1; 32]).open(Label::Op, &[], &bytes).is_err());
        prop_assert!(cose::parse_es256_public_key(&bytes).is_err());
        prop_assert!(sign::PublicKey::parse(&bytes).is_err());
        prop_assert!(!sign::verify_ed25519(&[1; 32], b"", &bytes));
        let key = channel::ChannelKey::from_scalar(&[1; 32]).unwrap();
        prop_assert!(channel::respond(&key, &mut Zeros, channel::Suite::One, &[], &bytes).is_err());
        let _ = seal::unpad(&bytes);
    }

    #[test]
    fn any_evaluation_of_strangers_is_refused(element: [u8; 32], low: [u8; 32], high: [u8; 32], public: [u8; 32]) {
        let (state, _) = oprf::blind(b"input", &mut Zeros).unwrap();
        let proof = [low, high].concat().try_into().unwrap();
        let evaluation = oprf::Evaluation { element, proof };
        prop_assert!(state.finalize(b"input", &evaluation, &public).is_err());
    }

    #[test]
    fn normalising_is_idempotent_and_checking_never_panics(text in "\\PC{0,40}") {
        let once = pin::normalise(&text);
        let twice = pin::normalise(&once);
        prop_assert_eq!(&twice, &once);
        prop_assert_eq!(pin::check_new(&once), pin::check_new(&text));
    }
}
