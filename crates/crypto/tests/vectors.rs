//! RFC vectors that lie in `vectors/`, through the public doors of this crate.
#![allow(clippy::unwrap_used)]

use aws_lc_rs::{aead, agreement, hmac};
use keyferry_crypto::hash::frame;
use keyferry_crypto::hpke::{BoxKey, seal_to};
use keyferry_crypto::label::Label;
use keyferry_crypto::oprf::{Evaluation, OprfKey, blind};
use keyferry_crypto::random::Random;
use serde_json::Value;

fn file(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap();
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn fixed<const N: usize>(value: &Value) -> [u8; N] {
    hex(value).try_into().unwrap()
}

/// Chosen bytes, then zeros.
struct Script(Vec<u8>);

impl Random for Script {
    fn fill(&mut self, out: &mut [u8]) {
        for byte in out {
            *byte = if self.0.is_empty() { 0 } else { self.0.remove(0) };
        }
    }
}

/// HPKE written out from RFC 9180 for this one suite: the vectors have an `info` and `aad` of their own, which our doors
/// do not take. It is held against the vectors, and our doors against it.
mod reference {
    use super::*;

    const KEM: &[u8] = b"KEM\x00\x20";
    const HPKE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x02";

    fn mac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
        hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), &parts.concat()).as_ref().to_vec()
    }

    fn extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Vec<u8> {
        mac(salt, &[b"HPKE-v1", suite, label, ikm])
    }

    fn expand(suite: &[u8], prk: &[u8], label: &[u8], info: &[u8], len: u8) -> Vec<u8> {
        let mut out = mac(prk, &[&[0, len], b"HPKE-v1", suite, label, info, &[1]]);
        out.truncate(usize::from(len));
        out
    }

    pub(super) fn agree(secret: &[u8], public: &[u8]) -> Vec<u8> {
        let secret = agreement::PrivateKey::from_private_key(&agreement::X25519, secret).unwrap();
        let public = agreement::UnparsedPublicKey::new(&agreement::X25519, public);
        agreement::agree(&secret, public, (), |shared| Ok(shared.to_vec())).unwrap()
    }

    /// Section 4.1: both sides, from the Diffie-Hellman value.
    pub(super) fn shared_secret(dh: &[u8], enc: &[u8], receiver: &[u8]) -> Vec<u8> {
        let prk = extract(KEM, b"", b"eae_prk", dh);
        expand(KEM, &prk, b"shared_secret", &[enc, receiver].concat(), 32)
    }

    /// Section 5.1, base mode: key and nonce.
    pub(super) fn schedule(shared: &[u8], info: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let psk_id = extract(HPKE, b"", b"psk_id_hash", b"");
        let info = extract(HPKE, b"", b"info_hash", info);
        let context = [&[0], psk_id.as_slice(), &info].concat();
        let secret = extract(HPKE, shared, b"secret", b"");
        (expand(HPKE, &secret, b"key", &context, 32), expand(HPKE, &secret, b"base_nonce", &context, 12))
    }

    fn cipher(key: &[u8], nonce: &[u8]) -> (aead::LessSafeKey, aead::Nonce) {
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_256_GCM, key).unwrap());
        (key, aead::Nonce::try_assume_unique_for_key(nonce).unwrap())
    }

    pub(super) fn seal(key: &[u8], nonce: &[u8], aad: &[u8], plaintext: &[u8]) -> Vec<u8> {
        let (key, nonce) = cipher(key, nonce);
        let mut text = plaintext.to_vec();
        key.seal_in_place_append_tag(nonce, aead::Aad::from(aad), &mut text).unwrap();
        text
    }

    pub(super) fn open(key: &[u8], nonce: &[u8], aad: &[u8], sealed: &[u8]) -> Vec<u8> {
        let (key, nonce) = cipher(key, nonce);
        let mut text = sealed.to_vec();
        key.open_in_place(nonce, aead::Aad::from(aad), &mut text).unwrap().to_vec()
    }
}

