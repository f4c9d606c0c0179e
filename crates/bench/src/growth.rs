//! B6: what an assertion costs as vaults and deployments grow. All sizes are measured in turn, round by round.

use crate::Fallible;
use crate::assertion::sign_in;
use crate::commit::copy_folder;
use crate::filler;
use crate::host;
use crate::latency::{folder_len, in_memory_place};
use crate::load::{Fleet, Outcome, Pace, Worker};
use crate::measure::{Spread, rounded};
use crate::member::Member;
use crate::populate::{self, APART};
use crate::report::{Goal, Row, number};
use crate::role::{GatewayPlan, Service};
use crate::settings::Settings;
use keyferry_server::CommitMode;
use keyferry_server::desk::CACHE_BYTES;
use keyferry_wire::limits::OPS_KEPT;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Accounts with a vault of each size.
const VAULTS: usize = 8;
/// Assertions of each of them in a round: with those before, fewer than a device may make in a minute.
const VAULT_ROUND: usize = 12;
/// More than their store takes, write-ahead log included.
const VAULTS_LEN_MAX: u64 = 2 << 30;
/// Numbers of the accounts with large vaults.
const VAULT_NUMBERS: usize = APART + 2_000_000;

/// Outcomes at one size, round by round.
pub(crate) struct Point {
    pub(crate) size: usize,
    rounds: Vec<Outcome>,
}

/// Points by size.
pub(crate) struct Curve {
    pub(crate) points: Vec<Point>,
}

impl Point {
    fn new(size: usize) -> Point {
        Point { size, rounds: Vec::new() }
    }

    /// Microseconds of CPU per assertion.
    pub(crate) fn us(&self) -> Spread {
        Spread::of(&self.rounds.iter().map(Outcome::cpu_us).collect::<Vec<_>>())
    }
}

impl Curve {
    /// The largest against the smallest, round by round.
    fn ratio(&self) -> Spread {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else {
            return Spread::of(&[]);
        };
        ratio(&last.rounds, &first.rounds)
    }

    fn us(&self, last: bool) -> f64 {
        let point = if last { self.points.last() } else { self.points.first() };
        point.map_or(f64::NAN, |point| point.us().median)
    }

    /// The smallest and the largest size.
    fn ends(&self) -> (usize, usize) {
        let size = |point: Option<&Point>| point.map_or(0, |point| point.size);
        (size(self.points.first()), size(self.points.last()))
    }

    fn text(&self) -> String {
        let each = |point: &Point| format!("{} at {}", number(point.us().median), point.size);
        self.points.iter().map(each).collect::<Vec<_>>().join(", ")
    }

    fn json(&self) -> Value {
        let each = |point: &Point| json!({ "size": point.size, "us": point.us().json(), "rounds": point.rounds.iter().map(round_json).collect::<Vec<_>>() });
        self.points.iter().map(each).collect()
    }

    fn row(&self, what: String, goal: Goal) -> Row {
        Row::new("B6", what, self.us(true), "us CPU")
            .against(self.us(false))
            .ratio(self.ratio())
            .goal(goal)
            .note(format!("us of CPU per assertion: {}", self.text()))
            .details(self.json())
    }
}

/// CPU alone: connections here sign in many times in a row, so that there is no latency of each.
fn round_json(outcome: &Outcome) -> Value {
    json!({ "done": outcome.done, "cpu_us": rounded(outcome.cpu_us()) })
}

fn ratio(grown: &[Outcome], small: &[Outcome]) -> Spread {
    Spread::of(
        &grown.iter().zip(small).map(|(grown, small)| grown.cpu_us() / small.cpu_us()).collect::<Vec<_>>(),
    )
}

/// What was measured.
pub(crate) struct Growth {
    pub(crate) vaults: Curve,
    pub(crate) deployments: Curve,
    /// The largest deployment with its whole cache, so that every account in use is at hand, and the smallest beside it.
    at_hand: (Point, Point),
    in_use: usize,
    store_mb: f64,
}

