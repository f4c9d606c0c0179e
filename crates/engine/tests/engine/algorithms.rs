//! Algorithms: the relying party's first that is known wins, and RSA keys come from the edge.

use crate::client::{As, Device, assert_for, create_for};
use crate::world::{World, code, settled};
use keyferry_crypto::cose::parse_public_key;
use keyferry_crypto::credential::Algorithm;
use keyferry_wire::command::*;
use keyferry_wire::door::{Drop, OutBody, Work};
use keyferry_wire::frame::RequestFrame;
use keyferry_wire::refusal::Code;
use keyferry_wire::{RequestId, limits};

fn creation(algorithms: &[i64]) -> Command {
    let mut create = create_for("example.com");
    create.algorithms = algorithms.to_vec();
    Command::CreatePasskey(create)
}

/// One request in a session of its own, sealed.
fn frame(world: &mut World, device: &mut Device, command: Command) -> (crate::client::Session, RequestFrame) {
    let id = device.request_id();
    frame_as(world, device, id, command)
}

fn frame_as(
    world: &mut World,
    device: &Device,
    id: RequestId,
    command: Command,
) -> (crate::client::Session, RequestFrame) {
    let mut session = world.session();
    let request = device.request(&session, As::Member, id, &[command]);
    let frame = session.seal(&request);
    (session, frame)
}

/// Hands a request in until it is not put off any more.
fn serve(world: &mut World, session: &crate::client::Session, frame: RequestFrame) -> Answer {
    let (ticket, mut body) = world.host.submit(frame);
    while body == Some(OutBody::Later) {
        let work = world.host.resume_with_frame(ticket);
        body = world
            .host
            .turn(Vec::new(), vec![work])
            .into_iter()
            .find(|out| out.ticket == ticket)
            .map(|o| o.body);
    }
    let body = body.unwrap_or_else(|| world.host.settle(ticket));
    world.read(session, body).unwrap().answers.remove(0)
}

#[test]
fn the_first_algorithm_of_the_relying_party_that_is_known_wins() {
    let (mut world, mut ann) = settled();
    world.host.platform.rsa_ready = 1;
    let lists: [(&[i64], i64); 6] = [
        (&[-7, -8], -7),
        (&[-8, -7], -8),
        (&[-999, -35, -7], -35),
        (&[-257, -7], -257),
        (&[-36, -37, -7, -257], -7),
        (&[-8, -8, i64::MIN], -8),
    ];
    for (list, expected) in lists {
        let (session, sent) = frame(&mut world, &mut ann, creation(list));
        let Answer::Created(created) = serve(&mut world, &session, sent) else { panic!("{list:?}") };
        assert_eq!(created.alg, expected, "{list:?}");
        let public = parse_public_key(&created.public_key).unwrap();
        assert_eq!(public.algorithm(), Algorithm::of_cose(expected).unwrap());
        assert!(created.authenticator_data.ends_with(&created.public_key));
    }
}

#[test]
fn a_passkey_of_each_algorithm_signs_in_also_after_a_restart() {
    let (mut world, mut ann) = settled();
    world.host.platform.rsa_ready = 1;
    let mut made = Vec::new();
    for alg in Algorithm::ALL.map(Algorithm::cose) {
        let (session, sent) = frame(&mut world, &mut ann, creation(&[alg]));
        let Answer::Created(created) = serve(&mut world, &session, sent) else { panic!("{alg}") };
        made.push(created);
    }
    for _ in 0..2 {
        for created in &made {
            let assert = Command::Assert(assert_for(created.id, "example.com"));
            let answers = world.ask(&mut ann, As::Member, &[assert]);
            let [Answer::Asserted(asserted)] = &answers[..] else { panic!("{answers:?}") };
            let message = [&asserted.authenticator_data[..], &[4; 32]].concat();
            let public = parse_public_key(&created.public_key).unwrap();
            assert!(public.verify(&message, &asserted.signature), "{}", created.alg);
        }
        world.restart();
    }
}

#[test]
fn a_list_of_unknown_algorithms_alone_is_not_supported() {
    let (mut world, mut ann) = settled();
    for list in [vec![], vec![-36], vec![-9, -53, 0, i64::MAX]] {
        let answers = world.ask(&mut ann, As::Member, &[creation(&list)]);
        let [Answer::Refused(refusal)] = &answers[..] else { panic!("{answers:?}") };
        assert_eq!((refusal.code, refusal.name.as_deref()), (Code::BadOptions, Some("NotSupportedError")));
    }
}

#[test]
fn an_edge_that_nobody_asks_for_rsa_makes_no_key() {
    let (mut world, mut ann) = settled();
    world.create(&mut ann, "example.com");
    assert_eq!(world.host.platform.rsa_asked, 0);
}

