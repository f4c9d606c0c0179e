//! One world: accounts with their people and devices, the gateway, the network, the judge; and the steps in which
//! time goes on.

mod ends;
mod faults;
mod finale;
mod script;
mod wishes;

use crate::device::{Device, End, Role};
use crate::dice::Dice;
use crate::errand::Errand;
use crate::gateway::{Gateway, Plan};
use crate::oracle::{Breach, Checked, Oracle, breach, law};
use crate::post::{Ask, Body, Letter, Network};
use crate::sabotage::Sabotage;
use crate::trace::Trace;
use std::collections::VecDeque;

/// What a world is like.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Steps before the faults stop.
    pub steps: u64,
    /// Prints each event.
    pub trace: bool,
    /// Something wrong on purpose.
    pub sabotage: Option<Sabotage>,
}

impl Default for Config {
    fn default() -> Self {
        Config { steps: 2_500, trace: false, sabotage: None }
    }
}

/// A person with an account.
#[derive(Clone, Debug)]
pub struct Person {
    /// The account's name.
    pub name: String,
    /// Its password.
    pub password: String,
    /// Relying parties that the person uses.
    pub rp_ids: Vec<String>,
}

/// A world.
pub struct World {
    seed: u64,
    config: Config,
    /// Simulated time.
    pub now_ms: u64,
    /// What the host's clock is wrong by.
    skew_ms: i64,
    /// The latest that the host's clock has shown.
    host_max_ms: u64,
    dice: Dice,
    network: Network,
    /// The host.
    pub gateway: Gateway,
    /// All devices.
    pub devices: Vec<Device>,
    /// All people.
    pub people: Vec<Person>,
    /// The judge.
    pub oracle: Oracle,
    /// The story.
    pub trace: Trace,
    exchanges: u64,
    ends: Vec<Option<End>>,
    /// PIN and label that were typed last at a device that is not a member yet: whoever tries again after a fault
    /// types them again.
    typed: Vec<Option<(String, String)>>,
    tape: VecDeque<Letter>,
    evil: bool,
}

/// Midnight of the first simulated day.
const START_MS: u64 = 1_790_000_000_000;

impl World {
    /// The world of a seed.
    pub fn new(seed: u64, config: Config) -> World {
        let mut dice = Dice::new(seed, 0);
        let shards = if dice.chance(500) { 1 } else { 16 };
        let people: Vec<Person> = (0..dice.between(2, 4)).map(|_| person(&mut dice)).collect();
        let mut devices = Vec::new();
        for (account, person) in people.iter().enumerate() {
            for number in 0..dice.between(1, 4) {
                let has_uv = number == 0 || dice.chance(600);
                let at = devices.len();
                let own = Dice::new(seed, 100 + u64::try_from(at).unwrap_or(0));
                devices.push(Device::new(at, account, Role::Honest, &person.name, has_uv, own));
            }
        }
        let account = dice.index(people.len());
        let at = devices.len();
        let own = Dice::new(seed, 100 + u64::try_from(at).unwrap_or(0));
        devices.push(Device::new(at, account, Role::Stranger, &people[account].name, false, own));
        let evil = dice.chance(500);
        World::of(seed, config, shards, people, devices, dice, evil)
    }

    /// A world that a test lays out.
    pub fn small(seed: u64, config: Config, shards: u16, devices: &[Role]) -> World {
        let mut dice = Dice::new(seed, 0);
        let people = vec![person(&mut dice)];
        let device = |(at, role): (usize, &Role)| {
            let own = Dice::new(seed, 100 + u64::try_from(at).unwrap_or(0));
            Device::new(at, 0, *role, &people[0].name, at == 0, own)
        };
        let devices = devices.iter().enumerate().map(device).collect();
        World::of(seed, config, shards, people, devices, dice, false)
    }

    fn of(
        seed: u64,
        config: Config,
        shards: u16,
        people: Vec<Person>,
        devices: Vec<Device>,
        dice: Dice,
        evil: bool,
    ) -> World {
        let mut oracle = Oracle::new(people.len());
        let mut devices = devices;
        let gullible = config.sabotage == Some(Sabotage::BelieveStaleRows);
        devices.iter_mut().for_each(|device| device.gullible = gullible);
        let mut gateway = Gateway::new(seed, shards);
        gateway.sabotage = config.sabotage;
        oracle.stats.seeds = 1;
        oracle.canaries.add("the root key", gateway.root());
        for person in &people {
            oracle.canaries.add("an account's name", person.name.as_bytes());
            oracle.canaries.add("a password", person.password.as_bytes());
            person.rp_ids.iter().for_each(|rp_id| oracle.canaries.add("a relying party", rp_id.as_bytes()));
        }
        for device in &devices {
            device.scalars().iter().for_each(|key| oracle.canaries.add("a device's private key", key));
            oracle.canaries.add("a sealing key", device.home.keys.sealing.expose());
        }
        let count = devices.len();
        World {
            seed,
            config,
            now_ms: START_MS,
            skew_ms: 0,
            host_max_ms: START_MS,
            dice,
            network: Network::default(),
            gateway,
            devices,
            people,
            oracle,
            trace: Trace::new(config.trace),
            exchanges: 0,
            ends: vec![None; count],
            typed: vec![None; count],
            tape: VecDeque::new(),
            evil,
        }
    }

