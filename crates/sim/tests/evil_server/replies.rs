//! Lies in replies: around the channel (replayed, exchanged, damaged) and inside it (forged checkpoints, another
//! account, success that the ledger does not know).

use crate::lie::{Told, account, any_answer, checkpoint, frame, instead, member, reply, told};
use crate::lies;
use crate::stage::{Errand, Stage};
use keyferry_crypto::random::Random;
use keyferry_crypto::sign::{Ed25519Seed, LogKey};
use keyferry_sim::dice::Dice;
use keyferry_tlog::{Checkpoint, Note, VerifierKey, sign_note};
use keyferry_wire::command::{Answer, DeviceState};
use keyferry_wire::frame::ReplyFrame;
use keyferry_wire::refusal::Code;
use keyferry_wire::{AccountId, DeviceId, RequestId, ShardId};

fn their_key() -> LogKey {
    let mut seed = [0; 32];
    Dice::new(4, 4).fill(&mut seed);
    LogKey::from_seed(&Ed25519Seed::from_bytes(seed))
}

fn their_log(origin: &str) -> String {
    VerifierKey::ed25519(origin, their_key().public()).unwrap().to_string()
}

/// The checkpoint of a note, changed, and signed by somebody else under the log's name.
fn forged(note: &str, change: impl Fn(&mut Checkpoint)) -> Option<String> {
    let mut checkpoint = Checkpoint::parse(Note::parse(note).unwrap().text()).unwrap();
    change(&mut checkpoint);
    let key = their_key();
    Some(checkpoint.sign(&key.public(), |message| key.sign(message)))
}

/// Another text under the log's own signature lines.
fn under_its_signature(note: &str, change: impl Fn(&str) -> String) -> Option<String> {
    let (text, signatures) = note.split_once("\n\n").unwrap();
    Some(format!("{}\n\n{signatures}", change(text)))
}

/// The first reply again for every later request.
fn first_reply_again() -> crate::lie::Lie {
    let mut first: Option<ReplyFrame> = None;
    frame(move |frame| match &first {
        None => first = Some(frame.clone()),
        Some(old) => *frame = old.clone(),
    })
}

const NOT_ITS_LOG: &str = "not of this account's log, or not signed by its key";

