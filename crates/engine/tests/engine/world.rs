//! One host, its enclave and the people who use it.

use crate::client::{As, Device, Session, create_for, identity};
use crate::host::Host;
use crate::platform::Seeded;
use keyferry_crypto::oprf::{self, Blind, Evaluation};
use keyferry_crypto::pin::{self, ClientKey, Hardened, Params};
use keyferry_crypto::random;
use keyferry_wire::command::*;
use keyferry_wire::door::{Drop as Reason, FromEnclave, OutBody, Refresh, ToEnclave};
use keyferry_wire::frame::{Reply, Request, RequestFrame};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{AttemptId, RequestId, limits};
use std::collections::BTreeSet;

pub(crate) const PASSWORD: u8 = 1;
pub(crate) const PIN: &str = "284017";
pub(crate) const WRONG: &str = "111111";

pub(crate) struct World {
    pub(crate) host: Host,
    pub(crate) random: Seeded,
    /// Blinded elements that were ever evaluated for a PIN in force: the oracle of the limit.
    pub(crate) evaluated: BTreeSet<[u8; 32]>,
}

pub(crate) fn world() -> World {
    World::new(1, 1)
}

/// A try, as a client keeps it between `begin` and `finish`.
pub(crate) struct Try {
    pub(crate) begin: Begin,
    blind: Blind,
    hardened: Hardened,
}

/// A world with one account, whose first device has set the PIN.
pub(crate) fn settled() -> (World, Device) {
    let mut world = world();
    let mut ann = world.member("ann");
    world.set_pin(&mut ann, PIN);
    (world, ann)
}

impl World {
    pub(crate) fn new(seed: u64, shards: u16) -> World {
        let mut host = Host::new(seed, shards);
        host.boot();
        World { host, random: Seeded::new(seed + 1000), evaluated: BTreeSet::new() }
    }

    pub(crate) fn session(&mut self) -> Session {
        Session::open(&mut self.host, &mut self.random)
    }

    pub(crate) fn device(&mut self) -> Device {
        Device::new(&mut self.random)
    }

    /// Runs a request to its end in a session of its own.
    pub(crate) fn ask(&mut self, device: &mut Device, sender: As, commands: &[Command]) -> Vec<Answer> {
        let id = device.request_id();
        self.ask_as(device, sender, id, commands)
    }

    pub(crate) fn ask_as(
        &mut self,
        device: &Device,
        sender: As,
        id: RequestId,
        commands: &[Command],
    ) -> Vec<Answer> {
        self.reply(device, sender, id, commands).answers
    }

    pub(crate) fn reply(
        &mut self,
        device: &Device,
        sender: As,
        id: RequestId,
        commands: &[Command],
    ) -> Reply {
        let mut session = self.session();
        let request = device.request(&session, sender, id, commands);
        self.send(&mut session, &request).unwrap_or_else(|reason| panic!("{reason:?}"))
    }

    pub(crate) fn try_ask(
        &mut self,
        device: &mut Device,
        sender: As,
        commands: &[Command],
    ) -> Result<Vec<Answer>, Reason> {
        let id = device.request_id();
        let mut session = self.session();
        let request = device.request(&session, sender, id, commands);
        self.send(&mut session, &request).map(|reply| reply.answers)
    }

    pub(crate) fn send(&mut self, session: &mut Session, request: &Request) -> Result<Reply, Reason> {
        let frame = session.seal(request);
        self.deliver(session, frame)
    }

    pub(crate) fn deliver(&mut self, session: &Session, frame: RequestFrame) -> Result<Reply, Reason> {
        let body = self.host.serve(frame);
        self.read(session, body)
    }

    pub(crate) fn read(&mut self, session: &Session, body: OutBody) -> Result<Reply, Reason> {
        match body {
            OutBody::Reply(sealed) => Ok(session.read(&sealed.reply)),
            OutBody::Dropped(reason) => Err(reason),
            other => panic!("{other:?}"),
        }
    }

    /// A new account with its first device.
    pub(crate) fn member(&mut self, name: &str) -> Device {
        let mut device = self.device();
        let commands =
            [Command::CreateAccount(identity(name, PASSWORD)), Command::Enrol(device.registration())];
        let answers = self.ask(&mut device, As::StrangerWithUv, &commands);
        let [Answer::Account(_), Answer::Member(member)] = &answers[..] else { panic!("{answers:?}") };
        device.admit(member);
        device
    }

