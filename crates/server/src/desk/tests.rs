use super::*;
use crate::ledger::{CHECKPOINT, DiskFiles, MemoryFiles, RepairError, checkpoint_of};
use crate::store::{MemoryStore, Store};
use crate::testing::{World, account, credential, device, device_put, map_key, value};
use keyferry_tlog::{leaf_hash, map, verify_consistency, verify_inclusion};
use keyferry_wire::publish::AccountProof;
use std::sync::atomic::{AtomicBool, Ordering};

/// Store, desk and scribe that go along together.
struct Bench {
    store: MemoryStore,
    files: Arc<MemoryFiles>,
    desk: Desk,
    world: World,
}

impl Bench {
    fn new() -> Bench {
        Bench::with_cache(CACHE_BYTES)
    }

    fn with_cache(bytes: usize) -> Bench {
        let (store, files) = (MemoryStore::new(), Arc::new(MemoryFiles::new()));
        let desk = Desk::open(&store, files.clone(), 1, bytes).unwrap();
        Bench { store, files, desk, world: World::new(0) }
    }

    fn commit(&mut self, batch: Batch) {
        self.store.commit(None, std::slice::from_ref(&batch)).unwrap();
        self.desk.apply(&batch);
    }

    fn put(&mut self, n: u8, passkeys: impl IntoIterator<Item = u8>) {
        let mut edit = self.world.passkeys(account(n), passkeys);
        edit.devices.push(device_put(n, &[n; 40], Some([n; 32])));
        let batch = self.world.batch(vec![edit]);
        self.commit(batch);
    }

    fn publish(&mut self) {
        publish(&mut self.desk, &self.store, &*self.files).unwrap();
    }

    /// A batch with so many leaves of one account.
    fn events(&mut self, events: u32) {
        let mut edit = self.world.edit(account(1));
        edit.events = events;
        let batch = self.world.batch(vec![edit]);
        self.commit(batch);
    }

    fn proofs(&self, desk: &Desk) -> Vec<Vec<Hash>> {
        let size = self.desk.log(ShardId(0)).unwrap().size();
        let proof = |old| desk.consistency(&self.store, ShardId(0), old, size).unwrap();
        (0..size).step_by(131).map(proof).collect()
    }

    fn reopen(&self) -> Result<Desk, OpenDeskError> {
        Desk::open(&self.store, self.files.clone(), 1, CACHE_BYTES)
    }

    fn map_root(&self) -> Hash {
        Leaf::from_bytes(self.desk.log(ShardId(0)).unwrap().seal()).unwrap().tag
    }
}

/// As the keeper does.
fn publish(desk: &mut Desk, store: &dyn Read, files: &dyn LedgerFiles) -> std::io::Result<()> {
    for repair in desk.repairs() {
        let outcome = repair.write(store, files, &|| true);
        desk.repaired(&repair, &outcome);
    }
    for publication in desk.publications() {
        publication.write(files)?;
        desk.published(publication);
    }
    Ok(())
}

/// Files that cannot be written while `closed`.
struct Closable {
    files: MemoryFiles,
    closed: AtomicBool,
}

impl Closable {
    fn if_open(&self) -> std::io::Result<()> {
        let closed = self.closed.load(Ordering::Relaxed);
        if closed { Err(std::io::ErrorKind::ReadOnlyFilesystem.into()) } else { Ok(()) }
    }
}

impl LedgerFiles for Closable {
    fn read(&self, shard: ShardId, path: &str) -> std::io::Result<Option<Vec<u8>>> {
        self.files.read(shard, path)
    }

    fn len(&self, shard: ShardId, path: &str) -> std::io::Result<Option<u64>> {
        self.files.len(shard, path)
    }

    fn write(&self, shard: ShardId, path: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.if_open().and_then(|()| self.files.write(shard, path, bytes))
    }

    fn remove(&self, shard: ShardId, path: &str) -> std::io::Result<()> {
        self.if_open().and_then(|()| self.files.remove(shard, path))
    }

