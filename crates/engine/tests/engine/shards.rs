//! Several shards: each with its own log, batches and word of durability.

use crate::client::{As, Device, Session};
use crate::host::map_value;
use crate::world::{PIN, World, attempt};
use keyferry_tlog::{Frontier, Note, SignedCheckpoint, VerifierKey, leaf_hash};
use keyferry_wire::command::{Answer, Command, RenameDevice};
use keyferry_wire::door::{BatchRef, Drop, Need, OutBody, Work};
use keyferry_wire::ledger::{Class, LEAF_LEN, Leaf};
use keyferry_wire::{ShardId, limits};

/// Two accounts that stand in different shards.
fn two() -> (World, Device, Device) {
    let mut world = World::new(3, 2);
    let mut members: Vec<(ShardId, Device)> = Vec::new();
    for number in 0.. {
        let mut device = world.member(&format!("user {number}"));
        world.set_pin(&mut device, PIN);
        let shard = world.host.disk.accounts[&device.account.unwrap()].shard;
        if members.iter().all(|(other, _)| *other != shard) {
            members.push((shard, device));
        }
        if members.len() == 2 {
            break;
        }
    }
    members.sort_by_key(|(shard, _)| *shard);
    let (_, second) = members.pop().unwrap();
    let (_, first) = members.pop().unwrap();
    (world, first, second)
}

fn rename(device: &Device) -> Command {
    Command::RenameDevice(RenameDevice { device: device.id, label: "desk".to_owned() })
}

#[test]
fn accounts_of_two_shards_write_one_batch_each_in_one_turn() {
    let (mut world, mut ann, mut ben) = two();
    let mut work = Vec::new();
    for device in [&mut ann, &mut ben] {
        let mut session = world.session();
        let id = device.request_id();
        let command = rename(device);
        let request = device.request(&session, As::Member, id, &[command]);
        work.push(world.host.work(session.seal(&request)));
    }
    let before = world.host.batches.len();
    assert!(world.host.turn(Vec::new(), work).is_empty());
    let batches = &world.host.batches[before..];
    let shards: Vec<_> = batches.iter().map(|batch| batch.shard).collect();
    assert_eq!(shards, [ShardId(0), ShardId(1)]);
    assert!(batches.iter().all(|batch| batch.accounts.len() == 1));
}

#[test]
fn the_word_of_one_shard_releases_no_answer_of_another() {
    let (mut world, mut ann, mut ben) = two();
    let mut tickets = Vec::new();
    let mut work = Vec::new();
    for device in [&mut ann, &mut ben] {
        let status = world.status(device);
        let trying = attempt(device, &status, PIN);
        let mut session = world.session();
        let id = device.request_id();
        let request = device.request(&session, As::Member, id, &[Command::Begin(trying.begin)]);
        let item = world.host.work(session.seal(&request));
        tickets.push(item.ticket);
        work.push(item);
    }
    assert!(world.host.turn(Vec::new(), work).is_empty());
    let batches: Vec<_> = world.host.flying.iter().cloned().collect();
    let word = |shard: u16, number| vec![BatchRef { shard: ShardId(shard), number }];
    let mut turn = |committed| {
        let now_ms = world.host.now_ms;
        let turn = keyferry_wire::door::Turn { now_ms, committed, opens: Vec::new(), work: Vec::new() };
        match world.host.send(keyferry_wire::door::ToEnclave::Turn(turn)) {
            keyferry_wire::door::FromEnclave::Turned(turned) => turned.out,
            other => panic!("{other:?}"),
        }
    };
    // The number of the one under the name of the other.
    if batches[0].number != batches[1].number {
        assert!(turn(word(1, batches[0].number)).is_empty());
    }
    let out = turn(word(0, batches[0].number));
    assert_eq!(out.iter().map(|out| out.ticket).collect::<Vec<_>>(), [tickets[0]]);
    let out = turn(word(1, batches[1].number));
    assert_eq!(out.iter().map(|out| out.ticket).collect::<Vec<_>>(), [tickets[1]]);
}

#[test]
fn an_account_shown_in_another_shard_is_refused() {
    let (mut world, mut ann, _) = two();
    world.host.lie = Some(Box::new(|view| view.shard = ShardId(1)));
    assert_eq!(world.try_ask(&mut ann, As::Member, &[Command::PinStatus]), Err(Drop::Store));
}

#[test]
fn members_of_all_shards_are_served_after_a_restart() {
    let (mut world, mut ann, mut ben) = two();
    world.restart();
    for device in [&mut ann, &mut ben] {
        world.enter_pin(device, PIN).unwrap();
    }
}

#[test]
fn every_checkpoint_is_that_of_its_leaves_and_every_seal_that_of_its_rows() {
    let (mut world, mut ann, mut ben) = two();
    for device in [&mut ann, &mut ben] {
        world.create(device, "example.com");
        world.enter_pin(device, PIN).unwrap();
    }
    world.restart();
    let keys = world.host.start().log_keys;
    for (number, log) in (0..).zip(&world.host.disk.logs) {
        let mut frontier = Frontier::new();
        log.leaves.iter().for_each(|leaf| frontier.push(leaf_hash(leaf)));
        let key = VerifierKey::parse(&keys[usize::from(number)]).unwrap();
        let note = Note::parse(&log.checkpoint).unwrap();
        let checkpoint = SignedCheckpoint::open(&note, &key, &format!("log.example/{number}")).unwrap();
        assert_eq!((checkpoint.size, checkpoint.root), (frontier.size(), frontier.root()));
        let seal = Leaf::from_bytes(log.leaves.last().unwrap()).unwrap();
        assert_eq!((seal.class, seal.batch), (Class::Seal, log.batch));
        assert_eq!(seal.tag, world.host.disk.map(ShardId(number)).root());
    }
    // And each state is in the map under its key.
    for stored in world.host.disk.accounts.values() {
        let map = world.host.disk.map(stored.shard);
        assert_eq!(map.get(&stored.map_key), Ok(Some(map_value(&stored.state))));
    }
}

