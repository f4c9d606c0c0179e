//! A run: ceilings, the measurements that are wanted, ceilings again.

use crate::assertion::{self, Assertion};
use crate::ceiling::{Ceilings, NAMES};
use crate::commit::{self, Commits};
use crate::disk::Disk;
use crate::engine::{self, Engine, Growth};
use crate::http::Http;
use crate::load::{Fleet, Pace};
use crate::local::Local;
use crate::measure::{Spread, rounded};
use crate::member::Member;
use crate::memory::{self, Memory};
use crate::pin::{self, Attempts};
use crate::populate::{self, Made};
use crate::profile::{self, Given, Profile};
use crate::report::{Row, table};
use crate::role::Service;
use crate::settings::Settings;
use crate::{Fallible, host};
use keyferry_server::CommitMode;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

/// What can be asked for.
const KNOWN: [&str; 11] = ["B1", "B1s", "B1a", "B2", "B3", "B4", "B8", "B9", "B10", "B14", "profile"];

/// What is asked for; nothing named means everything.
pub(crate) struct Wanted(Vec<String>);

impl Wanted {
    pub(crate) fn parse(names: &[String]) -> Fallible<Wanted> {
        let known = |name: &String| KNOWN.iter().any(|known| known.eq_ignore_ascii_case(name));
        match names.iter().find(|name| !known(name)) {
            Some(name) => {
                Err(format!("there is no measurement {name}; known are {}", KNOWN.join(", ")).into())
            }
            None => Ok(Wanted(names.to_vec())),
        }
    }

    fn any(&self, names: &[&str]) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|wanted| names.iter().any(|name| name.eq_ignore_ascii_case(wanted)))
    }
}

/// Everything that a run found.
pub(crate) struct Report {
    machine: Value,
    started: String,
    secs: f64,
    quick: bool,
    before: Ceilings,
    after: Ceilings,
    rows: Vec<Row>,
    profile: Option<Profile>,
}

/// What the measurements on one store led to.
#[derive(Default)]
struct Found {
    assertion: Option<Assertion>,
    attempts: Option<Attempts>,
    engine: Option<Engine>,
    profile: Option<Profile>,
    commits: Option<Commits>,
    memory: Option<Memory>,
}

pub(crate) fn run(settings: &Settings, wanted: &Wanted) -> Fallible<Report> {
    let (start, started) = (Instant::now(), host::now_rfc3339());
    let machine = host::machine(&settings.folder, settings.cores);
    let stub = Service::stub(settings.cores.server, settings.threads)?;
    eprintln!("ceilings");
    let before = ceilings(settings, &stub)?;
    let found = measure(settings, wanted, &stub, &before)?;
    eprintln!("ceilings again");
    let after = ceilings(settings, &stub)?;
    stub.stop()?;
    let rows = found.rows(settings, wanted, &before.mean(&after));
    Ok(Report {
        machine,
        started,
        secs: start.elapsed().as_secs_f64(),
        quick: settings.quick,
        before,
        after,
        rows,
        profile: found.profile,
    })
}

/// On the core on which the services run.
fn ceilings(settings: &Settings, stub: &Service) -> Fallible<Ceilings> {
    host::pin(settings.cores.load)?;
    let hello = hello(settings, stub)?;
    host::pin(settings.cores.server)?;
    let disk = Disk::measure(&settings.folder, settings.disk)?;
    let ceilings = Ceilings::measure(settings.cpu, hello, disk)?;
    host::pin(settings.cores.load)?;
    Ok(ceilings)
}

/// One HTTP request and its answer, as the stub's server sees it.
fn hello(settings: &Settings, stub: &Service) -> Fallible<f64> {
    http_ns(settings, stub, |http| http.get("/hello").map(|_| ()))
}

/// CPU time of the stub's server per request, the median of some slices after a first one.
fn http_ns(
    settings: &Settings,
    stub: &Service,
    ask: impl Fn(&mut Http) -> Fallible<()> + Sync,
) -> Fallible<f64> {
    let mut fleet = Fleet::with(stub, stub.stub_peer()?, settings.connections)?;
    let mut slices = Vec::new();
    for slice in 0..=settings.rounds {
        let outcome = fleet.run(stub, settings.hellos(), Pace::Closed, |worker| ask(&mut worker.http))?;
        if slice > 0 {
            slices.push(outcome.cpu_us() * 1000.0);
        }
    }
    Ok(Spread::of(&slices).median)
}

fn measure(settings: &Settings, wanted: &Wanted, stub: &Service, ceilings: &Ceilings) -> Fallible<Found> {
    let mut found = Found::default();
    let store = settings.folder.join("data");
    std::fs::create_dir_all(&store)?;
    eprintln!("{} accounts with {} passkeys", settings.accounts, settings.passkeys);
    let made = made(settings, &store)?;
    let (mut members, mut growth) = if wanted.any(&["B1", "B1s", "B2", "B3", "B14", "B1a"]) {
        with_service(settings, wanted, stub, &store, made, &mut found)?
    } else {
        (made.members, None)
    };
    if wanted.any(&["B1a", "profile"]) {
        eprintln!("engine and steps of a turn within this thread");
        let http = http_ns(settings, stub, |http| http.echo(&[7; profile::FRAME_LEN]).map(|_| ()))?;
        let given =
            Given { ceilings, http_ns: http, assertion: found.assertion.as_ref().map(Assertion::cpu_us) };
        let (engine, profile) = within(settings, &store, &mut members, growth.as_mut(), &given)?;
        (found.engine, found.profile) = (engine, Some(profile));
    }
    if wanted.any(&["B4"]) {
        eprintln!("group commit against one each");
        let (commits, back) = commit::measure(settings, &store, members)?;
        found.commits = Some(commits);
        members = back;
    }
    if wanted.any(&["B8", "B9", "B10"]) {
        eprintln!("memory with {} accounts", settings.many_accounts);
        found.memory = Some(memory::measure(settings, &store, members)?);
    }
    Ok(found)
}

