//! What travels between devices and gateway, and a network that loses, doubles, delays and reorders it.

use crate::dice::Dice;
use crate::oracle::Provenance;
use crate::stats::Stats;
use keyferry_wire::door::Drop as Reason;
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::{ReplyFrame, RequestFrame, SessionOpen, SessionOpened};
use keyferry_wire::publish::{AuditPage, SyncPage};
use keyferry_wire::{AccountId, Wire};
use std::rc::Rc;

/// A request to the gateway.
#[derive(Clone)]
pub enum Ask {
    /// The evidence of the enclave that serves.
    Evidence,
    /// A handshake.
    Open(SessionOpen),
    /// A sealed request.
    Request(RequestFrame, Rc<Provenance>),
    /// Rows from a cursor on.
    Sync { account: AccountId, access: [u8; 32], cursor: u64, seen: u64 },
    /// Ledger entries from a number on.
    Audit { account: AccountId, access: [u8; 32], from: u64, seen: u64 },
}

/// The gateway's answer.
#[derive(Clone)]
pub enum Tell {
    /// Evidence.
    Evidence(Evidence),
    /// Handshake message 2.
    Opened(SessionOpened),
    /// A sealed reply.
    Reply(ReplyFrame),
    /// Rows.
    Sync(SyncPage),
    /// Ledger entries.
    Audit(AuditPage),
    /// The enclave dropped the frame.
    Dropped(Reason),
    /// Try again later.
    Unavailable,
}

/// A letter under way.
#[derive(Clone)]
pub struct Letter {
    /// Which exchange it belongs to; a device has one at a time.
    pub exchange: u64,
    /// The device that asked.
    pub device: usize,
    /// What it says.
    pub body: Body,
}

/// Which way it goes.
#[derive(Clone)]
#[expect(clippy::large_enum_variant, reason = "few letters are under way at a time")]
pub enum Body {
    /// To the gateway.
    Ask(Ask),
    /// To the device.
    Tell(Tell),
}

impl Body {
    /// The bytes that the host sees.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Body::Ask(Ask::Open(open)) => open.to_bytes(),
            Body::Ask(Ask::Request(frame, _)) => frame.to_bytes(),
            Body::Ask(Ask::Evidence | Ask::Sync { .. } | Ask::Audit { .. }) => Vec::new(),
            Body::Tell(Tell::Evidence(evidence)) => evidence.to_bytes(),
            Body::Tell(Tell::Opened(opened)) => opened.to_bytes(),
            Body::Tell(Tell::Reply(frame)) => frame.to_bytes(),
            Body::Tell(Tell::Sync(page)) => page.to_bytes(),
            Body::Tell(Tell::Audit(page)) => page.to_bytes(),
            Body::Tell(Tell::Dropped(_) | Tell::Unavailable) => Vec::new(),
        }
    }

    /// One word for traces.
    pub fn word(&self) -> String {
        match self {
            Body::Ask(Ask::Evidence) => "asks for evidence".to_owned(),
            Body::Ask(Ask::Open(_)) => "opens a session".to_owned(),
            Body::Ask(Ask::Request(frame, from)) => {
                let commands: Vec<_> = from.call.commands.iter().map(word_of).collect();
                format!("requests {} ({:?} #{})", commands.join("+"), frame.session, frame.number)
            }
            Body::Ask(Ask::Sync { cursor, .. }) => format!("syncs from {cursor}"),
            Body::Ask(Ask::Audit { from, .. }) => format!("audits from {from}"),
            Body::Tell(Tell::Evidence(_)) => "evidence".to_owned(),
            Body::Tell(Tell::Opened(opened)) => format!("session {:?}", opened.session),
            Body::Tell(Tell::Reply(frame)) => format!("reply ({:?} #{})", frame.session, frame.number),
            Body::Tell(Tell::Sync(page)) => format!("{} rows", page.rows.len()),
            Body::Tell(Tell::Audit(page)) => format!("{} entries", page.entries.len()),
            Body::Tell(Tell::Dropped(reason)) => format!("dropped: {reason:?}"),
            Body::Tell(Tell::Unavailable) => "unavailable".to_owned(),
        }
    }
}

fn word_of(command: &keyferry_wire::command::Command) -> String {
    let text = format!("{command:?}");
    text.split(['(', ' ', '{']).next().unwrap_or_default().to_owned()
}

/// Letters under way.
#[derive(Default)]
pub struct Network {
    flights: Vec<(u64, Letter)>,
    /// Whether it does its worst.
    pub faulty: bool,
}

/// A normal trip.
const TRIP_MS: u64 = 40;
/// A letter that was kept back: within the life of a session, or far beyond it.
const LATE_MS: [u64; 3] = [5_000, 120_000, 550_000];

impl Network {
    /// Takes a letter.
    pub fn send(&mut self, letter: Letter, now_ms: u64, dice: &mut Dice, stats: &mut Stats) {
        if self.faulty && dice.chance(40) {
            return stats.fault("letter lost");
        }
        let copies = if self.faulty && dice.chance(40) {
            stats.fault("letter doubled");
            2
        } else {
            1
        };
        for _ in 0..copies {
            let mut trip = dice.between(1, TRIP_MS);
            if self.faulty && dice.chance(30) {
                stats.fault("letter late");
                trip += dice.below(*dice.clone().pick(&LATE_MS).unwrap_or(&1_000));
            }
            self.flights.push((now_ms + trip, letter.clone()));
        }
    }

    /// A letter that is due, any of them.
    pub fn arrive(&mut self, now_ms: u64, dice: &mut Dice) -> Option<Letter> {
        let due: Vec<usize> = self
            .flights
            .iter()
            .enumerate()
            .filter(|(_, (due, _))| *due <= now_ms)
            .map(|(at, _)| at)
            .collect();
        let at = *dice.pick(&due)?;
        Some(self.flights.swap_remove(at).1)
    }

    /// When the next letter is due.
    pub fn next_due(&self) -> Option<u64> {
        self.flights.iter().map(|(due, _)| *due).min()
    }

    /// Letters that are all under way, for whoever exchanges or spoils them.
    pub fn letters(&mut self) -> impl Iterator<Item = &mut Letter> {
        self.flights.iter_mut().map(|(_, letter)| letter)
    }

    /// Forgets all letters.
    pub fn clear(&mut self) {
        self.flights.clear();
    }
}
