//! B1, B2 and B16: an assertion over HTTP with the real service, against the stub path in the same run.

use crate::Fallible;
use crate::calls::{Called, Calls};
use crate::ceiling::Ceilings;
use crate::http::Http;
use crate::load::{Fleet, Outcome, Pace, Worker};
use crate::measure::{Spread, rounded};
use crate::member::{Member, assert_command};
use crate::operations::{Operations, Shape};
use crate::populate::Made;
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use crate::stub_member;
use keyferry_wire::command::Answer;
use serde_json::{Value, json};
use std::path::Path;

/// The narrow count of cryptography, beside the full one of `operations`: a signature checked and one made, with the
/// AEADs and HKDFs around them.
const VERIFIES: f64 = 1.0;
const SIGNS: f64 = 1.0;
/// AEADs: request, account row, device row, the device's half, passkey; device row, account row, leaf, reply.
const AEADS: f64 = 9.0;
/// HKDFs: account key, and one for each of those AEADs but request, reply and leaf; passkey key; two for the leaf.
const HKDFS: f64 = 10.0;

/// Every so many replies one is verified like by a relying party.
const CHECK_EVERY: u64 = 256;

/// Everything that was measured.
pub(crate) struct Assertion {
    pub(crate) rounds: Vec<Pair>,
    with_session: Vec<Pair>,
    /// Before the devices were in daily use.
    fresh: Outcome,
    /// Ledger entries besides those of the assertions: a SEAL for each batch of a shard.
    seals: u64,
    pub(crate) called: Called,
}

/// Ours and the stub, one right after the other.
pub(crate) struct Pair {
    pub(crate) ours: Outcome,
    pub(crate) stub: Outcome,
}

impl Pair {
    fn cpu_ratio(&self) -> f64 {
        self.stub.cpu_us() / self.ours.cpu_us()
    }
}

/// Signs in on a random account with a random passkey.
pub(crate) fn sign_in(worker: &mut Worker) -> Fallible<()> {
    sign_in_over(worker, Session::Open)
}

/// Which session a request takes.
#[derive(Clone, Copy, PartialEq)]
enum Session {
    /// The device's, which is open.
    Open,
    /// One of its own.
    New,
}

fn sign_in_over(worker: &mut Worker, session: Session) -> Fallible<()> {
    let account = worker.below(worker.members.len());
    let choice = worker.below(1 << 20);
    worker.turn += 1;
    let check = worker.turn.is_multiple_of(CHECK_EVERY);
    let (mut wire, members) = worker.parts();
    let member = members.get_mut(account).ok_or("a connection without accounts")?;
    if session == Session::New {
        member.leave();
    }
    let passkey = choice % member.passkeys.len().max(1);
    member.sign_in(&mut wire, passkey, check)
}

/// The same request to the stub.
fn stub_sign_in(worker: &mut Worker, session: Session) -> Fallible<()> {
    let account = worker.below(worker.members.len());
    let (mut wire, members) = worker.parts();
    let member = members.get_mut(account).ok_or("no stub member")?;
    if session == Session::New {
        member.leave();
    }
    let (command, _) = assert_command(stub_member::CREDENTIAL);
    let reply = member.exchange(&mut wire, vec![command], vec![stub_member::CREDENTIAL])?;
    match reply.answers.as_slice() {
        [Answer::Asserted(_)] => Ok(()),
        _ => Err("the stub did not sign".into()),
    }
}

/// Connections to the stub, with devices that it has never seen; as many as there are at the service.
fn stub_fleet(settings: &Settings, stub: &Service) -> Fallible<Fleet> {
    let mut fleet = Fleet::with(stub, stub.stub_peer()?, settings.connections)?;
    fleet.deal((0..settings.accounts).map(|_| stub_member::make()).collect());
    fleet.open_sessions()?;
    Ok(fleet)
}

