//! What the gateway hands out by itself: rows, proofs and ledger entries. All of it is ciphertext or verifiable by
//! whoever reads it, so the gateway is believed in nothing.

use crate::cbor::Bytes;
use crate::{AccountId, CredentialId, Hash, ShardId, choice, message};

choice! {
    /// Where a path through the authenticated map ends.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Terminal {
        1 => Empty,
        2 => Leaf(MapEntry),
    }
}

message! {
    /// A key with its value.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MapEntry {
        1 => pub key: Hash,
        2 => pub value: Hash,
    }
}

message! {
    /// Membership or absence of a key in the authenticated map; siblings from the root down.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct MapProof {
        1 => pub siblings: Vec<Hash>,
        2 => pub terminal: Terminal,
    }
}

message! {
    /// One passkey as stored: two ciphertexts and what the vault root commits to.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PasskeyRow {
        1 => pub id: CredentialId,
        2 => pub version: u64,
        /// The vault's sequence number at the last change of this row.
        3 => pub vault_seq: u64,
        4 => pub deleted: bool,
        5 => pub epoch: u32,
        /// Opens in the enclave only; empty once deleted.
        6 => pub blob: Bytes,
        /// `command::Metadata` under K_meta; kept by a tombstone.
        7 => pub metadata: Bytes,
        /// SHA-256 of the sealed large blob, which lies apart: it opens in the enclave only, so no device syncs it.
        8 => pub large_blob: Option<Hash>,
    }
}

message! {
    /// An account's state and the way from it to a signed checkpoint: fields -> map value -> map root -> SEAL leaf -> tree.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AccountProof {
        1 => pub map_key: Hash,
        /// SHA-256 of the sealed account row.
        2 => pub row: Hash,
        3 => pub seq: u64,
        4 => pub head: Hash,
        5 => pub vault_seq: u64,
        6 => pub vault_root: Hash,
        7 => pub proof: MapProof,
        /// The SEAL leaf, which is the last of the checkpoint's tree.
        8 => pub seal: Bytes,
        9 => pub inclusion: Vec<Hash>,
        10 => pub checkpoint: String,
        /// Consistency from the size that the reader named.
        11 => pub consistency: Vec<Hash>,
    }
}

message! {
    /// Rows changed since a cursor, in order of `vault_seq`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SyncPage {
        1 => pub rows: Vec<PasskeyRow>,
        /// Where the next page starts: the `vault_seq` of the last row here, or of the vault when nothing is left.
        2 => pub cursor: u64,
        3 => pub more: bool,
        /// With the last page of a sync that changed something.
        4 => pub account: Option<AccountProof>,
    }
}

message! {
    /// A leaf with its place in the tree.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AuditEntry {
        1 => pub index: u64,
        2 => pub leaf: Bytes,
        3 => pub inclusion: Vec<Hash>,
    }
}

message! {
    /// Entries `from..` of one account with their place in the tree of the proof's checkpoint.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AuditPage {
        1 => pub account: AccountProof,
        /// Account sequence number of the first entry here; entries rise by one.
        2 => pub first: u64,
        3 => pub entries: Vec<AuditEntry>,
        4 => pub more: bool,
    }
}

message! {
    /// Who serves an account.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Route {
        1 => pub account: AccountId,
        2 => pub shard: ShardId,
        3 => pub instance: crate::InstanceId,
    }
}
