//! From the schema that a file has to today's, step by step.
//!
//! A step is a function with the number of the schema that it starts from. All steps of an upgrade run in one
//! transaction, so a file has the old schema or today's, whatever happens on the way; and before the first of them
//! the file is copied aside, so that the operator can go back to the program that wrote it. Absent: the meaning of
//! rows. A step moves columns and encodings of the store; what is sealed in a row, only the enclave reads.

use super::OpenError;
use rusqlite::{Connection, Transaction, TransactionBehavior};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

/// Where an upgrade says how far it is.
pub(super) type Say<'a> = &'a mut dyn FnMut(&str);

/// One step: from schema `from` to the next one.
pub(super) struct Step {
    pub(super) from: i64,
    /// What it changes, in a few words for the operator.
    pub(super) what: &'static str,
    /// Does it. A step that can take long says now and then how far it is.
    pub(super) run: fn(&Transaction<'_>, Say<'_>) -> rusqlite::Result<()>,
}

/// The steps from the first schema to today's, in order and without a gap: a change of `schema::TABLES` adds one.
pub(super) const STEPS: &[Step] = &[
    Step {
        from: 1,
        what: "passkeys name a large blob, which lies apart",
        run: |transaction, _| {
            transaction.execute_batch(
                "ALTER TABLE passkeys ADD COLUMN large_blob BLOB;
                 CREATE TABLE large_blobs (
                     shard INTEGER NOT NULL,
                     number INTEGER NOT NULL,
                     id BLOB NOT NULL,
                     sealed BLOB NOT NULL,
                     PRIMARY KEY (shard, number, id)
                 );",
            )
        },
    },
    Step {
        from: 2,
        what: "devices lie in a table that holds their rows without overflow pages",
        run: |transaction, _| {
            // As schema 3 made it: later changes of the table are steps of their own.
            transaction.execute_batch(
                "ALTER TABLE devices RENAME TO devices_2;
                 CREATE TABLE devices (
                     shard INTEGER NOT NULL,
                     number INTEGER NOT NULL,
                     device BLOB NOT NULL,
                     access BLOB,
                     row BLOB NOT NULL,
                     PRIMARY KEY (shard, number, device)
                 );
                 INSERT INTO devices (shard, number, device, access, row)
                     SELECT shard, number, device, access, row FROM devices_2 ORDER BY number, device;
                 DROP TABLE devices_2;",
            )
        },
    },
    Step {
        from: 3,
        what: "batches lie in the order of their commits, and the rows of devices beside their account's",
        run: |transaction, say| {
            transaction.execute_batch(
                "ALTER TABLE batches RENAME TO batches_3;
                 CREATE TABLE batches (
                     id INTEGER PRIMARY KEY,
                     place INTEGER NOT NULL,
                     number INTEGER NOT NULL,
                     count INTEGER NOT NULL,
                     checkpoint TEXT NOT NULL,
                     leaves BLOB NOT NULL
                 );
                 INSERT INTO batches (place, number, count, checkpoint, leaves)
                     SELECT place, number, count, checkpoint, leaves FROM batches_3 ORDER BY place;
                 CREATE UNIQUE INDEX batches_by_place ON batches (place);
                 DROP TABLE batches_3;",
            )?;
            say("the ledger's leaves are done");
            transaction.execute_batch(
                "CREATE TABLE rows (
                     place INTEGER PRIMARY KEY,
                     device BLOB,
                     access BLOB,
                     account BLOB,
                     shard INTEGER,
                     map_key BLOB,
                     seq INTEGER,
                     head BLOB,
                     vault_seq INTEGER,
                     vault_root BLOB,
                     tail INTEGER,
                     row BLOB NOT NULL
                 );
                 INSERT INTO rows
                     SELECT number << 16, NULL, NULL, account, shard, map_key, seq, head, vault_seq, vault_root,
                            tail, row FROM accounts
                     UNION ALL
                     SELECT number << 16 | row_number() OVER (PARTITION BY number ORDER BY rowid), device, access,
                            NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, row FROM devices
                     ORDER BY 1;
                 CREATE UNIQUE INDEX rows_by_account ON rows (account, shard) WHERE account IS NOT NULL;
                 DROP TABLE accounts;
                 DROP TABLE devices;",
            )
        },
    },
];

/// Brings a file of schema `found` to `wanted`. `file` is where its database lies.
pub(super) fn upgrade(
    connection: &mut Connection,
    file: &Path,
    steps: &[Step],
    (found, wanted): (i64, i64),
    say: Say<'_>,
) -> Result<(), OpenError> {
    let due: Vec<&Step> = steps.iter().filter(|step| (found..wanted).contains(&step.from)).collect();
    if !due.iter().map(|step| step.from).eq(found..wanted) {
        return Err(OpenError::NoSteps { found });
    }
    let kept = kept_file(file, found);
    say(&format!("the store has schema {found}; it is kept as {}", kept.display()));
    keep(connection, &kept)?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in due {
        let next = step.from + 1;
        say(&format!("schema {next}: {}", step.what));
        (step.run)(&transaction, say)?;
        transaction.pragma_update(None, "user_version", next)?;
    }
    transaction.commit()?;
    match cut_log(connection) {
        Ok(true) => {}
        Ok(false) => say("somebody reads the store: its write-ahead log stays long until it is moved"),
        Err(error) => say(&format!("the store's write-ahead log could not be moved yet: {error}")),
    }
    say(&format!("the store has schema {wanted} now"));
    Ok(())
}

