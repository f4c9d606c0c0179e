//! Extensions of both ceremonies (WebAuthn L3, 10.1, and CTAP 2.2, 12.1): credProps, prf, largeBlob, credProtect. What is
//! malformed is refused with the DOMException of the standard; an extension that is not known here is passed over.

use super::json::{Object, type_error};
use super::options::Allow;
use crate::base64url;
use keyferry_crypto::prf;
use keyferry_wire::CredentialId;
use keyferry_wire::command::{CredProtect, PrfSalts};
use keyferry_wire::limits::LARGE_BLOB_MAX;
use keyferry_wire::refusal::Refusal;

/// Extensions of a creation.
#[derive(Clone, Debug, Default)]
pub struct CreateExtensions {
    /// Whether credProps was asked for.
    pub cred_props: bool,
    pub prf: Option<CreatePrf>,
    /// Whether the relying party wants to know of large blobs: every passkey here can have one.
    pub large_blob: bool,
    pub cred_protect: Option<CredProtect>,
}

/// prf at creation: every passkey here has one; `eval` is evaluated at once.
#[derive(Clone, Debug)]
pub struct CreatePrf {
    pub eval: Option<PrfSalts>,
}

/// Extensions of a sign-in.
#[derive(Clone, Debug, Default)]
pub struct GetExtensions {
    pub prf: Option<GetPrf>,
    pub large_blob: Option<GetLargeBlob>,
}

/// prf at a sign-in.
#[derive(Clone, Debug)]
pub struct GetPrf {
    eval: Option<PrfSalts>,
    by_credential: Vec<(CredentialId, PrfSalts)>,
}

/// largeBlob at a sign-in.
#[derive(Clone, Debug)]
pub enum GetLargeBlob {
    /// Asked for nothing.
    Idle,
    Read,
    Write(Vec<u8>),
}

impl GetPrf {
    /// The inputs for this credential: its own, else those for all.
    pub fn salts(&self, id: &CredentialId) -> Option<&PrfSalts> {
        let own = self.by_credential.iter().find(|(of, _)| of == id).map(|(_, salts)| salts);
        own.or(self.eval.as_ref())
    }
}

impl CreateExtensions {
    pub(super) fn parse(options: &Object<'_>) -> Result<CreateExtensions, Refusal> {
        let Some(extensions) = options.object("extensions")? else { return Ok(CreateExtensions::default()) };
        Ok(CreateExtensions {
            cred_props: extensions.boolean("credProps")?,
            prf: extensions.object("prf")?.map(|prf| create_prf(&prf)).transpose()?,
            large_blob: match extensions.object("largeBlob")? {
                Some(large_blob) => support(&large_blob)?,
                None => false,
            },
            cred_protect: cred_protect(&extensions)?,
        })
    }
}

impl GetExtensions {
    /// `list` is allowCredentials as it came, ids of others included.
    pub(super) fn parse(
        options: &Object<'_>,
        list: &[Vec<u8>],
        allow: &Allow,
    ) -> Result<GetExtensions, Refusal> {
        let Some(extensions) = options.object("extensions")? else { return Ok(GetExtensions::default()) };
        Ok(GetExtensions {
            prf: extensions.object("prf")?.map(|prf| get_prf(&prf, list, allow)).transpose()?,
            large_blob: extensions
                .object("largeBlob")?
                .map(|blob| get_large_blob(&blob, list))
                .transpose()?,
        })
    }
}

fn create_prf(prf: &Object<'_>) -> Result<CreatePrf, Refusal> {
    let eval = eval(prf)?;
    if prf.object("evalByCredential")?.is_some() {
        return Err(not_supported("prf.evalByCredential is for sign-ins"));
    }
    Ok(CreatePrf { eval })
}

fn get_prf(prf: &Object<'_>, list: &[Vec<u8>], allow: &Allow) -> Result<GetPrf, Refusal> {
    let eval = eval(prf)?;
    let mut by_credential = Vec::new();
    let entries =
        prf.object("evalByCredential")?.map(|record| record.entries()).transpose()?.unwrap_or_default();
    if !entries.is_empty() && *allow == Allow::Any {
        return Err(not_supported("prf.evalByCredential needs allowCredentials"));
    }
    for (name, values) in entries {
        let id = base64url::decode(name).filter(|id| !id.is_empty() && list.contains(id));
        let id = id.ok_or_else(|| {
            type_error("a key of prf.evalByCredential is no id of allowCredentials").named("SyntaxError")
        })?;
        let salts = salts(&values)?;
        // An id of another length is in the list, and somebody else's.
        if let Ok(id) = CredentialId::try_from(id.as_slice()) {
            by_credential.push((id, salts));
        }
    }
    Ok(GetPrf { eval, by_credential })
}

fn eval(prf: &Object<'_>) -> Result<Option<PrfSalts>, Refusal> {
    prf.object("eval")?.map(|values| salts(&values)).transpose()
}

/// Inputs leave this client hashed alone.
fn salts(values: &Object<'_>) -> Result<PrfSalts, Refusal> {
    let first = prf::salt(&values.required_bytes("first")?);
    let second = values.bytes("second")?.map(|input| prf::salt(&input));
    Ok(PrfSalts { first, second })
}

/// `required` and `preferred` have one answer, since every passkey can have a large blob.
fn support(large_blob: &Object<'_>) -> Result<bool, Refusal> {
    large_blob.text("support")?;
    if large_blob.has("read") || large_blob.has("write") {
        return Err(not_supported("largeBlob reads and writes at sign-ins"));
    }
    Ok(true)
}

fn get_large_blob(large_blob: &Object<'_>, list: &[Vec<u8>]) -> Result<GetLargeBlob, Refusal> {
    let (read, write) = (large_blob.boolean("read")?, large_blob.bytes("write")?);
    if large_blob.has("support") {
        return Err(not_supported("largeBlob.support is for creations"));
    }
    match write {
        Some(_) if large_blob.has("read") => Err(not_supported("largeBlob reads or writes, not both")),
        Some(_) if list.len() != 1 => Err(not_supported("largeBlob.write needs one id in allowCredentials")),
        Some(blob) if blob.len() > LARGE_BLOB_MAX => Err(not_supported("a large blob has at most 8 KiB")),
        Some(blob) => Ok(GetLargeBlob::Write(blob)),
        None if read => Ok(GetLargeBlob::Read),
        None => Ok(GetLargeBlob::Idle),
    }
}

/// The level; each is kept here, so whether it is enforced makes no difference.
fn cred_protect(extensions: &Object<'_>) -> Result<Option<CredProtect>, Refusal> {
    extensions.boolean("enforceCredentialProtectionPolicy")?;
    match extensions.text("credentialProtectionPolicy")? {
        None => Ok(None),
        Some("userVerificationOptional") => Ok(Some(CredProtect::Optional)),
        Some("userVerificationOptionalWithCredentialIDList") => Ok(Some(CredProtect::OptionalWithList)),
        Some("userVerificationRequired") => Ok(Some(CredProtect::Required)),
        Some(_) => Err(type_error("credentialProtectionPolicy is none that is known")),
    }
}

fn not_supported(sentence: &str) -> Refusal {
    type_error(sentence).named("NotSupportedError")
}