    fn remove_partials(&self, _: ShardId, _: &str) -> std::io::Result<()> {
        Err(std::io::ErrorKind::PermissionDenied.into())
    }
}

/// What an owner checks: fields, map, seal, tree, and that the tree extends the one seen before.
fn verify(proof: &AccountProof, seen: Option<(u64, Hash)>) -> (u64, Hash) {
    let fields = AccountFields {
        row: proof.row,
        seq: proof.seq,
        head: proof.head,
        vault_seq: proof.vault_seq,
        vault_root: proof.vault_root,
    };
    let seal = Leaf::from_bytes(&proof.seal).unwrap();
    let found = map::verify(&seal.tag, &proof.map_key, &proof.proof).unwrap();
    assert_eq!(found, Some(state::map_value(&fields)));
    let checkpoint = checkpoint_of(&proof.checkpoint).unwrap();
    let (size, root) = (checkpoint.size, checkpoint.root);
    verify_inclusion(&leaf_hash(&proof.seal), size - 1, size, &proof.inclusion, &root).unwrap();
    if let Some((old, old_root)) = seen {
        verify_consistency(old, &old_root, size, &root, &proof.consistency).unwrap();
    }
    (size, root)
}

#[test]
fn a_view_has_proofs_that_hold() {
    for cache in [0, CACHE_BYTES] {
        let mut bench = Bench::with_cache(cache);
        for n in 0..20 {
            bench.put(n, 0..n);
        }
        for n in 0..20 {
            let ids = [credential(0), credential(200)];
            let view = bench.desk.view(&bench.store, &account(n), &[device(n), device(99)], &ids).unwrap();
            let state = view.state.unwrap();
            let found = map::verify(&bench.map_root(), &view.map_key, &view.proof).unwrap();
            assert_eq!(found, Some(value(&state)));
            assert_eq!(view.devices.iter().map(|row| row.device).collect::<Vec<_>>(), [device(n)]);
            let [there, absent] = &view.passkeys[..] else { panic!("two views") };
            for view in [there, absent] {
                let found = map::verify(&state.vault_root, &state::vault_key(&view.id), &view.proof).unwrap();
                assert_eq!(found, view.row.as_ref().map(state::vault_value));
            }
            assert_eq!(there.row.is_some(), n > 0);
            assert_eq!(absent.row, None);
        }
    }
}

#[test]
fn an_account_that_does_not_exist_is_proven_absent() {
    let mut bench = Bench::new();
    bench.put(1, [1]);
    let need = Need {
        account: account(2),
        shard: ShardId(0),
        map_key: map_key(&account(2)),
        devices: vec![device(1)],
        passkeys: vec![credential(1)],
        large_blobs: Vec::new(),
    };
    let view = bench.desk.needed(&bench.store, &need).unwrap();
    assert_eq!(view.state, None);
    assert_eq!(map::verify(&bench.map_root(), &need.map_key, &view.proof).unwrap(), None);
    let elsewhere = Need { shard: ShardId(3), ..need };
    assert!(matches!(bench.desk.needed(&bench.store, &elsewhere), Err(DeskError::Shard(ShardId(3)))));
}

#[test]
fn what_is_at_hand_follows_every_batch() {
    let mut bench = Bench::new();
    bench.put(1, [1, 2]);
    let ids = [credential(1), credential(3)];
    bench.desk.view(&bench.store, &account(1), &[device(1)], &ids).unwrap();
    assert!(bench.desk.may_read(&bench.store, &account(1), &[1; 32]).unwrap());
    let mut edit = bench.world.passkeys(account(1), [1, 3]);
    edit.devices.push(device_put(1, b"changed", None));
    let batch = bench.world.batch(vec![edit]);
    bench.commit(batch);
    let warm = bench.desk.view(&bench.store, &account(1), &[device(1)], &ids).unwrap();
    let cold = bench.reopen().unwrap().view(&bench.store, &account(1), &[device(1)], &ids).unwrap();
    assert_eq!(warm, cold);
    assert_eq!(&warm.devices[0].row[..], b"changed");
    assert!(!bench.desk.may_read(&bench.store, &account(1), &[1; 32]).unwrap());
    assert!(!bench.desk.may_read(&bench.store, &account(9), &[1; 32]).unwrap());
}

