//! Start of an enclave: evidence, root key, durable state, BOOT. Nobody is served before BOOT is durable.

use super::{Published, Pump, Trouble, now_ms};
use crate::desk::{Desk, OpenDeskError};
use crate::ledger::ProofUnavailable;
use crate::link::{Enclave, LinkError};
use crate::store::{CommitError, Read, ReadError, Store};
use keyferry_wire::door::{Batch, BatchRef, FromEnclave, Hello, Load, Loaded, Refresh, ToEnclave, Turn};
use keyferry_wire::evidence::Evidence;
use keyferry_wire::{ShardId, Wire, limits};
use std::io;
use std::time::Instant;

/// Why an enclave did not start.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// The process.
    #[error("starting the enclave's process")]
    Launch(#[source] io::Error),
    /// The link.
    #[error("talking to the enclave")]
    Link(#[from] LinkError),
    /// The enclave refused.
    #[error("the enclave refused to start: {0}")]
    Fault(String),
    /// The enclave answered something else.
    #[error("the enclave gave an answer of another kind")]
    Answer,
    /// The key broker refused.
    #[error("the key broker released no key: {0}")]
    Broker(String),
    /// The store has lost what the tail needs.
    #[error(transparent)]
    Tail(#[from] ProofUnavailable),
    /// BOOT could not be made durable.
    #[error("making the enclave's start durable")]
    Commit(#[from] CommitError),
    /// The store.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The desk.
    #[error(transparent)]
    Desk(#[from] OpenDeskError),
}

impl Pump {
    /// Starts an enclave from what is durable.
    pub(super) fn boot(&mut self) -> Result<(), BootError> {
        self.catch_up()?;
        let mut enclave = self.parts.launcher.launch().map_err(BootError::Launch)?;
        let load = self.unlock(&mut *enclave)?;
        let FromEnclave::Loaded(loaded) = ask(&mut *enclave, ToEnclave::Load(load))? else {
            return Err(BootError::Answer);
        };
        self.keep(&loaded)?;
        let committed = references(&loaded.batches);
        let turn = Turn { now_ms: now_ms(), committed, opens: Vec::new(), work: Vec::new() };
        let FromEnclave::Turned(_) = ask(&mut *enclave, ToEnclave::Turn(turn))? else {
            return Err(BootError::Answer);
        };
        self.parts.shared.publish(Some(Published {
            evidence_bytes: loaded.evidence.to_bytes(),
            evidence: loaded.evidence,
            instance: loaded.instance,
            log_keys: loaded.log_keys,
            pid: enclave.pid(),
        }));
        self.enclave = Some(enclave);
        self.evidence_at = (Instant::now(), now_ms());
        Ok(())
    }

    /// A commit that failed may have been kept all the same: then everything is read again.
    fn catch_up(&self) -> Result<(), BootError> {
        let Self { parts, .. } = self;
        let mut counter = parts.shared.counter();
        counter.apart = true;
        counter.reader.refresh()?;
        for shard in (0..parts.shards).map(ShardId) {
            let stored = counter.reader.tail(shard)?.map(|tail| tail.number);
            let known = counter.desk.log(shard).map_or(None, |log| log.number());
            if stored != known {
                let files = parts.files.clone();
                counter.desk = Desk::open(&counter.reader, files, parts.shards, parts.cache_bytes)?;
                break;
            }
        }
        counter.apart = false;
        Ok(())
    }

    /// Evidence to the broker, the root key to the enclave.
    fn unlock(&mut self, enclave: &mut dyn Enclave) -> Result<Load, BootError> {
        let broker = &mut self.parts.broker;
        let challenge = broker.challenge();
        let hello = Hello { version: limits::VERSION, challenge, now_ms: now_ms() };
        let FromEnclave::Evidence(evidence) = ask(enclave, ToEnclave::Hello(hello))? else {
            return Err(BootError::Answer);
        };
        let release = broker.release(&challenge, &evidence).map_err(BootError::Broker)?;
        Ok(self.parts.shared.counter().desk.load(now_ms(), &self.parts.name, release)?)
    }

    /// Makes the start durable, and at genesis the service row with it.
    fn keep(&mut self, loaded: &Loaded) -> Result<(), BootError> {
        let mut counter = self.parts.shared.counter();
        let service = (counter.desk.service() != Some(&loaded.service)).then_some(&loaded.service);
        self.parts.store.commit(service, &loaded.batches)?;
        counter.desk.serve_as(loaded.service.clone());
        counter.move_on(&loaded.batches)?;
        Ok(())
    }

    /// New evidence for those who open sessions from now on.
    pub(super) fn refresh_evidence(&mut self) -> Result<(), Trouble> {
        self.evidence_at = (Instant::now(), now_ms());
        let Some(enclave) = &mut self.enclave else {
            return Ok(());
        };
        match enclave.exchange(ToEnclave::Refresh(Refresh { now_ms: now_ms() }))? {
            FromEnclave::Evidence(evidence) => {
                self.show(evidence);
                Ok(())
            }
            FromEnclave::Fault(sentence) => Err(Trouble::Fault(sentence)),
            _ => Err(Trouble::Answer),
        }
    }

    fn show(&self, evidence: Evidence) {
        if let Some(now) = self.parts.shared.published() {
            let published =
                Published { evidence_bytes: evidence.to_bytes(), evidence, ..Published::clone(&now) };
            self.parts.shared.publish(Some(published));
        }
    }
}

pub(super) fn references(batches: &[Batch]) -> Vec<BatchRef> {
    batches.iter().map(|batch| BatchRef { shard: batch.shard, number: batch.number }).collect()
}

fn ask(enclave: &mut dyn Enclave, message: ToEnclave) -> Result<FromEnclave, BootError> {
    match enclave.exchange(message)? {
        FromEnclave::Fault(sentence) => Err(BootError::Fault(sentence)),
        answer => Ok(answer),
    }
}
