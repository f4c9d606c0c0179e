//! PublicKeyCredentialCreationOptionsJSON and PublicKeyCredentialRequestOptionsJSON (WebAuthn L3, 5.1.9 and 5.1.10),
//! checked for one origin.

use super::client_data::ClientData;
use super::extensions::{CreateExtensions, GetExtensions};
use super::json::{Object, parse, type_error};
use keyferry_crypto::credential::Algorithm;
use keyferry_wire::CredentialId;
use keyferry_wire::command::UserVerification;
use keyferry_wire::limits::{CLIENT_DATA_MAX, NAME_MAX, USER_ID_MAX};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::relying_party::{Origin, RpError, RpId};

/// What the standard means by an empty pubKeyCredParams: ES256 and RS256.
const DEFAULT_ALGORITHMS: [i64; 2] = [-7, -257];

/// A checked `navigator.credentials.create()`.
#[derive(Clone, Debug)]
pub struct CreateRequest {
    pub rp_id: RpId,
    pub client_data: ClientData,
    pub user_id: Vec<u8>,
    pub user_name: String,
    pub display_name: String,
    pub algorithms: Vec<i64>,
    /// Ids that could be ours.
    pub exclude: Vec<CredentialId>,
    pub user_verification: UserVerification,
    pub extensions: CreateExtensions,
}

/// A checked `navigator.credentials.get()`.
#[derive(Clone, Debug)]
pub struct GetRequest {
    pub rp_id: RpId,
    pub client_data: ClientData,
    pub allow: Allow,
    pub user_verification: UserVerification,
    pub extensions: GetExtensions,
}

/// Which credentials a relying party takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Allow {
    /// Any of its own: no list was given.
    Any,
    /// These; ids that cannot be ours are dropped, so the list may be empty.
    These(Vec<CredentialId>),
}

impl CreateRequest {
    pub fn parse(json: &[u8], origin: &str) -> Result<CreateRequest, Refusal> {
        let value = parse(json)?;
        let options = Object::root(&value)?;
        let rp = options.required_object("rp")?;
        rp.required_text("name")?;
        let rp_id = rp.text("id")?;
        let user = options.required_object("user")?;
        let user_id = user_id(&user)?;
        let user_name = shortened(user.required_text("name")?);
        let display_name = shortened(user.required_text("displayName")?);
        let challenge = challenge(&options)?;
        let params = options.required_objects("pubKeyCredParams")?;
        let algorithms = listed_algorithms(&params)?;
        let exclude = descriptors(options.objects("excludeCredentials")?.unwrap_or_default())?;
        let exclude = ours(&exclude);
        let selection = options.object("authenticatorSelection")?;
        let user_verification = match &selection {
            Some(selection) => user_verification(selection)?,
            None => UserVerification::Preferred,
        };
        let extensions = CreateExtensions::parse(&options)?;
        let (origin, rp_id) = relying_party(origin, rp_id)?;
        check_attachment(selection.as_ref())?;
        Ok(CreateRequest {
            rp_id,
            client_data: bounded(ClientData::create(&challenge, &origin))?,
            user_id,
            user_name,
            display_name,
            algorithms: usable(algorithms, params.is_empty())?,
            exclude,
            user_verification,
            extensions,
        })
    }
}

impl GetRequest {
    pub fn parse(json: &[u8], origin: &str) -> Result<GetRequest, Refusal> {
        let value = parse(json)?;
        let options = Object::root(&value)?;
        let challenge = challenge(&options)?;
        let rp_id = options.text("rpId")?;
        let user_verification = user_verification(&options)?;
        let list = options.objects("allowCredentials")?.unwrap_or_default();
        let any = list.is_empty();
        let list = descriptors(list)?;
        let allow = if any { Allow::Any } else { Allow::These(ours(&list)) };
        let extensions = GetExtensions::parse(&options, &list, &allow)?;
        let (origin, rp_id) = relying_party(origin, rp_id)?;
        let client_data = bounded(ClientData::get(&challenge, &origin))?;
        Ok(GetRequest { rp_id, client_data, allow, user_verification, extensions })
    }
}

