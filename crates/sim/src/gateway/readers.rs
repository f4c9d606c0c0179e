//! What devices read without the enclave.

use super::Gateway;
use crate::oracle::Oracle;
use crate::post::Tell;
use keyferry_crypto::hash::sha256;
use keyferry_wire::{AccountId, Wire};

/// Rows of a page: few, so that a sync takes several.
const SYNC_LIMIT: usize = 3;
/// Entries of a page.
const AUDIT_LIMIT: usize = 9;

impl Gateway {
    pub(super) fn sync(&mut self, account: &AccountId, access: &[u8; 32], cursor: u64, seen: u64) -> Tell {
        let Some(desk) = &mut self.desk else { return Tell::Unavailable };
        match desk.may_read(&self.store, account, &sha256(&[access])) {
            Ok(true) => {}
            _ => return Tell::Unavailable,
        }
        let page = desk.sync(&self.store, account, cursor, SYNC_LIMIT, seen);
        page.map_or(Tell::Unavailable, |page| Tell::Sync(self.evil.age_page(page)))
    }

    pub(super) fn audit(&mut self, account: &AccountId, access: &[u8; 32], from: u64, seen: u64) -> Tell {
        let Some(desk) = &mut self.desk else { return Tell::Unavailable };
        match desk.may_read(&self.store, account, &sha256(&[access])) {
            Ok(true) => {}
            _ => return Tell::Unavailable,
        }
        let page = desk.audit(&self.store, account, from, AUDIT_LIMIT, seen);
        page.map_or(Tell::Unavailable, Tell::Audit)
    }

    /// Writes the ledger's files, as the pump does when it is idle.
    pub fn publish(&mut self) {
        let Some(desk) = &mut self.desk else { return };
        for repair in desk.repairs() {
            let outcome = repair.write(&self.store, &*self.files, &|| true);
            desk.repaired(&repair, &outcome);
        }
        for publication in desk.publications() {
            if publication.write(&*self.files).is_ok() {
                desk.published(publication);
            }
        }
    }

    /// Everything on the disk, for whoever looks for secrets.
    pub fn look_through(&self, oracle: &Oracle) -> crate::oracle::Checked {
        if let Some(service) = &self.store.service {
            oracle.seen_by_host("the service row", &service.to_bytes())?;
        }
        for account in self.store.accounts.values() {
            oracle.seen_by_host("an account row", &account.state.to_bytes())?;
            for (row, _) in account.devices.values() {
                oracle.seen_by_host("a device row", row)?;
            }
            for row in account.passkeys.values() {
                oracle.seen_by_host("a passkey row", &row.to_bytes())?;
            }
        }
        for batch in self.store.batches.values() {
            oracle.seen_by_host("the ledger", &batch.leaves)?;
            oracle.seen_by_host("a checkpoint", batch.checkpoint.as_bytes())?;
        }
        Ok(())
    }
}
