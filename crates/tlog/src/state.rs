//! What the roots commit to: the value of an account in the map, of a row in a vault, and an account's running head.
//! Enclave, gateway and owner compute them here and nowhere else.

use crate::Hash;
use crate::hash::sha256;
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::{CredentialId, Wire, Writer};

const MAP_VALUE: &[u8] = b"keyferry/v1/map-value";
const VAULT_KEY: &[u8] = b"keyferry/v1/vault-key";
const VAULT_VALUE: &[u8] = b"keyferry/v1/vault-value";
const ACCOUNT_HEAD: &[u8] = b"keyferry/v1/account-head";

/// The fields of an account that its owner, too, can check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AccountFields {
    /// SHA-256 of the sealed account row.
    pub row: Hash,
    /// Number of the account's ledger entries.
    pub seq: u64,
    /// Chain over all of the account's leaves.
    pub head: Hash,
    /// Number of changes to the vault.
    pub vault_seq: u64,
    /// Root over the vault's rows.
    pub vault_root: Hash,
}

/// The account's value in the authenticated map.
pub fn map_value(fields: &AccountFields) -> Hash {
    sha256(
        &[
            MAP_VALUE,
            &fields.row,
            &fields.seq.to_be_bytes(),
            &fields.head,
            &fields.vault_seq.to_be_bytes(),
            &fields.vault_root,
        ]
        .concat(),
    )
}

/// SHA-256 of a sealed row.
pub fn row_hash(row: &[u8]) -> Hash {
    sha256(row)
}

/// Where a passkey stands in its vault's map: hashed, so that no choice of ids can make the map deep.
pub fn vault_key(id: &CredentialId) -> Hash {
    sha256(&[VAULT_KEY, &id.0].concat())
}

/// What the vault root says of a row: id, version, time of change, whether it is deleted, epoch, and both ciphertexts.
pub fn vault_value(row: &PasskeyRow) -> Hash {
    // Numbers, heads, id and hash take less than 128 bytes.
    let mut bytes = Vec::with_capacity(VAULT_VALUE.len() + row.blob.len() + row.metadata.len() + 128);
    bytes.extend_from_slice(VAULT_VALUE);
    let mut w = Writer::from(bytes);
    row.encode(&mut w);
    sha256(&w.into_bytes())
}

/// The account's head after one more leaf.
pub fn account_head(previous: &Hash, leaf: &Hash) -> Hash {
    sha256(&[ACCOUNT_HEAD, previous, leaf].concat())
}

/// The head of an account without leaves.
pub const NO_HEAD: Hash = [0; 32];
