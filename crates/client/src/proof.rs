//! How the gateway's word is checked: a checkpoint by the account's log key that extends what was seen, and the way
//! from an account's fields through map and SEAL leaf to it.

use crate::evidence::{LogPin, Trust};
use keyferry_tlog::state::{AccountFields, map_value};
use keyferry_tlog::{
    Note, ProofError, SignedCheckpoint, VerifierKey, leaf_hash, verify_consistency, verify_inclusion,
};
use keyferry_wire::command::Account;
use keyferry_wire::frame::{AccountHead, Head};
use keyferry_wire::ledger::{Class, Leaf};
use keyferry_wire::publish::AccountProof;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{Hash, Wire};

/// What does not hold. The sentence says what somebody tried, or what is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fraud {
    #[error("the checkpoint is not of this account's log, or not signed by its key")]
    Checkpoint,
    #[error(
        "the ledger shown is older than what this device has seen: it was rolled back \
         (seen: {seen} entries; shown: {shown})"
    )]
    RolledBack { seen: u64, shown: u64 },
    #[error("the ledger shown does not extend what this device has seen: there are two ledgers")]
    Forked,
    #[error("the account's log, or its key, is another than the one this home has pinned")]
    OtherLog,
    #[error("the proof is of another account")]
    OtherAccount,
    #[error("the last entry of the ledger is no seal, or is not in its tree")]
    Seal,
    #[error("the account's state is not the one that the ledger seals")]
    Map,
    #[error("the account's state is older than what this device has seen: it was rolled back")]
    OldState,
}

impl From<Fraud> for Refusal {
    fn from(fraud: Fraud) -> Refusal {
        let code = match fraud {
            Fraud::RolledBack { .. } | Fraud::OldState => Code::Stale,
            _ => Code::Evidence,
        };
        Refusal::new(code, fraud.to_string())
    }
}

impl Trust {
    /// Pins the account's log: the one of the trust file, else the first that is seen.
    pub(crate) fn pin_log(&mut self, account: &Account) -> Result<(), Fraud> {
        let found = LogPin { origin: account.origin.clone(), key: account.log_key.clone() };
        VerifierKey::parse(&found.key).map_err(|_| Fraud::OtherLog)?;
        let foreign = match &self.log {
            Some(pinned) => *pinned != found,
            None => self.is_pinned() && !self.logs.contains(&found),
        };
        if foreign {
            return Err(Fraud::OtherLog);
        }
        self.log = Some(found);
        Ok(())
    }

    /// The head that a checkpoint states, if the pinned log signed it and it extends the head that was seen.
    pub(crate) fn check_head(&self, note: &str, consistency: &[Hash]) -> Result<Head, Fraud> {
        let log = self.log.as_ref().ok_or(Fraud::OtherLog)?;
        let key = VerifierKey::parse(&log.key).map_err(|_| Fraud::OtherLog)?;
        let note = Note::parse(note).map_err(|_| Fraud::Checkpoint)?;
        let checkpoint = SignedCheckpoint::open(&note, &key, &log.origin).map_err(|_| Fraud::Checkpoint)?;
        let new = Head { size: checkpoint.size, root: checkpoint.root };
        match self.seen {
            Some(seen) => extends(&seen, &new, consistency).map(|()| new),
            None => Ok(new),
        }
    }

    /// Checks an account's proof; the caller goes on with the head that it ends in, and keeps it once all holds.
    pub(crate) fn check_account(&self, map_key: &Hash, proof: &AccountProof) -> Result<Head, Fraud> {
        if proof.map_key != *map_key {
            return Err(Fraud::OtherAccount);
        }
        let head = self.check_head(&proof.checkpoint, &proof.consistency)?;
        let seal = sealed_by(&head, proof)?;
        let value = keyferry_tlog::map::verify(&seal.tag, map_key, &proof.proof).map_err(|_| Fraud::Map)?;
        if value == Some(map_value(&fields(proof))) { Ok(head) } else { Err(Fraud::Map) }
    }
}

/// Whether `new` is the tree of `seen` or an extension of it. The same size needs no proof, only the same root.
fn extends(seen: &Head, new: &Head, consistency: &[Hash]) -> Result<(), Fraud> {
    if new.size < seen.size {
        return Err(Fraud::RolledBack { seen: seen.size, shown: new.size });
    }
    if new.size == seen.size {
        return if new.root == seen.root { Ok(()) } else { Err(Fraud::Forked) };
    }
    match verify_consistency(seen.size, &seen.root, new.size, &new.root, consistency) {
        Ok(()) => Ok(()),
        Err(ProofError::Sizes) if seen.size == 0 => Ok(()),
        Err(_) => Err(Fraud::Forked),
    }
}

/// The SEAL leaf, which must be the last of the tree.
fn sealed_by(head: &Head, proof: &AccountProof) -> Result<Leaf, Fraud> {
    let last = head.size.checked_sub(1).ok_or(Fraud::Seal)?;
    verify_inclusion(&leaf_hash(&proof.seal), last, head.size, &proof.inclusion, &head.root)
        .map_err(|_| Fraud::Seal)?;
    Leaf::from_bytes(&proof.seal).filter(|leaf| leaf.class == Class::Seal).ok_or(Fraud::Seal)
}

fn fields(proof: &AccountProof) -> AccountFields {
    AccountFields {
        row: proof.row,
        seq: proof.seq,
        head: proof.head,
        vault_seq: proof.vault_seq,
        vault_root: proof.vault_root,
    }
}

/// What a proof says of the account, in the form in which an enclave says it.
pub(crate) fn account_head(proof: &AccountProof) -> AccountHead {
    AccountHead { seq: proof.seq, head: proof.head, vault_seq: proof.vault_seq, vault_root: proof.vault_root }
}

/// SHA-256 over the one encoding of a message.
pub(crate) fn message_hash(message: &impl Wire) -> Hash {
    keyferry_crypto::hash::sha256(&[&message.to_bytes()])
}
