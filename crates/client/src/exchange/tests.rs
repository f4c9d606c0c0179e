//! A session with an enclave's end that is played by hand.

use super::*;
use crate::session::Opening;
use crate::testing::{Ledger, Seeded, member, verified};
use keyferry_crypto::channel::{ChannelKey, Suite, Transport, prologue, respond};
use keyferry_crypto::seal::{pad256, unpad};
use keyferry_crypto::sign::{SigningKey, verify_p256};
use keyferry_wire::command::Command;
use keyferry_wire::frame::{AccountHead, SessionOpened};
use keyferry_wire::ledger::Kind;
use keyferry_wire::refusal::Code;
use keyferry_wire::{AccountId, RequestId, SessionId};

struct Keys(SigningKey);

impl Signer for Keys {
    fn sign(&self, _level: Level, message: &[u8]) -> Result<Vec<u8>, String> {
        Ok(self.0.sign(message))
    }
}

struct Line {
    session: Session,
    enclave: Transport,
    home: Home,
    ledger: Ledger,
    keys: Keys,
}

fn channel() -> ChannelKey {
    ChannelKey::generate(&mut Seeded::new(1))
}

fn opened(change: impl FnOnce(&mut SessionOpened)) -> Result<(Session, Transport), SessionError> {
    let evidence = verified(&channel());
    let (opening, open) = Opening::start(&evidence, &mut Seeded::new(2)).unwrap();
    assert_eq!((open.message.len(), &open.evidence), (81, evidence.hash()));
    let prologue = prologue(Suite::One, &open.evidence, &[]);
    let (enclave, message) =
        respond(&channel(), &mut Seeded::new(3), Suite::One, &prologue, &open.message).unwrap();
    let id = SessionId([[1; 8], [7; 8]].concat().try_into().unwrap());
    let mut opened = SessionOpened { version: 1, session: id, message: Bytes(message) };
    change(&mut opened);
    Ok((opening.finish(&opened)?, enclave))
}

fn line() -> Line {
    let (session, enclave) = opened(|_| ()).unwrap();
    let mut ledger = Ledger::new();
    ledger.event(Kind::Enrol, None);
    ledger.seal();
    let home = member(&ledger);
    Line { session, enclave, home, ledger, keys: Keys(SigningKey::generate(&mut Seeded::new(4))) }
}

fn call() -> Call {
    Call {
        id: RequestId([0x1d; 16]),
        commands: vec![Command::Expose(keyferry_wire::command::Expose {
            generation: 1,
            client_key: [0; 32],
            commitment: [0; 32],
        })],
        sender: Sender::Member,
        levels: vec![Level::Hw, Level::Uv],
        wrapped: true,
        passkeys: Vec::new(),
    }
}

impl Line {
    fn sent(&mut self) -> (Sent, Request) {
        let sent = seal(&mut self.session, &self.home, &call(), &self.keys).unwrap();
        let padded = self.enclave.open(sent.frame.number, &sent.frame.ciphertext).unwrap();
        assert_eq!(padded.len() % 256, 0);
        (sent, Request::from_bytes(unpad(&padded).unwrap()).unwrap())
    }

    fn reply(&self) -> Reply {
        let proof = self.ledger.proof(&self.home);
        Reply {
            version: 1,
            id: call().id,
            answers: vec![Answer::Exposed],
            account: Some(crate::proof::account_head(&proof)),
            checkpoint: Some(self.ledger.checkpoint()),
        }
    }

    fn frame(&self, sent: &Sent, reply: &Reply) -> ReplyFrame {
        let ciphertext = self.enclave.seal(sent.number, &pad256(&reply.to_bytes())).unwrap();
        ReplyFrame {
            version: 1,
            session: sent.frame.session,
            number: sent.number,
            ciphertext: Bytes(ciphertext),
            consistency: self.ledger.consistency(&self.home),
        }
    }

    /// One request and the reply to it, changed inside and outside the channel.
    fn exchange(
        &mut self,
        inside: impl FnOnce(&mut Reply),
        outside: impl FnOnce(&mut ReplyFrame),
    ) -> Result<Vec<Answer>, ExchangeError> {
        let (sent, _) = self.sent();
        let mut reply = self.reply();
        inside(&mut reply);
        let mut frame = self.frame(&sent, &reply);
        outside(&mut frame);
        open(&self.session, &mut self.home, &call(), &sent, &frame)
    }
}

