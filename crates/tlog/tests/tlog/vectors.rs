//! The published vectors, file by file.

use std::collections::BTreeMap;

use keyferry_tlog::*;
use serde_json::Value;

use crate::support::{TestKey, hash, hashes, hex, items, number, text, vectors};

/// Complete subtrees of given leaf hashes, the slow and plain way.
pub(crate) struct Leaves(pub(crate) Vec<Hash>);

impl Nodes for Leaves {
    type Error = std::convert::Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Self::Error> {
        Ok(match level.checked_sub(1) {
            None => self.0[usize::try_from(index).expect("small")],
            Some(below) => node_hash(&self.node(below, 2 * index)?, &self.node(below, 2 * index + 1)?),
        })
    }
}

#[test]
fn hashes_and_roots_are_those_of_rfc_6962() {
    let Some(file) = vectors("merkle-rfc6962.json") else { return };
    let given = &file["hashes"];
    assert_eq!(empty_root(), hash(&given["empty_tree"]));
    assert_eq!(leaf_hash(b""), hash(&given["empty_leaf"]));
    assert_eq!(leaf_hash(b"L123456"), hash(&given["leaf_L123456"]));
    let mut frontier = Frontier::new();
    assert_eq!(frontier.root(), hash(&file["roots_by_size"][0]));
    for (size, leaf) in items(&file["leaves"]).iter().enumerate() {
        assert_eq!(leaf_hash(&hex(leaf)), hash(&file["leaf_hashes"][size]));
        frontier.push(leaf_hash(&hex(leaf)));
        assert_eq!(frontier.root(), hash(&file["roots_by_size"][size + 1]));
    }
}

#[test]
fn proofs_of_the_small_tree_are_made_and_accepted() {
    let Some(file) = vectors("merkle-rfc6962.json") else { return };
    let leaves = Leaves(items(&file["leaf_hashes"]).iter().map(hash).collect());
    let roots: Vec<Hash> = items(&file["roots_by_size"]).iter().map(hash).collect();
    let root = |size: u64| roots[usize::try_from(size).expect("small")];
    let mut proofs = 0;
    for case in items(&file["inclusion"]) {
        proofs += 1;
        check_inclusion(&leaves, case, &root(number(&case["tree_size"])));
    }
    for case in items(&file["consistency"]) {
        proofs += 1;
        check_consistency(&leaves, case, &root(number(&case["size1"])), &root(number(&case["size2"])));
    }
    assert_eq!(proofs, 72);
}

#[test]
fn roots_and_proofs_of_the_larger_tree_are_made_and_accepted() {
    let Some(file) = vectors("merkle-rfc6962.json") else { return };
    let larger = &file["larger_tree"];
    let leaves = Leaves((0..1100u64).map(|i| leaf_hash(&i.to_be_bytes())).collect());
    for (size, root) in larger["roots"].as_object().expect("an object") {
        assert_eq!(root_at(&leaves, size.parse().expect("a size")), Ok(hash(root)));
    }
    let root = |size: &Value| root_at(&leaves, number(size)).expect("infallible");
    for case in items(&larger["inclusion"]) {
        check_inclusion(&leaves, case, &root(&case["tree_size"]));
    }
    for case in items(&larger["consistency"]) {
        check_consistency(&leaves, case, &root(&case["size1"]), &root(&case["size2"]));
    }
}

fn check_inclusion(leaves: &Leaves, case: &Value, root: &Hash) {
    let (index, size) = (number(&case["leaf_index"]), number(&case["tree_size"]));
    let proof = hashes(&case["proof"]).expect("whole hashes");
    assert_eq!(inclusion_proof(leaves, index, size).as_ref(), Ok(&proof));
    let leaf = leaves.node(0, index).expect("infallible");
    assert_eq!(verify_inclusion(&leaf, index, size, &proof, root), Ok(()));
}

fn check_consistency(leaves: &Leaves, case: &Value, old_root: &Hash, new_root: &Hash) {
    let (old, new) = (number(&case["size1"]), number(&case["size2"]));
    let proof = hashes(&case["proof"]).expect("whole hashes");
    assert_eq!(consistency_proof(leaves, old, new).as_ref(), Ok(&proof));
    assert_eq!(verify_consistency(old, old_root, new, new_root, &proof), Ok(()));
}

