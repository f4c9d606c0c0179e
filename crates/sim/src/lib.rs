//! The simulator: one seed decides everything in a world of accounts, devices, a gateway and an enclave. Engine, client
//! flows, desk, store and ledger are the real ones; only the network, the clock and the process boundaries are played.
//! Faults come by the dice; the [`oracle`] watches.
//!
//! The schedule and all decisions follow from the seed. Signature bytes do not (ECDSA nonces are the library's own),
//! and nothing depends on them.
//!
//! Anchor level 0 is what is played: there the gateway's word that a batch is durable is believed, and a restored disk or
//! a second enclave on a copy is not noticed by the enclave. So the host lies about rows, proofs, tickets, letters and
//! the time, but not about durability; that it can is shown by the sabotage tests, where the oracles notice. Witnesses
//! (level 2 and above) will move restore and fork from the sabotage to the faults.
//!
//! Reading order: [`oracle`] (what must hold), [`world`] (how time goes on), [`gateway`], [`device`], [`evil`].
//!
//! Absent here on purpose: threads, the wall clock, sockets, files, randomness of the operating system.

pub mod canary;
pub mod device;
pub mod dice;
pub mod errand;
pub mod evil;
pub mod gateway;
pub mod oracle;
pub mod post;
pub mod sabotage;
pub mod stats;
pub mod trace;
pub mod world;

use oracle::{Breach, law};
pub use stats::Stats;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
pub use world::{Config, World};

/// A seed that breaks an oracle.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// The step.
    pub step: u64,
    /// Which oracle, and what was seen.
    pub breach: Breach,
    /// The last events.
    pub last: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "seed {} fails at step {}: {}", self.seed, self.step, self.breach)?;
        self.last.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        write!(f, "replay: cargo run -p keyferry-sim -- --seed {} --trace", self.seed)
    }
}

/// Runs one world to its end.
pub fn run(seed: u64, config: Config) -> Result<Stats, Failure> {
    run_with_story(seed, config).map(|(stats, _)| stats)
}

/// The same, with a hash over all events: two runs of a seed tell the same story.
pub fn run_with_story(seed: u64, config: Config) -> Result<(Stats, u64), Failure> {
    let mut world = World::new(seed, config);
    match catch_unwind(AssertUnwindSafe(|| world.run())) {
        Ok(Ok(())) => Ok((world.oracle.stats.clone(), world.trace.story())),
        Ok(Err(breach)) => Err(world.failure(breach)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
            Err(world.failure(Breach { oracle: law::CALM, detail: text.to_owned() }))
        }
    }
}
