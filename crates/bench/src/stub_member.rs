//! What stands for a member at the stub, which keeps no accounts: fields of the right size.

use crate::member::{Member, Newcomer, identity};
use keyferry_crypto::random;
use keyferry_enclave::HardwareRandom;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::frame::Head;
use keyferry_wire::{AccountId, CredentialId};

pub(crate) const CREDENTIAL: CredentialId = CredentialId([7; 16]);
/// A security domain secret as the engine wraps it.
const WRAPPED_LEN: usize = 32 + keyferry_crypto::seal::OVERHEAD;

pub(crate) fn make(number: usize) -> Member {
    let mut random = HardwareRandom::default();
    let newcomer = Newcomer::generate();
    Member {
        identity: identity(number),
        account: AccountId(random::bytes(&mut random)),
        device: newcomer.device(),
        signer: newcomer.signer,
        wrapped: Bytes(random::bytes::<WRAPPED_LEN>(&mut random).to_vec()),
        passkeys: Vec::new(),
        seen: Some(Head { size: 100_000, root: random::bytes(&mut random) }),
    }
}
