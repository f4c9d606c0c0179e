//! Start of an enclave: evidence, root key, durable state, BOOT; with places for a crash.

use super::{Crash, Enclave, Gateway, NAME, ROOT, SimPlatform, Who, exchange, references};
use crate::dice::Dice;
use crate::oracle::{Checked, Oracle, breach, ensure, law};
use keyferry_client::evidence::appraise_for_release;
use keyferry_crypto::random;
use keyferry_crypto::release;
use keyferry_crypto::tree::RootKey;
use keyferry_engine::Engine;
use keyferry_server::desk::{CACHE_BYTES, Desk};
use keyferry_server::ledger::MemoryFiles;
use keyferry_server::store::{Read, Store};
use keyferry_wire::door::{FromEnclave, Hello, Loaded, Refresh, Release, ToEnclave, Turn};
use keyferry_wire::evidence::{Evidence, SIM};
use keyferry_wire::{ShardId, limits};
use std::sync::Arc;

impl Gateway {
    /// Starts what is not running. `crash` may end it around BOOT's commit.
    pub fn boot(&mut self, now_ms: u64, crash: Option<Crash>, oracle: &mut Oracle) -> Checked {
        self.open_desk()?;
        let boots = self.boots;
        self.boots += 1;
        let platform = SimPlatform { dice: Dice::new(self.seed, 1_000 + boots), drawn: Vec::new() };
        let mut enclave = Enclave { engine: Engine::default(), platform };
        let challenge = random::bytes(&mut self.dice);
        let hello = Hello { version: limits::VERSION, challenge, now_ms };
        let FromEnclave::Evidence(evidence) = exchange(&mut enclave, &ToEnclave::Hello(hello), oracle)?
        else {
            return breach(law::CALM, "no evidence for the broker");
        };
        let release = self.release(&challenge, &evidence)?;
        let desk = self.desk()?;
        let Ok(load) = desk.load(now_ms, NAME, release) else {
            return breach(law::CALM, "the desk cannot make the tails");
        };
        let FromEnclave::Loaded(loaded) = exchange(&mut enclave, &ToEnclave::Load(load), oracle)? else {
            return breach(law::CALM, "the enclave does not load");
        };
        if let Some(crash @ (Crash::BeforeExchange | Crash::BeforeCommit)) = crash {
            self.die(Who::Enclave, oracle, crash.word());
            return Ok(());
        }
        oracle.log_keys(&loaded.log_keys)?;
        self.keep(&loaded, oracle)?;
        if crash == Some(Crash::AfterCommit) {
            self.die(Who::Gateway, oracle, Crash::AfterCommit.word());
            return Ok(());
        }
        let turn =
            Turn { now_ms, committed: references(&loaded.batches), opens: Vec::new(), work: Vec::new() };
        let FromEnclave::Turned(_) = exchange(&mut enclave, &ToEnclave::Turn(turn), oracle)? else {
            return breach(law::CALM, "the enclave does not take its BOOT");
        };
        self.evidence = Some(loaded.evidence);
        self.evidence_ms = now_ms;
        self.enclave = Some(enclave);
        Ok(())
    }

    fn open_desk(&mut self) -> Checked {
        let stale = self.desk.as_ref().is_some_and(|desk| {
            (0..self.shards).map(ShardId).any(|shard| {
                let tail = self.store.tail(shard).ok().flatten();
                tail.map(|tail| tail.number) != desk.log(shard).ok().and_then(|log| log.number())
            })
        });
        if self.desk.is_some() && !stale {
            return Ok(());
        }
        let files: Arc<MemoryFiles> = Arc::clone(&self.files);
        match Desk::open(&self.store, files, self.shards, CACHE_BYTES) {
            Ok(mut desk) => {
                let wrong = desk.shards_with_wrong_rows();
                self.desk = Some(desk);
                ensure(wrong.is_empty(), law::KEPT, || {
                    format!("rows of {wrong:?} do not lead to the map root")
                })
            }
            Err(error) => breach(law::CALM, format!("the desk does not open: {error}")),
        }
    }

    pub(super) fn desk(&mut self) -> Checked<&mut Desk> {
        self.desk.as_mut().map_or_else(|| breach(law::CALM, "no desk"), Ok)
    }

    fn release(&mut self, challenge: &[u8; 32], evidence: &Evidence) -> Checked<Release> {
        let Ok(appraised) = appraise_for_release(evidence, challenge, &[SIM]) else {
            return breach(law::CALM, "the broker refuses the enclave's evidence");
        };
        let root = RootKey::from_bytes(self.root);
        release::seal(&root, ROOT, 0, challenge, appraised.hpke_key(), &mut self.dice)
            .or_else(|_| breach(law::CALM, "the release cannot be sealed"))
    }

    fn keep(&mut self, loaded: &Loaded, oracle: &mut Oracle) -> Checked {
        let desk = self.desk.as_mut().expect("opened before");
        let service = (desk.service() != Some(&loaded.service)).then_some(&loaded.service);
        if let Err(error) = self.store.commit(service, &loaded.batches) {
            return breach(law::CALM, format!("BOOT is not kept: {error}"));
        }
        oracle.committed(&loaded.batches)?;
        desk.serve_as(loaded.service.clone());
        loaded.batches.iter().for_each(|batch| desk.apply(batch));
        Ok(())
    }

    /// Fresh evidence, when the old is.
    pub fn refresh_if_due(&mut self, now_ms: u64, oracle: &mut Oracle) -> Checked {
        let old = now_ms >= self.evidence_ms + limits::EVIDENCE_LIFE_MS || now_ms < self.evidence_ms;
        if old { self.refresh(now_ms, oracle) } else { Ok(()) }
    }

    /// Fresh evidence.
    pub fn refresh(&mut self, now_ms: u64, oracle: &mut Oracle) -> Checked {
        let Some(enclave) = &mut self.enclave else { return Ok(()) };
        let message = ToEnclave::Refresh(Refresh { now_ms });
        let FromEnclave::Evidence(evidence) = exchange(enclave, &message, oracle)? else {
            return breach(law::CALM, "the enclave gives no fresh evidence");
        };
        self.evidence = Some(evidence);
        self.evidence_ms = now_ms;
        Ok(())
    }
}
