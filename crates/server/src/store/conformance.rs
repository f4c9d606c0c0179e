//! What every store has to do, written once and run over each of them.

use super::*;
use crate::testing::{World, account, credential, device, device_put, service_row};
use keyferry_wire::door::LargeBlobPut;
use keyferry_wire::ledger::Class;

/// Runs the suite over a kind of store; `fresh` makes an empty one.
fn suite<S: Store>(fresh: impl Fn() -> S) {
    an_empty_store_has_nothing(fresh());
    a_commit_is_read_back(fresh());
    a_second_writer_is_refused(fresh());
    a_refused_commit_keeps_nothing(fresh());
    rows_are_replaced(fresh());
    large_blobs_come_and_go(fresh());
    changes_come_in_order_and_pages(fresh());
    leaves_are_linked_per_account(fresh());
    shards_are_apart(fresh());
}

fn an_empty_store_has_nothing<S: Store>(store: S) {
    assert_eq!(store.service().unwrap(), None);
    assert_eq!(store.tail(ShardId(0)).unwrap(), None);
    assert_eq!(store.account(&account(1)).unwrap(), None);
    assert_eq!(store.leaf(ShardId(0), 0).unwrap(), None);
    store.leaves_from(ShardId(0), 0, &mut |_| panic!("no leaves")).unwrap();
    store.accounts(&mut |_, _| panic!("no accounts")).unwrap();
}

fn a_commit_is_read_back<S: Store>(mut store: S) {
    let mut world = World::new(0);
    let mut edit = world.passkeys(account(1), [1, 2]);
    edit.devices.push(device_put(1, b"device one", Some([1; 32])));
    edit.devices.push(device_put(2, b"device two", None));
    let batch = world.batch(vec![edit]);
    store.commit(Some(&service_row(1)), std::slice::from_ref(&batch)).unwrap();

    assert_eq!(store.service().unwrap(), Some(service_row(1)));
    let tail = store.tail(ShardId(0)).unwrap().unwrap();
    assert_eq!((tail.number, tail.size), (1, 2));
    assert_eq!(tail.checkpoint, batch.checkpoint);
    assert_eq!(tail.seal, batch.leaves[LEAF_LEN..]);
    let stored = store.account(&account(1)).unwrap().unwrap();
    assert_eq!(stored.state, batch.accounts[0].state);
    assert_eq!((stored.map_key, stored.tail), (batch.accounts[0].map_key, Some(0)));
    let mut all = Vec::new();
    store.accounts(&mut |id, account| all.push((id, account))).unwrap();
    assert_eq!(all, [(account(1), stored.clone())]);

    let rows = store.devices(stored.key, &[device(2), device(9), device(1)]).unwrap();
    assert_eq!(rows.iter().map(|row| row.device).collect::<Vec<_>>(), [device(2), device(1)]);
    assert_eq!(&rows[1].row[..], b"device one");
    assert_eq!(store.device_ids(stored.key).unwrap(), [device(1), device(2)]);
    assert_eq!(store.access(stored.key).unwrap(), [(device(1), [1; 32])]);
    assert_eq!(
        store.passkey(stored.key, &credential(2)).unwrap().as_ref(),
        Some(&batch.accounts[0].passkeys[1])
    );
    assert_eq!(store.passkey(stored.key, &credential(3)).unwrap(), None);
    let mut vault = Vec::new();
    store.vault(stored.key, &mut |row| vault.push(row)).unwrap();
    vault.sort_by_key(|row| row.id);
    assert_eq!(vault, batch.accounts[0].passkeys);
}

fn a_second_writer_is_refused<S: Store>(mut store: S) {
    let mut world = World::new(0);
    let mut edit = |n| {
        let edit = world.edit(account(n));
        world.batch(vec![edit])
    };
    let (first, second) = (edit(1), edit(2));
    let gap = store.commit(None, std::slice::from_ref(&second));
    assert!(matches!(gap, Err(CommitError::Conflict { newest: None, .. })), "{gap:?}");
    store.commit(None, std::slice::from_ref(&first)).unwrap();
    let again = store.commit(None, std::slice::from_ref(&first));
    assert!(matches!(again, Err(CommitError::Conflict { newest: Some(1), offered: 1, .. })), "{again:?}");
    let mut forged = second.clone();
    forged.first_leaf += 1;
    assert!(matches!(store.commit(None, &[forged]), Err(CommitError::Conflict { .. })));
    store.commit(None, &[second]).unwrap();
    assert_eq!(store.tail(ShardId(0)).unwrap().unwrap().number, 2);
}