    /// The same world at this moment with nothing under way, to be led another way.
    pub fn fork(&self, stream: u64) -> World {
        World {
            seed: self.seed,
            config: self.config,
            now_ms: self.now_ms,
            skew_ms: self.skew_ms,
            host_max_ms: self.host_max_ms,
            dice: Dice::new(self.seed, 1 << 33 | stream),
            network: Network::default(),
            gateway: self.gateway.copy(stream),
            devices: self.devices.iter().map(Device::reborn).collect(),
            people: self.people.clone(),
            oracle: self.oracle.clone(),
            trace: self.trace.clone(),
            exchanges: self.exchanges,
            ends: vec![None; self.devices.len()],
            typed: self.typed.clone(),
            tape: VecDeque::new(),
            evil: self.evil,
        }
    }

    /// The whole life of a world: faults, calm, and the end at which all must be well.
    pub fn run(&mut self) -> Checked {
        self.network.faulty = true;
        while self.trace.step < self.config.steps {
            self.step(true)?;
        }
        self.calm_down()?;
        self.finale()
    }

    /// No more faults: what is under way comes to its end.
    pub fn calm_down(&mut self) -> Checked {
        self.note(format_args!("the faults stop"));
        self.network.faulty = false;
        for _ in 0..STEPS_TO_CALM {
            let quiet = self.devices.iter().all(Device::is_idle)
                && self.network.next_due().is_none()
                && (!self.gateway.is_busy() && self.gateway.serves());
            if quiet {
                return Ok(());
            }
            self.step(false)?;
        }
        breach(law::LIVE, "what was under way does not end")
    }

    /// Does an errand without faults, to its end.
    pub fn complete(&mut self, device: usize, errand: Errand) -> Checked<End> {
        self.ends[device] = None;
        self.set_out(device, errand)?;
        for _ in 0..STEPS_TO_CALM {
            if let Some(end) = self.ends[device].take() {
                return Ok(end);
            }
            self.step(false)?;
        }
        breach(law::LIVE, format!("device {device} does not come to an end"))
    }

    /// A moment passes.
    pub fn step(&mut self, faults: bool) -> Checked {
        self.trace.step += 1;
        self.oracle.stats.steps += 1;
        let pass = self.dice.below(30);
        self.oracle.stats.simulated_ms += pass;
        self.now_ms += pass;
        if faults && self.dice.chance(35) {
            self.fault()?;
        }
        if !self.gateway.serves() {
            return self.boot(faults);
        }
        let host = self.host_ms();
        self.gateway.refresh_if_due(host, &mut self.oracle)?;
        let moved = match self.dice.below(10) {
            0..4 => self.deliver()? || self.turn(faults)?,
            4..7 => self.turn(faults)? || self.deliver()?,
            _ => false,
        };
        if moved || self.speak()? || self.turn(faults)? || self.deliver()? {
            return Ok(());
        }
        if faults && self.wish()? {
            return Ok(());
        }
        self.skip();
        Ok(())
    }

    /// Nothing can happen now: goes on to when something can.
    fn skip(&mut self) {
        let devices = self.devices.iter().filter_map(Device::next_due);
        let due = devices.chain(self.network.next_due()).min();
        if let Some(due) = due.filter(|due| *due > self.now_ms) {
            self.oracle.stats.simulated_ms += due - self.now_ms;
            self.now_ms = due;
        }
    }

    /// What the host's clock says.
    fn host_ms(&mut self) -> u64 {
        let host = self.now_ms.saturating_add_signed(self.skew_ms);
        self.host_max_ms = self.host_max_ms.max(host);
        host
    }

    fn boot(&mut self, faults: bool) -> Checked {
        let crash = if faults && self.dice.chance(150) { self.any_crash() } else { None };
        let host = self.host_ms();
        self.gateway.boot(host, crash, &mut self.oracle)?;
        self.note(format_args!("the enclave starts{}", if crash.is_some() { " and crashes" } else { "" }));
        self.post()
    }

    /// One letter arrives.
    fn deliver(&mut self) -> Checked<bool> {
        let Some(Letter { exchange, device, body }) = self.network.arrive(self.now_ms, &mut self.dice) else {
            return Ok(false);
        };
        match body {
            Body::Ask(ask) => {
                self.note(format_args!("gateway hears: device {device} {}", Body::Ask(ask.clone()).word()));
                self.gateway.take(exchange, device, ask);
                self.post()?;
            }
            Body::Tell(tell) => {
                self.note(format_args!("device {device} hears: {}", Body::Tell(tell.clone()).word()));
                if let Some(hearer) = self.devices.get_mut(device)
                    && let Some(end) = hearer.hear(exchange, tell, self.now_ms)
                {
                    self.end(device, end)?;
                }
                self.learn(device)?;
            }
        }
        Ok(true)
    }

