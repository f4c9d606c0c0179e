//! One turn of the stream: channels to open, requests to run, replies whose batch became durable.

use crate::account::{Account, StoreLies};
use crate::command::{Authority, Context, Missing, Stop};
use crate::commit::{Pending, Planned};
use crate::session::Received;
use crate::shard::{Filling, Shard};
use crate::{Platform, Running};
use keyferry_crypto::hash::{self, sha256};
use keyferry_crypto::label::Label;
use keyferry_crypto::random::Random;
use keyferry_crypto::sign;
use keyferry_wire::command::{Answer, Command, DeviceState};
use keyferry_wire::door::{AccountView, Drop as Reason, Need, Open, Out, OutBody, Turn, Turned, Work};
use keyferry_wire::frame::{AccountHead, Level, Request, signed_bytes};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{AccountId, DeviceId, ShardId, Wire, limits};
use std::collections::{BTreeMap, HashMap};

/// Requests that wait for rows, or for the next batch, under the gateway's tickets.
pub(crate) struct Waiting {
    /// In cells of their own, which are wiped: what is taken out of a table stays behind in it.
    requests: HashMap<u64, Box<Received>>,
}

/// More than this many can only wait if the gateway forgets its tickets.
const WAITING_MAX: usize = 16 * 1024;

impl Waiting {
    pub(crate) fn new() -> Waiting {
        Waiting { requests: HashMap::new() }
    }
}

/// The host broke the stream's rules; the engine stops.
#[derive(Debug, thiserror::Error)]
#[error("the gateway handed over a turn that does not hold")]
pub(crate) struct TurnFault;

