//! Start: evidence for the key broker, the root key, and the shards' newest state, each part checked before it is
//! believed. Then BOOT in every shard.

use crate::instance::{BootKeys, Instances, Statement};
use crate::record::RowKey;
use crate::request::Waiting;
use crate::session::Sessions;
use crate::shard::{Shard, Standing};
use crate::{Platform, Running};
use keyferry_crypto::hash::{self, sha256};
use keyferry_crypto::label::Label;
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::release;
use keyferry_crypto::tree::{IdentityKey, MapKey, NameKey, RootKey, ServiceKey};
use keyferry_tlog::{Frontier, Note, SignedCheckpoint, VerifierKey, leaf_hash, verify_inclusion};
use keyferry_wire::door::{Batch, Hello, Load, Loaded, ServiceRow, Tail};
use keyferry_wire::evidence::{Evidence, KEY_BROKER};
use keyferry_wire::ledger::{Class, Leaf, SEALED_EVENT_LEN};
use keyferry_wire::{AccountId, Hash, ShardId, Wire};

/// What the host handed over and does not hold. The text is for the operator.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadFault {
    #[error("the root key's release does not open for this instance and challenge")]
    Release,
    #[error("the service key does not open under this root key")]
    Service,
    #[error("name or number of shards is not the one that this deployment was made with")]
    Configuration,
    #[error("shard {0}: the checkpoint is not one of this log")]
    Checkpoint(u16),
    #[error("shard {0}: the tail of the log does not fit its checkpoint")]
    Tail(u16),
    #[error("an answer of the store is missing")]
    Incomplete,
}

pub(crate) struct Greeted {
    boot: BootKeys,
    challenge: [u8; 32],
    now_ms: u64,
}

/// Keys of the deployment.
pub(crate) struct Keys {
    pub(crate) name: String,
    pub(crate) log_id: Hash,
    pub(crate) root_number: u32,
    pub(crate) custody_level: u16,
    root: RootKey,
    map: MapKey,
    names: NameKey,
    /// For tags of identities and for credential ids.
    pub(crate) identity: IdentityKey,
    shards: u16,
}

impl Keys {
    /// The account of a local name.
    pub(crate) fn local_account(&self, name: &str) -> AccountId {
        AccountId(self.names.account_id(b"local", b"", name.as_bytes()))
    }

    pub(crate) fn map_key(&self, account: &AccountId) -> Hash {
        self.map.blind(&account.0)
    }

    /// A shard is a range of the blinded ids.
    pub(crate) fn shard(&self, map_key: &Hash) -> ShardId {
        let prefix = u32::from(map_key[0]) << 8 | u32::from(map_key[1]);
        let shard = (prefix * u32::from(self.shards)) >> 16;
        ShardId(u16::try_from(shard).unwrap_or_default())
    }

    pub(crate) fn rows(&self, account: &AccountId) -> RowKey {
        RowKey {
            key: self.root.account_key(&self.log_id, &account.0),
            account: *account,
            root: self.root_number,
        }
    }

    /// Identifies this deployment's authenticator: SHA-256 of label, deployment and mode, shaped as UUIDv8.
    pub(crate) fn aaguid(&self) -> [u8; 16] {
        let digest = hash::labelled_hash(Label::Aaguid, &[&self.log_id, b"none"]);
        let mut aaguid = [0; 16];
        aaguid.copy_from_slice(digest.split_at(16).0);
        aaguid[6] = aaguid[6] & 0x0f | 0x80;
        aaguid[8] = aaguid[8] & 0x3f | 0x80;
        aaguid
    }
}

/// Makes this boot's keys and shows them to the key broker over its challenge.
pub(crate) fn greet(platform: &mut dyn Platform, hello: &Hello) -> (Greeted, Evidence) {
    let boot = BootKeys::generate(platform);
    let statement =
        Statement { nonce: hello.challenge, audience: KEY_BROKER, custody_level: 0, checkpoint: None };
    // The channel key of this evidence serves nobody: before BOOT the enclave talks to the broker alone.
    let (_, evidence) = boot.attest(platform, &statement, hello.now_ms);
    (Greeted { boot, challenge: hello.challenge, now_ms: hello.now_ms }, evidence)
}

