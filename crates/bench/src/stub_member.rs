//! What stands for a member at the stub, which keeps no accounts: fields of the right size.

use crate::member::{Member, Newcomer};
use keyferry_crypto::random;
use keyferry_enclave::HardwareRandom;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::frame::Head;
use keyferry_wire::{AccountId, CredentialId};

pub(crate) const CREDENTIAL: CredentialId = CredentialId([7; 16]);
/// A security domain secret as the engine wraps it.
const WRAPPED_LEN: usize = 32 + keyferry_crypto::seal::OVERHEAD;

pub(crate) fn make() -> Member {
    let mut random = HardwareRandom::default();
    let account = AccountId(random::bytes(&mut random));
    let wrapped = Bytes(random::bytes::<WRAPPED_LEN>(&mut random).to_vec());
    let seen = Head { size: 100_000, root: random::bytes(&mut random) };
    Member::invented(Newcomer::generate(), account, wrapped, seen)
}
