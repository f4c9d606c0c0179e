//! The PIN, in the message order of the design: `begin` counts, then evaluates; `finish` compares; `prepare` makes
//! the next generation; `expose` puts it in force. At most ten wrong tries per account over all its devices.
//!
//! The count is written before the evaluation: `begin` returns a plan, which the commit handler carries out.

use super::{Context, Stop, no_half, prune, refuse};
use crate::commit::{Evaluation, Planned};
use crate::record::{Attempt, Held, Pin, PinKeys, PinMember, Prepared};
use crate::request::Actor;
use keyferry_crypto::hash;
use keyferry_crypto::hpke::{self, BoxKey};
use keyferry_crypto::label::Label;
use keyferry_crypto::oprf::OprfKey;
use keyferry_crypto::pin::{self, ClientKey, PinShare};
use keyferry_crypto::{random, seal};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{Answer, Begin, Evaluated, Expose, Finish, PinParams, PinStatus, Prepare};
use keyferry_wire::ledger::{Kind, Outcome};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{DeviceId, Hash, limits};

/// What a stranger learns of an account whose PIN was never set.
const NO_PIN: PinStatus = PinStatus {
    generation: 0,
    salt: [0; 16],
    params: PinParams { memory_kib: 0, passes: 0, lanes: 0 },
    left: 0,
    locked: false,
};

/// Takes the place of a failure that a right PIN took back, and has the length of one: so right and wrong write rows
/// of one size. Older than any window (February 1970); the next try drops it.
const FORGIVEN: u64 = 1 << 32;

