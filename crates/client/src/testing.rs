//! What the tests of this crate share: a seeded source, evidence made by hand, an account with its log, vault and
//! history, and an enclave's part of the PIN.

use crate::evidence::{Trust, VerifiedEvidence, appraise};
use crate::home::{Home, Kept, Membership};
use keyferry_crypto::channel::ChannelKey;
use keyferry_crypto::hash::{hmac, sha256};
use keyferry_crypto::label::Label;
use keyferry_crypto::random::Random;
use keyferry_crypto::seal;
use keyferry_crypto::sign::{Ed25519Seed, LogKey, SigningKey};
use keyferry_crypto::tree::AuditKey;
use keyferry_tlog::state::{self, AccountFields, NO_HEAD};
use keyferry_tlog::{
    Checkpoint, KeyAlg, Map, Nodes, VerifierKey, consistency_proof, inclusion_proof, leaf_hash, node_hash,
    root_at,
};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Account, DeviceInfo, DeviceState, Metadata, Storage};
use keyferry_wire::evidence::{Evidence, SimReport};
use keyferry_wire::ledger::{Class, Event, Kind, Leaf, Outcome};
use keyferry_wire::publish::{AccountProof, AuditEntry, AuditPage, PasskeyRow, SyncPage};
use keyferry_wire::{AccountId, CredentialId, Hash, ShardId, Wire};
use std::collections::BTreeMap;
use std::convert::Infallible;

pub(crate) const AUD: &str = "ferry.test";
pub(crate) const ORIGIN: &str = "ferry.test/0";
pub(crate) const ACCOUNT: AccountId = AccountId([0xac; 32]);
const MAP_KEY: Hash = [0x3a; 32];
const METADATA_KEY: [u8; 32] = [0x5e; 32];
const AUDIT_KEY: [u8; 32] = [0xad; 32];

pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
}

/// HMAC of seed and counter.
pub(crate) struct Seeded(pub(crate) u64, u64);

impl Seeded {
    pub(crate) fn new(seed: u64) -> Seeded {
        Seeded(seed, 0)
    }
}

impl Random for Seeded {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block = hmac(&self.0.to_be_bytes(), Label::Op, &[&self.1.to_be_bytes()]);
            chunk.copy_from_slice(&block[..chunk.len()]);
            self.1 += 1;
        }
    }
}

/// Evidence of kind `sim`, with a hook to spoil its JSON.
pub(crate) fn evidence(channel: &ChannelKey, change: impl FnOnce(&mut serde_json::Value)) -> Evidence {
    let jwk = |kid: &str, key: [u8; 65]| {
        serde_json::json!({"kid": kid, "kty": "EC", "crv": "P-256",
            "x": crate::base64url::encode(&key[1..33]), "y": crate::base64url::encode(&key[33..])})
    };
    let b64 = crate::base64url::encode;
    let mut json = serde_json::json!({
        "v": 1, "nonce": b64(&[7; 32]), "aud": AUD, "instance": b64(&[1; 8]),
        "keys": [jwk("chan", channel.public()), jwk("sig", SigningKey::generate(&mut Seeded::new(77)).public()),
            {"kid": "hpke", "kty": "OKP", "crv": "X25519", "x": b64(&[9; 32])}],
        "build": "keyferry test", "manifest": "", "anchor_level": 0, "custody_level": 0,
        "ledger": {"origin": ORIGIN, "size": 3, "root": b64(&[2; 32])}, "future": true,
    });
    change(&mut json);
    sim(json.to_string().into_bytes(), |_| ())
}

pub(crate) fn sim(runtime_data: Vec<u8>, change: impl FnOnce(&mut SimReport)) -> Evidence {
    let bound = [sha256(&[&runtime_data]), [0; 32]].concat().try_into().unwrap();
    let mut report = SimReport { measurement: [4; 32], debug: false, report_data: bound };
    change(&mut report);
    Evidence {
        version: 1,
        kind: "sim".to_owned(),
        report: Bytes(report.to_bytes()),
        endorsements: Vec::new(),
        init_data: Bytes::default(),
        runtime_data: Bytes(runtime_data),
    }
}

pub(crate) fn trusting_sim() -> Trust {
    Trust { stand_ins: vec!["sim".to_owned()], ..Trust::default() }
}

pub(crate) fn verified(channel: &ChannelKey) -> VerifiedEvidence {
    appraise(&evidence(channel, |_| ()), &trusting_sim(), 0).unwrap()
}

/// The home of a device that knows its account and log.
pub(crate) fn home(log: &Ledger) -> Home {
    let mut random = Seeded::new(5);
    let hw = SigningKey::generate(&mut random).public();
    let mut home = Home::new("https://ferry.test", "ada", hw, None, &mut random);
    home.trust = trusting_sim();
    home.trust.aud = Some(AUD.to_owned());
    home.meet(&log.account(1)).unwrap();
    home
}

