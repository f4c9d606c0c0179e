//! B1a: an assertion in the engine alone, within this thread, and how it grows with the devices of an account.

use crate::Fallible;
use crate::carrier::Wires;
use crate::ceiling::{self, Ceilings};
use crate::load::{Fleet, Pace};
use crate::local::{Local, Steps};
use crate::measure::{Effort, Spread, rounded};
use crate::member::Member;
use crate::pin;
use crate::populate::Progress;
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use keyferry_wire::frame::RequestFrame;
use serde_json::json;

/// Devices of the accounts that are compared with those of one device.
const DEVICES: [usize; 2] = [10, 100];
/// Accounts with each number of devices; they are one batch.
const GROUP: usize = 16;
/// Batches of a round: a device may sign in 120 times a minute.
const BATCHES: usize = 6;

/// Members by the number of devices that their accounts have.
pub(crate) struct Growth {
    groups: Vec<(usize, Vec<Member>)>,
}

/// Lets devices join the accounts of some members, over HTTP.
pub(crate) fn grow(settings: &Settings, service: &Service, members: &mut Vec<Member>) -> Fallible<Growth> {
    let mut groups = vec![(1, take(members))];
    for devices in DEVICES {
        groups.push((devices, take(members)));
    }
    let total = DEVICES.iter().map(|devices| (devices - 1) * GROUP).sum();
    let progress = Progress::new("devices that join", total);
    for (devices, group) in groups.iter_mut().skip(1) {
        let mut fleet = Fleet::connect(service, GROUP.min(settings.connections))?;
        fleet.deal(std::mem::take(group));
        let joins = *devices - 1;
        fleet.run(service, GROUP, Pace::Closed, |worker| {
            let number = worker.turn as usize;
            worker.turn += 1;
            let (mut wire, members) = worker.parts();
            let member = members.get_mut(number).ok_or("an account less than connections")?;
            pin::set(member, &mut wire)?;
            (0..joins).try_for_each(|_| {
                progress.step();
                pin::join(member, &mut wire).map(drop)
            })
        })?;
        *group = fleet.collect();
    }
    Ok(Growth { groups })
}

fn take(members: &mut Vec<Member>) -> Vec<Member> {
    members.split_off(members.len().saturating_sub(GROUP))
}

/// What was measured: microseconds of engine per assertion, by round.
pub(crate) struct Engine {
    by_devices: Vec<(usize, Vec<f64>)>,
    /// One signature checked and one made, in nanoseconds, between the rounds.
    signatures: Vec<f64>,
}

/// Opens sessions of these members within this thread.
pub(crate) fn open_sessions(local: &mut Local, members: &mut [Member]) -> Fallible<()> {
    let mut wire = Wires { peer: local.peer()?, carrier: local };
    members.iter_mut().try_for_each(|member| member.open(&mut wire))
}

/// Frames of one sign-in of each of these members, ready to be handed to the engine.
pub(crate) fn frames(members: &mut [Member], turn: usize) -> Fallible<Vec<RequestFrame>> {
    let one = |member: &mut Member| {
        let (command, id, _) = member.assert(turn % member.passkeys.len().max(1))?;
        member.seal(vec![command], vec![id])
    };
    members.iter_mut().map(one).collect()
}

/// Interleaves the groups, round by round.
pub(crate) fn measure(settings: &Settings, local: &mut Local, growth: &mut Growth) -> Fallible<Engine> {
    let mut by_devices: Vec<_> = growth.groups.iter().map(|(devices, _)| (*devices, Vec::new())).collect();
    growth.groups.iter_mut().try_for_each(|(_, group)| open_sessions(local, group))?;
    let mut signatures = Vec::new();
    for round in 0..=settings.rounds {
        for ((_, group), (_, times)) in growth.groups.iter_mut().zip(&mut by_devices) {
            local.steps = Steps::default();
            for batch in 0..BATCHES {
                let frames = frames(group, batch)?;
                local.requests(frames)?;
            }
            // The first round fills caches.
            if round > 0 {
                times.push(local.steps.engine as f64 / 1000.0 / (BATCHES * group.len()) as f64);
            }
        }
        if round > 0 {
            signatures.push(ceiling::verify(Effort::SHORT)? + ceiling::sign(Effort::SHORT)?);
        }
    }
    Ok(Engine { by_devices, signatures })
}

impl Engine {
    /// Microseconds by the number of devices.
    pub(crate) fn by_devices(&self) -> impl Iterator<Item = (usize, Spread)> {
        self.by_devices.iter().map(|(devices, times)| (*devices, Spread::of(times)))
    }

    /// `parts`: what the engine's work is made of, largest first, if that was measured.
    pub(crate) fn rows(&self, ceilings: &Ceilings, parts: Option<&str>) -> Vec<Row> {
        let channel = 2.0 * ceilings.aead / 1000.0;
        let times =
            |at: usize| self.by_devices.get(at).map(|(_, times)| times.as_slice()).unwrap_or_default();
        let one = Spread::of(times(0));
        let least = Spread::of(&self.signatures).median / 1000.0;
        let pairs = self.signatures.iter().zip(times(0));
        let ratios: Vec<_> = pairs.map(|(least, one)| least / 1000.0 / (one - channel)).collect();
        let alone = Row::new("B1a", "assertion in the engine, one device", one.median - channel, "us CPU")
            .against(least)
            .ratio(Spread::of(&ratios))
            .goal_of_value(Goal::AtMost { reach: 95.0, floor: Some(110.0) })
            .note(format!(
                "batches of {GROUP}; map proof, leaf, sealed rows and checkpoint are in it, the channel's AEADs are not; \
                 spread {:.1}..{:.1} us; beside it a signature checked and one made",
                one.low, one.high
            ))
            .because(match parts {
                Some(parts) => format!("the largest parts are, us: {parts}"),
                None => "its parts were not measured".to_owned(),
            })
            .details(json!({ "us_by_round": self.by_devices.iter().map(|(devices, times)| {
                json!({ "devices": devices, "us": times.iter().map(|time| rounded(*time)).collect::<Vec<_>>() })
            }).collect::<Vec<_>>() }));
        let mut rows = vec![alone];
        for (at, (devices, grown)) in self.by_devices.iter().enumerate().skip(1) {
            let ratios: Vec<_> = grown.iter().zip(times(0)).map(|(grown, one)| grown / one).collect();
            let what = if at == 1 { "growth from 1 to 10 devices" } else { "growth from 1 to 100 devices" };
            let row = Row::new("B1a", what, Spread::of(grown).median, "us CPU")
                .against(one.median)
                .ratio(Spread::of(&ratios));
            // The goal is for 100 devices.
            let last = *devices == 100;
            let added = Spread::of(grown).median - one.median;
            let row = row
                .because(format!("the longer account row adds {added:.1} us: opened, read, sealed, hashed"));
            rows.push(if last { row.goal(Goal::AtMost { reach: 1.1, floor: Some(1.3) }) } else { row });
        }
        rows
    }
}
