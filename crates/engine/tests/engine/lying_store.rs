//! A store that shows yesterday's rows, other people's rows, or none. Each lie is dropped as a fault of the store.

use crate::client::{As, Device, assert_for, create_for, identity};
use crate::host::{Disk, Lie};
use crate::world::{PASSWORD, PIN, WRONG, World, settled};
use keyferry_tlog::state;
use keyferry_wire::AccountId;
use keyferry_wire::command::*;
use keyferry_wire::door::{AccountView, Drop, OutBody, Work};
use keyferry_wire::publish::Terminal;

/// Asks under a lie: it must be found out, and the truth must still work afterwards.
fn caught(world: &mut World, device: &mut Device, commands: &[Command], lie: Lie) {
    world.host.lie = Some(lie);
    let answer = world.try_ask(device, As::Member, commands);
    assert_eq!(answer, Err(Drop::Store), "{commands:?}");
    world.host.lie = None;
}

fn works(world: &mut World, device: &mut Device, commands: &[Command]) {
    let answers = world.try_ask(device, As::Member, commands).unwrap();
    assert!(answers.iter().all(|answer| !matches!(answer, Answer::Refused(_))), "{answers:?}");
}

/// Shows an account as an older disk had it.
fn as_of(old: Disk, account: AccountId) -> Lie {
    Box::new(move |view| {
        let fresh = view.clone();
        let stored = &old.accounts[&account];
        view.state = Some(stored.state.clone());
        view.devices =
            fresh.devices.iter().filter_map(|row| stored.devices.get(&row.device).cloned()).collect();
    })
}

/// Shows an account with the whole proof of an older disk.
fn all_as_of(old: Disk) -> Lie {
    Box::new(move |view: &mut AccountView| {
        let need = keyferry_wire::door::Need {
            account: view.account,
            shard: view.shard,
            map_key: view.map_key,
            devices: view.devices.iter().map(|row| row.device).collect(),
            passkeys: view.passkeys.iter().map(|row| row.id).collect(),
            large_blobs: Vec::new(),
        };
        *view = old.view(&view.account, Some(&need), None);
    })
}

#[test]
fn an_account_rolled_back_to_fewer_wrong_pins_is_refused() {
    let (mut world, mut ann) = settled();
    let old = world.host.disk.clone();
    for _ in 0..10 {
        world.enter_pin(&mut ann, WRONG).unwrap_err();
    }
    let status = [Command::PinStatus];
    let account = ann.account.unwrap();
    caught(&mut world, &mut ann, &status, as_of(old.clone(), account));
    caught(&mut world, &mut ann, &status, all_as_of(old));
    assert!(world.status(&mut ann).locked);
}

#[test]
fn the_row_of_another_account_is_refused() {
    let (mut world, mut ann) = settled();
    let ben = world.member("ben");
    let his = world.host.disk.accounts[&ben.account.unwrap()].clone();
    let lies: [Lie; 3] = [
        {
            let his = his.clone();
            Box::new(move |view| view.state = Some(his.state.clone()))
        },
        {
            let his = his.clone();
            Box::new(move |view| {
                let row = his.state.row.clone();
                view.state.as_mut().unwrap().row = row;
            })
        },
        {
            let disk = world.host.disk.clone();
            Box::new(move |view| {
                view.state = Some(his.state.clone());
                view.map_key = his.map_key;
                view.proof = disk.map(view.shard).prove(&his.map_key).unwrap();
            })
        },
    ];
    for lie in lies {
        caught(&mut world, &mut ann, &[Command::PinStatus], lie);
    }
    works(&mut world, &mut ann, &[Command::PinStatus]);
}

#[test]
fn every_field_of_a_state_matters() {
    let (mut world, mut ann) = settled();
    let bends: [fn(&mut AccountView); 8] = [
        |view| view.state.as_mut().unwrap().seq += 1,
        |view| view.state.as_mut().unwrap().head[0] ^= 1,
        |view| view.state.as_mut().unwrap().vault_seq += 1,
        |view| view.state.as_mut().unwrap().vault_root[0] ^= 1,
        |view| view.state.as_mut().unwrap().row.0[40] ^= 1,
        |view| view.state.as_mut().unwrap().row.0.truncate(40),
        |view| view.map_key[0] ^= 1,
        |view| view.shard.0 += 1,
    ];
    for bend in bends {
        caught(&mut world, &mut ann, &[Command::PinStatus], Box::new(bend));
    }
}

