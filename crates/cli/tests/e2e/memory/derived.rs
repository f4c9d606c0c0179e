//! Everything that an enclave computes while it works, computed once more from the root key, the store, the homes and
//! the PINs, which the test owns. Each value is proved by what it opens.

use super::item::Item;
use crate::harness::{StoredRow, Tables};
use keyferry_client::home::Home;
use keyferry_crypto::hash::{ct_eq, labelled_hash};
use keyferry_crypto::hpke::BoxKey;
use keyferry_crypto::label::Label;
use keyferry_crypto::oprf::{OprfKey, blind};
use keyferry_crypto::pin::{self, Params, PinShare};
use keyferry_crypto::random::Random;
use keyferry_crypto::tree::{AccountKey, AuditKey, RootKey, SecurityDomainSecret, ServiceKey};
use keyferry_crypto::{kdf, seal};
use keyferry_wire::Wire as _;
use keyferry_wire::door::ServiceRow;
use keyferry_wire::ledger::{LEAF_LEN, Leaf};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A record's byte strings below this length are no keys.
const KEY_MIN: usize = 16;

/// Rows as they stood after each step.
#[derive(Default)]
pub(super) struct Rows {
    service: Option<StoredRow>,
    accounts: BTreeMap<Vec<u8>, StoredRow>,
    devices: BTreeMap<Vec<u8>, StoredRow>,
    passkeys: BTreeMap<Vec<u8>, StoredRow>,
    /// The ledger's leaves, one after the other.
    leaves: Vec<u8>,
}

impl Rows {
    /// Takes what is stored now to what was before.
    pub(super) fn gather(&mut self, data: &Path) {
        let tables = Tables::open(data);
        self.service = tables.rows("service").pop();
        self.leaves = tables.rows("batches").iter().flat_map(|batch| batch.bytes("leaves")).collect();
        for (found, column, rows) in [
            (tables.accounts(), "row", &mut self.accounts),
            (tables.devices(), "row", &mut self.devices),
            (tables.rows("passkeys"), "blob", &mut self.passkeys),
        ] {
            rows.extend(found.into_iter().map(|row| (row.bytes(column), row)));
        }
        self.passkeys.remove(&[][..]);
    }
}

/// Values with their names.
pub(super) type Named = BTreeMap<Vec<u8>, String>;

/// What the enclave may hold between two operations, and what it may not.
pub(super) struct Derived {
    pub(super) declared: Named,
    pub(super) secret: Named,
    /// Private keys of passkeys: aws-lc computes with them in forms of its own.
    pub(super) scalars: Vec<[u8; 32]>,
    /// Generations of the PIN that were tried: a try costs what Argon2id costs.
    entered: BTreeSet<u64>,
}

/// What people typed, and where their devices are.
pub(super) struct Typed<'a> {
    pub(super) name: &'a str,
    pub(super) password: &'a str,
    pub(super) pins: &'a [&'a str],
    pub(super) rp_id: &'a str,
    pub(super) homes: &'a [&'a Path],
}

impl Derived {
    pub(super) fn new(data: &Path, rows: &Rows, typed: &Typed<'_>) -> Derived {
        let token = std::fs::read(data.join("token/root.key")).unwrap();
        let root = RootKey::from_slice(&token[token.len() - RootKey::LEN..]).unwrap();
        let row = ServiceRow::from_bytes(&rows.service.as_ref().unwrap().bytes("row")).unwrap();
        let bound =
            labelled_hash(Label::ServiceSeal, &[&row.log_id, row.name.as_bytes(), &row.shards.to_be_bytes()]);
        let service = root.open_service(&row.sealed, &bound, u64::from(row.root)).unwrap();
        let mut derived = Derived {
            declared: Named::new(),
            secret: Named::new(),
            scalars: Vec::new(),
            entered: BTreeSet::new(),
        };
        derived.declare(&root, &service, &row);
        derived.secret("K_svc", service.expose());
        let proof = pin::password_proof(
            typed.password,
            row.name.as_bytes(),
            typed.name.as_bytes(),
            Params::DEFAULT,
            Params::FLOOR,
        );
        derived.secret("proof of the password", proof.unwrap().expose());
        let homes: Vec<_> = typed.homes.iter().map(|home| load(home)).collect();
        for (at, home) in typed.homes.iter().zip(&homes) {
            derived.home(at, home);
        }
        let mut domains = BTreeMap::new();
        for stored in rows.accounts.values() {
            let account = stored.bytes("account");
            let key = root.account_key(&row.log_id, &account);
            derived.secret("K_acct", key.expose());
            let seq = u64::try_from(stored.number("seq")).unwrap().to_be_bytes();
            let sealed = stored.bytes("row");
            let record = derived.open(&key, Label::RecordAccount, &account, &seq, row.root, &sealed);
            derived.record("account record", &record);
            derived.leaves(&rows.leaves, &AuditKey::from_slice(record.bytes(&[7])).unwrap());
            if let Some(sds) = derived.pin(&account, &record, typed.pins) {
                domains.insert(account, sds);
            }
        }
        assert!(!domains.is_empty(), "no PIN opened a security domain");
        for stored in rows.devices.values() {
            derived.device(stored, &root, &row, domains.keys(), &homes);
        }
        let (account, sds) = domains.first_key_value().unwrap();
        derived.secret("SDS", sds.expose());
        derived.secret("K_meta", sds.metadata_key().expose());
        derived.secret("key of the epoch before", sds.prev_key().expose());
        for stored in rows.passkeys.values() {
            derived.passkey(stored, account, sds, typed.rp_id);
        }
        assert!(!derived.scalars.is_empty(), "no passkey was opened");
        // Whoever holds an open session is kept by name.
        derived.secret.retain(|value, _| !homes.iter().any(|home| home.device_id().0[..] == value[..]));
        derived
    }

