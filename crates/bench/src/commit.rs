//! B4: group commit against one commit for each operation, as operations per second on the real disk.

use crate::Fallible;
use crate::assertion::{narrow_us, outcome_json, sign_in};
use crate::ceiling::Ceilings;
use crate::load::{Fleet, Outcome, Pace};
use crate::measure::Spread;
use crate::member::Member;
use crate::report::{Goal, Row};
use crate::role::Service;
use crate::settings::Settings;
use keyferry_server::CommitMode;
use serde_json::json;
use std::fs;
use std::path::Path;

/// Below this, group commit is not worth its name.
const FLOOR: f64 = 15.0;
/// What an operation may cost beyond cryptography (B2).
const BEYOND_US: f64 = 50.0;

/// What was measured: group, each, group, each.
pub(crate) struct Commits {
    pairs: Vec<(Outcome, Outcome)>,
}

/// Measures with a store that no gateway holds, and with a copy of it. Half of the accounts are used on either side.
pub(crate) fn measure(
    settings: &Settings,
    store: &Path,
    mut members: Vec<Member>,
) -> Fallible<(Commits, Vec<Member>)> {
    let copy = tempfile::tempdir_in(&settings.folder)?;
    copy_folder(store, copy.path())?;
    let core = Some(settings.cores.server);
    let start = |folder, commit| Service::gateway(settings.gateway(folder, core, commit));
    let group = start(store, CommitMode::Group)?;
    let each = start(copy.path(), CommitMode::Each)?;
    let mut to_group = Fleet::connect(&group, settings.connections)?;
    let mut to_each = Fleet::connect(&each, settings.connections)?;
    to_each.deal(members.split_off(members.len() / 2));
    to_group.deal(members);
    to_group.run(&group, settings.each_round, Pace::Closed, sign_in)?;
    to_each.run(&each, settings.each_round / 4, Pace::Closed, sign_in)?;
    let mut pairs = Vec::new();
    for _ in 0..settings.rounds {
        pairs.push((
            to_group.run(&group, settings.round / 2, Pace::Closed, sign_in)?,
            to_each.run(&each, settings.each_round, Pace::Closed, sign_in)?,
        ));
    }
    each.stop()?;
    group.stop()?;
    let mut members = to_group.collect();
    members.extend(to_each.collect());
    Ok((Commits { pairs }, members))
}

impl Commits {
    pub(crate) fn row(&self, settings: &Settings, ceilings: &Ceilings) -> Row {
        let of = |value: fn(&(Outcome, Outcome)) -> f64| {
            Spread::of(&self.pairs.iter().map(value).collect::<Vec<_>>())
        };
        let group = of(|(group, _)| group.per_second());
        let each = of(|(_, each)| each.per_second());
        let raw = 64.0 * ceilings.disk.commit_1.wall_ns as f64 / ceilings.disk.commit_64.wall_ns as f64;
        let least = narrow_us(ceilings) + BEYOND_US;
        let commit = ceilings.disk.commit_1.wall_ns as f64 / 1000.0;
        let bound = (least + commit) / least;
        let cpu = of(|(group, _)| group.cpu_us()).median;
        let row = Row::new("B4", "group commit against one sync per operation", group.median, "per s")
            .against(each.median)
            .ratio(of(|(group, each)| group.per_second() / each.per_second()))
            .goal(Goal::AtLeast { reach: 30.0, floor: Some(FLOOR) })
            .note(format!(
                "the most that this disk allows: raw SQLite commits 64 rows at once {raw:.1} x as fast as one by one \
                 (one takes {:.0} us of wall time, of which fdatasync {:.0} us at p50)",
                ceilings.disk.commit_1.wall_ns as f64 / 1000.0,
                ceilings.disk.sync_p50_ns as f64 / 1000.0,
            ))
            .note(format!(
                "CPU per operation: group {cpu:.0} us, each {:.0} us",
                of(|(_, each)| each.cpu_us()).median,
            ))
            .because(format!(
                "an operation takes {cpu:.0} us of the one core in a group, and a commit of its own {commit:.0} us of wall time in raw \
                 SQLite: with these {:.1} x is the most",
                (cpu + commit) / cpu
            ))
            .details(json!(
                self.pairs
                    .iter()
                    .map(|(group, each)| json!({ "group": outcome_json(group), "each": outcome_json(each) }))
                    .collect::<Vec<_>>()
            ));
        let row = if bound < FLOOR {
            row.note(format!(
                "physics forbids the goal on a disk this quick: with {least:.0} us of CPU per operation (cryptography and \
                 the {BEYOND_US} us of B2) and {commit:.0} us of wall time for a commit of its own, {bound:.1} x is the most"
            ))
        } else {
            row
        };
        settings.small_note(row)
    }
}

/// Copies a folder with all that is in it.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Fallible<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
