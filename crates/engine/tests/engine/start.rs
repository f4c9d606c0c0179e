//! Genesis, restart, and every handed-over part that does not hold.

use crate::client::{As, Device, Session, identity, knock};
use crate::host::{Host, NAME};
use crate::platform::Seeded;
use crate::world::{PASSWORD, World, settled, world};
use keyferry_tlog::{Note, SignedCheckpoint, VerifierKey};
use keyferry_wire::command::{Answer, Command, RenameDevice};
use keyferry_wire::door::*;
use keyferry_wire::ledger::{Class, LEAF_LEN, Leaf};

fn classes(batch: &Batch) -> Vec<Class> {
    batch.leaves.chunks(LEAF_LEN).map(|leaf| Leaf::from_bytes(leaf).unwrap().class).collect()
}

/// A host with a log of some length, stopped before `Load`.
fn stopped(shards: u16) -> (Host, Load) {
    let mut world = World::new(5, shards);
    world.member("ann");
    world.host.persist();
    let mut host = world.host;
    host.engine = keyferry_engine::Engine::default();
    host.disk = host.durable.clone();
    let load = host.load_message();
    (host, load)
}

fn fault_after(shards: u16, bend: impl FnOnce(&mut Host, &mut Load)) -> String {
    let (mut host, mut load) = stopped(shards);
    bend(&mut host, &mut load);
    match host.send(ToEnclave::Load(load)) {
        FromEnclave::Fault(text) => text,
        other => panic!("the enclave went on: {other:?}"),
    }
}

#[test]
fn genesis_begins_each_log_with_boot_and_seal() {
    let mut host = Host::new(1, 3);
    let loaded = host.start();
    assert_eq!(loaded.batches.len(), 3);
    for batch in &loaded.batches {
        assert_eq!(classes(batch), [Class::Boot, Class::Seal]);
        assert_eq!((batch.number, batch.first_leaf), (1, 0));
    }
    let boots: std::collections::BTreeSet<_> =
        loaded.batches.iter().map(|batch| batch.leaves[..LEAF_LEN].to_vec()).collect();
    assert_eq!(boots.len(), 3, "each BOOT is one of a kind");
}

#[test]
fn checkpoints_are_signed_by_the_keys_that_were_named() {
    let mut host = Host::new(1, 2);
    let loaded = host.start();
    for (batch, key) in loaded.batches.iter().zip(&loaded.log_keys) {
        let key = VerifierKey::parse(key).unwrap();
        let origin = format!("{NAME}/{}", batch.shard.0);
        let checkpoint =
            SignedCheckpoint::open(&Note::parse(&batch.checkpoint).unwrap(), &key, &origin).unwrap();
        assert_eq!(checkpoint.size, 2);
    }
}

#[test]
fn a_restart_goes_on_with_the_same_log_under_the_same_keys() {
    let mut host = Host::new(1, 2);
    let first = host.start();
    host.persist();
    let second = host.start();
    assert_eq!(first.log_keys, second.log_keys);
    assert_eq!(first.service, second.service);
    for batch in &second.batches {
        assert_eq!((batch.number, batch.first_leaf), (2, 2));
        assert_eq!(classes(batch), [Class::Boot, Class::Seal]);
    }
    assert_ne!(first.instance, second.instance);
    assert_ne!(first.batches[0].leaves, second.batches[0].leaves);
}

#[test]
fn what_was_written_before_a_restart_is_served_after_it() {
    let (mut world, mut ann) = settled();
    let before = world.status(&mut ann);
    world.restart();
    assert_eq!(world.status(&mut ann), before);
}

