//! The parts of the engine's work on an assertion, each by itself: the same functions on data of the same size. What
//! the engine keeps to itself (its records' codec, copies) is what is left.

use crate::Fallible;
use crate::ceiling::Ceilings;
use crate::measure::{Effort, cpu_per_call};
use crate::profile::{BATCH, Part};
use crate::settings::Settings;
use keyferry_crypto::hash::sha256;
use keyferry_crypto::label::Label;
use keyferry_crypto::seal::{self, OVERHEAD};
use keyferry_crypto::sign::{Ed25519Seed, LogKey, SigningKey};
use keyferry_crypto::tree::{AuditKey, MapKey, RootKey, SecurityDomainSecret};
use keyferry_enclave::HardwareRandom;
use keyferry_tlog::{Checkpoint, Map, leaf_hash, state};
use keyferry_wire::door::AccountView;
use keyferry_wire::ledger::{EVENT_LEN, LEAF_LEN};
use keyferry_wire::publish::{MapProof, PasskeyRow, Terminal};
use keyferry_wire::relying_party::{Origin, RpId};
use std::hint::black_box;

/// The parts of the engine's work, and what is left of it.
pub(crate) fn of_engine(
    settings: &Settings,
    view: &AccountView,
    views: &[AccountView],
    ceilings: &Ceilings,
    whole: f64,
) -> Fallible<Vec<Part>> {
    let effort = settings.cpu;
    let state = view.state.as_ref().ok_or("an account without its row")?;
    let device = view.devices.first().ok_or("an account without its device")?;
    let passkey = view.passkeys.first().ok_or("an account without its passkey")?;
    let row = passkey.row.as_ref().ok_or("a passkey without its row")?;
    let shards = f64::from(settings.shards.max(1)).min(BATCH as f64);
    let (account_open, account_seal) = sealed(effort, state.row.len());
    let (device_open, device_seal) = sealed(effort, device.row.len());
    let (blob_open, _) = sealed(effort, row.blob.len());
    let (wrap_open, _) = sealed(effort, 32 + OVERHEAD);
    let key = SigningKey::generate(&mut HardwareRandom::default());
    let load = cpu_per_call(effort, || {
        black_box(SigningKey::from_parts(key.scalar().expose(), &key.public()).is_ok());
    });
    let mut parts = vec![
        ("device signature (ceiling)", ceilings.verify),
        ("passkey's key loaded", load),
        ("assertion signed (ceiling)", ceilings.sign),
        ("account's keys: row key, blinded id", account_keys(effort)),
        ("account row opened", account_open),
        ("device row opened", device_open),
        ("device's half opened, SDS hashed", wrap_open + sds_hash(effort)),
        ("passkey opened with its key", blob_open + passkey_key(effort)),
        ("device row sealed", device_seal),
        ("account row sealed", account_seal),
        ("row hashes, map value", row_hashes(effort, state.row.len(), device.row.len())),
        ("map: proof admitted, value set, root", map_work(effort, views)?),
        ("vault: proof admitted, row hashed", vault_work(effort, &passkey.proof, row, &state.vault_root)),
        ("relying party and origin parsed", relying_party(effort)),
        ("leaf made and appended", leaf(effort)),
        ("SEAL and checkpoint, per assertion", checkpoint(effort) * shards / BATCH as f64),
        ("channel: request opened, reply sealed (ceiling)", 2.0 * ceilings.aead),
    ];
    for (_, ns) in &mut parts {
        *ns /= 1000.0;
    }
    let sum: f64 = parts.iter().map(|(_, us)| us).sum();
    parts.push(("the rest: CBOR of request, records, answers; copies", whole - sum));
    Ok(parts)
}

/// Opening and sealing a row of so many bytes, its key derivation included.
fn sealed(effort: Effort, len: usize) -> (f64, f64) {
    let plain = vec![7; len.saturating_sub(OVERHEAD)];
    let row = seal::seal(&[1; 32], Label::RecordAccount, &[&[2; 32], &[3; 8]], &plain, [4; 16]);
    let open = cpu_per_call(effort, || {
        black_box(seal::open(&[1; 32], Label::RecordAccount, &[&[2; 32], &[3; 8]], black_box(&row)).is_ok());
    });
    let seal = cpu_per_call(effort, || {
        black_box(seal::seal(
            &[1; 32],
            Label::RecordAccount,
            &[&[2; 32], &[3; 8]],
            black_box(&plain),
            [4; 16],
        ));
    });
    (open, seal)
}

