//! B10: from starting the gateway's process to the first assertion, with an open session: nearly empty, and with many
//! accounts. Beside each start one of the stub's server up to its first answer.

use crate::Fallible;
use crate::assertion::sign_in;
use crate::http::Http;
use crate::load::{Fleet, Pace};
use crate::measure::{Spread, rounded};
use crate::member::Member;
use crate::populate;
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use keyferry_server::CommitMode;
use serde_json::json;
use std::path::Path;
use std::time::Instant;

/// What vaultwarden takes to restart, as BENCH gives it; it does not run here.
const PEER_MS: f64 = 37.0;

/// Times of some starts, in milliseconds.
pub(crate) struct Starts {
    accounts: usize,
    /// Until the gateway listens; until the first assertion; the stub beside it.
    rounds: Vec<(f64, f64, f64)>,
}

/// Starts a service on a store again and again, and signs in once each time.
pub(crate) fn measure(
    settings: &Settings,
    store: &Path,
    accounts: usize,
    mut members: Vec<Member>,
) -> Fallible<(Starts, Vec<Member>)> {
    let plan = settings.gateway(store, Some(settings.cores.server), CommitMode::Group);
    let one = members.pop().ok_or("no account to sign in with")?;
    let mut one = vec![one];
    let mut rounds = Vec::new();
    for _ in 0..settings.starts {
        let start = Instant::now();
        let service = Service::gateway(plan)?;
        let listens = ms(start);
        let mut fleet = Fleet::connect(&service, 1)?;
        fleet.deal(one);
        fleet.run(&service, 1, Pace::Closed, sign_in)?;
        let signed_in = ms(start);
        one = fleet.collect();
        service.stop()?;
        rounds.push((listens, signed_in, stub_start(settings)?));
    }
    members.extend(one);
    Ok((Starts { accounts, rounds }, members))
}

/// On a store with one account alone.
pub(crate) fn empty(settings: &Settings) -> Fallible<Starts> {
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let making = Service::gateway(settings.gateway(folder.path(), None, CommitMode::Group))?;
    let members = populate::accounts(&making, 0..1, 1)?;
    making.stop()?;
    measure(settings, folder.path(), 1, members).map(|(starts, _)| starts)
}

fn stub_start(settings: &Settings) -> Fallible<f64> {
    let start = Instant::now();
    let stub = Service::stub(settings.cores.server)?;
    Http::connect(stub.address)?.get("/hello")?;
    let took = ms(start);
    stub.stop()?;
    Ok(took)
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1000.0
}

impl Starts {
    pub(crate) fn row(&self, settings: &Settings) -> Row {
        let of = |value: &dyn Fn(&(f64, f64, f64)) -> f64| {
            Spread::of(&self.rounds.iter().map(value).collect::<Vec<_>>())
        };
        let (listens, signed_in, stub) = (of(&|round| round.0), of(&|round| round.1), of(&|round| round.2));
        let empty = self.accounts == 1;
        let what = if empty {
            "start to the first assertion, one account".to_owned()
        } else {
            format!("start to the first assertion, {} accounts", self.accounts)
        };
        let reach = if empty { 30.0 } else { 1000.0 };
        let row = Row::new("B10", what, signed_in.median, "ms wall")
            .against(stub.median)
            .ratio(of(&|round| round.1 / round.2))
            .goal_of_value(Goal::AtMost { reach, floor: None })
            .note(format!(
                "spread {:.1}..{:.1} ms over {} starts; the gateway listens after {:.1} ms; the stub's server, one process alone, has \
                 answered after {:.1} ms; vaultwarden restarts in {PEER_MS} ms (BENCH, not run here)",
                signed_in.low, signed_in.high, signed_in.count, listens.median, stub.median
            ))
            .because(format!(
                "{:.1} ms pass until the gateway listens (store read, maps and trees built, enclave started and appraised, BOOT \
                 durable), {:.1} ms from there to the assertion",
                listens.median,
                signed_in.median - listens.median
            ))
            .details(json!({ "rounds": self.rounds.iter().map(|(listens, signed_in, stub)| json!({
                "listens_ms": rounded(*listens), "assertion_ms": rounded(*signed_in), "stub_ms": rounded(*stub),
            })).collect::<Vec<_>>() }));
        if empty { row } else { settings.judged_at_full_size(row) }
    }
}