#[test]
fn the_boot_of_a_second_enclave_on_one_disk_fences_the_first() {
    let (mut world, mut ann) = settled();
    let mut session = world.session();
    let tail = world.host.durable.logs[0].batch;
    let first = std::mem::take(&mut world.host.engine);
    world.restart();
    assert_eq!(world.host.durable.logs[0].batch, tail + 1);
    world.host.engine = first;
    // The first enclave still writes, on rows that it knows, under a number that its rival's BOOT has taken: the
    // store's compare-and-swap refuses the batch, and its answer waits for ever.
    let log = &mut world.host.disk.logs[0];
    log.batch = tail;
    log.leaves.truncate(log.leaves.len() - 2);
    let rename = RenameDevice { device: ann.id, label: "desk".to_owned() };
    let id = ann.request_id();
    let request = ann.request(&session, As::Member, id, &[Command::RenameDevice(rename)]);
    let frame = session.seal(&request);
    let (_, body) = world.host.submit(frame);
    assert_eq!(body, None, "nothing is said before the batch is durable");
    assert_eq!(world.host.flying.back().unwrap().number, tail + 1);
}

#[test]
fn nothing_is_answered_before_every_boot_is_durable() {
    let mut host = Host::new(1, 2);
    host.start();
    let mut random = Seeded::new(9);
    let evidence = host.evidence.clone().unwrap();
    let (_, open) = knock(&mut random, &evidence);
    assert_eq!(host.open(open.clone()), OutBody::Dropped(Drop::Starting));
    // One of two shards is not enough.
    let committed = vec![BatchRef { shard: keyferry_wire::ShardId(0), number: 1 }];
    let turn = Turn { now_ms: host.now_ms, committed, opens: Vec::new(), work: Vec::new() };
    assert!(matches!(host.send(ToEnclave::Turn(turn)), FromEnclave::Turned(_)));
    assert_eq!(host.open(open.clone()), OutBody::Dropped(Drop::Starting));
    let committed = vec![BatchRef { shard: keyferry_wire::ShardId(1), number: 1 }];
    let turn = Turn { now_ms: host.now_ms, committed, opens: Vec::new(), work: Vec::new() };
    assert!(matches!(host.send(ToEnclave::Turn(turn)), FromEnclave::Turned(_)));
    assert!(matches!(host.open(open), OutBody::Opened(_)));
}

#[test]
fn word_of_a_batch_that_was_never_made_starts_nothing() {
    let mut host = Host::new(1, 1);
    host.start();
    let refs = [(0, 0), (0, 2), (0, u64::MAX), (7, 1)];
    let committed = refs.map(|(shard, number)| BatchRef { shard: keyferry_wire::ShardId(shard), number });
    let turn =
        Turn { now_ms: host.now_ms, committed: committed.to_vec(), opens: Vec::new(), work: Vec::new() };
    assert!(matches!(host.send(ToEnclave::Turn(turn)), FromEnclave::Turned(_)));
    let evidence = host.evidence.clone().unwrap();
    let (_, open) = knock(&mut Seeded::new(9), &evidence);
    assert_eq!(host.open(open), OutBody::Dropped(Drop::Starting));
}

#[test]
fn the_evidence_for_the_key_broker_opens_no_channel() {
    let mut world = world();
    let greeting = world.host.greeting.clone().unwrap();
    let (_, open) = knock(&mut world.random, &greeting);
    assert_eq!(world.host.open(open), OutBody::Dropped(Drop::Evidence));
}

#[test]
fn a_sound_load_is_accepted() {
    let (mut host, load) = stopped(2);
    assert!(matches!(host.send(ToEnclave::Load(load)), FromEnclave::Loaded(_)));
}

#[test]
fn every_bit_of_the_seal_matters() {
    let (host, load) = stopped(1);
    drop(host);
    let len = load.tails[0].seal.len();
    for byte in (0..len).step_by(7) {
        let text = fault_after(1, |_, load| load.tails[0].seal.0[byte] ^= 1);
        assert!(text.contains("tail"), "{text}");
    }
}

#[test]
fn a_tampered_frontier_is_refused() {
    assert!(fault_after(1, |_, load| load.tails[0].frontier[0][0] ^= 1).contains("tail"));
    assert!(fault_after(1, |_, load| load.tails[0].frontier.truncate(0)).contains("tail"));
    assert!(fault_after(1, |_, load| load.tails[0].frontier.push([0; 32])).contains("tail"));
}