impl Context<'_> {
    pub(super) fn pin_status(&mut self) -> Result<Answer, Stop> {
        if !self.authority.identity {
            self.member()?;
        }
        let now_ms = self.now_ms;
        let record = self.record()?;
        let resting = resting(&record.pin_failures, now_ms);
        let status = record.pin.as_ref().map_or(NO_PIN, |pin| {
            let locked = pin.keys.is_none() || pin.spent(now_ms);
            let left = if locked || resting { 0 } else { pin.left() };
            PinStatus {
                generation: pin.generation,
                salt: pin.salt,
                params: pin.params,
                left: u16::from(left),
                locked: locked || resting,
            }
        });
        Ok(Answer::PinStatus(status))
    }

    /// Counts a try, and plans its evaluation. The same try again is not counted again.
    pub(super) fn begin(&mut self, begin: &Begin) -> Result<Planned, Stop> {
        let (device, hw) = self.entrant()?;
        let account = self.account.id;
        let now_ms = self.now_ms;
        let replay = self.replay;
        let generation = begin.generation.to_be_bytes();
        let h = hash::labelled_hash(
            Label::Attempt,
            &[&account.0, &generation, &hw, &begin.attempt.0, &begin.blinded],
        );
        let record = self.record_mut()?;
        prune(&mut record.pin_failures, now_ms, limits::PIN_WINDOW_MS);
        record.pin_failures.retain(|time| *time != FORGIVEN);
        let rests = resting(&record.pin_failures, now_ms);
        let Some(pin) = record.pin.as_mut().filter(|pin| pin.generation == begin.generation) else {
            return refuse(Code::Stale, "this PIN is not the one in force");
        };
        if pin.keys.is_none() {
            return Err(locked());
        }
        // The newest try again, open or closed: the same element under the same key tells nothing new, and a device
        // that lost the reply to its right finish gets its way back to that reply.
        let repeated = pin.last.as_ref().is_some_and(|last| last.h == h);
        if replay && !repeated {
            // Counted once already: copies that a host held back cannot use up tries.
            return refuse(Code::Stale, "this try is over");
        }
        if pin.spent(now_ms) || (!repeated && pin.left() == 0) {
            return Err(self.lock());
        }
        if !repeated && rests {
            return Err(Stop::Refused(
                Refusal::new(Code::PinLocked, "too many wrong PINs within 30 days; the PIN rests")
                    .with_left(0),
            ));
        }
        if !repeated {
            pin.attempts += 1;
            pin.last = Some(Attempt { h, attempt: begin.attempt, device, began_ms: now_ms, closed_by: None });
        }
        let left = pin.left();
        let evaluation = pin.keys.as_ref().and_then(|keys| {
            let key = keys.oprf_key().ok()?;
            let (generation, commitment) = (pin.generation, pin.commitment);
            Some(Evaluation { generation, key, blinded: begin.blinded, commitment, left })
        });
        let evaluation = evaluation.ok_or(Stop::Store)?;
        if !repeated {
            record.pin_failures.push(now_ms);
        }
        let outcome = if repeated { Outcome::Again } else { Outcome::Done };
        let event = self.event(Kind::Attempt, outcome);
        event.generation = begin.generation;
        event.left = left;
        Ok(Planned::Evaluate(Box::new(evaluation)))
    }

    /// Closes the try. Right or wrong, the record and one RESULT are written.
    pub(super) fn finish(&mut self, finish: &Finish) -> Result<Answer, Stop> {
        let (device, _) = self.entrant()?;
        let account = self.account.id;
        let now_ms = self.now_ms;
        let closed_by = hash::sha256(&[&finish.value]);
        let record = self.record_mut()?;
        let Some(pin) = record.pin.as_mut() else {
            return refuse(Code::Stale, "no PIN is set");
        };
        let left = pin.left();
        // Asked before the try is closed: only an open one can be too old.
        let spent = pin.spent(now_ms);
        let generation = pin.generation;
        let ours = |last: &&mut Attempt| last.attempt == finish.attempt && last.device == device;
        let Some(last) = pin.last.as_mut().filter(ours) else {
            return refuse(Code::Stale, "no such try is open");
        };
        if let Some(before) = last.closed_by {
            // A wrong finish that comes again is answered again; a right one is never good twice.
            let same = pin.attempts > 0 && hash::ct_eq(&before, &closed_by);
            return if same { Err(wrong(left)) } else { refuse(Code::Stale, "this try is over") };
        }
        let began_ms = last.began_ms;
        last.closed_by = Some(closed_by);
        if spent {
            return Err(self.lock());
        }
        let Some(keys) = &pin.keys else { return Err(locked()) };
        let client_key = ClientKey::from_bytes(finish.value);
        let tag = pin::tag(&client_key, &account.0, u64::from(generation));
        if !hash::ct_eq(&tag, &pin.tag) {
            let event = self.event(Kind::Result, Outcome::Refused);
            event.generation = generation;
            event.left = left;
            return Err(if left == 0 { self.lock() } else { wrong(left) });
        }
        let share = PinShare::from_bytes(keys.share.0);
        let opened =
            open_member(&pin.member, &client_key, &share, &account.0, generation).ok_or_else(no_half)?;
        pin.attempts = 0;
        if let Some(failure) = record.pin_failures.iter_mut().rev().find(|time| **time == began_ms) {
            *failure = FORGIVEN;
        }
        // What it opens is opened when a command of this request needs it.
        self.authority.pin = Some(opened);
        let event = self.event(Kind::Result, Outcome::Done);
        event.generation = generation;
        event.left = limits::PIN_TRIES_MAX;
        Ok(Answer::PinRight)
    }

    /// Makes the next generation's key and evaluates it once, for this device.
    pub(super) fn prepare(&mut self, prepare: &Prepare) -> Result<Answer, Stop> {
        let (device, verified) = self.member()?;
        let now_ms = self.now_ms;
        let record = self.record()?;
        // The very first PIN is the first device's to set; every later one needs the user.
        let first = record.pin.is_none() && record.members() == 1;
        if !(verified || self.authority.pin.is_some() || first) {
            return refuse(Code::UvRequired, "a new PIN needs user verification or the present PIN");
        }
        let since = now_ms.saturating_sub(limits::PIN_WINDOW_MS);
        if record.pin_changes.iter().filter(|time| **time >= since).count() >= limits::PIN_RESETS_MAX {
            return refuse(Code::RateLimited, "the PIN was changed five times within 30 days");
        }
        let key = OprfKey::generate(self.random);
        let Ok(evaluation) = key.evaluate(&prepare.blinded, self.random) else {
            return refuse(Code::BadOptions, "the blinded element is not one");
        };
        let record = self.record_mut()?;
        record.generation += 1;
        let generation = record.generation;
        record.prepared = Some(Prepared {
            generation,
            salt: prepare.salt,
            params: prepare.params,
            oprf: Held(*key.to_bytes()),
            device,
            expires_ms: now_ms.saturating_add(limits::PIN_OPEN_MS),
            verified,
        });
        self.event(Kind::Prepare, Outcome::Done).generation = generation;
        Ok(Answer::Prepared(Evaluated {
            generation,
            element: evaluation.element,
            proof: evaluation.proof,
            public: key.public(),
            commitment: [0; 32],
            left: u16::from(limits::PIN_TRIES_MAX),
        }))
    }

    /// Puts the prepared generation in force with a fresh member pair, and destroys the one before.
    pub(super) fn expose(&mut self, expose: &Expose) -> Result<Answer, Stop> {
        let (device, verified) = self.member()?;
        let account = self.account.id;
        let now_ms = self.now_ms;
        let fits = |prepared: &&Prepared| {
            prepared.generation == expose.generation
                && prepared.device == device
                && prepared.expires_ms >= now_ms
        };
        let Some(prepared) = self.record()?.prepared.as_ref().filter(fits) else {
            return refuse(Code::Stale, "no such PIN is prepared for this device");
        };
        if prepared.verified && !verified {
            return refuse(Code::UvRequired, "this PIN was prepared with user verification");
        }
        let client_key = ClientKey::from_bytes(expose.client_key);
        let share = PinShare::random(self.random);
        let member = self.pin_member(&client_key, &share, expose.generation)?;
        let record = self.record_mut()?;
        let Some(prepared) = record.prepared.take() else { return Err(Stop::Store) };
        let public = OprfKey::from_bytes(&prepared.oprf.0).map_err(|_| Stop::Store)?.public();
        record.pin = Some(Pin {
            generation: prepared.generation,
            salt: prepared.salt,
            params: prepared.params,
            keys: Some(PinKeys {
                oprf: prepared.oprf.copy(),
                share: Held(*share.expose()),
                public: Some(public),
            }),
            tag: pin::tag(&client_key, &account.0, u64::from(expose.generation)),
            commitment: expose.commitment,
            attempts: 0,
            last: None,
            member,
        });
        prune(&mut record.pin_changes, now_ms, limits::PIN_WINDOW_MS);
        record.pin_changes.push(now_ms);
        self.event(Kind::Expose, Outcome::Done).generation = expose.generation;
        Ok(Answer::Exposed)
    }

    fn pin_member(
        &mut self,
        client_key: &ClientKey,
        share: &PinShare,
        generation: u32,
    ) -> Result<PinMember, Stop> {
        let account = self.account.id;
        let epoch = self.record()?.epoch.to_be_bytes();
        let member = BoxKey::generate(self.random);
        let key = pin::pin_key(client_key, share);
        let salt = random::bytes(self.random);
        let aad: [&[u8]; 2] = [&account.0, &generation.to_be_bytes()];
        let wrapped = seal::seal(key.expose(), Label::PinWrap, &aad, member.secret().expose(), salt);
        self.sds()?;
        let Some(sds) = &self.sds else { return Err(Stop::Store) };
        let context: [&[u8]; 2] = [&account.0, &epoch];
        let boxed = hpke::seal_to(&member.public(), Label::MemberWrap, &context, sds.expose(), self.random)
            .map_err(|_| Stop::Store)?;
        Ok(PinMember { wrapped: wrapped.into(), sds: boxed.into() })
    }

    /// Who enters a PIN: a member, or a stranger that proved the account in this request.
    fn entrant(&self) -> Result<(DeviceId, [u8; 65]), Stop> {
        match &self.actor {
            Actor::Member { device, .. } => {
                let hw = &self.device(device)?.hw;
                Ok((*device, <[u8; 65]>::try_from(&hw[..]).map_err(|_| Stop::Store)?))
            }
            Actor::Stranger { device, hw } if self.authority.identity => Ok((*device, *hw)),
            Actor::Stranger { .. } | Actor::Nobody => {
                refuse(Code::Auth, "a PIN is entered by a member, or with the proof of the account")
            }
        }
    }

    /// Destroys the PIN's keys: nobody can try again. Devices that are members go on working.
    fn lock(&mut self) -> Stop {
        let generation = self.account.record_mut().and_then(|record| record.pin.as_mut()).map(|pin| {
            pin.keys = None;
            pin.generation
        });
        self.event(Kind::Lock, Outcome::Done).generation = generation.unwrap_or_default();
        locked()
    }
}

