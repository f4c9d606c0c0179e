//! The real engine in a box of glass: whoever holds [`Memory`] sees every 32 bytes that it ever drew, and so has its
//! channel keys. That is the strongest false enclave: it answers like the honest one until it lies.

use keyferry_client::evidence::appraise_for_release;
use keyferry_crypto::channel::{ChannelKey, Suite, Transport, prologue, respond};
use keyferry_crypto::credential::RsaKey;
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::release;
use keyferry_crypto::sign::SigningKey;
use keyferry_crypto::tree::RootKey;
use keyferry_engine::{Engine, Platform};
use keyferry_server::link::{Enclave, KeyBroker, Launcher, LinkError};
use keyferry_sim::dice::Dice;
use keyferry_wire::Hash;
use keyferry_wire::door::{FromEnclave, Release, ToEnclave};
use keyferry_wire::evidence::{Evidence, SIM};
use keyferry_wire::frame::{SessionOpen, SessionOpened};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

const ROOT: u32 = 1;

/// What the enclave drew, in order.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    drawn: Vec<[u8; 32]>,
    /// Channel keys by the evidence that names them.
    channels: HashMap<Hash, [u8; 32]>,
}

impl Memory {
    /// Remembers which of its keys this evidence names.
    pub(crate) fn note_evidence(&self, hash: Hash, channel_key: &[u8; 65]) {
        let mut seen = self.0.lock().unwrap();
        if let Some(scalar) = seen.scalar_of(channel_key) {
            seen.channels.insert(hash, scalar);
        }
    }

    /// The enclave's end of a session, from both messages of the handshake.
    pub(crate) fn transport(&self, open: &SessionOpen, opened: &SessionOpened) -> Option<Transport> {
        let seen = self.0.lock().unwrap();
        let channel = ChannelKey::from_scalar(seen.channels.get(&open.evidence)?).unwrap();
        let mut again = Again(seen.scalar_of(opened.message.get(..65)?)?);
        let prologue = prologue(Suite::One, &open.evidence, &[]);
        let (transport, message) =
            respond(&channel, &mut again, Suite::One, &prologue, &open.message).unwrap();
        assert_eq!(message, opened.message.0, "the handshake is the enclave's own");
        Some(transport)
    }
}

impl Seen {
    /// The private half of a point, if the enclave drew it.
    fn scalar_of(&self, point: &[u8]) -> Option<[u8; 32]> {
        let is_its = |scalar: &&[u8; 32]| {
            SigningKey::from_scalar(scalar).is_ok_and(|key| key.public().as_slice() == point)
        };
        self.drawn.iter().rev().find(is_its).copied()
    }
}

/// The same draw again.
struct Again([u8; 32]);

impl Random for Again {
    fn fill(&mut self, out: &mut [u8]) {
        out.copy_from_slice(&self.0);
    }
}

/// Starts engines of glass.
pub(crate) struct Glassworks {
    pub(crate) memory: Memory,
    pub(crate) dice: Dice,
}

impl Launcher for Glassworks {
    fn launch(&mut self) -> io::Result<Box<dyn Enclave>> {
        let platform = Glass { memory: self.memory.clone(), dice: self.dice.clone() };
        // The next life draws other keys.
        self.dice = Dice::new(self.dice.below(u64::MAX), 1);
        Ok(Box::new(Boxed { engine: Engine::default(), platform }))
    }
}

struct Boxed {
    engine: Engine,
    platform: Glass,
}

impl Enclave for Boxed {
    fn exchange(&mut self, message: ToEnclave) -> Result<FromEnclave, LinkError> {
        Ok(self.engine.handle(&mut self.platform, message))
    }
}

struct Glass {
    memory: Memory,
    dice: Dice,
}

impl Random for Glass {
    fn fill(&mut self, out: &mut [u8]) {
        self.dice.fill(out);
        self.memory.0.lock().unwrap().drawn.extend(<[u8; 32]>::try_from(&*out));
    }
}

impl Platform for Glass {
    fn random(&mut self) -> &mut dyn Random {
        self
    }

    fn evidence(&mut self, runtime_data: Vec<u8>) -> Evidence {
        keyferry_enclave::sim::evidence(runtime_data)
    }

    fn rsa_key(&mut self) -> Option<RsaKey> {
        None
    }
}

/// A root key that everybody in this test knows.
pub(crate) struct Broker(pub(crate) Dice);

impl KeyBroker for Broker {
    fn challenge(&mut self) -> [u8; 32] {
        random::bytes(&mut self.0)
    }

    fn release(&mut self, challenge: &[u8; 32], evidence: &Evidence) -> Result<Release, String> {
        let verified =
            appraise_for_release(evidence, challenge, &[SIM]).map_err(|reason| reason.to_string())?;
        let root = RootKey::from_bytes([0x4b; 32]);
        release::seal(&root, ROOT, self.custody_level(), challenge, verified.hpke_key(), &mut self.0)
            .map_err(|error| error.to_string())
    }

    fn custody_level(&self) -> u16 {
        0
    }
}
