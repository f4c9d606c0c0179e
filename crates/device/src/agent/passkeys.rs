//! Passkeys: make, use, list, rename, delete.

use super::Agent;
use crate::documents::{PasskeyLine, PasskeyList};
use keyferry_client::base64url;
use keyferry_client::flow::{
    Create, Crossed, DeletePasskey, Flow, FlowError, Get, RenamePasskey, is_crossed, latest,
};
use keyferry_client::home::{Home, Passkey};
use keyferry_client::webauthn::{
    AuthenticationResponse, CreateRequest, GetLargeBlob, GetRequest, RegistrationResponse,
};
use keyferry_wire::CredentialId;
use keyferry_wire::refusal::{Code, Refusal};

impl Agent {
    /// `navigator.credentials.create()` for `origin`; `options` is the standard's JSON. What goes to the site is in the
    /// ledger: the vault is read back first, so that a false enclave cannot pass off a key of its own.
    pub fn passkey_create(
        &mut self,
        options: &[u8],
        origin: &str,
    ) -> Result<RegistrationResponse, FlowError> {
        let request = CreateRequest::parse(options, origin)?;
        let (user, form) = (self.user(), self.options.client_data);
        let rp_id = request.rp_id.clone();
        let known: Vec<_> = self.home.passkeys_ever()?.iter().map(|passkey| passkey.id).collect();
        let response = self.run(Create::new(request, user, form))?;
        self.sync()?;
        let made = credential(&response.id)?;
        let is_it = |passkey: &Passkey| passkey.id == made && passkey.metadata.rp_id == rp_id.as_str();
        if known.contains(&made) || !self.home.passkeys()?.iter().any(is_it) {
            let sentence = "the passkey that the enclave shows is not the one that the ledger holds";
            return Err(Refusal::new(Code::Evidence, sentence).into());
        }
        Ok(response)
    }

    /// `navigator.credentials.get()` for `origin`. What this device has not synced yet is looked for once.
    pub fn passkey_get(&mut self, options: &[u8], origin: &str) -> Result<AuthenticationResponse, FlowError> {
        let request = GetRequest::parse(options, origin)?;
        let writes = matches!(request.extensions.large_blob, Some(GetLargeBlob::Write(_)));
        let (user, form) = (self.user(), self.options.client_data);
        let result = match self.run(Get::new(request.clone(), user, form)) {
            Err(FlowError::Refused(refusal)) if is_outdated(refusal.code) => {
                self.sync()?;
                self.run(Get::new(request, user, form))
            }
            result => result,
        };
        if writes && result.is_ok() {
            // The passkey has a new version. What was written is written, whether or not it is heard of now.
            drop(self.sync());
        }
        result
    }

    /// All passkeys, most recent first. Where the gateway cannot be reached, the ones that this device knows.
    pub fn list(&mut self) -> Result<PasskeyList, FlowError> {
        let synced = match self.sync() {
            Ok(_) => true,
            Err(FlowError::Fault(_)) => false,
            Err(refused) => return Err(refused),
        };
        let passkeys = self.home.passkeys()?.iter().map(PasskeyLine::from).collect();
        Ok(PasskeyList { passkeys, synced, standing: self.standing() })
    }

    /// Changes the names under which a passkey is shown; what is `None` stays.
    pub fn rename(
        &mut self,
        id: &str,
        user_name: Option<String>,
        display_name: Option<String>,
    ) -> Result<Edited, FlowError> {
        let rename = |id| RenamePasskey::new(id, user_name.clone(), display_name.clone());
        self.edit(id, rename, |edit, before, home| edit.crossed(before, home))
    }

    pub fn delete(&mut self, id: &str) -> Result<Edited, FlowError> {
        let user = self.user();
        self.edit(id, |id| DeletePasskey::new(id, user), |edit, before, home| edit.crossed(before, home))
    }

    /// Edits the passkey as it is after a sync. If another device was quicker, looks whether the wish still holds.
    fn edit<F: Flow<Output = u64>>(
        &mut self,
        id: &str,
        flow: impl Fn(CredentialId) -> F,
        crossed: impl Fn(&F, &Passkey, &Home) -> Result<Crossed, FlowError>,
    ) -> Result<Edited, FlowError> {
        let id = credential(id)?;
        self.sync()?;
        let before = latest(&self.home, id)?;
        let mut meanwhile = None;
        for _ in 1..EDITS_MAX {
            let refusal = match self.run(flow(id)) {
                Err(FlowError::Refused(refusal)) if is_crossed(refusal.code) && !before.deleted => refusal,
                result => return self.edited(result, meanwhile),
            };
            self.sync()?;
            if latest(&self.home, id)?.version == before.version {
                return Err(refusal.into());
            }
            match crossed(&flow(id), &before, &self.home)? {
                Crossed::Again(sentence) => meanwhile = Some(sentence),
                Crossed::Done(sentence) => return Ok(Edited { meanwhile: Some(sentence) }),
                Crossed::Refused(refusal) => return Err(refusal.into()),
            }
        }
        let result = self.run(flow(id));
        self.edited(result, meanwhile)
    }

    fn edited(
        &mut self,
        result: Result<u64, FlowError>,
        meanwhile: Option<String>,
    ) -> Result<Edited, FlowError> {
        result?;
        self.sync()?;
        Ok(Edited { meanwhile })
    }
}

/// An edit that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edited {
    /// What another device had done meanwhile, in a sentence.
    pub meanwhile: Option<String>,
}

/// How often an edit is made while other devices are quicker.
const EDITS_MAX: u32 = 4;

/// Whether a sync may help.
fn is_outdated(code: Code) -> bool {
    matches!(code, Code::NoCredentials | Code::Stale | Code::Conflict)
}

/// An id as it is printed.
fn credential(id: &str) -> Result<CredentialId, FlowError> {
    let id = base64url::decode(id).and_then(|bytes| CredentialId::try_from(bytes.as_slice()).ok());
    id.ok_or_else(|| Refusal::new(Code::NoCredentials, "this is not the id of a passkey here").into())
}
