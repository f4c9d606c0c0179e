//! RegistrationResponseJSON and AuthenticationResponseJSON (WebAuthn L3, 5.1: `toJSON()`), after a check that what
//! the enclave made is what the relying party asked for.

use super::extensions::GetLargeBlob;
use super::options::{CreateRequest, GetRequest};
use crate::base64url::encode;
use crate::flow::FlowError;
use keyferry_crypto::cose::parse_public_key;
use keyferry_crypto::hash::sha256;
use keyferry_wire::Writer;
use keyferry_wire::command::{
    Asserted, Created, CredProtect, LargeBlobAnswer, PrfOutputs, PrfSalts, UserVerification,
};
use keyferry_wire::relying_party::RpId;
use serde::{Serialize, Serializer};
use std::fmt;
use zeroize::Zeroizing;

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
    /// SubjectPublicKeyInfo.
    pub public_key: String,
    pub public_key_algorithm: i64,
    pub attestation_object: String,
}

#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExtensionResults {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cred_props: Option<CredProps>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prf: Option<Prf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_blob: Option<LargeBlob>,
}

/// `enabled` stands at creation alone, `results` where inputs were given.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Prf {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub results: Option<PrfResults>,
}

/// Outputs of a PRF: secrets of the relying party's page.
#[derive(Clone, Debug, Serialize)]
pub struct PrfResults {
    pub first: SecretText,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<SecretText>,
}

/// A secret in base64url: shown by what it is serialised into and by nothing else, wiped when dropped.
#[derive(Clone)]
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    fn of(bytes: &[u8]) -> SecretText {
        SecretText(Zeroizing::new(encode(bytes)))
    }

    /// The text, for the operation at hand only.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText")
    }
}

impl Serialize for SecretText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// `supported` stands at creation, `blob` after a read that found one, `written` after a write.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LargeBlob {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supported: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub written: Option<bool>,
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
                public_key: spki(created).map_err(FlowError::fault)?,
                public_key_algorithm: created.alg,
                attestation_object: encode(&created.attestation_object),
            },
            client_extension_results: created_extensions(request, created).map_err(FlowError::fault)?,
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
            client_extension_results: asserted_extensions(request, asserted).map_err(FlowError::fault)?,
        })
    }
}

fn created_extensions(request: &CreateRequest, created: &Created) -> Result<ExtensionResults, &'static str> {
    let asked = &request.extensions;
    let inputs = asked.prf.as_ref().and_then(|prf| prf.eval.as_ref());
    let results = prf_results(inputs, created.prf.as_ref())?;
    Ok(ExtensionResults {
        cred_props: asked.cred_props.then_some(CredProps { rk: true }),
        prf: asked.prf.as_ref().map(|_| Prf { enabled: Some(true), results }),
        large_blob: asked.large_blob.then(|| LargeBlob { supported: Some(true), ..LargeBlob::default() }),
    })
}

fn asserted_extensions(request: &GetRequest, asserted: &Asserted) -> Result<ExtensionResults, &'static str> {
    let asked = &request.extensions;
    let inputs = asked.prf.as_ref().and_then(|prf| prf.salts(&asserted.id));
    let results = prf_results(inputs, asserted.prf.as_ref())?;
    let prf = asked.prf.as_ref().map(|_| Prf { enabled: None, results });
    let none = LargeBlob::default();
    let large_blob = match (&asked.large_blob, &asserted.large_blob) {
        (None, None) => None,
        (Some(GetLargeBlob::Idle | GetLargeBlob::Read), None) => Some(none),
        (Some(GetLargeBlob::Read), Some(LargeBlobAnswer::Read(blob))) => {
            Some(LargeBlob { blob: Some(encode(blob)), ..none })
        }
        (Some(GetLargeBlob::Write(_)), Some(LargeBlobAnswer::Written)) => {
            Some(LargeBlob { written: Some(true), ..none })
        }
        _ => return Err("the enclave did something else with the large blob than was asked"),
    };
    Ok(ExtensionResults { cred_props: None, prf, large_blob })
}

/// As many outputs as inputs. After a lost answer a passkey may be gone, and its PRF with it: then there are none.
fn prf_results(
    salts: Option<&PrfSalts>,
    outputs: Option<&PrfOutputs>,
) -> Result<Option<PrfResults>, &'static str> {
    match (salts, outputs) {
        (_, None) => Ok(None),
        (Some(salts), Some(outputs)) if salts.second.is_some() == outputs.second.is_some() => {
            let second = outputs.second.as_ref().map(|second| SecretText::of(second));
            Ok(Some(PrfResults { first: SecretText::of(&outputs.first), second }))
        }
        _ => Err("the enclave evaluated something else than was asked"),
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
const ED: u8 = 0x80;

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

    /// Credential id and public key as attested (AAGUID, length, id, COSE_Key), and credProtect if it was asked for,
    /// so that a level that a relying party enforces is kept or there is no credential.
    fn attests(&self, created: &Created, cred_protect: Option<CredProtect>) -> bool {
        let id: &[u8] = &created.id.0;
        let length = u16::try_from(id.len()).unwrap_or_default().to_be_bytes();
        let extensions = cred_protect.map(extension_output).unwrap_or_default();
        let expected = [length.as_slice(), id, &created.public_key, &extensions].concat();
        let flags = AT | if cred_protect.is_some() { ED } else { 0 };
        self.flags & (AT | ED) == flags && self.rest.get(16..) == Some(&expected)
    }
}

/// `{"credProtect": level}` in CBOR.
fn extension_output(level: CredProtect) -> Vec<u8> {
    let mut w = Writer::default();
    w.map(1);
    w.text("credProtect");
    w.uint(u64::from(level.number()));
    w.into_bytes()
}

fn check_created(request: &CreateRequest, created: &Created) -> Result<(), &'static str> {
    let data = AuthenticatorData::parse(&created.authenticator_data)?;
    data.check(&request.rp_id, request.user_verification)?;
    if !data.attests(created, request.extensions.cred_protect) {
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

fn spki(created: &Created) -> Result<String, &'static str> {
    let key = parse_public_key(&created.public_key).map_err(|_| "the enclave's public key is none")?;
    if key.algorithm().cose() != created.alg {
        return Err("the enclave's public key is of another algorithm than it says");
    }
    Ok(encode(&key.to_spki()))
}
