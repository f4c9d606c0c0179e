//! B8: resident memory of gateway and enclave with many accounts, after a restart and after use; and with it the time
//! from start to the first assertion (B10).

use crate::Fallible;
use crate::assertion::sign_in;
use crate::load::{Fleet, Pace};
use crate::member::Member;
use crate::populate;
use crate::report::{Goal, Row};
use crate::role::{GatewayPlan, Service};
use crate::settings::Settings;
use keyferry_server::CommitMode;
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
    store_mb: f64,
}

/// Adds accounts to a store until there are enough, starts anew, and measures.
pub(crate) fn measure(settings: &Settings, store: &Path, mut members: Vec<Member>) -> Fallible<Memory> {
    let plan = GatewayPlan { folder: store, shards: settings.shards, core: None, commit: CommitMode::Group };
    settings.cores.use_both()?;
    let growing = Service::gateway(plan)?;
    let missing = settings.accounts..settings.many_accounts;
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
    let store_mb = std::fs::metadata(store.join("store").join("keyferry.db"))?.len() as f64 / 1e6;
    service.stop()?;
    Ok(Memory { accounts: settings.many_accounts, restarted, used, first_assertion_secs, store_mb })
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
            .note(format!("the store's file has {:.0} MB", self.store_mb))
            .details(json!({
                "accounts": self.accounts,
                "restarted": self.restarted.json(),
                "used": self.used.json(),
                "store_mb": self.store_mb,
            }));
        let what = format!("start to the first assertion, {} accounts", self.accounts);
        let start = Row::new("B10", what, self.first_assertion_secs, "s wall")
            .goal(Goal::AtMost { reach: 1.0, floor: None });
        let rows = [memory, start];
        if settings.quick {
            return rows.into_iter().map(|row| row.unjudged("not measured at full size")).collect();
        }
        rows.to_vec()
    }
}
