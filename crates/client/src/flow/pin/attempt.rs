//! One try of the PIN (design, section 6): harden, blind, have it evaluated, and answer with the client key or with
//! random bytes. What leaves this device says nothing of the PIN unless the commitment shows that the enclave holds
//! the PIN that was set.

use super::check_generation;
use crate::flow::{Costs, FlowError, Pin};
use crate::home::{FlowSeed, Home, PinKnown};
use keyferry_crypto::hash::ct_eq;
use keyferry_crypto::oprf::{self, Blind, Evaluation, OprfOutput};
use keyferry_crypto::pin::{self, Hardened};
use keyferry_wire::command::{Answer, Begin, Command, Evaluated, Finish, PinStatus};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{AccountId, AttemptId};

/// An attempt between `begin` and `finish`.
pub(in crate::flow) struct Attempt {
    account: AccountId,
    generation: u32,
    id: AttemptId,
    blinding: Blinding,
}

/// What closes an attempt.
pub(in crate::flow) struct Closing {
    pub(in crate::flow) command: Command,
    /// The commitment showed that the PIN is right: an enclave that calls it wrong lies.
    right: bool,
    /// To be remembered once the enclave says that the PIN was right.
    pub(in crate::flow) known: PinKnown,
}

impl Attempt {
    /// Refuses at once where no try can succeed: no PIN, or a locked one.
    pub(in crate::flow) fn start(
        home: &Home,
        pin: &Pin,
        status: &PinStatus,
        costs: &Costs,
        seed: &FlowSeed,
    ) -> Result<Attempt, FlowError> {
        check_generation(home, status)?;
        if status.generation == 0 {
            return Err(FlowError::refused(
                Code::Policy,
                "this account has no PIN yet: finish `keyferry device enrol` on its first device",
            ));
        }
        if status.locked {
            let refusal =
                Refusal::new(Code::PinLocked, "the PIN is locked; a member device can set another one");
            return Err(refusal.with_left(0).into());
        }
        let account = home.account()?;
        let hardened = pin.harden(account, &status.salt, status.params, costs)?;
        let blinding = Blinding::new(hardened, seed)?;
        Ok(Attempt { account, generation: status.generation, id: seed.attempt(&blinding.blinded), blinding })
    }

    pub(in crate::flow) fn begin(&self) -> Command {
        Command::Begin(Begin {
            generation: self.generation,
            attempt: self.id,
            blinded: self.blinding.blinded,
        })
    }

    /// Closes the attempt. Always: one that is left open counts as wrong.
    pub(in crate::flow) fn finish(
        &self,
        home: &Home,
        evaluated: &Evaluated,
        seed: &FlowSeed,
    ) -> Result<Closing, FlowError> {
        let known = self.recognise(home, evaluated)?;
        let output = self.blinding.finalize(evaluated)?;
        let generation = u64::from(self.generation);
        let key = pin::client_key(&output, &self.blinding.hardened, &self.account.0, generation);
        let commitment = pin::commitment(&key, &self.account.0, generation);
        let right = ct_eq(&commitment, &evaluated.commitment);
        let value = if right { *key.expose() } else { seed.filler(&self.id) };
        Ok(Closing { command: Command::Finish(Finish { attempt: self.id, value }), right, known })
    }

    /// On a member, another key or commitment than it knows for this generation is a false enclave, not a wrong PIN.
    fn recognise(&self, home: &Home, evaluated: &Evaluated) -> Result<PinKnown, FlowError> {
        if evaluated.generation != self.generation {
            return Err(FlowError::evidence("the enclave evaluated another PIN than was asked"));
        }
        let shown = PinKnown {
            generation: evaluated.generation,
            public: evaluated.public,
            commitment: evaluated.commitment,
        };
        match &home.pin {
            Some(known) if known.generation == shown.generation && *known != shown => Err(
                FlowError::evidence("the enclave shows another key for this PIN than this device has seen"),
            ),
            _ => Ok(shown),
        }
    }
}

impl Closing {
    /// Whoever is told that a right PIN was wrong types the next one, perhaps that of another account.
    pub(in crate::flow) fn check(&self, answers: Option<&[Answer]>) -> Result<(), FlowError> {
        match answers.and_then(<[Answer]>::last) {
            Some(Answer::Refused(refusal)) if self.right && refusal.code == Code::PinWrong => {
                Err(FlowError::evidence("the enclave calls a PIN wrong that this device knows to be right"))
            }
            _ => Ok(()),
        }
    }
}

/// A hardened PIN and its blinded form.
pub(super) struct Blinding {
    pub(super) hardened: Hardened,
    blind: Blind,
    pub(super) blinded: [u8; 32],
}

impl Blinding {
    pub(super) fn new(hardened: Hardened, seed: &FlowSeed) -> Result<Blinding, FlowError> {
        let input = hardened.access.expose();
        let (blind, blinded) = oprf::blind(input, &mut seed.blinds(input))
            .map_err(|_| FlowError::fault("the PIN could not be blinded"))?;
        Ok(Blinding { hardened, blind, blinded })
    }

    /// Unblinds, once the enclave has proved that it used the key that it shows.
    pub(super) fn finalize(&self, evaluated: &Evaluated) -> Result<OprfOutput, FlowError> {
        let evaluation = Evaluation { element: evaluated.element, proof: evaluated.proof };
        self.blind
            .finalize(self.hardened.access.expose(), &evaluation, &evaluated.public)
            .map_err(|_| FlowError::evidence("the enclave's evaluation of the PIN is not proved"))
    }
}