lies! {
    // Around the channel.
    a_damaged_reply: PinStatus, frame(|f| f.ciphertext.0[3] ^= 1), fault, "the reply does not open";
    a_reply_cut_short: PinStatus, frame(|f| f.ciphertext.0.truncate(40)), fault, "the reply does not open";
    a_reply_of_another_session: PinStatus, frame(|f| f.session.0[15] ^= 1), fault, "does not belong to the request";
    a_reply_of_another_number: PinStatus, frame(|f| f.number += 1), fault, "does not belong to the request";
    a_reply_of_another_version: PinStatus, frame(|f| f.version = 2), fault, "version 2";
    /// The answer to the first request of a session in place of the answer to the second.
    an_earlier_reply: Join, first_reply_again(), fault, "does not belong to the request";
    an_earlier_reply_under_a_new_number: Join, {
        let mut first: Option<ReplyFrame> = None;
        frame(move |frame| match &first {
            None => first = Some(frame.clone()),
            Some(old) => frame.ciphertext = old.ciphertext.clone(),
        })
    }, fault, "the reply does not open";
    no_proof_that_the_ledger_was_extended: Create, frame(|f| f.consistency.clear()), Evidence, "two ledgers";
    a_proof_of_another_tree: Create,
        frame(|f| f.consistency.iter_mut().for_each(|hash| hash[0] ^= 1)), Evidence, "two ledgers";
    a_proof_with_a_hash_too_many: Create, frame(|f| f.consistency.push([1; 32])), Evidence, "two ledgers";

    // Inside the channel.
    the_answer_to_another_request: PinStatus, reply(|r| r.id = RequestId([1; 16])), fault, "does not belong";
    an_inner_reply_of_another_version: PinStatus, reply(|r| r.version = 2), fault, "version 2";
    answers_to_another_question: PinStatus, instead(Answer::PinRight), fault, "do not fit what was asked";
    more_answers_than_commands: PinStatus, reply(|r| {
        let again = r.answers[0].clone();
        r.answers.push(again);
    }), fault, "do not fit what was asked";
    no_answers: PinStatus, reply(|r| r.answers.clear()), fault, "do not fit what was asked";

    // Success that the ledger does not hold.
    a_passkey_without_a_checkpoint: Create, checkpoint(|_| None), Evidence, "shows no checkpoint";
    a_sign_in_without_a_checkpoint: Get, checkpoint(|_| None), Evidence, "shows no checkpoint";
    a_deletion_without_a_checkpoint: Delete, checkpoint(|_| None), Evidence, "shows no checkpoint";
    a_joining_without_a_checkpoint: Join, checkpoint(|_| None), Evidence, "shows no checkpoint";
    an_enrolment_without_a_checkpoint: Enrol, told(|told| {
        if let Told::Reply(_, reply, _) = told
            && reply.answers.iter().any(|answer| matches!(answer, Answer::Member(_)))
        {
            reply.checkpoint = None;
        }
    }), Evidence, "shows no checkpoint";
    a_new_pin_without_a_checkpoint: PinChange, told(|told| {
        if let Told::Reply(_, reply, _) = told
            && reply.answers.iter().any(|answer| matches!(answer, Answer::Prepared(_)))
        {
            reply.checkpoint = None;
        }
    }), Evidence, "shows no checkpoint";

    // Forged checkpoints.
    a_checkpoint_by_another_key: Create, checkpoint(|note| forged(note, |_| ())), Evidence, NOT_ITS_LOG;
    a_larger_checkpoint_by_another_key: Create,
        checkpoint(|note| forged(note, |c| c.size += 5)), Evidence, NOT_ITS_LOG;
    a_checkpoint_of_another_log: Create, checkpoint(|note| {
        forged(note, |c| c.origin = "evil.test/1".to_owned())
    }), Evidence, NOT_ITS_LOG;
    another_origin_over_the_signature: Create, checkpoint(|note| {
        under_its_signature(note, |text| text.replacen("evil.test/0", "evil.test/1", 1))
    }), Evidence, NOT_ITS_LOG;
    another_size_over_the_signature: Create, checkpoint(|note| {
        under_its_signature(note, |text| {
            let mut lines: Vec<_> = text.split('\n').collect();
            lines[1] = "3";
            lines.join("\n")
        })
    }), Evidence, NOT_ITS_LOG;
    a_further_line_over_the_signature: Create,
        checkpoint(|note| under_its_signature(note, |text| format!("{text}\nextension"))), Evidence, NOT_ITS_LOG;
    a_checkpoint_without_signature: Create,
        checkpoint(|note| note.split_once("\n\n").map(|(text, _)| format!("{text}\n\n"))), Evidence, NOT_ITS_LOG;
    a_checkpoint_that_is_none: Create, checkpoint(|_| Some("evil.test/0\n".to_owned())), Evidence, NOT_ITS_LOG;
    /// Signed by the log's own name with another key, beside nothing of the log's.
    a_note_of_another_kind: Create, checkpoint(|_| {
        let key = their_key();
        Some(sign_note("no checkpoint\n", "evil.test/0", &key.public(), |message| key.sign(message)))
    }), Evidence, NOT_ITS_LOG;

    // Another account.
    another_account_for_a_joiner: Join, {
        // Once it is the right one, afterwards another: the home has seen the first.
        let mut seen = false;
        account(move |account| {
            if std::mem::replace(&mut seen, true) { account.account = AccountId([7; 32]); }
        })
    }, Evidence, "the proof is of another account";
    another_log_for_a_joiner: Join, {
        let mut seen = false;
        account(move |account| {
            if std::mem::replace(&mut seen, true) {
                account.origin = "evil.test/1".to_owned();
                account.log_key = their_log("evil.test/1");
            }
        })
    }, Evidence, "is another than the one this home has pinned";
    another_log_key_for_a_joiner: Join, {
        let mut seen = false;
        account(move |account| {
            if std::mem::replace(&mut seen, true) { account.log_key = their_log("evil.test/0"); }
        })
    }, Evidence, "is another than the one this home has pinned";
    a_log_key_that_is_none: Join, account(|account| account.log_key.push('x')), Evidence,
        "is another than the one this home has pinned";
    another_account_in_the_admission: Join,
        member(|member| member.account.account = AccountId([7; 32])), Evidence, "the proof is of another account";
    another_shard_in_the_admission: Join, member(|member| {
        member.account.shard = ShardId(3);
        member.account.origin = "evil.test/3".to_owned();
    }), Evidence, "is another than the one this home has pinned";
    another_device_admitted: Join, member(|member| member.device = DeviceId([7; 16])), Evidence,
        "admitted another device or account than asked";
    secrets_sealed_to_somebody_else: Join, member(|member| {
        let their = keyferry_crypto::hpke::BoxKey::from_bytes(&[8; 32]).public();
        let label = keyferry_crypto::label::Label::DeviceBox;
        let boxed = keyferry_crypto::hpke::seal_to(&their, label, &[], &[0; 64], &mut Dice::new(1, 1));
        member.secrets = boxed.unwrap().into();
    }), Evidence, "not sealed to this device";
    secrets_exchanged_for_earlier_ones: Join, member(|member| member.secrets.0.swap(2, 40)), Evidence,
        "not sealed to this device";
    a_member_that_waited_for_the_first_device: Enrol, member(|member| {
        let mut other = member.members[0].clone();
        (other.device, other.index) = (DeviceId([7; 16]), 1);
        member.members.push(other);
    }), Evidence, "other members although this is its first device";
    an_account_that_is_said_to_have_devices: Enrol, account(|account| account.members = 1), Exists,
        "has a device already";

    // The list of members.
    a_list_without_this_device: Join, member(|member| member.members.retain(|m| m.device != member.device)),
        Evidence, "does not name this device";
    a_list_without_this_device_later: Devices, any_answer(|answer| {
        if let Answer::Devices(list) = answer { list.devices.clear(); }
    }), Evidence, "does not name this device";
    a_list_in_which_this_device_is_revoked: Devices, any_answer(|answer| {
        if let Answer::Devices(list) = answer { list.devices[0].state = DeviceState::Revoked; }
    }), Evidence, "does not name this device";
    another_device_under_this_ones_number: Devices, any_answer(|answer| {
        if let Answer::Devices(list) = answer {
            let mut other = list.devices[0].clone();
            other.device = DeviceId([7; 16]);
            list.devices.push(other);
        }
    }), Evidence, "names a device twice";
    /// The swapped device key: an id is the hash of its key, so another key is another device.
    a_member_that_the_ledger_never_admitted: Audit, any_answer(|answer| {
        if let Answer::Devices(list) = answer {
            let mut other = list.devices[0].clone();
            (other.device, other.index) = (DeviceId([7; 16]), 1);
            list.devices.push(other);
        }
    }), Evidence, "lists a device that the ledger never admitted";

    // States that cannot be.
    more_entries_than_the_ledger_has: Create, reply(|reply| {
        if let Some(account) = &mut reply.account { account.seq = u64::MAX; }
    }), Evidence, "more entries than its ledger can hold";
    more_changes_than_entries: Create, reply(|reply| {
        if let Some(account) = &mut reply.account { account.vault_seq = account.seq + 1; }
    }), Evidence, "more entries than its ledger can hold";
    an_account_state_of_before: PinStatus, reply(|reply| {
        if let Some(account) = &mut reply.account { account.seq -= 1; }
    }), Stale, "it was rolled back";
    a_second_history: PinStatus, reply(|reply| {
        if let Some(account) = &mut reply.account { account.head[0] ^= 1; }
    }), Evidence, "two different histories";
    a_second_vault: PinStatus, reply(|reply| {
        if let Some(account) = &mut reply.account { account.vault_root[0] ^= 1; }
    }), Evidence, "two different histories";

    // Passkeys.
    the_signature_of_another_passkey: Get, any_answer(|answer| {
        if let Answer::Asserted(asserted) = answer { asserted.id.0[0] ^= 1; }
    }), fault, "do not fit what was asked";
    a_signature_for_another_relying_party: Get, any_answer(|answer| {
        if let Answer::Asserted(asserted) = answer { asserted.authenticator_data.0[0] ^= 1; }
    }), fault, "answered for another relying party";
    a_passkey_for_another_relying_party: Create, any_answer(|answer| {
        if let Answer::Created(created) = answer { created.authenticator_data.0[0] ^= 1; }
    }), fault, "answered for another relying party";
    /// The swapped public key of a passkey, in one of its two places.
    another_public_key_than_the_attested_one: Create, any_answer(|answer| {
        if let Answer::Created(created) = answer {
            let last = created.public_key.0.len() - 1;
            created.public_key.0[last] ^= 1;
        }
    }), fault, "of another credential";
    an_edit_of_another_passkey: Delete, any_answer(|answer| {
        if let Answer::Edited(edited) = answer { edited.id.0[0] ^= 1; }
    }), fault, "do not fit what was asked";
}

#[test]
fn a_hidden_member_is_found_in_the_ledger() {
    let stage = Stage::with_member();
    stage.join("phone");
    let hide = any_answer(|answer| {
        if let Answer::Devices(list) = answer {
            list.devices.retain(|device| device.label != "phone");
        }
    });
    let ended = stage.trial(Errand::Audit, hide);
    ended.is(Some(Code::Evidence), "the ledger admitted a device that the list does not show");
    stage.goes_on(Errand::Audit);
}

/// A false place in the map cannot be told at the time; the first look at the ledger shows it.
#[test]
fn a_false_place_in_the_map_is_found_at_the_first_sync() {
    let stage = Stage::with_member();
    stage.host.lie(Some(member(|member| member.map_key[0] ^= 1)));
    stage.run(Errand::Join).unwrap();
    stage.host.lie(None);
    let refused = stage.agent("phone").sync().unwrap_err();
    assert!(refused.to_string().contains("the proof is of another account"), "{refused}");
}
