//! What is true of one account, whatever the service says: the PINs that its users chose, the operations that its
//! devices sent, the evaluations that left the enclave, and the passkeys that were made.

use super::{Checked, Provenance, breach, ensure, is_refusal, law};
use crate::stats::Stats;
use keyferry_client::flow::{Call, Sender};
use keyferry_crypto::cose::parse_public_key;
use keyferry_crypto::credential::PublicKey;
use keyferry_crypto::hash::{labelled_hash, sha256};
use keyferry_crypto::label::Label;
use keyferry_wire::command::{Answer, Assert, Asserted, Begin, Command, Created};
use keyferry_wire::ledger::{Event, Kind, Outcome};
use keyferry_wire::limits::PIN_TRIES_MAX;
use keyferry_wire::refusal::Code;
use keyferry_wire::{AccountId, CredentialId, DeviceId, RequestId};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// An operation that a device sent.
#[derive(Clone, Debug)]
struct Sent {
    device: DeviceId,
    call: Rc<Call>,
    typed: Option<String>,
    sets: Option<String>,
}

/// One evaluation: another blinded element, attempt or device is another guess.
type Guess = (DeviceId, [u8; 16], [u8; 32]);

/// A passkey as its relying party knows it.
#[derive(Clone, Debug)]
pub struct KeyTruth {
    /// Public key.
    pub public: PublicKey,
    /// Relying party.
    pub rp_id: String,
    /// The relying party has it: the flow ended.
    pub acknowledged: bool,
    /// A member asked for its end.
    pub delete_sent: bool,
    /// The enclave said that it is gone.
    pub deleted: bool,
}

/// User verification in authenticator data.
const FLAG_UV: u8 = 0x04;

/// What is true of one account.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    /// Its id, once an enclave named it.
    pub id: Option<AccountId>,
    /// The key to its ledger.
    pub audit: Option<[u8; 32]>,
    /// Its ledger, decrypted.
    pub events: Vec<Event>,
    /// PIN of each generation that was in force.
    pub pins: BTreeMap<u32, String>,
    /// The generation in force.
    pub generation: u32,
    /// Newest generation of which a user was told that it is in force.
    pub acknowledged: u32,
    /// Whether the generation in force is locked.
    pub locked: bool,
    /// The entry that locked it.
    locked_at: u64,
    /// Its passkeys.
    pub passkeys: BTreeMap<CredentialId, KeyTruth>,
    /// First outputs by passkey, user verification and salt.
    prf: BTreeMap<(CredentialId, bool, [u8; 32]), [u8; 32]>,
    /// Passkeys that a member wanted to end, and whether the enclave said that they did.
    ending: BTreeMap<CredentialId, bool>,
    sent: BTreeMap<RequestId, Sent>,
    operations: BTreeMap<[u8; 16], Sent>,
    done: BTreeSet<([u8; 16], u8)>,
    /// Evaluations since the last right entry, by generation.
    guesses: BTreeMap<u32, BTreeSet<Guess>>,
    /// All evaluations ever.
    evaluated: BTreeSet<(u32, Guess)>,
    /// Generation that each attempt tries.
    begun: BTreeMap<[u8; 16], u32>,
}

impl Truth {
    pub(super) fn sent(&mut self, from: &Provenance) {
        let Provenance { id: device, call, typed, sets, .. } = from;
        let sent = Sent { device: *device, call: Rc::clone(call), typed: typed.clone(), sets: sets.clone() };
        if let Some(id) = self.id {
            self.operations.insert(operation(&id, &sent), sent.clone());
        }
        for command in &call.commands {
            match command {
                Command::DeletePasskey(delete) => {
                    self.ending.entry(delete.id).or_default();
                    if let Some(key) = self.passkeys.get_mut(&delete.id) {
                        key.delete_sent = true;
                    }
                }
                Command::Begin(begin) => drop(self.begun.insert(begin.attempt.0, begin.generation)),
                _ => {}
            }
        }
        self.sent.insert(call.id, sent);
    }

    pub(super) fn meet(&mut self, id: AccountId) {
        if self.id.is_none() {
            self.id = Some(id);
            let sent = self.sent.values();
            self.operations = sent.map(|sent| (operation(&id, sent), sent.clone())).collect();
        }
    }

    pub(super) fn requests(&self) -> BTreeSet<RequestId> {
        self.sent.keys().copied().collect()
    }

    /// Whether a device was let in, whatever it knows of that.
    pub fn is_member(&self, device: DeviceId) -> bool {
        let lets_in = |event: &&Event| matches!(event.kind, Kind::Enrol | Kind::Join);
        let mut of =
            self.events.iter().filter(lets_in).filter_map(|event| self.operations.get(&event.operation));
        of.any(|sent| sent.device == device)
    }

    /// Evaluations since the last right entry of the generation in force.
    pub fn wrong(&self) -> usize {
        self.guesses.get(&self.generation).map_or(0, BTreeSet::len)
    }

    /// The PIN in force.
    pub fn pin(&self) -> Option<&str> {
        self.pins.get(&self.generation).map(String::as_str)
    }