#[test]
fn an_existing_account_cannot_be_shown_as_absent() {
    let (mut world, mut ann) = settled();
    world.member("ben");
    let lies: [Lie; 3] = [
        Box::new(|view| view.state = None),
        Box::new(|view| {
            view.state = None;
            view.proof.terminal = Terminal::Empty;
        }),
        Box::new(|view| {
            view.state = None;
            view.devices.clear();
            view.proof.siblings.clear();
            view.proof.terminal = Terminal::Empty;
        }),
    ];
    for lie in lies {
        caught(&mut world, &mut ann, &[Command::PinStatus], lie);
    }
}

#[test]
fn an_absent_account_cannot_be_shown_as_another() {
    let (mut world, ann) = settled();
    let hers = world.host.disk.accounts[&ann.account.unwrap()].clone();
    let mut stranger = world.device();
    world.host.lie = Some(Box::new(move |view| {
        view.state = Some(hers.state.clone());
    }));
    let commands = [Command::Authenticate(identity("nobody", PASSWORD))];
    assert_eq!(world.try_ask(&mut stranger, As::Nobody, &commands), Err(Drop::Store));
}

#[test]
fn a_view_of_another_account_is_not_taken_for_the_one_asked_about() {
    let (mut world, mut ann) = settled();
    let ben = world.member("ben");
    let mut session = world.session();
    let id = ann.request_id();
    let request = ann.request(&session, As::Member, id, &[Command::PinStatus]);
    let mut frame = session.seal(&request);
    // The frame's hint says ben; so does the view.
    (frame.account, frame.device) = (ben.account, Some(ben.id));
    let work = world.host.work(frame);
    let ticket = work.ticket;
    let out = world.host.turn(Vec::new(), vec![work]);
    let OutBody::Need(need) = out[0].body.clone() else { panic!("{out:?}") };
    assert_eq!(need.account, ann.account.unwrap());
    // Handed in again with ben's view: asked again, for the same account.
    let view = world.host.disk.view(&ben.account.unwrap(), None, None);
    let out = world.host.turn(Vec::new(), vec![Work { ticket, frame: None, view: Some(view) }]);
    assert!(matches!(&out[0].body, OutBody::Need(need) if need.account == ann.account.unwrap()));
    // With ben's view under ann's name: a lie.
    let mut view = world.host.disk.view(&ben.account.unwrap(), None, None);
    view.account = ann.account.unwrap();
    let out = world.host.turn(Vec::new(), vec![Work { ticket, frame: None, view: Some(view) }]);
    assert_eq!(out[0].body, OutBody::Dropped(Drop::Store));
    // And the ticket is used up.
    let out = world.host.turn(Vec::new(), vec![Work { ticket, frame: None, view: None }]);
    assert_eq!(out[0].body, OutBody::Dropped(Drop::Frame));
}

#[test]
fn the_device_row_of_another_device_is_refused() {
    let (mut world, mut ann) = settled();
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    let account = ann.account.unwrap();
    let his = world.host.disk.accounts[&account].devices[&phone.id].clone();
    let own = ann.id;
    let lie: Lie = Box::new(move |view| {
        for row in view.devices.iter_mut().filter(|row| row.device == own) {
            row.row = his.row.clone();
        }
    });
    caught(&mut world, &mut ann, &[Command::PinStatus], lie);
}

#[test]
fn an_older_device_row_is_refused() {
    let (mut world, mut ann) = settled();
    let account = ann.account.unwrap();
    let id = world.create(&mut ann, "example.com").id;
    let old = world.host.disk.accounts[&account].devices[&ann.id].clone();
    // The row forgets what was asserted since: refused.
    works(&mut world, &mut ann, &[Command::Assert(assert_for(id, "example.com"))]);
    let lie: Lie = Box::new(move |view| view.devices = vec![old.clone()]);
    caught(&mut world, &mut ann, &[Command::PinStatus], lie);
}

#[test]
fn a_member_whose_row_is_withheld_gets_no_answer_as_a_stranger() {
    let (mut world, mut ann) = settled();
    let mut session = world.session();
    let id = ann.request_id();
    let mut request = ann.unsigned(As::Member, id, &[Command::PinStatus]);
    request.key = Some(ann.hw.public().to_vec().into());
    let request = ann.sign(request, As::Member, session.transport.handshake_hash());
    let frame = session.seal(&request);
    let mut work = world.host.work(frame);
    work.view.as_mut().unwrap().devices.clear();
    let out = world.host.turn(Vec::new(), vec![work]);
    assert!(matches!(&out[0].body, OutBody::Need(need) if need.devices == [ann.id]));
}

#[test]
fn a_join_shows_all_devices_or_does_not_happen() {
    let (mut world, _) = settled();
    let mut phone = world.device();
    world.join(&mut phone, "ann", PIN).unwrap();
    let mut tablet = world.device();
    let member = world.join(&mut tablet, "ann", PIN).unwrap();
    assert_eq!(member.members.len(), 3);
    let indexes: Vec<_> = member.members.iter().map(|device| device.index).collect();
    assert_eq!(indexes, [0, 1, 2]);
}

