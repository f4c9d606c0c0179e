//! A channel to one enclave instance, without I/O: bytes in, bytes out.
//!
//! [`Opening`] needs a [`VerifiedEvidence`], so message 1 of the handshake does not exist before the evidence was
//! appraised. Message numbers rise and none is used twice.

use crate::evidence::VerifiedEvidence;
use keyferry_crypto::channel::{Initiator, Suite, Transport, prologue};
use keyferry_crypto::random::Random;
use keyferry_crypto::seal::{pad256, unpad};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::frame::{Reply, ReplyFrame, SessionOpen, SessionOpened};
use keyferry_wire::limits::{SESSION_MESSAGES_MAX, SUITE, VERSION};
use keyferry_wire::{Hash, InstanceId, SessionId, Wire};
use zeroize::Zeroizing;

/// Why a channel cannot be used any longer. A new one may work; the operation stays the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SessionError {
    #[error("the handshake failed: whoever answered does not hold the key that the evidence names")]
    Handshake,
    #[error("the session belongs to another instance than the evidence names")]
    Instance,
    #[error("the session is used up")]
    UsedUp,
    #[error("the request is too long for one message")]
    TooLong,
    #[error("the reply does not belong to the request")]
    Foreign,
    #[error("the reply does not open")]
    Damaged,
    #[error("the reply has version {0}, which this program does not know")]
    Version(u16),
}

/// A handshake between its two messages.
#[derive(Debug)]
pub struct Opening {
    initiator: Initiator,
    instance: InstanceId,
}

impl Opening {
    /// Makes message 1 for the enclave that the evidence describes.
    pub fn start(
        evidence: &VerifiedEvidence,
        random: &mut dyn Random,
    ) -> Result<(Opening, SessionOpen), SessionError> {
        let prologue = prologue(Suite::One, evidence.hash(), &[]);
        let (initiator, message) = Initiator::start(random, Suite::One, evidence.channel_key(), &prologue)
            .map_err(|_| SessionError::Handshake)?;
        let open = SessionOpen {
            version: VERSION,
            suite: SUITE,
            evidence: *evidence.hash(),
            message: Bytes(message),
        };
        Ok((Opening { initiator, instance: evidence.instance() }, open))
    }

    /// Takes message 2; afterwards the enclave is known to hold the channel key.
    pub fn finish(self, opened: &SessionOpened) -> Result<Session, SessionError> {
        if opened.version != VERSION {
            return Err(SessionError::Version(opened.version));
        }
        if !opened.session.0.starts_with(&self.instance.0) {
            return Err(SessionError::Instance);
        }
        let transport = self.initiator.finish(&opened.message).map_err(|_| SessionError::Handshake)?;
        Ok(Session { id: opened.session, transport, next: 0 })
    }
}

/// An open channel.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    transport: Transport,
    /// Number of the next message; all below are used.
    next: u64,
}

impl Session {
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// What signatures of this session's requests are bound to.
    pub fn handshake_hash(&self) -> &Hash {
        self.transport.handshake_hash()
    }

    /// Seals a request's bytes under the next number, which is used up whatever becomes of the message.
    pub(crate) fn seal(&mut self, request: &[u8]) -> Result<(u64, Bytes), SessionError> {
        if self.next >= SESSION_MESSAGES_MAX {
            return Err(SessionError::UsedUp);
        }
        let number = self.next;
        self.next = number.saturating_add(1);
        let padded = Zeroizing::new(pad256(request));
        let ciphertext = self.transport.seal(number, &padded).map_err(|_| SessionError::TooLong)?;
        Ok((number, Bytes(ciphertext)))
    }

    /// Opens the reply to request `number`.
    pub(crate) fn open(&self, number: u64, frame: &ReplyFrame) -> Result<Reply, SessionError> {
        if frame.version != VERSION {
            return Err(SessionError::Version(frame.version));
        }
        if frame.session != self.id || frame.number != number {
            return Err(SessionError::Foreign);
        }
        let opened = self.transport.open(number, &frame.ciphertext).map_err(|_| SessionError::Damaged)?;
        let padded = Zeroizing::new(opened);
        let bytes = unpad(&padded).ok_or(SessionError::Damaged)?;
        let reply = Reply::from_bytes(bytes).map_err(|_| SessionError::Damaged)?;
        if reply.version == VERSION { Ok(reply) } else { Err(SessionError::Version(reply.version)) }
    }
}