    /// An event of the account became durable.
    pub(super) fn happened(&mut self, event: &Event, stats: &mut Stats) -> Checked {
        let Some(sent) = self.operations.get(&event.operation) else {
            return breach(law::ASKED, format!("{:?}, entry {}", event.kind, event.seq));
        };
        // A stranger's try that is made again after a lost answer is counted again: that costs a try, gives none.
        let once = !matches!(
            event.kind,
            Kind::Assert | Kind::Attempt | Kind::Result | Kind::Authenticate | Kind::Lock
        );
        if once && !self.done.insert((event.operation, event.kind.number())) {
            return breach(
                law::ONCE,
                format!("{:?} stands in the ledger twice, again at entry {}", event.kind, event.seq),
            );
        }
        match (event.kind, event.outcome) {
            (Kind::Result, Outcome::Done) => {
                let right = self.pins.get(&event.generation);
                ensure(right.is_some() && right == sent.typed.as_ref(), law::TRUTH, || {
                    format!("entry {} calls a wrong PIN right", event.seq)
                })?;
                self.guesses.remove(&event.generation);
            }
            (Kind::Expose, _) => {
                let Some(pin) = sent.sets.clone() else {
                    return breach(law::ASKED, format!("a PIN was set that nobody set, entry {}", event.seq));
                };
                self.pins.insert(event.generation, pin);
                self.generation = event.generation;
                self.locked = false;
            }
            (Kind::Lock, _) => {
                if event.generation == self.generation && !self.locked {
                    (self.locked, self.locked_at) = (true, event.seq);
                }
                stats.locks += 1;
            }
            _ => {}
        }
        Ok(())
    }

    /// The ledger goes back, memory does not.
    pub(super) fn roll_back(&mut self, old: &Truth) {
        self.events.clone_from(&old.events);
        self.done.clone_from(&old.done);
        self.generation = old.generation;
        (self.locked, self.locked_at) = (old.locked, old.locked_at);
    }

    /// The enclave answers a command, as things stood at entry `as_of`: a gateway may hold the answer back.
    pub(super) fn answered(
        &mut self,
        as_of: u64,
        from: &Provenance,
        command: &Command,
        answer: &Answer,
        stats: &mut Stats,
    ) -> Checked {
        match (command, answer) {
            (Command::Begin(begin), Answer::Evaluated(_)) => self.evaluated(from, begin, stats),
            (Command::Finish(finish), Answer::Refused(refusal)) if refusal.code == Code::PinWrong => {
                let generation = self.begun.get(&finish.attempt.0).copied().unwrap_or_default();
                let right = from.typed.is_some() && self.pins.get(&generation) == from.typed.as_ref();
                ensure(!right, law::TRUTH, || format!("the right PIN {generation} is called wrong"))
            }
            (Command::CreatePasskey(create), Answer::Created(created)) => {
                self.created(&create.rp_id, created)
            }
            (Command::Assert(assert), Answer::Asserted(asserted)) => self.asserted(assert, asserted, stats),
            (Command::DeletePasskey(delete), Answer::Edited(_)) => {
                self.ending.insert(delete.id, true);
                if let Some(key) = self.passkeys.get_mut(&delete.id) {
                    key.deleted = true;
                }
                Ok(())
            }
            (Command::PinStatus, Answer::PinStatus(status)) => {
                let late = as_of < self.locked_at;
                let open = self.locked && !late && status.generation == self.generation && !status.locked;
                ensure(!open, law::LOCKED, || format!("PIN {} is open again", status.generation))
            }
            _ => Ok(()),
        }
    }

    /// What is told to be done stands in the ledger already.
    pub(super) fn check_event(&self, from: &Provenance, command: &Command, answer: &Answer) -> Checked {
        let (Some(id), Some(_), false) = (self.id, self.audit, is_refusal(answer)) else { return Ok(()) };
        let Some(kind) = kind_of(command) else { return Ok(()) };
        let Some(sent) = self.sent.get(&from.call.id) else { return Ok(()) };
        let operation = operation(&id, sent);
        let stands = self.events.iter().any(|event| event.kind == kind && event.operation == operation);
        let law = if kind == Kind::Attempt { law::PAID } else { law::DURABLE };
        ensure(stands, law, || format!("an answer to {kind:?} leaves, the ledger knows nothing of it"))
    }

    fn evaluated(&mut self, from: &Provenance, begin: &Begin, stats: &mut Stats) -> Checked {
        // The same element under the same key again tells nothing new.
        let guess = (from.id, begin.attempt.0, begin.blinded);
        if !self.evaluated.insert((begin.generation, guess)) {
            return Ok(());
        }
        stats.evaluations += 1;
        let guesses = self.guesses.entry(begin.generation).or_default();
        guesses.insert(guess);
        let count = guesses.len();
        ensure(count <= usize::from(PIN_TRIES_MAX), law::GUESSES, || {
            format!("evaluation {count} of PIN {} since its last right entry", begin.generation)
        })
    }

