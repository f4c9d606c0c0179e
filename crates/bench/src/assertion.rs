//! B1, B2 and B3: an assertion over HTTP with the real service, against the stub path in the same run.

use crate::Fallible;
use crate::ceiling::Ceilings;
use crate::load::{Fleet, Outcome, Pace, Worker};
use crate::measure::{Spread, rounded};
use crate::member::{Member, assert_command};
use crate::populate::Made;
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use crate::stub_member;
use keyferry_wire::command::Answer;
use serde_json::{Value, json};

/// What an assertion has to compute whatever the design; counted in `engine` and `crypto`, per assertion:
/// one device signature checked, one assertion signed;
pub(crate) const VERIFIES: f64 = 1.0;
pub(crate) const SIGNS: f64 = 1.0;
/// AEADs: request, account row, device row, the device's half, passkey; device row, account row, leaf, reply;
pub(crate) const AEADS: f64 = 9.0;
/// HKDFs: account key, and one for each of those AEADs but request, reply and leaf; passkey key; two for the leaf.
pub(crate) const HKDFS: f64 = 10.0;

/// B3 without a disk sync.
const WITHOUT_SYNC_MS: f64 = 2.0;

/// Every so many replies one is verified like by a relying party.
const CHECK_EVERY: u64 = 256;

/// Everything that was measured.
pub(crate) struct Assertion {
    pub(crate) rounds: Vec<Pair>,
    with_session: Vec<Pair>,
    /// Before the devices were in daily use.
    fresh: Outcome,
    half: Outcome,
    half_rate: f64,
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
    let mut pair = |total, session| {
        Ok::<_, crate::Fault>(Pair {
            ours: ours.run(service, total, Pace::Closed, |worker| sign_in_over(worker, session))?,
            stub: theirs.run(stub, total, Pace::Closed, |worker| stub_sign_in(worker, session))?,
        })
    };
    let rounds = (0..settings.rounds).map(|_| pair(settings.round, Session::Open));
    let rounds = rounds.collect::<Fallible<Vec<_>>>()?;
    // Few enough that the enclave drops no session of the other rounds.
    let few = settings.round / 10;
    let with_session = (0..settings.rounds).map(|_| pair(few, Session::New));
    let with_session = with_session.collect::<Fallible<Vec<_>>>()?;
    let capacity = Spread::of(&rounds.iter().map(|pair| pair.ours.per_second()).collect::<Vec<_>>()).median;
    let half_rate = capacity / 2.0;
    eprintln!("    open loop at {half_rate:.0} a second");
    let half = ours.run(service, settings.round, Pace::Open((1e9 / half_rate) as u64), sign_in)?;
    Ok((Assertion { rounds, with_session, fresh, half, half_rate }, ours.collect()))
}

impl Assertion {
    /// Microseconds of CPU per assertion, gateway and enclave together.
    pub(crate) fn cpu_us(&self) -> f64 {
        median(&self.rounds, |pair| pair.ours.cpu_us()).median
    }

    pub(crate) fn row(&self, settings: &Settings) -> Row {
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
            .details(json!({
                "rounds": self.rounds.iter().map(Pair::json).collect::<Vec<_>>(),
                "fresh_devices": outcome_json(&self.fresh),
            }));
        settings.small_note(row)
    }

    pub(crate) fn session_row(&self, settings: &Settings) -> Row {
        let row =
            Row::new("B1s", "the same with a session (key agreement) for each assertion", f64::NAN, "us CPU");
        let row = Row { ours: median(&self.with_session, |pair| pair.ours.cpu_us()).median, ..row }
            .against(median(&self.with_session, |pair| pair.stub.cpu_us()).median)
            .ratio(median(&self.with_session, Pair::cpu_ratio))
            .note("information: two HTTP requests on both sides; BENCH's 125 to 140 us of the stub path hold one")
            .details(json!({ "rounds": self.with_session.iter().map(Pair::json).collect::<Vec<_>>() }));
        settings.small_note(row)
    }

    pub(crate) fn beyond_cryptography(&self, settings: &Settings, ceilings: &Ceilings) -> Row {
        let cryptography = cryptography_us(ceilings);
        let row = Row::new(
            "B2",
            "work beyond cryptography per assertion, store and HTTP included",
            self.cpu_us() - cryptography,
            "us CPU",
        )
        .goal(Goal::AtMost { reach: 50.0, floor: Some(80.0) })
        .note(format!(
            "{:.1} us - {cryptography:.1} us ({VERIFIES} verify, {SIGNS} sign, {AEADS} AEADs, {HKDFS} HKDFs at their ceilings)",
            self.cpu_us()
        ));
        settings.small_note(row)
    }

    pub(crate) fn latency(&self, settings: &Settings, ceilings: &Ceilings) -> Row {
        let sync = ceilings.disk.sync_p99_ns as f64 / 1e6;
        let p99 = self.half.latency_ms(0.99);
        let what = format!("latency p99 at half capacity ({:.0}/s, open loop)", self.half_rate);
        // With a sync it cannot be asked to be quicker than without one.
        let reach = f64::max(WITHOUT_SYNC_MS, 1.5 * sync);
        let row = Row::new("B3", what, p99, "ms")
            .against(sync)
            .goal(Goal::AtMost { reach, floor: None })
            .note(format!(
                "p50 {:.3} ms, p99 {p99:.3} ms; one fdatasync p50 {:.3} ms, p99 {sync:.3} ms; reach is 1.5 x that p99, \
                 or the {WITHOUT_SYNC_MS} ms allowed without a sync where those are more",
                self.half.latency_ms(0.5),
                ceilings.disk.sync_p50_ns as f64 / 1e6,
            ))
            .details(outcome_json(&self.half));
        settings.small_note(row)
    }
}

/// Cryptography of one assertion at the ceilings.
pub(crate) fn cryptography_us(ceilings: &Ceilings) -> f64 {
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
