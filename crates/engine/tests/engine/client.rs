//! A client, as small as the protocol allows: a session, a device's keys, a request that can be bent in every way.

use crate::host::{Host, jwk};
use crate::platform::Seeded;
use keyferry_crypto::channel::{self, Initiator, Suite, Transport};
use keyferry_crypto::hash::{labelled_hash, sha256};
use keyferry_crypto::hpke::BoxKey;
use keyferry_crypto::label::Label;
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::seal;
use keyferry_crypto::sign::SigningKey;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::*;
use keyferry_wire::door::OutBody;
use keyferry_wire::evidence::Evidence;
use keyferry_wire::frame::*;
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, RequestId, SessionId, Wire};

pub(crate) struct Session {
    pub(crate) transport: Transport,
    pub(crate) id: SessionId,
    pub(crate) next: u64,
}

pub(crate) fn chan_key(evidence: &Evidence) -> [u8; 65] {
    let point = [vec![4], jwk(evidence, "chan", "x"), jwk(evidence, "chan", "y")].concat();
    point.try_into().unwrap()
}

/// Message 1 to the enclave of this evidence.
pub(crate) fn knock(random: &mut dyn Random, evidence: &Evidence) -> (Initiator, SessionOpen) {
    let hash = sha256(&[&evidence.to_bytes()]);
    let prologue = channel::prologue(Suite::One, &hash, &[]);
    let (state, message) = Initiator::start(random, Suite::One, &chan_key(evidence), &prologue).unwrap();
    (state, SessionOpen { version: 1, suite: 1, evidence: hash, message: message.into() })
}

impl Session {
    pub(crate) fn open(host: &mut Host, random: &mut dyn Random) -> Session {
        let evidence = host.evidence.clone().unwrap();
        let (state, open) = knock(random, &evidence);
        match host.open(open) {
            OutBody::Opened(opened) => {
                Session { transport: state.finish(&opened.message).unwrap(), id: opened.session, next: 0 }
            }
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn seal(&mut self, request: &Request) -> RequestFrame {
        let number = self.next;
        self.next += 1;
        self.seal_bytes(number, &seal::pad256(&request.to_bytes()), request)
    }

    pub(crate) fn seal_bytes(&self, number: u64, padded: &[u8], hints: &Request) -> RequestFrame {
        RequestFrame {
            version: 1,
            suite: 1,
            session: self.id,
            number,
            ciphertext: self.transport.seal(number, padded).unwrap().into(),
            account: hints.account,
            device: hints.device,
            passkeys: Vec::new(),
            seen: None,
        }
    }

    pub(crate) fn read(&self, frame: &ReplyFrame) -> Reply {
        assert_eq!(frame.session, self.id);
        let padded = self.transport.open(frame.number, &frame.ciphertext).unwrap();
        Reply::from_bytes(seal::unpad(&padded).unwrap()).unwrap()
    }
}

pub(crate) struct Device {
    pub(crate) hw: SigningKey,
    pub(crate) uv: Option<SigningKey>,
    pub(crate) sealing: BoxKey,
    pub(crate) id: DeviceId,
    pub(crate) account: Option<AccountId>,
    pub(crate) secrets: Option<MemberSecrets>,
    pub(crate) random: Seeded,
}

/// Who is said to send a request, and which keys sign it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum As {
    Nobody,
    Stranger,
    StrangerWithUv,
    Member,
    MemberWithUv,
}

impl Device {
    pub(crate) fn new(random: &mut Seeded) -> Device {
        let mut random = random.fork();
        let hw = SigningKey::generate(&mut random);
        let digest = labelled_hash(Label::DeviceId, &[&hw.public()]);
        Device {
            id: DeviceId(digest[..16].try_into().unwrap()),
            hw,
            uv: Some(SigningKey::generate(&mut random)),
            sealing: BoxKey::generate(&mut random),
            account: None,
            secrets: None,
            random,
        }
    }

