//! Passkeys: made, used, renamed and deleted. Each opens for its own relying party alone, and only in the version
//! that the vault root names.

mod large_blob;

use super::{Context, Missing, Stop, refuse};
use crate::client_data::{self, Ceremony};
use crate::credential::{self, Attestation, Passkey, Place};
use crate::record::AssertPolicy;
use keyferry_crypto::credential::{Algorithm, CredentialKey};
use keyferry_crypto::hash::{self, sha256};
use keyferry_crypto::label::Label;
use keyferry_wire::command::{
    Answer, Assert, Asserted, Command, CreatePasskey, Created, CredProtect, DeletePasskey, Edited, Metadata,
    PrfOutputs, RenamePasskey, UserVerification,
};
use keyferry_wire::ledger::{Kind, Outcome};
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::relying_party::RpId;
use keyferry_wire::{CredentialId, limits};

impl Context<'_> {
    pub(super) fn create_passkey(&mut self, create: &CreatePasskey) -> Result<Answer, Stop> {
        let (_, verified) = self.member()?;
        let rp_id = client_data::rp_id(&create.rp_id)?;
        let json = create.client_data_json.as_deref();
        client_data::check(Ceremony::Create, &rp_id, &create.client_data_hash, json)?;
        check_options(create)?;
        let algorithm = chosen_algorithm(create)?;
        demand_verification(create.user_verification, verified)?;
        let id = self.new_credential_id();
        self.attached(create.exclude.iter().chain([&id]))?;
        if self.account.passkey(&id).flatten().is_some() {
            // The id names the operation: it never makes a second key in the place of the first, or of a tombstone.
            return refuse(Code::Conflict, "this operation made a passkey already");
        }
        self.refuse_excluded(create, &rp_id)?;
        let key = self.make_key(algorithm)?;
        self.write_new_passkey(create, id, &rp_id, verified, &key)
    }

    /// Nothing is refused any more once a key is made: a key that the edge had ready is not wasted.
    fn make_key(&mut self, algorithm: Algorithm) -> Result<CredentialKey, Stop> {
        Ok(match algorithm {
            Algorithm::Es256 => CredentialKey::es256(self.random),
            Algorithm::EdDsa => CredentialKey::ed_dsa(self.random),
            Algorithm::Es384 => CredentialKey::es384(self.random),
            Algorithm::Rs256 => {
                let key = self.rsa.take().ok_or(Stop::Later)?;
                CredentialKey::rs256(key).expect("the edge makes RSA keys of 2048 bits")
            }
        })
    }

    fn write_new_passkey(
        &mut self,
        create: &CreatePasskey,
        id: CredentialId,
        rp_id: &RpId,
        verified: bool,
        key: &CredentialKey,
    ) -> Result<Answer, Stop> {
        let account = self.account.id;
        let epoch = self.record()?.epoch;
        let (alg, protect) = (key.algorithm().cose(), create.cred_protect);
        let passkey = Passkey::new(key, create.user_id.clone(), protect, self.random);
        let metadata = Metadata {
            rp_id: create.rp_id.clone(),
            user_id: create.user_id.clone(),
            user_name: create.user_name.clone(),
            display_name: create.display_name.clone(),
            alg,
            created_ms: self.now_ms,
            cred_protect: protect,
        };
        self.sds()?;
        let Some(sds) = &self.sds else { return Err(Stop::Store) };
        let place = Place { account: &account, credential: &id, epoch };
        let row = PasskeyRow {
            id,
            version: 1,
            vault_seq: 0,
            deleted: false,
            epoch,
            blob: passkey.seal(sds, &place, rp_id, self.random).into(),
            metadata: credential::seal_metadata(sds, &place, &metadata, self.random).into(),
            large_blob: None,
        };
        let cose_key = keyferry_crypto::cose::public_key(&key.public());
        let data =
            credential::registration_data(rp_id, verified, &self.keys.aaguid(), &id, &cose_key, protect);
        let object = credential::attestation_object(&Attestation::None, &data);
        self.account.write_passkey(row)?;
        self.credential_event(Kind::CreatePasskey, &id);
        Ok(Answer::Created(Created {
            id,
            version: 1,
            alg,
            public_key: cose_key.into(),
            authenticator_data: data.into(),
            attestation_object: object.into(),
            prf: create.prf.as_ref().map(|salts| passkey.evaluate(salts, verified)),
        }))
    }

    /// The PRF of a passkey that this operation made before: nothing, if it does not open any more.
    pub(super) fn evaluated_again(
        &mut self,
        create: &CreatePasskey,
        id: &CredentialId,
    ) -> Result<Option<PrfOutputs>, Stop> {
        let Some(salts) = &create.prf else { return Ok(None) };
        let (_, verified) = self.member()?;
        let rp_id = client_data::rp_id(&create.rp_id)?;
        self.attached([id])?;
        match self.open_passkey(id, &rp_id) {
            Ok(passkey) => Ok(Some(passkey.evaluate(salts, verified))),
            Err(Stop::Refused(_)) => Ok(None),
            Err(stop) => Err(stop),
        }
    }

    /// Refuses when one of the excluded credentials is a passkey for this relying party. The host cannot hide one:
    /// for each id it had to attach the row or the proof that there is none.
    fn refuse_excluded(&mut self, create: &CreatePasskey, rp_id: &RpId) -> Result<(), Stop> {
        let account = self.account.id;
        self.sds()?;
        let Some(sds) = &self.sds else { return Err(Stop::Store) };
        for id in &create.exclude {
            let Some(Some(row)) = self.account.passkey(id) else { continue };
            let place = Place { account: &account, credential: id, epoch: row.epoch };
            if !row.deleted && Passkey::open(sds, &place, rp_id, &row.blob).is_ok() {
                return refuse(
                    Code::Excluded,
                    "a passkey of this account is registered at the relying party",
                );
            }
        }
        Ok(())
    }

    pub(super) fn assert(&mut self, assert: &Assert) -> Result<Answer, Stop> {
        let (device, verified) = self.member()?;
        let rp_id = client_data::rp_id(&assert.rp_id)?;
        let json = assert.client_data_json.as_deref();
        client_data::check(Ceremony::Get, &rp_id, &assert.client_data_hash, json)?;
        demand_verification(assert.user_verification, verified)?;
        if self.record()?.assert_policy == AssertPolicy::Uv && !verified {
            return refuse(Code::UvRequired, "the policy in force demands user verification");
        }
        self.attached([&assert.id])?;
        let passkey = self.open_passkey(&assert.id, &rp_id)?;
        demand_protection(passkey.cred_protect, verified, assert.listed)?;
        let planned = self.plan_large_blob(assert, &rp_id)?;
        let key = passkey.signing_key().ok_or(Stop::Store)?;
        let now_ms = self.now_ms;
        if !self.replay {
            if !self.device_mut(&device)?.admit_assertion(now_ms) {
                return refuse(Code::RateLimited, "this device signed in too often within a minute");
            }
            self.credential_event(Kind::Assert, &assert.id);
        }
        let large_blob = self.use_large_blob(planned, &assert.id)?;
        let data = credential::assertion_data(&rp_id, verified);
        let signature = key.sign(&[&data[..], &assert.client_data_hash].concat());
        Ok(Answer::Asserted(Asserted {
            id: assert.id,
            authenticator_data: data.into(),
            signature: signature.into(),
            prf: assert.prf.as_ref().map(|salts| passkey.evaluate(salts, verified)),
            large_blob,
            user_id: passkey.user_id,
        }))
    }

    fn open_passkey(&mut self, id: &CredentialId, rp_id: &RpId) -> Result<Passkey, Stop> {
        let account = self.account.id;
        self.sds()?;
        let none =
            || Stop::Refused(Refusal::new(Code::NoCredentials, "no such passkey for this relying party"));
        let (Some(sds), Some(Some(row))) = (&self.sds, self.account.passkey(id)) else {
            return Err(none());
        };
        if row.deleted {
            return Err(none());
        }
        let place = Place { account: &account, credential: id, epoch: row.epoch };
        Passkey::open(sds, &place, rp_id, &row.blob).map_err(|_| none())
    }

    pub(super) fn rename_passkey(&mut self, rename: &RenamePasskey) -> Result<Answer, Stop> {
        self.member()?;
        if rename.user_name.len() > limits::NAME_MAX || rename.display_name.len() > limits::NAME_MAX {
            return refuse(Code::BadOptions, "a name has at most 256 bytes");
        }
        let mut row = self.editable(&rename.id, rename.version)?;
        let account = self.account.id;
        self.sds()?;
        let Some(sds) = &self.sds else { return Err(Stop::Store) };
        let place = Place { account: &account, credential: &rename.id, epoch: row.epoch };
        let mut metadata = credential::open_metadata(sds, &place, &row.metadata).map_err(|_| Stop::Store)?;
        metadata.user_name.clone_from(&rename.user_name);
        metadata.display_name.clone_from(&rename.display_name);
        row.metadata = credential::seal_metadata(sds, &place, &metadata, self.random).into();
        self.edit(row, Kind::RenamePasskey)
    }

    /// Leaves a tombstone: the metadata stays, so that the owner's audit can name what was deleted.
    pub(super) fn delete_passkey(&mut self, delete: &DeletePasskey) -> Result<Answer, Stop> {
        self.member()?;
        let mut row = self.editable(&delete.id, delete.version)?;
        row.deleted = true;
        row.blob = Vec::new().into();
        if row.large_blob.is_some() {
            self.account.put_large_blob(&mut row, None);
        }
        self.edit(row, Kind::DeletePasskey)
    }

    /// The row, if it is what the editor saw.
    fn editable(&self, id: &CredentialId, version: u64) -> Result<PasskeyRow, Stop> {
        self.attached([id])?;
        match self.account.passkey(id) {
            Some(Some(row)) if row.deleted => refuse(Code::NoCredentials, "the passkey was deleted"),
            Some(Some(row)) if row.version == version => Ok(row.clone()),
            Some(Some(_)) => refuse(Code::Conflict, "the passkey was changed meanwhile; sync and try again"),
            _ => refuse(Code::NoCredentials, "no such passkey"),
        }
    }

    fn edit(&mut self, mut row: PasskeyRow, kind: Kind) -> Result<Answer, Stop> {
        row.version += 1;
        let (id, version) = (row.id, row.version);
        self.account.write_passkey(row)?;
        self.credential_event(kind, &id);
        Ok(Answer::Edited(Edited { id, version }))
    }

    fn credential_event(&mut self, kind: Kind, id: &CredentialId) {
        let digest = sha256(&[&id.0]);
        let event = self.event(kind, Outcome::Done);
        event.credential.copy_from_slice(digest.split_at(16).0);
    }

    /// Asks the host for rows that it did not attach.
    fn attached<'i>(&self, ids: impl IntoIterator<Item = &'i CredentialId>) -> Result<(), Stop> {
        let missing: Vec<_> =
            ids.into_iter().filter(|id| self.account.passkey(id).is_none()).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(Stop::Need(Missing { passkeys: missing, ..Missing::default() }))
    }

    /// The new credential's id: the same whenever this operation is run, and to everybody else a random number.
    fn new_credential_id(&self) -> CredentialId {
        let digest = hash::hmac(
            self.keys.identity.expose(),
            Label::CredentialId,
            &[&self.account.id.0, &self.operation],
        );
        let mut id = [0; 16];
        id.copy_from_slice(digest.split_at(16).0);
        CredentialId(id)
    }
}