#[test]
fn a_passkey_at_hand_follows_although_its_account_is_not() {
    let mut bench = Bench::with_cache(16 * 1024);
    bench.put(1, [1]);
    bench.desk.view(&bench.store, &account(1), &[], &[credential(1)]).unwrap();
    // Between the view of an account and what is written to it, others push it out.
    for n in 2..20 {
        bench.put(n, []);
        bench.desk.view(&bench.store, &account(n), &[], &[credential(1)]).unwrap();
    }
    let edit = bench.world.passkeys(account(1), [1]);
    let batch = bench.world.batch(vec![edit]);
    bench.commit(batch);
    let warm = bench.desk.view(&bench.store, &account(1), &[], &[credential(1)]).unwrap();
    let cold = bench.reopen().unwrap().view(&bench.store, &account(1), &[], &[credential(1)]).unwrap();
    assert_eq!(warm, cold);
}

#[test]
fn a_hint_does_not_have_a_large_vault_read() {
    let mut bench = Bench::new();
    bench.put(1, [1]);
    for _ in 0..HINTED_CHANGES_MAX / 250 {
        bench.put(1, 0..250);
    }
    bench.desk = bench.reopen().unwrap();
    let frame = RequestFrame {
        version: 1,
        suite: 1,
        session: keyferry_wire::SessionId([1; 16]),
        number: 0,
        account: Some(account(1)),
        device: Some(device(1)),
        passkeys: vec![credential(1)],
        seen: None,
        ciphertext: Vec::new().into(),
    };
    let view = bench.desk.hinted(&bench.store, &frame).unwrap().unwrap();
    assert_eq!((view.devices.len(), view.passkeys.len()), (1, 0));
    // The enclave asks; from then on the vault is at hand.
    let need = Need {
        account: account(1),
        shard: ShardId(0),
        map_key: view.map_key,
        devices: vec![device(1)],
        passkeys: vec![credential(1)],
        large_blobs: Vec::new(),
    };
    assert_eq!(bench.desk.needed(&bench.store, &need).unwrap().passkeys.len(), 1);
    assert_eq!(bench.desk.hinted(&bench.store, &frame).unwrap().unwrap().passkeys.len(), 1);
}

#[test]
fn a_sync_comes_in_pages_that_lead_to_the_vault_root() {
    let mut bench = Bench::new();
    bench.put(1, 0..10);
    bench.put(2, [1]);
    bench.put(1, [3, 4]);
    let (mut cursor, mut rows, mut vault) = (0, Vec::new(), Map::new());
    let last = loop {
        let page = bench.desk.sync(&bench.store, &account(1), cursor, 4, 0).unwrap();
        for row in &page.rows {
            assert!(row.vault_seq > cursor);
            cursor = row.vault_seq;
            set(&mut vault, state::vault_key(&row.id), state::vault_value(row));
        }
        rows.extend(page.rows);
        assert_eq!(page.cursor, cursor);
        if !page.more {
            break page.account.unwrap();
        }
        assert_eq!(page.account, None);
    };
    assert_eq!(rows.len(), 10);
    assert_eq!(vault.root(), last.vault_root);
    let whole = bench.desk.sync(&bench.store, &account(1), 0, SYNC_LIMIT_MAX, 0).unwrap();
    assert_eq!((whole.rows, whole.cursor, whole.more), (rows, cursor, false));
    verify(&last, None);
    let nothing = bench.desk.sync(&bench.store, &account(1), cursor, 4, 0).unwrap();
    assert_eq!((nothing.rows.len(), nothing.cursor, nothing.more, nothing.account), (0, cursor, false, None));
    // A device that saw more than the store has is shown what there is, with proof.
    let ahead = bench.desk.sync(&bench.store, &account(1), cursor + 5, 4, 1 << 40).unwrap();
    assert_eq!((ahead.rows.len(), ahead.cursor), (0, cursor));
    verify(&ahead.account.unwrap(), None);
}

