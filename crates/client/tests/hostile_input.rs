//! What comes from outside and is no CBOR: a relying party's options, evidence, a trust file. Damaged in every way
//! that a mutation finds, it is refused or read, and never stops the program.
#![allow(clippy::unwrap_used)]

use keyferry_client::evidence::{Trust, appraise};
use keyferry_client::webauthn::{CreateRequest, GetRequest};
use keyferry_wire::Wire;
use keyferry_wire::evidence::{Evidence, SIM, SimReport};
use keyferry_wire::refusal::Code;
use proptest::prelude::*;

const ORIGIN: &str = "https://shop.example.org";
const CREATE: &str = r#"{"publicKey":{"rp":{"id":"example.org","name":"x"},"user":{"id":"dXNlcg","name":"ada","displayName":"Ada"},
"challenge":"AAECAwQFBgcICQoLDA0ODw","pubKeyCredParams":[{"type":"public-key","alg":-7},{"type":"public-key","alg":-257}],
"timeout":60000,"excludeCredentials":[{"type":"public-key","id":"AAECAwQFBgcICQoLDA0ODw","transports":["internal"]}],
"authenticatorSelection":{"residentKey":"required","userVerification":"preferred"},"attestation":"none",
"extensions":{"credProps":true,"prf":{"eval":{"first":"AQID","second":"BAUG"}},"largeBlob":{"support":"preferred"},
"credentialProtectionPolicy":"userVerificationRequired","enforceCredentialProtectionPolicy":true}}}"#;
const GET: &str = r#"{"rpId":"example.org","challenge":"AAECAwQFBgcICQoLDA0ODw","userVerification":"required",
"allowCredentials":[{"type":"public-key","id":"AAECAwQFBgcICQoLDA0ODw"}],"extensions":{"largeBlob":{"write":"AQID"},
"prf":{"eval":{"first":"AQID"},"evalByCredential":{"AAECAwQFBgcICQoLDA0ODw":{"first":"AQID","second":"BAUG"}}}}}"#;
const TRUST: &str = r#"{"aud":"keys.example.org","logs":[],"measurements":[]}"#;

/// Any one change: a byte replaced, a piece cut out, a piece doubled, the end cut off.
fn damaged(text: &'static str) -> impl Strategy<Value = Vec<u8>> {
    let len = text.len();
    (0..len, 0..len, any::<u8>(), 0..4_u8).prop_map(move |(one, other, byte, how)| {
        let mut bytes = text.as_bytes().to_vec();
        let (from, to) = (one.min(other), one.max(other));
        match how {
            0 => bytes[one] = byte,
            1 => drop(bytes.drain(from..to)),
            2 => {
                let piece = bytes[from..to].to_vec();
                drop(bytes.splice(to..to, piece));
            }
            _ => bytes.truncate(one),
        }
        bytes
    })
}

fn refused_as_a_browser_would(code: Code) -> bool {
    matches!(code, Code::BadOptions | Code::Origin | Code::NoCredentials)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn damaged_creation_options_are_refused_by_name_or_read(json in damaged(CREATE)) {
        if let Err(refusal) = CreateRequest::parse(&json, ORIGIN) {
            prop_assert!(refused_as_a_browser_would(refusal.code) && refusal.name.is_some(), "{refusal:?}");
        }
    }

    #[test]
    fn damaged_request_options_are_refused_by_name_or_read(json in damaged(GET)) {
        if let Err(refusal) = GetRequest::parse(&json, ORIGIN) {
            prop_assert!(refused_as_a_browser_would(refusal.code) && refusal.name.is_some(), "{refusal:?}");
        }
    }

    #[test]
    fn options_that_are_any_bytes_are_refused(json in proptest::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(CreateRequest::parse(&json, ORIGIN).is_err());
        prop_assert!(GetRequest::parse(&json, ORIGIN).is_err());
    }

    #[test]
    fn a_damaged_trust_file_is_refused_or_read(json in damaged(TRUST)) {
        let _ = Trust::from_file(&json);
    }

    /// Bound rightly, so that what is inside is looked at.
    #[test]
    fn damaged_runtime_data_is_refused_or_appraised(runtime_data in damaged(RUNTIME_DATA)) {
        let mut report_data = [0; 64];
        report_data[..32].copy_from_slice(&keyferry_crypto::hash::sha256(&[&runtime_data]));
        let report = SimReport { measurement: [1; 32], debug: false, report_data };
        let evidence = Evidence {
            version: 1,
            kind: SIM.to_owned(),
            report: report.to_bytes().into(),
            endorsements: Vec::new(),
            init_data: Vec::new().into(),
            runtime_data: runtime_data.into(),
        };
        let trust = Trust { stand_ins: vec![SIM.to_owned()], ..Trust::default() };
        let _ = appraise(&evidence, &trust, 0);
    }
}

const RUNTIME_DATA: &str = r#"{"v":1,"nonce":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA","aud":"keys","instance":"AAAAAAAAAAA","keys":[
{"kid":"chan","kty":"EC","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"},
{"kid":"sig","kty":"EC","crv":"P-256","x":"axfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpY","y":"T-NC4v4af5uO5-tKfA-eFivOM1drMV7Oy7ZAaDe_UfU"},
{"kid":"hpke","kty":"OKP","crv":"X25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}],
"build":"x","manifest":"","anchor_level":0,"custody_level":0,"ledger":null}"#;

#[test]
fn the_undamaged_forms_are_read() {
    assert!(CreateRequest::parse(CREATE.as_bytes(), ORIGIN).is_ok());
    assert!(GetRequest::parse(GET.as_bytes(), ORIGIN).is_ok());
}
