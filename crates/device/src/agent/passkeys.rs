//! Passkeys: make, use, list, rename, delete.

use super::Agent;
use crate::documents::{PasskeyLine, PasskeyList};
use keyferry_client::base64url;
use keyferry_client::flow::{Create, DeletePasskey, FlowError, Get, RenamePasskey};
use keyferry_client::home::Passkey;
use keyferry_client::webauthn::{AuthenticationResponse, CreateRequest, GetRequest, RegistrationResponse};
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
        let (user, form) = (self.user(), self.options.client_data);
        match self.run(Get::new(request.clone(), user, form)) {
            Err(FlowError::Refused(refusal)) if is_outdated(refusal.code) => {
                self.sync()?;
                self.run(Get::new(request, user, form))
            }
            result => result,
        }
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
    ) -> Result<(), FlowError> {
        let id = credential(id)?;
        self.sync()?;
        self.run(RenamePasskey::new(id, user_name, display_name))?;
        self.sync().map(drop)
    }

    pub fn delete(&mut self, id: &str) -> Result<(), FlowError> {
        let (id, user) = (credential(id)?, self.user());
        self.sync()?;
        self.run(DeletePasskey::new(id, user))?;
        self.sync().map(drop)
    }
}

/// Whether a sync may help.
fn is_outdated(code: Code) -> bool {
    matches!(code, Code::NoCredentials | Code::Stale)
}

/// An id as it is printed.
fn credential(id: &str) -> Result<CredentialId, FlowError> {
    let id = base64url::decode(id).and_then(|bytes| CredentialId::try_from(bytes.as_slice()).ok());
    id.ok_or_else(|| Refusal::new(Code::NoCredentials, "this is not the id of a passkey here").into())
}
