//! The load generator: connections that each have accounts of their own, closed loop or open loop.

use crate::Fallible;
use crate::carrier::{Carrier, Peer, Wires};
use crate::http::Http;
use crate::measure::percentile;
use crate::member::Member;
use crate::role::Service;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// One connection. No two have an account in common: requests of one account wait for each other.
pub(crate) struct Worker {
    pub(crate) http: Http,
    peer: Peer,
    pub(crate) members: Vec<Member>,
    random: u64,
    pub(crate) turn: u64,
}

impl Worker {
    pub(crate) fn connect(service: &Service, peer: Peer, number: usize) -> Fallible<Worker> {
        let http = Http::connect(service.address)?;
        let random = 0x9e37_79b9_7f4a_7c15u64.wrapping_mul(number as u64 + 1);
        Ok(Worker { http, peer, members: Vec::new(), random, turn: 0 })
    }

    /// The way to the enclave, and the accounts to go it for.
    pub(crate) fn parts(&mut self) -> (Wires<'_>, &mut Vec<Member>) {
        (Wires { carrier: &mut self.http, peer: self.peer }, &mut self.members)
    }

    /// A number below `bound`: SplitMix64, the same choices in every run.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) % bound.max(1) as u64) as usize
    }
}

/// All connections to one service.
pub(crate) struct Fleet {
    pub(crate) workers: Vec<Worker>,
}

/// What a run led to.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) done: usize,
    pub(crate) wall: Duration,
    /// CPU time by process.
    pub(crate) cpu_ns: Vec<u64>,
    /// Nanoseconds, sorted.
    pub(crate) latencies: Vec<u64>,
}

impl Outcome {
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu_ns.iter().sum::<u64>() as f64 / 1000.0 / self.done as f64
    }

    /// Of one process.
    pub(crate) fn cpu_us_of(&self, process: usize) -> f64 {
        self.cpu_ns.get(process).copied().unwrap_or(0) as f64 / 1000.0 / self.done as f64
    }

    pub(crate) fn per_second(&self) -> f64 {
        self.done as f64 / self.wall.as_secs_f64()
    }

    pub(crate) fn latency_ms(&self, part: f64) -> f64 {
        percentile(&self.latencies, part) as f64 / 1e6
    }
}

/// When a request is due: as soon as the one before is answered, or by the clock.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    Closed,
    /// So many nanoseconds between two arrivals; latency counts from when a request was due.
    Open(u64),
}

impl Fleet {
    pub(crate) fn connect(service: &Service, count: usize) -> Fallible<Fleet> {
        let evidence = Http::connect(service.address)?.evidence()?;
        let peer = Peer::appraised(&evidence)?;
        Fleet::with(service, peer, count)
    }

    pub(crate) fn with(service: &Service, peer: Peer, count: usize) -> Fallible<Fleet> {
        let workers = (0..count).map(|number| Worker::connect(service, peer, number));
        Ok(Fleet { workers: workers.collect::<Fallible<_>>()? })
    }

    /// Deals members out to the connections.
    pub(crate) fn deal(&mut self, members: Vec<Member>) {
        let count = self.workers.len();
        for (number, member) in members.into_iter().enumerate() {
            if let Some(worker) = self.workers.get_mut(number % count) {
                worker.members.push(member);
            }
        }
    }

    /// Opens a session for each device that has none with this service.
    pub(crate) fn open_sessions(&mut self) -> Fallible<()> {
        let open = |worker: &mut Worker| {
            let (mut wire, members) = worker.parts();
            members.iter_mut().try_for_each(|member| member.open(&mut wire))
        };
        thread::scope(|scope| {
            let threads: Vec<_> =
                self.workers.iter_mut().map(|worker| scope.spawn(move || open(worker))).collect();
            joined(threads)
        })
    }

    /// Takes all members back.
    pub(crate) fn collect(&mut self) -> Vec<Member> {
        self.workers.iter_mut().flat_map(|worker| worker.members.drain(..)).collect()
    }

    /// Does `total` operations and takes the CPU time of the service's processes over them.
    pub(crate) fn run(
        &mut self,
        service: &Service,
        total: usize,
        pace: Pace,
        operation: impl Fn(&mut Worker) -> Fallible<()> + Sync,
    ) -> Fallible<Outcome> {
        let before = service.cpu_ns()?;
        let start = Instant::now();
        let latencies = self.work(start, total, pace, &operation)?;
        let wall = start.elapsed();
        let after = service.cpu_ns()?;
        let cpu_ns = after.iter().zip(&before).map(|(after, before)| after - before).collect();
        Ok(Outcome { done: latencies.len(), wall, cpu_ns, latencies })
    }

    fn work(
        &mut self,
        start: Instant,
        total: usize,
        pace: Pace,
        operation: &(impl Fn(&mut Worker) -> Fallible<()> + Sync),
    ) -> Fallible<Vec<u64>> {
        let next = AtomicUsize::new(0);
        let failed = AtomicBool::new(false);
        let all = Mutex::new(Vec::with_capacity(total));
        let run = |worker: &mut Worker| -> Fallible<()> {
            let mut own = Vec::with_capacity(total / 32);
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= total || failed.load(Ordering::Relaxed) {
                    break;
                }
                let due = pace.due(start, index);
                operation(worker).inspect_err(|_| failed.store(true, Ordering::Relaxed))?;
                own.push(u64::try_from(due.elapsed().as_nanos())?);
            }
            all.lock().unwrap_or_else(PoisonError::into_inner).extend(own);
            Ok(())
        };
        let run = &run;
        thread::scope(|scope| {
            let threads: Vec<_> =
                self.workers.iter_mut().map(|worker| scope.spawn(move || run(worker))).collect();
            joined(threads)
        })?;
        let mut latencies = all.into_inner().unwrap_or_else(PoisonError::into_inner);
        latencies.sort_unstable();
        Ok(latencies)
    }
}

fn joined(threads: Vec<thread::ScopedJoinHandle<'_, Fallible<()>>>) -> Fallible<()> {
    threads.into_iter().try_for_each(|thread| match thread.join() {
        Ok(result) => result,
        Err(_) => Err("a thread of the load generator panicked".into()),
    })
}

impl Pace {
    /// Waits until the request with this number is due; says when that was.
    fn due(self, start: Instant, index: usize) -> Instant {
        match self {
            Pace::Closed => Instant::now(),
            Pace::Open(gap_ns) => {
                let due = start + Duration::from_nanos(gap_ns.saturating_mul(index as u64));
                thread::sleep(due.saturating_duration_since(Instant::now()));
                due
            }
        }
    }
}
