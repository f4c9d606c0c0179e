//! What travels between a client and an enclave, by way of a gateway that sees the outer frames only.

use crate::cbor::Bytes;
use crate::{AccountId, CredentialId, DeviceId, Hash, RequestId, SessionId, message, number};

message! {
    /// Asks for a session: Noise message 1 to the instance whose evidence has this SHA-256.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SessionOpen {
        1 => pub version: u16,
        2 => pub suite: u16,
        3 => pub evidence: Hash,
        4 => pub message: Bytes,
    }
}

message! {
    /// Noise message 2.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct SessionOpened {
        1 => pub version: u16,
        2 => pub session: SessionId,
        3 => pub message: Bytes,
    }
}

message! {
    /// One sealed request. The hints let the gateway attach the rows that the request needs; they carry no
    /// authority, and a wrong hint costs one more turn.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RequestFrame {
        1 => pub version: u16,
        2 => pub suite: u16,
        3 => pub session: SessionId,
        /// Message number in its session, rising.
        4 => pub number: u64,
        5 => pub ciphertext: Bytes,
        6 => pub account: Option<AccountId>,
        7 => pub device: Option<DeviceId>,
        8 => pub passkeys: Vec<CredentialId>,
        /// Size of the last checkpoint that this client has seen: the gateway adds a consistency proof from it.
        9 => pub seen: Option<u64>,
    }
}

message! {
    /// One sealed reply.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ReplyFrame {
        1 => pub version: u16,
        2 => pub session: SessionId,
        3 => pub number: u64,
        4 => pub ciphertext: Bytes,
        /// Consistency from the client's seen size to the checkpoint inside; the gateway's part.
        5 => pub consistency: Vec<Hash>,
    }
}

number! {
    /// What a signature of a request shows.
    pub enum Level {
        /// This device.
        1 => Hw,
        /// This device and its user, just now.
        2 => Uv,
    }
}

message! {
    /// A signature over the session and the request.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Signature {
        1 => pub level: Level,
        /// COSE algorithm; -7, ECDSA with P-256 and SHA-256.
        2 => pub alg: i64,
        3 => pub signature: Bytes,
    }
}

message! {
    /// A tree head that a client has seen.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Head {
        1 => pub size: u64,
        2 => pub root: Hash,
    }
}

message! {
    /// What a client asks, inside the channel. Signed bytes: label of the level, handshake hash, SHA-256 of the
    /// encoding of this request without signatures.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Request {
        1 => pub version: u16,
        2 => pub account: Option<AccountId>,
        3 => pub device: Option<DeviceId>,
        /// Encoded `Vec<Command>`: bytes, so that the operation's hash is over exactly what was sent.
        4 => pub commands: Bytes,
        5 => pub id: RequestId,
        6 => pub seen: Option<Head>,
        /// The `hw` key of a device that is not a member yet (65 bytes, uncompressed).
        7 => pub key: Option<Bytes>,
        /// The device's half: the security domain secret under K_dw.
        8 => pub wrapped: Option<Bytes>,
        9 => pub signatures: Vec<Signature>,
    }
}

message! {
    /// What the enclave knows of the account after the request.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct AccountHead {
        1 => pub seq: u64,
        2 => pub head: Hash,
        3 => pub vault_seq: u64,
        4 => pub vault_root: Hash,
    }
}

message! {
    /// What a client is told, inside the channel.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Reply {
        1 => pub version: u16,
        2 => pub id: RequestId,
        /// One answer per command, up to and including the first refusal.
        3 => pub answers: Vec<crate::command::Answer>,
        4 => pub account: Option<AccountHead>,
        /// The checkpoint (signed note) that covers what this request wrote.
        5 => pub checkpoint: Option<String>,
    }
}

/// Bytes under a request's signature of one level, before hashing by the signature scheme.
pub fn signed_bytes(label: &[u8], handshake: &Hash, request: &Hash) -> Vec<u8> {
    [label, handshake, request].concat()
}
