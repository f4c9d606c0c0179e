//! What a device keeps, as one versioned message: whom it believes, what it has seen, its half of the keys, the synced
//! rows, and the seed of a flow that has not ended.
//!
//! Whoever stores it stores secrets: the file is for its owner's eyes alone. There is no PIN, no password and nothing
//! in it by which either could be tried.

mod kept;
mod seed;

use crate::evidence::{Trust, VerifiedEvidence};
use crate::flow::FlowError;
use crate::proof::Fraud;
pub use kept::Kept;
use keyferry_crypto::hash::labelled_hash;
use keyferry_crypto::hpke::BoxKey;
use keyferry_crypto::label::Label;
use keyferry_crypto::random::Random;
use keyferry_crypto::seal;
use keyferry_crypto::tree::AuditKey;
use keyferry_wire::cbor::{Bytes, Limits};
use keyferry_wire::command::{Account, DeviceInfo, DeviceState, Member, MemberSecrets, Metadata, Storage};
use keyferry_wire::frame::AccountHead;
use keyferry_wire::publish::PasskeyRow;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, ShardId, Wire, message, number};
pub(crate) use seed::FlowSeed;
use std::collections::BTreeSet;
use zeroize::Zeroizing;

/// Version of this format.
const VERSION: u16 = 1;

message! {
    /// Everything that a device persists for one account.
    #[derive(Debug)]
    pub struct Home {
        1 => pub version: u16,
        2 => pub server: String,
        /// The account's local name.
        3 => pub name: String,
        4 => pub keys: DeviceKeys,
        5 => pub trust: Trust,
        /// Set at first sight, never changed.
        6 => pub account: Option<AccountId>,
        7 => pub membership: Option<Membership>,
        8 => pub pin: Option<PinKnown>,
        /// The newest state of the account that an enclave or a proof has shown.
        9 => pub head: Option<AccountHead>,
        10 => pub vault: Vault,
        11 => pub devices: Vec<DeviceInfo>,
        12 => pub pending: Option<Pending>,
        /// What the gateway was caught at, in a sentence: told again until it shows what this device has seen.
        13 => pub alarm: Option<String>,
    }
}

message! {
    /// The device's own keys: public halves of what its keystore holds, and the key to which secrets are sealed.
    #[derive(Debug)]
    pub struct DeviceKeys {
        1 => pub hw: [u8; 65],
        2 => pub uv: Option<Bytes>,
        /// X25519, private.
        3 => pub sealing: Kept<32>,
        4 => pub storage: Storage,
    }
}

message! {
    /// What makes this device a member.
    #[derive(Debug)]
    pub struct Membership {
        1 => pub shard: ShardId,
        /// Where the account stands in the authenticated map.
        2 => pub map_key: Hash,
        3 => pub epoch: u32,
        4 => pub wrapped: Bytes,
        5 => pub member_key: Bytes,
        6 => pub audit_key: Kept<32>,
        7 => pub metadata_key: Kept<32>,
        8 => pub access: Kept<32>,
    }
}

message! {
    /// What this member knows of a PIN generation; an enclave that shows another key or commitment for it is false.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct PinKnown {
        1 => pub generation: u32,
        2 => pub public: [u8; 32],
        3 => pub commitment: [u8; 32],
    }
}

message! {
    /// The vault as of the last sync that was verified.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Vault {
        /// Tombstones included, in order of `vault_seq`.
        1 => pub rows: Vec<PasskeyRow>,
        2 => pub cursor: u64,
    }
}

number! {
    /// Which flow has not ended.
    pub enum PendingFlow {
        1 => Enrol,
        2 => Join,
        3 => PinChange,
    }
}

message! {
    /// A flow that was begun. Everything random in it follows from the seed, so after a crash it says the same bytes
    /// under the same request and attempt ids. Neither PIN nor anything blinded is kept: the user types it again.
    #[derive(Debug)]
    pub struct Pending {
        1 => pub flow: PendingFlow,
        2 => pub seed: Kept<32>,
        /// Whether the request that changes the account has been handed out.
        3 => pub committed: bool,
    }
}

/// A passkey as its owner sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passkey {
    pub id: CredentialId,
    pub version: u64,
    pub vault_seq: u64,
    pub deleted: bool,
    pub metadata: Metadata,
}

