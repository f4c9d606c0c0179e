//! A channel to an enclave as the load generator holds it. The state machines of `keyferry-client` keep a home for
//! each device and check every reply against the log; this one says the same bytes and checks samples, so that the
//! generator stays cheaper than the server.

use crate::Fallible;
use keyferry_client::evidence::{Trust, appraise};
use keyferry_crypto::channel::{Initiator, Suite, Transport, prologue};
use keyferry_crypto::hash::sha256;
use keyferry_crypto::label::Label;
use keyferry_crypto::seal::{pad256, unpad};
use keyferry_crypto::sign::SigningKey;
use keyferry_enclave::HardwareRandom;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Answer, Command};
use keyferry_wire::evidence::{Evidence, SIM};
use keyferry_wire::frame::{
    Head, Level, Reply, ReplyFrame, Request, RequestFrame, SessionOpen, SessionOpened, Signature,
    signed_bytes,
};
use keyferry_wire::limits::{SUITE, VERSION};
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, RequestId, SessionId, Wire};

/// Carries frames to an enclave: over HTTP, or within this process.
pub(crate) trait Carrier {
    fn evidence(&mut self) -> Fallible<Evidence>;
    fn open(&mut self, open: &SessionOpen) -> Fallible<SessionOpened>;
    fn request(&mut self, frame: RequestFrame) -> Fallible<ReplyFrame>;
}

/// Whom a channel is opened with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    pub(crate) evidence: Hash,
    pub(crate) public: [u8; 65],
}

impl Peer {
    /// Appraises evidence as a client that was told to accept the stand-in.
    pub(crate) fn appraised(evidence: &Evidence) -> Fallible<Peer> {
        let trust = Trust { stand_ins: vec![SIM.to_owned()], ..Trust::default() };
        let verified = appraise(evidence, &trust, 0)?;
        Ok(Peer { evidence: *verified.hash(), public: *verified.channel_key() })
    }
}

/// The enclave knows the session no longer; another one has to be opened.
#[derive(Debug)]
pub(crate) struct SessionGone;

impl std::fmt::Display for SessionGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the session is over")
    }
}

impl std::error::Error for SessionGone {}

/// An open session. A device has one of its own: the enclave hears one device in each.
pub(crate) struct Channel {
    evidence: Hash,
    session: SessionId,
    transport: Transport,
    next: u64,
}

/// The way to an enclave, and whom to expect there.
pub(crate) struct Wires<'a> {
    pub(crate) carrier: &'a mut dyn Carrier,
    pub(crate) peer: Peer,
}

impl Wires<'_> {
    /// The session that there is, or a new one.
    pub(crate) fn channel(&mut self, open: Option<Channel>) -> Fallible<Channel> {
        match open.filter(|channel| channel.evidence == self.peer.evidence) {
            Some(channel) => Ok(channel),
            None => Channel::open(self.carrier, &self.peer),
        }
    }
}

/// What goes into a request besides its signatures.
pub(crate) struct Ask<'a> {
    pub(crate) account: Option<AccountId>,
    pub(crate) device: Option<DeviceId>,
    /// The device's key, for one that is no member.
    pub(crate) key: Option<[u8; 65]>,
    pub(crate) signer: &'a SigningKey,
    pub(crate) id: RequestId,
    pub(crate) commands: Vec<Command>,
    pub(crate) wrapped: Option<Bytes>,
    pub(crate) passkeys: Vec<CredentialId>,
    pub(crate) seen: Option<Head>,
}

/// COSE: ECDSA with P-256 and SHA-256.
const ES256: i64 = -7;

impl Channel {
    pub(crate) fn open(carrier: &mut dyn Carrier, peer: &Peer) -> Fallible<Channel> {
        let prologue = prologue(Suite::One, &peer.evidence, &[]);
        let mut random = HardwareRandom::default();
        let (initiator, message) = Initiator::start(&mut random, Suite::One, &peer.public, &prologue)?;
        let opened = carrier.open(&SessionOpen {
            version: VERSION,
            suite: SUITE,
            evidence: peer.evidence,
            message: Bytes(message),
        })?;
        let evidence = peer.evidence;
        Ok(Channel {
            evidence,
            session: opened.session,
            transport: initiator.finish(&opened.message)?,
            next: 0,
        })
    }

    /// Signs and seals a request under the next number.
    pub(crate) fn seal(&mut self, ask: Ask<'_>) -> Fallible<RequestFrame> {
        let mut request = Request {
            version: VERSION,
            account: ask.account,
            device: ask.device,
            commands: Bytes(ask.commands.to_bytes()),
            id: ask.id,
            seen: ask.seen,
            key: ask.key.map(|key| Bytes(key.to_vec())),
            wrapped: ask.wrapped,
            signatures: Vec::new(),
        };
        let hash = sha256(&[&request.to_bytes()]);
        let message = signed_bytes(Label::RequestHw.as_bytes(), self.transport.handshake_hash(), &hash);
        let signature = Bytes(ask.signer.sign(&message));
        request.signatures.push(Signature { level: Level::Hw, alg: ES256, signature });
        let number = self.next;
        self.next += 1;
        Ok(RequestFrame {
            version: VERSION,
            suite: SUITE,
            session: self.session,
            number,
            ciphertext: Bytes(self.transport.seal(number, &pad256(&request.to_bytes()))?),
            account: request.account,
            device: request.device,
            passkeys: ask.passkeys,
            seen: ask.seen.map(|head| head.size),
        })
    }

    /// Opens the reply to a request of this channel.
    pub(crate) fn unseal(&self, number: u64, frame: &ReplyFrame) -> Fallible<Reply> {
        if frame.session != self.session || frame.number != number {
            return Err("the reply is of another request".into());
        }
        let padded = self.transport.open(number, &frame.ciphertext)?;
        Ok(Reply::from_bytes(unpad(&padded).ok_or("the reply's padding is damaged")?)?)
    }

    /// One request and its reply; a refusal is an error here.
    pub(crate) fn exchange(&mut self, carrier: &mut dyn Carrier, ask: Ask<'_>) -> Fallible<Reply> {
        let frame = self.seal(ask)?;
        let number = frame.number;
        let reply = carrier.request(frame)?;
        let reply = self.unseal(number, &reply)?;
        match reply.answers.last() {
            Some(Answer::Refused(refusal)) => Err(refusal.clone().into()),
            Some(_) => Ok(reply),
            None => Err("a reply without an answer".into()),
        }
    }
}

/// The head that a reply's checkpoint states.
pub(crate) fn head_of(reply: &Reply) -> Option<Head> {
    let checkpoint = keyferry_server::ledger::checkpoint_of(reply.checkpoint.as_deref()?)?;
    Some(Head { size: checkpoint.size, root: checkpoint.root })
}
