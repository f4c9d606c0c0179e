//! The test vectors of Web Authentication Level 3, each walked through by the code that speaks WebAuthn here: client data,
//! options, COSE keys, signatures, PRF. What does not apply says why and is counted, so that no case drops out unseen.
#![allow(clippy::unwrap_used, clippy::panic)]

use keyferry_client::base64url;
use keyferry_client::webauthn::{CreateRequest, GetRequest};
use keyferry_crypto::cose::{parse_public_key, public_key};
use keyferry_crypto::credential::{Algorithm, CredentialKey, PublicKey};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::prf;
use keyferry_wire::CredentialId;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NAME: &str = "webauthn/webauthn-l3.json";

/// The shared vectors, or nothing (said aloud) where they are not at hand.
fn vectors() -> Option<Value> {
    let folder = std::env::var("KEYFERRY_VECTORS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors").to_owned());
    match std::fs::read_to_string(format!("{folder}/{NAME}")) {
        Ok(text) => Some(serde_json::from_str(&text).unwrap()),
        Err(_) => {
            println!("skipped: no vectors ({NAME})");
            None
        }
    }
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no hex"));
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// What was checked and what not, by name.
#[derive(Default)]
struct Tally {
    applied: BTreeMap<&'static str, usize>,
    left_out: BTreeMap<String, Vec<String>>,
}

impl Tally {
    fn applies(&mut self, what: &'static str) {
        *self.applied.entry(what).or_default() += 1;
    }

    fn leaves_out(&mut self, what: &str, why: &str, case: &str) {
        self.left_out.entry(format!("{what}: {why}")).or_default().push(case.to_owned());
    }

    fn print(&self) {
        for (what, count) in &self.applied {
            println!("webauthn-l3: {what}: {count} hold");
        }
        for (what, cases) in &self.left_out {
            println!("webauthn-l3: not applicable, {what}: {} ({})", cases.len(), cases.join(", "));
        }
    }

    fn count(&self, what: &str) -> (usize, usize) {
        let left_out = self.left_out.iter().filter(|(key, _)| key.starts_with(&format!("{what}: ")));
        let applied = self.applied.get(what).copied().unwrap_or_default();
        (applied, left_out.map(|(_, cases)| cases.len()).sum())
    }
}

/// Authenticator data taken apart (WebAuthn L3, 6.1).
struct Data<'a> {
    rp_id_hash: &'a [u8],
    flags: u8,
    count: u32,
    rest: &'a [u8],
}

fn data(bytes: &[u8]) -> Data<'_> {
    let count = u32::from_be_bytes(bytes[33..37].try_into().unwrap());
    Data { rp_id_hash: &bytes[..32], flags: bytes[32], count, rest: &bytes[37..] }
}

fn flags(names: &Value) -> u8 {
    let bit = |name: &Value| match name.as_str().unwrap() {
        "UP" => 0x01,
        "UV" => 0x04,
        "BE" => 0x08,
        "BS" => 0x10,
        "AT" => 0x40,
        "ED" => 0x80,
        other => panic!("{other}"),
    };
    names.as_array().unwrap().iter().map(bit).sum()
}

/// In the canonical order of CTAP2 the authenticator data end the attestation object.
fn authenticator_data(object: &[u8]) -> &[u8] {
    let key = [&[0x68][..], b"authData"].concat();
    let at = object.windows(key.len()).rposition(|window| window == key).unwrap() + key.len();
    byte_string(&object[at..])
}

/// The byte string at the start.
fn byte_string(cbor: &[u8]) -> &[u8] {
    match cbor[0] {
        0x58 => &cbor[2..2 + usize::from(cbor[1])],
        0x59 => &cbor[3..3 + usize::from(u16::from_be_bytes([cbor[1], cbor[2]]))],
        other => panic!("{other:x}"),
    }
}

/// The `sig` of an attestation statement.
fn statement_signature(object: &[u8]) -> &[u8] {
    let key = [&[0x63][..], b"sig"].concat();
    let at = object.windows(key.len()).position(|window| window == key).unwrap() + key.len();
    byte_string(&object[at..])
}

fn options(ceremony: &str, challenge: &[u8], rp_id: &str) -> Vec<u8> {
    let challenge = base64url::encode(challenge);
    let options = match ceremony {
        "registration" => json!({
            "rp": {"id": rp_id, "name": "r"}, "user": {"id": "AQ", "name": "u", "displayName": "U"},
            "challenge": challenge, "pubKeyCredParams": [],
        }),
        _ => json!({"rpId": rp_id, "challenge": challenge}),
    };
    options.to_string().into_bytes()
}

