//! B16: how often the HSM and the attestation hardware are called. The stand-ins of a run write a byte to a file for
//! each call, whatever process they are in; the file's length is the count.

use crate::Fallible;
use crate::report::{Goal, Row};
use keyferry_crypto::credential::RsaKey;
use keyferry_crypto::random::Random;
use keyferry_enclave::sim::SimPlatform;
use keyferry_engine::Platform;
use keyferry_wire::evidence::Evidence;
use serde_json::json;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Counts calls; without a file they are not counted.
#[derive(Default)]
pub(crate) struct Tally(Option<File>);

impl Tally {
    pub(crate) fn open(path: &Path) -> Fallible<Tally> {
        Ok(Tally(Some(OpenOptions::new().create(true).append(true).open(path)?)))
    }

    /// A call that is not counted would make the figure a lie: then the process ends.
    pub(crate) fn note(&mut self) {
        if let Some(file) = &mut self.0 {
            file.write_all(b".").expect("a call has to be counted");
        }
    }
}

/// Calls of the key broker to its HSM: challenges and releases.
pub(crate) fn hsm_file(folder: &Path) -> PathBuf {
    folder.join("calls-hsm")
}

/// Reports that the attestation hardware was asked for.
pub(crate) fn attestation_file(folder: &Path) -> PathBuf {
    folder.join("calls-attestation")
}

/// The stand-in for a TEE that counts what it attests.
pub(crate) struct CountingPlatform {
    inner: SimPlatform,
    tally: Tally,
}

impl CountingPlatform {
    pub(crate) fn new(tally: Tally) -> CountingPlatform {
        CountingPlatform { inner: SimPlatform::default(), tally }
    }
}

impl Platform for CountingPlatform {
    fn random(&mut self) -> &mut dyn Random {
        self.inner.random()
    }

    fn evidence(&mut self, runtime_data: Vec<u8>) -> Evidence {
        self.tally.note();
        self.inner.evidence(runtime_data)
    }

    fn rsa_key(&mut self) -> Option<RsaKey> {
        self.inner.rsa_key()
    }
}

/// Calls so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Calls {
    hsm: u64,
    attestation: u64,
}

impl Calls {
    /// Of the service on this folder, which has made some at its start: none at all would mean that nobody counts.
    pub(crate) fn of(folder: &Path) -> Fallible<Calls> {
        let count = |path: PathBuf| std::fs::metadata(path).map_or(0, |file| file.len());
        let calls = Calls { hsm: count(hsm_file(folder)), attestation: count(attestation_file(folder)) };
        if calls.hsm == 0 || calls.attestation == 0 {
            return Err("the calls of the service's start were not counted".into());
        }
        Ok(calls)
    }

    fn sum(&self) -> u64 {
        self.hsm + self.attestation
    }
}

/// What was counted over the assertions of B1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Called {
    pub(crate) before: Calls,
    pub(crate) after: Calls,
    pub(crate) assertions: usize,
}

/// To so many assertions the count is referred.
const PER: f64 = 10_000.0;

impl Called {
    pub(crate) fn row(&self) -> Row {
        let calls = self.after.sum() - self.before.sum();
        let figure = calls as f64 * PER / self.assertions as f64;
        Row::new("B16", "HSM and attestation calls per 10,000 assertions", figure, "calls")
            .goal(Goal::AtMost { reach: 0.0, floor: Some(0.0) })
            .note(format!(
                "{calls} calls during {} assertions; the start before them made {} to the HSM and {} for reports",
                self.assertions, self.before.hsm, self.before.attestation
            ))
            .details(json!({
                "assertions": self.assertions,
                "hsm_before": self.before.hsm, "hsm_after": self.after.hsm,
                "attestation_before": self.before.attestation, "attestation_after": self.after.attestation,
            }))
    }
}