/// The same, as a member.
pub(crate) fn member(log: &Ledger) -> Home {
    let mut home = home(log);
    home.membership = Some(Membership {
        shard: ShardId(0),
        map_key: MAP_KEY,
        epoch: 1,
        wrapped: Bytes(vec![1; 48]),
        member_key: Bytes(vec![2; 48]),
        audit_key: Kept::new(AUDIT_KEY),
        metadata_key: Kept::new(METADATA_KEY),
        access: Kept::new([6; 32]),
    });
    home.devices = vec![device_info(home.device_id(), 0, "laptop")];
    home
}

pub(crate) fn device_info(device: keyferry_wire::DeviceId, index: u16, label: &str) -> DeviceInfo {
    DeviceInfo {
        device,
        index,
        label: label.to_owned(),
        storage: Storage::Software,
        uv: false,
        state: DeviceState::Member,
        created_ms: 1,
    }
}

/// A log with one account in it, made by hand.
#[derive(Clone)]
pub(crate) struct Ledger {
    key_seed: [u8; 32],
    leaves: Vec<Vec<u8>>,
    places: Vec<u64>,
    head: Hash,
    pub(crate) rows: BTreeMap<CredentialId, PasskeyRow>,
    vault_seq: u64,
}

struct Tree<'a>(&'a [Vec<u8>]);

impl Nodes for Tree<'_> {
    type Error = Infallible;

    fn node(&self, level: u32, index: u64) -> Result<Hash, Infallible> {
        if level == 0 {
            return Ok(leaf_hash(&self.0[usize::try_from(index).unwrap()]));
        }
        Ok(node_hash(&self.node(level - 1, 2 * index)?, &self.node(level - 1, 2 * index + 1)?))
    }
}

impl Ledger {
    /// A log that begins with a SEAL of nothing.
    pub(crate) fn new() -> Ledger {
        let mut ledger = Ledger {
            key_seed: [0x10; 32],
            leaves: Vec::new(),
            places: Vec::new(),
            head: NO_HEAD,
            rows: BTreeMap::new(),
            vault_seq: 0,
        };
        ledger.seal();
        ledger
    }

    pub(crate) fn with_other_key(mut self) -> Ledger {
        self.key_seed = [0x11; 32];
        self
    }

    fn key(&self) -> LogKey {
        LogKey::from_seed(&Ed25519Seed::from_bytes(self.key_seed))
    }