/// Measures on services of its own.
pub(crate) fn measure(settings: &Settings) -> Fallible<Growth> {
    let vaults = vaults(settings)?;
    let first = *settings.deployments.first().ok_or("no size to measure")?;
    let in_use = first / settings.deployments.len();
    let folder = tempfile::tempdir_in(&settings.folder)?;
    let mut sites = sites(settings, folder.path(), first, in_use)?;
    let mut fleets = Vec::new();
    for site in &mut sites {
        fleets.push(site.start(settings, Cached::AsOneOfAll)?);
    }
    let mut points: Vec<_> = sites.iter().map(|site| Point::new(site.size)).collect();
    rounds(settings, &mut fleets, &mut points)?;
    let deployments = Curve { points };
    for (site, (service, fleet)) in sites.iter_mut().zip(fleets) {
        service.stop()?;
        site.members = { fleet }.collect();
    }
    let at_hand = at_hand(settings, &mut sites)?;
    let store_mb = sites.last().map_or(0, |site| folder_len(&site.folder)) as f64 / 1e6;
    Ok(Growth { vaults, deployments, at_hand, in_use, store_mb })
}

/// Accounts with ever larger vaults, on a store of their own.
fn vaults(settings: &Settings) -> Fallible<Curve> {
    let folder = tempfile::tempdir_in(&settings.folder)?;
    // With few accounts a group is small: made in memory, the vaults do not wait for a sync each time.
    let in_memory = in_memory_place(VAULTS_LEN_MAX);
    let made = in_memory.as_ref().unwrap_or(&folder).path();
    settings.cores.use_both()?;
    let making = Service::gateway(settings.gateway(made, None, CommitMode::Group))?;
    let mut groups = Vec::new();
    for (at, size) in settings.vaults.iter().enumerate() {
        eprintln!("    {VAULTS} vaults of {size} passkeys");
        let start = VAULT_NUMBERS + at * VAULTS;
        let members = populate::accounts(&making, start..start + VAULTS, *size)?;
        groups.push((Point::new(*size), members));
    }
    making.stop()?;
    if made != folder.path() {
        copy_folder(made, folder.path())?;
    }
    host::pin(settings.cores.load)?;
    let plan = settings.gateway(folder.path(), Some(settings.cores.server), CommitMode::Group);
    let service = Service::gateway(plan)?;
    let mut fleets = Vec::new();
    let mut points = Vec::new();
    for (point, members) in groups {
        let mut fleet = Fleet::connect(&service, VAULTS)?;
        fleet.deal(members);
        fleet.open_sessions()?;
        // The outcomes of creations leave the devices' rows, and the vaults' maps are built.
        each(&mut fleet, &service, OPS_KEPT + 2)?;
        fleets.push(fleet);
        points.push(point);
    }
    for _ in 0..settings.rounds {
        for (fleet, point) in fleets.iter_mut().zip(&mut points) {
            point.rounds.push(each(fleet, &service, VAULT_ROUND)?);
        }
    }
    service.stop()?;
    Ok(Curve { points })
}

/// Each connection signs in so often: no device is asked for more than it may do in a minute.
fn each(fleet: &mut Fleet, service: &Service, times: usize) -> Fallible<Outcome> {
    let connections = fleet.workers.len();
    let mut outcome = fleet.run(service, connections, Pace::Closed, |worker: &mut Worker| {
        (0..times).try_for_each(|_| sign_in(worker))
    })?;
    outcome.done *= times;
    Ok(outcome)
}

/// A deployment of one size, and those of its accounts that are used.
struct Site {
    size: usize,
    folder: PathBuf,
    members: Vec<Member>,
}

/// How much a gateway keeps at hand.
#[derive(Clone, Copy, PartialEq)]
enum Cached {
    /// Its share of the cache for accounts in use as if all accounts were used alike: an account is at hand as often
    /// as one of all would be.
    AsOneOfAll,
    /// All that a gateway keeps.
    Everything,
}

impl Site {
    fn start(&mut self, settings: &Settings, cached: Cached) -> Fallible<(Service, Fleet)> {
        let whole = CACHE_BYTES as f64 * self.members.len() as f64 / self.size as f64;
        let cache = (cached == Cached::AsOneOfAll).then_some(whole as usize);
        let plan = settings.gateway(&self.folder, Some(settings.cores.server), CommitMode::Group);
        let service = Service::gateway(GatewayPlan { cache, ..plan })?;
        let mut fleet = Fleet::connect(&service, settings.connections)?;
        fleet.deal(std::mem::take(&mut self.members));
        fleet.open_sessions()?;
        fleet.run(&service, settings.growth_round, Pace::Closed, sign_in)?;
        Ok((service, fleet))
    }
}

