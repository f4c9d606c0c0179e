//! Audit: the owner reads and verifies every entry of its account. Each must stand in the tree that the log key signed,
//! open under K_audit with its own number, and the chain over all of them must end in the head that the ledger seals.
//! So an entry can be neither missing, altered, added, moved nor shown from another tree.

use crate::flow::FlowError;
use crate::home::Home;
use crate::proof::account_head;
use keyferry_crypto::hash::{ct_eq, sha256};
use keyferry_crypto::tree::AuditKey;
use keyferry_tlog::state::{self, NO_HEAD};
use keyferry_tlog::{leaf_hash, verify_inclusion};
use keyferry_wire::Hash;
use keyferry_wire::frame::Head;
use keyferry_wire::ledger::{Class, Event, Kind, Leaf, NO_DEVICE, Outcome};
use keyferry_wire::publish::{AuditEntry, AuditPage, PasskeyRow};
use keyferry_wire::refusal::{Code, Refusal};
use std::collections::BTreeSet;

/// An audit under way.
pub struct Audit {
    key: AuditKey,
    /// Chain over the entries so far.
    head: Hash,
    /// Account sequence number of the next entry.
    next: u64,
    /// Place in the log of the entry before; places rise.
    last_index: Option<u64>,
    events: Vec<Event>,
    /// Devices as an enclave listed them when the account had so many entries.
    listed: Option<(u64, BTreeSet<u16>)>,
}

/// A complete, verified account history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audited {
    /// The tree in which all entries stand.
    pub size: u64,
    pub root: Hash,
    pub entries: Vec<Entry>,
}

/// An entry as its owner reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub seq: u64,
    pub time_ms: u64,
    pub kind: Kind,
    pub outcome: Outcome,
    /// Label of the device; `None` for one that was no member.
    pub device: Option<String>,
    /// The relying party, where the entry is about a passkey that this device knows.
    pub rp_id: Option<String>,
    pub left: u8,
    pub verified: bool,
}

/// What was done to the ledger view; the number is the entry's, counted from 1 within the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFraud {
    #[error("the gateway's page starts at entry {found} instead of {wanted}")]
    Page { wanted: u64, found: u64 },
    #[error("entry {0} is no entry of this account at this place: it was exchanged, moved or added")]
    Foreign(u64),
    #[error("entry {0} does not open: it was altered")]
    Altered(u64),
    #[error("entry {0} is not in the tree that the log signed")]
    NotInTree(u64),
    #[error("entry {0} is more than the ledger says that the account has")]
    Extra(u64),
    #[error(
        "the history ends after entry {found}, but the ledger says that there are {wanted}: entries are missing"
    )]
    Missing { wanted: u64, found: u64 },
    #[error("the enclave lists a device that the ledger never admitted")]
    Unadmitted,
    #[error("the ledger admitted a device that the list does not show")]
    Hidden,
    #[error(
        "the entries do not lead to the account's head: the history is not the one that the ledger seals"
    )]
    Head,
}

impl From<AuditFraud> for FlowError {
    fn from(fraud: AuditFraud) -> FlowError {
        FlowError::Refused(Refusal::new(Code::Evidence, fraud.to_string()))
    }
}

impl Audit {
    /// From the first entry.
    pub fn start(home: &Home) -> Result<Audit, FlowError> {
        let key = home.audit_key()?;
        Ok(Audit { key, head: NO_HEAD, next: 1, last_index: None, events: Vec::new(), listed: None })
    }

    /// Holds the list of devices that this home was given just now against the ledger: whoever is a member was admitted
    /// by an entry, and whoever was admitted is listed.
    pub fn with_devices(mut self, home: &Home) -> Audit {
        let seq = home.head.map_or(0, |head| head.seq);
        self.listed = Some((seq, home.devices.iter().map(|info| info.index).collect()));
        self
    }

    /// From the entry after the newest that this device has seen; the chain goes on from the head that it verified.
    pub fn resume(home: &Home) -> Result<Audit, FlowError> {
        let start = Audit::start(home)?;
        Ok(match &home.head {
            Some(seen) => Audit { head: seen.head, next: seen.seq.saturating_add(1), ..start },
            None => start,
        })
    }

    /// Number of the first entry to be asked for.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Takes a page. `None`: ask for the next one.
    pub fn page(&mut self, home: &mut Home, page: &AuditPage) -> Result<Option<Audited>, FlowError> {
        let Some((tree, events)) = self.events(home, page)? else { return Ok(None) };
        let entries = events.iter().map(|event| Entry::named(home, event)).collect::<Result<_, _>>()?;
        Ok(Some(Audited { size: tree.size, root: tree.root, entries }))
    }

    /// The same without names, and resumable: once it has given events, the next page brings what came after them.
    /// A gateway that rolls back is remembered in the home.
    pub fn events(
        &mut self,
        home: &mut Home,
        page: &AuditPage,
    ) -> Result<Option<(Head, Vec<Event>)>, FlowError> {
        self.take(home, page).map_err(|error| home.noted(error))
    }

