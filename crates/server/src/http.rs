//! The gateway's edge: routes with their limits, and nothing that decides.
//!
//! A client's frame goes to the pump; what a reader asks for comes from the desk, without the enclave. Absent: user
//! data in logs, errors or metrics.

mod accept;
mod limits;
mod live;
mod openapi;
mod problem;
mod read;
mod routes;
mod talk;
mod tls;

pub use accept::accept;
pub use limits::RateLimits;
pub use openapi::document;
pub use routes::{Class, ROUTES, Route};
pub use tls::{EXPIRY_WARNING, Pair, TlsError, TlsFiles, TlsKeeper, load as load_tls};

use crate::ledger::LedgerFiles;
use crate::pump::{Job, Shared};
use crate::serve::Config;
use crate::store::SqliteReader;
use limits::Buckets;
use read::Trails;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};

/// What handlers work with.
pub struct Edge {
    shared: Arc<Shared>,
    jobs: SyncSender<Job>,
    files: Arc<dyn LedgerFiles>,
    trails: Mutex<Trails>,
    buckets: Buckets,
    name: String,
    shards: u16,
    anchor_level: u16,
    custody_level: u16,
    stand_ins: Vec<String>,
}

impl Edge {
    /// The edge of a gateway; `trails` is a reader of its own, so that long audits stop nobody.
    pub fn new(
        config: &Config,
        custody_level: u16,
        shared: Arc<Shared>,
        jobs: SyncSender<Job>,
        files: Arc<dyn LedgerFiles>,
        trails: SqliteReader,
    ) -> Arc<Edge> {
        Arc::new(Edge {
            shared,
            jobs,
            files,
            trails: Mutex::new(Trails::new(trails)),
            buckets: Buckets::new(config.rates),
            name: config.name.clone(),
            shards: config.shards,
            anchor_level: config.anchor_level,
            custody_level,
            stand_ins: config.stand_ins.clone(),
        })
    }
}
