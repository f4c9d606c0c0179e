//! Ids, limits and messages of Keyferry, and the one codec that turns them into bytes: deterministic CBOR
//! (RFC 8949 section 4.2). Every other crate speaks in these types; none encodes bytes by itself.
//!
//! Absent here on purpose: cryptography, clocks, files, sockets, any decision.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::unwrap_used, clippy::panic)
)]

pub mod cbor;
pub mod command;
pub mod door;
pub mod evidence;
pub mod frame;
mod id;
pub mod ledger;
pub mod limits;
mod message;
pub mod publish;
pub mod refusal;
pub mod relying_party;

pub use cbor::{DecodeError, Reader, Wire, Writer};
pub use id::{AccountId, AttemptId, CredentialId, DeviceId, Hash, InstanceId, RequestId, SessionId, ShardId};