fn account_keys(effort: Effort) -> f64 {
    let (root, map) = (RootKey::from_bytes([1; 32]), MapKey::from_bytes([2; 32]));
    cpu_per_call(effort, || {
        black_box((root.account_key(&[3; 32], &[4; 32]), map.blind(&[4; 32])));
    })
}

fn sds_hash(effort: Effort) -> f64 {
    let sds = SecurityDomainSecret::from_bytes([1; 32]);
    cpu_per_call(effort, || {
        black_box(sds.hash(&[2; 32], 1));
    })
}

fn passkey_key(effort: Effort) -> f64 {
    let sds = SecurityDomainSecret::from_bytes([1; 32]);
    cpu_per_call(effort, || {
        black_box(sds.passkey_key(&[2; 16], "login.example.org"));
    })
}

fn row_hashes(effort: Effort, account: usize, device: usize) -> f64 {
    let rows = [vec![1; account], vec![2; device]];
    cpu_per_call(effort, || {
        // Both rows are hashed when they come and when they go; the map value twice.
        for row in rows.iter().chain(&rows) {
            black_box(state::row_hash(row));
        }
        black_box((sha256(&[&[1; 160]]), sha256(&[&[2; 160]])));
    })
}

/// A batch's worth of the shard's map, per assertion.
fn map_work(effort: Effort, views: &[AccountView]) -> Fallible<f64> {
    let same: Vec<_> = views.iter().filter(|view| view.shard == views[0].shard).collect();
    let root = root_of(&same.first().ok_or("no account")?.proof, &same[0].map_key);
    let whole = cpu_per_call(effort, || {
        let mut map = Map::partial(root);
        for view in &same {
            black_box(map.admit(&view.map_key, &view.proof).is_ok());
            black_box(map.set(view.map_key, [9; 32]).is_ok());
        }
        black_box(map.root());
    });
    Ok(whole / same.len() as f64)
}

fn vault_work(effort: Effort, proof: &MapProof, row: &PasskeyRow, root: &[u8; 32]) -> f64 {
    let key = state::vault_key(&row.id);
    cpu_per_call(effort, || {
        let mut vault = Map::partial(*root);
        black_box(vault.admit(&key, black_box(proof)).is_ok());
        black_box(state::vault_value(row));
    })
}

/// The root that a proof leads to.
fn root_of(proof: &MapProof, key: &[u8; 32]) -> [u8; 32] {
    let mut node = match &proof.terminal {
        Terminal::Empty => keyferry_tlog::map::EMPTY,
        Terminal::Leaf(entry) => keyferry_tlog::map::map_leaf_hash(&entry.key, &entry.value),
    };
    for (depth, sibling) in proof.siblings.iter().enumerate().rev() {
        let right = key.get(depth / 8).is_some_and(|byte| byte >> (7 - depth % 8) & 1 == 1);
        let (left, right) = if right { (sibling, &node) } else { (&node, sibling) };
        node = keyferry_tlog::map::map_inner_hash(left, right);
    }
    node
}

fn relying_party(effort: Effort) -> f64 {
    cpu_per_call(effort, || {
        let rp_id = RpId::parse(black_box("login.example.org"));
        let origin = Origin::parse(black_box("https://login.example.org"));
        black_box(rp_id.is_ok_and(|rp_id| origin.is_ok_and(|origin| rp_id.allows(&origin).is_ok())));
    })
}

fn leaf(effort: Effort) -> f64 {
    let audit = AuditKey::from_bytes([1; 32]);
    let mut frontier = keyferry_tlog::Frontier::new();
    let mut seq = 0;
    cpu_per_call(effort, || {
        seq += 1;
        let keys = audit.leaf_keys(seq, &[2; 16]);
        let event = [3; EVENT_LEN];
        black_box((audit.tag(seq), keys.commitment(&[&event]), keys.seal_event(&[], &event)));
        let hash = leaf_hash(&[4; LEAF_LEN]);
        frontier.push(hash);
        black_box(state::account_head(&hash, &hash));
    })
}

/// What each shard does once a batch.
fn checkpoint(effort: Effort) -> f64 {
    let key = LogKey::from_seed(&Ed25519Seed::from_bytes([1; 32]));
    let public = key.public();
    cpu_per_call(effort, || {
        let checkpoint = Checkpoint::new("bench.example/0", 1_000_000, leaf_hash(&[4; LEAF_LEN]));
        black_box(checkpoint.sign(&public, |message| key.sign(message)));
    })
}