/// Measures on a service with these accounts; gives those in daily use back.
pub(crate) fn measure(
    settings: &Settings,
    store: &Path,
    service: &Service,
    stub: &Service,
    made: Made,
) -> Fallible<(Assertion, Vec<Member>)> {
    let mut ours = Fleet::connect(service, settings.connections)?;
    let mut theirs = stub_fleet(settings, stub)?;
    ours.deal(made.fresh);
    ours.open_sessions()?;
    let fresh = ours.run(service, 4 * settings.fresh, Pace::Closed, sign_in)?;
    ours.collect();
    ours.deal(made.members);
    ours.open_sessions()?;
    ours.run(service, settings.round / 2, Pace::Closed, sign_in)?;
    theirs.run(stub, settings.round / 2, Pace::Closed, |worker| stub_sign_in(worker, Session::Open))?;
    eprintln!("    rounds against the stub");
    let mut status = Http::connect(service.address)?;
    let (calls, entries) = (Calls::of(store)?, status.ledger_size()?);
    let mut pair = |total, session| {
        Ok::<_, crate::Fault>(Pair {
            ours: ours.run(service, total, Pace::Closed, |worker| sign_in_over(worker, session))?,
            stub: theirs.run(stub, total, Pace::Closed, |worker| stub_sign_in(worker, session))?,
        })
    };
    let rounds = (0..settings.rounds).map(|_| pair(settings.round, Session::Open));
    let rounds = rounds.collect::<Fallible<Vec<_>>>()?;
    let assertions: usize = rounds.iter().map(|pair| pair.ours.done).sum();
    let called = Called { before: calls, after: Calls::of(store)?, assertions };
    let entries = Http::connect(service.address)?.ledger_size()? - entries;
    let seals = entries.checked_sub(u64::try_from(assertions)?).ok_or("assertions without entries")?;
    // Few enough that the enclave drops no session of the other rounds.
    let few = settings.round / 10;
    let with_session = (0..settings.rounds).map(|_| pair(few, Session::New));
    let with_session = with_session.collect::<Fallible<Vec<_>>>()?;
    Ok((Assertion { rounds, with_session, fresh, seals, called }, ours.collect()))
}

impl Assertion {
    /// Microseconds of CPU per assertion, gateway and enclave together.
    pub(crate) fn cpu_us(&self) -> f64 {
        median(&self.rounds, |pair| pair.ours.cpu_us()).median
    }

    /// Assertions per second of one core, of which half is the rate of B3.
    pub(crate) fn per_second(&self) -> f64 {
        median(&self.rounds, |pair| pair.ours.per_second()).median
    }

    /// Assertions in a batch of one shard, which share its SEAL and its checkpoint.
    fn together(&self) -> f64 {
        self.called.assertions as f64 / self.seals.max(1) as f64
    }

    /// `steps`: where the time goes, largest first, if that was measured.
    pub(crate) fn row(&self, settings: &Settings, steps: Option<&str>) -> Row {
        let what = format!(
            "assertion, whole path, {} connections, {} x {} passkeys, {} shards",
            settings.connections, settings.accounts, settings.passkeys, settings.shards
        );
        let row = Row::new("B1", what, self.cpu_us(), "us CPU")
            .against(median(&self.rounds, |pair| pair.stub.cpu_us()).median)
            .ratio(median(&self.rounds, Pair::cpu_ratio))
            .goal(Goal::AtLeast { reach: 0.70, floor: Some(0.55) })
            .note(format!(
                "gateway {:.1} us + enclave {:.1} us; wall {:.0}/s, the stub {:.0}/s (both on one core)",
                median(&self.rounds, |pair| pair.ours.cpu_us_of(0)).median,
                median(&self.rounds, |pair| pair.ours.cpu_us_of(1)).median,
                median(&self.rounds, |pair| pair.ours.per_second()).median,
                median(&self.rounds, |pair| pair.stub.per_second()).median,
            ))
            .note(format!(
                "while the device's row still keeps the answers to the passkeys it made: {:.1} us",
                self.fresh.cpu_us()
            ))
            .note(format!("{:.1} assertions a batch of one shard", self.together()))
            .because(format!(
                "an assertion costs {:.1} us more than on the stub path{}",
                self.cpu_us() - median(&self.rounds, |pair| pair.stub.cpu_us()).median,
                steps.map(|steps| format!("; largest steps, us: {steps}")).unwrap_or_default(),
            ))
            .details(json!({
                "rounds": self.rounds.iter().map(Pair::json).collect::<Vec<_>>(),
                "fresh_devices": outcome_json(&self.fresh),
                "seals": self.seals,
            }));
        settings.small_note(row)
    }