#[test]
fn a_tampered_inclusion_proof_is_refused() {
    assert!(fault_after(1, |_, load| load.tails[0].inclusion[0][0] ^= 1).contains("tail"));
    assert!(fault_after(1, |_, load| load.tails[0].inclusion.truncate(0)).contains("tail"));
}

#[test]
fn a_tampered_checkpoint_is_refused() {
    let bend = |from: &'static str, to: &'static str| {
        fault_after(1, move |_, load| {
            let changed = load.tails[0].checkpoint.replacen(from, to, 1);
            assert_ne!(changed, load.tails[0].checkpoint);
            load.tails[0].checkpoint = changed;
        })
    };
    assert!(bend("log.example/0\n", "log.example/1\n").contains("checkpoint"));
    assert!(bend("\n\n", "\nmore\n\n").contains("checkpoint"));
    assert!(fault_after(1, |_, load| load.tails[0].checkpoint.clear()).contains("checkpoint"));
}

#[test]
fn an_event_in_the_place_of_the_seal_is_refused() {
    let text = fault_after(1, |host, load| {
        // A tail that ends one leaf earlier has no checkpoint; one that names another leaf as the last has no proof.
        let log = &host.durable.logs[0];
        load.tails[0].seal = log.leaves[log.leaves.len() - 2].clone().into();
    });
    assert!(text.contains("tail"));
}

#[test]
fn tails_of_two_shards_cannot_be_exchanged() {
    assert!(fault_after(2, |_, load| load.tails.swap(0, 1)).contains("missing"));
    let text = fault_after(2, |_, load| {
        load.tails.swap(0, 1);
        load.tails[0].shard.0 = 0;
        load.tails[1].shard.0 = 1;
    });
    assert!(text.contains("checkpoint"), "{text}");
}

#[test]
fn a_missing_or_surplus_tail_is_refused() {
    assert!(fault_after(2, |_, load| drop(load.tails.pop())).contains("missing"));
    assert!(fault_after(2, |_, load| load.tails.push(load.tails[0].clone())).contains("missing"));
    assert!(fault_after(1, |_, load| load.service = None).contains("missing"));
}

#[test]
fn a_tampered_service_row_is_refused() {
    let bends: [fn(&mut ServiceRow); 3] =
        [|row| row.sealed.0[20] ^= 1, |row| row.log_id[0] ^= 1, |row| row.sealed.0.truncate(10)];
    for bend in bends {
        let text = fault_after(1, |_, load| bend(load.service.as_mut().unwrap()));
        assert!(text.contains("service key"), "{text}");
    }
    assert!(fault_after(1, |_, load| load.service.as_mut().unwrap().root = 2).contains("name or number"));
}

#[test]
fn another_root_key_is_refused() {
    let text = fault_after(1, |host, load| {
        host.root = [0x77; 32];
        // The same enclave, the same challenge, but another key in the release.
        let challenge = challenge_of(host);
        load.release = host.release(&challenge);
    });
    assert!(text.contains("service key"), "{text}");
}

#[test]
fn a_custody_level_that_the_broker_did_not_state_is_refused() {
    let text = fault_after(1, |_, load| load.release.custody_level = 3);
    assert!(text.contains("release"), "{text}");
}

/// The challenge is the nonce of the evidence that answered it.
fn challenge_of(host: &Host) -> [u8; 32] {
    use base64::Engine as _;
    let evidence = host.greeting.clone().unwrap();
    let data: serde_json::Value = serde_json::from_slice(&evidence.runtime_data).unwrap();
    let nonce = data["nonce"].as_str().unwrap().to_owned();
    base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(nonce).unwrap().try_into().unwrap()
}

#[test]
fn a_release_for_another_challenge_or_enclave_is_refused() {
    let text = fault_after(1, |host, load| load.release = host.release(&[1; 32]));
    assert!(text.contains("release"), "{text}");
    let text = fault_after(1, |_, load| {
        let mut other = Host::new(77, 1);
        let challenge = other.greet();
        load.release = other.release(&challenge);
    });
    assert!(text.contains("release"), "{text}");
    assert!(fault_after(1, |_, load| load.release.root = 2).contains("release"));
}

