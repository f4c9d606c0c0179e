//! What the enclave keeps of an account: one sealed account row and one sealed row per device. The account row holds
//! the hash of each device row, and the map holds the hash of the account row, so the newest version is the only one
//! that opens a door.
//!
//! The row of a device is apart because it changes with each operation and grows with the number of devices.

use keyferry_crypto::label::Label;
use keyferry_crypto::oprf::{BadElement, OprfKey};
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::seal::{self, SealError};
use keyferry_crypto::secret::SecretVec;
use keyferry_crypto::tree::AccountKey;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{DeviceInfo, DeviceState, PinParams, Storage};
use keyferry_wire::{AccountId, AttemptId, DeviceId, Hash, RequestId, Wire, limits, message, number};
use zeroize::Zeroize;

/// Bytes of a secret inside a row: wiped when dropped, shown by no `Debug`.
pub(crate) struct Held<const N: usize>(pub(crate) [u8; N]);

impl<const N: usize> Drop for Held<N> {
    fn drop(&mut self) {
        self.0.as_mut_slice().zeroize();
    }
}

impl<const N: usize> Held<N> {
    pub(crate) fn random(random: &mut dyn Random) -> Self {
        let mut held = Held([0; N]);
        random.fill(&mut held.0);
        held
    }

    pub(crate) fn copy(&self) -> Self {
        Held(self.0)
    }
}

impl<const N: usize> Wire for Held<N> {
    fn encode(&self, w: &mut keyferry_wire::Writer) {
        w.byte_string(&self.0);
    }
    fn decode(r: &mut keyferry_wire::Reader<'_>) -> Result<Self, keyferry_wire::DecodeError> {
        <[u8; N]>::decode(r).map(Held)
    }
}

number! {
    /// What an assertion needs (policy `assert`).
    pub enum AssertPolicy {
        /// The device alone: development default; UV=0 unless the user was verified.
        1 => Hw,
        /// A `uv` signature of the same request.
        2 => Uv,
    }
}

message! {
    pub(crate) struct AccountRecord {
        /// Key of `password_check`.
        1 => pub(crate) password_key: Held<32>,
        2 => pub(crate) password_check: Hash,
        3 => pub(crate) password_failures: Vec<u64>,
        /// The request that created the account, so that a retry is answered alike.
        4 => pub(crate) created_by: Hash,
        5 => pub(crate) epoch: u32,
        /// Absent until the first device is enrolled.
        6 => pub(crate) sds_hash: Option<Hash>,
        7 => pub(crate) audit_key: Held<32>,
        8 => pub(crate) devices: Vec<DeviceEntry>,
        9 => pub(crate) pin: Option<Pin>,
        10 => pub(crate) prepared: Option<Prepared>,
        /// Of the account, not of a generation: times of wrong tries within the window.
        11 => pub(crate) pin_failures: Vec<u64>,
        /// Times at which a generation went live, within the window.
        12 => pub(crate) pin_changes: Vec<u64>,
        /// Newest generation that was ever prepared.
        13 => pub(crate) generation: u32,
        14 => pub(crate) assert_policy: AssertPolicy,
    }
}

message! {
    #[derive(Clone)]
    pub(crate) struct DeviceEntry {
        1 => pub(crate) device: DeviceId,
        2 => pub(crate) row: Hash,
        3 => pub(crate) state: DeviceState,
    }
}

message! {
    pub(crate) struct Pin {
        1 => pub(crate) generation: u32,
        2 => pub(crate) salt: [u8; 16],
        3 => pub(crate) params: PinParams,
        /// Absent once destroyed: locked.
        4 => pub(crate) keys: Option<PinKeys>,
        5 => pub(crate) tag: [u8; 32],
        6 => pub(crate) commitment: [u8; 32],
        7 => pub(crate) attempts: u16,
        8 => pub(crate) last: Option<Attempt>,
        9 => pub(crate) member: PinMember,
    }
}

message! {
    pub(crate) struct PinKeys {
        1 => pub(crate) oprf: Held<32>,
        2 => pub(crate) share: Held<32>,
        /// The public half of `oprf`, which is not computed anew for each try; absent in rows of the first release.
        3 => pub(crate) public: Option<[u8; 32]>,
    }
}

impl PinKeys {
    pub(crate) fn oprf_key(&self) -> Result<OprfKey, BadElement> {
        match &self.public {
            Some(public) => OprfKey::from_parts(&self.oprf.0, public),
            None => OprfKey::from_bytes(&self.oprf.0),
        }
    }
}

message! {
    /// The member that the PIN opens: its private key under K_pin, and the SDS sealed to its public key.
    pub(crate) struct PinMember {
        1 => pub(crate) wrapped: Bytes,
        2 => pub(crate) sds: Bytes,
    }
}

