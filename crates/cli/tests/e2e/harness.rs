//! What all tests stand on.

mod canary;
mod device;
mod first_version;
mod memory;
mod peer;
mod person;
mod recorder;
mod service;
mod store;
pub(crate) mod traces;
mod watching;
mod world;

pub(crate) use canary::{Finder, forms, hex};
pub(crate) use device::{Device, Refusal, Said, keyferry};
pub(crate) use memory::{Region, is_readable, regions};
pub(crate) use peer::{Cddl, RelyingParty, python, skip, workspace};
pub(crate) use person::Person;
pub(crate) use recorder::{Recorder, head_and_body};
pub(crate) use service::{Service, children, is_alive, signal};
pub(crate) use store::{StoredRow, Tables, copy_folder, place};
pub(crate) use watching::Watching;
pub(crate) use world::World;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keyferry_crypto::cose::parse_public_key;
use keyferry_crypto::credential::PublicKey;
use serde_json::{Value, json};
use std::io::Read as _;
use std::time::{Duration, Instant};

/// Longer than anything here takes, even when two cores are shared with a compiler.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `probe` has something.
#[track_caller]
pub(crate) fn until<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub(crate) fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[track_caller]
pub(crate) fn from_base64url(text: &Value) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text.as_str().expect("a string")).expect("base64url")
}

/// Creation options as small as the standard allows.
pub(crate) fn creation(rp_id: &str, user: &str) -> Value {
    json!({
        "rp": {"name": "A relying party", "id": rp_id},
        "user": {"id": base64url(user.as_bytes()), "name": user, "displayName": user},
        "challenge": base64url(&random::<32>()),
        "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
    })
}

/// Request options as small as the standard allows: any passkey of this relying party.
pub(crate) fn request(rp_id: &str) -> Value {
    json!({"challenge": base64url(&random::<32>()), "rpId": rp_id})
}

/// Request options for these passkeys alone.
pub(crate) fn request_for(rp_id: &str, ids: &[&str]) -> Value {
    let mut options = request(rp_id);
    options["allowCredentials"] = ids.iter().map(|id| json!({"type": "public-key", "id": id})).collect();
    options
}

pub(crate) fn origin(rp_id: &str) -> String {
    format!("https://{rp_id}")
}

pub(crate) const UP: u8 = 0x01;
pub(crate) const UV: u8 = 0x04;
pub(crate) const BE: u8 = 0x08;
pub(crate) const BS: u8 = 0x10;
pub(crate) const ED: u8 = 0x80;

/// Flags and counter of a credential's authenticator data.
#[track_caller]
pub(crate) fn flags_and_counter(credential: &Value) -> (u8, u32) {
    let data = from_base64url(&credential["response"]["authenticatorData"]);
    (data[32], u32::from_be_bytes(data[33..37].try_into().unwrap()))
}

/// Checks an assertion as a relying party does, with the public key of the registration and for these options.
#[track_caller]
pub(crate) fn assert_signed_by(created: &Value, assertion: &Value, options: &Value) {
    assert_eq!(created["id"], assertion["id"]);
    let response = &assertion["response"];
    let client_data = from_base64url(&response["clientDataJSON"]);
    let said: Value = serde_json::from_slice(&client_data).unwrap();
    assert_eq!((&said["type"], &said["challenge"]), (&json!("webauthn.get"), &options["challenge"]));
    let mut signed = from_base64url(&response["authenticatorData"]);
    let rp_id = options["rpId"].as_str().unwrap();
    assert!(signed.starts_with(&keyferry_crypto::hash::sha256(&[rp_id.as_bytes()])));
    signed.extend(keyferry_crypto::hash::sha256(&[&client_data]));
    let signature = from_base64url(&response["signature"]);
    assert!(public_key(created).verify(&signed, &signature), "the signature is wrong");
}

/// Authenticator data up to the COSE key of a credential id of 16 bytes.
const KEY_AT: usize = 37 + 16 + 2 + 16;

/// The public key of a registration, by all three of its forms: COSE_Key, SubjectPublicKeyInfo, algorithm.
#[track_caller]
pub(crate) fn public_key(created: &Value) -> PublicKey {
    let response = &created["response"];
    let data = from_base64url(&response["authenticatorData"]);
    // Extension output, if there is any, is that of credProtect.
    let extensions = if data[32] & ED == 0 { 0 } else { 14 };
    let key = parse_public_key(&data[KEY_AT..data.len() - extensions]).expect("a canonical COSE_Key");
    assert_eq!(response["publicKeyAlgorithm"], key.algorithm().cose());
    assert_eq!(from_base64url(&response["publicKey"]), key.to_spki());
    key
}