    fn created(&mut self, rp_id: &str, created: &Created) -> Checked {
        let Ok(public) = parse_public_key(&created.public_key) else {
            return breach(law::SIGNS, "a new passkey has no public key");
        };
        // Whoever hears late that a passkey was made may hear it after another device has deleted it.
        let ending = self.ending.get(&created.id);
        let (delete_sent, deleted) = (ending.is_some(), ending.copied().unwrap_or_default());
        let fresh = || KeyTruth {
            public: public.clone(),
            rp_id: rp_id.to_owned(),
            acknowledged: false,
            delete_sent,
            deleted,
        };
        let known = self.passkeys.entry(created.id).or_insert_with(fresh);
        ensure(known.public == public, law::ONCE, || {
            format!("{:?} was made again with another key", created.id)
        })
    }

    fn asserted(&mut self, assert: &Assert, asserted: &Asserted, stats: &mut Stats) -> Checked {
        let Some(key) = self.passkeys.get(&assert.id) else { return Ok(()) };
        ensure(!key.deleted, law::DELETED, || format!("{:?} signs for {}", assert.id, key.rp_id))?;
        let message = [&asserted.authenticator_data[..], &assert.client_data_hash].concat();
        let bound = asserted.authenticator_data.starts_with(&sha256(&[key.rp_id.as_bytes()]));
        stats.signatures += 1;
        ensure(bound && key.public.verify(&message, &asserted.signature), law::SIGNS, || {
            format!("{:?} for {}", assert.id, key.rp_id)
        })?;
        self.evaluated_prf(assert, asserted)
    }

    /// On every device, for ever: one output for each input with user verification, and another without.
    fn evaluated_prf(&mut self, assert: &Assert, asserted: &Asserted) -> Checked {
        let (Some(salts), Some(outputs)) = (&assert.prf, &asserted.prf) else { return Ok(()) };
        let verified = asserted.authenticator_data.get(32).is_some_and(|flags| flags & FLAG_UV != 0);
        let known = self.prf.entry((assert.id, verified, salts.first)).or_insert(outputs.first);
        ensure(*known == outputs.first, law::PRF, || format!("{:?} gives another output", assert.id))?;
        let other = self.prf.get(&(assert.id, !verified, salts.first));
        ensure(other != Some(&outputs.first), law::PRF, || {
            format!("{:?} gives without user verification what it gives with it", assert.id)
        })
    }
}

/// The event that an answered command leaves.
fn kind_of(command: &Command) -> Option<Kind> {
    Some(match command {
        Command::CreateAccount(_) => Kind::CreateAccount,
        Command::Enrol(_) => Kind::Enrol,
        Command::Join(_) => Kind::Join,
        Command::Begin(_) => Kind::Attempt,
        Command::Finish(_) => Kind::Result,
        Command::Prepare(_) => Kind::Prepare,
        Command::Expose(_) => Kind::Expose,
        Command::RenameDevice(_) => Kind::RenameDevice,
        Command::CreatePasskey(_) => Kind::CreatePasskey,
        Command::Assert(_) => Kind::Assert,
        Command::RenamePasskey(_) => Kind::RenamePasskey,
        Command::DeletePasskey(_) => Kind::DeletePasskey,
        Command::Authenticate(_) | Command::PinStatus | Command::ListDevices => return None,
    })
}

/// Names an operation as the engine does (design, section 4).
fn operation(account: &AccountId, sent: &Sent) -> [u8; 16] {
    let device = if sent.call.sender == Sender::Nobody { [0; 16] } else { sent.device.0 };
    let commands = sha256(&[&sent.call.command_bytes()]);
    let digest = labelled_hash(Label::Op, &[&account.0, &device, &sent.call.id.0, &commands]);
    *digest.first_chunk().expect("a SHA-256 hash has 32 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_wire::command::{PrfOutputs, PrfSalts, UserVerification};

    fn evaluated(truth: &mut Truth, verified: bool, salt: u8, output: u8) -> Checked {
        let assert = Assert {
            id: CredentialId([1; 16]),
            rp_id: String::new(),
            client_data_hash: [0; 32],
            client_data_json: None,
            user_verification: UserVerification::Preferred,
            listed: true,
            prf: Some(PrfSalts { first: [salt; 32], second: None }),
            large_blob: None,
        };
        let flags = if verified { FLAG_UV } else { 0 };
        let asserted = Asserted {
            id: assert.id,
            authenticator_data: [vec![0; 32], vec![flags; 5]].concat().into(),
            signature: Vec::new().into(),
            user_id: Vec::new().into(),
            prf: Some(PrfOutputs { first: [output; 32], second: None }),
            large_blob: None,
        };
        truth.evaluated_prf(&assert, &asserted)
    }

    #[test]
    fn another_output_and_one_that_needs_no_user_are_caught() {
        let truth = &mut Truth::default();
        for (verified, salt, output) in
            [(true, 1, 1), (false, 1, 2), (true, 2, 3), (true, 1, 1), (false, 1, 2)]
        {
            assert!(evaluated(truth, verified, salt, output).is_ok());
        }
        assert!(evaluated(truth, true, 1, 9).is_err(), "another output");
        assert!(evaluated(truth, false, 2, 3).is_err(), "the same without user verification");
    }
}