    pub(crate) fn account(&self, members: u16) -> Account {
        let key = VerifierKey::new(ORIGIN, KeyAlg::Ed25519, self.key().public()).unwrap();
        Account {
            account: ACCOUNT,
            shard: ShardId(0),
            origin: ORIGIN.to_owned(),
            log_key: key.to_string(),
            members,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        u64::try_from(self.leaves.len()).unwrap()
    }

    pub(crate) fn event(&mut self, kind: Kind, credential: Option<CredentialId>) {
        let seq = u64::try_from(self.places.len()).unwrap() + 1;
        let mut event = Event {
            kind,
            outcome: Outcome::Done,
            seq,
            time_ms: 1000 * seq + 5,
            device: 0,
            operation: [1; 16],
            credential: [0; 16],
            generation: 0,
            left: 0,
            detail: [0; 32],
            verified: false,
        };
        if let Some(id) = credential {
            event.credential.copy_from_slice(&sha256(&[&id.0])[..16]);
        }
        self.append_event(&event);
    }

    pub(crate) fn append_event(&mut self, event: &Event) {
        let audit = AuditKey::from_bytes(AUDIT_KEY);
        let salt = [0x5a; 16];
        let keys = audit.leaf_keys(event.seq, &salt);
        let plain = event.to_bytes();
        let leaf = Leaf {
            class: Class::Event,
            batch: 1,
            time_secs: event.time_ms / 1000,
            tag: audit.tag(event.seq),
            salt,
            commitment: keys.commitment(&[&plain]),
            sealed: keys.seal_event(&[], &plain).try_into().unwrap(),
        };
        self.append_own(leaf.to_bytes().to_vec());
    }

    pub(crate) fn append_own(&mut self, leaf: Vec<u8>) {
        self.head = state::account_head(&self.head, &leaf_hash(&leaf));
        self.places.push(self.size());
        self.leaves.push(leaf);
    }

    /// Makes or changes a passkey, with its event.
    pub(crate) fn put(&mut self, id: u8, rp_id: &str, deleted: bool) -> CredentialId {
        let id = CredentialId([id; 16]);
        self.vault_seq += 1;
        let metadata = Metadata {
            rp_id: rp_id.to_owned(),
            user_id: Bytes(vec![1]),
            user_name: format!("user {}", self.vault_seq),
            display_name: String::new(),
            alg: -7,
            created_ms: self.vault_seq,
            cred_protect: None,
        };
        let aad: &[&[u8]] = &[&ACCOUNT.0, &id.0, &1u32.to_be_bytes()];
        let sealed =
            seal::seal_padded(&METADATA_KEY, Label::MetadataRow, aad, &metadata.to_bytes(), [3; 16], 64);
        let version = self.rows.get(&id).map_or(1, |row| row.version + 1);
        let row = PasskeyRow {
            id,
            version,
            vault_seq: self.vault_seq,
            deleted,
            epoch: 1,
            blob: Bytes(vec![0xb1; 100]),
            metadata: Bytes(sealed),
            large_blob: None,
        };
        self.rows.insert(id, row);
        self.event(if deleted { Kind::DeletePasskey } else { Kind::CreatePasskey }, Some(id));
        id
    }

    /// Ends a batch.
    pub(crate) fn seal(&mut self) {
        let mut map = self.map();
        let leaf = Leaf {
            class: Class::Seal,
            batch: self.size(),
            time_secs: 1,
            tag: map.root(),
            salt: [0; 16],
            commitment: [0; 32],
            sealed: [0; 126],
        };
        self.leaves.push(leaf.to_bytes().to_vec());
    }

    fn map(&self) -> Map {
        let mut map = Map::new();
        map.set([0x77; 32], [1; 32]).unwrap();
        if !self.places.is_empty() {
            map.set(MAP_KEY, state::map_value(&self.fields())).unwrap();
        }
        map.root();
        map
    }

    fn fields(&self) -> AccountFields {
        let mut vault = Map::new();
        for row in self.rows.values() {
            vault.set(state::vault_key(&row.id), state::vault_value(row)).unwrap();
        }
        AccountFields {
            row: [0x70; 32],
            seq: u64::try_from(self.places.len()).unwrap(),
            head: self.head,
            vault_seq: self.vault_seq,
            vault_root: vault.root(),
        }
    }

    pub(crate) fn checkpoint(&self) -> String {
        let root = root_at(&Tree(&self.leaves), self.size()).unwrap();
        let key = self.key();
        Checkpoint::new(ORIGIN, self.size(), root).sign(&key.public(), |message| key.sign(message))
    }

    pub(crate) fn consistency(&self, home: &Home) -> Vec<Hash> {
        match home.trust.seen {
            Some(seen) if seen.size < self.size() => {
                consistency_proof(&Tree(&self.leaves), seen.size, self.size()).unwrap()
            }
            _ => Vec::new(),
        }
    }

    pub(crate) fn inclusion(&self, index: u64) -> Vec<Hash> {
        inclusion_proof(&Tree(&self.leaves), index, self.size()).unwrap()
    }

    pub(crate) fn proof(&self, home: &Home) -> AccountProof {
        let fields = self.fields();
        AccountProof {
            map_key: MAP_KEY,
            row: fields.row,
            seq: fields.seq,
            head: fields.head,
            vault_seq: fields.vault_seq,
            vault_root: fields.vault_root,
            proof: self.map().prove(&MAP_KEY).unwrap(),
            seal: Bytes(self.leaves.last().unwrap().clone()),
            inclusion: self.inclusion(self.size() - 1),
            checkpoint: self.checkpoint(),
            consistency: self.consistency(home),
        }
    }

    pub(crate) fn audit_page(&self, home: &Home, first: u64, limit: usize) -> AuditPage {
        let skip = usize::try_from(first - 1).unwrap();
        let places: Vec<u64> = self.places.iter().copied().skip(skip).take(limit).collect();
        let entry = |index: &u64| AuditEntry {
            index: *index,
            leaf: Bytes(self.leaves[usize::try_from(*index).unwrap()].clone()),
            inclusion: self.inclusion(*index),
        };
        AuditPage {
            account: self.proof(home),
            first,
            more: skip + places.len() < self.places.len(),
            entries: places.iter().map(entry).collect(),
        }
    }

    pub(crate) fn sync_page(&self, home: &Home, cursor: u64, limit: usize) -> SyncPage {
        let mut rows: Vec<_> = self.rows.values().filter(|row| row.vault_seq > cursor).cloned().collect();
        rows.sort_by_key(|row| row.vault_seq);
        let more = rows.len() > limit;
        rows.truncate(limit);
        let changed = cursor != self.vault_seq;
        SyncPage {
            cursor: if more { rows.last().unwrap().vault_seq } else { self.vault_seq },
            rows,
            more,
            account: (!more && changed).then(|| self.proof(home)),
        }
    }
}
