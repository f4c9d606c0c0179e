//! A device of an account as the load generator plays it: enrols, creates passkeys, signs in, enters a PIN. Neither
//! Argon2 nor a home on disk: what the client spends is not measured here.

use crate::Fallible;
use crate::carrier::{Ask, Channel, SessionGone, Wires, head_of};
use keyferry_crypto::hash::{labelled_hash, sha256};
use keyferry_crypto::hpke::BoxKey;
use keyferry_crypto::label::Label;
use keyferry_crypto::random::{self, Random};
use keyferry_crypto::sign::{SigningKey, verify_p256};
use keyferry_enclave::HardwareRandom;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{
    Answer, Assert, Asserted, Authenticate, Command, CreatePasskey, IdentityKind, Member as Admitted,
    MemberSecrets, Registration, RenamePasskey, Storage, UserVerification,
};
use keyferry_wire::frame::{AccountHead, Head, Reply, RequestFrame};
use keyferry_wire::{AccountId, CredentialId, DeviceId, Hash, RequestId, Wire};

/// A device that is a member.
pub(crate) struct Member {
    pub(crate) identity: Authenticate,
    pub(crate) account: AccountId,
    pub(crate) device: DeviceId,
    pub(crate) signer: SigningKey,
    pub(crate) wrapped: Bytes,
    /// Admits to the account's rows.
    pub(crate) access: [u8; 32],
    /// Where the account stood after this device's last request.
    pub(crate) stood: Option<AccountHead>,
    pub(crate) passkeys: Vec<Passkey>,
    pub(crate) seen: Option<Head>,
    /// Shown with each request, to a server that keeps no devices: the stub.
    key: Option<[u8; 65]>,
    channel: Option<Channel>,
}

/// A passkey as its relying party knows it.
pub(crate) struct Passkey {
    pub(crate) id: CredentialId,
    public: [u8; 65],
}

/// A session may have ended; one that was just opened has not.
const SESSIONS_TRIED: usize = 2;

/// The relying party of all passkeys here.
const RP_ID: &str = "login.example.org";
const LABEL: &str = "bench";

/// Who owns the account with this number. The proof stands for a password after Argon2id: any 32 bytes do.
pub(crate) fn identity(number: usize) -> Authenticate {
    let name = format!("bench-{number}");
    let proof = sha256(&[b"keyferry bench", name.as_bytes()]);
    Authenticate { kind: IdentityKind::Local, name, proof }
}

/// A device's keys before it is a member.
pub(crate) struct Newcomer {
    pub(crate) signer: SigningKey,
    sealing: BoxKey,
    channel: Option<Channel>,
}

impl Newcomer {
    pub(crate) fn generate() -> Newcomer {
        let mut random = HardwareRandom::default();
        let (signer, sealing) = (SigningKey::generate(&mut random), BoxKey::generate(&mut random));
        Newcomer { signer, sealing, channel: None }
    }

    pub(crate) fn device(&self) -> DeviceId {
        let hash = labelled_hash(Label::DeviceId, &[&self.signer.public()]);
        let mut id = [0; 16];
        id.copy_from_slice(hash.split_at(16).0);
        DeviceId(id)
    }

    pub(crate) fn registration(&self) -> Registration {
        Registration {
            hw: Bytes(self.signer.public().to_vec()),
            uv: None,
            sealing: self.sealing.public(),
            label: LABEL.to_owned(),
            storage: Storage::Software,
        }
    }

    /// One request as a stranger.
    pub(crate) fn ask(&mut self, wire: &mut Wires<'_>, commands: Vec<Command>) -> Fallible<Reply> {
        let mut channel = wire.channel(self.channel.take())?;
        let ask = Ask {
            account: None,
            device: Some(self.device()),
            key: Some(self.signer.public()),
            signer: &self.signer,
            id: request_id(),
            commands,
            wrapped: None,
            passkeys: Vec::new(),
            seen: None,
        };
        let reply = channel.exchange(wire.carrier, ask)?;
        self.channel = Some(channel);
        Ok(reply)
    }