fn a_refused_commit_keeps_nothing<S: Store>(mut store: S) {
    let (mut zero, mut one) = (World::new(0), World::new(1));
    let edit = zero.edit(account(1));
    let good = zero.batch(vec![edit]);
    one.scribe.batch(Class::Event, Vec::new());
    let edit = one.edit(account(2));
    let gap = one.batch(vec![edit]);
    assert!(store.commit(Some(&service_row(2)), &[good, gap]).is_err());
    an_empty_store_has_nothing(store);
}

fn rows_are_replaced<S: Store>(mut store: S) {
    let mut world = World::new(0);
    let mut edit = world.passkeys(account(1), [1]);
    edit.devices.push(device_put(1, b"old", Some([1; 32])));
    let first = world.batch(vec![edit]);
    let mut edit = world.passkeys(account(1), [1]);
    edit.passkeys[0].deleted = true;
    edit.passkeys[0].blob = Vec::new().into();
    edit.devices.push(device_put(1, b"new", None));
    let second = world.batch(vec![edit]);
    let expected = second.accounts[0].clone();
    store.commit(None, &[first, second]).unwrap();
    let stored = store.account(&account(1)).unwrap().unwrap();
    assert_eq!(stored.state, expected.state);
    assert_eq!(store.passkey(stored.key, &credential(1)).unwrap().as_ref(), Some(&expected.passkeys[0]));
    assert_eq!(&store.devices(stored.key, &[device(1)]).unwrap()[0].row[..], b"new");
    assert_eq!(store.access(stored.key).unwrap(), []);
}

fn large_blobs_come_and_go<S: Store>(mut store: S) {
    let mut world = World::new(0);
    let mut batch = |sealed: Option<&[u8]>, hash| {
        let mut edit = world.passkeys(account(1), [1, 2]);
        edit.passkeys[0].large_blob = hash;
        let mut batch = world.batch(vec![edit]);
        let sealed = sealed.map(Into::into);
        batch.accounts[0].large_blobs = vec![LargeBlobPut { id: credential(1), sealed }];
        batch
    };
    for (sealed, hash) in [(Some(&[7; 8192][..]), Some([7; 32])), (Some(b"new"), Some([8; 32])), (None, None)]
    {
        store.commit(None, &[batch(sealed, hash)]).unwrap();
        let key = store.account(&account(1)).unwrap().unwrap().key;
        assert_eq!(store.large_blob(key, &credential(1)).unwrap().as_deref(), sealed);
        assert_eq!(store.large_blob(key, &credential(2)).unwrap(), None);
        assert_eq!(store.passkey(key, &credential(1)).unwrap().unwrap().large_blob, hash);
        let rows = store.changed(key, 0, 9).unwrap();
        assert_eq!(rows.iter().filter(|row| row.large_blob.is_some()).count(), usize::from(hash.is_some()));
    }
}

fn changes_come_in_order_and_pages<S: Store>(mut store: S) {
    let mut world = World::new(0);
    let edit = world.passkeys(account(1), [9, 8, 7, 6]);
    let first = world.batch(vec![edit]);
    let edit = world.passkeys(account(1), [8]);
    let second = world.batch(vec![edit]);
    store.commit(None, &[first, second]).unwrap();
    let key = store.account(&account(1)).unwrap().unwrap().key;
    let changed = |after, limit| {
        let rows = store.changed(key, after, limit).unwrap();
        rows.iter().map(|row| (row.id.0[0], row.vault_seq)).collect::<Vec<_>>()
    };
    assert_eq!(changed(0, 10), [(9, 1), (7, 3), (6, 4), (8, 5)]);
    assert_eq!(changed(1, 2), [(7, 3), (6, 4)]);
    assert_eq!(changed(5, 2), []);
    assert_eq!(changed(u64::MAX, 2), []);
}

