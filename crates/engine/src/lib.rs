//! The trusted state machine: accounts, devices, PIN attempts and passkeys. It runs in the enclave and decides
//! everything; the edge around it only moves bytes.
//!
//! One door: [`Engine::handle`] takes a message of the gateway with its time, and a platform for randomness, RSA
//! keys and evidence, and returns what to make durable and what to say. Nothing is said before what pays for it is durable:
//! replies wait in [`commit`] for the gateway's word, and the steps that must never run early take a
//! [`commit::Committed`] that only that module makes.
//!
//! Absent here on purpose: clock, file, socket, thread, environment; trust in anything that the host hands over.
#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::as_conversions, clippy::unwrap_used, clippy::panic)
)]

mod account;
mod client_data;
mod command;
pub mod commit;
mod credential;
mod instance;
mod load;
mod record;
mod request;
mod session;
mod shard;

use instance::Instances;
use keyferry_crypto::credential::RsaKey;
use keyferry_crypto::random::Random;
use keyferry_wire::door::{FromEnclave, ToEnclave};
use keyferry_wire::evidence::Evidence;
pub use record::AssertPolicy;

/// What an enclave has from its hardware.
pub trait Platform {
    fn random(&mut self) -> &mut dyn Random;

    /// Evidence over `runtime_data`: a report whose report data is `SHA-256(runtime_data) || 32 zero bytes`.
    fn evidence(&mut self, runtime_data: Vec<u8>) -> Evidence;

    /// A fresh RSA key of 2048 bits, handed out once; `None`, at once, while none is ready. Making one takes 28 to
    /// 170 ms, so whoever stands behind this makes them ahead and elsewhere: no turn ever waits for one.
    fn rsa_key(&mut self) -> Option<RsaKey>;
}

/// Freshness anchor of this deployment (PROTOCOL, anchor levels): 0, "cosigned" means durable and the host's clock
/// stands in for ledger time. Witnesses raise it.
pub const ANCHOR_LEVEL: u16 = 0;

/// The state machine of one enclave instance.
pub struct Engine {
    stage: Stage,
}

enum Stage {
    /// Nothing was said yet.
    New,
    /// Evidence over a key broker's challenge is out; a release is awaited.
    Greeted(Box<load::Greeted>),
    Running(Box<Running>),
    /// The host handed over something that does not hold: nothing more is said.
    Stopped,
}

/// Everything of a running engine.
pub(crate) struct Running {
    pub(crate) instances: Instances,
    pub(crate) keys: load::Keys,
    pub(crate) shards: Vec<shard::Shard>,
    pub(crate) sessions: session::Sessions,
    pub(crate) waiting: request::Waiting,
    /// The RSA key for the next passkey that wants one: a turn makes at most one such passkey, the others wait.
    pub(crate) rsa: Option<RsaKey>,
    /// Whether one was ever wanted: an edge that nobody asks makes none.
    pub(crate) rsa_wanted: bool,
    /// The host's clock, made monotone.
    pub(crate) now_ms: u64,
}

impl Default for Engine {
    fn default() -> Self {
        Engine { stage: Stage::New }
    }
}

impl Engine {
    /// Answers one message of the gateway.
    pub fn handle(&mut self, platform: &mut dyn Platform, message: ToEnclave) -> FromEnclave {
        let stage = std::mem::replace(&mut self.stage, Stage::Stopped);
        let (next, answer) = match (stage, message) {
            (Stage::New, ToEnclave::Hello(hello)) => {
                let (greeted, evidence) = load::greet(platform, &hello);
                (Stage::Greeted(Box::new(greeted)), FromEnclave::Evidence(evidence))
            }
            (Stage::Greeted(greeted), ToEnclave::Load(load)) => match load::load(*greeted, platform, load) {
                Ok((running, loaded)) => (Stage::Running(Box::new(running)), FromEnclave::Loaded(loaded)),
                Err(fault) => (Stage::Stopped, FromEnclave::Fault(fault.to_string())),
            },
            (Stage::Running(mut running), ToEnclave::Turn(turn)) => match running.turn(platform, turn) {
                Ok(turned) => (Stage::Running(running), FromEnclave::Turned(turned)),
                Err(fault) => (Stage::Stopped, FromEnclave::Fault(fault.to_string())),
            },
            (Stage::Running(mut running), ToEnclave::Refresh(refresh)) => {
                running.tick(refresh.now_ms);
                let evidence = running.refresh(platform);
                (Stage::Running(running), FromEnclave::Evidence(evidence))
            }
            (stage, _) => (stage, FromEnclave::Fault("this message is out of order".to_owned())),
        };
        self.stage = next;
        answer
    }
}