    pub(crate) fn status(&mut self, device: &mut Device) -> PinStatus {
        let answers = self.ask(device, As::Member, &[Command::PinStatus]);
        let [Answer::PinStatus(status)] = &answers[..] else { panic!("{answers:?}") };
        status.clone()
    }

    /// Prepares a PIN; gives what exposes it.
    pub(crate) fn prepare(&mut self, device: &mut Device, pin: &str, sender: As) -> Expose {
        let (commands, blind, hardened) = preparing(device, pin);
        let answers = self.ask(device, sender, &commands);
        let [Answer::Prepared(prepared)] = &answers[..] else { panic!("{answers:?}") };
        exposing(device, prepared, &blind, &hardened)
    }

    pub(crate) fn set_pin(&mut self, device: &mut Device, pin: &str) {
        let expose = self.prepare(device, pin, As::MemberWithUv);
        let answers = self.ask(device, As::MemberWithUv, &[Command::Expose(expose)]);
        assert_eq!(answers, [Answer::Exposed]);
    }

    /// What a stranger learns before it tries a PIN.
    pub(crate) fn strange_status(&mut self, device: &mut Device, name: &str) -> (Account, PinStatus) {
        let commands = [Command::Authenticate(identity(name, PASSWORD)), Command::PinStatus];
        let answers = self.ask(device, As::Stranger, &commands);
        match &answers[..] {
            [Answer::Account(account), Answer::PinStatus(status)] => (account.clone(), status.clone()),
            _ => panic!("{answers:?}"),
        }
    }

    /// Begins a try as a member.
    pub(crate) fn begin(&mut self, device: &mut Device, attempt: &Try) -> Result<Evaluated, Refusal> {
        let answers = self.ask(device, As::Member, &[Command::Begin(attempt.begin.clone())]);
        self.evaluated(attempt, &answers)
    }

    /// Begins a try as a stranger.
    pub(crate) fn begin_strange(
        &mut self,
        device: &mut Device,
        name: &str,
        attempt: &Try,
    ) -> Result<Evaluated, Refusal> {
        let commands =
            [Command::Authenticate(identity(name, PASSWORD)), Command::Begin(attempt.begin.clone())];
        let answers = self.ask(device, As::Stranger, &commands);
        self.evaluated(attempt, &answers)
    }

    /// Takes note of an evaluation.
    pub(crate) fn evaluated(&mut self, attempt: &Try, answers: &[Answer]) -> Result<Evaluated, Refusal> {
        match answers.last() {
            Some(Answer::Evaluated(evaluated)) => {
                self.evaluated.insert(attempt.begin.blinded);
                Ok(evaluated.clone())
            }
            Some(Answer::Refused(refusal)) => Err(refusal.clone()),
            other => panic!("{other:?}"),
        }
    }

    /// A whole try of a member: right is `PinRight`.
    pub(crate) fn enter_pin(&mut self, device: &mut Device, pin: &str) -> Result<(), Refusal> {
        let status = self.status(device);
        let attempt = attempt(device, &status, pin);
        let evaluated = self.begin(device, &attempt)?;
        let finish = attempt.finish(device, &evaluated);
        let answers = self.ask(device, As::Member, &[Command::Finish(finish)]);
        match &answers[..] {
            [Answer::PinRight] => Ok(()),
            [Answer::Refused(refusal)] => Err(refusal.clone()),
            _ => panic!("{answers:?}"),
        }
    }

