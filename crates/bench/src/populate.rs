//! Accounts for the measurements, made through the protocol itself: enrolled, with passkeys, and used.

use crate::Fallible;
use crate::load::{Fleet, Pace};
use crate::member::Member;
use crate::role::Service;
use crate::settings::Settings;
use keyferry_wire::limits::OPS_KEPT;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// Connections that make accounts; more than are measured, since nothing is measured.
const CONNECTIONS: usize = 128;

/// A connection that is quicker than others goes round its accounts more often; the slowest make this up.
const SPARE: usize = 2;

/// Accounts for the measurements.
pub(crate) struct Made {
    /// In daily use.
    pub(crate) members: Vec<Member>,
    /// Not yet.
    pub(crate) fresh: Vec<Member>,
}

/// Makes all accounts of a run but those of B8.
pub(crate) fn make(settings: &Settings, service: &Service) -> Fallible<Made> {
    let mut members = accounts(service, 0..settings.accounts + settings.fresh, settings.passkeys)?;
    let fresh = members.split_off(settings.accounts);
    Ok(Made { members: use_daily(service, members)?, fresh })
}

/// Numbers of accounts that are made for one measurement alone start here.
pub(crate) const APART: usize = 10_000_000;

/// Creates the accounts with these numbers, each with a device and some passkeys.
pub(crate) fn accounts(service: &Service, numbers: Range<usize>, passkeys: usize) -> Fallible<Vec<Member>> {
    let mut fleet = Fleet::connect(service, CONNECTIONS)?;
    let progress = Progress::new("accounts", numbers.len());
    let next = AtomicUsize::new(numbers.start);
    fleet.run(service, numbers.len(), Pace::Closed, |worker| {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let (mut wire, members) = worker.parts();
        let mut member = Member::enrol(&mut wire, number)?;
        for _ in 0..passkeys {
            member.create_passkey(&mut wire)?;
        }
        members.push(member);
        progress.step();
        Ok(())
    })?;
    Ok(fleet.collect())
}

/// Signs in often enough with each device that its row is that of a device in daily use: the outcomes of its latest
/// operations are all of assertions, and no longer of the passkeys that it made.
pub(crate) fn use_daily(service: &Service, members: Vec<Member>) -> Fallible<Vec<Member>> {
    let mut fleet = Fleet::connect(service, CONNECTIONS)?;
    let count = members.len();
    fleet.deal(members);
    let rounds = OPS_KEPT + SPARE;
    let progress = Progress::new("sign-ins of each device", rounds);
    for _ in 0..rounds {
        fleet.run(service, count, Pace::Closed, |worker| {
            worker.turn += 1;
            let turn = worker.turn as usize;
            let (mut wire, members) = worker.parts();
            let count = members.len().max(1);
            match members.get_mut(turn % count) {
                Some(member) => {
                    let passkey = turn % member.passkeys.len().max(1);
                    member.sign_in(&mut wire, passkey, false)
                }
                None => Ok(()),
            }
        })?;
        progress.step();
    }
    Ok(fleet.collect())
}

/// Says on stderr how far a long step is.
pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    done: AtomicUsize,
    start: Instant,
}

impl Progress {
    pub(crate) fn new(what: &'static str, total: usize) -> Progress {
        Progress { what, total, done: AtomicUsize::new(0), start: Instant::now() }
    }

    pub(crate) fn step(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        let every = self.total.div_ceil(5);
        if done.is_multiple_of(every) || done == self.total {
            let secs = self.start.elapsed().as_secs_f32();
            eprintln!("    {done} of {} {} after {secs:.1} s", self.total, self.what);
        }
    }
}
