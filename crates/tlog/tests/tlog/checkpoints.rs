//! Checkpoints, cosignatures, quorums.

use keyferry_tlog::*;
use proptest::prelude::*;

use crate::support::TestKey;

const ORIGIN: &str = "log.example/3";

fn signed_by(key: &TestKey, checkpoint: &Checkpoint) -> Note {
    Note::parse(checkpoint.sign(&key.public(), |message| key.sign(message))).expect("a note")
}

fn witness(seed: u8) -> (TestKey, VerifierKey) {
    let key = TestKey::new(seed);
    let name = format!("witness.example/{seed}");
    let verifier = VerifierKey::cosignature_v1(&name, key.public()).expect("a name");
    (key, verifier)
}

/// A note with cosignatures of the witnesses 10, 11, ... at the given times, and the set of `n` witnesses.
fn cosigned(n: u8, times: &[u64]) -> (Note, Vec<VerifierKey>) {
    let mut note = signed_by(&TestKey::new(1), &Checkpoint::new(ORIGIN, 7, [7; 32]));
    for (seed, time) in (10u8..).zip(times) {
        let (key, verifier) = witness(seed);
        let line =
            cosign(note.text(), verifier.name(), verifier.public(), *time, |message| key.sign(message));
        note.add_signatures([line]).expect("room");
    }
    (note, (10..10 + n).map(|seed| witness(seed).1).collect())
}

#[test]
fn a_checkpoint_is_opened_with_the_key_and_origin_of_its_log_alone() {
    let key = TestKey::new(1);
    let checkpoint = Checkpoint::new(ORIGIN, 7, [7; 32]);
    let note = signed_by(&key, &checkpoint);
    let log_key = VerifierKey::ed25519(ORIGIN, key.public()).expect("a name");
    let opened = SignedCheckpoint::open(&note, &log_key, ORIGIN).expect("signed");
    assert_eq!((opened.size, opened.note()), (7, &note));
    assert_eq!(opened.into_checkpoint(), checkpoint);
    assert_eq!(SignedCheckpoint::open(&note, &log_key, "log.example/4"), Err(CheckpointError::Origin));
    let other = VerifierKey::ed25519(ORIGIN, TestKey::new(2).public()).expect("a name");
    let refused = SignedCheckpoint::open(&note, &other, ORIGIN);
    assert_eq!(refused, Err(CheckpointError::Signature(VerifyError::NoSignature)));
}

#[test]
fn a_signed_text_that_is_no_checkpoint_is_refused() {
    let key = TestKey::new(1);
    let note = Note::parse(sign_note("hello\n", ORIGIN, &key.public(), |m| key.sign(m))).expect("a note");
    let log_key = VerifierKey::ed25519(ORIGIN, key.public()).expect("a name");
    assert_eq!(SignedCheckpoint::open(&note, &log_key, ORIGIN), Err(CheckpointError::Malformed));
}

#[test]
fn checkpoint_texts_have_one_spelling() {
    let root = "CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=";
    let good = format!("o\n0\n{root}\nextension one\nextension two\n");
    let parsed = Checkpoint::parse(&good).expect("a checkpoint");
    assert_eq!(parsed.extensions, ["extension one", "extension two"]);
    assert_eq!(parsed.body(), good);
    assert_eq!(
        Checkpoint::parse(&format!("o\n{}\n{root}\n", u64::MAX)).expect("a checkpoint").size,
        u64::MAX
    );
    for bad in [
        String::new(),
        "o\n1\n".to_owned(),
        format!("o\n1\n{root}"),
        format!("\n1\n{root}\n"),
        format!("o\n\n{root}\n"),
        format!("o\n01\n{root}\n"),
        format!("o\n00\n{root}\n"),
        format!("o\n+1\n{root}\n"),
        format!("o\n-1\n{root}\n"),
        format!("o\n 1\n{root}\n"),
        format!("o\n18446744073709551616\n{root}\n"),
        format!("o\n1\n{root}\n\n"),
        format!("o\n1\n{root}\n\nextension\n"),
        format!("o\n1\n{root} \n"),
        format!("o\r\n1\n{root}\n"),
        format!("o\n1\n{}\n", root.replace("q2I=", "q2J=")),
        format!("o\n1\n{}\n", root.trim_end_matches('=')),
        "o\n1\nAAAA\n".to_owned(),
        format!("o\n1\n{root}A\n"),
    ] {
        assert_eq!(Checkpoint::parse(&bad), Err(CheckpointError::Malformed), "{bad:?}");
    }
}

#[test]
#[should_panic = "the lines of a checkpoint"]
fn an_origin_that_hides_a_checkpoint_is_never_printed() {
    let _ = Checkpoint::new("log.example\n9", 7, [7; 32]).body();
}

#[test]
fn a_cosignature_gives_its_time() {
    let (note, witnesses) = cosigned(2, &[1_700_000_000]);
    assert_eq!(verify_cosignature(&note, &witnesses[0]), Ok(1_700_000_000));
    assert_eq!(verify_cosignature(&note, &witnesses[1]), Err(VerifyError::NoSignature));
}

#[test]
fn the_latest_of_two_cosignatures_counts() {
    let (mut note, witnesses) = cosigned(1, &[50]);
    let (later, _) = cosigned(1, &[70]);
    note.add_signatures(later.signatures()[1..].to_vec()).expect("room");
    assert_eq!(verify_cosignature(&note, &witnesses[0]), Ok(70));
}