#[test]
fn every_proof_gets_its_verdict() {
    let Some(file) = vectors("proof-verdicts.json") else { return };
    let mut unsayable = 0;
    for case in items(&file["inclusion"]) {
        let accepted = sayable(case, &["root", "leaf_hash"]).is_some_and(|(proof, [root, leaf])| {
            verify_inclusion(&leaf, number(&case["leaf_index"]), number(&case["tree_size"]), &proof, &root)
                .is_ok()
        });
        unsayable += check_verdict(case, accepted);
    }
    for case in items(&file["consistency"]) {
        let accepted = sayable(case, &["root1", "root2"]).is_some_and(|(proof, [old_root, new_root])| {
            let (old, new) = (number(&case["size1"]), number(&case["size2"]));
            verify_consistency(old, &old_root, new, &new_root, &proof).is_ok()
        });
        unsayable += check_verdict(case, accepted);
    }
    assert_eq!(items(&file["inclusion"]).len() + items(&file["consistency"]).len(), 196);
    assert_eq!(unsayable, 53);
}

/// The hashes of a case, `None` if one of them is not 32 bytes long.
fn sayable(case: &Value, names: &[&str; 2]) -> Option<(Vec<Hash>, [Hash; 2])> {
    let [first, second] = names.map(|name| hex(&case[name]).try_into().ok());
    Some((hashes(&case["proof"])?, [first?, second?]))
}

/// Checks the verdict; 1 if the case has a hash of another length, where refusing is right in any case.
fn check_verdict(case: &Value, accepted: bool) -> u32 {
    if case["hash_not_32_bytes"] == true {
        assert!(!accepted, "{}", case["name"]);
        return 1;
    }
    assert_eq!(accepted, case["accept"] == true, "{}", case["name"]);
    0
}

#[test]
fn signed_notes_get_their_verdicts() {
    let Some(file) = vectors("signed-notes.json") else { return };
    for case in items(&file["notes"]) {
        let note = Note::parse(text(&case["text"])).expect("a note");
        assert_eq!(note.to_string(), text(&case["text"]));
        for verdict in items(&case["verdicts"]) {
            let key = VerifierKey::parse(text(&verdict["vkey"])).expect("a key");
            assert_eq!(key.to_string(), text(&verdict["vkey"]));
            assert_eq!(note.verify(&key).is_ok(), verdict["accept"] == true, "{}", case["name"]);
        }
    }
    for case in items(&file["bad_vkeys"]) {
        assert!(VerifierKey::parse(text(&case["vkey"])).is_err(), "{}", case["why"]);
    }
    for case in items(&file["malformed"]) {
        assert!(Note::parse(text(&case["text"])).is_err(), "{}", case["why"]);
    }
}

#[test]
fn published_checkpoints_get_their_verdicts() {
    let Some(file) = vectors("signed-notes.json") else { return };
    for case in items(&file["checkpoints"]) {
        let note = Note::parse(text(&case["text"])).expect("a note");
        let key = VerifierKey::parse(text(&case["vkey"])).expect("a key");
        let opened = SignedCheckpoint::open(&note, &key, text(&case["origin"]));
        assert_eq!(opened.is_ok(), case["accept"] == true, "{}", case["why"]);
        if let Ok(checkpoint) = opened {
            assert_eq!(checkpoint.size, number(&case["size"]));
            assert_eq!(checkpoint.root, hash(&case["root_hex"]));
            assert_eq!(checkpoint.body(), note.text());
        }
    }
}

#[test]
fn cosignatures_of_a_real_log_get_their_verdicts() {
    let Some(file) = vectors("cosignatures.json") else { return };
    let given = text(&file["text"]);
    let grown = given.replace(&number(&file["size"]).to_string(), "42");
    for verdict in items(&file["verdicts"]) {
        let key = VerifierKey::parse(text(&verdict["vkey"])).expect("a key");
        let accept = verdict["accept"] == true;
        match number(&verdict["type"]) {
            1 => {
                let open = |note: &str| {
                    SignedCheckpoint::open(&Note::parse(note).expect("a note"), &key, text(&file["origin"]))
                };
                assert_eq!(open(given).is_ok(), accept, "{}", verdict["why"]);
                assert!(open(&grown).is_err());
            }
            _ => {
                let time = |note: &str| verify_cosignature(&Note::parse(note).expect("a note"), &key);
                assert_eq!(time(given), Ok(number(&verdict["time"])));
                assert_eq!(time(&grown), Err(VerifyError::BadSignature));
                assert_eq!(time(&one_second_later(given)), Err(VerifyError::BadSignature));
            }
        }
    }
    for case in items(&file["timestamp_only"]) {
        let line = format!("\u{2014} name {}\n", text(&case["signature"]));
        let signature = NoteSignature::parse_lines(line).expect("a line");
        let time = parse_timestamped(signature[0].bytes()).map(|(time, _)| time);
        assert_eq!(time, case["time"].as_u64());
    }
}