#[test]
fn boxes_are_those_of_rfc_9180() {
    let file = file(include_str!("../../../vectors/hpke/rfc9180-x25519-sha256-aes256gcm.json"));
    let vectors = file["vectors"].as_array().unwrap();
    for vector in vectors {
        let field = |name: &str| hex(&vector[name]);
        let (enc, receiver) = (field("enc"), field("pkRm"));
        let dh = reference::agree(&field("skRm"), &enc);
        assert_eq!(dh, reference::agree(&field("skEm"), &receiver));
        let shared = reference::shared_secret(&dh, &enc, &receiver);
        assert_eq!(shared, field("shared_secret"));
        let (key, nonce) = reference::schedule(&shared, &field("info"));
        assert_eq!((&key, &nonce), (&field("key"), &field("base_nonce")));
        let (aad, plaintext) = (hex(&vector["encryption"]["aad"]), hex(&vector["encryption"]["pt"]));
        assert_eq!(reference::seal(&key, &nonce, &aad, &plaintext), hex(&vector["encryption"]["ct"]));
        ours_agrees(vector, &shared);
    }
    println!(
        "rfc9180: {} vectors; other modes, KEMs, KDFs and AEADs do not apply: there is one suite",
        vectors.len()
    );
    assert_eq!(vectors.len(), 1);
}

/// With the vector's own keys: what the reference seals our door opens, and the other way round.
fn ours_agrees(vector: &Value, shared: &[u8]) {
    let key = BoxKey::from_bytes(&fixed(&vector["skRm"]));
    assert_eq!(key.public().to_vec(), hex(&vector["pkRm"]));
    let (label, parts): (_, &[&[u8]]) = (Label::MemberWrap, &[b"member", b"1"]);
    let (info, aad) = (label.as_bytes(), frame(label, parts));
    let (aead_key, nonce) = reference::schedule(shared, info);
    let boxed = [hex(&vector["enc"]), reference::seal(&aead_key, &nonce, &aad, b"plaintext")].concat();
    assert_eq!(key.open(label, parts, &boxed).unwrap().expose(), b"plaintext");

    let boxed = seal_to(&key.public(), label, parts, b"plaintext", &mut Script(vec![7; 32])).unwrap();
    let (enc, sealed) = boxed.split_at(32);
    let dh = reference::agree(&hex(&vector["skRm"]), enc);
    let (aead_key, nonce) = reference::schedule(&reference::shared_secret(&dh, enc, &key.public()), info);
    assert_eq!(reference::open(&aead_key, &nonce, &aad, sealed), b"plaintext");
}

#[test]
fn evaluations_are_those_of_rfc_9497() {
    let file = file(include_str!("../../../vectors/oprf/rfc9497-ristretto255-sha512.json"));
    let key = OprfKey::from_bytes(&fixed(&file["sk"])).unwrap();
    assert_eq!(key.public().to_vec(), hex(&file["pk"]));
    let vectors = file["vectors"].as_array().unwrap();
    for vector in vectors {
        let input = hex(&vector["input"]);
        let (state, blinded) = blind(&input, &mut Script(hex(&vector["blind"]))).unwrap();
        assert_eq!(blinded.to_vec(), hex(&vector["blinded_element"]));
        let element = key.evaluate(&blinded, &mut Script(vec![9; 32])).unwrap().element;
        assert_eq!(element.to_vec(), hex(&vector["evaluation_element"]));
        let evaluation = Evaluation { element, proof: fixed(&vector["proof"]) };
        let output = state.finalize(&input, &evaluation, &key.public()).unwrap();
        assert!(output.matches(&hex(&vector["output"])));
    }
    println!(
        "rfc9497: {} vectors; the batch of two and those for P-256 do not apply: the suite is ristretto255, one element",
        vectors.len()
    );
    assert_eq!(vectors.len(), 2);
}