fn check_options(create: &CreatePasskey) -> Result<(), Stop> {
    if !(1..=limits::USER_ID_MAX).contains(&create.user_id.len()) {
        return refuse(Code::BadOptions, "a user handle has 1 to 64 bytes");
    }
    if create.user_name.len() > limits::NAME_MAX || create.display_name.len() > limits::NAME_MAX {
        return refuse(Code::BadOptions, "a name has at most 256 bytes");
    }
    if create.exclude.len() > limits::CREDENTIAL_LIST_MAX {
        return refuse(Code::BadOptions, "excludeCredentials is too long");
    }
    Ok(())
}

/// The first algorithm of the relying party's list that is known here.
fn chosen_algorithm(create: &CreatePasskey) -> Result<Algorithm, Stop> {
    let mut known = create.algorithms.iter().filter_map(|number| Algorithm::of_cose(*number));
    known.next().ok_or_else(|| {
        let refusal = Refusal::new(Code::BadOptions, "none of the relying party's algorithms is known here");
        Stop::Refused(refusal.named("NotSupportedError"))
    })
}

/// credProtect: what the relying party asked for when the passkey was made holds whatever the request says now.
fn demand_protection(level: Option<CredProtect>, verified: bool, listed: bool) -> Result<(), Stop> {
    let admitted = match level.unwrap_or(CredProtect::Optional) {
        CredProtect::Optional => true,
        CredProtect::OptionalWithList => verified || listed,
        CredProtect::Required => verified,
    };
    if admitted {
        return Ok(());
    }
    refuse(Code::UvRequired, "the relying party has protected this passkey: it needs user verification")
}

/// Whether an assertion asks for more than a signature: for what a device's row must not keep, or what fills a reply.
pub(super) fn has_extensions(command: &Command) -> bool {
    matches!(command, Command::Assert(assert) if assert.prf.is_some() || assert.large_blob.is_some())
}

/// A key that the edge made ahead, and makes slowly.
pub(super) fn takes_rsa_key(command: &Command) -> bool {
    matches!(command, Command::CreatePasskey(create) if matches!(chosen_algorithm(create), Ok(Algorithm::Rs256)))
}

fn demand_verification(wanted: UserVerification, verified: bool) -> Result<(), Stop> {
    if wanted == UserVerification::Required && !verified {
        return refuse(Code::UvRequired, "the relying party requires user verification");
    }
    Ok(())
}
