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
        // First out, then in: a full list has no room for one more.
        let surplus = (self.ops.len() + 1).saturating_sub(limits::OPS_KEPT);
        self.ops.drain(..surplus);
        self.ops.push(op);
    }
}

/// Seals and opens the rows of one account under one root key.
pub(crate) struct RowKey {
    pub(crate) key: AccountKey,
    pub(crate) account: AccountId,
    pub(crate) root: u32,
}

/// Schema of what is sealed from now on. It is part of the associated data, so no row passes for one of another schema.
const SCHEMA: u16 = 1;
/// Schemas that open, today's first. A row of an older one is read as today's record ([`Record::from_schema`]) and is
/// sealed under today's when it is next written. Nobody can bring back an old row by it: the map names each row's hash.
const OPENS: &[u16] = &[SCHEMA];

/// What is sealed in a row.
pub(crate) trait Record: Wire {
    /// Reads the bytes that a schema of [`OPENS`] had for it.
    fn from_schema(schema: u16, plain: &[u8]) -> Result<Self, SealError> {
        match schema {
            SCHEMA => Self::from_bytes(plain).map_err(|_| SealError),
            _ => Err(SealError),
        }
    }
}

impl Record for AccountRecord {}
impl Record for DeviceRecord {}

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

    fn seal(&self, label: Label, part: &[u8], value: &impl Record, random: &mut dyn Random) -> Vec<u8> {
        let plain = SecretVec::new(value.to_bytes());
        let salt = random::bytes(random);
        let aad = [&self.account.0[..], part, &SCHEMA.to_be_bytes(), &self.root.to_be_bytes()];
        seal::seal_padded(self.key.expose(), label, &aad, plain.expose(), salt, ROW_PADDING)
    }

    fn open<T: Record>(&self, label: Label, part: &[u8], row: &[u8]) -> Result<T, SealError> {
        self.open_among(OPENS, label, part, row)
    }

    fn open_among<T: Record>(
        &self,
        schemas: &[u16],
        label: Label,
        part: &[u8],
        row: &[u8],
    ) -> Result<T, SealError> {
        for schema in schemas {
            let aad = [&self.account.0[..], part, &schema.to_be_bytes(), &self.root.to_be_bytes()];
            if let Ok(plain) = seal::open_padded(self.key.expose(), label, &aad, row) {
                return T::from_schema(*schema, plain.expose());
            }
        }
        Err(SealError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_wire::{DecodeError, Reader, Writer};

    struct Ones;

    impl Random for Ones {
        fn fill(&mut self, out: &mut [u8]) {
            out.fill(1);
        }
    }

    /// A record that has two numbers today; schema 0 had one, and the other was its double.
    #[derive(Debug, PartialEq)]
    struct Pair(u64, u64);

    impl Wire for Pair {
        fn encode(&self, w: &mut Writer) {
            vec![self.0, self.1].encode(w);
        }
        fn decode(r: &mut Reader<'_>) -> Result<Self, DecodeError> {
            let numbers = Vec::<u64>::decode(r)?;
            Ok(Pair(numbers[0], numbers[1]))
        }
    }

    impl Record for Pair {
        fn from_schema(schema: u16, plain: &[u8]) -> Result<Self, SealError> {
            match schema {
                SCHEMA => Self::from_bytes(plain).map_err(|_| SealError),
                0 => u64::from_bytes(plain).map(|one| Pair(one, 2 * one)).map_err(|_| SealError),
                _ => Err(SealError),
            }
        }
    }

    fn row_key() -> RowKey {
        RowKey { key: AccountKey::from_slice(&[7; 32]).unwrap(), account: AccountId([1; 32]), root: 1 }
    }

    fn sealed_as(key: &RowKey, schema: u16, value: &impl Wire) -> Vec<u8> {
        let aad = [&key.account.0[..], b"part", &schema.to_be_bytes(), &key.root.to_be_bytes()];
        seal::seal_padded(
            key.key.expose(),
            Label::RecordAccount,
            &aad,
            &value.to_bytes(),
            [3; 16],
            ROW_PADDING,
        )
    }

    #[test]
    fn row_of_an_older_schema_is_read_as_todays_and_sealed_as_todays() {
        let key = row_key();
        let old = sealed_as(&key, 0, &21u64);
        let read: Pair = key.open_among(&[SCHEMA, 0], Label::RecordAccount, b"part", &old).unwrap();
        assert_eq!(read, Pair(21, 42));
        let new = key.seal(Label::RecordAccount, b"part", &read, &mut Ones);
        assert_eq!(key.open::<Pair>(Label::RecordAccount, b"part", &new).unwrap(), read);
    }

    #[test]
    fn row_of_a_schema_that_is_not_listed_does_not_open() {
        let key = row_key();
        let old = sealed_as(&key, 0, &21u64);
        assert!(key.open::<Pair>(Label::RecordAccount, b"part", &old).is_err());
        // Nor does one pass for a schema that it was not sealed under.
        let newer = sealed_as(&key, SCHEMA + 1, &21u64);
        assert!(key.open_among::<Pair>(&[SCHEMA, 0], Label::RecordAccount, b"part", &newer).is_err());
    }
}