message! {
    #[derive(Clone)]
    pub(crate) struct Attempt {
        /// SHA-256(label, generation, hw key, attempt id, blinded element).
        1 => pub(crate) h: Hash,
        2 => pub(crate) attempt: AttemptId,
        /// The device that began it.
        3 => pub(crate) device: DeviceId,
        4 => pub(crate) began_ms: u64,
        /// SHA-256 of the value that closed it; absent while open.
        5 => pub(crate) closed_by: Option<Hash>,
    }
}

message! {
    pub(crate) struct Prepared {
        1 => pub(crate) generation: u32,
        2 => pub(crate) salt: [u8; 16],
        3 => pub(crate) params: PinParams,
        4 => pub(crate) oprf: Held<32>,
        5 => pub(crate) device: DeviceId,
        6 => pub(crate) expires_ms: u64,
        /// The user was verified: exposing needs it again.
        7 => pub(crate) verified: bool,
    }
}

message! {
    pub(crate) struct DeviceRecord {
        1 => pub(crate) index: u16,
        2 => pub(crate) hw: Bytes,
        3 => pub(crate) uv: Option<Bytes>,
        /// K_dw.
        4 => pub(crate) wrap_key: Held<32>,
        /// M_pub.
        5 => pub(crate) member: [u8; 32],
        6 => pub(crate) label: String,
        7 => pub(crate) storage: Storage,
        8 => pub(crate) created_ms: u64,
        9 => pub(crate) access: Hash,
        /// Newest last.
        10 => pub(crate) ops: Vec<Op>,
        /// Start of the minute in which `asserted` counts.
        11 => pub(crate) minute_ms: u64,
        12 => pub(crate) asserted: u32,
    }
}

message! {
    /// An operation that was applied: by its request id a retry finds it, by its hash it proves to be the same.
    #[derive(Clone)]
    pub(crate) struct Op {
        1 => pub(crate) id: RequestId,
        2 => pub(crate) hash: [u8; 16],
        /// The encoded answers, padded; absent where answering again is harmless and cheap (assertions).
        3 => pub(crate) answers: Option<Bytes>,
        /// Whether its first request showed UV.
        4 => pub(crate) verified: bool,
    }
}

impl AccountRecord {
    pub(crate) fn entry(&self, device: &DeviceId) -> Option<&DeviceEntry> {
        self.devices.iter().find(|entry| entry.device == *device)
    }

    pub(crate) fn members(&self) -> usize {
        self.devices.iter().filter(|entry| entry.state == DeviceState::Member).count()
    }
}

impl DeviceRecord {
    pub(crate) fn info(&self, device: DeviceId, state: DeviceState) -> DeviceInfo {
        DeviceInfo {
            device,
            index: self.index,
            label: self.label.clone(),
            storage: self.storage,
            uv: self.uv.is_some(),
            state,
            created_ms: self.created_ms,
        }
    }

    pub(crate) fn remember(&mut self, op: Op) {
        self.ops.push(op);
        let surplus = self.ops.len().saturating_sub(limits::OPS_KEPT);
        self.ops.drain(..surplus);
    }
}

/// Seals and opens the rows of one account under one root key.
pub(crate) struct RowKey {
    pub(crate) key: AccountKey,
    pub(crate) account: AccountId,
    pub(crate) root: u32,
}

const SCHEMA: u16 = 1;
/// Row sizes are classes: a right and a wrong PIN write rows of one length.
const ROW_PADDING: usize = 256;

impl RowKey {
    pub(crate) fn seal_account(&self, record: &AccountRecord, seq: u64, random: &mut dyn Random) -> Vec<u8> {
        self.seal(Label::RecordAccount, &seq.to_be_bytes(), record, random)
    }

    pub(crate) fn open_account(&self, row: &[u8], seq: u64) -> Result<AccountRecord, SealError> {
        self.open(Label::RecordAccount, &seq.to_be_bytes(), row)
    }

    pub(crate) fn seal_device(
        &self,
        record: &DeviceRecord,
        device: &DeviceId,
        random: &mut dyn Random,
    ) -> Vec<u8> {
        self.seal(Label::RecordDevice, &device.0, record, random)
    }

    pub(crate) fn open_device(&self, row: &[u8], device: &DeviceId) -> Result<DeviceRecord, SealError> {
        self.open(Label::RecordDevice, &device.0, row)
    }

    fn seal(&self, label: Label, part: &[u8], value: &impl Wire, random: &mut dyn Random) -> Vec<u8> {
        let plain = SecretVec::new(value.to_bytes());
        let salt = random::bytes(random);
        let aad = [&self.account.0[..], part, &SCHEMA.to_be_bytes(), &self.root.to_be_bytes()];
        seal::seal_padded(self.key.expose(), label, &aad, plain.expose(), salt, ROW_PADDING)
    }

    fn open<T: Wire>(&self, label: Label, part: &[u8], row: &[u8]) -> Result<T, SealError> {
        let aad = [&self.account.0[..], part, &SCHEMA.to_be_bytes(), &self.root.to_be_bytes()];
        let plain = seal::open_padded(self.key.expose(), label, &aad, row)?;
        T::from_bytes(plain.expose()).map_err(|_| SealError)
    }
}
