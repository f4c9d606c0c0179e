//! Passkeys: make, use, list, rename, delete.

use super::Agent;
use crate::documents::{PasskeyLine, PasskeyList};
use keyferry_client::base64url;
use keyferry_client::flow::{Create, DeletePasskey, FlowError, Get, RenamePasskey};
use keyferry_client::webauthn::{
    AuthenticationResponse, CreateRequest, GetLargeBlob, GetRequest, RegistrationResponse,
};
use keyferry_wire::CredentialId;
use keyferry_wire::refusal::{Code, Refusal};

impl Agent {
    /// `navigator.credentials.create()` for `origin`; `options` is the standard's JSON.
    pub fn passkey_create(
        &mut self,
        options: &[u8],
        origin: &str,
    ) -> Result<RegistrationResponse, FlowError> {
        let request = CreateRequest::parse(options, origin)?;
        let (user, form) = (self.user(), self.options.client_data);
        self.run(Create::new(request, user, form))
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
    matches!(code, Code::NoCredentials | Code::Stale | Code::Conflict)
}

/// An id as it is printed.
fn credential(id: &str) -> Result<CredentialId, FlowError> {
    let id = base64url::decode(id).and_then(|bytes| CredentialId::try_from(bytes.as_slice()).ok());
    id.ok_or_else(|| Refusal::new(Code::NoCredentials, "this is not the id of a passkey here").into())
}
