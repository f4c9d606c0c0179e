//! B8: resident memory of gateway and enclave with many accounts, after a restart and after use; with it the size on
//! disk (B9) and the time from start to the first assertion (B10).

use crate::Fallible;
use crate::assertion::sign_in;
use crate::load::{Fleet, Pace};
use crate::measure::Spread;
use crate::member::Member;
use crate::populate;
use crate::report::{Goal, Row};
use crate::role::{GatewayPlan, Service};
use crate::settings::Settings;
use keyferry_server::CommitMode;
use rusqlite::Connection;
use serde_json::{Value, json};
use std::path::Path;
use std::time::Instant;

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
    first_assertion_secs: f64,
    disk: Disk,
}

/// What the store's file holds, and its size.
#[derive(Clone, Copy, Debug)]
struct Disk {
    file: f64,
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
    let start = Instant::now();
    let service = Service::gateway(GatewayPlan { core: Some(settings.cores.server), ..plan })?;
    let restarted = resident(&service)?;
    let mut single = Fleet::connect(&service, 1)?;
    single.deal(members);
    single.run(&service, 1, Pace::Closed, sign_in)?;
    let first_assertion_secs = start.elapsed().as_secs_f64();
    let mut fleet = Fleet::connect(&service, settings.connections)?;
    fleet.deal(single.collect());
    fleet.run(&service, settings.many_assertions, Pace::Closed, sign_in)?;
    let used = resident(&service)?;
    service.stop()?;
    let disk = Disk::measure(&store.join("store").join("keyferry.db"))?;
    Ok(Memory { accounts: settings.many_accounts, restarted, used, first_assertion_secs, disk })
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
    fn measure(file: &Path) -> Fallible<Disk> {
        let database = Connection::open(file)?;
        database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        let sum = |sql: &str| database.query_row(sql, [], |row| row.get::<_, f64>(0));
        let devices = sum("SELECT total(length(row)) FROM devices")?;
        let accounts = sum("SELECT total(length(row)) FROM accounts")?;
        let passkeys = sum("SELECT total(length(blob) + length(metadata)) FROM passkeys")?;
        let count = |table: &str| sum(&format!("SELECT total(1) FROM {table}"));
        Ok(Disk {
            ciphertext: devices + accounts + passkeys,
            objects: count("accounts")? + count("devices")? + count("passkeys")?,
            entries: sum("SELECT total(count) FROM batches")?,
            devices,
            file: std::fs::metadata(file)?.len() as f64,
        })
    }

    fn row(&self) -> Row {
        let allowed = 1.5 * self.ciphertext + 64.0 * self.objects + 250.0 * self.entries;
        Row::new(
            "B9",
            "disk against 1.5 x ciphertext + 64 B an object + 250 B an entry",
            self.file / 1e6,
            "MB",
        )
        .against(allowed / 1e6)
        .ratio(Spread::of(&[self.file / allowed]))
        .goal(Goal::AtMost { reach: 1.0, floor: None })
        .note(format!(
            "ciphertext {:.0} MB, of which device rows {:.0} MB; {:.0} objects, {:.0} ledger entries",
            self.ciphertext / 1e6,
            self.devices / 1e6,
            self.objects,
            self.entries
        ))
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
            }));
        let what = format!("start to the first assertion, {} accounts", self.accounts);
        let start = Row::new("B10", what, self.first_assertion_secs, "s wall")
            .goal(Goal::AtMost { reach: 1.0, floor: None });
        let rows = [memory, self.disk.row(), start];
        if settings.quick {
            return rows.into_iter().map(|row| row.unjudged("not measured at full size")).collect();
        }
        rows.to_vec()
    }
}
