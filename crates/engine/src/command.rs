//! Commands run in order on one account; the first refusal stops. A handler refuses before it changes anything,
//! unless the refusal itself is a fact to be written down (a wrong PIN, a wrong password).

pub(crate) mod identity;
mod member;
mod passkey;
mod pin;

use crate::account::{Account, StoreLies};
use crate::commit::Planned;
use crate::load::Keys;
use crate::record::{AccountRecord, DeviceRecord, Op};
use crate::request::Actor;
use crate::session::Received;
use crate::shard::Shard;
use keyferry_crypto::credential::RsaKey;
use keyferry_crypto::hpke::BoxKey;
use keyferry_crypto::label::Label;
use keyferry_crypto::random::Random;
use keyferry_crypto::seal;
use keyferry_crypto::tree::SecurityDomainSecret;
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Answer, Command, Created};
use keyferry_wire::ledger::{Event, Kind, NO_DEVICE, Outcome};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{CredentialId, DeviceId, Wire};

/// Kept answers to a right and to a wrong PIN have one length, so that the device's row has, too.
const ANSWERS_PADDING: usize = 128;

/// Everything that a handler works with.
pub(crate) struct Context<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) now_ms: u64,
    pub(crate) random: &'a mut dyn Random,
    pub(crate) account: Account,
    /// Where the account lives.
    pub(crate) shard: &'a Shard,
    pub(crate) received: &'a Received,
    pub(crate) actor: Actor,
    /// First half of the operation's hash.
    pub(crate) operation: [u8; 16],
    pub(crate) authority: Authority,
    /// The operation was applied before.
    pub(crate) known: bool,
    /// Its answers were not kept: answer again, write nothing.
    pub(crate) replay: bool,
    /// The security domain secret, once something in this request opened it.
    pub(crate) sds: Option<SecurityDomainSecret>,
    /// The key for a passkey of RS256, if one is ready.
    pub(crate) rsa: &'a mut Option<RsaKey>,
    pub(crate) events: Vec<Event>,
}

/// What this request has shown so far. It ends with the request.
#[derive(Default)]
pub(crate) struct Authority {
    /// The account's identity.
    pub(crate) identity: bool,
    /// The account's PIN: the member that it opened, with the security domain secret sealed to it.
    pub(crate) pin: Option<(BoxKey, Bytes)>,
}

/// Why a handler stops.
pub(crate) enum Stop {
    Refused(Refusal),
    /// Rows that the host did not attach.
    Need(Missing),
    /// No RSA key is ready; the request waits, and nothing of it is in force.
    Later,
    Store,
}

/// What the host has to attach.
#[derive(Default)]
pub(crate) struct Missing {
    pub(crate) devices: Vec<DeviceId>,
    pub(crate) passkeys: Vec<CredentialId>,
    /// Passkeys whose large blob is wanted, too.
    pub(crate) large_blobs: Vec<CredentialId>,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Stop::Refused(refusal)
    }
}

impl From<StoreLies> for Stop {
    fn from(_: StoreLies) -> Self {
        Stop::Store
    }
}

/// A refusal in one breath.
pub(crate) fn refuse<T>(code: Code, message: &str) -> Result<T, Stop> {
    Err(Stop::Refused(Refusal::new(code, message)))
}

