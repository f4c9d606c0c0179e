//! B14: a PIN attempt, server side: `begin`, then `finish` with what the evaluation led to. The client's Argon2id is
//! left out: 64 bytes of its choice stand for the hardened PIN. So are its blinding and its check of the proof, but for
//! the first time: one PIN leads to one value, and computing it anew takes the load generator as long as the attempt
//! takes the server, which would then wait for work.

use crate::assertion::outcome_json;
use crate::carrier::Wires;
use crate::ceiling::{self, Ceilings};
use crate::load::{Fleet, Outcome, Pace, Worker};
use crate::measure::{Effort, Spread};
use crate::member::{Member, Newcomer};
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use crate::{Fallible, host};
use keyferry_crypto::oprf::{Blind, Evaluation, blind};
use keyferry_crypto::pin::{self, ClientKey, Hardened, PinAccess, PinSeed};
use keyferry_crypto::random;
use keyferry_enclave::HardwareRandom;
use keyferry_wire::command::{Answer, Begin, Command, Evaluated, Expose, Finish, PinParams, Prepare};
use keyferry_wire::frame::Reply;
use keyferry_wire::{AccountId, AttemptId};
use serde_json::json;
use std::collections::HashMap;

/// Stated with a PIN, never used here: nothing is hardened.
const PARAMS: PinParams = PinParams { memory_kib: 64 * 1024, passes: 3, lanes: 1 };

/// A PIN as it is after Argon2id.
fn hardened() -> Hardened {
    Hardened { access: PinAccess::from_bytes([0x11; 32]), seed: PinSeed::from_bytes([0x22; 32]) }
}

/// A PIN on its way through the OPRF.
struct Blinding {
    hardened: Hardened,
    state: Blind,
    blinded: [u8; 32],
}

impl Blinding {
    fn new() -> Fallible<Blinding> {
        let hardened = hardened();
        let (state, blinded) = blind(hardened.access.expose(), &mut HardwareRandom::default())?;
        Ok(Blinding { hardened, state, blinded })
    }

    fn client_key(&self, account: &AccountId, evaluated: &Evaluated) -> Fallible<ClientKey> {
        let evaluation = Evaluation { element: evaluated.element, proof: evaluated.proof };
        let output = self.state.finalize(self.hardened.access.expose(), &evaluation, &evaluated.public)?;
        Ok(pin::client_key(&output, &self.hardened, &account.0, u64::from(evaluated.generation)))
    }
}

/// A PIN that was set: what its owner sends at each attempt.
pub(crate) struct Pin {
    blinded: [u8; 32],
    value: ClientKey,
}

/// Sets the account's first PIN.
pub(crate) fn set(member: &mut Member, wire: &mut Wires<'_>) -> Fallible<Pin> {
    let blinding = Blinding::new()?;
    let salt = random::bytes(&mut HardwareRandom::default());
    let prepare = Command::Prepare(Prepare { salt, params: PARAMS, blinded: blinding.blinded });
    let reply = member.exchange(wire, vec![prepare], Vec::new())?;
    let [Answer::Prepared(prepared)] = reply.answers.as_slice() else {
        return Err("no PIN was prepared".into());
    };
    let key = blinding.client_key(&member.account, prepared)?;
    let generation = prepared.generation;
    let commitment = pin::commitment(&key, &member.account.0, u64::from(generation));
    let expose = Command::Expose(Expose { generation, client_key: *key.expose(), commitment });
    member.exchange(wire, vec![expose], Vec::new())?;
    Ok(Pin { blinded: blinding.blinded, value: key })
}

/// Enters the right PIN.
fn attempt(member: &mut Member, pin: &Pin, wire: &mut Wires<'_>) -> Fallible<()> {
    let (begin, attempt) = begin(pin.blinded);
    let reply = member.exchange(wire, vec![begin], Vec::new())?;
    evaluated(&reply)?;
    let finish = Command::Finish(Finish { attempt, value: *pin.value.expose() });
    let reply = member.exchange(wire, vec![finish], Vec::new())?;
    match reply.answers.as_slice() {
        [Answer::PinRight] => Ok(()),
        _ => Err("the PIN was not right".into()),
    }
}

/// Lets a further device join the account of a member by its PIN.
pub(crate) fn join(member: &Member, wire: &mut Wires<'_>) -> Fallible<Member> {
    let (mut newcomer, blinding) = (Newcomer::generate(), Blinding::new()?);
    let identity = || Command::Authenticate(member.identity.clone());
    let (begin, attempt) = begin(blinding.blinded);
    let reply = newcomer.ask(wire, vec![identity(), begin])?;
    let value = *blinding.client_key(&member.account, evaluated(&reply)?)?.expose();
    let finish = Command::Finish(Finish { attempt, value });
    let commands = vec![identity(), finish, Command::Join(newcomer.registration())];
    let reply = newcomer.ask(wire, commands)?;
    newcomer.admitted(member.identity.clone(), &reply)
}

