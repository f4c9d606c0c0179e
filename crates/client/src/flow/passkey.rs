//! Creating, using, renaming and deleting passkeys.

use super::{Call, Flow, FlowError, Sender, Step, User, granted, unexpected};
use crate::home::{Home, Passkey};
use crate::webauthn::{
    Allow, AuthenticationResponse, ClientDataForm, CreateRequest, GetLargeBlob, GetRequest,
    RegistrationResponse,
};
use keyferry_crypto::random::Random;
use keyferry_wire::CredentialId;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{
    self, Answer, Assert, Command, CreatePasskey, CredProtect, LargeBlobUse, LargeBlobWrite, UserVerification,
};
use keyferry_wire::limits::CREDENTIAL_LIST_MAX;
use keyferry_wire::refusal::Code;

/// Makes a passkey for a relying party.
#[derive(Debug)]
pub struct Create {
    request: CreateRequest,
    user: User,
    form: ClientDataForm,
}

impl Create {
    pub fn new(request: CreateRequest, user: User, form: ClientDataForm) -> Create {
        Create { request, user, form }
    }

    fn call(&self, home: &Home, random: &mut dyn Random) -> Result<Call, FlowError> {
        home.membership()?;
        check_user(self.request.user_verification, self.user)?;
        let exclude = known_first(home, &self.request.exclude);
        let hints = exclude.iter().copied().filter(|id| home.row(id).is_some()).collect();
        let request = self.request.clone();
        let create = CreatePasskey {
            rp_id: request.rp_id.as_str().to_owned(),
            user_id: Bytes(request.user_id),
            user_name: request.user_name,
            display_name: request.display_name,
            client_data_hash: *request.client_data.hash(),
            client_data_json: json_of(&request.client_data, self.form),
            algorithms: request.algorithms,
            exclude,
            user_verification: request.user_verification,
            prf: request.extensions.prf.and_then(|prf| prf.eval),
            cred_protect: request.extensions.cred_protect,
        };
        let call = Call::fresh(Sender::Member, vec![Command::CreatePasskey(create)], random);
        Ok(call.by(self.user).with_wrapped().about(hints))
    }
}

impl Flow for Create {
    type Output = RegistrationResponse;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<RegistrationResponse>, FlowError> {
        if answers.is_none() {
            return self.call(home, random).map(Step::Call);
        }
        match granted(answers)?.as_slice() {
            [Answer::Created(created)] => RegistrationResponse::new(&self.request, created).map(Step::Done),
            _ => Err(unexpected()),
        }
    }
}

/// Signs in with a passkey: of the ones that the relying party takes, the most recent.
#[derive(Debug)]
pub struct Get {
    request: GetRequest,
    user: User,
    form: ClientDataForm,
    chosen: Option<CredentialId>,
}

impl Get {
    pub fn new(request: GetRequest, user: User, form: ClientDataForm) -> Get {
        Get { request, user, form, chosen: None }
    }

    fn call(&mut self, home: &Home, random: &mut dyn Random) -> Result<Call, FlowError> {
        check_user(self.request.user_verification, self.user)?;
        let Passkey { id, version, .. } = choose(home, &self.request, self.user)?;
        self.chosen = Some(id);
        let extensions = &self.request.extensions;
        let assert = Assert {
            id,
            rp_id: self.request.rp_id.as_str().to_owned(),
            client_data_hash: *self.request.client_data.hash(),
            client_data_json: json_of(&self.request.client_data, self.form),
            user_verification: self.request.user_verification,
            listed: self.request.allow != Allow::Any,
            prf: extensions.prf.as_ref().and_then(|prf| prf.salts(&id)).cloned(),
            large_blob: extensions.large_blob.as_ref().and_then(|blob| large_blob(blob, version)),
        };
        let call = Call::fresh(Sender::Member, vec![Command::Assert(assert)], random);
        Ok(call.by(self.user).with_wrapped().about(vec![id]))
    }
}

impl Flow for Get {
    type Output = AuthenticationResponse;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<AuthenticationResponse>, FlowError> {
        if answers.is_none() {
            return self.call(home, random).map(Step::Call);
        }
        match granted(answers)?.as_slice() {
            [Answer::Asserted(asserted)] if Some(asserted.id) == self.chosen => {
                AuthenticationResponse::new(&self.request, asserted).map(Step::Done)
            }
            _ => Err(unexpected()),
        }
    }
}

/// Changes the names under which a passkey is shown; what is `None` stays.
#[derive(Debug)]
pub struct RenamePasskey {
    id: CredentialId,
    user_name: Option<String>,
    display_name: Option<String>,
}

impl RenamePasskey {
    pub fn new(id: CredentialId, user_name: Option<String>, display_name: Option<String>) -> RenamePasskey {
        RenamePasskey { id, user_name, display_name }
    }
}