#[test]
fn an_audit_shows_every_entry_in_its_place() {
    let mut bench = Bench::new();
    let mut seen = None;
    for round in 0..40 {
        let mut edits = Vec::new();
        for n in 0..5 {
            let mut edit = bench.world.edit(account(n));
            edit.events = 1 + (round + u32::from(n)) % 3;
            edits.push(edit);
        }
        let batch = bench.world.batch(edits);
        bench.commit(batch);
        let proof =
            bench.desk.account_proof(&bench.store, &account(0), seen.map_or(0, |(size, _)| size)).unwrap();
        seen = Some(verify(&proof, seen));
    }
    for n in 0..5 {
        let (mut from, mut head) = (1, state::NO_HEAD);
        loop {
            let page = bench.desk.audit(&bench.store, &account(n), from, 7, 10).unwrap();
            let (size, root) = verify(&page.account, None);
            assert_eq!(page.first, from);
            for entry in &page.entries {
                let leaf = leaf_hash(&entry.leaf);
                verify_inclusion(&leaf, entry.index, size, &entry.inclusion, &root).unwrap();
                assert_eq!(Leaf::from_bytes(&entry.leaf).unwrap().tag, account(n).0);
                head = state::account_head(&head, &leaf);
                from += 1;
            }
            if !page.more {
                assert_eq!((head, from - 1), (page.account.head, page.account.seq));
                break;
            }
        }
        let beyond = bench.desk.audit(&bench.store, &account(n), from, 7, 0).unwrap();
        assert!(beyond.entries.is_empty() && !beyond.more);
    }
}

#[test]
fn a_trail_goes_on_where_it_ended() {
    let mut bench = Bench::new();
    bench.put(1, [1]);
    let mut trail = bench.desk.trail_end(&bench.store, &account(1)).unwrap();
    let end = trail.clone();
    trail.extend(&bench.store, &end).unwrap();
    assert_eq!(trail.len(), 1);
    for _ in 0..5 {
        bench.put(2, []);
        bench.put(1, []);
    }
    let before = end;
    let end = bench.desk.trail_end(&bench.store, &account(1)).unwrap();
    trail.extend(&bench.store, &end).unwrap();
    assert_eq!(trail.len(), 6);
    trail.extend(&bench.store, &end).unwrap();
    assert_eq!(trail.len(), 6);
    // Two audits at once: the earlier end comes later, and nothing is forgotten for it.
    trail.extend(&bench.store, &before).unwrap();
    assert_eq!(trail.len(), 6);
}

/// Enough batches for full tiles on two levels would take 65,536 leaves; two full tiles on the first will do.
fn bench_with_tiles() -> Bench {
    let mut bench = Bench::new();
    for round in 0..150 {
        let mut edit = bench.world.edit(account(round % 7));
        edit.events = 4;
        let batch = bench.world.batch(vec![edit]);
        bench.commit(batch);
        if round % 20 == 5 {
            bench.publish();
        }
    }
    bench
}

