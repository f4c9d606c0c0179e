//! RegistrationResponseJSON and AuthenticationResponseJSON (WebAuthn L3, 5.1: `toJSON()`), after a check that what
//! the enclave made is what the relying party asked for.

use super::options::{CreateRequest, GetRequest};
use crate::base64url::encode;
use crate::flow::FlowError;
use keyferry_crypto::cose::parse_es256_public_key;
use keyferry_crypto::hash::sha256;
use keyferry_wire::command::{Asserted, Created, UserVerification};
use keyferry_wire::relying_party::RpId;
use serde::Serialize;

const ES256: i64 = -7;
/// SubjectPublicKeyInfo of a P-256 key up to the point (RFC 5480).
const P256_SPKI_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A new credential, as `toJSON()` gives it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegistrationResponse {
    pub id: String,
    pub raw_id: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub authenticator_attachment: &'static str,
    pub response: AttestationResponse,
    pub client_extension_results: ExtensionResults,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AttestationResponse {
    #[serde(rename = "clientDataJSON")]
    pub client_data_json: String,
    pub authenticator_data: String,
    pub transports: [&'static str; 2],
    /// SubjectPublicKeyInfo; absent for algorithms whose form is not known here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    pub public_key_algorithm: i64,
    pub attestation_object: String,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionResults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cred_props: Option<CredProps>,
}

/// Every passkey here is discoverable.
#[derive(Clone, Debug, Serialize)]
pub struct CredProps {
    pub rk: bool,
}

/// An assertion, as `toJSON()` gives it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthenticationResponse {
    pub id: String,
    pub raw_id: String,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub authenticator_attachment: &'static str,
    pub response: AssertionResponse,
    pub client_extension_results: ExtensionResults,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AssertionResponse {
    #[serde(rename = "clientDataJSON")]
    pub client_data_json: String,
    pub authenticator_data: String,
    pub signature: String,
    pub user_handle: String,
}

impl RegistrationResponse {
    pub(crate) fn new(request: &CreateRequest, created: &Created) -> Result<RegistrationResponse, FlowError> {
        check_created(request, created).map_err(FlowError::fault)?;
        let id = encode(&created.id.0);
        Ok(RegistrationResponse {
            raw_id: id.clone(),
            id,
            kind: "public-key",
            authenticator_attachment: "platform",
            response: AttestationResponse {
                client_data_json: encode(request.client_data.json()),
                authenticator_data: encode(&created.authenticator_data),
                transports: ["hybrid", "internal"],
                public_key: spki(created),
                public_key_algorithm: created.alg,
                attestation_object: encode(&created.attestation_object),
            },
            client_extension_results: ExtensionResults {
                cred_props: request.cred_props.then_some(CredProps { rk: true }),
            },
        })
    }
}

impl AuthenticationResponse {
    pub(crate) fn new(
        request: &GetRequest,
        asserted: &Asserted,
    ) -> Result<AuthenticationResponse, FlowError> {
        AuthenticatorData::parse(&asserted.authenticator_data)
            .and_then(|data| data.check(&request.rp_id, request.user_verification))
            .map_err(FlowError::fault)?;
        let id = encode(&asserted.id.0);
        Ok(AuthenticationResponse {
            raw_id: id.clone(),
            id,
            kind: "public-key",
            authenticator_attachment: "platform",
            response: AssertionResponse {
                client_data_json: encode(request.client_data.json()),
                authenticator_data: encode(&asserted.authenticator_data),
                signature: encode(&asserted.signature),
                user_handle: encode(&asserted.user_id),
            },
            client_extension_results: ExtensionResults::default(),
        })
    }
}

/// Authenticator data (WebAuthn L3, 6.1), as far as a client looks into it.
struct AuthenticatorData<'a> {
    rp_id_hash: &'a [u8; 32],
    flags: u8,
    /// Attested credential data and extensions.
    rest: &'a [u8],
}

const UP: u8 = 0x01;
const UV: u8 = 0x04;
const AT: u8 = 0x40;

impl<'a> AuthenticatorData<'a> {
    fn parse(bytes: &'a [u8]) -> Result<AuthenticatorData<'a>, &'static str> {
        let short = "the enclave's authenticator data is too short";
        let (rp_id_hash, rest) = bytes.split_first_chunk::<32>().ok_or(short)?;
        let ([flags], rest) = rest.split_first_chunk::<1>().ok_or(short)?;
        let (_count, rest) = rest.split_first_chunk::<4>().ok_or(short)?;
        Ok(AuthenticatorData { rp_id_hash, flags: *flags, rest })
    }

    fn check(&self, rp_id: &RpId, wanted: UserVerification) -> Result<(), &'static str> {
        if *self.rp_id_hash != sha256(&[rp_id.as_str().as_bytes()]) {
            return Err("the enclave answered for another relying party");
        }
        if self.flags & UP == 0 {
            return Err("the enclave's answer lacks user presence");
        }
        if wanted == UserVerification::Required && self.flags & UV == 0 {
            return Err("the enclave's answer lacks the user verification that the relying party requires");
        }
        Ok(())
    }

    /// Credential id and public key as attested: AAGUID, length, id, COSE_Key.
    fn attests(&self, created: &Created) -> bool {
        let id: &[u8] = &created.id.0;
        let length = u16::try_from(id.len()).unwrap_or_default().to_be_bytes();
        let expected = [length.as_slice(), id, &created.public_key].concat();
        self.flags & AT != 0 && self.rest.get(16..).is_some_and(|rest| rest.starts_with(&expected))
    }
}

fn check_created(request: &CreateRequest, created: &Created) -> Result<(), &'static str> {
    let data = AuthenticatorData::parse(&created.authenticator_data)?;
    data.check(&request.rp_id, request.user_verification)?;
    if !data.attests(created) {
        return Err("the enclave's authenticator data is of another credential");
    }
    if !request.algorithms.contains(&created.alg) {
        return Err("the enclave made a key of an algorithm that was not asked for");
    }
    // In the canonical order of CTAP2 the authenticator data are the last bytes of the attestation object.
    if !created.attestation_object.ends_with(&created.authenticator_data) {
        return Err("the enclave's attestation object is of another credential");
    }
    Ok(())
}

fn spki(created: &Created) -> Option<String> {
    if created.alg != ES256 {
        return None;
    }
    let key = parse_es256_public_key(&created.public_key).ok()?;
    Some(encode(&[P256_SPKI_HEAD.as_slice(), key.as_bytes()].concat()))
}