impl Flow for RenamePasskey {
    /// The row's new version.
    type Output = u64;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<u64>, FlowError> {
        if answers.is_some() {
            return edited(answers, self.id);
        }
        let Passkey { id, version, metadata, .. } = current(home, self.id)?;
        let rename = Command::RenamePasskey(command::RenamePasskey {
            id,
            version,
            user_name: self.user_name.clone().unwrap_or(metadata.user_name),
            display_name: self.display_name.clone().unwrap_or(metadata.display_name),
        });
        let call = Call::fresh(Sender::Member, vec![rename], random);
        Ok(Step::Call(call.with_wrapped().about(vec![id])))
    }
}

/// Deletes a passkey; afterwards it never signs again.
#[derive(Debug)]
pub struct DeletePasskey {
    id: CredentialId,
    user: User,
}

impl DeletePasskey {
    pub fn new(id: CredentialId, user: User) -> DeletePasskey {
        DeletePasskey { id, user }
    }
}

impl Flow for DeletePasskey {
    /// The tombstone's version.
    type Output = u64;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<u64>, FlowError> {
        if answers.is_some() {
            return edited(answers, self.id);
        }
        let Passkey { id, version, .. } = current(home, self.id)?;
        let delete = Command::DeletePasskey(command::DeletePasskey { id, version });
        let call = Call::fresh(Sender::Member, vec![delete], random).by(self.user);
        Ok(Step::Call(call.with_wrapped().about(vec![id])))
    }
}

fn edited(answers: Option<Vec<Answer>>, id: CredentialId) -> Result<Step<u64>, FlowError> {
    match granted(answers)?.as_slice() {
        [Answer::Edited(edited)] if edited.id == id => Ok(Step::Done(edited.version)),
        _ => Err(unexpected()),
    }
}

/// The passkey as last synced.
fn current(home: &Home, id: CredentialId) -> Result<Passkey, FlowError> {
    let row = home.row(&id).filter(|row| !row.deleted);
    row.map(|row| home.passkey(row)).transpose()?.ok_or_else(none)
}

fn large_blob(asked: &GetLargeBlob, version: u64) -> Option<LargeBlobUse> {
    match asked {
        GetLargeBlob::Idle => None,
        GetLargeBlob::Read => Some(LargeBlobUse::Read),
        GetLargeBlob::Write(blob) => {
            Some(LargeBlobUse::Write(LargeBlobWrite { version, blob: Bytes(blob.clone()) }))
        }
    }
}

/// The most recent passkey that fits and that the enclave will use for this user. If there are only protected ones, the
/// user is told what is missing.
fn choose(home: &Home, request: &GetRequest, user: User) -> Result<Passkey, FlowError> {
    let fits = |passkey: &Passkey| {
        let allowed = match &request.allow {
            Allow::Any => true,
            Allow::These(ids) => ids.contains(&passkey.id),
        };
        allowed && passkey.metadata.rp_id == request.rp_id.as_str()
    };
    let open = |passkey: &Passkey| match passkey.metadata.cred_protect {
        None | Some(CredProtect::Optional) => true,
        Some(CredProtect::OptionalWithList) => user == User::Verified || request.allow != Allow::Any,
        Some(CredProtect::Required) => user == User::Verified,
    };
    let (open, closed): (Vec<_>, Vec<_>) = home.passkeys()?.into_iter().filter(fits).partition(open);
    match open.into_iter().next() {
        Some(passkey) => Ok(passkey),
        None if closed.is_empty() => Err(none()),
        None => Err(FlowError::refused(
            Code::UvRequired,
            "the relying party has protected its passkey here: it needs user verification, which takes the device's PIN",
        )),
    }
}

fn none() -> FlowError {
    FlowError::refused(Code::NoCredentials, "there is no passkey here that fits the request")
}

/// A relying party that requires user verification is not asked to do with less.
fn check_user(wanted: UserVerification, user: User) -> Result<(), FlowError> {
    if wanted == UserVerification::Required && user == User::Unverified {
        return Err(FlowError::refused(
            Code::UvRequired,
            "the relying party requires user verification, and this device cannot give it: it needs the device's PIN",
        ));
    }
    Ok(())
}

fn json_of(client_data: &crate::webauthn::ClientData, form: ClientDataForm) -> Option<Bytes> {
    (form == ClientDataForm::WithJson).then(|| Bytes(client_data.json().to_vec()))
}

/// As many ids as the enclave looks at; the ones in the vault come first, so that a long list hides none of them.
fn known_first(home: &Home, ids: &[CredentialId]) -> Vec<CredentialId> {
    let (mut known, unknown): (Vec<_>, Vec<_>) = ids.iter().partition(|id| home.row(id).is_some());
    known.extend(unknown);
    known.truncate(CREDENTIAL_LIST_MAX);
    known
}
