//! Enrolling an account's first device and setting its PIN.

use super::pin::{Setting, end};
use super::{Call, Costs, Credentials, Flow, FlowError, Pin, Sender, Step, User, granted, unexpected};
use crate::home::{FlowSeed, Home, PendingFlow};
use keyferry_crypto::random::Random;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Account, Answer, Authenticate, Command, Evaluated, Member, Registration};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{AccountId, DeviceId};

/// Makes this device the account's first member.
pub struct Enrol {
    credentials: Credentials,
    pin: Pin,
    label: String,
    state: State,
}

/// A device that has become a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    pub account: AccountId,
    pub device: DeviceId,
    /// How many members the account has now; their list is in the home.
    pub members: usize,
}

enum State {
    Start,
    Authenticating(FlowSeed, Authenticate),
    Enrolling(FlowSeed, Setting),
    /// Already a member, without a PIN: the step after enrolling was refused or lost.
    Preparing(FlowSeed, Setting),
    Exposing(Setting),
    Over,
}

impl Enrol {
    pub fn new(credentials: Credentials, pin: Pin, label: &str) -> Enrol {
        Enrol { credentials, pin, label: label.to_owned(), state: State::Start }
    }

    fn costs(&self) -> &Costs {
        &self.credentials.costs
    }

    fn start(&mut self, home: &mut Home, random: &mut dyn Random) -> Result<Step<Enrolled>, FlowError> {
        if home.pin.is_some() {
            return Err(FlowError::refused(Code::Exists, "this home is enrolled already"));
        }
        self.pin.check_new()?;
        let resumed = home.is_committed();
        let seed = home.begin(PendingFlow::Enrol, random);
        if home.membership.is_some() && !resumed {
            return self.prepare(home, seed);
        }
        let proof = self.credentials.authenticate(home)?;
        let commands = vec![Command::Authenticate(proof.clone())];
        let call = Call::fresh(Sender::Stranger, commands, random);
        self.state = State::Authenticating(seed, proof);
        Ok(Step::Call(call))
    }

    fn register(
        &mut self,
        home: &mut Home,
        seed: FlowSeed,
        proof: Authenticate,
        account: &Account,
    ) -> Result<Step<Enrolled>, FlowError> {
        // With an enrolment under way the one member may be this device: its answer was lost, and is given again.
        if account.members > 0 && !home.is_committed() {
            return Err(FlowError::refused(
                Code::Exists,
                "this account has a device already: use `keyferry device join`",
            ));
        }
        let setting = Setting::start(home, &self.pin, self.costs(), &seed)?;
        let commands = vec![
            Command::Authenticate(proof),
            Command::Enrol(registration(home, &self.label)),
            setting.prepare(),
        ];
        let call = Call::seeded(&seed, Sender::Stranger, commands).by(possession(home));
        home.commit_pending();
        self.state = State::Enrolling(seed, setting);
        Ok(Step::Call(call))
    }

    fn prepare(&mut self, home: &mut Home, seed: FlowSeed) -> Result<Step<Enrolled>, FlowError> {
        let setting = Setting::start(home, &self.pin, self.costs(), &seed)?;
        let call = Call::seeded(&seed, Sender::Member, vec![setting.prepare()]).by(possession(home));
        self.state = State::Preparing(seed, setting);
        Ok(Step::Call(call))
    }

    fn expose(
        &mut self,
        home: &mut Home,
        seed: &FlowSeed,
        mut setting: Setting,
        prepared: &Evaluated,
    ) -> Result<Step<Enrolled>, FlowError> {
        let expose = setting.expose(home, prepared)?;
        let call = Call::seeded(seed, Sender::Member, vec![expose]).by(possession(home)).with_wrapped();
        self.state = State::Exposing(setting);
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
        let answers = granted(answers)?;
        match (state, answers.as_slice()) {
            (State::Authenticating(seed, proof), [Answer::Account(account)]) => {
                self.register(home, seed, proof, account)
            }
            (
                State::Enrolling(seed, setting),
                [Answer::Account(_), Answer::Member(member), Answer::Prepared(prepared)],
            ) => {
                check_alone(member)?;
                home.admit(member)?;
                self.expose(home, &seed, setting, prepared)
            }
            (State::Preparing(seed, setting), [Answer::Prepared(prepared)]) => {
                self.expose(home, &seed, setting, prepared)
            }
            (State::Exposing(setting), [Answer::Exposed]) => {
                setting.exposed(home)?;
                Ok(Step::Done(Enrolled::new(home)?))
            }
            _ => Err(unexpected()),
        }
    }
}

impl Flow for Enrol {
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

impl Enrolled {
    pub(super) fn new(home: &Home) -> Result<Enrolled, FlowError> {
        Ok(Enrolled { account: home.account()?, device: home.device_id(), members: home.devices.len() })
    }
}

/// The keys that this device registers.
pub(super) fn registration(home: &Home, label: &str) -> Registration {
    Registration {
        hw: Bytes(home.keys.hw.to_vec()),
        uv: home.keys.uv.clone(),
        sealing: home.keys.sealing_public(),
        label: label.to_owned(),
        storage: home.keys.storage,
    }
}

/// Whoever registers keys proves that it has them all.
pub(super) fn possession(home: &Home) -> User {
    if home.keys.uv.is_some() { User::Verified } else { User::Unverified }
}

/// An account that was just made has one member: another one would be somebody's who waited for the PIN.
fn check_alone(member: &Member) -> Result<(), FlowError> {
    match member.members.as_slice() {
        [only] if only.device == member.device => Ok(()),
        _ => Err(Refusal::new(
            Code::Evidence,
            "the account has other members although this is its first device",
        )
        .into()),
    }
}
