//! The stream between gateway and enclave: one byte stream, frames of a 4-byte big-endian length and a CBOR body.
//! The gateway asks, the enclave answers each frame with one frame; so the gateway alone decides what is in a batch,
//! and can attach rows and proofs that fit the state before it.

use crate::cbor::Bytes;
use crate::evidence::Evidence;
use crate::frame::{ReplyFrame, RequestFrame, SessionOpen, SessionOpened};
use crate::publish::{MapProof, PasskeyRow};
use crate::{AccountId, CredentialId, DeviceId, Hash, ShardId, choice, message};

choice! {
    /// What the gateway asks.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum ToEnclave {
        /// First frame: asks for evidence over the key broker's challenge.
        1 => Hello(Hello),
        /// The root key and the newest durable state.
        2 => Load(Load),
        3 => Turn(Turn),
        /// Asks for fresh evidence.
        4 => Refresh(Refresh),
    }
}

choice! {
    /// What the enclave answers.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum FromEnclave {
        1 => Evidence(Evidence),
        2 => Loaded(Loaded),
        3 => Turned(Turned),
        /// What the gateway handed over does not hold; the enclave stops.
        4 => Fault(String),
    }
}

message! {
    /// The broker's challenge, over which the first evidence is made.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Hello {
        1 => pub version: u16,
        2 => pub challenge: [u8; 32],
        3 => pub now_ms: u64,
    }
}

message! {
    /// A root key, sealed by a broker (or the software token that stands in for one) to the `hpke` key of the
    /// evidence that it appraised, for this challenge alone.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Release {
        /// Number r of the root key.
        1 => pub root: u32,
        2 => pub sealed: Bytes,
        /// 0 software token; 1 PKCS#11; 2 Managed HSM or two brokers; 3 both.
        3 => pub custody_level: u16,
    }
}

message! {
    /// Everything that an enclave starts from.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Load {
        1 => pub now_ms: u64,
        /// Name of the deployment; a shard's log origin is `NAME/SHARD`.
        2 => pub name: String,
        3 => pub shards: u16,
        4 => pub release: Release,
        /// Absent at genesis.
        5 => pub service: Option<ServiceRow>,
        /// One per shard, in order; empty at genesis.
        6 => pub tails: Vec<Tail>,
    }
}

message! {
    /// K_svc under the root key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ServiceRow {
        1 => pub log_id: Hash,
        2 => pub root: u32,
        3 => pub sealed: Bytes,
        /// Signed configuration is bound here: name and shard count never change afterwards.
        4 => pub name: String,
        5 => pub shards: u16,
    }
}

message! {
    /// The end of a shard's log: enough to go on from.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Tail {
        1 => pub shard: ShardId,
        2 => pub checkpoint: String,
        /// Roots of the maximal complete subtrees, largest first.
        3 => pub frontier: Vec<Hash>,
        /// The last leaf, which is a SEAL.
        4 => pub seal: Bytes,
        5 => pub inclusion: Vec<Hash>,
    }
}

message! {
    /// The started instance; nothing is served before its BOOTs are durable.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Loaded {
        1 => pub service: ServiceRow,
        2 => pub evidence: Evidence,
        /// C2SP verifier keys, one per shard.
        3 => pub log_keys: Vec<String>,
        /// BOOT (and at genesis the first leaf) of each shard, to be made durable before anything else.
        4 => pub batches: Vec<Batch>,
        5 => pub instance: crate::InstanceId,
    }
}

message! {
    /// Asks for evidence with a fresh channel key.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Refresh {
        1 => pub now_ms: u64,
    }
}

message! {
    /// Names a batch.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct BatchRef {
        1 => pub shard: ShardId,
        2 => pub number: u64,
    }
}

message! {
    /// One step of the stream: what became durable since the last, and what is new.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Turn {
        1 => pub now_ms: u64,
        2 => pub committed: Vec<BatchRef>,
        3 => pub opens: Vec<Open>,
        4 => pub work: Vec<Work>,
    }
}

message! {
    /// A handshake under the gateway's ticket.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Open {
        1 => pub ticket: u64,
        2 => pub open: SessionOpen,
    }
}

message! {
    /// A request, new (with its frame) or resumed (without) after `Need`, `Busy` or `Later`, and the account it concerns.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Work {
        1 => pub ticket: u64,
        2 => pub frame: Option<RequestFrame>,
        3 => pub view: Option<AccountView>,
    }
}