#[test]
fn a_desk_is_the_same_after_a_restart_wherever_the_files_lag() {
    let mut bench = bench_with_tiles();
    let log = bench.desk.log(ShardId(0)).unwrap();
    let size = log.size();
    let proofs = |bench: &Bench, desk: &Desk| {
        let proof = |old| desk.consistency(&bench.store, ShardId(0), old, size).unwrap();
        (0..size).step_by(13).map(proof).collect::<Vec<_>>()
    };
    let expected = proofs(&bench, &bench.desk);
    assert_eq!(proofs(&bench, &bench.reopen().unwrap()), expected);
    bench.publish();
    let again = bench.reopen().unwrap();
    assert_eq!(proofs(&bench, &again), expected);
    assert!(again.publications().is_empty());
    // All files gone, one cut short, one changed: made again from the store.
    let whole = MemoryFiles::clone(&bench.files);
    let paths = ["tile/0/000", "tile/0/001", "tile/entries/000"];
    for (at, path) in paths.iter().enumerate() {
        let files = Arc::new(whole.clone());
        match at {
            0 => files.remove(ShardId(0), path).unwrap(),
            1 => files.write(ShardId(0), path, &[0; 256 * 32]).unwrap(),
            _ => files.write(ShardId(0), path, b"short").unwrap(),
        }
        let mut desk = Desk::open(&bench.store, files.clone(), 1, CACHE_BYTES).unwrap();
        assert_eq!(proofs(&bench, &desk), expected, "{path}");
        publish(&mut desk, &bench.store, &*files).unwrap();
        assert_eq!(files.read(ShardId(0), path).unwrap(), whole.read(ShardId(0), path).unwrap(), "{path}");
    }
}

#[test]
fn published_files_are_the_log() {
    let mut bench = bench_with_tiles();
    bench.publish();
    let read = |path: &str| bench.files.read(ShardId(0), path).unwrap().unwrap();
    let checkpoint = checkpoint_of(&String::from_utf8(read(CHECKPOINT)).unwrap()).unwrap();
    let mut frontier = keyferry_tlog::Frontier::new();
    let mut left = checkpoint.size;
    let mut index = 0;
    while left > 0 {
        let width = u32::try_from(left.min(256)).unwrap();
        let bundle = read(&keyferry_tlog::entries_path(index, width));
        let leaves = keyferry_tlog::parse_entry_bundle(&bundle, width).unwrap();
        let tile = read(&keyferry_tlog::tile_path(0, index, width));
        let hashes: Vec<_> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        assert_eq!(keyferry_tlog::parse_tile(&tile, width).unwrap(), hashes);
        hashes.into_iter().for_each(|hash| frontier.push(hash));
        left -= u64::from(width);
        index += 1;
    }
    assert_eq!(frontier.root(), checkpoint.root);
}

#[test]
fn partial_files_do_not_pile_up() {
    let folder = tempfile::tempdir().unwrap();
    let files: Arc<dyn LedgerFiles> = Arc::new(DiskFiles::new(folder.path()));
    let mut store = MemoryStore::new();
    let mut desk = Desk::open(&store, Arc::clone(&files), 1, CACHE_BYTES).unwrap();
    let mut world = World::new(0);
    let count = |path: &str| std::fs::read_dir(folder.path().join(path)).map_or(0, Iterator::count);
    for round in 1..=150 {
        let edit = world.edit(account(1));
        let batch = world.batch(vec![edit]);
        store.commit(None, std::slice::from_ref(&batch)).unwrap();
        desk.apply(&batch);
        publish(&mut desk, &store, &*files).unwrap();
        if round == 100 {
            // Readers of every checkpoint so far find its tiles.
            assert_eq!((count("0/tile/0/000.p"), count("0/tile/entries/000.p")), (100, 100));
            // What an earlier run left goes as well.
            desk = Desk::open(&store, Arc::clone(&files), 1, CACHE_BYTES).unwrap();
        }
    }
    assert_eq!((count("0/tile/0/000.p"), count("0/tile/entries/000.p")), (0, 0));
    assert_eq!((count("0/tile/0/001.p"), count("0/tile/entries/001.p")), (22, 22));
    assert_eq!(count("0/tile/entries"), 2);
}

/// Leaves whose files would be more than may wait.
fn bench_with_many_files() -> Bench {
    let mut bench = Bench::new();
    for _ in 0..80 {
        bench.events(499);
        assert!(bench.desk.tiles_waiting() <= 256, "{}", bench.desk.tiles_waiting());
    }
    bench
}

