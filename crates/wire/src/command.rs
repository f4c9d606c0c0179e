//! Commands to the enclave and its answers. The same words are used by handlers, ledger events and metrics.

use crate::cbor::Bytes;
use crate::refusal::Refusal;
use crate::{AccountId, AttemptId, CredentialId, DeviceId, Hash, ShardId, choice, message, number};
use zeroize::Zeroize;

choice! {
    /// What a client asks for.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Command {
        1 => Authenticate(Authenticate),
        2 => CreateAccount(Authenticate),
        3 => Enrol(Registration),
        4 => Join(Registration),
        5 => PinStatus,
        6 => Begin(Begin),
        7 => Finish(Finish),
        8 => Prepare(Prepare),
        9 => Expose(Expose),
        10 => ListDevices,
        11 => RenameDevice(RenameDevice),
        12 => CreatePasskey(CreatePasskey),
        13 => Assert(Assert),
        14 => RenamePasskey(RenamePasskey),
        15 => DeletePasskey(DeletePasskey),
    }
}

choice! {
    /// What the enclave says to one command.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum Answer {
        1 => Refused(Refusal),
        2 => Account(Account),
        3 => Member(Member),
        4 => PinStatus(PinStatus),
        5 => Evaluated(Evaluated),
        6 => PinRight,
        7 => Prepared(Evaluated),
        8 => Exposed,
        9 => Devices(Devices),
        10 => Renamed,
        11 => Created(Created),
        12 => Asserted(Asserted),
        13 => Edited(Edited),
    }
}

number! {
    /// Who vouches for an identity.
    pub enum IdentityKind {
        /// A name and a password of this deployment.
        1 => Local,
    }
}

message! {
    /// Proves an account within this request. For a local identity `proof` is the client's Argon2id output.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Authenticate {
        1 => pub kind: IdentityKind,
        2 => pub name: String,
        3 => pub proof: [u8; 32],
    }
}

message! {
    /// The account, and the log in which its entries stand.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Account {
        1 => pub account: AccountId,
        2 => pub shard: ShardId,
        3 => pub origin: String,
        /// The log's key as a C2SP verifier key.
        4 => pub log_key: String,
        5 => pub members: u16,
    }
}

message! {
    /// Keys of a device. The request that brings it is signed by `hw`, and by `uv` when there is one: proof of possession.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Registration {
        1 => pub hw: Bytes,
        2 => pub uv: Option<Bytes>,
        /// X25519: what only this device may read is sealed to it.
        3 => pub sealing: [u8; 32],
        4 => pub label: String,
        5 => pub storage: Storage,
    }
}

number! {
    /// Where a device says that its keys are; without key attestation a statement, no proof.
    pub enum Storage {
        1 => Software,
        2 => Tpm,
    }
}

impl Storage {
    /// The word that outputs show.
    pub fn as_str(self) -> &'static str {
        match self {
            Storage::Software => "software",
            Storage::Tpm => "tpm",
        }
    }
}

message! {
    /// The device is a member. `secrets` is a `MemberSecrets` sealed to the device.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Member {
        1 => pub account: Account,
        2 => pub device: DeviceId,
        3 => pub secrets: Bytes,
        4 => pub members: Vec<DeviceInfo>,
        5 => pub map_key: Hash,
    }
}

message! {
    /// What a member keeps: its half of the security domain secret and the keys by which it reads.
    #[derive(Clone, PartialEq, Eq)]
    pub struct MemberSecrets {
        1 => pub epoch: u32,
        /// SDS[v] under K_dw.
        2 => pub wrapped: Bytes,
        /// M_priv under K_dw.
        3 => pub member_key: Bytes,
        4 => pub audit_key: [u8; 32],
        5 => pub metadata_key: [u8; 32],
        /// Shown to the gateway, which knows its hash: admits to this account's rows, which are ciphertext.
        6 => pub access: [u8; 32],
    }
}

number! {
    /// Where a device stands in its account.
    pub enum DeviceState {
        1 => Member,
        2 => Revoked,
    }
}