/// The origin, and the relying party id that it may use: the one it names, else its own host (5.1.3, steps 7 and 8).
fn relying_party(origin: &str, rp_id: Option<&str>) -> Result<(Origin, RpId), Refusal> {
    let refuse = |error: RpError| Refusal::new(Code::Origin, error.to_string());
    let origin = Origin::parse(origin).map_err(refuse)?;
    let rp_id = RpId::parse(rp_id.unwrap_or(origin.host())).map_err(refuse)?;
    rp_id.allows(&origin).map_err(refuse)?;
    Ok((origin, rp_id))
}

fn challenge(options: &Object<'_>) -> Result<Vec<u8>, Refusal> {
    let challenge = options.required_bytes("challenge")?;
    if challenge.is_empty() { Err(type_error("challenge is empty")) } else { Ok(challenge) }
}

fn user_id(user: &Object<'_>) -> Result<Vec<u8>, Refusal> {
    let id = user.required_bytes("id")?;
    if (1..=USER_ID_MAX).contains(&id.len()) {
        return Ok(id);
    }
    Err(type_error("user.id must have 1 to 64 bytes"))
}

/// Unknown values count as the default, as in a browser.
fn user_verification(object: &Object<'_>) -> Result<UserVerification, Refusal> {
    Ok(match object.text("userVerification")? {
        Some("required") => UserVerification::Required,
        Some("discouraged") => UserVerification::Discouraged,
        _ => UserVerification::Preferred,
    })
}

/// We answer as a platform authenticator; whoever asks for a roaming one is not served by another in disguise.
fn check_attachment(selection: Option<&Object<'_>>) -> Result<(), Refusal> {
    let attachment =
        selection.map(|selection| selection.text("authenticatorAttachment")).transpose()?.flatten();
    if attachment == Some("cross-platform") {
        let refusal = type_error("the relying party asks for a cross-platform authenticator");
        return Err(refusal.named("NotAllowedError"));
    }
    Ok(())
}

/// Algorithms of the entries of type `public-key`, in the relying party's order.
fn listed_algorithms(params: &[Object<'_>]) -> Result<Vec<i64>, Refusal> {
    let mut algorithms = Vec::new();
    for param in params {
        let (kind, alg) = (param.required_text("type")?, param.required_integer("alg")?);
        if kind == "public-key" {
            algorithms.push(alg);
        }
    }
    Ok(algorithms)
}

/// Those that a key could be made of.
fn usable(listed: Vec<i64>, none_given: bool) -> Result<Vec<i64>, Refusal> {
    let mut algorithms = if none_given { DEFAULT_ALGORITHMS.to_vec() } else { listed };
    algorithms.retain(|alg| Algorithm::of_cose(*alg).is_some());
    if algorithms.is_empty() {
        let refusal = type_error("none of the algorithms in pubKeyCredParams is supported");
        return Err(refusal.named("NotSupportedError"));
    }
    Ok(algorithms)
}

/// Ids of the entries of type `public-key`.
fn descriptors(list: Vec<Object<'_>>) -> Result<Vec<Vec<u8>>, Refusal> {
    let mut ids = Vec::new();
    for entry in list {
        let (kind, id) = (entry.required_text("type")?, entry.required_bytes("id")?);
        if kind == "public-key" {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// Those of 16 bytes; a credential with another id is somebody else's.
fn ours(ids: &[Vec<u8>]) -> Vec<CredentialId> {
    ids.iter().filter_map(|id| CredentialId::try_from(id.as_slice()).ok()).collect()
}

fn bounded(client_data: ClientData) -> Result<ClientData, Refusal> {
    if client_data.json().len() > CLIENT_DATA_MAX {
        return Err(type_error("the challenge is too long"));
    }
    Ok(client_data)
}

/// A name as long as an authenticator keeps it, cut between characters (6.4.1).
fn shortened(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len().saturating_add(c.len_utf8()) > NAME_MAX {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests;
