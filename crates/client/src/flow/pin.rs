//! The PIN: its state, proving it, setting it. `begin` and `finish`, `prepare` and `expose` are used by enrol and join
//! as well.

mod attempt;
mod setting;

pub(super) use attempt::{Attempt, Closing};
pub(super) use setting::Setting;

use super::{Call, Costs, Flow, FlowError, Pin, Sender, Step, User, granted, unexpected};
use crate::home::{FlowSeed, Home, PendingFlow};
use keyferry_crypto::random::Random;
use keyferry_wire::command::{self, Answer, Command};
use keyferry_wire::refusal::{Code, Refusal};

/// Asks how many tries are left.
#[derive(Debug)]
pub struct PinStatus;

impl Flow for PinStatus {
    type Output = command::PinStatus;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<command::PinStatus>, FlowError> {
        if answers.is_none() {
            return Ok(Step::Call(Call::fresh(Sender::Member, vec![Command::PinStatus], random)));
        }
        match granted(answers)?.as_slice() {
            [Answer::PinStatus(status)] => {
                check_generation(home, status)?;
                Ok(Step::Done(status.clone()))
            }
            _ => Err(unexpected()),
        }
    }
}

/// Sets another PIN: vouched for by the user-verification key, else by the old PIN.
pub struct PinChange {
    old: Option<Pin>,
    new: Pin,
    user: User,
    costs: Costs,
    state: State,
}

enum State {
    Start,
    Asking(FlowSeed),
    Trying(FlowSeed, Attempt),
    /// With what proved the old PIN, if it was.
    Preparing(FlowSeed, Setting, Option<Box<Closing>>),
    Exposing(Setting),
    Over,
}

impl PinChange {
    /// With `user` unverified the old PIN is needed.
    pub fn new(old: Option<Pin>, new: Pin, user: User, costs: Costs) -> PinChange {
        PinChange { old, new, user, costs, state: State::Start }
    }

    fn start(&mut self, home: &mut Home, random: &mut dyn Random) -> Result<Step<u32>, FlowError> {
        self.new.check_new()?;
        home.membership()?;
        if self.user == User::Unverified && self.old.is_none() {
            let refusal = Refusal::new(
                Code::UvRequired,
                "changing the PIN needs the old PIN, or the PIN of this device for its user-verification key",
            );
            return Err(refusal.into());
        }
        let seed = home.begin(PendingFlow::PinChange, random);
        if self.user == User::Verified {
            return self.prepare(home, seed, None);
        }
        let call = Call::fresh(Sender::Member, vec![Command::PinStatus], random);
        self.state = State::Asking(seed);
        Ok(Step::Call(call))
    }

    fn begin(
        &mut self,
        home: &Home,
        seed: FlowSeed,
        status: &command::PinStatus,
    ) -> Result<Step<u32>, FlowError> {
        let old = self.old.as_ref().ok_or_else(unexpected)?;
        let attempt = Attempt::start(home, old, status, &self.costs, &seed)?;
        let call = Call::seeded(&seed, Sender::Member, vec![attempt.begin()]);
        self.state = State::Trying(seed, attempt);
        Ok(Step::Call(call))
    }

    /// Asks for the next generation; `closing` proves the old PIN in the same request.
    fn prepare(
        &mut self,
        home: &mut Home,
        seed: FlowSeed,
        closing: Option<Box<Closing>>,
    ) -> Result<Step<u32>, FlowError> {
        let setting = Setting::start(home, &self.new, &self.costs, &seed)?;
        let finish = closing.as_ref().map(|closing| closing.command.clone());
        let commands = finish.into_iter().chain([setting.prepare()]).collect();
        let call = Call::seeded(&seed, Sender::Member, commands).by(self.user);
        home.commit_pending();
        self.state = State::Preparing(seed, setting, closing);
        Ok(Step::Call(call))
    }

    fn step(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<u32>, FlowError> {
        let state = std::mem::replace(&mut self.state, State::Over);
        if let State::Start = state {
            return self.start(home, random);
        }
        if let State::Preparing(_, _, Some(closing)) = &state {
            closing.check(answers.as_deref())?;
        }
        let answers = granted(answers)?;
        match (state, answers.as_slice()) {
            (State::Asking(seed), [Answer::PinStatus(status)]) => self.begin(home, seed, status),
            (State::Trying(seed, attempt), [Answer::Evaluated(evaluated)]) => {
                let closing = attempt.finish(home, evaluated, &seed)?;
                self.prepare(home, seed, Some(Box::new(closing)))
            }
            (State::Preparing(seed, mut setting, _), [.., Answer::Prepared(prepared)]) => {
                let expose = setting.expose(home, prepared)?;
                let call = Call::seeded(&seed, Sender::Member, vec![expose]).by(self.user).with_wrapped();
                self.state = State::Exposing(setting);
                Ok(Step::Call(call))
            }
            (State::Exposing(setting), [Answer::Exposed]) => Ok(Step::Done(setting.exposed(home)?)),
            _ => Err(unexpected()),
        }
    }
}

impl Flow for PinChange {
    /// The new generation.
    type Output = u32;

    fn next(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        answers: Option<Vec<Answer>>,
    ) -> Result<Step<u32>, FlowError> {
        let result = self.step(home, random, answers);
        end(home, &result);
        result
    }
}

/// A flow that was answered to its end, or refused, is not resumed. After a fault it is, and after a lie: what the liar
/// has done of it is not known, and an honest enclave may have done it all.
pub(super) fn end<T>(home: &mut Home, result: &Result<Step<T>, FlowError>) {
    let over = match result {
        Ok(Step::Done(_)) => true,
        Err(FlowError::Refused(refusal)) => refusal.code != Code::Evidence || !home.is_committed(),
        _ => false,
    };
    if over {
        home.pending = None;
    }
}

/// A generation below the one that this member knows is yesterday's.
fn check_generation(home: &Home, status: &command::PinStatus) -> Result<(), FlowError> {
    match &home.pin {
        Some(known) if status.generation < known.generation => Err(FlowError::refused(
            Code::Stale,
            "the account's PIN is an older one than this device has seen: it was rolled back",
        )),
        _ => Ok(()),
    }
}