#[test]
fn timestamped_signatures_have_one_length_and_a_possible_time() {
    let bytes = encode_timestamped(258, &[9; 64]);
    assert_eq!(bytes[..9], [0, 0, 0, 0, 0, 0, 1, 2, 9]);
    assert_eq!(parse_timestamped(&bytes), Some((258, [9; 64])));
    assert_eq!(parse_timestamped(&bytes[..71]), None);
    assert_eq!(parse_timestamped(&[bytes.as_slice(), &[0]].concat()), None);
    assert_eq!(parse_timestamped(&encode_timestamped(1 << 63, &[9; 64])), None);
}

#[test]
fn only_safe_quorums_exist() {
    for (n, f, q, warns) in
        [(4, 1, 3, false), (7, 2, 5, false), (3, 1, 3, true), (3, 0, 2, false), (1, 0, 1, false)]
    {
        assert_eq!(Quorum::new(n, f, q).expect("safe").warns(), warns, "{n}/{f}/{q}");
    }
    let huge = u32::MAX;
    for (n, f, q) in
        [(4, 1, 2), (3, 1, 2), (2, 0, 1), (0, 0, 0), (3, 0, 4), (5, 2, 4), (huge, huge, huge), (2, 1, 2)]
    {
        assert_eq!(Quorum::new(n, f, q), Err(QuorumError::Unsafe { n, f, q }));
    }
}

#[test]
fn too_few_cosignatures_are_no_quorum() {
    let quorum = Quorum::new(4, 1, 3).expect("safe");
    let (note, witnesses) = cosigned(4, &[100, 200]);
    assert_eq!(quorum.check(&note, &witnesses), Err(QuorumError::TooFew { found: 2, q: 3 }));
    let (note, witnesses) = cosigned(4, &[100, 200, 300]);
    assert_eq!(quorum.check(&note, &witnesses), Ok(LedgerTime { lower_secs: 200, upper_secs: 200 }));
    let (note, witnesses) = cosigned(4, &[900, 100, 300, 200]);
    assert_eq!(quorum.check(&note, &witnesses), Ok(LedgerTime { lower_secs: 200, upper_secs: 300 }));
}

#[test]
fn a_bad_line_costs_its_own_witness_the_vote_alone() {
    let quorum = Quorum::new(4, 1, 3).expect("safe");
    let (mut note, witnesses) = cosigned(4, &[100, 200, 300, 400]);
    let line =
        cosign("another\n", witnesses[0].name(), witnesses[0].public(), 1, |m| TestKey::new(10).sign(m));
    note.add_signatures([line]).expect("room");
    assert_eq!(quorum.check(&note, &witnesses), Ok(LedgerTime { lower_secs: 300, upper_secs: 300 }));
}

#[test]
fn one_key_under_two_names_is_no_witness_set() {
    let quorum = Quorum::new(3, 0, 2).expect("safe");
    let (note, mut witnesses) = cosigned(3, &[1, 2]);
    assert!(quorum.check(&note, &witnesses).is_ok());
    assert_eq!(quorum.check(&note, &witnesses[..2]), Err(QuorumError::Witnesses));
    witnesses[1] = VerifierKey::cosignature_v1("other", *witnesses[0].public()).expect("a name");
    assert_eq!(quorum.check(&note, &witnesses), Err(QuorumError::Witnesses));
    witnesses[1] = VerifierKey::ed25519("other", [3; 32]).expect("a name");
    assert_eq!(quorum.check(&note, &witnesses), Err(QuorumError::Witnesses));
}

proptest! {
    /// The promise of ledger time: with f liars, an honest time lies on each side of the bounds.
    #[test]
    fn liars_cannot_move_ledger_time_beyond_the_honest(
        (n, f, q) in prop::sample::select(vec![(4u32, 1u32, 3usize), (7, 2, 5), (3, 1, 3), (3, 0, 2)]),
        honest in prop::collection::vec(1_000u64..2_000, 7),
        lies in prop::collection::vec(any::<u64>(), 2),
        extra in 0usize..3,
    ) {
        let quorum = Quorum::new(n, f, q as u32).expect("safe");
        let f = f as usize;
        let count = (q + extra).min(n as usize) - f;
        let times: Vec<u64> = honest[..count].iter().chain(&lies[..f]).copied().collect();
        let LedgerTime { lower_secs, upper_secs } = quorum.ledger_time(&times).expect("enough");
        let (first, last) = (honest[..count].iter().min(), honest[..count].iter().max());
        prop_assert!(lower_secs <= upper_secs);
        prop_assert!(first.is_some_and(|first| *first <= lower_secs));
        prop_assert!(last.is_some_and(|last| *last >= upper_secs));
    }

    #[test]
    fn every_checkpoint_is_read_back(origin in "[^\\x00-\\x1f]{1,20}", size in any::<u64>(), root in any::<[u8; 32]>(), extensions in prop::collection::vec("[^\\x00-\\x1f]{1,9}", 0..3)) {
        let checkpoint = Checkpoint { origin, size, root, extensions };
        prop_assert_eq!(Checkpoint::parse(&checkpoint.body()), Ok(checkpoint));
    }
}