/// The note with every time of 72 bytes' cosignatures moved by one second.
fn one_second_later(note: &str) -> String {
    let note = Note::parse(note).expect("a note");
    let lines = note.signatures().iter().map(|signature| {
        let mut bytes = [&signature.key_id().to_be_bytes(), signature.bytes()].concat();
        if bytes.len() == 76 {
            bytes[11] += 1;
        }
        use base64::Engine;
        format!("\u{2014} {} {}\n", signature.name(), base64::engine::general_purpose::STANDARD.encode(bytes))
    });
    format!("{}\n{}", note.text(), lines.collect::<String>())
}

#[test]
fn a_small_log_of_tessera_is_reproduced() {
    let Some(file) = vectors("tiled-log.json") else { return };
    let key = VerifierKey::parse(text(&file["log_vkey"])).expect("a key");
    let entries: Vec<Vec<u8>> = items(&file["entries_hex"]).iter().map(hex).collect();
    let open = |note: &str| {
        let note = Note::parse(note).expect("a note");
        SignedCheckpoint::open(&note, &key, "example.com/log/testdata").expect("signed")
    };
    let mut tree = TileTree::new();
    assert_eq!(open(text(&file["checkpoint_size_0"])).root, tree.root());
    for (entry, size) in entries.iter().zip(1u64..) {
        assert!(tree.push(leaf_hash(entry)).is_empty());
        let checkpoint = open(text(&file["checkpoints"][size.to_string()]));
        assert_eq!((checkpoint.size, checkpoint.root), (tree.size(), tree.root()));
        assert_eq!(tree.root(), hash(&file["roots_by_size"][size.to_string()]));
    }
    let bundle = entry_bundle(&entries).expect("fits");
    assert_eq!(bundle, hex(&file["entry_bundle_hex"]));
    assert_eq!(parse_entry_bundle(&bundle, 15).expect("a bundle"), entries);
    assert_eq!(entries_path(0, 15), text(&file["entry_bundle_path"]));
    let tiles = tree.partial_tiles();
    assert_eq!(tiles.len(), 1);
    assert_eq!(tile_bytes(tiles[0].hashes), hex(&file["tile_level0_hex"]));
    assert_eq!(tile_path(tiles[0].level, tiles[0].index, 15), text(&file["tile_level0_path"]));
}

#[test]
fn a_witness_built_of_these_parts_answers_as_tlog_witness_says() {
    let Some(file) = vectors("witness-add-checkpoint.json") else { return };
    let log_key = VerifierKey::parse(text(&file["log_vkey"])).expect("a key");
    let mut sizes = BTreeMap::from([(text(&file["origin"]).to_owned(), (0, empty_root()))]);
    for request in items(&file["requests"]) {
        let answer = add_checkpoint(&mut sizes, &log_key, text(&request["body"]));
        let status = answer.as_ref().map_or_else(|status| *status, |_| 200);
        assert_eq!(u64::from(status), number(&request["status"]), "{}", request["name"]);
    }
    assert_eq!(items(&file["requests"]).len(), 11);
}

/// A witness in as few lines as it takes: the status of an error, or the cosignature line.
fn add_checkpoint(
    sizes: &mut BTreeMap<String, (u64, Hash)>,
    log_key: &VerifierKey,
    body: &str,
) -> Result<String, u16> {
    let (head, note) = body.split_once("\n\n").ok_or(400u16)?;
    let mut head = head.split('\n');
    let old: u64 = head.next().and_then(|line| line.strip_prefix("old ")?.parse().ok()).ok_or(400u16)?;
    let proof: Vec<Hash> = head.map(|line| base64_hash(line).ok_or(400u16)).collect::<Result<_, _>>()?;
    let note = Note::parse(note).map_err(|_| 400u16)?;
    let unverified = Checkpoint::parse(note.text()).map_err(|_| 400u16)?;
    let (known, known_root) = sizes.get_mut(&unverified.origin).ok_or(404u16)?;
    let checkpoint = SignedCheckpoint::open(&note, log_key, &unverified.origin).map_err(|_| 403u16)?;
    if old > checkpoint.size {
        return Err(400);
    }
    if old != *known {
        return Err(409);
    }
    if old > 0 {
        verify_consistency(old, known_root, checkpoint.size, &checkpoint.root, &proof).map_err(|_| 422u16)?;
    }
    (*known, *known_root) = (checkpoint.size, checkpoint.root);
    let key = TestKey::new(9);
    Ok(cosign(note.text(), "witness.example/w", &key.public(), 1, |message| key.sign(message)).to_string())
}

fn base64_hash(line: &str) -> Option<Hash> {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(line).ok()?.try_into().ok()
}