/// Our client makes the very bytes of the vector, where it can be in the situation that the vector shows.
fn client_data(tally: &mut Tally, file: &Value, case: &Value, ceremony: &'static str) {
    const WHAT: &str = "client data";
    let (id, part) = (case["id"].as_str().unwrap(), &case[ceremony]);
    let (rp_id, origin) = (file["rp_id"].as_str().unwrap(), file["origin"].as_str().unwrap());
    let json = hex(&part["clientDataJSON"]);
    let said: Value = serde_json::from_slice(&json).unwrap();
    let challenge = hex(&part["challenge"]);
    assert_eq!(said["challenge"], base64url::encode(&challenge), "{id}");
    let place = format!("{id} {ceremony}");
    if said["crossOrigin"] != false {
        return tally.leaves_out(WHAT, "this client is asked by the top-level origin alone", &place);
    }
    if said.get("extraData").is_some() {
        return tally.leaves_out(WHAT, "it shows members that a client may add, and ours does not", &place);
    }
    let options = options(ceremony, &challenge, rp_id);
    let made = match ceremony {
        "registration" => CreateRequest::parse(&options, origin).unwrap().client_data,
        _ => GetRequest::parse(&options, origin).unwrap().client_data,
    };
    assert_eq!(made.json(), json, "{place}");
    assert_eq!(*made.hash(), sha256(&[&json]));
    tally.applies(WHAT);
}

/// Authenticator data as the vector describes them; gives the key, if it is of an algorithm that is spoken here.
fn registration(tally: &mut Tally, file: &Value, case: &Value) -> Option<PublicKey> {
    let (id, part, facts) = (case["id"].as_str().unwrap(), &case["registration"], &case["facts"]);
    let object = hex(&part["attestationObject"]);
    let bytes = authenticator_data(&object);
    let found = data(bytes);
    assert_eq!(found.rp_id_hash, sha256(&[file["rp_id"].as_str().unwrap().as_bytes()]), "{id}");
    assert_eq!(found.flags, flags(&facts["registration_flags"]), "{id}");
    assert_eq!(u64::from(found.count), facts["registration_sign_count"], "{id}");
    let credential = hex(&part["credential_id"]);
    let length = u16::try_from(credential.len()).unwrap().to_be_bytes();
    let attested = [&hex(&part["aaguid"])[..], &length, &credential].concat();
    let cose = found.rest.strip_prefix(&attested[..]).unwrap_or_else(|| panic!("{id}: attested data"));
    assert_eq!(cose, hex(&facts["credential_public_key_cose"]), "{id}");
    attestation(tally, case, &object, bytes);

    let alg = facts["cose_alg"].as_i64().unwrap();
    if Algorithm::of_cose(alg).is_none() {
        assert!(parse_public_key(cose).is_err(), "{id}: a key of an unknown algorithm is refused");
        tally.leaves_out("registration", &format!("algorithm {alg} is not offered"), id);
        return None;
    }
    let key = parse_public_key(cose).unwrap_or_else(|error| panic!("{id}: {error}"));
    assert_eq!((key.algorithm().cose(), public_key(&key)), (alg, cose.to_vec()), "{id}");
    tally.applies("registration");
    Some(key)
}

fn attestation(tally: &mut Tally, case: &Value, object: &[u8], bytes: &[u8]) {
    const WHAT: &str = "attestation";
    let (id, facts) = (case["id"].as_str().unwrap(), &case["facts"]);
    let hash = sha256(&[&hex(&case["registration"]["clientDataJSON"])]);
    match (facts["fmt"].as_str().unwrap(), facts["attestation_type"].as_str().unwrap()) {
        ("none", _) => {
            // Exactly the object that the engine makes around the same authenticator data.
            let head = [
                &[0xa3, 0x63][..],
                b"fmt",
                &[0x64],
                b"none",
                &[0x67],
                b"attStmt",
                &[0xa0, 0x68],
                b"authData",
            ];
            let rest = object.strip_prefix(&head.concat()[..]).unwrap_or_else(|| panic!("{id}"));
            assert_eq!(byte_string(rest), bytes, "{id}");
            tally.applies(WHAT);
        }
        ("packed", "self") => {
            let key = parse_public_key(&hex(&facts["credential_public_key_cose"])).unwrap();
            assert!(key.verify(&[bytes, &hash].concat(), statement_signature(object)), "{id}");
            tally.applies(WHAT);
        }
        (format, _) => {
            let why =
                format!("{format} with certificates is for relying parties to verify; none is made here yet");
            tally.leaves_out(WHAT, &why, id);
        }
    }
}