impl Context<'_> {
    /// Runs the commands, or answers an operation that was applied before.
    pub(crate) fn run(&mut self, commands: Vec<Command>) -> Result<Vec<Planned>, Stop> {
        if let Some(answers) = self.known_operation(&commands)? {
            return Ok(answers);
        }
        one_by_one(&commands)?;
        let light = commands.iter().all(|command| matches!(command, Command::Assert(_)));
        let mut answers = Vec::with_capacity(commands.len());
        for command in commands {
            match self.command(command) {
                Ok(answer) => answers.push(answer),
                Err(Stop::Refused(refusal)) => {
                    answers.push(Planned::Ready(Answer::Refused(refusal)));
                    break;
                }
                Err(stop) => return Err(stop),
            }
        }
        self.note_access();
        self.remember(light, &answers);
        Ok(answers)
    }

    /// Whoever is no member and proved the account leaves an entry, also when nothing else came of it.
    fn note_access(&mut self) {
        let member = matches!(self.actor, Actor::Member { .. });
        if self.authority.identity && !member && self.events.is_empty() {
            self.event(Kind::Authenticate, Outcome::Done);
        }
    }

    fn command(&mut self, command: Command) -> Result<Planned, Stop> {
        if self.replay && !harmless_again(&command) {
            return refuse(Code::Stale, "this operation was applied before");
        }
        let answer = match command {
            Command::Authenticate(identity) => self.authenticate(&identity)?,
            Command::CreateAccount(identity) => self.create_account(&identity)?,
            Command::Enrol(registration) => self.enrol(&registration)?,
            Command::Join(registration) => self.join(&registration)?,
            Command::PinStatus => self.pin_status()?,
            Command::Begin(begin) => return self.begin(&begin),
            Command::Finish(finish) => self.finish(&finish)?,
            Command::Prepare(prepare) => self.prepare(&prepare)?,
            Command::Expose(expose) => self.expose(&expose)?,
            Command::ListDevices => self.list_devices()?,
            Command::RenameDevice(rename) => self.rename_device(&rename)?,
            Command::CreatePasskey(create) => self.create_passkey(&create)?,
            Command::Assert(assert) => self.assert(&assert)?,
            Command::RenamePasskey(rename) => self.rename_passkey(&rename)?,
            Command::DeletePasskey(delete) => self.delete_passkey(&delete)?,
        };
        Ok(Planned::Ready(answer))
    }

    /// The answers of an operation that was applied before. The same request id with other commands is a conflict.
    /// What no row may hold is computed again: a secret of the PRF never stands under a key that the SDS is no part of.
    fn known_operation(&mut self, commands: &[Command]) -> Result<Option<Vec<Planned>>, Stop> {
        let Actor::Member { device, index, verified } = self.actor else { return Ok(None) };
        let id = self.received.request.id;
        let known = self.account.device(&device).and_then(|record| record.ops.iter().find(|op| op.id == id));
        let Some(op) = known else { return Ok(None) };
        self.known = true;
        if op.hash != self.operation {
            return refuse(Code::Conflict, "this request id was used for other commands");
        }
        // The ledger has the operation as it came first: a later signature or PRF adds nothing to it.
        self.actor = Actor::Member { device, index, verified: verified && op.verified };
        let Some(answers) = &op.answers else {
            self.replay = true;
            return Ok(None);
        };
        let answers = seal::unpad(answers).ok_or(Stop::Store)?;
        let mut answers = Vec::<Answer>::from_bytes(answers).map_err(|_| Stop::Store)?;
        for (command, answer) in commands.iter().zip(&mut answers) {
            if let (Command::CreatePasskey(create), Answer::Created(created)) = (command, answer) {
                created.prf = self.evaluated_again(create, &created.id)?;
            }
        }
        Ok(Some(answers.into_iter().map(Planned::Ready).collect()))
    }

    /// Keeps an operation that wrote something with its answers, so that a retry is answered and not applied.
    fn remember(&mut self, light: bool, answers: &[Planned]) {
        let Actor::Member { device, verified, .. } = self.actor else { return };
        if self.events.is_empty() || self.replay {
            return;
        }
        let ready = answers.iter().map(|planned| match planned {
            Planned::Ready(answer) => Some(without_secrets(answer)),
            Planned::Evaluate(_) => None,
        });
        let kept: Option<Vec<Answer>> = if light { None } else { ready.collect() };
        let op = Op {
            id: self.received.request.id,
            hash: self.operation,
            answers: kept.map(|answers| seal::pad(&answers.to_bytes(), ANSWERS_PADDING).into()),
            verified,
        };
        if let Some(record) = self.account.device_mut(&device) {
            record.remember(op);
        }
    }

    /// The account's record; an account that was never created answers like a wrong identity.
    pub(crate) fn record(&self) -> Result<&AccountRecord, Stop> {
        match &self.account.record {
            Some(record) => Ok(record),
            None => refuse(Code::Auth, "name or password is wrong"),
        }
    }

    pub(crate) fn record_mut(&mut self) -> Result<&mut AccountRecord, Stop> {
        match self.account.record_mut() {
            Some(record) => Ok(record),
            None => refuse(Code::Auth, "name or password is wrong"),
        }
    }

    /// The member that signed, and whether its user was verified for this request.
    pub(crate) fn member(&self) -> Result<(DeviceId, bool), Stop> {
        match self.actor {
            Actor::Member { device, verified, .. } => Ok((device, verified)),
            Actor::Stranger { .. } | Actor::Nobody => {
                refuse(Code::UnknownDevice, "this device is not a member of the account")
            }
        }
    }

    pub(crate) fn device(&self, device: &DeviceId) -> Result<&DeviceRecord, Stop> {
        self.account.device(device).ok_or_else(|| missing_device(device))
    }

    pub(crate) fn device_mut(&mut self, device: &DeviceId) -> Result<&mut DeviceRecord, Stop> {
        self.account.device_mut(device).ok_or_else(|| missing_device(device))
    }

    /// Notes an event of this request.
    pub(crate) fn event(&mut self, kind: Kind, outcome: Outcome) -> &mut Event {
        let (device, verified) = match self.actor {
            Actor::Member { index, verified, .. } => (index, verified),
            Actor::Stranger { .. } | Actor::Nobody => (NO_DEVICE, false),
        };
        self.events.push(Event {
            kind,
            outcome,
            seq: 0,
            time_ms: self.now_ms,
            device,
            operation: self.operation,
            credential: [0; 16],
            generation: 0,
            left: 0,
            detail: [0; 32],
            verified,
        });
        self.events.last_mut().expect("an event was just pushed")
    }

    /// The security domain secret: opened by a right PIN in this request, or by the half that the device sent.
    pub(crate) fn sds(&mut self) -> Result<&SecurityDomainSecret, Stop> {
        if self.sds.is_none() {
            let opened = match &self.authority.pin {
                Some((member, boxed)) => self.open_by_pin(member, boxed)?,
                None => self.unwrap_sds()?,
            };
            self.sds = Some(opened);
        }
        match &self.sds {
            Some(sds) => Ok(sds),
            None => refuse(Code::Stale, "the device's half is missing"),
        }
    }

    fn unwrap_sds(&self) -> Result<SecurityDomainSecret, Stop> {
        let (device, _) = self.member()?;
        let Some(wrapped) = &self.received.request.wrapped else {
            return refuse(Code::Stale, "the device's half is missing");
        };
        let epoch = self.record()?.epoch;
        let key = &self.device(&device)?.wrap_key;
        let aad: [&[u8]; 3] = [&self.account.id.0, &device.0, &epoch.to_be_bytes()];
        let opened = seal::open(&key.0, Label::DeviceWrap, &aad, wrapped).ok();
        self.checked_sds(opened.as_ref().map(keyferry_crypto::secret::SecretVec::expose))
    }

    /// Every opened secret is compared with its hash in the record.
    pub(crate) fn checked_sds(&self, opened: Option<&[u8]>) -> Result<SecurityDomainSecret, Stop> {
        let record = self.record()?;
        opened
            .and_then(SecurityDomainSecret::from_slice)
            .filter(|sds| record.sds_hash == Some(sds.hash(&self.account.id.0, u64::from(record.epoch))))
            .ok_or_else(no_half)
    }

    /// Opens the account's secret as the member that the PIN is.
    fn open_by_pin(&self, member: &BoxKey, boxed: &[u8]) -> Result<SecurityDomainSecret, Stop> {
        let epoch = self.record()?.epoch.to_be_bytes();
        let opened = member.open(Label::MemberWrap, &[&self.account.id.0, &epoch], boxed).ok();
        self.checked_sds(opened.as_ref().map(keyferry_crypto::secret::SecretVec::expose))
    }
}