#[test]
fn a_start_without_files_keeps_few_of_them_in_memory_and_writes_all() {
    let mut bench = bench_with_many_files();
    let mut desk = bench.reopen().unwrap();
    assert!(desk.tiles_waiting() <= 256);
    assert!(desk.publications().is_empty(), "no checkpoint before its tiles");
    assert_eq!(bench.files.len(ShardId(0), "tile/0/000").unwrap(), None, "an opening writes nothing");
    assert_eq!(bench.proofs(&desk), bench.proofs(&bench.desk));
    let broken_off = desk.repairs()[0].write(&bench.store, &*bench.files, &|| false);
    assert!(matches!(broken_off, Err(RepairError::BrokenOff)));
    let again = desk.repairs();
    desk.repaired(&again[0], &broken_off);
    assert_eq!(desk.repairs().len(), 1, "it is tried again");
    publish(&mut desk, &bench.store, &*bench.files).unwrap();
    assert_eq!(desk.tiles_waiting(), 0);
    assert!(desk.repairs().is_empty() && desk.publications().is_empty());
    // The same as when they are written one by one.
    let along = Bench::new();
    let (files, mut world) = (MemoryFiles::new(), World::new(0));
    let mut slow = along.desk;
    for _ in 0..80 {
        let mut edit = world.edit(account(1));
        edit.events = 499;
        slow.apply(&world.batch(vec![edit]));
        publish(&mut slow, &along.store, &files).unwrap();
    }
    for index in 0..40_000 / 256 {
        for path in [keyferry_tlog::tile_path(0, index, 256), keyferry_tlog::entries_path(index, 256)] {
            let written = bench.files.read(ShardId(0), &path).unwrap();
            assert!(written.is_some() && written == files.read(ShardId(0), &path).unwrap(), "{path}");
        }
    }
    let again = bench.reopen().unwrap();
    assert!(again.repairs().is_empty() && again.publications().is_empty() && again.tiles_waiting() == 0);
    bench.publish();
    assert!(bench.desk.repairs().is_empty() && bench.desk.tiles_waiting() == 0);
}

#[test]
fn files_that_cannot_be_written_cost_no_memory_and_no_proof() {
    let mut bench = Bench::new();
    let files = Arc::new(Closable { files: MemoryFiles::new(), closed: false.into() });
    bench.desk = Desk::open(&bench.store, files.clone(), 1, CACHE_BYTES).unwrap();
    bench.events(499);
    publish(&mut bench.desk, &bench.store, &*files).unwrap();
    files.closed.store(true, Ordering::Relaxed);
    for _ in 0..80 {
        bench.events(499);
        let _ = publish(&mut bench.desk, &bench.store, &*files);
        assert!(bench.desk.tiles_waiting() <= 256);
    }
    assert!(!bench.desk.repairs().is_empty());
    let proofs = bench.proofs(&bench.desk);
    files.closed.store(false, Ordering::Relaxed);
    publish(&mut bench.desk, &bench.store, &*files).unwrap();
    assert!(bench.desk.repairs().is_empty() && bench.desk.publications().is_empty());
    let again = Desk::open(&bench.store, files, 1, CACHE_BYTES).unwrap();
    assert!(again.publications().is_empty() && again.tiles_waiting() == 0);
    assert_eq!(bench.proofs(&again), proofs);
}