    fn secret(&mut self, what: &str, value: &[u8]) {
        self.secret.entry(value.to_vec()).or_insert_with(|| what.to_owned());
    }

    /// PROTOCOL and the threat model list what lives as long as the process.
    fn declare(&mut self, root: &RootKey, service: &ServiceKey, row: &ServiceRow) {
        let mut declare = |what: String, value: &[u8]| self.declared.insert(value.to_vec(), what);
        declare("K_root".to_owned(), root.expose());
        declare("K_map".to_owned(), service.map_key(&row.log_id).expose());
        declare("K_name".to_owned(), service.name_key(&row.log_id).expose());
        declare("K_id".to_owned(), service.identity_key(&row.log_id).expose());
        for shard in 0..u64::from(row.shards) {
            let context: &[&[u8]] = &[&row.log_id, &shard.to_be_bytes()];
            let seed: [u8; 32] = kdf::derive(service.expose(), Label::LogSign, context);
            declare(format!("K_log of shard {shard}"), &seed);
        }
    }

    /// Every byte string of a record that could be a key.
    fn record(&mut self, what: &str, record: &Item) {
        record.each_bytes(what, &mut |place, bytes| {
            if bytes.len() >= KEY_MIN {
                self.secret(place, bytes);
            }
        });
    }

    /// Opens a row of any schema.
    #[track_caller]
    fn open(
        &mut self,
        key: &AccountKey,
        label: Label,
        account: &[u8],
        part: &[u8],
        root: u32,
        row: &[u8],
    ) -> Item {
        let opened = (1..=16_u16).find_map(|schema| {
            let aad = [account, part, &schema.to_be_bytes(), &root.to_be_bytes()];
            seal::open_padded(key.expose(), label, &aad, row).ok()
        });
        self.message_key(key.expose(), label, row);
        Item::parse(opened.expect("the row opens").expose())
    }

    /// The key of one sealed text (PROTOCOL, sealing): with it an AES key schedule begins.
    fn message_key(&mut self, key: &[u8; 32], label: Label, sealed: &[u8]) {
        let key: [u8; 32] = kdf::derive(key, label, &[&sealed[1..17]]);
        self.secret("key of a sealed text", &key);
    }

    /// The two keys of each leaf of this account.
    fn leaves(&mut self, leaves: &[u8], audit: &AuditKey) {
        let own: BTreeMap<_, _> = (1..=64).map(|seq| (audit.tag(seq), seq)).collect();
        let mut count = 0;
        // The store keeps something of its own between them.
        for leaf in leaves.windows(LEAF_LEN).filter_map(Leaf::from_bytes) {
            let Some(seq) = own.get(&leaf.tag) else { continue };
            let keys = audit.leaf_keys(*seq, &leaf.salt);
            self.secret("key of a leaf", keys.seal.expose());
            self.secret("key of a leaf's commitment", keys.commit.expose());
            count += 1;
        }
        assert!(count > 0, "the account has no leaf");
    }

    fn home(&mut self, folder: &Path, home: &Home) {
        self.secret("private key of a device", &std::fs::read(folder.join("hw.key")).unwrap());
        self.secret("sealing key of a device", home.keys.sealing.expose());
        let member = home.membership().unwrap();
        self.secret("half of the SDS", &member.wrapped);
        self.secret("half of the member key", &member.member_key);
        self.secret("K_audit", member.audit_key.expose());
        self.secret("K_meta", member.metadata_key.expose());
        self.secret("access token", member.access.expose());
    }