fn refused(result: Result<Vec<Answer>, ExchangeError>) -> Code {
    match result {
        Err(ExchangeError::Flow(FlowError::Refused(refusal))) => refusal.code,
        other => panic!("{other:?}"),
    }
}

fn dropped(result: Result<Vec<Answer>, ExchangeError>) -> SessionError {
    match result {
        Err(ExchangeError::Session(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn requests_are_numbered_padded_and_signed_at_each_level() {
    let mut line = line();
    let (first, request) = line.sent();
    let (second, _) = line.sent();
    assert_eq!((first.number, second.number), (0, 1));
    assert_eq!(request.wrapped, line.home.membership.as_ref().map(|member| member.wrapped.clone()));
    assert_eq!(request.device, Some(line.home.device_id()));
    let unsigned = Request { signatures: Vec::new(), ..request.clone() };
    let hash = message_hash(&unsigned);
    for (signature, label) in request.signatures.iter().zip([Label::RequestHw, Label::RequestUv]) {
        let message = signed_bytes(label.as_bytes(), line.enclave.handshake_hash(), &hash);
        assert!(verify_p256(&line.keys.0.public(), &message, &signature.signature));
    }
    assert_eq!(request.signatures.len(), 2);
}

#[test]
fn a_retry_in_another_session_is_the_same_operation() {
    let (mut one, mut two) = (line(), line());
    let (mut first, mut second) = (one.sent().1, two.sent().1);
    (first.signatures, second.signatures) = (Vec::new(), Vec::new());
    assert_eq!(first, second);
}

#[test]
fn a_good_reply_is_believed_and_moves_the_head() {
    let mut line = line();
    assert_eq!(line.exchange(|_| (), |_| ()).unwrap(), [Answer::Exposed]);
    assert_eq!(line.home.trust.seen.unwrap().size, line.ledger.size());
    line.ledger.event(Kind::Prepare, None);
    line.ledger.seal();
    assert!(line.exchange(|_| (), |_| ()).is_ok());
    assert_eq!(line.home.head.unwrap().seq, 2);
    assert!(line.exchange(|_| (), |_| ()).is_ok(), "the same head once more");
}

#[test]
fn a_reply_to_another_request_is_not_believed() {
    assert_eq!(
        dropped(line().exchange(|reply| reply.id = RequestId([0; 16]), |_| ())),
        SessionError::Foreign
    );
    assert_eq!(dropped(line().exchange(|_| (), |frame| frame.number += 1)), SessionError::Foreign);
    assert_eq!(dropped(line().exchange(|_| (), |frame| frame.session.0[15] ^= 1)), SessionError::Foreign);
}

#[test]
fn a_damaged_reply_is_not_believed() {
    assert_eq!(dropped(line().exchange(|_| (), |frame| frame.ciphertext.0[0] ^= 1)), SessionError::Damaged);
    assert_eq!(dropped(line().exchange(|_| (), |frame| frame.ciphertext.0.clear())), SessionError::Damaged);
    assert_eq!(dropped(line().exchange(|_| (), |frame| frame.version = 2)), SessionError::Version(2));
    assert_eq!(dropped(line().exchange(|reply| reply.version = 2, |_| ())), SessionError::Version(2));
}

#[test]
fn a_recorded_reply_does_not_answer_a_later_request() {
    let mut line = line();
    let (first, _) = line.sent();
    let recorded = line.frame(&first, &line.reply());
    let (second, _) = line.sent();
    let mut replayed = recorded;
    replayed.number = second.number;
    let result = open(&line.session, &mut line.home, &call(), &second, &replayed);
    assert_eq!(dropped(result), SessionError::Damaged);
}

#[test]
fn a_checkpoint_that_was_rolled_back_is_stale() {
    let mut line = line();
    let yesterday = line.ledger.clone();
    line.ledger.event(Kind::Prepare, None);
    line.ledger.seal();
    line.exchange(|_| (), |_| ()).unwrap();
    let seen = line.home.trust.seen;
    assert_eq!(
        refused(line.exchange(|reply| reply.checkpoint = Some(yesterday.checkpoint()), |_| ())),
        Code::Stale
    );
    assert_eq!(line.home.trust.seen, seen);
}

#[test]
fn a_checkpoint_without_consistency_is_refused() {
    let mut line = line();
    line.exchange(|_| (), |_| ()).unwrap();
    line.ledger.event(Kind::Prepare, None);
    line.ledger.seal();
    assert_eq!(refused(line.exchange(|_| (), |frame| frame.consistency.clear())), Code::Evidence);
}

#[test]
fn a_step_that_must_be_in_the_ledger_is_not_believed_without_a_checkpoint() {
    let mut line = line();
    assert_eq!(refused(line.exchange(|reply| reply.checkpoint = None, |_| ())), Code::Evidence);
}

#[test]
fn a_checkpoint_by_another_key_is_refused() {
    let mut line = line();
    let foreign = line.ledger.clone().with_other_key().checkpoint();
    assert_eq!(refused(line.exchange(|reply| reply.checkpoint = Some(foreign), |_| ())), Code::Evidence);
}

#[test]
fn an_account_or_log_other_than_the_pinned_one_is_refused() {
    let other = |change: fn(&mut keyferry_wire::command::Account)| {
        let mut line = line();
        let mut account = line.ledger.account(1);
        change(&mut account);
        refused(line.exchange(|reply| reply.answers = vec![Answer::Account(account)], |_| ()))
    };
    assert_eq!(other(|account| account.account = AccountId([1; 32])), Code::Evidence);
    assert_eq!(other(|account| account.origin = "ferry.test/1".to_owned()), Code::Evidence);
    let foreign = Ledger::new().with_other_key().account(1).log_key;
    let mut line = line();
    let account = keyferry_wire::command::Account { log_key: foreign, ..line.ledger.account(1) };
    let result = line.exchange(|reply| reply.answers = vec![Answer::Account(account)], |_| ());
    assert_eq!(refused(result), Code::Evidence);
}

#[test]
fn an_account_state_that_goes_back_is_stale_and_a_second_history_is_fraud() {
    let back = |change: fn(&mut AccountHead)| {
        let mut line = line();
        line.ledger.put(1, "one.example", false);
        line.ledger.seal();
        line.exchange(|_| (), |_| ()).unwrap();
        refused(line.exchange(|reply| change(reply.account.as_mut().unwrap()), |_| ()))
    };
    assert_eq!(back(|head| head.seq -= 1), Code::Stale);
    assert_eq!(back(|head| head.vault_seq -= 1), Code::Stale);
    assert_eq!(back(|head| head.head[0] ^= 1), Code::Evidence);
    assert_eq!(back(|head| head.vault_root[0] ^= 1), Code::Evidence);
}

#[test]
fn a_man_in_the_middle_does_not_complete_the_handshake() {
    let wrong_instance = opened(|opened| opened.session.0[0] ^= 1);
    assert_eq!(wrong_instance.err(), Some(SessionError::Instance));
    let damaged = opened(|opened| opened.message.0[70] ^= 1);
    assert_eq!(damaged.err(), Some(SessionError::Handshake));
    let version = opened(|opened| opened.version = 9);
    assert_eq!(version.err(), Some(SessionError::Version(9)));

    let evidence = verified(&channel());
    let (_, open) = Opening::start(&evidence, &mut Seeded::new(2)).unwrap();
    let other = ChannelKey::generate(&mut Seeded::new(66));
    let prologue = prologue(Suite::One, &open.evidence, &[]);
    assert!(respond(&other, &mut Seeded::new(3), Suite::One, &prologue, &open.message).is_err());
}

#[test]
fn a_home_that_is_no_member_makes_no_members_request() {
    let mut line = line();
    line.home = crate::testing::home(&line.ledger);
    let result = seal(&mut line.session, &line.home, &call(), &line.keys);
    assert!(matches!(result, Err(ExchangeError::Flow(FlowError::Refused(_)))));
}