#[test]
fn a_lost_tile_is_made_again_and_proofs_go_on_meanwhile() {
    let mut bench = bench_with_many_files();
    bench.publish();
    let proofs = bench.proofs(&bench.desk);
    let whole = MemoryFiles::clone(&bench.files);
    // The newest 64 are at hand after a start, so these are older.
    for (paths, missed) in [
        (&["tile/0/001"][..], None),
        (&["tile/0/000", "tile/0/001", "tile/0/002"], None),
        (&["tile/entries/000"], Some("tile/entries/000")),
    ] {
        let mut desk = bench.reopen().unwrap();
        for path in paths {
            bench.files.remove(ShardId(0), path).unwrap();
        }
        assert_eq!(bench.proofs(&desk), proofs, "{paths:?}");
        for path in [missed.unwrap_or("tile/0/000"), "tile/0/999", "tile/0/000.p/3", "nothing"] {
            desk.log(ShardId(0)).unwrap().missed(path);
        }
        assert_eq!(desk.repairs().len(), 1, "{paths:?}");
        publish(&mut desk, &bench.store, &*bench.files).unwrap();
        assert!(desk.repairs().is_empty());
        for path in paths {
            let made = bench.files.read(ShardId(0), path).unwrap();
            assert_eq!(made, whole.read(ShardId(0), path).unwrap(), "{path}");
        }
    }
    let desk = bench.reopen().unwrap();
    for path in ["tile/0/000", "tile/entries/001", "tile/0/999", "tile/0/156"] {
        desk.log(ShardId(0)).unwrap().missed(path);
    }
    assert!(desk.repairs().is_empty(), "what is there, or yet to come, is not missed");
}

#[test]
fn a_repair_from_changed_leaves_changes_nothing() {
    let mut bench = bench_with_tiles();
    bench.publish();
    let mut desk = bench.reopen().unwrap();
    bench.files.remove(ShardId(0), "tile/entries/001").unwrap();
    desk.log(ShardId(0)).unwrap().missed("tile/entries/001");
    let good = ["tile/0/000", "tile/entries/000", "tile/0/001"];
    let files = || good.map(|path| bench.files.read(ShardId(0), path).unwrap().unwrap());
    let before = files();
    for first in [10, 300] {
        bench.store.batches.range_mut((ShardId(0), first)..).next().unwrap().1.leaves[5] ^= 1;
    }
    publish(&mut desk, &bench.store, &*bench.files).unwrap();
    assert_eq!(bench.files.len(ShardId(0), "tile/entries/001").unwrap(), None);
    assert_eq!(files(), before, "the files are the better copy");
    assert!(desk.repairs().is_empty(), "it is not tried again for nothing");
    bench.events(1);
    assert!(desk.publications().is_empty());
}

#[test]
fn a_store_behind_its_ledger_is_refused() {
    let mut bench = Bench::new();
    bench.put(1, [1]);
    let yesterday = bench.store.clone();
    bench.put(1, [2]);
    bench.publish();
    bench.store = yesterday;
    let refused = bench.reopen().err().unwrap();
    assert!(matches!(refused, OpenDeskError::Log(LogError::LedgerAhead { store: 2, ledger: 4, .. })));
    assert!(refused.to_string().contains("the store lost a batch that the ledger has"), "{refused}");
    assert!(refused.to_string().contains("bring it back"), "{refused}");
}

#[test]
fn damaged_leaves_and_exchanged_rows_are_found_on_start() {
    let mut bench = Bench::new();
    bench.put(1, [1]);
    bench.put(2, [1]);
    assert!(bench.reopen().unwrap().shards_with_wrong_rows().is_empty());
    let good = bench.store.clone();
    let row = good.accounts[&account(2)].state.row.clone();
    bench.store.accounts.get_mut(&account(1)).unwrap().state.row = vec![row[0] ^ 1].into();
    assert_eq!(bench.reopen().unwrap().shards_with_wrong_rows(), [ShardId(0)]);
    bench.store = good;
    bench.store.batches.get_mut(&(ShardId(0), 0)).unwrap().leaves[5] ^= 1;
    assert!(matches!(bench.reopen().err(), Some(OpenDeskError::Log(LogError::Damaged(ShardId(0))))));
}

#[test]
fn the_cache_stays_within_its_bytes() {
    let mut cache = Cache::new(100);
    for n in 0..50u32 {
        cache.insert(n, (), 10);
        assert!(cache.fetch(&0).is_some());
    }
    assert!(cache.contains(&0) && cache.contains(&49) && !cache.contains(&10));
    assert_eq!((0..50).filter(|n| cache.contains(n)).count(), 10);
    cache.weigh(&49, |()| 1000);
    assert!(cache.contains(&49) || cache.contains(&0));
}