    /// Takes over what the enclave gave.
    pub(crate) fn admitted(self, identity: Authenticate, reply: &Reply) -> Fallible<Member> {
        let Some(Answer::Member(Admitted { account, device, secrets, .. })) = reply.answers.last() else {
            return Err("not admitted".into());
        };
        let aad: [&[u8]; 2] = [&account.account.0, &device.0];
        let opened = self.sealing.open(Label::DeviceBox, &aad, secrets)?;
        let secrets = MemberSecrets::from_bytes(opened.expose())?;
        Ok(Member {
            identity,
            account: account.account,
            device: *device,
            signer: self.signer,
            wrapped: secrets.wrapped,
            access: secrets.access,
            stood: reply.account,
            passkeys: Vec::new(),
            seen: head_of(reply),
            key: None,
            channel: self.channel,
        })
    }
}

impl Member {
    /// Fields that no enclave gave, for the stub.
    pub(crate) fn invented(newcomer: Newcomer, account: AccountId, wrapped: Bytes, seen: Head) -> Member {
        Member {
            identity: identity(0),
            account,
            device: newcomer.device(),
            key: Some(newcomer.signer.public()),
            signer: newcomer.signer,
            wrapped,
            access: [0; 32],
            stood: None,
            passkeys: Vec::new(),
            seen: Some(seen),
            channel: None,
        }
    }

    /// Creates the account with this number and enrols its first device, in one request.
    pub(crate) fn enrol(wire: &mut Wires<'_>, number: usize) -> Fallible<Member> {
        let (mut newcomer, identity) = (Newcomer::generate(), identity(number));
        let commands =
            vec![Command::CreateAccount(identity.clone()), Command::Enrol(newcomer.registration())];
        let reply = newcomer.ask(wire, commands)?;
        newcomer.admitted(identity, &reply)
    }

