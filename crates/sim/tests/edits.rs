//! Two devices that edit at once, in every order, with syncs between: both end with the same vault, which is the one that
//! the ledger seals, and no edit that was acknowledged is lost without somebody being told.
#![allow(clippy::unwrap_used, clippy::panic)]

use keyferry_client::flow::{Crossed, DeletePasskey, RenamePasskey, User, is_crossed, latest};
use keyferry_client::home::Passkey;
use keyferry_sim::device::{End, Role};
use keyferry_sim::errand::{Errand, Outcome};
use keyferry_sim::{Config, World};
use keyferry_tlog::Map;
use keyferry_tlog::state::{vault_key, vault_value};
use keyferry_wire::CredentialId;
use keyferry_wire::refusal::Code;
use std::collections::BTreeMap;

const PIN: &str = "u7wq2kxa";

/// What a device does to the one passkey that both know, or beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Edit {
    Rename(&'static str),
    Delete,
    Create,
}

/// How an edit ended, for its user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    /// It holds.
    Done,
    /// It holds; another device had changed the passkey meanwhile.
    DoneAgain,
    /// Another device had done the same already.
    DoneAlready,
    /// It does not hold, and why.
    Conflict,
    /// There is nothing to edit: this device knew that it was deleted.
    Nothing,
}

/// What the passkey is, by the edits that were acknowledged, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Truth {
    name: String,
    deleted: bool,
    version: u64,
    created: usize,
}

/// Two members that both know the same passkey.
fn scene() -> (World, CredentialId) {
    let mut world = World::small(11, Config::default(), 1, &[Role::Honest, Role::Honest]);
    world.start().unwrap();
    world.complete(0, Errand::CreateAccount).unwrap();
    let enrol = Errand::Enrol { pin: PIN.to_owned(), label: "laptop".to_owned() };
    assert!(matches!(world.complete(0, enrol).unwrap(), End::Done(_)));
    let join = Errand::Join { pin: PIN.to_owned(), label: "phone".to_owned() };
    assert!(matches!(world.complete(1, join).unwrap(), End::Done(_)));
    let create = creation(&world, "ada");
    let End::Done(Outcome::Created(id)) = world.complete(0, create).unwrap() else { panic!("not made") };
    sync(&mut world, 0);
    sync(&mut world, 1);
    (world, id)
}

fn creation(world: &World, user_name: &str) -> Errand {
    let rp_id = world.people[0].rp_ids[0].clone();
    Errand::Create { rp_id, user_name: user_name.to_owned(), exclude: Vec::new(), alg: -7, verified: false }
}

/// One request or reading, alone; how the errand ended.
fn carry_out(world: &mut World, at: usize, errand: Errand) -> End {
    world.take_end(at);
    world.set_out(at, errand).unwrap();
    if let Some(end) = world.take_end(at) {
        return end;
    }
    world.exchange(at, None).unwrap();
    world.take_end(at).expect("no fault is in the way")
}

fn sync(world: &mut World, at: usize) {
    let end = carry_out(world, at, Errand::Sync);
    assert!(matches!(end, End::Done(Outcome::Synced)), "{end:?}");
}

fn errand(world: &World, id: CredentialId, edit: Edit) -> Errand {
    match edit {
        Edit::Rename(name) => Errand::RenamePasskey { id, user_name: name.to_owned() },
        Edit::Delete => Errand::Delete { id },
        Edit::Create => creation(world, "another"),
    }
}

fn crossed(world: &World, at: usize, before: &Passkey, edit: Edit) -> Crossed {
    let home = &world.devices[at].home;
    match edit {
        Edit::Rename(name) => {
            RenamePasskey::new(before.id, Some(name.to_owned()), None).crossed(before, home)
        }
        Edit::Delete => DeletePasskey::new(before.id, User::Unverified).crossed(before, home),
        Edit::Create => panic!("a new passkey meets none"),
    }
    .unwrap()
}

