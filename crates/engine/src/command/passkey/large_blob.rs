//! A passkey's large blob (WebAuthn L3, 10.1.5): read and written in an assertion, with what that assertion has shown.
//!
//! The sealed blob lies beside the passkey's row, which names it by its hash; so it is as current as the row, and an
//! assertion that does not ask for it neither carries nor opens it.

use super::super::{Context, Missing, Stop, refuse};
use crate::credential::{self, Place};
use keyferry_wire::command::{Assert, LargeBlobAnswer, LargeBlobUse, LargeBlobWrite};
use keyferry_wire::ledger::Kind;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::relying_party::RpId;
use keyferry_wire::{CredentialId, limits};

/// What will become of the blob, checked to the end before anything is written.
pub(super) enum Planned {
    Nothing,
    Tell(Vec<u8>),
    /// The sealed blob.
    Write(Vec<u8>),
    /// This operation has written it before.
    Written,
}

impl Context<'_> {
    pub(super) fn plan_large_blob(&mut self, assert: &Assert, rp_id: &RpId) -> Result<Planned, Stop> {
        match &assert.large_blob {
            None => Ok(Planned::Nothing),
            Some(LargeBlobUse::Read) => self.plan_read(&assert.id, rp_id),
            Some(LargeBlobUse::Write(_)) if self.replay => Ok(Planned::Written),
            Some(LargeBlobUse::Write(write)) => self.plan_write(&assert.id, write, rp_id),
        }
    }

    fn plan_read(&mut self, id: &CredentialId, rp_id: &RpId) -> Result<Planned, Stop> {
        let account = self.account.id;
        self.sds()?;
        let (Some(sds), Some(Some(row))) = (&self.sds, self.account.passkey(id)) else {
            return Err(Stop::Store);
        };
        if row.large_blob.is_none() {
            return Ok(Planned::Nothing);
        }
        let Some(sealed) = self.account.large_blob(id) else {
            let (passkeys, large_blobs) = (vec![*id], vec![*id]);
            return Err(Stop::Need(Missing { passkeys, large_blobs, ..Missing::default() }));
        };
        let place = Place { account: &account, credential: id, epoch: row.epoch };
        let blob = credential::open_large_blob(sds, &place, rp_id, sealed).map_err(|_| Stop::Store)?;
        Ok(Planned::Tell(blob.expose().to_vec()))
    }

    fn plan_write(
        &mut self,
        id: &CredentialId,
        write: &LargeBlobWrite,
        rp_id: &RpId,
    ) -> Result<Planned, Stop> {
        if write.blob.len() > limits::LARGE_BLOB_MAX {
            let refusal = Refusal::new(Code::BadOptions, "a large blob has at most 8 KiB");
            return Err(Stop::Refused(refusal.named("NotSupportedError")));
        }
        let row = self.editable(id, write.version)?;
        let account = self.account.id;
        self.sds()?;
        let Some(sds) = &self.sds else { return Err(Stop::Store) };
        let place = Place { account: &account, credential: id, epoch: row.epoch };
        Ok(Planned::Write(credential::seal_large_blob(sds, &place, rp_id, &write.blob, self.random)))
    }

    pub(super) fn use_large_blob(
        &mut self,
        planned: Planned,
        id: &CredentialId,
    ) -> Result<Option<LargeBlobAnswer>, Stop> {
        match planned {
            Planned::Nothing => Ok(None),
            Planned::Tell(blob) => Ok(Some(LargeBlobAnswer::Read(blob.into()))),
            Planned::Written => Ok(Some(LargeBlobAnswer::Written)),
            Planned::Write(sealed) => {
                let Some(Some(row)) = self.account.passkey(id) else {
                    return refuse(Code::NoCredentials, "no such passkey");
                };
                let mut row = row.clone();
                self.account.put_large_blob(&mut row, Some(sealed));
                self.edit(row, Kind::WriteLargeBlob)?;
                Ok(Some(LargeBlobAnswer::Written))
            }
        }
    }
}