#[test]
fn an_older_version_of_a_passkey_row_is_refused() {
    let (mut world, mut ann) = settled();
    let account = ann.account.unwrap();
    let id = world.create(&mut ann, "example.com").id;
    let old = world.host.disk.clone();
    let rename = RenamePasskey { id, version: 1, user_name: "b".into(), display_name: "B".into() };
    works(&mut world, &mut ann, &[Command::RenamePasskey(rename)]);
    let row = old.accounts[&account].passkeys[&id].clone();
    let assert = [Command::Assert(assert_for(id, "example.com"))];
    let lie: Lie = Box::new(move |view| {
        view.passkeys.iter_mut().for_each(|view| view.row = Some(row.clone()));
    });
    caught(&mut world, &mut ann, &assert, lie);
    works(&mut world, &mut ann, &assert);
}

#[test]
fn a_deleted_passkey_does_not_sign_from_its_old_row_and_its_old_proofs() {
    let (mut world, mut ann) = settled();
    let account = ann.account.unwrap();
    let id = world.create(&mut ann, "example.com").id;
    let old = world.host.disk.clone();
    let delete = DeletePasskey { id, version: 1 };
    works(&mut world, &mut ann, &[Command::DeletePasskey(delete)]);
    let assert = [Command::Assert(assert_for(id, "example.com"))];
    let vault_key = state::vault_key(&id);
    // The old row alone; with its old path in the vault; with the account's old state; with everything that was.
    let row = old.accounts[&account].passkeys[&id].clone();
    let old_view = || {
        let need = keyferry_wire::door::Need {
            account,
            shard: old.accounts[&account].shard,
            map_key: old.accounts[&account].map_key,
            devices: vec![ann.id],
            passkeys: vec![id],
            large_blobs: Vec::new(),
        };
        old.view(&account, Some(&need), None)
    };
    assert!(old_view().passkeys[0].row.as_ref().is_some_and(|row| !row.deleted), "{vault_key:?}");
    let lies: Vec<Lie> = vec![
        Box::new(move |view| view.passkeys.iter_mut().for_each(|view| view.row = Some(row.clone()))),
        {
            let passkeys = old_view().passkeys;
            Box::new(move |view| {
                if !view.passkeys.is_empty() {
                    view.passkeys.clone_from(&passkeys);
                }
            })
        },
        {
            let old = old_view();
            Box::new(move |view| {
                (view.state, view.passkeys) = (old.state.clone(), old.passkeys.clone());
            })
        },
        {
            let old = old_view();
            Box::new(move |view| *view = old.clone())
        },
    ];
    for lie in lies {
        caught(&mut world, &mut ann, &assert, lie);
    }
    let answers = world.ask(&mut ann, As::Member, &assert);
    assert_eq!(crate::world::code(&answers), keyferry_wire::refusal::Code::NoCredentials);
}

#[test]
fn a_passkey_row_of_another_account_is_refused() {
    let (mut world, mut ann) = settled();
    let mut ben = world.member("ben");
    let his = world.create(&mut ben, "example.com").id;
    let disk = world.host.disk.clone();
    let account = ben.account.unwrap();
    let assert = [Command::Assert(assert_for(his, "example.com"))];
    let lie: Lie = Box::new(move |view| {
        let need = keyferry_wire::door::Need {
            account,
            shard: view.shard,
            map_key: view.map_key,
            devices: Vec::new(),
            passkeys: view.passkeys.iter().map(|view| view.id).collect(),
            large_blobs: Vec::new(),
        };
        view.passkeys = disk.view(&account, Some(&need), None).passkeys;
    });
    caught(&mut world, &mut ann, &assert, lie);
}

#[test]
fn a_passkey_row_under_the_id_of_another_is_refused() {
    let (mut world, mut ann) = settled();
    let account = ann.account.unwrap();
    let one = world.create(&mut ann, "example.com").id;
    let two = world.create(&mut ann, "example.com").id;
    let other = world.host.disk.accounts[&account].passkeys[&two].clone();
    let assert = [Command::Assert(assert_for(one, "example.com"))];
    let lies: [Lie; 2] = [
        {
            let other = other.clone();
            Box::new(move |view| view.passkeys.iter_mut().for_each(|view| view.row = Some(other.clone())))
        },
        Box::new(move |view| {
            for view in &mut view.passkeys {
                let mut row = other.clone();
                row.id = one;
                view.row = Some(row);
            }
        }),
    ];
    for lie in lies {
        caught(&mut world, &mut ann, &assert, lie);
    }
}

