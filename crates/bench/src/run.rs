//! A run: ceilings, the measurements that are wanted, ceilings again.

use crate::assertion::{self, Assertion};
use crate::ceiling::{Ceilings, NAMES};
use crate::commit::{self, Commits};
use crate::disk::Disk;
use crate::engine::{self, Engine};
use crate::growth::Growth;
use crate::http::Http;
use crate::latency::{self, Latency};
use crate::ledger::{self, Appends};
use crate::live::{self, Seen};
use crate::load::{Fleet, Pace};
use crate::local::Local;
use crate::measure::{Spread, rounded};
use crate::member::Member;
use crate::memory::{self, Memory};
use crate::operations::Shape;
use crate::pin::{self, Attempts};
use crate::populate::{self, Made};
use crate::profile::{self, Given, Profile};
use crate::report::{Row, table};
use crate::role::Service;
use crate::settings::Settings;
use crate::start::{self, Starts};
use crate::svg::{self, Panel, Point};
use crate::sync::{self, Syncs};
use crate::{Fallible, growth, host, readme};
use keyferry_server::CommitMode;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

/// What can be asked for.
const KNOWN: [&str; 16] = [
    "B1", "B1s", "B1a", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B9", "B10", "B12", "B14", "B16", "profile",
];

/// What needs a store with accounts in daily use.
const ON_STORE: [&str; 14] =
    ["B1", "B1s", "B1a", "B2", "B3", "B4", "B5", "B7", "B8", "B9", "B10", "B14", "B16", "profile"];
/// What is measured over HTTP on it.
const OVER_HTTP: [&str; 9] = ["B1", "B1s", "B1a", "B2", "B3", "B5", "B7", "B14", "B16"];
/// What the rounds against the stub give; half of their rate is that of B3.
const ROUNDS: [&str; 5] = ["B1", "B1s", "B2", "B3", "B16"];

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
    panels: Vec<Panel>,
    profile: Option<Profile>,
}

/// What the measurements led to.
#[derive(Default)]
struct Found {
    assertion: Option<Assertion>,
    /// On the disk, and in memory where there is such a place.
    latency: Option<(Latency, Option<Latency>)>,
    shape: Option<Shape>,
    syncs: Option<Syncs>,
    seen: Option<Seen>,
    attempts: Option<Attempts>,
    engine: Option<Engine>,
    profile: Option<Profile>,
    commits: Option<Commits>,
    growth: Option<Growth>,
    appends: Option<Appends>,
    empty: Option<Starts>,
    memory: Option<Memory>,
}

pub(crate) fn run(settings: &Settings, wanted: &Wanted) -> Fallible<Report> {
    let (start, started) = (Instant::now(), host::now_rfc3339());
    let machine = host::machine(&settings.folder, settings.cores);
    let stub = Service::stub(settings.cores.server)?;
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
        panels: found.panels(),
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
    if wanted.any(&["B12"]) {
        eprintln!("ledger in memory with {} accounts in the map", settings.mapped);
        host::pin(settings.cores.server)?;
        found.appends = Some(ledger::measure(settings)?);
        host::pin(settings.cores.load)?;
    }
    if wanted.any(&["B10"]) {
        eprintln!("starts with one account");
        found.empty = Some(start::empty(settings)?);
    }
    if wanted.any(&["B6"]) {
        eprintln!("growth of vaults and deployments");
        found.growth = Some(growth::measure(settings)?);
    }
    if wanted.any(&ON_STORE) {
        on_store(settings, wanted, stub, ceilings, &mut found)?;
    }
    Ok(found)
}