    pub(crate) fn request_id(&mut self) -> RequestId {
        RequestId(random::bytes(&mut self.random))
    }

    pub(crate) fn registration(&self) -> Registration {
        Registration {
            hw: self.hw.public().to_vec().into(),
            uv: self.uv.as_ref().map(|uv| uv.public().to_vec().into()),
            sealing: self.sealing.public(),
            label: "laptop".to_owned(),
            storage: Storage::Software,
        }
    }

    /// A request, not signed yet.
    pub(crate) fn unsigned(&self, sender: As, id: RequestId, commands: &[Command]) -> Request {
        let member = matches!(sender, As::Member | As::MemberWithUv);
        let stranger = matches!(sender, As::Stranger | As::StrangerWithUv);
        let half = self.secrets.as_ref().filter(|_| member).map(|secrets| secrets.wrapped.clone());
        Request {
            version: 1,
            account: self.account.filter(|_| member),
            device: (sender != As::Nobody).then_some(self.id),
            commands: commands.to_vec().to_bytes().into(),
            id,
            seen: None,
            key: stranger.then(|| Bytes(self.hw.public().to_vec())),
            wrapped: half,
            signatures: Vec::new(),
        }
    }

    pub(crate) fn sign(&self, mut request: Request, sender: As, handshake: &Hash) -> Request {
        let mut levels = Vec::new();
        if sender != As::Nobody {
            levels.push(signature(&request, Level::Hw, &self.hw, handshake));
        }
        if matches!(sender, As::StrangerWithUv | As::MemberWithUv) {
            levels.push(signature(&request, Level::Uv, self.uv.as_ref().unwrap(), handshake));
        }
        request.signatures = levels;
        request
    }

    /// A signed request for this session.
    pub(crate) fn request(
        &self,
        session: &Session,
        sender: As,
        id: RequestId,
        commands: &[Command],
    ) -> Request {
        self.sign(self.unsigned(sender, id, commands), sender, session.transport.handshake_hash())
    }

    /// Opens what only this device may read.
    pub(crate) fn admit(&mut self, member: &Member) {
        let account = member.account.account;
        let aad: [&[u8]; 2] = [&account.0, &member.device.0];
        let plain = self.sealing.open(Label::DeviceBox, &aad, &member.secrets).unwrap();
        assert_eq!(member.device, self.id);
        self.account = Some(account);
        self.secrets = Some(MemberSecrets::from_bytes(plain.expose()).unwrap());
    }
}

pub(crate) fn signature(request: &Request, level: Level, key: &SigningKey, handshake: &Hash) -> Signature {
    let label = match level {
        Level::Hw => Label::RequestHw,
        Level::Uv => Label::RequestUv,
    };
    let unsigned = Request { signatures: Vec::new(), ..request.clone() };
    let message = signed_bytes(label.as_bytes(), handshake, &sha256(&[&unsigned.to_bytes()]));
    Signature { level, alg: -7, signature: key.sign(&message).into() }
}

pub(crate) fn identity(name: &str, password: u8) -> Authenticate {
    Authenticate { kind: IdentityKind::Local, name: name.to_owned(), proof: [password; 32] }
}

pub(crate) fn create_for(rp_id: &str) -> CreatePasskey {
    CreatePasskey {
        rp_id: rp_id.to_owned(),
        user_id: Bytes(vec![9; 16]),
        user_name: "ann".to_owned(),
        display_name: "Ann".to_owned(),
        client_data_hash: [3; 32],
        client_data_json: None,
        algorithms: vec![-999, -7],
        exclude: Vec::new(),
        user_verification: UserVerification::Preferred,
        prf: None,
        cred_protect: None,
    }
}

pub(crate) fn assert_for(id: CredentialId, rp_id: &str) -> Assert {
    Assert {
        id,
        rp_id: rp_id.to_owned(),
        client_data_hash: [4; 32],
        client_data_json: None,
        user_verification: UserVerification::Preferred,
        listed: true,
        prf: None,
        large_blob: None,
    }
}