#[test]
fn without_an_rsa_key_a_request_waits_and_others_go_on() {
    let (mut world, mut ann) = settled();
    let mut ben = world.member("ben");
    let (session, sent) = frame(&mut world, &mut ann, creation(&[-257]));
    let (ticket, body) = world.host.submit(sent);
    assert_eq!(body, Some(OutBody::Later));
    let entries = world.host.entries(&ann.account.unwrap());
    // Nothing of it is in force, and whoever wants no such key is served: the same person, too.
    world.create(&mut ben, "example.com");
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
    for _ in 0..3 {
        let work = world.host.resume_with_frame(ticket);
        let out = world.host.turn(Vec::new(), vec![work]);
        assert_eq!((out[0].ticket, &out[0].body), (ticket, &OutBody::Later));
    }
    world.host.platform.rsa_ready = 1;
    let work = world.host.resume_with_frame(ticket);
    assert!(world.host.turn(Vec::new(), vec![work]).is_empty(), "it waits for its batch now");
    let body = world.host.settle(ticket);
    let reply = world.read(&session, body).unwrap();
    assert!(matches!(&reply.answers[..], [Answer::Created(created)] if created.alg == -257));
}

#[test]
fn a_request_that_the_gateway_gives_up_is_forgotten_and_nothing_of_it_happens() {
    let (mut world, mut ann) = settled();
    let (_, sent) = frame(&mut world, &mut ann, creation(&[-257]));
    let (ticket, body) = world.host.submit(sent);
    assert_eq!(body, Some(OutBody::Later));
    let entries = world.host.entries(&ann.account.unwrap());
    world.host.platform.rsa_ready = 1;
    let given_up = Work { ticket, frame: None, view: None };
    let out = world.host.turn(Vec::new(), vec![given_up]);
    assert_eq!(out.iter().map(|out| &out.body).collect::<Vec<_>>(), [&OutBody::Dropped(Drop::Frame)]);
    let again = world.host.resume_with_frame(ticket);
    let out = world.host.turn(Vec::new(), vec![again]);
    assert_eq!(out.iter().map(|out| &out.body).collect::<Vec<_>>(), [&OutBody::Dropped(Drop::Frame)]);
    assert_eq!(world.host.entries(&ann.account.unwrap()), entries);
}

#[test]
fn one_turn_makes_one_passkey_of_rsa_and_the_next_request_waits_for_its_own_key() {
    let (mut world, mut ann) = settled();
    let mut ben = world.member("ben");
    let (_, first) = frame(&mut world, &mut ann, creation(&[-257]));
    let (_, second) = frame(&mut world, &mut ben, creation(&[-257]));
    let mut tickets = Vec::new();
    for sent in [first, second] {
        let (ticket, body) = world.host.submit(sent);
        assert_eq!(body, Some(OutBody::Later));
        tickets.push(ticket);
    }
    world.host.platform.rsa_ready = 1;
    let work = tickets.iter().map(|ticket| world.host.resume_with_frame(*ticket)).collect();
    let out = world.host.turn(Vec::new(), work);
    assert_eq!(
        out.iter().map(|out| (out.ticket, out.body.clone())).collect::<Vec<_>>(),
        [(tickets[1], OutBody::Later)]
    );
}

#[test]
fn a_retry_of_a_creation_makes_no_second_rsa_key() {
    let (mut world, mut ann) = settled();
    world.host.platform.rsa_ready = 2;
    let id = ann.request_id();
    let (session, sent) = frame_as(&mut world, &ann, id, creation(&[-257]));
    let Answer::Created(first) = serve(&mut world, &session, sent) else { panic!() };
    let left = world.host.platform.rsa_ready;
    let (session, sent) = frame_as(&mut world, &ann, id, creation(&[-257]));
    assert_eq!(serve(&mut world, &session, sent), Answer::Created(first.clone()));
    // Pushed out of what the device's row remembers, it is a conflict, not a second key.
    for _ in 0..limits::OPS_KEPT {
        world.create(&mut ann, "example.org");
    }
    let answers = world.ask_as(&ann, As::Member, id, &[creation(&[-257])]);
    assert_eq!(code(&answers), Code::Conflict);
    assert_eq!(world.host.platform.rsa_ready, left);
}

#[test]
fn a_refused_creation_uses_up_no_rsa_key() {
    let (mut world, mut ann) = settled();
    world.host.platform.rsa_ready = 1;
    let (session, sent) = frame(&mut world, &mut ann, creation(&[-257]));
    let Answer::Created(first) = serve(&mut world, &session, sent) else { panic!() };
    world.host.platform.rsa_ready = 1;
    let mut create = create_for("example.com");
    (create.algorithms, create.exclude) = (vec![-257], vec![first.id]);
    let answers = world.ask(&mut ann, As::Member, &[Command::CreatePasskey(create.clone())]);
    assert_eq!(code(&answers), Code::Excluded);
    create.exclude.clear();
    let answers = world.ask(&mut ann, As::Member, &[Command::CreatePasskey(create)]);
    assert!(matches!(&answers[..], [Answer::Created(_)]), "{answers:?}");
}

#[test]
fn a_creation_of_an_rsa_key_is_the_only_command_of_its_request() {
    let (mut world, mut ann) = settled();
    let id = world.create(&mut ann, "example.com").id;
    world.host.platform.rsa_ready = 1;
    let beside = [creation(&[-257]), Command::Assert(assert_for(id, "example.com"))];
    assert_eq!(code(&world.ask(&mut ann, As::Member, &beside)), Code::BadOptions);
    assert_eq!(world.host.platform.rsa_ready, 1);
    // Creations that need no such key may come together.
    let answers = world.ask(&mut ann, As::Member, &[creation(&[-7]), creation(&[-8])]);
    assert!(!matches!(answers[0], Answer::Refused(_)), "{answers:?}");
}