impl Home {
    /// The home of a device that knows nothing yet but its server, its account's name and its own keys.
    pub fn new(
        server: &str,
        name: &str,
        hw: [u8; 65],
        uv: Option<[u8; 65]>,
        random: &mut dyn Random,
    ) -> Home {
        Home {
            version: VERSION,
            server: server.to_owned(),
            name: name.to_owned(),
            keys: DeviceKeys {
                hw,
                uv: uv.map(|key| Bytes(key.to_vec())),
                sealing: Kept::random(random),
                storage: Storage::Software,
            },
            trust: Trust::default(),
            account: None,
            membership: None,
            pin: None,
            head: None,
            vault: Vault::default(),
            devices: Vec::new(),
            pending: None,
            alarm: None,
        }
    }

    /// Reads a stored home.
    pub fn load(bytes: &[u8]) -> Result<Home, FlowError> {
        let home = Home::from_bytes_within(bytes, Limits::DOOR)
            .map_err(|error| FlowError::fault(format!("the home's state cannot be read: {error}")))?;
        match home.version {
            VERSION => Ok(home),
            other => Err(FlowError::fault(format!(
                "the home has version {other}, which this program does not know"
            ))),
        }
    }

    /// The bytes to store.
    pub fn save(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.to_bytes())
    }

    pub fn device_id(&self) -> DeviceId {
        let hash = labelled_hash(Label::DeviceId, &[&self.keys.hw]);
        let half = hash.first_chunk::<16>().expect("a SHA-256 hash has 32 bytes");
        DeviceId(*half)
    }

    /// Takes over what appraised evidence says of the deployment and its age.
    pub fn believe(&mut self, evidence: &VerifiedEvidence) {
        self.trust.believe(evidence);
    }

    /// Pins the account and its log when an enclave first names them, and refuses others afterwards.
    pub fn meet(&mut self, account: &Account) -> Result<(), Fraud> {
        self.trust.pin_log(account)?;
        let pinned = *self.account.get_or_insert(account.account);
        if pinned == account.account { Ok(()) } else { Err(Fraud::OtherAccount) }
    }

    /// The deployment's name, which salts the password.
    pub(crate) fn aud(&self) -> Result<&str, FlowError> {
        let unseen = || FlowError::fault("no evidence was appraised yet");
        self.trust.aud.as_deref().ok_or_else(unseen)
    }

    pub fn account(&self) -> Result<AccountId, FlowError> {
        self.account.ok_or_else(not_a_member)
    }

    pub fn membership(&self) -> Result<&Membership, FlowError> {
        self.membership.as_ref().ok_or_else(not_a_member)
    }

    /// K_audit of the newest epoch.
    pub fn audit_key(&self) -> Result<AuditKey, FlowError> {
        let key = &self.membership()?.audit_key;
        Ok(AuditKey::make(|cell| *cell = *key.expose()))
    }

    /// Takes over what the enclave gave a new member. The box opens only for this device and account.
    pub(crate) fn admit(&mut self, member: &Member) -> Result<(), FlowError> {
        let account = self.account()?;
        if member.device != self.device_id() || member.account.account != account {
            return Err(FlowError::evidence("the enclave admitted another device or account than asked"));
        }
        let aad: &[&[u8]] = &[&account.0, &member.device.0];
        let secrets = BoxKey::from_bytes(self.keys.sealing.expose())
            .open(Label::DeviceBox, aad, &member.secrets)
            .ok()
            .and_then(|bytes| MemberSecrets::from_bytes(bytes.expose()).ok())
            .ok_or_else(|| FlowError::evidence("the member's secrets are not sealed to this device"))?;
        self.list(&member.members)?;
        self.membership = Some(Membership::new(member, secrets));
        Ok(())
    }

    /// Takes over the account's list of devices. Whether the ledger admitted the others, an audit shows.
    pub(crate) fn list(&mut self, devices: &[DeviceInfo]) -> Result<(), FlowError> {
        let this = self.device_id();
        if !devices.iter().any(|info| info.device == this && info.state == DeviceState::Member) {
            return Err(FlowError::evidence("the account's list of devices does not name this device"));
        }
        let ids: BTreeSet<_> = devices.iter().map(|info| info.device).collect();
        let indexes: BTreeSet<_> = devices.iter().map(|info| info.index).collect();
        if ids.len() < devices.len() || indexes.len() < devices.len() {
            return Err(FlowError::evidence("the account's list of devices names a device twice"));
        }
        self.devices = devices.to_vec();
        Ok(())
    }

    /// Remembers the largest account state; a smaller one afterwards is yesterday's.
    pub(crate) fn advance(&mut self, new: AccountHead) -> Result<(), Refusal> {
        if let Some(old) = &self.head {
            let back = new.seq < old.seq || new.vault_seq < old.vault_seq;
            if back {
                let sentence = format!(
                    "the account's state is older than what this device has seen: it was rolled back \
                     (seen: {}; shown: {})",
                    place(old),
                    place(&new)
                );
                return Err(self.alarmed(Refusal::new(Code::Stale, sentence)));
            }
            let forked = (new.seq == old.seq && new.head != old.head)
                || (new.vault_seq == old.vault_seq && new.vault_root != old.vault_root);
            if forked {
                return Err(Refusal::new(
                    Code::Evidence,
                    "the account has two different histories: somebody shows this device another one",
                ));
            }
        }
        self.head = Some(new);
        Ok(())
    }

    /// Remembers that a gateway withholds or rolls back.
    pub(crate) fn alarmed(&mut self, refusal: Refusal) -> Refusal {
        if refusal.code == Code::Stale {
            self.alarm = Some(refusal.message.clone());
        }
        refusal
    }

    /// The same for whatever reading the gateway's data ended in.
    pub(crate) fn noted(&mut self, error: FlowError) -> FlowError {
        match error {
            FlowError::Refused(refusal) => self.alarmed(refusal).into(),
            fault @ FlowError::Fault(_) => fault,
        }
    }

    /// The passkeys that can be used, most recent first.
    pub fn passkeys(&self) -> Result<Vec<Passkey>, FlowError> {
        let mut passkeys = self.passkeys_ever()?;
        passkeys.retain(|passkey| !passkey.deleted);
        passkeys.sort_by_key(|passkey| std::cmp::Reverse((passkey.metadata.created_ms, passkey.vault_seq)));
        Ok(passkeys)
    }

    /// All passkeys, deleted ones included, in order of their last change.
    pub fn passkeys_ever(&self) -> Result<Vec<Passkey>, FlowError> {
        self.vault.rows.iter().map(|row| self.passkey(row)).collect()
    }

    pub(crate) fn row(&self, id: &CredentialId) -> Option<&PasskeyRow> {
        self.vault.rows.iter().find(|row| row.id == *id)
    }

    /// Opens a row's metadata: bound to account, id and epoch, so that no row passes for another.
    pub fn passkey(&self, row: &PasskeyRow) -> Result<Passkey, FlowError> {
        let account = self.account()?;
        let key = &self.membership()?.metadata_key;
        let aad: &[&[u8]] = &[&account.0, &row.id.0, &row.epoch.to_be_bytes()];
        let metadata = seal::open_padded(key.expose(), Label::MetadataRow, aad, &row.metadata)
            .ok()
            .and_then(|bytes| Metadata::from_bytes(bytes.expose()).ok())
            .ok_or_else(|| {
                FlowError::evidence("the description of a passkey does not open: it was altered")
            })?;
        Ok(Passkey {
            id: row.id,
            version: row.version,
            vault_seq: row.vault_seq,
            deleted: row.deleted,
            metadata,
        })
    }

    /// The seed of a flow: the one that was begun and not ended, else a fresh one.
    pub(crate) fn begin(&mut self, flow: PendingFlow, random: &mut dyn Random) -> FlowSeed {
        let begun = self.pending.take().filter(|pending| pending.flow == flow);
        let pending = begun.unwrap_or_else(|| Pending { flow, seed: Kept::random(random), committed: false });
        let seed = FlowSeed::new(pending.seed.expose());
        self.pending = Some(pending);
        seed
    }

    /// Notes, before it is sent, that a request goes out after which the account may have changed.
    pub(crate) fn commit_pending(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.committed = true;
        }
    }

    pub(crate) fn is_committed(&self) -> bool {
        self.pending.as_ref().is_some_and(|pending| pending.committed)
    }
}

impl Membership {
    fn new(member: &Member, secrets: MemberSecrets) -> Membership {
        Membership {
            shard: member.account.shard,
            map_key: member.map_key,
            epoch: secrets.epoch,
            wrapped: secrets.wrapped,
            member_key: secrets.member_key,
            audit_key: Kept::new(secrets.audit_key),
            metadata_key: Kept::new(secrets.metadata_key),
            access: Kept::new(secrets.access),
        }
    }
}

impl DeviceKeys {
    /// Public half of the key to which the enclave seals.
    pub fn sealing_public(&self) -> [u8; 32] {
        BoxKey::from_bytes(self.sealing.expose()).public()
    }
}

/// Where an account stands, for a sentence.
fn place(head: &AccountHead) -> String {
    format!("entry {}, change {} of the vault", head.seq, head.vault_seq)
}

fn not_a_member() -> FlowError {
    FlowError::Refused(Refusal::new(
        Code::UnknownDevice,
        "this home is not a member of an account: run `keyferry device enrol` or `keyferry device join` first",
    ))
}
