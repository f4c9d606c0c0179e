//! One call and its reply: how a request is signed and sealed for a session, and what of a reply is believed.
//!
//! A retry seals the same [`Call`] again, for the new session and newly signed: same id, same commands.

use crate::flow::{Call, FlowError, Sender};
use crate::home::Home;
use crate::proof::{Fraud, message_hash};
use crate::session::{Session, SessionError};
use keyferry_crypto::label::Label;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Answer, Command};
use keyferry_wire::frame::{
    AccountHead, Level, Reply, ReplyFrame, Request, RequestFrame, Signature, signed_bytes,
};
use keyferry_wire::limits::{SUITE, VERSION};
use keyferry_wire::refusal::Refusal;
use keyferry_wire::{Wire, frame::Head};
use zeroize::Zeroizing;

/// ECDSA with P-256 and SHA-256 (COSE).
const ES256: i64 = -7;

/// The private halves of a device's keys, wherever they are.
pub trait Signer {
    /// Signs with the key of `level`; DER. The error is a sentence for the user.
    fn sign(&self, level: Level, message: &[u8]) -> Result<Vec<u8>, String>;
}

/// What became of an exchange.
#[derive(Debug, thiserror::Error)]
pub enum ExchangeError {
    /// The session is of no more use; the same call may be made in a new one.
    #[error(transparent)]
    Session(#[from] SessionError),
    #[error(transparent)]
    Flow(#[from] FlowError),
}

impl From<Fraud> for ExchangeError {
    fn from(fraud: Fraud) -> Self {
        ExchangeError::Flow(FlowError::Refused(fraud.into()))
    }
}

/// A request that is under way.
#[derive(Debug)]
pub struct Sent {
    pub frame: RequestFrame,
    number: u64,
}

/// Signs and seals a call for this session.
pub fn seal(
    session: &mut Session,
    home: &Home,
    call: &Call,
    signer: &dyn Signer,
) -> Result<Sent, ExchangeError> {
    let mut request = request(home, call)?;
    request.signatures = signatures(session, call, &request, signer)?;
    let bytes = Zeroizing::new(request.to_bytes());
    let (number, ciphertext) = session.seal(&bytes)?;
    let frame = RequestFrame {
        version: VERSION,
        suite: SUITE,
        session: session.id(),
        number,
        ciphertext,
        account: request.account,
        device: request.device,
        passkeys: call.passkeys.clone(),
        seen: request.seen.map(|head| head.size),
    };
    Ok(Sent { frame, number })
}

/// Opens the reply and believes its answers, if the log that it rests on extends what this home has seen.
pub fn open(
    session: &Session,
    home: &mut Home,
    call: &Call,
    sent: &Sent,
    frame: &ReplyFrame,
) -> Result<Vec<Answer>, ExchangeError> {
    let reply = session.open(sent.number, frame)?;
    if reply.id != call.id {
        return Err(SessionError::Foreign.into());
    }
    let head = verified_head(home, &reply, frame).map_err(|error| match error {
        ExchangeError::Flow(error) => ExchangeError::Flow(home.noted(error)),
        other => other,
    })?;
    if head.is_none() && is_gated(call, &reply.answers) {
        return Err(FlowError::evidence(
            "the reply to a step that must be in the ledger shows no checkpoint",
        )
        .into());
    }
    if let Some(account) = reply.account {
        check_possible(&account, head)?;
        home.advance(account).map_err(FlowError::Refused)?;
    }
    if head.is_some() {
        home.trust.seen = head;
    }
    Ok(reply.answers)
}

/// Each change of a vault is an entry of its account, and each entry a leaf of the log, as far as a checkpoint came along.
/// A home that believed more would take the honest enclave for a rolled-back one afterwards.
fn check_possible(account: &AccountHead, head: Option<Head>) -> Result<(), FlowError> {
    let possible = account.vault_seq <= account.seq && head.is_none_or(|head| account.seq <= head.size);
    if possible {
        return Ok(());
    }
    Err(FlowError::evidence("the enclave states more changes or more entries than its ledger can hold"))
}

/// Whether a step that was not refused is one that the ledger must hold.
fn is_gated(call: &Call, answers: &[Answer]) -> bool {
    let silent = |command: &Command| {
        matches!(command, Command::Authenticate(_) | Command::PinStatus | Command::ListDevices)
    };
    let mut steps = call.commands.iter().zip(answers);
    steps.any(|(command, answer)| !silent(command) && !matches!(answer, Answer::Refused(_)))
}

/// The log becomes known with the account; before that there is nothing to hold a checkpoint against.
fn verified_head(home: &mut Home, reply: &Reply, frame: &ReplyFrame) -> Result<Option<Head>, ExchangeError> {
    for answer in &reply.answers {
        match answer {
            Answer::Account(account) => home.meet(account)?,
            Answer::Member(member) => home.meet(&member.account)?,
            _ => {}
        }
    }
    match &reply.checkpoint {
        Some(note) if home.trust.log.is_some() => Ok(Some(home.trust.check_head(note, &frame.consistency)?)),
        _ => Ok(None),
    }
}

fn request(home: &Home, call: &Call) -> Result<Request, FlowError> {
    let (account, device, key) = match call.sender {
        Sender::Nobody => (None, None, None),
        Sender::Stranger => (home.account, Some(home.device_id()), Some(Bytes(home.keys.hw.to_vec()))),
        Sender::Member => (Some(home.account()?), Some(home.device_id()), None),
    };
    let wrapped = if call.wrapped { Some(home.membership()?.wrapped.clone()) } else { None };
    Ok(Request {
        version: VERSION,
        account,
        device,
        commands: call.command_bytes(),
        id: call.id,
        seen: home.trust.seen,
        key,
        wrapped,
        signatures: Vec::new(),
    })
}

/// Each key of the call signs the session and the whole request without signatures.
fn signatures(
    session: &Session,
    call: &Call,
    request: &Request,
    signer: &dyn Signer,
) -> Result<Vec<Signature>, FlowError> {
    let hash = message_hash(request);
    let sign = |level: &Level| {
        let label = match level {
            Level::Hw => Label::RequestHw,
            Level::Uv => Label::RequestUv,
        };
        let message = signed_bytes(label.as_bytes(), session.handshake_hash(), &hash);
        let signature = signer.sign(*level, &message).map_err(FlowError::fault)?;
        Ok(Signature { level: *level, alg: ES256, signature: Bytes(signature) })
    };
    call.levels.iter().map(sign).collect()
}

impl From<Refusal> for ExchangeError {
    fn from(refusal: Refusal) -> Self {
        ExchangeError::Flow(FlowError::Refused(refusal))
    }
}

#[cfg(test)]
mod tests;