impl DeviceState {
    /// The word that outputs show.
    pub fn as_str(self) -> &'static str {
        match self {
            DeviceState::Member => "member",
            DeviceState::Revoked => "revoked",
        }
    }
}

message! {
    /// A device as its account sees it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DeviceInfo {
        1 => pub device: DeviceId,
        /// Short number by which ledger events name the device.
        2 => pub index: u16,
        3 => pub label: String,
        4 => pub storage: Storage,
        5 => pub uv: bool,
        6 => pub state: DeviceState,
        7 => pub created_ms: u64,
    }
}

message! {
    /// All devices of the account.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Devices {
        1 => pub devices: Vec<DeviceInfo>,
    }
}

message! {
    /// Gives a device of the account another label.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RenameDevice {
        1 => pub device: DeviceId,
        2 => pub label: String,
    }
}

message! {
    /// Argon2id parameters of one PIN generation; memory in KiB.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct PinParams {
        1 => pub memory_kib: u32,
        2 => pub passes: u32,
        3 => pub lanes: u32,
    }
}

message! {
    /// What one has to know to enter the PIN.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PinStatus {
        /// 0: no PIN was ever set.
        1 => pub generation: u32,
        2 => pub salt: [u8; 16],
        3 => pub params: PinParams,
        4 => pub left: u16,
        5 => pub locked: bool,
    }
}

message! {
    /// Opens a PIN attempt: counted before anything is evaluated.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Begin {
        1 => pub generation: u32,
        2 => pub attempt: AttemptId,
        3 => pub blinded: [u8; 32],
    }
}

message! {
    /// Evaluation of the OPRF with its proof (RFC 9497 VOPRF); `commitment` lets the client know that this enclave
    /// holds the PIN that was set, before it sends anything derived. Zero in the answer to `Prepare`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Evaluated {
        1 => pub generation: u32,
        2 => pub element: [u8; 32],
        3 => pub proof: [u8; 64],
        4 => pub public: [u8; 32],
        5 => pub commitment: [u8; 32],
        6 => pub left: u16,
    }
}

message! {
    /// Closes the attempt: `client_key` when the commitment matched, else 32 random bytes.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Finish {
        1 => pub attempt: AttemptId,
        2 => pub value: [u8; 32],
    }
}

message! {
    /// Makes the next PIN generation's key and evaluates it once.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Prepare {
        1 => pub salt: [u8; 16],
        2 => pub params: PinParams,
        3 => pub blinded: [u8; 32],
    }
}

message! {
    /// Makes the prepared generation live.
    #[derive(Clone, PartialEq, Eq)]
    pub struct Expose {
        1 => pub generation: u32,
        2 => pub client_key: [u8; 32],
        3 => pub commitment: [u8; 32],
    }
}

macro_rules! opaque_debug {
    ($($name:ident),*) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(stringify!($name))
            }
        }
    )*};
}
opaque_debug!(Authenticate, MemberSecrets, Finish, Expose, PrfOutputs);

number! {
    /// userVerification of the relying party.
    pub enum UserVerification {
        1 => Required,
        2 => Preferred,
        3 => Discouraged,
    }
}

number! {
    /// credProtect (CTAP 2.2, 12.1): what a passkey asks of its user before it is used.
    pub enum CredProtect {
        /// userVerificationOptional.
        1 => Optional,
        /// userVerificationOptionalWithCredentialIDList: verified, or listed by the relying party.
        2 => OptionalWithList,
        /// userVerificationRequired.
        3 => Required,
    }
}

message! {
    /// Inputs of a passkey's PRF as the client hashed them (WebAuthn L3, 10.1.4): salts of CTAP's hmac-secret.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PrfSalts {
        1 => pub first: [u8; 32],
        2 => pub second: Option<[u8; 32]>,
    }
}

message! {
    /// What the PRF gave: secrets of the relying party's page, kept nowhere.
    #[derive(Clone, PartialEq, Eq)]
    pub struct PrfOutputs {
        1 => pub first: [u8; 32],
        2 => pub second: Option<[u8; 32]>,
    }
}