fn begin(blinded: [u8; 32]) -> (Command, AttemptId) {
    let attempt = AttemptId(random::bytes(&mut HardwareRandom::default()));
    (Command::Begin(Begin { generation: 1, attempt, blinded }), attempt)
}

fn evaluated(reply: &Reply) -> Fallible<&Evaluated> {
    match reply.answers.last() {
        Some(Answer::Evaluated(evaluated)) => Ok(evaluated),
        _ => Err("the PIN was not evaluated".into()),
    }
}

/// PINs by account.
type Pins = HashMap<AccountId, Pin>;

/// What was measured.
pub(crate) struct Attempts {
    rounds: Vec<Outcome>,
    /// One OPRF evaluation and two signatures checked, in nanoseconds, between the rounds.
    cryptography: Vec<f64>,
    alone: Outcome,
}

fn attempt_here(worker: &mut Worker, pins: &Pins) -> Fallible<()> {
    let (mut wire, members) = worker.parts();
    let member = members.first_mut().ok_or("a connection without an account")?;
    let pin = pins.get(&member.account).ok_or("an account without a PIN")?;
    attempt(member, pin, &mut wire)
}

/// Sets a PIN on one account per connection, and enters it again and again.
pub(crate) fn measure(
    settings: &Settings,
    service: &Service,
    mut members: Vec<Member>,
) -> Fallible<(Attempts, Vec<Member>)> {
    let rest = members.split_off(settings.connections.min(members.len()));
    let mut fleet = Fleet::connect(service, settings.connections)?;
    fleet.deal(members);
    let mut pins = Pins::new();
    for worker in &mut fleet.workers {
        let (mut wire, members) = worker.parts();
        for member in members {
            pins.insert(member.account, set(member, &mut wire)?);
        }
    }
    let (mut rounds, mut cryptography) = (Vec::new(), Vec::new());
    for _ in 0..settings.rounds {
        rounds
            .push(fleet.run(service, settings.attempts, Pace::Closed, |worker| attempt_here(worker, &pins))?);
        host::pin(settings.cores.server)?;
        cryptography.push(ceiling::oprf(Effort::SHORT)? + 2.0 * ceiling::verify(Effort::SHORT)?);
        host::pin(settings.cores.load)?;
    }
    let mut single = Fleet::connect(service, 1)?;
    let mut members = fleet.collect();
    single.deal(members.pop().into_iter().collect());
    let alone =
        single.run(service, settings.attempts / 2, Pace::Closed, |worker| attempt_here(worker, &pins))?;
    members.extend(single.collect());
    members.extend(rest);
    Ok((Attempts { rounds, cryptography, alone }, members))
}

impl Attempts {
    pub(crate) fn row(&self, settings: &Settings, ceilings: &Ceilings) -> Row {
        let of = |value: fn(&Outcome) -> f64| Spread::of(&self.rounds.iter().map(value).collect::<Vec<_>>());
        let cpu = of(Outcome::cpu_us);
        let least = |cryptography: f64| (cryptography + 2.0 * ceilings.hello) / 1000.0;
        let pairs = self.cryptography.iter().zip(&self.rounds);
        let ratios: Vec<_> = pairs.map(|(ns, outcome)| least(*ns) / outcome.cpu_us()).collect();
        let least = least(Spread::of(&self.cryptography).median);
        Row::new("B14", "PIN attempt, server side (begin + right finish)", cpu.median, "us CPU")
            .against(least)
            .ratio(Spread::of(&ratios))
            .goal_of_value(Goal::AtMost { reach: 400.0, floor: Some(600.0) })
            .note(format!(
                "spread {:.0}..{:.0} us over {} rounds; gateway {:.0} us + enclave {:.0} us; ceiling: OPRF {:.0} us, 2 verify, 2 hello",
                cpu.low,
                cpu.high,
                cpu.count,
                of(|outcome| outcome.cpu_us_of(0)).median,
                of(|outcome| outcome.cpu_us_of(1)).median,
                ceilings.oprf / 1000.0
            ))
            .note(format!(
                "wall per attempt, without the client's blinding and its check of the proof: alone p50 {:.2} ms, p99 {:.2} ms ({:.0} us CPU); \
                 {} at once p50 {:.1} ms, p99 {:.1} ms",
                self.alone.latency_ms(0.5),
                self.alone.latency_ms(0.99),
                self.alone.cpu_us(),
                settings.connections,
                of(|outcome| outcome.latency_ms(0.5)).median,
                of(|outcome| outcome.latency_ms(0.99)).median,
            ))
            .because(format!(
                "two requests with one OPRF evaluation cost {least:.0} us at the ceilings; {:.0} us are beyond: two turns of the enclave, \
                 two durable commits with few others in them, rows and leaves",
                cpu.median - least
            ))
            .details(json!({
                "rounds": self.rounds.iter().map(outcome_json).collect::<Vec<_>>(),
                "alone": outcome_json(&self.alone),
            }))
    }
}
