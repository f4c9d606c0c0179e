//! Lies about the PIN: a false enclave wants something to try PINs against.

use crate::lie::{any_answer, evaluated, pin_status, reply};
use crate::lies;
use crate::stage::{Errand, Stage};
use keyferry_crypto::oprf::OprfKey;
use keyferry_sim::dice::Dice;
use keyferry_wire::command::{Answer, Evaluated};
use keyferry_wire::refusal::{Code, Refusal};

/// Evaluates with a key of its own, with a proof for that key.
fn with_its_own_key(request: &[u8; 32], evaluated: &mut Evaluated) {
    let mut dice = Dice::new(666, 0);
    let key = OprfKey::generate(&mut dice);
    let evaluation = key.evaluate(request, &mut dice).unwrap();
    (evaluated.element, evaluated.proof) = (evaluation.element, evaluation.proof);
    evaluated.public = key.public();
}

/// The same in a reply: to the blinded element that the client has sent.
fn own_key() -> crate::lie::Lie {
    use keyferry_wire::Wire;
    use keyferry_wire::command::Command;
    crate::lie::told(|told| {
        let crate::lie::Told::Reply(request, reply, _) = told else { return };
        let commands = Vec::<Command>::from_bytes(&request.commands).unwrap();
        for (command, answer) in commands.iter().zip(&mut reply.answers) {
            match (command, answer) {
                (Command::Begin(begin), Answer::Evaluated(e)) => with_its_own_key(&begin.blinded, e),
                (Command::Prepare(prepare), Answer::Prepared(e)) => with_its_own_key(&prepare.blinded, e),
                _ => {}
            }
        }
    })
}

lies! {
    lowered_memory: Join, pin_status(|s| s.params.memory_kib = 4), Evidence, "below this client's floor";
    lowered_passes: Join, pin_status(|s| s.params.passes = 0), Evidence, "below this client's floor";
    lowered_lanes: Join, pin_status(|s| s.params.lanes = 0), Evidence, "below this client's floor";
    lowered_memory_for_a_member: PinChange,
        pin_status(|s| s.params.memory_kib = 4), Evidence, "below this client's floor";
    /// More of one does not make up for less of another.
    less_memory_and_more_passes: Join, pin_status(|s| {
        (s.params.memory_kib, s.params.passes) = (7, 16);
    }), Evidence, "below this client's floor";
    /// A client that hardened with these would stand still for days, or be killed for its memory.
    parameters_that_exhaust_the_device: Join, pin_status(|s| s.params.memory_kib = u32::MAX), Evidence,
        "above this client's ceiling";
    passes_without_end: Join, pin_status(|s| s.params.passes = u32::MAX), Evidence, "above this client's ceiling";
    lanes_without_end: Join, pin_status(|s| s.params.lanes = u32::MAX), Evidence, "above this client's ceiling";
    /// A joiner knows no salt; it gets no right commitment either, so it says nothing that depends on the PIN.
    another_salt: Join, pin_status(|s| s.salt = [9; 16]), PinWrong, "the PIN is wrong";
    another_salt_for_a_member: PinChange, pin_status(|s| s.salt = [9; 16]), PinWrong, "the PIN is wrong";
    an_older_pin_than_the_member_knows: PinStatus, pin_status(|s| s.generation = 0), Stale, "it was rolled back";
    another_generation_than_was_asked: Join,
        evaluated(|e| e.generation += 1), Evidence, "evaluated another PIN than was asked";
    a_generation_that_was_used_before: PinChange, any_answer(|answer| {
        if let Answer::Prepared(prepared) = answer { prepared.generation = 1; }
    }), Evidence, "a PIN generation that this device knows already";
    /// The swapped public key of the OPRF, with a right proof for it.
    another_oprf_key_for_a_member: PinChange, own_key(), Evidence, "another key for this PIN than this device has seen";
    /// A joiner cannot know the key; the commitment does not fit, and random bytes are all that it sends.
    another_oprf_key_for_a_joiner: Join, own_key(), PinWrong, "the PIN is wrong";
    another_public_key_under_the_proof: Join, evaluated(|e| {
        e.public = OprfKey::generate(&mut Dice::new(667, 0)).public();
    }), Evidence, "is not proved";
    an_evaluation_without_proof: Join, evaluated(|e| e.proof[5] ^= 1), Evidence, "is not proved";
    an_evaluation_of_another_element: Join, evaluated(|e| e.element = e.public), Evidence, "is not proved";
    a_new_pin_evaluated_without_proof: PinChange, any_answer(|answer| {
        if let Answer::Prepared(prepared) = answer { prepared.proof[5] ^= 1; }
    }), Evidence, "is not proved";
    another_commitment_for_a_member: PinChange,
        evaluated(|e| e.commitment[0] ^= 1), Evidence, "another key for this PIN than this device has seen";
    another_commitment_for_a_joiner: Join, evaluated(|e| e.commitment[0] ^= 1), PinWrong, "the PIN is wrong";
    /// Whoever is told that a right PIN was wrong types the next one, perhaps of another account.
    a_right_pin_that_is_called_wrong: Join, called(Code::PinWrong), Evidence,
        "calls a PIN wrong that this device knows to be right";
    a_members_right_pin_that_is_called_wrong: PinChange, called(Code::PinWrong), Evidence,
        "calls a PIN wrong that this device knows to be right";
    a_lock_that_is_none: Join, pin_status(|s| s.locked = true), PinLocked, "the PIN is locked";
    an_account_without_a_pin: Join, pin_status(|s| s.generation = 0), Policy, "has no PIN yet";
}

/// Refuses the proof of the PIN, whatever it was.
fn called(code: Code) -> crate::lie::Lie {
    reply(move |reply| {
        if let Some(at) = reply.answers.iter().position(|answer| matches!(answer, Answer::PinRight)) {
            reply.answers.truncate(at);
            reply.answers.push(Answer::Refused(Refusal::new(code, "the PIN is wrong").with_left(9)));
        }
    })
}

#[test]
fn a_real_wrong_pin_is_still_called_wrong() {
    let stage = Stage::with_member();
    let new = keyferry_device::Pin::new("u4kw82");
    let ended = stage.agent("laptop").pin_change(Some(keyferry_device::Pin::new("5555vv")), new);
    let Err(keyferry_device::FlowError::Refused(refusal)) = ended else { panic!("{ended:?}") };
    assert_eq!((refusal.code, refusal.left), (Code::PinWrong, Some(9)));
    stage.run(Errand::PinChange).unwrap();
}
