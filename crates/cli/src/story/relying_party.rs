//! A site of this program's own, so that the story needs nothing else. It checks what a relying party has to check
//! (WebAuthn L3 section 7); the tests use relying parties that others wrote.

use crate::output::Failure;
use keyferry_client::base64url;
use keyferry_crypto::cose;
use keyferry_crypto::hash::sha256;
use keyferry_crypto::random;
use keyferry_crypto::sign::PublicKey;
use keyferry_enclave::HardwareRandom;
use serde_json::{Value, json};

pub(super) struct RelyingParty {
    rp_id: &'static str,
    origin: &'static str,
    challenge: String,
    credential: Option<(String, PublicKey)>,
}

const FLAG_UP: u8 = 0x01;
const FLAG_UV: u8 = 0x04;
const BACKED_UP: u8 = 0x18;
/// Where the credential's id and key stand in attested credential data.
const ID_AT: usize = 55;

impl RelyingParty {
    pub(super) fn new(rp_id: &'static str, origin: &'static str) -> RelyingParty {
        RelyingParty { rp_id, origin, challenge: fresh_challenge(), credential: None }
    }

    pub(super) fn creation_options(&self) -> String {
        json!({
            "rp": {"id": self.rp_id, "name": "Example shop"},
            "user": {"id": base64url::encode(b"user-1"), "name": "ada@example.org", "displayName": "Ada"},
            "challenge": self.challenge,
            "pubKeyCredParams": [{"type": "public-key", "alg": -7}],
            "authenticatorSelection": {"residentKey": "required", "userVerification": "required"},
        })
        .to_string()
    }

    pub(super) fn request_options(&self) -> (String, String) {
        let challenge = fresh_challenge();
        let options = json!({"rpId": self.rp_id, "challenge": challenge, "userVerification": "preferred"});
        (options.to_string(), challenge)
    }

    /// Verifies a new credential and keeps it; returns its id.
    pub(super) fn register(&mut self, credential: &Value) -> Result<String, Failure> {
        self.client_data(credential, "webauthn.create", &self.challenge)?;
        let data = field(credential, "authenticatorData")?;
        self.authenticator_data(&data)?;
        let key = data.get(ID_AT + 16..).ok_or_else(|| refused("the credential's key is missing"))?;
        let key =
            cose::parse_es256_public_key(key).map_err(|_| refused("the credential's key is not one"))?;
        let id = credential["id"].as_str().unwrap_or_default().to_owned();
        if base64url::decode(&id).as_deref() != data.get(ID_AT..ID_AT + 16) {
            return Err(refused("the credential's id is not the one in its data"));
        }
        self.credential = Some((id.clone(), key));
        Ok(id)
    }

    /// Verifies an assertion; returns whether the user was verified.
    pub(super) fn authenticate(&self, assertion: &Value, challenge: &str) -> Result<bool, Failure> {
        let (id, key) = self.credential.as_ref().ok_or_else(|| refused("nobody is registered"))?;
        if assertion["id"].as_str() != Some(id) {
            return Err(refused("this is another credential"));
        }
        let client_data = self.client_data(assertion, "webauthn.get", challenge)?;
        let data = field(assertion, "authenticatorData")?;
        let flags = self.authenticator_data(&data)?;
        let signed = [&data[..], &sha256(&[&client_data])].concat();
        if !key.verify(&signed, &field(assertion, "signature")?) {
            return Err(refused("the signature does not hold"));
        }
        Ok(flags & FLAG_UV != 0)
    }

    fn client_data(&self, credential: &Value, kind: &str, challenge: &str) -> Result<Vec<u8>, Failure> {
        let bytes = field(credential, "clientDataJSON")?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|_| refused("client data is not JSON"))?;
        let right = json["type"] == kind && json["challenge"] == challenge && json["origin"] == self.origin;
        if right { Ok(bytes) } else { Err(refused("client data is of another ceremony")) }
    }

    fn authenticator_data(&self, data: &[u8]) -> Result<u8, Failure> {
        let (rp_id_hash, rest) =
            data.split_at_checked(32).ok_or_else(|| refused("authenticator data is too short"))?;
        let flags = *rest.first().ok_or_else(|| refused("authenticator data is too short"))?;
        let right = rp_id_hash == sha256(&[self.rp_id.as_bytes()])
            && flags & (FLAG_UP | BACKED_UP) == FLAG_UP | BACKED_UP;
        if right { Ok(flags) } else { Err(refused("authenticator data is of another site")) }
    }
}

fn fresh_challenge() -> String {
    base64url::encode(&random::bytes::<32>(&mut HardwareRandom::default()))
}

fn field(credential: &Value, name: &str) -> Result<Vec<u8>, Failure> {
    let text = credential["response"][name].as_str();
    text.and_then(base64url::decode).ok_or_else(|| refused(&format!("{name} is missing")))
}

fn refused(why: &str) -> Failure {
    Failure::Fault(format!("the site refuses: {why}"))
}
