//! Open channels. A session carries no authority: who may do what is read from the record at each request.

use crate::instance::Instances;
use keyferry_crypto::channel::{self, Suite, Transport};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::seal;
use keyferry_crypto::secret::SecretVec;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::door::Drop as Reason;
use keyferry_wire::frame::{Reply, ReplyFrame, Request, RequestFrame, SessionOpen, SessionOpened, Signature};
use keyferry_wire::{DeviceId, Hash, SessionId, Wire, Writer, limits};
use std::collections::HashMap;

pub(crate) struct Sessions {
    open: HashMap<SessionId, Session>,
    /// The newest session in which each device has spoken.
    speaking: HashMap<DeviceId, SessionId>,
    opened: u64,
}

struct Session {
    transport: Transport,
    /// Sessions are numbered as they are opened.
    serial: u64,
    device: Option<DeviceId>,
    /// Its device speaks in a newer one.
    left: bool,
    /// Message numbers below this were used.
    next: u64,
    /// The newest message in which its device spoke.
    spoken: u64,
    /// When it was opened, or its device last spoke in it. What merely decrypts moves nothing: a frame that a host held
    /// back would keep its old session open for longer than the one that the device went on to.
    used_ms: u64,
}

/// A request that came through a channel, with what its signatures are bound to.
pub(crate) struct Received {
    pub(crate) session: SessionId,
    pub(crate) number: u64,
    pub(crate) handshake: Hash,
    pub(crate) request: Request,
    /// SHA-256 of the request without its signatures: what they sign.
    pub(crate) unsigned: Hash,
}

impl Sessions {
    pub(crate) fn new() -> Sessions {
        Sessions { open: HashMap::new(), speaking: HashMap::new(), opened: 0 }
    }

    /// Answers Noise message 1.
    pub(crate) fn accept(
        &mut self,
        instances: &Instances,
        open: &SessionOpen,
        now_ms: u64,
        random: &mut dyn Random,
    ) -> Result<SessionOpened, Reason> {
        if open.version != limits::VERSION || open.suite != limits::SUITE {
            return Err(Reason::Version);
        }
        let channel = instances.channel(&open.evidence, now_ms).ok_or(Reason::Evidence)?;
        let prologue = channel::prologue(Suite::One, &open.evidence, &[]);
        let (transport, message) =
            channel::respond(&channel.key, random, Suite::One, &prologue, &open.message)
                .map_err(|_| Reason::Frame)?;
        let mut id = [0; 16];
        let (instance, own) = id.split_at_mut(8);
        instance.copy_from_slice(&instances.boot.instance.0);
        own.copy_from_slice(&random::bytes::<8>(random));
        let session = SessionId(id);
        self.make_room(now_ms);
        self.opened += 1;
        let serial = self.opened;
        self.open.insert(
            session,
            Session { transport, serial, device: None, left: false, next: 0, spoken: 0, used_ms: now_ms },
        );
        Ok(SessionOpened { version: limits::VERSION, session, message: Bytes(message) })
    }

    /// Opens a frame: each message number once, rising, so that nothing recorded is heard twice.
    pub(crate) fn receive(&mut self, frame: &RequestFrame, now_ms: u64) -> Result<Received, Reason> {
        if frame.version != limits::VERSION || frame.suite != limits::SUITE {
            return Err(Reason::Version);
        }
        let session = self.live(&frame.session, now_ms)?;
        if frame.number < session.next || frame.number >= limits::SESSION_MESSAGES_MAX {
            return Err(if frame.number >= limits::SESSION_MESSAGES_MAX {
                Reason::Session
            } else {
                Reason::Frame
            });
        }
        let padded = session.transport.open(frame.number, &frame.ciphertext).map_err(|_| Reason::Frame)?;
        let padded = zeroize::Zeroizing::new(padded);
        // The number is used up by whatever decrypts under it, also when it then does not decode.
        session.next = frame.number + 1;
        let handshake = *session.transport.handshake_hash();
        let bytes = seal::unpad(&padded).ok_or(Reason::Frame)?;
        let request = Request::from_bytes(bytes).map_err(|_| Reason::Frame)?;
        if request.version != limits::VERSION {
            return Err(Reason::Version);
        }
        let unsigned = unsigned_hash(bytes, &request).ok_or(Reason::Frame)?;
        Ok(Received { session: frame.session, number: frame.number, handshake, request, unsigned })
    }

    /// Seals a reply under the number of its request. Each number is received once, so it is replied to once.
    pub(crate) fn reply(
        &self,
        session: &SessionId,
        number: u64,
        reply: &Reply,
    ) -> Result<ReplyFrame, Reason> {
        let open = self.open.get(session).ok_or(Reason::Session)?;
        let plain = SecretVec::new(reply.to_bytes());
        let padded = SecretVec::new(seal::pad256(plain.expose()));
        let ciphertext = open.transport.seal(number, padded.expose()).map_err(|_| Reason::Frame)?;
        Ok(ReplyFrame {
            version: limits::VERSION,
            session: *session,
            number,
            ciphertext: Bytes(ciphertext),
            consistency: Vec::new(),
        })
    }

