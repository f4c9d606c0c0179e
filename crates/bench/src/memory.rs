//! B8: resident memory of gateway and enclave with many accounts, after a restart and after use; with it the size on
//! disk (B9). How long that restart takes is measured by `start`.

use crate::Fallible;
use crate::assertion::sign_in;
use crate::latency::folder_len;
use crate::load::{Fleet, Pace};
use crate::measure::Spread;
use crate::member::Member;
use crate::populate;
use crate::report::{Goal, Row};
use crate::role::{GatewayPlan, Service};
use crate::settings::Settings;
use crate::start::{self, Starts};
use keyferry_server::CommitMode;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;

/// Resident MB of a service: all of it, and what has no file behind it.
#[derive(Clone, Debug)]
struct Resident {
    all: Vec<f64>,
    own: Vec<f64>,
}

pub(crate) struct Memory {
    accounts: usize,
    restarted: Resident,
    used: Resident,
    pub(crate) starts: Starts,
    disk: Disk,
}

/// What the store's file holds, its size, and that of the ledger's files.
#[derive(Clone, Copy, Debug)]
struct Disk {
    file: f64,
    ledger: f64,
    /// Of the file: what the batches take.
    batches: f64,
    ciphertext: f64,
    objects: f64,
    entries: f64,
    devices: f64,
}

/// Adds accounts to a store until there are enough, starts anew, and measures.
pub(crate) fn measure(settings: &Settings, store: &Path, mut members: Vec<Member>) -> Fallible<Memory> {
    let plan = settings.gateway(store, None, CommitMode::Group);
    settings.cores.use_both()?;
    let growing = Service::gateway(plan)?;
    let missing = settings.accounts + settings.fresh..settings.many_accounts;
    members.extend(populate::accounts(&growing, missing, settings.passkeys)?);
    growing.stop()?;
    crate::host::pin(settings.cores.load)?;
    let (starts, members) = start::measure(settings, store, settings.many_accounts, members)?;
    let service = Service::gateway(GatewayPlan { core: Some(settings.cores.server), ..plan })?;
    let restarted = resident(&service)?;
    let mut fleet = Fleet::connect(&service, settings.connections)?;
    fleet.deal(members);
    fleet.run(&service, settings.many_assertions, Pace::Closed, sign_in)?;
    let used = resident(&service)?;
    service.stop()?;
    let disk = Disk::measure(store)?;
    Ok(Memory { accounts: settings.many_accounts, restarted, used, starts, disk })
}

fn resident(service: &Service) -> Fallible<Resident> {
    let sizes = service.processes.iter().map(|process| process.resident_kib());
    let sizes = sizes.collect::<Fallible<Vec<_>>>()?;
    let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
    Ok(Resident {
        all: sizes.iter().map(|(all, _)| mb(*all)).collect(),
        own: sizes.iter().map(|(_, own)| mb(*own)).collect(),
    })
}

impl Disk {
    fn measure(store: &Path) -> Fallible<Disk> {
        let file = store.join("store").join("keyferry.db");
        let database = Connection::open(&file)?;
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let sum = |sql: &str| database.query_row(sql, [], |row| row.get::<_, f64>(0));
        let devices = sum("SELECT total(length(row)) FROM rows WHERE device IS NOT NULL")?;
        let accounts = sum("SELECT total(length(row)) FROM rows WHERE account IS NOT NULL")?;
        let passkeys = sum("SELECT total(length(blob) + length(metadata)) FROM passkeys")?;
        let count = |table: &str| sum(&format!("SELECT total(1) FROM {table}"));
        Ok(Disk {
            ciphertext: devices + accounts + passkeys,
            objects: count("rows")? + count("passkeys")?,
            entries: sum("SELECT total(count) FROM batches")?,
            devices,
            batches: sum("SELECT total(length(leaves) + length(checkpoint)) FROM batches")?,
            file: std::fs::metadata(file)?.len() as f64,
            ledger: folder_len(&store.join("ledger")) as f64,
        })
    }

    fn row(&self) -> Row {
        let all = self.file + self.ledger;
        let allowed = 1.5 * self.ciphertext + 64.0 * self.objects + 250.0 * self.entries;
        let each = |bytes: f64| bytes / self.entries.max(1.0);
        Row::new(
            "B9",
            "disk against 1.5 x ciphertext + 64 B an object + 250 B an entry",
            all / 1e6,
            "MB",
        )
        .against(allowed / 1e6)
        .ratio(Spread::of(&[all / allowed]))
        .goal(Goal::AtMost { reach: 1.0, floor: None })
        .note(format!(
            "store {:.0} MB, ledger's files {:.0} MB; ciphertext {:.0} MB, of which device rows {:.0} MB; {:.0} objects, {:.0} ledger \
             entries",
            self.file / 1e6,
            self.ledger / 1e6,
            self.ciphertext / 1e6,
            self.devices / 1e6,
            self.objects,
            self.entries
        ))
        .because(format!(
            "an entry takes {:.0} B in the store's batches and {:.0} B again in the ledger's public files; without the latter the ratio \
             is {:.3}",
            each(self.batches),
            each(self.ledger),
            self.file / allowed
        ))
        .details(json!({
            "store_bytes": self.file, "ledger_bytes": self.ledger, "batches_bytes": self.batches,
            "ciphertext_bytes": self.ciphertext, "device_rows_bytes": self.devices,
            "objects": self.objects, "entries": self.entries,
        }))
    }
}

impl Resident {
    fn sum(&self) -> f64 {
        self.all.iter().sum()
    }

    fn text(&self) -> String {
        let part = |sizes: &[f64], at: usize| sizes.get(at).copied().unwrap_or(0.0);
        format!(
            "gateway {:.1} MB ({:.1} its own), enclave {:.1} MB ({:.1} its own)",
            part(&self.all, 0),
            part(&self.own, 0),
            part(&self.all, 1),
            part(&self.own, 1)
        )
    }

    fn json(&self) -> Value {
        json!({ "resident_mb": self.all, "own_mb": self.own })
    }
}

impl Memory {
    pub(crate) fn rows(&self, settings: &Settings) -> Vec<Row> {
        let what = format!("resident memory, {} accounts x {} passkeys", self.accounts, settings.passkeys);
        let memory = Row::new("B8", what, self.used.sum(), "MB")
            .goal(Goal::AtMost { reach: 100.0, floor: Some(250.0) })
            .note(format!("after a restart: {}", self.restarted.text()))
            .note(format!("after {} random assertions: {}", settings.many_assertions, self.used.text()))
            .details(json!({
                "accounts": self.accounts,
                "restarted": self.restarted.json(),
                "used": self.used.json(),
            }))
            .because(format!(
                "{:.0} MB are there right after a restart, before anything is at hand; use adds {:.0} MB",
                self.restarted.sum(),
                self.used.sum() - self.restarted.sum()
            ));
        [memory, self.disk.row()].map(|row| settings.judged_at_full_size(row)).into()
    }
}