/// The private half given by the vector belongs to its public half, and what we sign with it verifies.
fn private_key(tally: &mut Tally, case: &Value, key: &PublicKey) {
    const WHAT: &str = "private key";
    let (id, part) = (case["id"].as_str().unwrap(), &case["registration"]);
    if let PublicKey::Rs256 { modulus, .. } = key {
        let product = multiplied(&hex(&part["private_key_p"]), &hex(&part["private_key_q"]));
        assert_eq!(&product, modulus, "{id}");
        return tally.leaves_out(
            WHAT,
            "RSA factors alone are no PKCS#8, the form of RSA keys here (p * q = n holds)",
            id,
        );
    }
    let private = hex(&part["credential_private_key"]);
    let own =
        CredentialKey::load(key.algorithm(), &private, &key.to_stored()).unwrap_or_else(|_| panic!("{id}"));
    let part = &case["authentication"];
    let message = [&hex(&part["authenticatorData"])[..], &sha256(&[&hex(&part["clientDataJSON"])])].concat();
    let signature = own.sign(&message);
    assert!(key.verify(&message, &signature), "{id}");
    if key.algorithm() == Algorithm::EdDsa {
        // The one algorithm here whose signature is a function of key and message.
        assert_eq!(signature, hex(&part["signature"]), "{id}");
    }
    tally.applies(WHAT);
}

/// Big-endian numbers, multiplied as at school; without leading zeros.
fn multiplied(a: &[u8], b: &[u8]) -> Vec<u8> {
    let mut out = vec![0_u8; a.len() + b.len()];
    for (i, x) in a.iter().rev().enumerate() {
        let mut carry = 0_u32;
        for (j, y) in b.iter().rev().map(Some).chain(std::iter::repeat(None)).enumerate() {
            let Some(at) = out.len().checked_sub(1 + i + j) else { break };
            let sum = u32::from(out[at]) + u32::from(*x) * y.map_or(0, |y| u32::from(*y)) + carry;
            out[at] = u8::try_from(sum & 0xff).unwrap();
            carry = sum >> 8;
        }
    }
    out.into_iter().skip_while(|byte| *byte == 0).collect()
}

fn authentication(tally: &mut Tally, file: &Value, case: &Value, key: Option<&PublicKey>) {
    let (id, part, facts) = (case["id"].as_str().unwrap(), &case["authentication"], &case["facts"]);
    let bytes = hex(&part["authenticatorData"]);
    let found = data(&bytes);
    assert_eq!(found.rp_id_hash, sha256(&[file["rp_id"].as_str().unwrap().as_bytes()]), "{id}");
    assert_eq!(found.flags, flags(&facts["authentication_flags"]), "{id}");
    assert_eq!(u64::from(found.count), facts["authentication_sign_count"], "{id}");
    assert!(found.rest.is_empty(), "{id}");
    let Some(key) = key else {
        return tally.leaves_out("authentication", "the algorithm is not offered", id);
    };
    let (signature, hash) = (hex(&part["signature"]), sha256(&[&hex(&part["clientDataJSON"])]));
    let message = [&bytes[..], &hash].concat();
    assert!(key.verify(&message, &signature), "{id}");
    let mut other = message;
    other[32] ^= 0x04;
    assert!(!key.verify(&other, &signature), "{id}: another UV flag");
    tally.applies("authentication");
}

#[test]
fn every_registration_and_authentication_of_the_standard_holds_where_it_applies() {
    let Some(file) = vectors() else { return };
    let mut tally = Tally::default();
    let cases = file["cases"].as_array().unwrap();
    for case in cases {
        client_data(&mut tally, &file, case, "registration");
        client_data(&mut tally, &file, case, "authentication");
        let key = registration(&mut tally, &file, case);
        if let Some(key) = &key {
            private_key(&mut tally, case, key);
        }
        authentication(&mut tally, &file, case, key.as_ref());
    }
    tally.print();
    assert_eq!(cases.len(), 15);
    assert_eq!(tally.count("registration"), (13, 2), "ES512 and Ed448 are not offered");
    assert_eq!(tally.count("authentication"), (13, 2));
    assert_eq!(tally.count("private key"), (12, 1));
    assert_eq!(tally.count("attestation"), (5, 10));
    assert_eq!(tally.count("client data"), (14, 16));
}