/// As the agent does it: the edit; if another device was quicker, a sync and a look whether the wish still holds.
fn edit(world: &mut World, at: usize, id: CredentialId, edit: Edit, truth: &mut Truth) -> Told {
    let before = latest(&world.devices[at].home, id).unwrap();
    if before.deleted && edit != Edit::Create {
        return Told::Nothing;
    }
    let current = edit == Edit::Create || (!truth.deleted && before.version == truth.version);
    let wanted = errand(world, id, edit);
    match carry_out(world, at, wanted.clone()) {
        End::Done(_) => {
            assert!(current, "{edit:?} wrote over what this device had not seen");
            truth.take(edit);
            Told::Done
        }
        End::Refused(refusal) => {
            assert!(!current && is_crossed(refusal.code), "{edit:?}: {refusal}");
            sync(world, at);
            match crossed(world, at, &before, edit) {
                Crossed::Done(_) => Told::DoneAlready,
                Crossed::Refused(refusal) => {
                    assert_eq!(refusal.code, Code::Conflict);
                    Told::Conflict
                }
                Crossed::Again(_) => {
                    let end = carry_out(world, at, wanted);
                    assert!(matches!(end, End::Done(_)), "{end:?}");
                    truth.take(edit);
                    Told::DoneAgain
                }
            }
        }
        End::Open(why) => panic!("{edit:?}: {why}"),
    }
}

impl Truth {
    fn take(&mut self, edit: Edit) {
        match edit {
            Edit::Create => self.created += 1,
            Edit::Rename(name) => {
                self.name = name.to_owned();
                self.version += 1;
            }
            Edit::Delete => {
                self.deleted = true;
                self.version += 1;
            }
        }
    }
}

/// What a device believes at the end: the passkey and how many there are, with the root that the ledger seals.
fn end_of(world: &mut World, at: usize, id: CredentialId) -> (Truth, keyferry_wire::Hash) {
    sync(world, at);
    let home = &world.devices[at].home;
    let mut map = Map::new();
    for row in &home.vault.rows {
        map.set(vault_key(&row.id), vault_value(row)).unwrap();
    }
    assert_eq!(map.root(), home.head.unwrap().vault_root, "the rows are what the vault root says");
    let Passkey { version, deleted, metadata, .. } = latest(home, id).unwrap();
    let created = home.vault.rows.len() - 1;
    (Truth { name: metadata.user_name, deleted, version, created }, map.root())
}

/// Places at which device 0 acts, of all orders of two scripts of three steps.
fn orders() -> Vec<[usize; 6]> {
    let all = (0u32..64).filter(|mask| mask.count_ones() == 3);
    all.map(|mask| std::array::from_fn(|step| usize::from(mask >> step & 1 == 0))).collect()
}

#[test]
fn two_devices_that_edit_at_once_in_every_order_end_alike_and_lose_nothing_untold() {
    let (scene, id) = scene();
    let first = latest(&scene.devices[0].home, id).unwrap();
    let own = [["laptop name", "same name"], ["phone name", "same name"]];
    let firsts = |at: usize| [Edit::Rename(own[at][0]), Edit::Delete, Edit::Create];
    let seconds = |at: usize| [Edit::Rename(own[at][1]), Edit::Delete];
    let mut plays = 0;
    let mut told = BTreeMap::new();
    for order in orders() {
        for combination in 0..36 {
            let [a, b, c, d] = [combination % 3, combination / 3 % 2, combination / 6 % 3, combination / 18];
            let scripts = [[firsts(0)[a], seconds(0)[b]], [firsts(1)[c], seconds(1)[d]]];
            let mut world = scene.fork(plays);
            let mut truth =
                Truth { name: "ada".to_owned(), deleted: false, version: first.version, created: 0 };
            let mut done = [0; 2];
            for at in order {
                match done[at] {
                    // An edit, a sync, an edit.
                    0 | 2 => {
                        let end = edit(&mut world, at, id, scripts[at][done[at] / 2], &mut truth);
                        *told.entry(end).or_insert(0) += 1;
                    }
                    _ => sync(&mut world, at),
                }
                done[at] += 1;
            }
            let ends = [end_of(&mut world, 0, id), end_of(&mut world, 1, id)];
            assert_eq!(ends[0], ends[1], "{order:?} {scripts:?}");
            assert_eq!(ends[0].0, truth, "{order:?} {scripts:?}");
            plays += 1;
        }
    }
    println!("{plays} plays; edits by what their users were told: {told:?}");
    assert_eq!((plays, told.len()), (720, 5), "every way to end occurs");
}