    /// What a member asks for, with its half of the secret.
    pub(crate) fn ask(&self, commands: Vec<Command>, passkeys: Vec<CredentialId>) -> Ask<'_> {
        Ask {
            account: Some(self.account),
            device: Some(self.device),
            key: self.key,
            signer: &self.signer,
            id: request_id(),
            commands,
            wrapped: Some(self.wrapped.clone()),
            passkeys,
            seen: self.seen,
        }
    }

    /// Opens a session, unless there is one.
    pub(crate) fn open(&mut self, wire: &mut Wires<'_>) -> Fallible<()> {
        self.channel = Some(wire.channel(self.channel.take())?);
        Ok(())
    }

    /// Lets go of the session: the next request opens another.
    pub(crate) fn leave(&mut self) {
        self.channel = None;
    }

    /// Seals a request for the session that is open.
    pub(crate) fn seal(
        &mut self,
        commands: Vec<Command>,
        passkeys: Vec<CredentialId>,
    ) -> Fallible<RequestFrame> {
        let mut channel = self.channel.take().ok_or(SessionGone)?;
        let frame = channel.seal(self.ask(commands, passkeys))?;
        self.channel = Some(channel);
        Ok(frame)
    }

    /// One request as a member; remembers the newest head. Opens a session where there is none any more.
    pub(crate) fn exchange(
        &mut self,
        wire: &mut Wires<'_>,
        commands: Vec<Command>,
        passkeys: Vec<CredentialId>,
    ) -> Fallible<Reply> {
        for _ in 0..SESSIONS_TRIED {
            let mut channel = wire.channel(self.channel.take())?;
            match channel.exchange(wire.carrier, self.ask(commands.clone(), passkeys.clone())) {
                Ok(reply) => {
                    self.seen = head_of(&reply).or(self.seen);
                    self.stood = reply.account.or(self.stood);
                    self.channel = Some(channel);
                    return Ok(reply);
                }
                Err(error) if error.is::<SessionGone>() => {}
                Err(error) => return Err(error),
            }
        }
        Err(Box::new(SessionGone))
    }

    pub(crate) fn create_passkey(&mut self, wire: &mut Wires<'_>) -> Fallible<()> {
        let reply = self.exchange(wire, vec![self.create_command()], Vec::new())?;
        match reply.answers.as_slice() {
            [Answer::Created(created)] => {
                let public = point(&created.public_key).ok_or("no COSE key")?;
                self.passkeys.push(Passkey { id: created.id, public });
                Ok(())
            }
            _ => Err("no passkey was created".into()),
        }
    }

    fn create_command(&self) -> Command {
        let (json, hash) = client_data("webauthn.create");
        Command::CreatePasskey(CreatePasskey {
            rp_id: RP_ID.to_owned(),
            user_id: Bytes(self.account.0.to_vec()),
            user_name: self.identity.name.clone(),
            display_name: self.identity.name.clone(),
            client_data_hash: hash,
            client_data_json: Some(Bytes(json)),
            algorithms: vec![-7],
            exclude: Vec::new(),
            user_verification: UserVerification::Preferred,
            prf: None,
            cred_protect: None,
        })
    }

    /// Gives the first passkey another name: a change that every device of the account wants to see.
    pub(crate) fn rename_passkey(&mut self, wire: &mut Wires<'_>, version: u64, name: &str) -> Fallible<u64> {
        let id = self.passkeys.first().ok_or("no passkey")?.id;
        let (user_name, display_name) = (name.to_owned(), name.to_owned());
        let rename = Command::RenamePasskey(RenamePasskey { id, version, user_name, display_name });
        let reply = self.exchange(wire, vec![rename], vec![id])?;
        match reply.answers.as_slice() {
            [Answer::Edited(edited)] => Ok(edited.version),
            _ => Err("the passkey has its old name".into()),
        }
    }

    /// The command that signs in with one of the passkeys.
    pub(crate) fn assert(&self, passkey: usize) -> Fallible<(Command, CredentialId, Hash)> {
        let id = self.passkeys.get(passkey).ok_or("no such passkey")?.id;
        let (command, hash) = assert_command(id);
        Ok((command, id, hash))
    }

    /// Signs in once. `check` verifies the signature as a relying party does.
    pub(crate) fn sign_in(&mut self, wire: &mut Wires<'_>, passkey: usize, check: bool) -> Fallible<()> {
        let (command, id, hash) = self.assert(passkey)?;
        let reply = self.exchange(wire, vec![command], vec![id])?;
        match reply.answers.as_slice() {
            [Answer::Asserted(asserted)] if !check || self.holds(passkey, asserted, &hash) => Ok(()),
            _ => Err("the assertion does not hold".into()),
        }
    }

    fn holds(&self, passkey: usize, asserted: &Asserted, hash: &Hash) -> bool {
        let signed = [&asserted.authenticator_data[..], hash].concat();
        self.passkeys
            .get(passkey)
            .is_some_and(|passkey| verify_p256(&passkey.public, &signed, &asserted.signature))
    }
}

/// Signs in with a passkey, with client data as the extension and the command line send it.
pub(crate) fn assert_command(id: CredentialId) -> (Command, Hash) {
    let (json, hash) = client_data("webauthn.get");
    let command = Command::Assert(Assert {
        id,
        rp_id: RP_ID.to_owned(),
        client_data_hash: hash,
        client_data_json: Some(Bytes(json)),
        user_verification: UserVerification::Preferred,
        listed: true,
        prf: None,
        large_blob: None,
    });
    (command, hash)
}

fn client_data(kind: &str) -> (Vec<u8>, Hash) {
    use base64::Engine as _;
    let challenge: [u8; 32] = random::bytes(&mut HardwareRandom::default());
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(challenge);
    let json = format!(
        r#"{{"type":"{kind}","challenge":"{challenge}","origin":"https://{RP_ID}","crossOrigin":false}}"#
    )
    .into_bytes();
    let hash = sha256(&[&json]);
    (json, hash)
}

/// The point of an ES256 COSE key in the one form that the enclave writes.
fn point(cose: &[u8]) -> Option<[u8; 65]> {
    let (x, y) = (cose.get(10..42)?, cose.get(45..77)?);
    [&[4], x, y].concat().try_into().ok()
}

pub(crate) fn request_id() -> RequestId {
    let mut id = [0; 16];
    HardwareRandom::default().fill(&mut id);
    RequestId(id)
}