#[test]
fn every_prf_vector_of_ctap_gives_its_salts_and_outputs() {
    let Some(file) = vectors() else { return };
    let all = &file["prf"]["ctap_hmac_secret"];
    let secret: [u8; 32] = hex(&all["shared"]["authenticator_cred_random"]).try_into().unwrap();
    let (mut cases, mut outputs) = (0, 0);
    for case in all["cases"].as_array().unwrap() {
        for (number, name) in [(1, "first"), (2, "second")] {
            let Some(input) = case.get(format!("prf_eval_{name}")) else { continue };
            let salt = prf::salt(&hex(input));
            assert_eq!(salt.to_vec(), hex(&case[format!("salt{number}")]));
            let output = prf::evaluate(&secret, &salt).to_vec();
            assert_eq!(output, hex(&case[format!("output{number}")]));
            assert_eq!(output, hex(&case[format!("prf_results_{name}")]));
            outputs += 1;
        }
        assert_eq!(case["inputs"], json!(if case.get("prf_eval_second").is_some() { 2 } else { 1 }));
        cases += 1;
    }
    println!("webauthn-l3: prf: {cases} cases, {outputs} outputs hold");
    println!(
        "webauthn-l3: not applicable, prf: key agreement, saltEnc and output encryption of {cases} cases: there is no \
         CTAP between client and enclave, the channel carries salts and outputs"
    );
    assert_eq!((cases, outputs), (3, 4));
}

/// The examples of the API: which inputs are evaluated for which credential. Their credential id has 32 bytes, which no
/// credential here has, so one of ours stands in its place.
#[test]
fn every_prf_example_of_the_api_chooses_the_inputs_that_the_standard_says() {
    let Some(file) = vectors() else { return };
    let api = &file["prf"]["web_api"];
    let (ours, other) = (CredentialId([7; 16]), CredentialId([8; 16]));
    let theirs = api["credential_id"].as_str().unwrap();
    let text = base64url::encode(&ours.0);
    let mut count = 0;
    for example in api["examples"].as_array().unwrap() {
        let mut prf = example["input"]["prf"].clone();
        in_base64url(&mut prf);
        let prf: Value = serde_json::from_str(&prf.to_string().replace(theirs, &text)).unwrap();
        let options = json!({
            "challenge": "AAAA", "rpId": "example.org", "extensions": {"prf": prf},
            "allowCredentials": [{"type": "public-key", "id": text},
                {"type": "public-key", "id": base64url::encode(&other.0)}],
        });
        let request = GetRequest::parse(options.to_string().as_bytes(), "https://example.org").unwrap();
        let asked = request.extensions.prf.unwrap();
        for id in [ours, other] {
            let input = &example["input"]["prf"];
            let own = input["evalByCredential"].get(theirs).filter(|_| id == ours);
            let expected = own.or(input.get("eval"));
            match (expected, asked.salts(&id)) {
                (None, None) => {}
                (Some(values), Some(salts)) => {
                    assert_eq!(salts.first, prf::salt(&hex(&values["first"])));
                    assert_eq!(salts.second, values.get("second").map(|value| prf::salt(&hex(value))));
                    if values.get("second") == values.get("first") {
                        assert_eq!(salts.second, Some(salts.first), "equal inputs have equal outputs");
                    }
                }
                (expected, found) => panic!("{expected:?} {found:?}"),
            }
        }
        let creation = json!({
            "rp": {"id": "example.org", "name": "r"}, "user": {"id": "AQ", "name": "u", "displayName": "U"},
            "challenge": "AAAA", "pubKeyCredParams": [], "extensions": {"prf": prf},
        });
        let created = CreateRequest::parse(creation.to_string().as_bytes(), "https://example.org");
        assert_eq!(
            created.is_ok(),
            example.get("create_outputs").is_some(),
            "evalByCredential is for sign-ins"
        );
        count += 1;
    }
    println!(
        "webauthn-l3: prf: {count} examples of the API hold; the example's output has no secret to check it with"
    );
    assert_eq!(count, 4);
}

/// The file writes inputs in hex; JSON has them in base64url.
fn in_base64url(prf: &mut Value) {
    match prf {
        Value::String(text) => *text = base64url::encode(&hex(&json!(text))),
        Value::Object(members) => members.values_mut().for_each(in_base64url),
        other => panic!("{other}"),
    }
}