message! {
    /// An account as the store has it, with proof.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AccountView {
        1 => pub account: AccountId,
        2 => pub shard: ShardId,
        3 => pub map_key: Hash,
        4 => pub proof: MapProof,
        /// Absent when the store has no such account.
        5 => pub state: Option<AccountState>,
        6 => pub devices: Vec<DeviceRow>,
        7 => pub passkeys: Vec<PasskeyView>,
    }
}

message! {
    /// An account's sealed row and the fields that the map value commits to beside it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AccountState {
        1 => pub row: Bytes,
        2 => pub seq: u64,
        3 => pub head: Hash,
        4 => pub vault_seq: u64,
        5 => pub vault_root: Hash,
    }
}

message! {
    /// A device's sealed row.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DeviceRow {
        1 => pub device: DeviceId,
        2 => pub row: Bytes,
    }
}

message! {
    /// A row of the vault, or proof that there is none of this id.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PasskeyView {
        1 => pub id: CredentialId,
        2 => pub proof: MapProof,
        3 => pub row: Option<PasskeyRow>,
        /// The sealed large blob that the row names, if it was asked for.
        4 => pub large_blob: Option<Bytes>,
    }
}

message! {
    /// What a turn led to.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Turned {
        1 => pub out: Vec<Out>,
        2 => pub batches: Vec<Batch>,
    }
}

message! {
    /// An answer under the gateway's ticket.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Out {
        1 => pub ticket: u64,
        2 => pub body: OutBody,
    }
}

choice! {
    /// What became of a ticket.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum OutBody {
        1 => Opened(SessionOpened),
        2 => Reply(Sealed),
        /// Rows that the request needs; it waits under its ticket.
        3 => Need(Need),
        /// The account is in this batch already; hand the ticket in again with the next.
        4 => Busy,
        5 => Dropped(Drop),
        /// An RSA key is being made; hand the ticket in again after a moment.
        6 => Later,
    }
}

message! {
    /// A reply for the client.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Sealed {
        1 => pub reply: ReplyFrame,
        /// Size of the checkpoint inside, so that the gateway can add the consistency proof.
        2 => pub size: Option<u64>,
    }
}

message! {
    /// Rows to attach.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Need {
        1 => pub account: AccountId,
        2 => pub shard: ShardId,
        3 => pub map_key: Hash,
        4 => pub devices: Vec<DeviceId>,
        5 => pub passkeys: Vec<CredentialId>,
        /// Those of them whose large blob is asked for as well.
        6 => pub large_blobs: Vec<CredentialId>,
    }
}

crate::number! {
    /// Why a frame got no reply. The client learns only this word.
    pub enum Drop {
        /// The session is unknown or over: open another.
        1 => Session,
        /// The frame does not decode or decrypt, or was seen before.
        2 => Frame,
        /// Version or suite is not spoken here.
        3 => Version,
        /// This evidence is not (or no longer) this instance's.
        4 => Evidence,
        /// The store's rows do not verify: the operator is alarmed.
        5 => Store,
        /// Too many are waiting.
        6 => Full,
        /// The instance has not started its ledger yet.
        7 => Starting,
    }
}

message! {
    /// Everything that a batch makes durable, in one transaction, if the shard's newest batch is `number - 1`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Batch {
        1 => pub shard: ShardId,
        2 => pub number: u64,
        3 => pub first_leaf: u64,
        /// Leaves of 224 bytes, one after the other; the last is the SEAL.
        4 => pub leaves: Bytes,
        5 => pub checkpoint: String,
        6 => pub accounts: Vec<AccountPut>,
    }
}

message! {
    /// An account's new state with all rows that changed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct AccountPut {
        1 => pub account: AccountId,
        2 => pub map_key: Hash,
        3 => pub state: AccountState,
        4 => pub devices: Vec<DevicePut>,
        5 => pub passkeys: Vec<PasskeyRow>,
        /// Positions of its leaves in the batch, rising.
        6 => pub leaves: Vec<u32>,
        7 => pub large_blobs: Vec<LargeBlobPut>,
    }
}

message! {
    /// A passkey's new large blob, sealed.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LargeBlobPut {
        1 => pub id: CredentialId,
        /// Absent when it went with its passkey.
        2 => pub sealed: Option<Bytes>,
    }
}

message! {
    /// A device's new row.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DevicePut {
        1 => pub device: DeviceId,
        2 => pub row: Bytes,
        /// SHA-256 of the device's access token; absent when it lost access.
        3 => pub access: Option<Hash>,
    }
}