impl Pin {
    fn left(&self) -> u8 {
        let attempts = u8::try_from(self.attempts).unwrap_or(u8::MAX);
        limits::PIN_TRIES_MAX.saturating_sub(attempts)
    }

    /// The last try stands open for longer than it may.
    fn spent(&self, now_ms: u64) -> bool {
        let expired = self.last.as_ref().is_some_and(|last| {
            last.closed_by.is_none() && now_ms > last.began_ms.saturating_add(limits::PIN_OPEN_MS)
        });
        self.left() == 0 && expired
    }
}

fn resting(failures: &[u64], now_ms: u64) -> bool {
    let since = now_ms.saturating_sub(limits::PIN_WINDOW_MS);
    let counts = |time: &&u64| **time >= since && **time != FORGIVEN;
    failures.iter().filter(counts).count() >= limits::PIN_FAILURES_MAX
}

fn locked() -> Stop {
    Stop::Refused(
        Refusal::new(Code::PinLocked, "the PIN is locked; a member device can set a new one").with_left(0),
    )
}

fn wrong(left: u8) -> Stop {
    if left == 0 {
        return locked();
    }
    Stop::Refused(Refusal::new(Code::PinWrong, "the PIN is wrong").with_left(left))
}

/// Opens the PIN's member key with K_pin.
fn open_member(
    member: &PinMember,
    client_key: &ClientKey,
    share: &PinShare,
    account: &Hash,
    generation: u32,
) -> Option<(BoxKey, Bytes)> {
    let key = pin::pin_key(client_key, share);
    let aad: [&[u8]; 2] = [account, &generation.to_be_bytes()];
    let private = seal::open(key.expose(), Label::PinWrap, &aad, &member.wrapped).ok()?;
    let private = <&[u8; 32]>::try_from(private.expose()).ok().map(BoxKey::from_bytes)?;
    Some((private, member.sds.clone()))
}