/// All that was rewritten is in the write-ahead log as well: moves it and cuts its file; `false` when somebody who reads
/// the store keeps it from that.
fn cut_log(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| Ok(row.get::<_, i64>(0)? == 0))
}

/// Where a file of this schema is kept when it is upgraded.
pub(super) fn kept_file(file: &Path, schema: i64) -> PathBuf {
    file.with_extension(format!("db.schema-{schema}"))
}

/// Copies the database as it is, whole or not at all. A copy that an upgrade left which did not end is replaced.
fn keep(connection: &Connection, kept: &Path) -> Result<(), OpenError> {
    let failed = |cause: io::Error| OpenError::File { path: kept.to_path_buf(), cause };
    let new = kept.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    connection.execute("VACUUM INTO ?1", [new.to_string_lossy()])?;
    let settle = || {
        File::open(&new)?.sync_all()?;
        fs::rename(&new, kept)?;
        File::open(kept.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    settle().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::super::SCHEMA;
    use super::*;

    fn number(connection: &Connection, sql: &str) -> i64 {
        connection.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    /// A store of an artificial schema 1: half as wide a table as schema 3 has.
    fn old_store(file: &Path) -> Connection {
        let connection = Connection::open(file).unwrap();
        let sql = "CREATE TABLE rows (id INTEGER PRIMARY KEY); INSERT INTO rows VALUES (7), (9); PRAGMA user_version = 1;";
        connection.execute_batch(sql).unwrap();
        connection
    }

    const WIDER: Step = Step {
        from: 1,
        what: "rows have a size",
        run: |transaction, say| {
            transaction.execute_batch("ALTER TABLE rows ADD COLUMN size INTEGER")?;
            say("2 of 2 rows");
            transaction.execute_batch("UPDATE rows SET size = id * 10")
        },
    };
    const FEWER: Step = Step {
        from: 2,
        what: "small rows are gone",
        run: |transaction, _| transaction.execute_batch("DELETE FROM rows WHERE size < 80"),
    };
    const BROKEN: Step =
        Step { from: 2, what: "fails", run: |transaction, _| transaction.execute_batch("no such words") };

    #[test]
    fn steps_run_in_order_and_the_old_file_is_kept() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("keyferry.db");
        let mut connection = old_store(&file);
        let mut said = Vec::new();
        upgrade(&mut connection, &file, &[WIDER, FEWER], (1, 3), &mut |line| said.push(line.to_owned()))
            .unwrap();
        assert_eq!(number(&connection, "PRAGMA user_version"), 3);
        assert_eq!(number(&connection, "SELECT sum(size) FROM rows"), 90);
        assert_eq!(
            said[1..],
            [
                "schema 2: rows have a size",
                "2 of 2 rows",
                "schema 3: small rows are gone",
                "the store has schema 3 now"
            ]
        );
        let kept = Connection::open(kept_file(&file, 1)).unwrap();
        assert_eq!(number(&kept, "PRAGMA user_version"), 1);
        assert_eq!(number(&kept, "SELECT sum(id) FROM rows"), 16);
    }

    #[test]
    fn after_an_upgrade_the_write_ahead_log_is_short() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("keyferry.db");
        let mut connection = old_store(&file);
        connection.pragma_update(None, "journal_mode", "WAL").unwrap();
        connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        upgrade(&mut connection, &file, &[WIDER, FEWER], (1, 3), &mut |_| {}).unwrap();
        assert_eq!(fs::metadata(temp.path().join("keyferry.db-wal")).unwrap().len(), 0);
    }

    #[test]
    fn upgrade_that_fails_on_the_way_leaves_the_old_file_and_can_be_tried_again() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("keyferry.db");
        let mut connection = old_store(&file);
        for steps in [&[WIDER, BROKEN], &[WIDER, BROKEN]] {
            upgrade(&mut connection, &file, steps, (1, 3), &mut |_| {}).unwrap_err();
            assert_eq!(number(&connection, "PRAGMA user_version"), 1);
            assert_eq!(number(&connection, "SELECT count(*) FROM pragma_table_info('rows')"), 1);
        }
        upgrade(&mut connection, &file, &[WIDER, FEWER], (1, 3), &mut |_| {}).unwrap();
        assert_eq!(number(&connection, "SELECT count(*) FROM rows"), 1);
    }

    #[test]
    fn file_to_which_no_steps_lead_is_refused_before_anything_is_written() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("keyferry.db");
        let mut connection = old_store(&file);
        let refused = upgrade(&mut connection, &file, &[FEWER], (1, 3), &mut |_| {}).unwrap_err();
        assert!(matches!(refused, OpenError::NoSteps { found: 1 }), "{refused}");
        assert!(!kept_file(&file, 1).exists());
    }

    #[test]
    fn steps_lead_from_the_first_schema_to_todays() {
        assert!(STEPS.iter().map(|step| step.from).eq(1..SCHEMA));
    }
}