pub(crate) fn load(
    greeted: Greeted,
    platform: &mut dyn Platform,
    load: Load,
) -> Result<(Running, Loaded), LoadFault> {
    let Greeted { boot, challenge, now_ms } = greeted;
    let now_ms = now_ms.max(load.now_ms);
    let root = release::open(&boot.hpke, &challenge, &load.release).map_err(|_| LoadFault::Release)?;
    let release_hash = sha256(&[&load.release.to_bytes()]);
    let genesis = load.service.is_none();
    let firsts = boot_leaves(load.shards, &release_hash, now_ms, platform.random());
    let (service, row) = match &load.service {
        Some(row) => (open_service(&root, row, &load)?, row.clone()),
        None => make_service(&root, &load, &firsts, platform.random())?,
    };
    let keys = Keys {
        name: load.name,
        log_id: row.log_id,
        root_number: load.release.root,
        custody_level: load.release.custody_level,
        map: service.map_key(&row.log_id),
        names: service.name_key(&row.log_id),
        identity: service.identity_key(&row.log_id),
        root,
        shards: load.shards,
    };
    let mut shards = open_shards(&keys, &service, &load.tails, genesis)?;
    let mut batches = Vec::new();
    for (shard, mut leaf) in shards.iter_mut().zip(firsts) {
        leaf.batch = shard.next_batch();
        batches.extend(boot_batch(shard, &leaf, now_ms));
    }
    let log_keys = shards.iter().map(|shard| log_key(shard).to_string()).collect();
    let (channel, evidence) = boot.attest(platform, &statement(&keys, &shards)?, now_ms);
    let loaded = Loaded { service: row, evidence, log_keys, batches, instance: boot.instance };
    let instances = Instances::new(boot, channel);
    let (sessions, waiting) = (Sessions::new(), Waiting::new());
    let (rsa, rsa_wanted) = (None, false);
    let running = Running { instances, keys, shards, sessions, waiting, rsa, rsa_wanted, now_ms };
    Ok((running, loaded))
}

impl Running {
    /// Fresh evidence with a fresh channel key.
    pub(crate) fn refresh(&mut self, platform: &mut dyn Platform) -> Evidence {
        let statement = statement(&self.keys, &self.shards).expect("a running engine has shards");
        let (channel, evidence) = self.instances.boot.attest(platform, &statement, self.now_ms);
        self.instances.replace(channel, self.now_ms);
        evidence
    }
}

/// Evidence names a checkpoint of the first shard; its hash is the nonce.
fn statement<'a>(keys: &'a Keys, shards: &'a [Shard]) -> Result<Statement<'a>, LoadFault> {
    let checkpoint = &shards.first().ok_or(LoadFault::Configuration)?.checkpoint;
    Ok(Statement {
        nonce: sha256(&[checkpoint.body().as_bytes()]),
        audience: &keys.name,
        custody_level: keys.custody_level,
        checkpoint: Some(checkpoint),
    })
}

pub(crate) fn log_key(shard: &Shard) -> VerifierKey {
    VerifierKey::ed25519(&shard.origin, shard.key.public()).expect("an origin was checked as a key name")
}

fn open_service(root: &RootKey, row: &ServiceRow, load: &Load) -> Result<ServiceKey, LoadFault> {
    if row.name != load.name || row.shards != load.shards || load.release.root != row.root {
        return Err(LoadFault::Configuration);
    }
    let bound = configuration(&row.log_id, &row.name, row.shards);
    root.open_service(&row.sealed, &bound, u64::from(row.root)).map_err(|_| LoadFault::Service)
}

/// Genesis: the service key is drawn once, and the first leaf of the first shard names the deployment.
fn make_service(
    root: &RootKey,
    load: &Load,
    firsts: &[Leaf],
    random: &mut dyn Random,
) -> Result<(ServiceKey, ServiceRow), LoadFault> {
    let mut first = firsts.first().ok_or(LoadFault::Configuration)?.clone();
    first.batch = 1;
    let log_id = sha256(&[&first.to_bytes()]);
    let service = ServiceKey::random(random);
    let bound = configuration(&log_id, &load.name, load.shards);
    let sealed = root.seal_service(&service, &bound, u64::from(load.release.root), random::bytes(random));
    let row = ServiceRow {
        log_id,
        root: load.release.root,
        sealed: sealed.into(),
        name: load.name.clone(),
        shards: load.shards,
    };
    Ok((service, row))
}