#[test]
fn every_field_of_a_passkey_row_matters() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    let assert = [Command::Assert(assert_for(id, "example.com"))];
    let bends: [fn(&mut keyferry_wire::publish::PasskeyRow); 6] = [
        |row| row.version += 1,
        |row| row.vault_seq += 1,
        |row| row.deleted = true,
        |row| row.epoch += 1,
        |row| row.blob.0[20] ^= 1,
        |row| row.metadata.0[20] ^= 1,
    ];
    for bend in bends {
        let lie: Lie = Box::new(move |view| {
            view.passkeys.iter_mut().filter_map(|view| view.row.as_mut()).for_each(bend)
        });
        caught(&mut world, &mut ann, &assert, lie);
    }
}

#[test]
fn an_excluded_passkey_cannot_be_hidden() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    world.create(&mut ann, "example.org");
    let mut create = create_for("example.com");
    create.exclude = vec![id];
    let create = [Command::CreatePasskey(create)];
    let lies: [Lie; 3] = [
        // The row is withheld.
        Box::new(move |view| {
            view.passkeys.iter_mut().filter(|view| view.id == id).for_each(|view| view.row = None)
        }),
        // With a false proof of absence.
        Box::new(move |view| {
            for view in view.passkeys.iter_mut().filter(|view| view.id == id) {
                view.row = None;
                view.proof.terminal = Terminal::Empty;
            }
        }),
        // With the proof of absence of another id.
        Box::new(move |view| {
            let absent = view.passkeys.iter().find(|view| view.id != id).map(|view| view.proof.clone());
            for view in view.passkeys.iter_mut().filter(|view| view.id == id) {
                view.row = None;
                if let Some(absent) = &absent {
                    view.proof = absent.clone();
                }
            }
        }),
    ];
    for lie in lies {
        caught(&mut world, &mut ann, &create, lie);
    }
    // A host that leaves the id out altogether is asked until it shows it.
    world.host.lie = Some(Box::new(move |view| view.passkeys.retain(|view| view.id != id)));
    let mut session = world.session();
    let request_id = ann.request_id();
    let request = ann.request(&session, As::Member, request_id, &create);
    let frame = session.seal(&request);
    let work = world.host.work(frame);
    let ticket = work.ticket;
    let mut out = world.host.turn(Vec::new(), vec![work]);
    for _ in 0..3 {
        let OutBody::Need(need) = out.remove(0).body else { panic!() };
        assert!(need.passkeys.contains(&id));
        let work = world.host.resume(ticket, &need);
        out = world.host.turn(Vec::new(), vec![work]);
    }
    world.host.lie = None;
    let answers = world.ask(&mut ann, As::Member, &create);
    assert_eq!(crate::world::code(&answers), keyferry_wire::refusal::Code::Excluded);
}

#[test]
fn a_lie_costs_the_liar_only_the_request() {
    let (mut world, mut ann) = settled();
    let mut ben = world.member("ben");
    // In one turn: a lie about ann, the truth about ben.
    let mut work = Vec::new();
    let mut sessions = Vec::new();
    for device in [&mut ann, &mut ben] {
        let mut session = world.session();
        let id = device.request_id();
        let rename = RenameDevice { device: device.id, label: "desk".to_owned() };
        let request = device.request(&session, As::Member, id, &[Command::RenameDevice(rename)]);
        let frame = session.seal(&request);
        work.push(world.host.work(frame));
        sessions.push(session);
    }
    work[0].view.as_mut().unwrap().state.as_mut().unwrap().seq += 1;
    let (lied, told) = (work[0].ticket, work[1].ticket);
    let out = world.host.turn(Vec::new(), work);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].ticket, &out[0].body), (lied, &OutBody::Dropped(Drop::Store)));
    let body = world.host.settle(told);
    assert_eq!(world.read(&sessions[1], body).unwrap().answers, [Answer::Renamed]);
    works(&mut world, &mut ann, &[Command::PinStatus]);
}

#[test]
fn views_of_a_batch_ago_are_refused_while_that_batch_is_in_flight() {
    let (mut world, mut ann) = settled();
    let old = world.host.disk.clone();
    let status = world.status(&mut ann);
    let trying = crate::world::attempt(&mut ann, &status, PIN);
    let mut session = world.session();
    let id = ann.request_id();
    let request = ann.request(&session, As::Member, id, &[Command::Begin(trying.begin)]);
    let frame = session.seal(&request);
    assert_eq!(world.host.submit(frame).1, None);
    // The host shows the state before the count, as if the batch had never been.
    caught(&mut world, &mut ann, &[Command::PinStatus], all_as_of(old));
}