impl Running {
    pub(crate) fn tick(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    pub(crate) fn turn(&mut self, platform: &mut dyn Platform, turn: Turn) -> Result<Turned, TurnFault> {
        self.tick(turn.now_ms);
        if self.rsa_wanted && self.rsa.is_none() {
            self.rsa = platform.rsa_key();
        }
        let random = platform.random();
        let mut out = self.release(&turn.committed, random);
        for open in turn.opens {
            out.push(self.open(open, random));
        }
        let mut filling: BTreeMap<ShardId, Filling> = BTreeMap::new();
        for work in turn.work {
            let ticket = work.ticket;
            let body = self.work(&mut filling, work, random);
            if let Some(body) = body {
                out.push(Out { ticket, body });
            }
        }
        let mut batches = Vec::new();
        for (id, filling) in filling {
            let shard = self.shards.get_mut(usize::from(id.0)).ok_or(TurnFault)?;
            let (batch, ready) = shard.seal(filling, self.now_ms);
            batches.extend(batch);
            for pending in ready {
                out.push(self.say(pending, None, random));
            }
        }
        Ok(Turned { out, batches })
    }

    fn open(&mut self, open: Open, random: &mut dyn Random) -> Out {
        let settled = self.shards.iter().all(Shard::started);
        let opened = if settled {
            self.sessions.accept(&self.instances, &open.open, self.now_ms, random)
        } else {
            Err(Reason::Starting)
        };
        let body = opened.map_or_else(OutBody::Dropped, OutBody::Opened);
        Out { ticket: open.ticket, body }
    }

    /// Runs one request as far as it goes; `None` means that its reply waits for the batch.
    fn work(
        &mut self,
        filling: &mut BTreeMap<ShardId, Filling>,
        work: Work,
        random: &mut dyn Random,
    ) -> Option<OutBody> {
        let received = match (work.frame, &work.view) {
            (Some(frame), _) => self.sessions.receive(&frame, self.now_ms),
            (None, Some(_)) => self.resume(work.ticket),
            (None, None) => self.forget(work.ticket),
        };
        let received = match received {
            Ok(received) => received,
            Err(reason) => return Some(OutBody::Dropped(reason)),
        };
        match self.run(filling, work.ticket, &received, work.view, random) {
            Ok(()) => None,
            Err(Halt::Need(missing, account)) => {
                Some(self.wait(work.ticket, received, |engine| OutBody::Need(engine.need(account, missing))))
            }
            Err(Halt::Busy) => Some(self.wait(work.ticket, received, |_| OutBody::Busy)),
            Err(Halt::Later) => {
                self.rsa_wanted = true;
                Some(self.wait(work.ticket, received, |_| OutBody::Later))
            }
            Err(Halt::Store) => Some(OutBody::Dropped(Reason::Store)),
            Err(Halt::Dropped(reason)) => Some(OutBody::Dropped(reason)),
            Err(Halt::Refused(refusal)) => {
                let pending = pending(
                    work.ticket,
                    &received,
                    vec![Planned::Ready(Answer::Refused(refusal))],
                    None,
                    None,
                );
                Some(self.say(pending, None, random).body)
            }
        }
    }

    /// Takes up a request that waited. One whose session is over can be answered to nobody, so it is not run: a host
    /// cannot keep it for later.
    fn resume(&mut self, ticket: u64) -> Result<Received, Reason> {
        let received = self.waiting.requests.remove(&ticket).ok_or(Reason::Frame)?;
        self.sessions.still_open(&received.session, self.now_ms)?;
        Ok(*received)
    }

    /// The gateway waits for this request no more.
    fn forget(&mut self, ticket: u64) -> Result<Received, Reason> {
        drop(self.waiting.requests.remove(&ticket));
        Err(Reason::Frame)
    }

    fn wait(&mut self, ticket: u64, received: Received, body: impl FnOnce(&Running) -> OutBody) -> OutBody {
        if self.waiting.requests.len() >= WAITING_MAX {
            return OutBody::Dropped(Reason::Full);
        }
        self.waiting.requests.insert(ticket, Box::new(received));
        body(self)
    }

    fn need(&self, account: AccountId, missing: Missing) -> Need {
        let map_key = self.keys.map_key(&account);
        let Missing { devices, passkeys, large_blobs } = missing;
        Need { account, shard: self.keys.shard(&map_key), map_key, devices, passkeys, large_blobs }
    }

    fn run(
        &mut self,
        filling: &mut BTreeMap<ShardId, Filling>,
        ticket: u64,
        received: &Received,
        view: Option<AccountView>,
        random: &mut dyn Random,
    ) -> Result<(), Halt> {
        let request = &received.request;
        let commands = decode_commands(request)?;
        let id = self.account_of(request, &commands)?;
        let view = view.filter(|view| view.account == id);
        let Some(view) = view else {
            let devices = request.device.into_iter().collect();
            return Err(Halt::Need(Missing { devices, ..Missing::default() }, id));
        };
        let map_key = self.keys.map_key(&id);
        let shard = self.keys.shard(&map_key);
        let target = self.shards.get_mut(usize::from(shard.0)).ok_or(Halt::Store)?;
        let filling = filling.entry(shard).or_insert_with(|| target.fill());
        if filling.seen.contains(&id) || filling.full() {
            return Err(Halt::Busy);
        }
        let account = Account::open(&self.keys, map_key, filling, view)?;
        let actor = identify(&account, received)?;
        if matches!(actor, Actor::Stranger { .. })
            && claims(request, Level::Uv)
            && !commands.iter().any(registers_uv)
        {
            return Err(Halt::refuse(Code::Auth, "a signature by a key that nothing here registers"));
        }
        if let Actor::Member { device, .. } | Actor::Stranger { device, .. } = &actor {
            self.sessions
                .speak(&received.session, received.number, device, self.now_ms)
                .map_err(Halt::Dropped)?;
        }
        let operation = operation(&id, request);
        let mut context = Context {
            keys: &self.keys,
            now_ms: self.now_ms,
            random,
            account,
            shard: &*target,
            received,
            actor,
            operation,
            authority: Authority::default(),
            known: false,
            replay: false,
            sds: None,
            rsa: &mut self.rsa,
            events: Vec::new(),
        };
        let answers = context.run(commands).map_err(|stop| stop.halt(id))?;
        let Context { account, events, known, .. } = context;
        // An account is shown only to who proved to own it or to be its member; to a member also with a refusal, so
        // that a right and a wrong PIN are answered alike.
        let member = matches!(context.actor, Actor::Member { .. });
        let shown =
            member || answers.iter().any(|answer| !matches!(answer, Planned::Ready(Answer::Refused(_))));
        let wrote = !events.is_empty();
        let gated = wrote || known;
        let head = account.write(target, filling, events, random)?;
        if wrote {
            filling.seen.insert(id);
        }
        filling.pending.push(pending(
            ticket,
            received,
            answers,
            shown.then_some(head),
            Some(shard).filter(|_| gated),
        ));
        Ok(())
    }

    /// The account that a request is about: named by a member, or computed from the identity that a stranger shows.
    fn account_of(&self, request: &Request, commands: &[Command]) -> Result<AccountId, Halt> {
        let identity = commands.iter().find_map(|command| match command {
            Command::Authenticate(identity) | Command::CreateAccount(identity) => Some(identity),
            _ => None,
        });
        let shown = identity.map(|identity| crate::command::identity::account(&self.keys, identity));
        match (shown.transpose()?, request.account) {
            (Some(shown), Some(named)) if shown != named => {
                Err(Halt::refuse(Code::Auth, "the account is not the one of this identity"))
            }
            (Some(shown), _) => Ok(shown),
            (None, Some(named)) => Ok(named),
            (None, None) => Err(Halt::refuse(Code::BadOptions, "the request names no account")),
        }
    }
}

/// Why a request stops before its answers.
pub(crate) enum Halt {
    Need(Missing, AccountId),
    Busy,
    /// No RSA key is ready.
    Later,
    Store,
    Dropped(Reason),
    Refused(Refusal),
}

impl Halt {
    fn refuse(code: Code, message: &str) -> Halt {
        Halt::Refused(Refusal::new(code, message))
    }
}

impl From<StoreLies> for Halt {
    fn from(_: StoreLies) -> Self {
        Halt::Store
    }
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Halt::Refused(refusal)
    }
}

impl Stop {
    fn halt(self, account: AccountId) -> Halt {
        match self {
            Stop::Refused(refusal) => Halt::Refused(refusal),
            Stop::Need(missing) => Halt::Need(missing, account),
            Stop::Later => Halt::Later,
            Stop::Store => Halt::Store,
        }
    }
}

