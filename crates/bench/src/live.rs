//! B7: how long it takes until a change by one device was seen on ten others: from the moment at which the change is
//! asked for until each of them has heard the hint on its live connection and fetched the page with the change.
//! Verifying a page costs the device's own time, on its own machine: it is left out.

use crate::Fallible;
use crate::carrier::Wires;
use crate::disk::{Syncs, sync_times};
use crate::http::Http;
use crate::load::{Fleet, Worker};
use crate::measure::{Spread, percentile};
use crate::member::Member;
use crate::pin;
use crate::populate::{self, APART};
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use crate::sync;
use keyferry_device::http::{Gateway, Reader};
use keyferry_device::live::Socket;
use keyferry_wire::Wire;
use keyferry_wire::publish::{Hint, SyncPage};
use serde_json::json;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

/// Devices that watch.
const WATCHING: usize = 10;
/// On loopback, and one sync of the disk.
const REACH_MS: f64 = 50.0;
/// Longer than any change takes that is still worth a figure.
const PATIENCE: Duration = Duration::from_secs(20);
/// The account of this measurement.
const NUMBER: usize = APART + 1_000_000;

/// A round of changes, and right after it the disk alone.
struct Round {
    /// For each change and device, nanoseconds, sorted.
    seen_ns: Vec<u64>,
    /// Until the device that changes had its own answer.
    answered_ns: Vec<u64>,
    syncs: Syncs,
}

pub(crate) struct Seen {
    rounds: Vec<Round>,
}

/// A device that watches, in a thread of its own.
struct Watcher {
    member: Member,
    socket: Socket,
    http: Http,
    cursor: u64,
}

/// Makes an account with all devices, and changes it again and again.
pub(crate) fn measure(settings: &Settings, service: &Service) -> Fallible<Seen> {
    let mut members = populate::accounts(service, NUMBER..NUMBER + 1, 1)?;
    let mut editor = members.pop().ok_or("no account")?;
    let fleet = Fleet::connect(service, 1)?;
    let mut worker = fleet.workers.into_iter().next().ok_or("no connection")?;
    let watching = watchers(service, &mut editor, &mut worker)?;
    let (tell, told) = channel();
    let mut rounds = Vec::new();
    thread::scope(|scope| -> Fallible<()> {
        let mut goals = Vec::new();
        let mut threads = Vec::new();
        for watcher in watching {
            let (goal, goals_of) = channel();
            let tell = tell.clone();
            goals.push(goal);
            threads.push(scope.spawn(move || watcher.watch(&goals_of, &tell)));
        }
        // The last watcher that ends leaves nobody who tells.
        drop(tell);
        let mut version = 1;
        for round in 0..=settings.rounds {
            let measured = changes(settings.changes, &mut editor, &mut worker, &mut version, &goals, &told);
            let (seen_ns, answered_ns) = match measured {
                Ok(measured) => measured,
                Err(fault) => {
                    drop(goals);
                    return Err(first_fault(threads).unwrap_or(fault));
                }
            };
            // The first round fills caches.
            if round > 0 {
                rounds.push(Round { seen_ns, answered_ns, syncs: sync_times(settings)? });
            }
        }
        drop(goals);
        first_fault(threads).map_or(Ok(()), Err)
    })?;
    Ok(Seen { rounds })
}

fn first_fault(threads: Vec<thread::ScopedJoinHandle<'_, Fallible<()>>>) -> Option<crate::Fault> {
    threads.into_iter().find_map(|thread| match thread.join() {
        Ok(result) => result.err(),
        Err(_) => Some("a device that watches panicked".into()),
    })
}

/// Lets devices join and listen.
fn watchers(service: &Service, editor: &mut Member, worker: &mut Worker) -> Fallible<Vec<Watcher>> {
    let gateway = Gateway::new(&format!("http://{}", service.address), None)?;
    let (mut wire, _) = worker.parts();
    pin::set(editor, &mut wire)?;
    let joined = (0..WATCHING).map(|_| pin::join(editor, &mut wire)).collect::<Fallible<Vec<_>>>()?;
    let listen = |member: Member| {
        let position = hint(&member)?;
        let reader = Reader { account: member.account, access: &member.access, seen: 0 };
        let socket = gateway.live(reader, position).map_err(|error| error.to_string())?;
        let http = Http::connect(service.address)?;
        Ok(Watcher { cursor: position.vault_seq, member, socket, http })
    };
    joined.into_iter().map(listen).collect()
}

