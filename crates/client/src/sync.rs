//! Sync: rows by cursor from a gateway that is believed in nothing. Rows are staged until the last page's proof shows
//! that they are the vault, whole and newest; before that the home does not change.

use crate::flow::FlowError;
use crate::home::{Home, Vault};
use crate::proof::account_head;
use keyferry_tlog::Map;
use keyferry_tlog::state::{vault_key, vault_value};
use keyferry_wire::publish::{AccountProof, PasskeyRow, SyncPage};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{CredentialId, Hash};
use std::collections::BTreeMap;

/// Most bytes of rows that are staged before the proof comes: a gateway could send rows for ever. It is far more than
/// thousands of passkeys take.
const STAGED_MAX: usize = 128 << 20;
/// What a row counts beside its bytes: one without any takes room, too.
const ROW_WEIGHT: usize = 256;

/// A sync under way.
pub struct Sync {
    rows: BTreeMap<CredentialId, PasskeyRow>,
    cursor: u64,
    changed: u64,
    /// Bytes that came since the start.
    staged: usize,
}

/// A sync that was verified and taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synced {
    pub cursor: u64,
    /// Rows that changed.
    pub changed: u64,
}

/// What a gateway did to the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowFraud {
    #[error(
        "the gateway withholds changes: this device has seen change {seen} of its vault, and is shown no more than {shown}"
    )]
    Withheld { seen: u64, shown: u64 },
    #[error("the gateway shows an older version of a passkey than this device has")]
    RolledBack,
    #[error("the gateway's rows are out of order")]
    Disordered,
    #[error("the gateway sends more rows than a vault holds, and no proof")]
    Endless,
    #[error(
        "the gateway's rows are not the account's vault: rows were altered, exchanged, added or left out"
    )]
    Altered,
    #[error("the gateway shows changes without proof that they are the account's")]
    Unproved,
}

impl From<RowFraud> for FlowError {
    fn from(fraud: RowFraud) -> FlowError {
        let code = match fraud {
            RowFraud::Withheld { .. } | RowFraud::RolledBack => Code::Stale,
            _ => Code::Evidence,
        };
        FlowError::Refused(Refusal::new(code, fraud.to_string()))
    }
}

impl Sync {
    /// Goes on from the last sync that was verified.
    pub fn start(home: &Home) -> Result<Sync, FlowError> {
        home.membership()?;
        let rows = home.vault.rows.iter().map(|row| (row.id, row.clone())).collect();
        Ok(Sync { rows, cursor: home.vault.cursor, changed: 0, staged: 0 })
    }

    /// Where the page to be asked for starts.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Takes a page. `None`: ask for the next one. A gateway that withholds or rolls back is remembered in the home.
    pub fn page(&mut self, home: &mut Home, page: SyncPage) -> Result<Option<Synced>, FlowError> {
        self.take(home, page).map_err(|error| home.noted(error))
    }

    fn take(&mut self, home: &mut Home, page: SyncPage) -> Result<Option<Synced>, FlowError> {
        let endless = page.more && page.rows.is_empty();
        if endless {
            return Err(RowFraud::Disordered.into());
        }
        for row in page.rows {
            self.apply(row)?;
        }
        if page.more {
            return Ok(None);
        }
        match &page.account {
            Some(proof) => self.conclude(home, proof)?,
            None => self.unchanged(home)?,
        }
        Ok(Some(Synced { cursor: self.cursor, changed: self.changed }))
    }

    fn apply(&mut self, row: PasskeyRow) -> Result<(), RowFraud> {
        if row.vault_seq <= self.cursor {
            return Err(RowFraud::Disordered);
        }
        if self.rows.get(&row.id).is_some_and(|old| old.version >= row.version) {
            return Err(RowFraud::RolledBack);
        }
        let size = row.blob.len().saturating_add(row.metadata.len()).saturating_add(ROW_WEIGHT);
        self.staged = self.staged.saturating_add(size);
        if self.staged > STAGED_MAX {
            return Err(RowFraud::Endless);
        }
        self.cursor = row.vault_seq;
        self.changed = self.changed.saturating_add(1);
        self.rows.insert(row.id, row);
        Ok(())
    }

    /// The rows, all of them and these alone, must lead to the root that the ledger seals.
    fn conclude(&mut self, home: &mut Home, proof: &AccountProof) -> Result<(), FlowError> {
        let map_key = home.membership()?.map_key;
        let head = home.trust.check_account(&map_key, proof).map_err(Refusal::from)?;
        home.advance(account_head(proof))?;
        home.trust.seen = Some(head);
        if proof.vault_seq < self.cursor {
            return Err(RowFraud::Altered.into());
        }
        if self.root() != proof.vault_root {
            return Err(RowFraud::Altered.into());
        }
        self.cursor = proof.vault_seq;
        let mut rows: Vec<_> = self.rows.values().cloned().collect();
        rows.sort_by_key(|row| row.vault_seq);
        for row in &rows {
            home.passkey(row)?;
        }
        home.vault = Vault { rows, cursor: self.cursor };
        Ok(())
    }

    /// Without a change there is no proof; then nothing may have changed that this device knows of.
    fn unchanged(&self, home: &Home) -> Result<(), RowFraud> {
        if self.changed > 0 {
            return Err(RowFraud::Unproved);
        }
        let newest = home.head.map_or(0, |head| head.vault_seq);
        let (seen, shown) = (newest, self.cursor);
        if seen > shown { Err(RowFraud::Withheld { seen, shown }) } else { Ok(()) }
    }

    fn root(&self) -> Hash {
        let mut map = Map::new();
        for row in self.rows.values() {
            map.set(vault_key(&row.id), vault_value(row)).expect("every key of a full map is known");
        }
        map.root()
    }
}

#[cfg(test)]
mod tests;