/// What makes long answers comes alone: they would be kept with whatever else the request wrote, in a row that each
/// later request of the device carries. And a request makes one device a member.
fn one_by_one(commands: &[Command]) -> Result<(), Stop> {
    if commands.len() == 1 {
        return Ok(());
    }
    if commands.iter().any(passkey::has_extensions) {
        return refuse(Code::BadOptions, "a sign-in with extensions is the only command of its request");
    }
    if commands.contains(&Command::ListDevices) {
        return refuse(Code::BadOptions, "a list of devices is the only command of its request");
    }
    if commands.iter().any(passkey::takes_rsa_key) {
        // Each further command that asks for a row would have the key thrown away, and another one taken.
        return refuse(Code::BadOptions, "a creation of an RSA key is the only command of its request");
    }
    let registers = |command: &&Command| matches!(command, Command::Enrol(_) | Command::Join(_));
    if commands.iter().filter(registers).count() > 1 {
        return refuse(Code::BadOptions, "a request registers one device");
    }
    Ok(())
}

pub(crate) fn no_half() -> Stop {
    Stop::Refused(Refusal::new(Code::Stale, "the device's half does not open this account"))
}

fn missing_device(device: &DeviceId) -> Stop {
    Stop::Need(Missing { devices: vec![*device], ..Missing::default() })
}

/// What may run again when an operation comes that was applied before and whose answers were not kept.
fn harmless_again(command: &Command) -> bool {
    match command {
        Command::Authenticate(_)
        | Command::PinStatus
        | Command::Begin(_)
        | Command::ListDevices
        | Command::Assert(_) => true,
        Command::CreateAccount(_)
        | Command::Enrol(_)
        | Command::Join(_)
        | Command::Finish(_)
        | Command::Prepare(_)
        | Command::Expose(_)
        | Command::RenameDevice(_)
        | Command::CreatePasskey(_)
        | Command::RenamePasskey(_)
        | Command::DeletePasskey(_) => false,
    }
}

/// An answer as a device's row may keep it.
fn without_secrets(answer: &Answer) -> Answer {
    match answer {
        Answer::Created(created) => Answer::Created(Created { prf: None, ..created.clone() }),
        other => other.clone(),
    }
}

/// Drops times that left the window.
pub(crate) fn prune(times: &mut Vec<u64>, now_ms: u64, window_ms: u64) {
    let since = now_ms.saturating_sub(window_ms);
    times.retain(|time| *time >= since);
}