impl std::ops::Drop for PrfOutputs {
    fn drop(&mut self) {
        self.first.zeroize();
        self.second.zeroize();
    }
}

choice! {
    /// largeBlob of an assertion (WebAuthn L3, 10.1.5).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum LargeBlobUse {
        1 => Read,
        2 => Write(LargeBlobWrite),
    }
}

message! {
    /// Puts a blob in the place of the one before; `version` is that of the passkey as the writer has seen it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct LargeBlobWrite {
        1 => pub version: u64,
        2 => pub blob: Bytes,
    }
}

choice! {
    /// What became of it. A passkey without a blob has no answer to `Read`.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub enum LargeBlobAnswer {
        1 => Read(Bytes),
        2 => Written,
    }
}

message! {
    /// Makes a passkey (WebAuthn create).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CreatePasskey {
        1 => pub rp_id: String,
        2 => pub user_id: Bytes,
        3 => pub user_name: String,
        4 => pub display_name: String,
        5 => pub client_data_hash: Hash,
        6 => pub client_data_json: Option<Bytes>,
        /// COSE algorithms in the relying party's order.
        7 => pub algorithms: Vec<i64>,
        8 => pub exclude: Vec<CredentialId>,
        9 => pub user_verification: UserVerification,
        /// Evaluates the new passkey's PRF at once.
        10 => pub prf: Option<PrfSalts>,
        /// Absent: `Optional`, and the authenticator data do not speak of it.
        11 => pub cred_protect: Option<CredProtect>,
    }
}

message! {
    /// A new passkey, as the relying party is told of it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Created {
        1 => pub id: CredentialId,
        2 => pub version: u64,
        3 => pub alg: i64,
        /// COSE_Key.
        4 => pub public_key: Bytes,
        5 => pub authenticator_data: Bytes,
        /// Attestation statement format and statement, ready for the attestation object.
        6 => pub attestation_object: Bytes,
        7 => pub prf: Option<PrfOutputs>,
    }
}

message! {
    /// Signs in with a passkey (WebAuthn get).
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Assert {
        1 => pub id: CredentialId,
        2 => pub rp_id: String,
        3 => pub client_data_hash: Hash,
        4 => pub client_data_json: Option<Bytes>,
        5 => pub user_verification: UserVerification,
        /// Whether the relying party named this credential in its list (credProtect, level 2).
        6 => pub listed: bool,
        7 => pub prf: Option<PrfSalts>,
        8 => pub large_blob: Option<LargeBlobUse>,
    }
}

message! {
    /// An assertion.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Asserted {
        1 => pub id: CredentialId,
        2 => pub authenticator_data: Bytes,
        /// As WebAuthn wants it: ASN.1 DER for ECDSA, plain for EdDSA and RSA.
        3 => pub signature: Bytes,
        4 => pub user_id: Bytes,
        5 => pub prf: Option<PrfOutputs>,
        6 => pub large_blob: Option<LargeBlobAnswer>,
    }
}

message! {
    /// Changes the names shown to the user; `version` is the one that the editor has seen.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct RenamePasskey {
        1 => pub id: CredentialId,
        2 => pub version: u64,
        3 => pub user_name: String,
        4 => pub display_name: String,
    }
}

message! {
    /// Deletes a passkey; `version` is the one that the editor has seen.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DeletePasskey {
        1 => pub id: CredentialId,
        2 => pub version: u64,
    }
}

message! {
    /// The passkey has this version now.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Edited {
        1 => pub id: CredentialId,
        2 => pub version: u64,
    }
}

message! {
    /// Metadata of a passkey, sealed under K_meta for member devices: enough to list it and to offer it, nothing to use it.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct Metadata {
        1 => pub rp_id: String,
        2 => pub user_id: Bytes,
        3 => pub user_name: String,
        4 => pub display_name: String,
        5 => pub alg: i64,
        6 => pub created_ms: u64,
        /// So that a device does not offer what the enclave would refuse.
        7 => pub cred_protect: Option<CredProtect>,
    }
}
