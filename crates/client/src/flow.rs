//! Flows: what a device says to the enclave, in which order, and what it makes of the answers.
//!
//! A flow does no I/O. It is asked for its next step with the answers to the last one; it returns a [`Call`] to be
//! carried to the enclave, or its output. Whoever drives it stores the home before each call and after each answer,
//! and repeats a call after any trouble on the way: same id, same commands.

mod account;
mod devices;
mod enrol;
mod join;
mod passkey;
mod pin;
mod typed;

pub use account::CreateAccount;
pub use devices::{ListDevices, RenameDevice};
pub use enrol::{Enrol, Enrolled};
pub use join::Join;
pub use passkey::{Create, Crossed, DeletePasskey, Get, RenamePasskey, is_crossed, latest};
pub use pin::{PinChange, PinStatus};
pub use typed::{Costs, Credentials, Password, Pin};

use crate::home::{FlowSeed, Home};
use keyferry_crypto::random::{self, Random};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Answer, Command};
use keyferry_wire::frame::Level;
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{CredentialId, RequestId, Wire};

/// A conversation with the enclave.
pub trait Flow {
    type Output;

    /// The next step; `answers` are those to the call before, and absent at the beginning.
    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<Self::Output>, FlowError>;
}

/// What to do next.
#[derive(Debug)]
pub enum Step<T> {
    Call(Call),
    Done(T),
}

/// A request to the enclave, independent of the session that will carry it.
#[derive(Clone, Debug)]
pub struct Call {
    /// Chosen once; a retry keeps it.
    pub id: RequestId,
    pub commands: Vec<Command>,
    pub sender: Sender,
    /// Keys that sign.
    pub levels: Vec<Level>,
    /// Whether the device's half of the security domain secret goes along.
    pub wrapped: bool,
    /// Rows that the enclave will ask for; a hint to the gateway.
    pub passkeys: Vec<CredentialId>,
}

/// As whom a request is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Nobody yet: neither account nor device.
    Nobody,
    /// A device that is no member; its key goes along.
    Stranger,
    Member,
}

/// Whether the user was verified just now, so that the `uv` key can sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    Verified,
    Unverified,
}

/// How a flow ends badly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// An answer, not an error: the enclave or this device will not do it.
    #[error("{0}")]
    Refused(Refusal),
    /// Something broke; a sentence for people.
    #[error("{0}")]
    Fault(String),
}

impl FlowError {
    pub fn fault(sentence: impl Into<String>) -> FlowError {
        FlowError::Fault(sentence.into())
    }

    pub(crate) fn refused(code: Code, sentence: impl Into<String>) -> FlowError {
        FlowError::Refused(Refusal::new(code, sentence))
    }

    /// Somebody plays false.
    pub(crate) fn evidence(sentence: &str) -> FlowError {
        FlowError::refused(Code::Evidence, sentence)
    }
}

impl From<Refusal> for FlowError {
    fn from(refusal: Refusal) -> FlowError {
        FlowError::Refused(refusal)
    }
}

/// Runs a flow to its end; `carry` takes each call to the enclave.
pub fn drive<F: Flow>(
    flow: &mut F,
    home: &mut Home,
    random: &mut dyn Random,
    mut carry: impl FnMut(&mut Home, &mut dyn Random, &Call) -> Result<Vec<Answer>, FlowError>,
) -> Result<F::Output, FlowError> {
    let mut answers = None;
    loop {
        match flow.next(home, random, answers.take())? {
            Step::Done(output) => return Ok(output),
            Step::Call(call) => answers = Some(carry(home, random, &call)?),
        }
    }
}

impl Call {
    /// Encoded `Vec<Command>`: what the operation's hash is over.
    pub fn command_bytes(&self) -> Bytes {
        Bytes(self.commands.to_bytes())
    }

    /// A call under a fresh id: of a flow that is not resumed after a crash.
    fn fresh(sender: Sender, commands: Vec<Command>, random: &mut dyn Random) -> Call {
        Call::with_id(RequestId(random::bytes(random)), sender, commands)
    }

    /// A call of a flow that may be resumed.
    fn seeded(seed: &FlowSeed, sender: Sender, commands: Vec<Command>) -> Call {
        let id = seed.request(&commands.to_bytes());
        Call::with_id(id, sender, commands)
    }

    fn with_id(id: RequestId, sender: Sender, commands: Vec<Command>) -> Call {
        let levels = if sender == Sender::Nobody { Vec::new() } else { vec![Level::Hw] };
        Call { id, commands, sender, levels, wrapped: false, passkeys: Vec::new() }
    }

    /// Signs with the `uv` key too, if the user was verified.
    fn by(mut self, user: User) -> Call {
        if user == User::Verified {
            self.levels.push(Level::Uv);
        }
        self
    }

    fn with_wrapped(mut self) -> Call {
        self.wrapped = true;
        self
    }

    fn about(mut self, passkeys: Vec<CredentialId>) -> Call {
        self.passkeys = passkeys;
        self
    }
}

/// The answers to the call before, none of which is a refusal: answers stop at the first one.
fn granted(answers: Option<Vec<Answer>>) -> Result<Vec<Answer>, FlowError> {
    let answers = answers.unwrap_or_default();
    match answers.last() {
        Some(Answer::Refused(refusal)) => Err(FlowError::Refused(refusal.clone())),
        _ => Ok(answers),
    }
}

fn unexpected() -> FlowError {
    FlowError::fault("the enclave's answers do not fit what was asked")
}

#[cfg(test)]
mod tests;