/// Real accounts once, through the protocol; copies of their store, each filled up to its size.
fn sites(settings: &Settings, folder: &Path, first: usize, in_use: usize) -> Fallible<Vec<Site>> {
    let base = folder.join(first.to_string());
    std::fs::create_dir_all(&base)?;
    settings.cores.use_both()?;
    let service = Service::gateway(settings.gateway(&base, None, CommitMode::Group))?;
    let members = populate::accounts(&service, 0..first, settings.passkeys)?;
    let mut members = populate::use_daily(&service, members)?;
    service.stop()?;
    let mut sites = Vec::new();
    for size in settings.deployments {
        let place = folder.join(size.to_string());
        if *size > first {
            eprintln!("    a deployment of {size} accounts");
            copy_folder(&base, &place)?;
            filler::fill(&place, *size)?;
        }
        let rest = members.split_off(in_use.min(members.len()));
        sites.push(Site { size: *size, folder: place, members: std::mem::replace(&mut members, rest) });
    }
    host::pin(settings.cores.load)?;
    Ok(sites)
}

fn rounds(settings: &Settings, fleets: &mut [(Service, Fleet)], points: &mut [Point]) -> Fallible<()> {
    for round in 0..settings.rounds {
        eprintln!("    round {} of {}", round + 1, settings.rounds);
        for ((service, fleet), point) in fleets.iter_mut().zip(points.iter_mut()) {
            point.rounds.push(fleet.run(service, settings.growth_round, Pace::Closed, sign_in)?);
        }
    }
    Ok(())
}

/// The largest and the smallest deployment with whole caches.
fn at_hand(settings: &Settings, sites: &mut [Site]) -> Fallible<(Point, Point)> {
    let [small, .., large] = sites else { return Err("growth needs two sizes".into()) };
    let mut fleets = [large.start(settings, Cached::Everything)?, small.start(settings, Cached::Everything)?];
    let mut points = [Point::new(large.size), Point::new(small.size)];
    rounds(settings, &mut fleets, &mut points)?;
    for (service, _) in fleets {
        service.stop()?;
    }
    let [large, small] = points;
    Ok((large, small))
}

impl Growth {
    pub(crate) fn rows(&self, settings: &Settings) -> Vec<Row> {
        let rows = [self.vaults_row(settings), self.deployments_row(settings)];
        rows.map(|row| settings.judged_at_full_size(row)).into()
    }

    fn vaults_row(&self, settings: &Settings) -> Row {
        let (small, large) = self.vaults.ends();
        let added = self.vaults.us(true) - self.vaults.us(false);
        let what = format!("growth of an assertion, {small} to {large} passkeys a vault");
        self.vaults
            .row(what, Goal::AtMost { reach: 1.2, floor: None })
            .note(format!(
                "whole path over HTTP, {VAULTS} accounts and connections for each size; what is the same for every vault weighs more \
                 here than with {} connections: the growth itself is {added:.1} us",
                settings.connections
            ))
            .because(format!("{added:.1} us are added from the smallest to the largest vault"))
    }

    fn deployments_row(&self, settings: &Settings) -> Row {
        let (small, large) = self.deployments.ends();
        let (grown, beside) = &self.at_hand;
        let (grown_us, beside_us) = (grown.us().median, beside.us().median);
        let at_hand = ratio(&grown.rounds, &beside.rounds);
        let what = format!("growth of an assertion, {small} to {large} accounts");
        self.deployments
            .row(what, Goal::AtMost { reach: 1.3, floor: None })
            .note(format!(
                "{small} accounts with {} passkeys were made through the protocol, and {} of them sign in at each size; the others of \
                 the {large} are fillers: an account row and a device row of the right length written into the store, under a SEAL and a \
                 checkpoint signed with the bench's known root key; they are in the map, have no passkeys and no ledger entries \
                 (store {:.0} MB)",
                settings.passkeys, self.in_use, self.store_mb
            ))
            .note(format!(
                "the gateway's cache is cut to the share of the accounts in use, so that one is at hand as often as if all {large} were \
                 used alike; the store's file is in the system's page cache"
            ))
            .note(format!(
                "with whole caches (all accounts in use at hand): {} us at {large}, {} us at {small}, ratio {:.3} ({:.3}..{:.3})",
                number(grown_us),
                number(beside_us),
                at_hand.median,
                at_hand.low,
                at_hand.high
            ))
            .because(format!(
                "{:.1} us are added with caches as if all accounts were used alike, {:.1} us with whole caches",
                self.deployments.us(true) - self.deployments.us(false),
                grown_us - beside_us
            ))
    }
}