/// Makes the accounts with both cores.
fn made(settings: &Settings, store: &Path) -> Fallible<Made> {
    settings.cores.use_both()?;
    let service = Service::gateway(settings.gateway(store, None, CommitMode::Group))?;
    let made = populate::make(settings, &service)?;
    service.stop()?;
    host::pin(settings.cores.load)?;
    Ok(made)
}

/// What is measured over HTTP.
fn with_service(
    settings: &Settings,
    wanted: &Wanted,
    stub: &Service,
    store: &Path,
    made: Made,
    found: &mut Found,
) -> Fallible<(Vec<Member>, Option<Growth>)> {
    let service = Service::gateway(settings.gateway(store, Some(settings.cores.server), CommitMode::Group))?;
    let mut members = if wanted.any(&["B1", "B1s", "B2", "B3"]) {
        eprintln!("assertions over HTTP");
        let (assertion, members) = assertion::measure(settings, &service, stub, made)?;
        found.assertion = Some(assertion);
        members
    } else {
        made.members
    };
    if wanted.any(&["B14"]) {
        eprintln!("PIN attempts");
        let (attempts, back) = pin::measure(settings, &service, members)?;
        found.attempts = Some(attempts);
        members = back;
    }
    let growth =
        if wanted.any(&["B1a"]) { Some(engine::grow(settings, &service, &mut members)?) } else { None };
    service.stop()?;
    Ok((members, growth))
}

/// What is measured within this thread, on the core on which the services run.
fn within(
    settings: &Settings,
    store: &Path,
    members: &mut [Member],
    growth: Option<&mut Growth>,
    given: &Given<'_>,
) -> Fallible<(Option<Engine>, Profile)> {
    host::pin(settings.cores.server)?;
    let mut local = Local::start(store, settings.shards)?;
    let engine = growth.map(|growth| engine::measure(settings, &mut local, growth)).transpose()?;
    let profile = profile::measure(settings, &mut local, members, given)?;
    host::pin(settings.cores.load)?;
    Ok((engine, profile))
}

impl Found {
    fn rows(&self, settings: &Settings, wanted: &Wanted, ceilings: &Ceilings) -> Vec<Row> {
        let mut rows = Vec::new();
        if let Some(assertion) = &self.assertion {
            rows.push(assertion.row(settings));
            rows.push(assertion.session_row(settings));
        }
        if let Some(engine) = &self.engine {
            rows.extend(engine.rows(ceilings));
        }
        if let Some(assertion) = &self.assertion {
            rows.push(assertion.beyond_cryptography(settings, ceilings));
            rows.push(assertion.latency(settings, ceilings));
        }
        rows.extend(self.commits.as_ref().map(|commits| commits.row(settings, ceilings)));
        rows.extend(self.memory.iter().flat_map(|memory| memory.rows(settings)));
        rows.extend(self.attempts.as_ref().map(|attempts| attempts.row(settings, ceilings)));
        rows.retain(|row| wanted.any(&[row.name]));
        rows
    }
}

impl Report {
    fn is_void(&self) -> bool {
        !self.before.drift(&self.after).is_empty()
    }

    pub(crate) fn json(&self) -> Value {
        let drift = self.before.drift(&self.after);
        let drift: Vec<_> = drift
            .into_iter()
            .map(|(name, moved)| json!({ "ceiling": name, "moved_by_percent": rounded(moved * 100.0) }))
            .collect();
        json!({
            "date": self.started,
            "seconds": rounded(self.secs),
            "version": env!("CARGO_PKG_VERSION"),
            "machine": self.machine,
            "cpu_time": "POSIX CPU clock of each measured process (clock_getcpuclockid): user and system, all threads",
            "quick": self.quick,
            "void": self.is_void(),
            "drift": drift,
            "ceilings": { "start": self.before.json(), "end": self.after.json() },
            "figures": self.rows.iter().map(Row::json).collect::<Vec<_>>(),
            "profile": self.profile.as_ref().map(Profile::json),
        })
    }

    pub(crate) fn text(&self) -> String {
        let mut out = format!("keyferry-bench, {}, {:.0} s\n{}\n\n", self.started, self.secs, self.machine);
        out.push_str(&self.ceilings_text());
        out.push('\n');
        out.push_str(&table(&self.rows, self.is_void()));
        if let Some(profile) = &self.profile {
            let _ = write!(out, "\n{}", profile.text());
        }
        out.push_str(&self.void_text());
        out
    }

    fn ceilings_text(&self) -> String {
        let mut out =
            "ceilings (CPU time on the server's core)    start us     end us  per second\n".to_owned();
        for ((name, before), after) in NAMES.into_iter().zip(self.before.values()).zip(self.after.values()) {
            let (before, after) = (before / 1000.0, after / 1000.0);
            let _ = writeln!(out, "{name:40} {before:11.2} {after:10.2} {:11.0}", 1e6 / after);
        }
        for (name, disk) in [("start", self.before.disk), ("end", self.after.disk)] {
            let _ = writeln!(out, "disk, wall time, {name}: {}", disk.json());
        }
        out
    }

    fn void_text(&self) -> String {
        let drift = self.before.drift(&self.after);
        if drift.is_empty() {
            return "\nceilings at start and end are within 15 % of each other: the run counts\n".to_owned();
        }
        let moved: Vec<_> =
            drift.iter().map(|(name, moved)| format!("{name} {:+.0} %", moved * 100.0)).collect();
        format!("\nVOID: ceilings moved by more than 15 % between start and end: {}\n", moved.join(", "))
    }
}