    /// Joins with password and PIN; gives the device's answers to `finish` and `join`.
    pub(crate) fn join(&mut self, device: &mut Device, name: &str, pin: &str) -> Result<Member, Refusal> {
        let (account, status) = self.strange_status(device, name);
        let attempt = attempt_for(device, account.account, &status, pin);
        let evaluated = self.begin_strange(device, name, &attempt)?;
        let commands = self.joining(device, name, &attempt, &evaluated, account.account);
        let answers = self.ask(device, As::StrangerWithUv, &commands);
        match answers.last() {
            Some(Answer::Member(member)) => {
                device.admit(member);
                Ok(member.clone())
            }
            Some(Answer::Refused(refusal)) => Err(refusal.clone()),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn joining(
        &mut self,
        device: &mut Device,
        name: &str,
        attempt: &Try,
        evaluated: &Evaluated,
        account: keyferry_wire::AccountId,
    ) -> [Command; 3] {
        [
            Command::Authenticate(identity(name, PASSWORD)),
            Command::Finish(attempt.finish_for(device, evaluated, account)),
            Command::Join(device.registration()),
        ]
    }

    pub(crate) fn create(&mut self, device: &mut Device, rp_id: &str) -> Created {
        let answers = self.ask(device, As::Member, &[Command::CreatePasskey(create_for(rp_id))]);
        let [Answer::Created(created)] = &answers[..] else { panic!("{answers:?}") };
        created.clone()
    }

    /// Crashes the enclave and starts another from what is durable.
    pub(crate) fn restart(&mut self) {
        self.host.boot();
    }

    /// Asks for fresh evidence.
    pub(crate) fn refresh(&mut self) {
        let refresh = ToEnclave::Refresh(Refresh { now_ms: self.host.now_ms });
        match self.host.send(refresh) {
            FromEnclave::Evidence(evidence) => self.host.evidence = Some(evidence),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.host.now_ms += ms;
        if ms > limits::EVIDENCE_LIFE_MS {
            self.refresh();
        }
    }
}

pub(crate) fn fast() -> PinParams {
    let Params { memory_kib, passes, lanes } = Params::insecure_fast_for_tests();
    PinParams { memory_kib, passes, lanes }
}

fn harden(pin: &str, account: &[u8], salt: &[u8; 16]) -> Hardened {
    let fast = Params::insecure_fast_for_tests();
    pin::harden(pin, account, salt, fast, fast).unwrap()
}

pub(crate) fn preparing(device: &mut Device, pin: &str) -> ([Command; 1], Blind, Hardened) {
    let salt = random::bytes(&mut device.random);
    let hardened = harden(pin, &device.account.unwrap().0, &salt);
    let (blind, blinded) = oprf::blind(hardened.access.expose(), &mut device.random).unwrap();
    ([Command::Prepare(Prepare { salt, params: fast(), blinded })], blind, hardened)
}

pub(crate) fn exposing(device: &Device, prepared: &Evaluated, blind: &Blind, hardened: &Hardened) -> Expose {
    let account = device.account.unwrap();
    let key = client_key(prepared, blind, hardened, &account.0);
    let generation = u64::from(prepared.generation);
    Expose {
        generation: prepared.generation,
        client_key: *key.expose(),
        commitment: pin::commitment(&key, &account.0, generation),
    }
}

fn client_key(evaluated: &Evaluated, blind: &Blind, hardened: &Hardened, account: &[u8]) -> ClientKey {
    let evaluation = Evaluation { element: evaluated.element, proof: evaluated.proof };
    let output = blind.finalize(hardened.access.expose(), &evaluation, &evaluated.public).unwrap();
    pin::client_key(&output, hardened, account, u64::from(evaluated.generation))
}

pub(crate) fn attempt(device: &mut Device, status: &PinStatus, pin: &str) -> Try {
    let account = device.account.unwrap();
    attempt_for(device, account, status, pin)
}

pub(crate) fn attempt_for(
    device: &mut Device,
    account: keyferry_wire::AccountId,
    status: &PinStatus,
    pin: &str,
) -> Try {
    let hardened = harden(pin, &account.0, &status.salt);
    let (blind, blinded) = oprf::blind(hardened.access.expose(), &mut device.random).unwrap();
    let attempt = AttemptId(random::bytes(&mut device.random));
    Try { begin: Begin { generation: status.generation, attempt, blinded }, blind, hardened }
}

impl Try {
    pub(crate) fn finish(&self, device: &mut Device, evaluated: &Evaluated) -> Finish {
        let account = device.account.unwrap();
        self.finish_for(device, evaluated, account)
    }

    /// The client key when the commitment matches, else noise.
    pub(crate) fn finish_for(
        &self,
        device: &mut Device,
        evaluated: &Evaluated,
        account: keyferry_wire::AccountId,
    ) -> Finish {
        let key = client_key(evaluated, &self.blind, &self.hardened, &account.0);
        let commitment = pin::commitment(&key, &account.0, u64::from(evaluated.generation));
        let value = if commitment == evaluated.commitment {
            *key.expose()
        } else {
            random::bytes(&mut device.random)
        };
        Finish { attempt: self.begin.attempt, value }
    }
}

/// The one refusal among answers that ended with it.
pub(crate) fn refusal(answers: &[Answer]) -> (Code, Option<u16>) {
    match answers.last() {
        Some(Answer::Refused(refusal)) => (refusal.code, refusal.left),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn code(answers: &[Answer]) -> Code {
    refusal(answers).0
}
