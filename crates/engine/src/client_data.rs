//! Client data, where the caller has it: type, origin against the relying party id, and hash are checked in the
//! enclave (WebAuthn L3 section 5.8.1).

use keyferry_crypto::hash::sha256;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::relying_party::{Origin, RpId};
use keyferry_wire::{Hash, limits};
use serde::Deserialize;
use std::borrow::Cow;

/// What a ceremony is, as client data says it.
#[derive(Clone, Copy)]
pub(crate) enum Ceremony {
    Create,
    Get,
}

#[derive(Deserialize)]
struct ClientData<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    challenge: Cow<'a, str>,
    #[serde(borrow)]
    origin: Cow<'a, str>,
}

/// Parses the relying party id; a bad one is refused as the standard says.
pub(crate) fn rp_id(text: &str) -> Result<RpId, Refusal> {
    RpId::parse(text).map_err(|error| Refusal::new(Code::Origin, error.to_string()))
}

/// Checks the client data against what is to be signed.
pub(crate) fn check(
    ceremony: Ceremony,
    rp_id: &RpId,
    hash: &Hash,
    json: Option<&[u8]>,
) -> Result<(), Refusal> {
    let Some(json) = json else { return Ok(()) };
    let malformed = || Refusal::new(Code::BadOptions, "clientDataJSON is not client data");
    if json.len() > limits::CLIENT_DATA_MAX {
        return Err(Refusal::new(Code::BadOptions, "clientDataJSON is too long"));
    }
    let data: ClientData<'_> = serde_json::from_slice(json).map_err(|_| malformed())?;
    let kind = match ceremony {
        Ceremony::Create => "webauthn.create",
        Ceremony::Get => "webauthn.get",
    };
    if data.kind != kind || data.challenge.is_empty() {
        return Err(malformed());
    }
    let refused =
        |error: keyferry_wire::relying_party::RpError| Refusal::new(Code::Origin, error.to_string());
    let origin = Origin::parse(&data.origin).map_err(refused)?;
    rp_id.allows(&origin).map_err(refused)?;
    if sha256(&[json]) != *hash {
        return Err(Refusal::new(
            Code::BadOptions,
            "clientDataJSON does not have the hash that is to be signed",
        ));
    }
    Ok(())
}