    fn take(&mut self, home: &mut Home, page: &AuditPage) -> Result<Option<(Head, Vec<Event>)>, FlowError> {
        if page.first != self.next {
            return Err(AuditFraud::Page { wanted: self.next, found: page.first }.into());
        }
        let map_key = home.membership()?.map_key;
        let tree = home.trust.check_account(&map_key, &page.account).map_err(Refusal::from)?;
        for entry in &page.entries {
            if self.next > page.account.seq {
                return Err(AuditFraud::Extra(self.next).into());
            }
            self.entry(&tree, entry)?;
        }
        let found = self.next.saturating_sub(1);
        if page.more && !page.entries.is_empty() {
            return Ok(None);
        }
        if found != page.account.seq {
            return Err(AuditFraud::Missing { wanted: page.account.seq, found }.into());
        }
        if self.head != page.account.head {
            return Err(AuditFraud::Head.into());
        }
        self.check_devices()?;
        home.advance(account_head(&page.account))?;
        home.trust.seen = Some(tree);
        Ok(Some((tree, std::mem::take(&mut self.events))))
    }

    fn check_devices(&self) -> Result<(), AuditFraud> {
        let Some((seq, listed)) = &self.listed else { return Ok(()) };
        let admits = |event: &&Event| {
            matches!(event.kind, Kind::Enrol | Kind::Join)
                && event.outcome == Outcome::Done
                && event.seq <= *seq
        };
        let admitted: BTreeSet<_> = self.events.iter().filter(admits).map(|event| event.device).collect();
        if !listed.is_subset(&admitted) {
            return Err(AuditFraud::Unadmitted);
        }
        if admitted.is_subset(listed) { Ok(()) } else { Err(AuditFraud::Hidden) }
    }

    fn entry(&mut self, tree: &Head, entry: &AuditEntry) -> Result<(), AuditFraud> {
        let seq = self.next;
        let hash = leaf_hash(&entry.leaf);
        verify_inclusion(&hash, entry.index, tree.size, &entry.inclusion, &tree.root)
            .map_err(|_| AuditFraud::NotInTree(seq))?;
        if self.last_index.is_some_and(|last| entry.index <= last) {
            return Err(AuditFraud::Foreign(seq));
        }
        self.events.push(self.open(seq, &entry.leaf)?);
        self.head = state::account_head(&self.head, &hash);
        self.last_index = Some(entry.index);
        self.next = seq.saturating_add(1);
        Ok(())
    }

    /// The tag shows whose leaf it is and which; the commitment that the public saw is the one of this event.
    fn open(&self, seq: u64, leaf: &[u8]) -> Result<Event, AuditFraud> {
        let leaf = Leaf::from_bytes(leaf).filter(|leaf| leaf.class == Class::Event);
        let leaf =
            leaf.filter(|leaf| ct_eq(&leaf.tag, &self.key.tag(seq))).ok_or(AuditFraud::Foreign(seq))?;
        let keys = self.key.leaf_keys(seq, &leaf.salt);
        let plain = keys.open_event(&[], &leaf.sealed).map_err(|_| AuditFraud::Altered(seq))?;
        let committed = ct_eq(&leaf.commitment, &keys.commitment(&[plain.expose()]));
        Event::from_bytes(plain.expose())
            .filter(|event| committed && event.seq == seq && leaf.time_secs == event.time_ms / 1000)
            .ok_or(AuditFraud::Altered(seq))
    }
}

impl Entry {
    /// Names device and relying party, as far as this device knows them.
    pub fn named(home: &Home, event: &Event) -> Result<Entry, FlowError> {
        let device = match event.device {
            NO_DEVICE => None,
            index => Some(device(home, index).map_or_else(|| format!("device {index}"), Clone::clone)),
        };
        let passkey = passkey(home, event).map(|row| home.passkey(row)).transpose()?;
        Ok(Entry {
            seq: event.seq,
            time_ms: event.time_ms,
            kind: event.kind,
            outcome: event.outcome,
            device,
            rp_id: passkey.map(|passkey| passkey.metadata.rp_id),
            left: event.left,
            verified: event.verified,
        })
    }

    /// Whether the devices that this home knows may not be the ones of this event.
    pub fn wants_devices(home: &Home, event: &Event) -> bool {
        let changed = matches!(event.kind, Kind::Enrol | Kind::Join | Kind::RenameDevice);
        changed || (event.device != NO_DEVICE && device(home, event.device).is_none())
    }

    /// Whether the event is about a passkey that this home does not know yet.
    pub fn wants_vault(home: &Home, event: &Event) -> bool {
        event.credential != [0; 16] && passkey(home, event).is_none()
    }
}

fn device(home: &Home, index: u16) -> Option<&String> {
    home.devices.iter().find(|info| info.index == index).map(|info| &info.label)
}

fn passkey<'h>(home: &'h Home, event: &Event) -> Option<&'h PasskeyRow> {
    home.vault.rows.iter().find(|row| sha256(&[&row.id.0]).starts_with(&event.credential))
}

#[cfg(test)]
mod tests;
