//! Identifiers: a type for each, so that one can never stand where another belongs.

use crate::cbor::{DecodeError, Reader, Wire, Writer};
use std::fmt;

/// SHA-256.
pub type Hash = [u8; 32];

macro_rules! id {
    ($(#[$meta:meta] $name:ident $len:literal)*) => {$(
        #[$meta]
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub [u8; $len]);

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!(stringify!($name), "("))?;
                for byte in self.0.iter().take(4) {
                    write!(f, "{byte:02x}")?;
                }
                f.write_str("..)")
            }
        }

        impl Wire for $name {
            fn encode(&self, w: &mut Writer) {
                self.0.encode(w);
            }
            fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
                <[u8; $len]>::decode(r).map($name)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = std::array::TryFromSliceError;
            fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
                bytes.try_into().map($name)
            }
        }
    )*};
}

id! {
    /// An account: HMAC of its identity, computed in the enclave only.
    AccountId 32
    /// A device: hash of its `hw` key.
    DeviceId 16
    /// A passkey, as relying parties know it.
    CredentialId 16
    /// Chosen by the client, once per operation; the idempotency key.
    RequestId 16
    /// Chosen by the client, once per PIN entry.
    AttemptId 16
    /// A session, named by the enclave: the first eight bytes name the instance.
    SessionId 16
    /// One life of an enclave.
    InstanceId 8
}

/// A part of a deployment with a log and a writer of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);

impl Wire for ShardId {
    fn encode(&self, w: &mut Writer) {
        self.0.encode(w);
    }
    fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
        u16::decode(r).map(ShardId)
    }
}
