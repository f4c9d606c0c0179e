//! Hashes, keys and vectors for the other modules.

use std::path::PathBuf;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use keyferry_tlog::Hash;
use serde_json::Value;

/// The vectors of a file, `None` (with a word about it) where the collection is not present.
pub(crate) fn vectors(file: &str) -> Option<Value> {
    let folder = std::env::var_os("KEYFERRY_VECTORS").map(PathBuf::from);
    let folder =
        folder.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"));
    let Ok(text) = std::fs::read_to_string(folder.join("tlog").join(file)) else {
        println!("skipped: no vectors");
        return None;
    };
    Some(serde_json::from_str(&text).expect("vectors are JSON"))
}

pub(crate) fn items(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

pub(crate) fn number(value: &Value) -> u64 {
    value.as_u64().expect("a number")
}

pub(crate) fn hex(value: &Value) -> Vec<u8> {
    let digits = text(value).as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).expect("ASCII"), 16).expect("hex"))
        .collect()
}

pub(crate) fn hash(value: &Value) -> Hash {
    hex(value).try_into().expect("32 bytes")
}

/// The hashes of a proof, `None` if one is not 32 bytes long: our types cannot even say that.
pub(crate) fn hashes(value: &Value) -> Option<Vec<Hash>> {
    items(value).iter().map(|item| hex(item).try_into().ok()).collect()
}

/// A test key: public half and signing function.
pub(crate) struct TestKey(Ed25519KeyPair);

impl TestKey {
    pub(crate) fn new(seed: u8) -> Self {
        Self(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).expect("any seed is a key"))
    }

    pub(crate) fn public(&self) -> [u8; 32] {
        self.0.public_key().as_ref().try_into().expect("32 bytes")
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).as_ref().try_into().expect("64 bytes")
    }
}