    /// A device that speaks in a newer session has left its older ones: nothing more is heard there, so that a frame
    /// which the host held back is never run late. Nor is one within a session after a newer one. What is still to be
    /// said there is said.
    pub(crate) fn speak(
        &mut self,
        id: &SessionId,
        number: u64,
        device: &DeviceId,
        now_ms: u64,
    ) -> Result<(), Reason> {
        let newest = self.speaking.get(device).copied();
        let newest_serial = newest.and_then(|newest| self.open.get(&newest)).map(|session| session.serial);
        let session = self.open.get_mut(id).ok_or(Reason::Session)?;
        // One device a session: what is kept of devices is never more than what is kept of sessions.
        if session.device.is_some_and(|before| before != *device) {
            return Err(Reason::Session);
        }
        // The same one comes again with the rows that it asked for.
        if number < session.spoken {
            return Err(Reason::Frame);
        }
        session.device = Some(*device);
        if newest_serial.is_some_and(|serial| serial > session.serial) {
            session.left = true;
            return Err(Reason::Session);
        }
        if let Some(before) =
            newest.filter(|newest| newest != id).and_then(|newest| self.open.get_mut(&newest))
        {
            before.left = true;
        }
        if let Some(session) = self.open.get_mut(id) {
            session.spoken = number;
            session.used_ms = now_ms;
        }
        self.speaking.insert(*device, *id);
        Ok(())
    }

    fn close(&mut self, id: &SessionId) {
        let device = self.open.remove(id).and_then(|session| session.device);
        if let Some(device) = device.filter(|device| self.speaking.get(device) == Some(id)) {
            self.speaking.remove(&device);
        }
    }

    /// Whether a session is still open.
    pub(crate) fn still_open(&mut self, id: &SessionId, now_ms: u64) -> Result<(), Reason> {
        self.live(id, now_ms).map(|_| ())
    }

    fn live(&mut self, id: &SessionId, now_ms: u64) -> Result<&mut Session, Reason> {
        let idle_since = now_ms.saturating_sub(limits::SESSION_IDLE_MS);
        if self.open.get(id).is_some_and(|session| session.used_ms < idle_since) {
            self.close(id);
        }
        self.open.get_mut(id).filter(|session| !session.left).ok_or(Reason::Session)
    }

    fn make_room(&mut self, now_ms: u64) {
        if self.open.len() < limits::SESSIONS_MAX {
            return;
        }
        let idle_since = now_ms.saturating_sub(limits::SESSION_IDLE_MS);
        self.open.retain(|_, session| session.used_ms >= idle_since);
        self.speaking.retain(|_, session| self.open.contains_key(session));
        if self.open.len() < limits::SESSIONS_MAX {
            return;
        }
        // Of two that were used in the same millisecond the older one, too, never outlives the newer one.
        let oldest =
            self.open.iter().min_by_key(|(_, session)| (session.used_ms, session.serial)).map(|(id, _)| *id);
        if let Some(oldest) = oldest {
            self.close(&oldest);
        }
    }
}

/// Hashes the encoding of a request without its signatures. They are its last field, and each message has one encoding
/// alone: the bytes before them stay, and an empty list takes their place.
fn unsigned_hash(bytes: &[u8], request: &Request) -> Option<Hash> {
    let before = bytes.get(..bytes.len().checked_sub(encoding(&request.signatures).len())?)?;
    Some(sha256(&[before, &encoding(&Vec::new())]))
}

fn encoding(signatures: &Vec<Signature>) -> Vec<u8> {
    const EACH: usize = 96;
    let mut w = Writer::from(Vec::with_capacity(EACH * (signatures.len() + 1)));
    signatures.encode(&mut w);
    w.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use keyferry_wire::RequestId;
    use keyferry_wire::frame::Level;

    #[test]
    fn signatures_are_over_the_request_encoded_without_them() {
        let unsigned = Request {
            version: limits::VERSION,
            account: None,
            device: Some(DeviceId([3; 16])),
            commands: vec![1; 700].into(),
            id: RequestId([4; 16]),
            seen: None,
            key: None,
            wrapped: Some(vec![2; 65].into()),
            signatures: Vec::new(),
        };
        let expected = sha256(&[&unsigned.to_bytes()]);
        assert_eq!(unsigned_hash(&unsigned.to_bytes(), &unsigned), Some(expected));
        let signature = |level| Signature { level, alg: -7, signature: vec![5; 71].into() };
        for count in [1, 2, 30] {
            let signatures = vec![signature(Level::Hw); count];
            let signed = Request { signatures, ..unsigned.clone() };
            assert_eq!(unsigned_hash(&signed.to_bytes(), &signed), Some(expected));
        }
    }
}