    pub(crate) fn session_row(&self, settings: &Settings) -> Row {
        let what = "the same with a session (key agreement) for each assertion";
        let ours = median(&self.with_session, |pair| pair.ours.cpu_us()).median;
        let row = Row::new("B1s", what, ours, "us CPU")
            .against(median(&self.with_session, |pair| pair.stub.cpu_us()).median)
            .ratio(median(&self.with_session, Pair::cpu_ratio))
            .goal(Goal::AtLeast { reach: 0.70, floor: Some(0.55) })
            .note("as BENCH words the stub path (\"session open\", a key agreement per request); B1 is the stricter reading")
            .note("two HTTP requests on both sides; BENCH's 125 to 140 us of the stub path hold one")
            .because(format!(
                "it costs {:.1} us more than on the stub path",
                ours - median(&self.with_session, |pair| pair.stub.cpu_us()).median
            ))
            .details(json!({ "rounds": self.with_session.iter().map(Pair::json).collect::<Vec<_>>() }));
        settings.small_note(row)
    }

    pub(crate) fn beyond_cryptography(
        &self,
        settings: &Settings,
        shape: &Shape,
        ceilings: &Ceilings,
        steps: Option<&str>,
    ) -> Row {
        let operations = Operations::of(shape, self.together(), ceilings);
        let (full, narrow) = (operations.us(), narrow_us(ceilings));
        let beyond = median(&self.rounds, |pair| pair.ours.cpu_us() - full);
        let what = "work beyond cryptography per assertion, store and HTTP included";
        let row = Row::new("B2", what, beyond.median, "us CPU")
            .goal(Goal::AtMost { reach: 50.0, floor: Some(80.0) })
            .note(format!(
                "{:.1} us - {full:.1} us: every operation that an assertion needs, counted from the code, at its ceiling; \
                 spread {:.1}..{:.1} us",
                self.cpu_us(),
                beyond.low,
                beyond.high
            ))
            .note(format!("of the cryptography, us: {}", operations.largest(5)))
            .note(format!(
                "by the narrow count ({VERIFIES} verify, {SIGNS} sign, {AEADS} AEADs, {HKDFS} HKDFs: {narrow:.1} us): {:.1} us",
                self.cpu_us() - narrow
            ))
            .because(match steps {
                Some(steps) => format!("of the steps (cryptography within them) the largest are, us: {steps}"),
                None => "the steps were not measured: run without --only".to_owned(),
            })
            .details(json!({
                "operations": operations.json(),
                "shape": shape.json(),
                "assertions_per_batch": rounded(self.together()),
                "cryptography_us": rounded(full),
                "narrow_cryptography_us": rounded(narrow),
                "beyond_narrow_us": rounded(self.cpu_us() - narrow),
            }));
        settings.small_note(row)
    }
}

/// Cryptography of one assertion by the narrow count.
pub(crate) fn narrow_us(ceilings: &Ceilings) -> f64 {
    (VERIFIES * ceilings.verify + SIGNS * ceilings.sign + AEADS * ceilings.aead + HKDFS * ceilings.hkdf)
        / 1000.0
}

fn median(pairs: &[Pair], value: impl Fn(&Pair) -> f64) -> Spread {
    Spread::of(&pairs.iter().map(value).collect::<Vec<_>>())
}

impl Pair {
    fn json(&self) -> Value {
        json!({ "ours": outcome_json(&self.ours), "stub": outcome_json(&self.stub) })
    }
}

pub(crate) fn outcome_json(outcome: &Outcome) -> Value {
    json!({
        "done": outcome.done,
        "cpu_us": rounded(outcome.cpu_us()),
        "cpu_us_by_process": (0..outcome.cpu_ns.len()).map(|at| rounded(outcome.cpu_us_of(at))).collect::<Vec<_>>(),
        "per_second": rounded(outcome.per_second()),
        "p50_ms": rounded(outcome.latency_ms(0.5)),
        "p99_ms": rounded(outcome.latency_ms(0.99)),
    })
}
