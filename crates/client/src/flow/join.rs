//! Joining an account with its PIN.

use super::enrol::{Enrolled, possession, registration};
use super::pin::{Attempt, Closing, end};
use super::{Call, Credentials, Flow, FlowError, Pin, Sender, Step, granted, unexpected};
use crate::home::{FlowSeed, Home, PendingFlow};
use keyferry_crypto::random::Random;
use keyferry_wire::command::{Answer, Authenticate, Command, Evaluated, PinStatus};
use keyferry_wire::refusal::Code;

/// Makes this device a further member, by password and PIN. A wrong PIN leaves the home as it was.
pub struct Join {
    credentials: Credentials,
    pin: Pin,
    label: String,
    state: State,
}

enum State {
    Start,
    Asking(FlowSeed, Authenticate),
    Trying(FlowSeed, Authenticate, Attempt),
    Joining(Closing),
    Over,
}

impl Join {
    pub fn new(credentials: Credentials, pin: Pin, label: &str) -> Join {
        Join { credentials, pin, label: label.to_owned(), state: State::Start }
    }

    fn start(&mut self, home: &mut Home, random: &mut dyn Random) -> Result<Step<Enrolled>, FlowError> {
        if home.membership.is_some() {
            return Err(FlowError::refused(Code::Exists, "this home is a member already"));
        }
        let seed = home.begin(PendingFlow::Join, random);
        let proof = self.credentials.authenticate(home)?;
        let commands = vec![Command::Authenticate(proof.clone()), Command::PinStatus];
        let call = Call::fresh(Sender::Stranger, commands, random);
        self.state = State::Asking(seed, proof);
        Ok(Step::Call(call))
    }

    fn begin(
        &mut self,
        home: &Home,
        seed: FlowSeed,
        proof: Authenticate,
        status: &PinStatus,
    ) -> Result<Step<Enrolled>, FlowError> {
        let attempt = Attempt::start(home, &self.pin, status, &self.credentials.costs, &seed)?;
        let commands = vec![Command::Authenticate(proof.clone()), attempt.begin()];
        let call = Call::seeded(&seed, Sender::Stranger, commands);
        self.state = State::Trying(seed, proof, attempt);
        Ok(Step::Call(call))
    }

    fn finish(
        &mut self,
        home: &mut Home,
        seed: &FlowSeed,
        proof: Authenticate,
        attempt: &Attempt,
        evaluated: &Evaluated,
    ) -> Result<Step<Enrolled>, FlowError> {
        let closing = attempt.finish(home, evaluated, seed)?;
        let commands = vec![
            Command::Authenticate(proof),
            closing.command.clone(),
            Command::Join(registration(home, &self.label)),
        ];
        let call = Call::seeded(seed, Sender::Stranger, commands).by(possession(home));
        home.commit_pending();
        self.state = State::Joining(closing);
        Ok(Step::Call(call))
    }

    fn step(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<Enrolled>, FlowError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        if let State::Start = state {
            return self.start(home, random);
        }
        if let State::Joining(closing) = &state {
            closing.check(answers.as_deref())?;
        }
        let answers = granted(answers)?;
        match (state, answers.as_slice()) {
            (State::Asking(seed, proof), [Answer::Account(_), Answer::PinStatus(status)]) => {
                self.begin(home, seed, proof, status)
            }
            (State::Trying(seed, proof, attempt), [Answer::Account(_), Answer::Evaluated(evaluated)]) => {
                self.finish(home, &seed, proof, &attempt, evaluated)
            }
            (State::Joining(closing), [Answer::Account(_), Answer::PinRight, Answer::Member(member)]) => {
                home.admit(member)?;
                home.pin = Some(closing.known);
                Ok(Step::Done(Enrolled::new(home)?))
            }
            _ => Err(unexpected()),
        }
    }
}

impl Flow for Join {
    type Output = Enrolled;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<Enrolled>, FlowError> {
        let result = self.step(home, random, answers);
        end(home, &result);
        result
    }
}