    /// One turn of the pump.
    fn turn(&mut self, faults: bool) -> Checked<bool> {
        if !self.gateway.is_busy() {
            return Ok(false);
        }
        let plan = if faults { self.any_plan() } else { Plan::default() };
        let host = self.host_ms();
        let queued = self.gateway.queued();
        self.note(format_args!("turn of {queued} with {plan:?}"));
        self.gateway.turn(host, plan, &mut self.oracle)?;
        self.post()?;
        Ok(true)
    }

    /// One turn as a test wants it.
    pub fn turn_with(&mut self, plan: Plan) -> Checked {
        let host = self.host_ms();
        let queued = self.gateway.queued();
        self.note(format_args!("turn of {queued} with {plan:?}"));
        self.gateway.turn(host, plan, &mut self.oracle)?;
        self.post()
    }

    /// Sends what the gateway has to say.
    fn post(&mut self) -> Checked {
        for note in std::mem::take(&mut self.oracle.notes) {
            self.note(format_args!("  {note}"));
        }
        for letter in std::mem::take(&mut self.gateway.outbox) {
            self.oracle.seen_by_host("a letter of the gateway", &letter.body.bytes())?;
            self.mail(letter);
        }
        Ok(())
    }

    fn mail(&mut self, letter: Letter) {
        self.network.send(letter, self.now_ms, &mut self.dice, &mut self.oracle.stats);
    }

    /// A device that has something to say says it.
    fn speak(&mut self) -> Checked<bool> {
        let first = self.dice.index(self.devices.len());
        for offset in 0..self.devices.len() {
            let at = (first + offset) % self.devices.len();
            if self.speak_of(at)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn speak_of(&mut self, at: usize) -> Checked<bool> {
        let exchange = self.exchanges + 1;
        match self.devices[at].speak(self.now_ms, exchange) {
            Ok(None) => Ok(false),
            Ok(Some(ask)) => {
                self.exchanges = exchange;
                if let Ask::Request(_, from) = &ask {
                    self.oracle.sent(from);
                }
                let letter = Letter { exchange, device: at, body: Body::Ask(ask) };
                self.note(format_args!("device {at} {}", letter.body.word()));
                self.oracle.seen_by_host("a letter", &letter.body.bytes())?;
                self.record(&letter);
                self.mail(letter);
                Ok(true)
            }
            Err(end) => {
                self.end(at, end)?;
                Ok(true)
            }
        }
    }

    /// Sets a device out on an errand.
    pub fn set_out(&mut self, at: usize, errand: Errand) -> Checked {
        let account = self.devices[at].account;
        self.note(format_args!("device {at} of account {account} sets out: {errand:?}"));
        for secret in [errand.typed(), errand.sets()].into_iter().flatten() {
            self.oracle.canaries.add("a PIN", secret.as_bytes());
        }
        if let Errand::Enrol { pin, label } | Errand::Join { pin, label } = &errand {
            self.typed[at] = Some((pin.clone(), label.clone()));
        }
        match &errand {
            Errand::Enrol { label, .. } | Errand::Join { label, .. } | Errand::RenameDevice { label, .. } => {
                self.oracle.canaries.add("a device's label", label.as_bytes());
            }
            Errand::Create { user_name, .. } | Errand::RenamePasskey { user_name, .. } => {
                self.oracle.canaries.add("a user's name", user_name.as_bytes());
            }
            _ => {}
        }
        let person = &self.people[self.devices[at].account];
        let (name, password) = (person.name.clone(), person.password.clone());
        match self.devices[at].set_out(errand, &name, &password) {
            Some(end) => self.end(at, end),
            None => Ok(()),
        }
    }

    /// What a member device has become: keys that nobody else may see, and the one by which its ledger is read.
    fn learn(&mut self, at: usize) -> Checked {
        let Some(device) = self.devices.get(at) else { return Ok(()) };
        let account = device.account;
        if let (Some(membership), Some(id)) = (&device.home.membership, device.home.account) {
            self.oracle.canaries.add("a metadata key", membership.metadata_key.expose());
            self.oracle.canaries.add("an audit key", membership.audit_key.expose());
            let key = *membership.audit_key.expose();
            self.oracle.meet(account, id)?;
            self.oracle.audit_key(account, &key)?;
        }
        Ok(())
    }

    /// Keeps a letter for whoever replays it.
    fn record(&mut self, letter: &Letter) {
        const TAPE: usize = 120;
        if self.tape.len() == TAPE {
            self.tape.pop_front();
        }
        self.tape.push_back(letter.clone());
    }

    /// Notes an event.
    pub fn note(&mut self, event: std::fmt::Arguments<'_>) {
        self.trace.note(self.now_ms, event);
    }

    /// A breach with the story that led to it.
    pub fn failure(&self, breach: Breach) -> crate::Failure {
        crate::Failure { seed: self.seed, step: self.trace.step, breach, last: self.trace.last() }
    }
}

/// Far more than anything needs.
const STEPS_TO_CALM: u64 = 30_000;

fn person(dice: &mut Dice) -> Person {
    Person {
        name: format!("name-{}", dice.word(10)),
        password: format!("password-{}", dice.word(10)),
        rp_ids: (0..3).map(|_| format!("rp-{}.example.com", dice.word(10))).collect(),
    }
}