/// What the service key's seal binds: deployment, name and shard count.
fn configuration(log_id: &Hash, name: &str, shards: u16) -> Hash {
    hash::labelled_hash(Label::ServiceSeal, &[log_id, name.as_bytes(), &shards.to_be_bytes()])
}

fn open_shards(
    keys: &Keys,
    service: &ServiceKey,
    tails: &[Tail],
    genesis: bool,
) -> Result<Vec<Shard>, LoadFault> {
    let reserved = keys.name == KEY_BROKER;
    if reserved || VerifierKey::ed25519(&keys.name, [0; 32]).is_err() || keys.shards == 0 {
        return Err(LoadFault::Configuration);
    }
    if tails.len() != if genesis { 0 } else { usize::from(keys.shards) } {
        return Err(LoadFault::Incomplete);
    }
    let mut shards = Vec::new();
    for number in 0..keys.shards {
        let origin = format!("{}/{number}", keys.name);
        let key = service.log_key(&keys.log_id, u64::from(number));
        let standing = match tails.get(usize::from(number)) {
            Some(tail) => stand(tail, number, &origin, key.public())?,
            None => Standing { frontier: Frontier::new(), map_root: keyferry_tlog::map::EMPTY, batch: 0 },
        };
        shards.push(Shard::new(ShardId(number), origin, key, standing));
    }
    Ok(shards)
}

/// Believes a tail: the checkpoint is ours, the frontier gives its root, and the SEAL is its last leaf.
fn stand(tail: &Tail, number: u16, origin: &str, public: [u8; 32]) -> Result<Standing, LoadFault> {
    if tail.shard.0 != number {
        return Err(LoadFault::Incomplete);
    }
    let no_checkpoint = LoadFault::Checkpoint(number);
    let key = VerifierKey::ed25519(origin, public).map_err(|_| LoadFault::Configuration)?;
    let note = Note::parse(&tail.checkpoint).map_err(|_| no_checkpoint)?;
    let checkpoint =
        SignedCheckpoint::open(&note, &key, origin).map_err(|_| LoadFault::Checkpoint(number))?;
    let fits = |frontier: &Frontier| frontier.root() == checkpoint.root;
    let frontier = Frontier::from_nodes(checkpoint.size, tail.frontier.clone())
        .ok()
        .filter(fits)
        .ok_or(LoadFault::Tail(number))?;
    let last = checkpoint.size.checked_sub(1).ok_or(LoadFault::Tail(number))?;
    verify_inclusion(&leaf_hash(&tail.seal), last, checkpoint.size, &tail.inclusion, &checkpoint.root)
        .map_err(|_| LoadFault::Tail(number))?;
    let seal = Leaf::from_bytes(&tail.seal)
        .filter(|leaf| leaf.class == Class::Seal)
        .ok_or(LoadFault::Tail(number))?;
    Ok(Standing { frontier, map_root: seal.tag, batch: seal.batch })
}

/// A BOOT leaf per shard: 32 random bytes make it one of a kind, so that its place in the log fences older instances.
fn boot_leaves(shards: u16, release: &Hash, now_ms: u64, random: &mut dyn Random) -> Vec<Leaf> {
    let leaf = |random: &mut dyn Random| Leaf {
        class: Class::Boot,
        batch: 0,
        time_secs: now_ms / 1000,
        tag: random::bytes(random),
        salt: [0; 16],
        commitment: *release,
        sealed: [0; SEALED_EVENT_LEN],
    };
    (0..shards).map(|_| leaf(random)).collect()
}

fn boot_batch(shard: &mut Shard, leaf: &Leaf, now_ms: u64) -> Option<Batch> {
    let mut filling = shard.fill();
    shard.append(&mut filling, leaf);
    shard.seal(filling, now_ms).0
}
