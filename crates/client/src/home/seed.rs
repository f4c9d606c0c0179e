//! Everything random in a flow, from one seed: a flow that starts again after a crash says the same bytes.
//!
//! Ids depend on what they name. A user who types another PIN the second time gets other ids, so the enclave sees
//! another operation and another attempt, as it is; and nothing need be stored by which the PIN could be tried.

use keyferry_crypto::hash::hmac;
use keyferry_crypto::label::Label;
use keyferry_crypto::random::Random;
use keyferry_wire::{AttemptId, RequestId};
use zeroize::Zeroize;

/// The seed of one flow. Wiped on drop.
pub(crate) struct FlowSeed([u8; 32]);

impl FlowSeed {
    pub(crate) fn new(seed: &[u8; 32]) -> FlowSeed {
        FlowSeed(*seed)
    }

    /// Id of the request that carries these commands.
    pub(crate) fn request(&self, commands: &[u8]) -> RequestId {
        RequestId(half(&self.derive(b"request", &[commands])))
    }

    /// Id of the PIN attempt that this blinded element opens.
    pub(crate) fn attempt(&self, blinded: &[u8; 32]) -> AttemptId {
        AttemptId(half(&self.derive(b"attempt", &[blinded])))
    }

    /// Argon2id salt of a new PIN.
    pub(crate) fn salt(&self) -> [u8; 16] {
        half(&self.derive(b"salt", &[]))
    }

    /// What a wrong PIN sends instead of a client key: unpredictable, and the same when sent again.
    pub(crate) fn filler(&self, attempt: &AttemptId) -> [u8; 32] {
        self.derive(b"filler", &[&attempt.0])
    }

    /// The source from which the blind of this OPRF input is drawn.
    pub(crate) fn blinds(&self, input: &[u8]) -> impl Random + use<> {
        Stream { key: self.derive(b"blind", &[input]), counter: 0 }
    }

    fn derive(&self, purpose: &[u8], parts: &[&[u8]]) -> [u8; 32] {
        let parts: Vec<&[u8]> = std::iter::once(purpose).chain(parts.iter().copied()).collect();
        hmac(&self.0, Label::FlowSeed, &parts)
    }
}

impl Drop for FlowSeed {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

struct Stream {
    key: [u8; 32],
    counter: u64,
}

impl Random for Stream {
    fn fill(&mut self, out: &mut [u8]) {
        for chunk in out.chunks_mut(32) {
            let block = hmac(&self.key, Label::FlowSeed, &[&self.counter.to_be_bytes()]);
            chunk.iter_mut().zip(block).for_each(|(to, from)| *to = from);
            self.counter = self.counter.wrapping_add(1);
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

fn half(hash: &[u8; 32]) -> [u8; 16] {
    *hash.first_chunk().expect("a hash has 32 bytes")
}
