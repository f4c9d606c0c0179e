//! The store as its operator can reach it: with SQLite, while no service runs.

use rusqlite::types::Value as Cell;
use rusqlite::{Connection, params_from_iter};
use std::path::Path;
use std::process::Command;

pub(crate) struct Tables {
    pub(crate) connection: Connection,
}

/// A whole row with the names of its columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct StoredRow {
    pub(crate) table: &'static str,
    pub(crate) cells: Vec<(String, Cell)>,
}

impl Tables {
    #[track_caller]
    pub(crate) fn open(data: &Path) -> Tables {
        let file = data.join("store/keyferry.db");
        assert!(file.exists(), "no store at {}", file.display());
        Tables { connection: Connection::open(file).unwrap() }
    }

    /// Rows of a table in the order of its key.
    #[track_caller]
    pub(crate) fn rows(&self, table: &'static str) -> Vec<StoredRow> {
        self.select(table, "true")
    }

    /// The rows that accounts have for themselves.
    #[track_caller]
    pub(crate) fn accounts(&self) -> Vec<StoredRow> {
        self.select("rows", "account IS NOT NULL")
    }

    /// The rows of all devices.
    #[track_caller]
    pub(crate) fn devices(&self) -> Vec<StoredRow> {
        self.select("rows", "device IS NOT NULL")
    }

    fn select(&self, table: &'static str, which: &str) -> Vec<StoredRow> {
        let sql = format!("SELECT * FROM {table} NOT INDEXED WHERE {which}");
        let mut statement = self.connection.prepare(&sql).unwrap();
        let names: Vec<_> = statement.column_names().into_iter().map(str::to_owned).collect();
        let mut rows = statement.query([]).unwrap();
        let mut found = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            let cell = |(at, name): (usize, &String)| (name.clone(), row.get(at).unwrap());
            found.push(StoredRow { table, cells: names.iter().enumerate().map(cell).collect() });
        }
        found
    }

    /// Writes a row over whatever has its key.
    #[track_caller]
    pub(crate) fn put(&self, row: &StoredRow) {
        let names: Vec<_> = row.cells.iter().map(|(name, _)| name.as_str()).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let sql = format!("INSERT OR REPLACE INTO {} ({}) VALUES ({marks})", row.table, names.join(", "));
        let cells = params_from_iter(row.cells.iter().map(|(_, cell)| cell));
        assert_eq!(self.connection.execute(&sql, cells).unwrap(), 1);
    }

    /// Runs an edit; it must change something.
    #[track_caller]
    pub(crate) fn edit(&self, sql: &str) {
        assert!(self.connection.execute(sql, []).unwrap() > 0, "{sql} changed nothing");
    }
}

/// Where the store keeps the row of the account with this number; its devices follow.
pub(crate) fn place(number: i64) -> i64 {
    number << 16
}

impl StoredRow {
    /// Number of the account that a row belongs to.
    #[track_caller]
    pub(crate) fn account_number(&self) -> i64 {
        self.number("place") >> 16
    }

    #[track_caller]
    pub(crate) fn cell(&self, name: &str) -> &Cell {
        let found = self.cells.iter().find(|(other, _)| other == name);
        &found.unwrap_or_else(|| panic!("{} has no column {name}", self.table)).1
    }

    #[track_caller]
    pub(crate) fn with(&self, name: &str, cell: &Cell) -> StoredRow {
        let mut row = self.clone();
        let found = row.cells.iter_mut().find(|(other, _)| other == name);
        found.unwrap_or_else(|| panic!("{} has no column {name}", self.table)).1 = cell.clone();
        row
    }

    #[track_caller]
    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        match self.cell(name) {
            Cell::Blob(bytes) => bytes.clone(),
            other => panic!("{name} is {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn number(&self, name: &str) -> i64 {
        match self.cell(name) {
            Cell::Integer(number) => *number,
            other => panic!("{name} is {other:?}"),
        }
    }
}

/// Copies a folder with everything in it, as a back-up does.
#[track_caller]
pub(crate) fn copy_folder(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}