fn leaves_are_linked_per_account<S: Store>(mut store: S) {
    let mut world = World::new(0);
    let mut batches = Vec::new();
    for events in [2, 1] {
        let (mut one, mut two) = (world.edit(account(1)), world.edit(account(2)));
        (one.events, two.events) = (events, 1);
        batches.push(world.batch(vec![one, two]));
    }
    store.commit(None, &batches).unwrap();
    // 0, 1: account 1; 2: account 2; 3: seal; 4: account 1; 5: account 2; 6: seal.
    let previous = |index| store.leaf(ShardId(0), index).unwrap().unwrap().previous;
    assert_eq!([0, 1, 4].map(previous), [None, Some(0), Some(1)]);
    assert_eq!([2, 5].map(previous), [None, Some(2)]);
    assert_eq!([3, 6].map(previous), [None, None]);
    assert_eq!(store.account(&account(1)).unwrap().unwrap().tail, Some(4));
    assert_eq!(store.leaf(ShardId(0), 7).unwrap(), None);
    assert_eq!(store.leaf(ShardId(0), 5).unwrap().unwrap().leaf, batches[1].leaves[LEAF_LEN..2 * LEAF_LEN]);
    let mut runs = Vec::new();
    store
        .leaves_from(ShardId(0), 2, &mut |run| {
            runs.push((run.first, run.leaves));
            true
        })
        .unwrap();
    assert_eq!(runs.iter().map(|run| run.0).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(runs[0].1, batches[0].leaves[2 * LEAF_LEN..]);
}

fn shards_are_apart<S: Store>(mut store: S) {
    let (mut zero, mut one) = (World::new(0), World::new(1));
    let edit = |world: &mut World, n| {
        let edit = world.passkeys(account(n), [1]);
        world.batch(vec![edit])
    };
    let batches = [edit(&mut zero, 1), edit(&mut one, 2), edit(&mut one, 2)];
    store.commit(None, &batches).unwrap();
    assert_eq!(store.tail(ShardId(0)).unwrap().unwrap().number, 1);
    assert_eq!(store.tail(ShardId(1)).unwrap().unwrap().number, 2);
    let [a, b] = [1, 2].map(|n| store.account(&account(n)).unwrap().unwrap());
    assert_eq!((a.key.shard, b.key.shard), (ShardId(0), ShardId(1)));
    assert_eq!(store.changed(a.key, 0, 9).unwrap()[0].vault_seq, 1);
    assert_eq!(store.changed(b.key, 0, 9).unwrap()[0].vault_seq, 2);
    assert_eq!(store.leaf(ShardId(1), 2).unwrap().unwrap().previous, Some(0));
}

#[test]
fn memory_store_conforms() {
    suite(MemoryStore::new);
}

#[test]
fn sqlite_store_conforms() {
    let folder = tempfile::tempdir().unwrap();
    let count = std::cell::Cell::new(0);
    suite(|| {
        count.set(count.get() + 1);
        SqliteStore::open(&folder.path().join(count.get().to_string())).unwrap()
    });
}

mod sqlite_alone {
    use super::*;

    #[test]
    fn two_gateways_on_one_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let first = SqliteStore::open(folder.path()).unwrap();
        let second = SqliteStore::open(folder.path()).err().unwrap();
        assert!(matches!(second, OpenError::InUse(_)), "{second}");
        assert!(second.to_string().contains("another gateway is running"));
        drop(first);
        SqliteStore::open(folder.path()).unwrap();
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(folder.path()).unwrap());
        let connection = rusqlite::Connection::open(folder.path().join("keyferry.db")).unwrap();
        connection.pragma_update(None, "user_version", SCHEMA + 1).unwrap();
        drop(connection);
        assert!(matches!(SqliteStore::open(folder.path()), Err(OpenError::Newer { .. })));
    }

    /// The lock is a file that an operator can take away. A writer then still finds out by the place of its next batch,
    /// although it remembers where its log ended.
    #[test]
    fn a_writer_that_was_overtaken_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut first = SqliteStore::open(folder.path()).unwrap();
        let mut world = World::new(0);
        let mut next = |n| {
            let edit = world.edit(account(n));
            world.batch(vec![edit])
        };
        let [one, two] = [next(1), next(2)];
        first.commit(None, std::slice::from_ref(&one)).unwrap();
        std::fs::remove_file(folder.path().join("lock")).unwrap();
        let mut second = SqliteStore::open(folder.path()).unwrap();
        second.commit(None, std::slice::from_ref(&two)).unwrap();
        let mut late = two.clone();
        late.accounts[0].state.seq += 1;
        first.commit(None, std::slice::from_ref(&late)).unwrap_err();
        let kept = first.account(&account(2)).unwrap().unwrap();
        assert_eq!(kept.state, two.accounts[0].state);
        // By then it has looked.
        let refused = first.commit(None, &[late]);
        assert!(matches!(refused, Err(CommitError::Conflict { newest: Some(2), .. })), "{refused:?}");
    }

    /// The tables of schema 1, as the first version made them, with a row of a passkey.
    const FIRST: &str = "
        CREATE TABLE service (id INTEGER PRIMARY KEY CHECK (id = 1), row BLOB NOT NULL);
        CREATE TABLE batches (place INTEGER PRIMARY KEY, number INTEGER NOT NULL, count INTEGER NOT NULL,
            checkpoint TEXT NOT NULL, seal BLOB NOT NULL, leaves BLOB NOT NULL);
        CREATE TABLE accounts (number INTEGER PRIMARY KEY, shard INTEGER NOT NULL, account BLOB NOT NULL,
            map_key BLOB NOT NULL, seq INTEGER NOT NULL, head BLOB NOT NULL, vault_seq INTEGER NOT NULL,
            vault_root BLOB NOT NULL, tail INTEGER, row BLOB NOT NULL);
        CREATE UNIQUE INDEX accounts_by_id ON accounts (account, shard);
        CREATE TABLE devices (shard INTEGER NOT NULL, number INTEGER NOT NULL, device BLOB NOT NULL, access BLOB,
            row BLOB NOT NULL, PRIMARY KEY (shard, number, device)) WITHOUT ROWID;
        CREATE TABLE passkeys (shard INTEGER NOT NULL, number INTEGER NOT NULL, id BLOB NOT NULL,
            version INTEGER NOT NULL, vault_seq INTEGER NOT NULL, deleted INTEGER NOT NULL, epoch INTEGER NOT NULL,
            blob BLOB NOT NULL, metadata BLOB NOT NULL, PRIMARY KEY (shard, number, id)) WITHOUT ROWID;
        CREATE INDEX passkeys_by_change ON passkeys (shard, number, vault_seq);
        INSERT INTO passkeys VALUES (0, 1, x'01010101010101010101010101010101', 2, 3, 0, 1, x'0a', x'0b');
        PRAGMA user_version = 1;";

    #[test]
    fn a_store_of_schema_1_is_read_and_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let connection = rusqlite::Connection::open(folder.path().join("keyferry.db")).unwrap();
        connection.execute_batch(FIRST).unwrap();
        drop(connection);
        for _ in 0..2 {
            let store = SqliteStore::open(folder.path()).unwrap();
            let key = AccountKey { shard: ShardId(0), number: 1 };
            let row = store.passkey(key, &CredentialId([1; 16])).unwrap().unwrap();
            assert_eq!((row.version, &row.blob[..], row.large_blob), (2, &[10][..], None));
            assert_eq!(store.large_blob(key, &row.id).unwrap(), None);
        }
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let mut world = World::new(0);
        let edit = world.passkeys(account(1), [1]);
        store.commit(None, &[world.batch(vec![edit])]).unwrap();
    }

    /// From today's tables to those of schema 2.
    const BACK_TO_SCHEMA_2: &str = "
        CREATE TABLE accounts (number INTEGER PRIMARY KEY, shard INTEGER NOT NULL, account BLOB NOT NULL,
            map_key BLOB NOT NULL, seq INTEGER NOT NULL, head BLOB NOT NULL, vault_seq INTEGER NOT NULL,
            vault_root BLOB NOT NULL, tail INTEGER, row BLOB NOT NULL);
        INSERT INTO accounts SELECT place >> 16, shard, account, map_key, seq, head, vault_seq, vault_root, tail, row
            FROM rows WHERE account IS NOT NULL;
        CREATE UNIQUE INDEX accounts_by_id ON accounts (account, shard);
        CREATE TABLE devices (shard INTEGER NOT NULL, number INTEGER NOT NULL, device BLOB NOT NULL, access BLOB,
            row BLOB NOT NULL, PRIMARY KEY (shard, number, device)) WITHOUT ROWID;
        INSERT INTO devices SELECT 0, place >> 16, device, access, row FROM rows WHERE device IS NOT NULL;
        DROP TABLE rows;
        DROP INDEX batches_by_place;
        ALTER TABLE batches RENAME TO newer;
        CREATE TABLE batches (place INTEGER PRIMARY KEY, number INTEGER NOT NULL, count INTEGER NOT NULL,
            checkpoint TEXT NOT NULL, seal BLOB NOT NULL, leaves BLOB NOT NULL);
        INSERT INTO batches SELECT place, number, count, checkpoint, substr(leaves, -232, 224), leaves FROM newer;
        DROP TABLE newer;
        PRAGMA user_version = 2;";

    #[test]
    fn rows_and_leaves_of_a_store_of_schema_2_are_read_and_written_on() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let mut world = World::new(0);
        let mut edits = [1, 2].map(|n| world.edit(account(n)));
        edits[0].devices.push(device_put(2, &[2; 1100], Some([2; 32])));
        edits[0].devices.push(device_put(1, &[1; 1100], None));
        edits[1].devices.push(device_put(1, &[3; 1100], Some([3; 32])));
        let first = world.batch(edits.into());
        store.commit(None, std::slice::from_ref(&first)).unwrap();
        let (tail, leaf) = (store.tail(ShardId(0)).unwrap(), store.leaf(ShardId(0), 1).unwrap());
        let accounts = [1, 2].map(|n| store.account(&account(n)).unwrap());
        assert!(tail.is_some() && leaf.is_some());
        drop(store);
        let connection = rusqlite::Connection::open(folder.path().join("keyferry.db")).unwrap();
        connection.execute_batch(BACK_TO_SCHEMA_2).unwrap();
        drop(connection);
        let mut store = SqliteStore::open(folder.path()).unwrap();
        assert_eq!((store.tail(ShardId(0)).unwrap(), store.leaf(ShardId(0), 1).unwrap()), (tail, leaf));
        assert_eq!([1, 2].map(|n| store.account(&account(n)).unwrap()), accounts);
        let keys = accounts.map(|account| account.unwrap().key);
        assert_eq!(store.device_ids(keys[0]).unwrap(), [device(1), device(2)]);
        assert_eq!(store.access(keys[0]).unwrap(), [(device(2), [2; 32])]);
        assert_eq!(&store.devices(keys[1], &[device(1)]).unwrap()[0].row[..], [3; 1100]);
        let mut edits = vec![world.edit(account(1)), world.edit(account(3))];
        edits[0].devices.push(device_put(2, b"newer", Some([4; 32])));
        edits[0].devices.push(device_put(3, b"third", None));
        let second = world.batch(edits);
        store.commit(None, &[second]).unwrap();
        assert_eq!(store.device_ids(keys[0]).unwrap(), [device(1), device(2), device(3)]);
        assert_eq!(&store.devices(keys[0], &[device(2)]).unwrap()[0].row[..], b"newer");
        assert_eq!(store.account(&account(3)).unwrap().unwrap().key.number, 3);
        drop(store);
        SqliteStore::open(folder.path()).unwrap();
    }

    #[test]
    fn what_a_refused_commit_held_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let mut world = World::new(0);
        let edits = vec![world.edit(account(1)), world.edit(account(2))];
        let first = world.batch(edits);
        let mut forged = first.clone();
        // Refused after its rows were written: two batches with one place.
        forged.number = 1;
        forged.leaves = Vec::new().into();
        let mut twice = first.clone();
        twice.number = 2;
        assert!(store.commit(None, &[forged, twice]).is_err());
        an_empty_store_has_nothing_of(&store, 1);
        store.commit(None, &[first]).unwrap();
        let mut edits = vec![world.edit(account(2)), world.edit(account(1))];
        edits[0].devices.push(device_put(1, b"of two", None));
        let second = world.batch(edits);
        store.commit(None, std::slice::from_ref(&second)).unwrap();
        let [one, two] = [1, 2].map(|n| store.account(&account(n)).unwrap().unwrap());
        assert_eq!(
            (one.state, two.state),
            (second.accounts[1].state.clone(), second.accounts[0].state.clone())
        );
        assert_eq!(store.device_ids(one.key).unwrap(), []);
        assert_eq!(store.device_ids(two.key).unwrap(), [device(1)]);
        assert_eq!(store.leaf(ShardId(0), 3).unwrap().unwrap().previous, Some(1));
    }

    fn an_empty_store_has_nothing_of(store: &SqliteStore, n: u8) {
        assert_eq!(store.account(&account(n)).unwrap(), None);
        assert_eq!(store.tail(ShardId(0)).unwrap(), None);
    }

    #[test]
    fn a_full_disk_keeps_nothing_and_goes_on_after_space_is_freed() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let mut world = World::new(0);
        let edit = world.edit(account(1));
        let first = world.batch(vec![edit]);
        store.commit(None, &[first]).unwrap();
        let mut edit = world.passkeys(account(2), 0..200);
        edit.devices.push(device_put(1, &[7; 50_000], None));
        let large = world.batch(vec![edit]);
        store.limit_pages(store.pages() + 2);
        let full = store.commit(Some(&service_row(1)), std::slice::from_ref(&large));
        assert!(matches!(full, Err(CommitError::Full)), "{full:?}");
        assert_eq!(store.account(&account(2)).unwrap(), None);
        assert_eq!(store.service().unwrap(), None);
        assert_eq!(store.tail(ShardId(0)).unwrap().unwrap().number, 1);
        store.limit_pages(1 << 20);
        store.commit(Some(&service_row(1)), &[large]).unwrap();
        assert_eq!(store.tail(ShardId(0)).unwrap().unwrap().number, 2);
    }

    #[test]
    fn a_reader_stands_still_until_refreshed() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let reader = store.reader().unwrap();
        reader.refresh().unwrap();
        let mut world = World::new(0);
        let edit = world.edit(account(1));
        let batch = world.batch(vec![edit]);
        store.commit(None, &[batch]).unwrap();
        assert_eq!(reader.account(&account(1)).unwrap(), None);
        reader.refresh().unwrap();
        assert!(reader.account(&account(1)).unwrap().is_some());
    }

    fn commit_often(store: &mut SqliteStore, world: &mut World, times: usize) {
        for _ in 0..times {
            let edit = world.edit(account(1));
            store.commit(None, &[world.batch(vec![edit])]).unwrap();
        }
    }

    #[test]
    fn what_a_standing_reader_keeps_in_the_write_ahead_log_stays_counted() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let (mover, reader) = (store.mover().unwrap(), store.reader().unwrap());
        let mut world = World::new(0);
        commit_often(&mut store, &mut world, 10);
        reader.refresh().unwrap();
        let mut before = 0;
        for _ in 0..3 {
            commit_often(&mut store, &mut world, 100);
            mover.move_log().unwrap();
            store.move_log().unwrap();
            let pages = store.logged_pages();
            assert!(pages >= before + 100, "{pages} are counted after {before}");
            before = pages;
        }
        reader.refresh().unwrap();
        store.move_log().unwrap();
        assert_eq!(store.logged_pages(), 0);
    }

    #[test]
    fn a_log_that_a_crash_left_is_counted_from_the_start() {
        let (folder, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut store = SqliteStore::open(folder.path()).unwrap();
        commit_often(&mut store, &mut World::new(0), 100);
        for name in ["keyferry.db", "keyferry.db-wal"] {
            std::fs::copy(folder.path().join(name), crashed.path().join(name)).unwrap();
        }
        let mut store = SqliteStore::open(crashed.path()).unwrap();
        assert!(store.logged_pages() >= 100);
        store.move_log().unwrap();
        assert_eq!(store.logged_pages(), 0);
    }

    #[test]
    fn the_write_ahead_log_starts_over_under_a_standing_reader() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(folder.path()).unwrap();
        let reader = store.reader().unwrap();
        let mut world = World::new(0);
        let log = folder.path().join("keyferry.db-wal");
        let mover = store.mover().unwrap();
        let batch = |world: &mut World| {
            let edit = world.edit(account(1));
            world.batch(vec![edit])
        };
        let (mut largest, mut moved) = (0, 0);
        for _ in 0..4000 {
            store.commit(None, &[batch(&mut world)]).unwrap();
            reader.refresh().unwrap();
            if store.log_is_long() {
                // The bulk while the writer could go on, then the rest.
                mover.move_log().unwrap();
                store.commit(None, &[batch(&mut world)]).unwrap();
                reader.refresh().unwrap();
                store.move_log().unwrap();
                reader.refresh().unwrap();
                moved += 1;
            }
            largest = std::fs::metadata(&log).unwrap().len().max(largest);
        }
        assert!(moved > 0 && largest < 40 << 20, "moved {moved} times, the log grew to {largest} bytes");
    }
}