/// What is measured on one store, which grows from one measurement to the next.
fn on_store(
    settings: &Settings,
    wanted: &Wanted,
    stub: &Service,
    ceilings: &Ceilings,
    found: &mut Found,
) -> Fallible<()> {
    let store = settings.folder.join("data");
    std::fs::create_dir_all(&store)?;
    eprintln!("{} accounts with {} passkeys", settings.accounts, settings.passkeys);
    let made = made(settings, &store)?;
    let (mut members, mut growth) = if wanted.any(&OVER_HTTP) {
        with_service(settings, wanted, stub, &store, made, found)?
    } else {
        (made.members, None)
    };
    if wanted.any(&["B3"])
        && let (Some(assertion), Some((_, in_memory))) = (&found.assertion, &mut found.latency)
    {
        eprintln!("the same in memory");
        let capacity = assertion.per_second();
        (*in_memory, members) = latency::in_memory(settings, &store, members, capacity)?;
    }
    if wanted.any(&["B1a", "B2", "profile"]) {
        eprintln!("engine and steps of a turn within this thread");
        let http = http_ns(settings, stub, |http| http.echo(&[7; profile::FRAME_LEN]).map(|_| ()))?;
        let given =
            Given { ceilings, http_ns: http, assertion: found.assertion.as_ref().map(Assertion::cpu_us) };
        within(settings, &store, &mut members, growth.as_mut(), &given, found)?;
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
    Ok(())
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
) -> Fallible<(Vec<Member>, Option<engine::Growth>)> {
    let service = Service::gateway(settings.gateway(store, Some(settings.cores.server), CommitMode::Group))?;
    let mut members = if wanted.any(&ROUNDS) {
        eprintln!("assertions over HTTP");
        let (assertion, members) = assertion::measure(settings, store, &service, stub, made)?;
        found.assertion = Some(assertion);
        members
    } else {
        made.members
    };
    if let Some(assertion) = found.assertion.as_ref().filter(|_| wanted.any(&["B3"])) {
        eprintln!("latency");
        let (latency, back) = latency::on_disk(settings, &service, members, assertion.per_second())?;
        found.latency = Some((latency, None));
        members = back;
    }
    if wanted.any(&["B14"]) {
        eprintln!("PIN attempts");
        let (attempts, back) = pin::measure(settings, &service, members)?;
        found.attempts = Some(attempts);
        members = back;
    }
    if wanted.any(&["B5"]) {
        eprintln!("syncs");
        found.syncs = Some(sync::measure(settings, &service, stub)?);
    }
    if wanted.any(&["B7"]) {
        eprintln!("changes seen on other devices");
        found.seen = Some(live::measure(settings, &service)?);
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
    growth: Option<&mut engine::Growth>,
    given: &Given<'_>,
    found: &mut Found,
) -> Fallible<()> {
    host::pin(settings.cores.server)?;
    let mut local = Local::start(store, settings.shards)?;
    found.engine = growth.map(|growth| engine::measure(settings, &mut local, growth)).transpose()?;
    found.profile = Some(profile::measure(settings, &mut local, members, given)?);
    found.shape = Some(Shape::of(&mut local, members)?);
    host::pin(settings.cores.load)?;
    Ok(())
}

impl Found {
    fn rows(&self, settings: &Settings, wanted: &Wanted, ceilings: &Ceilings) -> Vec<Row> {
        let steps = self.profile.as_ref().map(Profile::largest);
        let parts = self.profile.as_ref().map(Profile::largest_in_engine);
        let mut rows = Vec::new();
        if let Some(assertion) = &self.assertion {
            rows.push(assertion.row(settings, steps.as_deref()));
            rows.push(assertion.session_row(settings));
        }
        if let Some(engine) = &self.engine {
            rows.extend(engine.rows(ceilings, parts.as_deref()));
        }
        if let (Some(assertion), Some(shape)) = (&self.assertion, &self.shape) {
            rows.push(assertion.beyond_cryptography(settings, shape, ceilings, steps.as_deref()));
        }
        if let Some((disk, memory)) = &self.latency {
            rows.extend(memory.as_ref().map(|memory| memory.memory_row(settings)));
            rows.push(disk.disk_row(settings));
        }
        rows.extend(self.commits.as_ref().map(|commits| commits.row(settings, ceilings)));
        rows.extend(self.syncs.iter().flat_map(|syncs| syncs.rows(settings)));
        rows.extend(self.growth.iter().flat_map(|growth| growth.rows(settings)));
        rows.extend(self.seen.as_ref().map(|seen| seen.row(settings)));
        rows.extend(self.memory.iter().flat_map(|memory| memory.rows(settings)));
        rows.extend(self.empty.as_ref().map(|starts| starts.row(settings)));
        rows.extend(self.memory.as_ref().map(|memory| memory.starts.row(settings)));
        rows.extend(self.appends.iter().flat_map(|appends| appends.rows(settings)));
        rows.extend(self.attempts.as_ref().map(|attempts| attempts.row(settings, ceilings)));
        rows.extend(self.assertion.as_ref().map(|assertion| assertion.called.row()));
        rows.retain(|row| wanted.any(&[row.name]));
        rows
    }

    /// The growth curves that this run has.
    fn panels(&self) -> Vec<Panel> {
        let point = |size: usize, us: Spread| Point {
            size: size as f64,
            median: us.median,
            low: us.low,
            high: us.high,
        };
        let mut panels = Vec::new();
        if let Some(growth) = &self.growth {
            let curve = |title, across, curve: &growth::Curve, reach| Panel {
                title,
                across,
                up: "us of CPU, whole path",
                points: curve.points.iter().map(|at| point(at.size, at.us())).collect(),
                reach,
            };
            panels.push(curve("B6: accounts", "accounts of the deployment", &growth.deployments, 1.3));
            panels.push(curve("B6: passkeys", "passkeys in the vault", &growth.vaults, 1.2));
        }
        if let Some(engine) = &self.engine {
            panels.push(Panel {
                title: "B1a: devices",
                across: "devices of the account",
                up: "us of CPU, engine alone",
                points: engine.by_devices().map(|(devices, us)| point(devices, us)).collect(),
                reach: 1.1,
            });
        }
        panels
    }
}

impl Report {
    fn is_void(&self) -> bool {
        !self.before.drift(&self.after).is_empty()
    }

    /// Ceilings that moved by more than a run can bear; empty if the run counts.
    fn moved(&self) -> String {
        let drift = self.before.drift(&self.after);
        let moved = drift.iter().map(|(name, moved)| format!("{:+.0} % ({name})", moved * 100.0));
        moved.collect::<Vec<_>>().join(", ")
    }

    /// Machine and its load in a few words.
    fn machine_text(&self) -> String {
        let field = |name: &str| match self.machine.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => "unknown".to_owned(),
            Some(value) => value.to_string(),
        };
        format!(
            "{} cores ({}), {}, load {} at start",
            field("cores"),
            field("cpu"),
            field("file_system"),
            field("load_average_at_start")
        )
    }

    /// The README's block.
    pub(crate) fn markdown(&self) -> String {
        let (machine, moved) = (self.machine_text(), self.moved());
        let about =
            readme::About { date: &self.started, machine: &machine, quick: self.quick, moved: &moved };
        readme::block(&self.rows, &about)
    }

    /// The growth curves.
    pub(crate) fn svg(&self) -> Fallible<String> {
        if self.panels.is_empty() {
            return Err("no growth was measured: the picture needs B6 or B1a".into());
        }
        let mut caption = format!(
            "{}, {}. Cost of an assertion: medians with the spread of all rounds; dashed: the goal.",
            self.started.get(..10).unwrap_or_default(),
            self.machine_text()
        );
        if self.quick {
            caption.push_str(" --quick: small sizes.");
        }
        if self.is_void() {
            caption.push_str(" VOID: ceilings moved.");
        }
        Ok(svg::picture(&self.panels, &caption))
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
            "figures": self.rows.iter().map(|row| row.json(self.is_void())).collect::<Vec<_>>(),
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
        let moved = self.moved();
        if moved.is_empty() {
            return "\nceilings at start and end are within 15 % of each other: the run counts\n".to_owned();
        }
        format!("\nVOID: ceilings moved by more than 15 % between start and end: {moved}\n")
    }
}