#[test]
fn another_name_or_shard_count_is_refused() {
    assert!(fault_after(1, |_, load| load.name = "other.example".to_owned()).contains("name or number"));
    assert!(fault_after(2, |_, load| load.shards = 1).contains("name or number"));
    // Not even with the row bent to fit.
    let text = fault_after(1, |_, load| {
        load.name = "other.example".to_owned();
        load.service.as_mut().unwrap().name = "other.example".to_owned();
    });
    assert!(text.contains("service key"), "{text}");
    let text = fault_after(2, |_, load| {
        load.shards = 1;
        load.tails.pop();
        load.service.as_mut().unwrap().shards = 1;
    });
    assert!(text.contains("service key"), "{text}");
}

#[test]
fn a_name_that_could_hide_lines_in_a_checkpoint_is_refused() {
    for name in ["", "a\nb", "a b", "a+b"] {
        let mut host = Host::new(1, 1);
        let mut load = host.load_message();
        load.name = name.to_owned();
        assert!(matches!(host.send(ToEnclave::Load(load)), FromEnclave::Fault(_)), "{name:?}");
    }
}

#[test]
fn a_deployment_without_shards_is_refused() {
    let mut host = Host::new(1, 1);
    let mut load = host.load_message();
    load.shards = 0;
    assert!(matches!(host.send(ToEnclave::Load(load)), FromEnclave::Fault(_)));
}

#[test]
fn after_a_fault_the_enclave_says_nothing_more() {
    let (mut host, mut load) = stopped(1);
    let good = load.clone();
    load.tails[0].seal.0[0] ^= 1;
    assert!(matches!(host.send(ToEnclave::Load(load)), FromEnclave::Fault(_)));
    assert!(matches!(host.send(ToEnclave::Load(good)), FromEnclave::Fault(_)));
    let hello = Hello { version: 1, challenge: [1; 32], now_ms: 0 };
    assert!(matches!(host.send(ToEnclave::Hello(hello)), FromEnclave::Fault(_)));
}

#[test]
fn messages_out_of_order_are_refused() {
    let mut host = Host::new(1, 1);
    let turn = Turn { now_ms: 0, committed: Vec::new(), opens: Vec::new(), work: Vec::new() };
    assert!(matches!(host.send(ToEnclave::Turn(turn)), FromEnclave::Fault(_)));
    assert!(matches!(host.send(ToEnclave::Refresh(Refresh { now_ms: 0 })), FromEnclave::Fault(_)));
    let mut world = world();
    let load = world.host.load_message_again();
    assert!(matches!(world.host.send(ToEnclave::Load(load)), FromEnclave::Fault(_)));
}

#[test]
fn fresh_evidence_has_a_fresh_channel_key_and_open_sessions_go_on() {
    let (mut world, mut ann) = settled();
    let mut old = Session::open(&mut world.host, &mut world.random);
    let before = world.host.evidence.clone().unwrap();
    world.refresh();
    let after = world.host.evidence.clone().unwrap();
    assert_ne!(crate::client::chan_key(&before), crate::client::chan_key(&after));
    let id = ann.request_id();
    let request = ann.request(&old, As::Member, id, &[Command::PinStatus]);
    assert!(world.send(&mut old, &request).is_ok());
    // The old evidence is still served for ten minutes, and then no more.
    let (_, open) = knock(&mut world.random, &before);
    assert!(matches!(world.host.open(open.clone()), OutBody::Opened(_)));
    world.wait(10 * 60 * 1000 + 1);
    assert_eq!(world.host.open(open), OutBody::Dropped(Drop::Evidence));
    assert_eq!(world.status(&mut ann).left, 10);
}

#[test]
fn a_new_deployment_does_not_know_the_accounts_of_another() {
    let (_, _) = settled();
    let mut other = World::new(2, 1);
    let mut device = Device::new(&mut other.random);
    let commands = [Command::Authenticate(identity("ann", PASSWORD))];
    let answers = other.ask(&mut device, As::Stranger, &commands);
    assert!(matches!(&answers[..], [Answer::Refused(_)]));
}