    /// Enters each PIN as a client and the enclave do together. The right one opens the security domain.
    fn pin(&mut self, account: &[u8], record: &Item, pins: &[&str]) -> Option<SecurityDomainSecret> {
        record.at(&[9, 4])?;
        let generation = record.number(&[9, 1]);
        if !self.entered.insert(generation) {
            return None;
        }
        let param = |key| u32::try_from(record.number(&[9, 3, key])).unwrap();
        let params = Params { memory_kib: param(1), passes: param(2), lanes: param(3) };
        let salt: [u8; 16] = record.bytes(&[9, 2]).try_into().unwrap();
        let oprf = OprfKey::from_bytes(record.bytes(&[9, 4, 1]).try_into().unwrap()).unwrap();
        let share = PinShare::from_slice(record.bytes(&[9, 4, 2])).unwrap();
        let mut opened = None;
        for entered in pins {
            let hardened = pin::harden(entered, account, &salt, params, Params::FLOOR).unwrap();
            let (state, blinded) = blind(hardened.access.expose(), &mut Urandom).unwrap();
            let evaluation = oprf.evaluate(&blinded, &mut Urandom).unwrap();
            let output = state.finalize(hardened.access.expose(), &evaluation, &oprf.public()).unwrap();
            let client_key = pin::client_key(&output, &hardened, account, generation);
            let key = pin::pin_key(&client_key, &share);
            self.secret("PIN, hardened: access", hardened.access.expose());
            self.secret("PIN, hardened: seed", hardened.seed.expose());
            self.secret("OPRF output", output.expose());
            self.secret("client_key (the value of a finish)", client_key.expose());
            self.secret("K_pin", key.expose());
            if ct_eq(&pin::tag(&client_key, account, generation), record.bytes(&[9, 5])) {
                opened = Some(self.domain(account, record, generation, key.expose()));
            }
        }
        opened
    }

    fn domain(
        &mut self,
        account: &[u8],
        record: &Item,
        generation: u64,
        key: &[u8; 32],
    ) -> SecurityDomainSecret {
        let generation = u32::try_from(generation).unwrap().to_be_bytes();
        let aad: &[&[u8]] = &[account, &generation];
        let member = seal::open(key, Label::PinWrap, aad, record.bytes(&[9, 9, 1])).unwrap();
        self.secret("M_priv of the PIN", member.expose());
        let member = BoxKey::from_bytes(member.expose().try_into().unwrap());
        let epoch = u32::try_from(record.number(&[5])).unwrap();
        let aad: &[&[u8]] = &[account, &epoch.to_be_bytes()];
        let sds = member.open(Label::MemberWrap, aad, record.bytes(&[9, 9, 2])).unwrap();
        let sds = SecurityDomainSecret::from_slice(sds.expose()).unwrap();
        assert_eq!(sds.hash(account, u64::from(epoch)), record.bytes(&[6]), "another domain");
        sds
    }

    fn device<'a>(
        &mut self,
        stored: &StoredRow,
        root: &RootKey,
        row: &ServiceRow,
        accounts: impl Iterator<Item = &'a Vec<u8>>,
        homes: &[Home],
    ) {
        let id = stored.bytes("device");
        for account in accounts {
            let key = root.account_key(&row.log_id, account);
            let record = self.open(&key, Label::RecordDevice, account, &id, row.root, &stored.bytes("row"));
            self.record("device record", &record);
            let Some(home) = homes.iter().find(|home| home.device_id().0[..] == id[..]) else { continue };
            let member = home.membership().unwrap();
            let aad: &[&[u8]] = &[account, &id, &member.epoch.to_be_bytes()];
            let wrap: [u8; 32] = record.bytes(&[4]).try_into().unwrap();
            let sds = seal::open(&wrap, Label::DeviceWrap, aad, &member.wrapped).unwrap();
            self.secret("SDS", sds.expose());
            let private = seal::open(&wrap, Label::MemberWrap, aad, &member.member_key).unwrap();
            self.secret("M_priv of a device", private.expose());
        }
    }

    fn passkey(&mut self, stored: &StoredRow, account: &[u8], sds: &SecurityDomainSecret, rp_id: &str) {
        let id = stored.bytes("id");
        let key = sds.passkey_key(&id, rp_id);
        self.secret("K_pk", key.expose());
        let epoch = u32::try_from(stored.number("epoch")).unwrap().to_be_bytes();
        let aad: &[&[u8]] = &[account, &id, rp_id.as_bytes(), &epoch, &[1]];
        let blob = stored.bytes("blob");
        let plain = seal::open_padded(key.expose(), Label::PasskeyBlob, aad, &blob).unwrap();
        self.message_key(key.expose(), Label::PasskeyBlob, &blob);
        let passkey = Item::parse(plain.expose());
        self.scalars.push(passkey.bytes(&[2]).try_into().unwrap());
        self.record("passkey", &passkey);
    }
}

fn load(home: &Path) -> Home {
    Home::load(&std::fs::read(home.join("state")).unwrap()).unwrap()
}

struct Urandom;

impl Random for Urandom {
    fn fill(&mut self, out: &mut [u8]) {
        use std::io::Read as _;
        std::fs::File::open("/dev/urandom").unwrap().read_exact(out).unwrap();
    }
}
