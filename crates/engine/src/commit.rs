//! What waits for durability. An answer whose computation must not happen early (the evaluation of a PIN) is kept
//! as a plan, and carried out by the commit handler, the only one that can make a [`Committed`].

use crate::Running;
use keyferry_crypto::oprf::OprfKey;
use keyferry_crypto::random::Random;
use keyferry_wire::command::{Answer, Evaluated};
use keyferry_wire::door::{BatchRef, Out, OutBody, Sealed};
use keyferry_wire::frame::{AccountHead, Reply};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{RequestId, SessionId, ShardId, limits};

/// Proof that a batch is durable (at anchor level 1 and above: cosigned). Made by `Shard::commit` alone.
pub struct Committed {
    checkpoint: String,
    size: u64,
}

impl Committed {
    pub(crate) fn new(checkpoint: String, size: u64) -> Committed {
        Committed { checkpoint, size }
    }
}

/// A reply that waits.
pub(crate) struct Pending {
    pub(crate) ticket: u64,
    pub(crate) session: SessionId,
    pub(crate) number: u64,
    pub(crate) id: RequestId,
    pub(crate) answers: Vec<Planned>,
    pub(crate) account: Option<AccountHead>,
    /// The shard in which the operation wrote, now or when it first came: its reply shows a checkpoint that covers it.
    pub(crate) gated: Option<ShardId>,
}

/// An answer, or what will make it.
pub(crate) enum Planned {
    Ready(Answer),
    Evaluate(Box<Evaluation>),
}

/// A counted PIN attempt that is still to be evaluated.
pub(crate) struct Evaluation {
    pub(crate) generation: u32,
    pub(crate) key: OprfKey,
    pub(crate) blinded: [u8; 32],
    pub(crate) commitment: [u8; 32],
    pub(crate) left: u8,
}

impl Evaluation {
    /// Evaluates: only ever after the count is durable, which `_paid` shows.
    fn carry_out(&self, _paid: &Committed, random: &mut dyn Random) -> Answer {
        match self.key.evaluate(&self.blinded, random) {
            Ok(evaluation) => Answer::Evaluated(Evaluated {
                generation: self.generation,
                element: evaluation.element,
                proof: evaluation.proof,
                public: self.key.public(),
                commitment: self.commitment,
                left: u16::from(self.left),
            }),
            Err(_) => Answer::Refused(Refusal::new(Code::BadOptions, "the blinded element is not one")),
        }
    }
}

impl Running {
    /// Says what waited for these batches.
    pub(crate) fn release(&mut self, committed: &[BatchRef], random: &mut dyn Random) -> Vec<Out> {
        let mut out = Vec::new();
        for batch in committed {
            let shard = self.shards.get_mut(usize::from(batch.shard.0));
            let Some((paid, pending)) = shard.and_then(|shard| shard.commit(batch.number)) else {
                continue;
            };
            for pending in pending {
                out.push(self.say(pending, Some(&paid), random));
            }
        }
        out
    }

    /// Carries out the plan of one reply and seals it. Without a commit of its own only what needs none is said.
    pub(crate) fn say(&self, pending: Pending, paid: Option<&Committed>, random: &mut dyn Random) -> Out {
        let ticket = pending.ticket;
        let answers = pending.answers.into_iter().map(|planned| match (planned, paid) {
            (Planned::Ready(answer), _) => answer,
            (Planned::Evaluate(evaluation), Some(paid)) => evaluation.carry_out(paid, random),
            (Planned::Evaluate(_), None) => unpaid(),
        });
        let newest = |shard: ShardId| self.shards.get(usize::from(shard.0))?.durable();
        let shown = pending.gated.and_then(|shard| paid.or_else(|| newest(shard)));
        let reply = Reply {
            version: limits::VERSION,
            id: pending.id,
            answers: answers.collect(),
            account: pending.account,
            checkpoint: shown.map(|shown| shown.checkpoint.clone()),
        };
        let body = match self.sessions.reply(&pending.session, pending.number, &reply) {
            Ok(reply) => OutBody::Reply(Sealed { reply, size: shown.map(|shown| shown.size) }),
            Err(reason) => OutBody::Dropped(reason),
        };
        Out { ticket, body }
    }
}

/// An evaluation without its commit is a fault of this program: stop rather than leak.
fn unpaid() -> Answer {
    debug_assert!(false, "an evaluation was asked for before its count was durable");
    Answer::Refused(Refusal::new(Code::Stale, "the attempt is not durable yet; ask again"))
}