/// Who signed a request.
pub(crate) enum Actor {
    /// A member; `verified` when a `uv` signature of this very request holds.
    Member { device: DeviceId, index: u16, verified: bool },
    /// A device that is no member. A `uv` signature is checked when the key is registered.
    Stranger { device: DeviceId, hw: [u8; 65] },
    /// Nobody signed: only what an identity alone may do.
    Nobody,
}

fn decode_commands(request: &Request) -> Result<Vec<Command>, Halt> {
    let commands = Vec::<Command>::from_bytes(&request.commands)
        .map_err(|error| Halt::Refused(Refusal::new(Code::BadOptions, error.to_string())))?;
    if commands.is_empty() || commands.len() > limits::COMMANDS_MAX {
        return Err(Halt::refuse(Code::BadOptions, "a request has 1 to 8 commands"));
    }
    Ok(commands)
}

/// Finds out who signed, and refuses a signature that does not hold: none is ever skipped.
fn identify(account: &Account, received: &Received) -> Result<Actor, Halt> {
    let request = &received.request;
    let Some(device) = request.device else {
        return if request.signatures.is_empty() {
            Ok(Actor::Nobody)
        } else {
            Err(Halt::refuse(Code::Auth, "signatures without a device"))
        };
    };
    let entry = account.record.as_ref().and_then(|record| record.entry(&device));
    let bad = || Halt::refuse(Code::Auth, "a signature of the request does not hold");
    match entry {
        Some(entry) if entry.state == DeviceState::Revoked => {
            Err(Halt::refuse(Code::Revoked, "this device was removed from the account"))
        }
        Some(_) => {
            let Some(record) = account.device(&device) else {
                let devices = vec![device];
                return Err(Halt::Need(Missing { devices, ..Missing::default() }, account.id));
            };
            let holds = |level, key: &[u8]| signature_holds(received, level, key);
            if holds(Level::Hw, &record.hw) != Some(true) {
                return Err(bad());
            }
            let verified = match (&record.uv, claims(request, Level::Uv)) {
                (Some(uv), true) if holds(Level::Uv, uv) == Some(true) => true,
                (_, true) => return Err(bad()),
                (_, false) => false,
            };
            Ok(Actor::Member { device, index: record.index, verified })
        }
        None => {
            let unknown = || Halt::refuse(Code::UnknownDevice, "this device is not a member of the account");
            let key = request.key.as_ref().ok_or_else(unknown)?;
            let hw = <[u8; 65]>::try_from(&key[..]).map_err(|_| bad())?;
            if device_id(&hw) != device || signature_holds(received, Level::Hw, &hw) != Some(true) {
                return Err(bad());
            }
            Ok(Actor::Stranger { device, hw })
        }
    }
}

/// Where a stranger's `uv` signature is checked.
fn registers_uv(command: &Command) -> bool {
    match command {
        Command::Enrol(registration) | Command::Join(registration) => registration.uv.is_some(),
        _ => false,
    }
}

fn claims(request: &Request, level: Level) -> bool {
    request.signatures.iter().any(|signature| signature.level == level)
}

/// Whether the request's signature of this level holds under `key`; `None` without one. Two of a level never hold.
pub(crate) fn signature_holds(received: &Received, level: Level, key: &[u8]) -> Option<bool> {
    let mut of_level = received.request.signatures.iter().filter(|signature| signature.level == level);
    let signature = of_level.next()?;
    let key = <[u8; 65]>::try_from(key).ok();
    let (Some(key), None, crate::credential::ES256) = (key, of_level.next(), signature.alg) else {
        return Some(false);
    };
    let label = match level {
        Level::Hw => Label::RequestHw,
        Level::Uv => Label::RequestUv,
    };
    let message = signed_bytes(label.as_bytes(), &received.handshake, &received.unsigned);
    Some(sign::verify_p256(&key, &message, &signature.signature))
}

/// A device is named by its `hw` key.
pub(crate) fn device_id(hw: &[u8; 65]) -> DeviceId {
    let digest = hash::labelled_hash(Label::DeviceId, &[hw]);
    let mut id = [0; 16];
    id.copy_from_slice(digest.split_at(16).0);
    DeviceId(id)
}

/// Names an operation, not its bytes: the same in every session and under every signature.
fn operation(account: &AccountId, request: &Request) -> [u8; 16] {
    let device = request.device.map(|device| device.0).unwrap_or_default();
    let commands = sha256(&[&request.commands]);
    let digest = hash::labelled_hash(Label::Op, &[&account.0, &device, &request.id.0, &commands]);
    let mut operation = [0; 16];
    operation.copy_from_slice(digest.split_at(16).0);
    operation
}

fn pending(
    ticket: u64,
    received: &Received,
    answers: Vec<Planned>,
    account: Option<AccountHead>,
    gated: Option<ShardId>,
) -> Pending {
    Pending {
        ticket,
        session: received.session,
        number: received.number,
        id: received.request.id,
        answers,
        account,
        gated,
    }
}