#[test]
fn an_owner_reads_every_entry_of_its_account_and_no_other() {
    let (mut world, mut ann, mut ben) = two();
    world.create(&mut ann, "example.com");
    world.enter_pin(&mut ann, "111111").unwrap_err();
    world.create(&mut ben, "example.com");
    let account = ann.account.unwrap();
    let stored = world.host.disk.accounts[&account].clone();
    let log = &world.host.disk.logs[usize::from(stored.shard.0)];
    let audit = keyferry_crypto::tree::AuditKey::from_bytes(ann.secrets.as_ref().unwrap().audit_key);
    let mut head = keyferry_tlog::state::NO_HEAD;
    let mut kinds = Vec::new();
    for (seq, at) in (1..).zip(&stored.entries) {
        let bytes = &log.leaves[usize::try_from(*at).unwrap()];
        let leaf = Leaf::from_bytes(bytes).unwrap();
        assert_eq!(leaf.tag, audit.tag(seq));
        let keys = audit.leaf_keys(seq, &leaf.salt);
        let plain = keys.open_event(&[], &leaf.sealed).unwrap();
        assert_eq!(leaf.commitment, keys.commitment(&[plain.expose()]));
        let event = keyferry_wire::ledger::Event::from_bytes(plain.expose()).unwrap();
        assert_eq!(event.seq, seq);
        kinds.push(event.kind.as_str());
        head = keyferry_tlog::state::account_head(&head, &leaf_hash(bytes));
    }
    assert_eq!(
        kinds,
        ["create-account", "enrol", "prepare", "expose", "create-passkey", "attempt", "result"]
    );
    assert_eq!((head, stored.state.seq), (stored.state.head, 7));
    let hers: Vec<_> = (1..=50).map(|seq| audit.tag(seq)).collect();
    let found = world.host.disk.logs.iter().flat_map(|log| &log.leaves);
    let found = found.filter(|leaf| hers.contains(&Leaf::from_bytes(leaf).unwrap().tag)).count();
    assert_eq!(found, 7);
}

/// Requests of eight renames each, by members of one shard.
fn renames(world: &mut World, device: &mut Device) -> (Work, Session) {
    let mut session = world.session();
    let id = device.request_id();
    let eight = vec![rename(device); limits::COMMANDS_MAX];
    let request = device.request(&session, As::Member, id, &eight);
    (world.host.work(session.seal(&request)), session)
}

#[test]
fn an_account_writes_once_in_a_batch() {
    let (mut world, mut ann, _) = two();
    let work = (0..3).map(|_| renames(&mut world, &mut ann).0).collect();
    let out = world.host.turn(Vec::new(), work);
    assert_eq!(out.len(), 2);
    assert!(out.iter().all(|out| out.body == OutBody::Busy));
}

#[test]
fn a_full_batch_makes_the_rest_wait_for_the_next() {
    let mut world = World::new(4, 1);
    let full = limits::BATCH_EVENTS_MAX / limits::COMMANDS_MAX;
    let mut members: Vec<_> = (0..=full).map(|number| world.member(&format!("user {number}"))).collect();
    let work: Vec<_> = members.iter_mut().map(|device| renames(&mut world, device).0).collect();
    let last = work[full].ticket;
    let out = world.host.turn(Vec::new(), work);
    assert_eq!(out.len(), 1);
    assert_eq!((out[0].ticket, &out[0].body), (last, &OutBody::Busy));
    let batch = world.host.flying.back().unwrap();
    assert_eq!(batch.leaves.len() / LEAF_LEN, limits::BATCH_EVENTS_MAX + 1);
    let need = Need {
        account: members[full].account.unwrap(),
        shard: ShardId(0),
        map_key: [0; 32],
        devices: vec![members[full].id],
        passkeys: Vec::new(),
        large_blobs: Vec::new(),
    };
    let work = world.host.resume(last, &need);
    assert!(world.host.turn(Vec::new(), vec![work]).is_empty());
    assert_eq!(world.host.flying.back().unwrap().accounts.len(), 1);
}

#[test]
fn turns_that_run_ahead_of_durability_are_answered_in_their_order() {
    let (mut world, mut ann, mut ben) = two();
    let mut waiting = Vec::new();
    for round in 0..6 {
        let device = if round % 2 == 0 { &mut ann } else { &mut ben };
        let mut session = world.session();
        let id = device.request_id();
        let command = rename(device);
        let request = device.request(&session, As::Member, id, &[command]);
        let frame = session.seal(&request);
        let (ticket, body) = world.host.submit(frame);
        assert_eq!(body, None);
        waiting.push((ticket, session));
    }
    world.host.persist();
    let out = world.host.turn(Vec::new(), Vec::new());
    assert_eq!(out.len(), 6);
    for (out, (ticket, session)) in out.into_iter().zip(&waiting) {
        assert_eq!(out.ticket, *ticket);
        let reply = world.read(session, out.body).unwrap();
        assert_eq!(reply.answers, [Answer::Renamed]);
        assert!(reply.checkpoint.is_some());
    }
}