fn hint(member: &Member) -> Fallible<Hint> {
    let stood = member.stood.ok_or("an account that stands nowhere")?;
    Ok(Hint { seq: stood.seq, vault_seq: stood.vault_seq })
}

impl Watcher {
    /// For each goal: listens and fetches until the vault is there, and tells when.
    fn watch(mut self, goals: &Receiver<u64>, tell: &Sender<Instant>) -> Fallible<()> {
        while let Ok(goal) = goals.recv() {
            while self.cursor < goal {
                let heard = self.socket.next(PATIENCE).map_err(|error| error.to_string())?;
                heard.ok_or("no hint came")?;
                let bytes = sync::page(&mut self.http, &self.member, self.cursor)?;
                self.cursor = SyncPage::from_bytes(&bytes)?.cursor;
            }
            tell.send(Instant::now())?;
        }
        Ok(())
    }
}

/// Makes changes one after the other; each was seen everywhere before the next.
fn changes(
    count: usize,
    editor: &mut Member,
    worker: &mut Worker,
    version: &mut u64,
    goals: &[Sender<u64>],
    told: &Receiver<Instant>,
) -> Fallible<(Vec<u64>, Vec<u64>)> {
    let (mut seen, mut answered) = (Vec::new(), Vec::new());
    let (mut wire, _): (Wires<'_>, _) = worker.parts();
    for _ in 0..count {
        let goal = hint(editor)?.vault_seq + 1;
        for watcher in goals {
            watcher.send(goal)?;
        }
        let start = Instant::now();
        *version = editor.rename_passkey(&mut wire, *version, &format!("name {version}"))?;
        answered.push(u64::try_from(start.elapsed().as_nanos())?);
        for _ in goals {
            let at = told.recv_timeout(PATIENCE)?;
            seen.push(u64::try_from(at.duration_since(start).as_nanos())?);
        }
    }
    seen.sort_unstable();
    answered.sort_unstable();
    Ok((seen, answered))
}

impl Seen {
    pub(crate) fn row(&self, settings: &Settings) -> Row {
        let of =
            |value: &dyn Fn(&Round) -> f64| Spread::of(&self.rounds.iter().map(value).collect::<Vec<_>>());
        let ms = |times: &[u64], part| percentile(times, part) as f64 / 1e6;
        let p99 = of(&|round| ms(&round.seen_ns, 0.99));
        let sync = of(&|round| round.syncs.p99_ns as f64 / 1e6);
        let what = format!("a change seen on {WATCHING} other devices, p99");
        Row::new("B7", what, p99.median, "ms")
            .against(sync.median)
            .ratio(of(&|round| ms(&round.seen_ns, 0.99) / (round.syncs.p99_ns as f64 / 1e6)))
            .goal_of_value(Goal::AtMost { reach: REACH_MS + sync.median, floor: None })
            .note(format!(
                "from the request of the change until each device has heard the hint and fetched the page; {} rounds of {} changes; \
                 p50 {:.2} ms, p99 {:.2} ms (spread {:.2}..{:.2}); the changing device's own answer: p50 {:.2} ms; one fdatasync: p99 {:.3} ms",
                self.rounds.len(),
                settings.changes,
                of(&|round| ms(&round.seen_ns, 0.5)).median,
                p99.median,
                p99.low,
                p99.high,
                of(&|round| ms(&round.answered_ns, 0.5)).median,
                sync.median
            ))
            .because(format!(
                "the changing device itself has its answer after {:.2} ms at p99",
                of(&|round| ms(&round.answered_ns, 0.99)).median
            ))
            .details(self.rounds.iter().map(|round| json!({
                "p50_ms": ms(&round.seen_ns, 0.5), "p99_ms": ms(&round.seen_ns, 0.99),
                "answered_p50_ms": ms(&round.answered_ns, 0.5), "fdatasync": round.syncs.json(),
                "seen": round.seen_ns.len(),
            })).collect())
    }
}
