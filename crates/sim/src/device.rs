//! A device as the agent of `crates/device` is one: it carries calls to the enclave, repeats a call (same id, same
//! commands) in a new session after any trouble, gives up after a few tries, and stores its home before each call
//! and after each answer. It can crash, and goes on from what it stored.

use crate::dice::Dice;
use crate::errand::{Errand, Errander, Outcome, Walk};
use crate::oracle::Provenance;
use crate::post::{Ask, Tell};
use keyferry_client::audit::Audit;
use keyferry_client::evidence::{VerifiedEvidence, appraise};
use keyferry_client::exchange::{self, ExchangeError, Signer};
use keyferry_client::flow::{Call, FlowError, Step};
use keyferry_client::home::{Home, Vault};
use keyferry_client::session::{Opening, Session};
use keyferry_client::sync::Sync;
use keyferry_crypto::sign::SigningKey;
use keyferry_wire::evidence::SIM;
use keyferry_wire::frame::Level;
use keyferry_wire::refusal::Refusal;
use std::cell::RefCell;
use std::rc::Rc;

/// What a device is to its account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its owner's.
    Honest,
    /// Of somebody who knows the password and guesses the PIN.
    Stranger,
}

/// Tries of one call before the user is told.
const TRIES_MAX: u32 = 5;
/// How long a device waits for an answer.
const PATIENCE_MS: u64 = 3_000;

/// A device.
pub struct Device {
    /// Which one.
    pub at: usize,
    /// Which account.
    pub account: usize,
    /// What it is.
    pub role: Role,
    /// What it keeps.
    pub home: Home,
    /// What its disk has of that.
    disk: Vec<u8>,
    hw: SigningKey,
    uv: Option<SigningKey>,
    /// Its own chance.
    pub dice: Dice,
    evidence: Option<VerifiedEvidence>,
    session: Option<Rc<RefCell<Session>>>,
    /// What its user wants.
    pub job: Option<Job>,
    waiting: Option<Waiting>,
    /// Believes whatever rows the gateway shows (sabotage).
    pub gullible: bool,
}

/// An errand under way.
pub struct Job {
    /// What it is.
    pub errand: Errand,
    work: Work,
    call: Option<Rc<Call>>,
    tries: u32,
    again_ms: u64,
}

enum Work {
    Flow(Box<dyn Walk>),
    Sync(Sync),
    Audit(Box<Audit>),
}

struct Waiting {
    exchange: u64,
    since_ms: u64,
    what: Awaited,
}

enum Awaited {
    Evidence,
    Opened(Box<Opening>),
    Reply(Rc<Provenance>),
    Page,
}

/// How an errand ended.
#[derive(Clone, Debug)]
pub enum End {
    /// Done.
    Done(Outcome),
    /// Refused, by the enclave or by this device.
    Refused(Refusal),
    /// Something broke on the way; whether the enclave has done it is open.
    Open(String),
}

impl Device {
    /// A fresh device.
    pub fn new(at: usize, account: usize, role: Role, name: &str, has_uv: bool, mut dice: Dice) -> Device {
        let hw = SigningKey::generate(&mut dice);
        let uv = has_uv.then(|| SigningKey::generate(&mut dice));
        let mut home = Home::new("sim", name, hw.public(), uv.as_ref().map(SigningKey::public), &mut dice);
        home.trust.stand_ins.push(SIM.to_owned());
        let disk = home.save().to_vec();
        let (evidence, session, job, waiting) = (None, None, None, None);
        let gullible = false;
        Device { at, account, role, home, disk, hw, uv, dice, evidence, session, job, waiting, gullible }
    }

    /// The same device from its disk, with nothing under way: after a crash, or in another world.
    pub fn reborn(&self) -> Device {
        let copy = |key: &SigningKey| SigningKey::from_scalar(key.scalar().expose()).expect("it is a key");
        Device {
            at: self.at,
            account: self.account,
            role: self.role,
            home: Home::load(&self.disk).expect("a home reads what it wrote"),
            disk: self.disk.clone(),
            hw: copy(&self.hw),
            uv: self.uv.as_ref().map(copy),
            dice: self.dice.clone(),
            evidence: None,
            session: None,
            job: None,
            waiting: None,
            gullible: self.gullible,
        }
    }

    /// Whether it can verify its user.
    pub fn has_uv(&self) -> bool {
        self.uv.is_some()
    }

    /// The scalars of its keys: nobody else's to see.
    pub fn scalars(&self) -> Vec<[u8; 32]> {
        [Some(&self.hw), self.uv.as_ref()].into_iter().flatten().map(|key| *key.scalar().expose()).collect()
    }

    /// Whether nothing is under way.
    pub fn is_idle(&self) -> bool {
        self.job.is_none()
    }

    /// Stores the home.
    pub fn store(&mut self) {
        self.disk = self.home.save().to_vec();
    }

    /// Sets out. An errand that cannot begin ends at once.
    pub fn set_out(&mut self, errand: Errand, name: &str, password: &str) -> Option<End> {
        let who = Errander { name, password, has_uv: self.uv.is_some() };
        let work = match &errand {
            Errand::Sync => Sync::start(&self.home).map(Work::Sync),
            Errand::Audit => Audit::start(&self.home).map(|audit| Work::Audit(Box::new(audit))),
            errand => errand.begin(&who, &mut self.dice).map(Work::Flow),
        };
        match work {
            Ok(work) => {
                self.job = Some(Job { errand, work, call: None, tries: 0, again_ms: 0 });
                None
            }
            Err(error) => Some(End::from(error)),
        }
    }

    /// What it has to say now, if anything.
    pub fn speak(&mut self, now_ms: u64, exchange: u64) -> Result<Option<Ask>, End> {
        if let Some(waiting) = &self.waiting {
            if now_ms < waiting.since_ms + PATIENCE_MS {
                return Ok(None);
            }
            self.trouble(now_ms)?;
        }
        let Some(job) = &mut self.job else { return Ok(None) };
        if now_ms < job.again_ms {
            return Ok(None);
        }
        let (what, ask) = self.next_ask(now_ms)?;
        self.waiting = Some(Waiting { exchange, since_ms: now_ms, what });
        Ok(Some(ask))
    }

    /// When it will look up by itself.
    pub fn next_due(&self) -> Option<u64> {
        let job = self.job.as_ref()?;
        Some(self.waiting.as_ref().map_or(job.again_ms, |waiting| waiting.since_ms + PATIENCE_MS))
    }

    fn next_ask(&mut self, now_ms: u64) -> Result<(Awaited, Ask), End> {
        if self.evidence.as_ref().is_none_or(|evidence| evidence.is_due(now_ms)) {
            self.forget();
            return Ok((Awaited::Evidence, Ask::Evidence));
        }
        if let Some(page) = self.next_page()? {
            return Ok((Awaited::Page, page));
        }
        let call = self.next_call()?;
        let Some(session) = self.session.clone() else {
            let evidence = self.evidence.as_ref().expect("looked at above");
            let (opening, open) =
                Opening::start(evidence, &mut self.dice).map_err(|e| End::Open(e.to_string()))?;
            return Ok((Awaited::Opened(Box::new(opening)), Ask::Open(open)));
        };
        let sealed = exchange::seal(&mut session.borrow_mut(), &self.home, &call, &*self);
        let sent = match sealed {
            Ok(sent) => sent,
            Err(ExchangeError::Flow(error)) => return Err(error.into()),
            Err(ExchangeError::Session(error)) => return Err(End::Open(error.to_string())),
        };
        let frame = sent.frame.clone();
        let errand = self.job.as_ref().map(|job| &job.errand);
        let from = Rc::new(Provenance {
            device: self.at,
            account: self.account,
            id: self.home.device_id(),
            call,
            sent,
            session,
            typed: errand.and_then(Errand::typed),
            sets: errand.and_then(Errand::sets),
        });
        Ok((Awaited::Reply(Rc::clone(&from)), Ask::Request(frame, from)))
    }

    fn next_page(&self) -> Result<Option<Ask>, End> {
        let Some(job) = &self.job else { return Ok(None) };
        if matches!(job.work, Work::Flow(_)) {
            return Ok(None);
        }
        let membership = self.home.membership()?;
        let (account, access) = (self.home.account()?, *membership.access.expose());
        let seen = self.home.trust.seen.map_or(0, |head| head.size);
        Ok(match &job.work {
            Work::Sync(sync) => Some(Ask::Sync { account, access, cursor: sync.cursor(), seen }),
            Work::Audit(audit) => Some(Ask::Audit { account, access, from: audit.next(), seen }),
            Work::Flow(_) => None,
        })
    }

    /// The call under way, or the flow's first.
    fn next_call(&mut self) -> Result<Rc<Call>, End> {
        if let Some(call) = self.job.as_ref().and_then(|job| job.call.clone()) {
            return Ok(call);
        }
        match self.advance(None)? {
            Some(end) => Err(end),
            None => self.job.as_ref().and_then(|job| job.call.clone()).ok_or(End::Open("no call".to_owned())),
        }
    }

    /// Gives the flow its answers.
    fn advance(&mut self, answers: Option<Vec<keyferry_wire::command::Answer>>) -> Result<Option<End>, End> {
        let Some(Job { work: Work::Flow(flow), call, tries, .. }) = &mut self.job else { return Ok(None) };
        let step = flow.next(&mut self.home, &mut self.dice, answers);
        let end = match step {
            Ok(Step::Call(next)) => {
                *call = Some(Rc::new(next));
                *tries = 0;
                None
            }
            Ok(Step::Done(outcome)) => Some(End::Done(outcome)),
            Err(error) => Some(End::from(error)),
        };
        self.store();
        Ok(end)
    }

    /// Hears an answer. Gives the errand's end, if this was it.
    pub fn hear(&mut self, exchange: u64, tell: Tell, now_ms: u64) -> Option<End> {
        if self.waiting.as_ref().is_none_or(|waiting| waiting.exchange != exchange) {
            return None;
        }
        let what = self.waiting.take()?.what;
        match self.take_in(what, tell, now_ms) {
            Ok(end) => end,
            Err(end) => Some(end),
        }
    }

    fn take_in(&mut self, what: Awaited, tell: Tell, now_ms: u64) -> Result<Option<End>, End> {
        match (what, tell) {
            (Awaited::Evidence, Tell::Evidence(evidence)) => {
                let verified = appraise(&evidence, &self.home.trust, now_ms).map_err(Refusal::from);
                let verified = verified.map_err(End::Refused)?;
                self.home.believe(&verified);
                self.evidence = Some(verified);
                Ok(None)
            }
            (Awaited::Opened(opening), Tell::Opened(opened)) => {
                match opening.finish(&opened) {
                    Ok(session) => self.session = Some(Rc::new(RefCell::new(session))),
                    Err(_) => self.trouble(now_ms)?,
                }
                Ok(None)
            }
            (Awaited::Reply(from), Tell::Reply(frame)) => {
                let opened =
                    exchange::open(&from.session.borrow(), &mut self.home, &from.call, &from.sent, &frame);
                match opened {
                    Ok(answers) => self.advance(Some(answers)),
                    Err(ExchangeError::Flow(error)) => Err(error.into()),
                    Err(ExchangeError::Session(_)) => self.trouble(now_ms).map(|()| None),
                }
            }
            (Awaited::Page, Tell::Sync(page)) => {
                let Some(Job { work: Work::Sync(sync), .. }) = &mut self.job else { return Ok(None) };
                if self.gullible {
                    self.home.vault = Vault { rows: page.rows, cursor: page.cursor };
                    return Ok(Some(End::Done(Outcome::Synced)));
                }
                let synced = sync.page(&mut self.home, page)?;
                self.store();
                Ok(synced.map(|_| End::Done(Outcome::Synced)))
            }
            (Awaited::Page, Tell::Audit(page)) => {
                let Some(Job { work: Work::Audit(audit), .. }) = &mut self.job else { return Ok(None) };
                let audited = audit.page(&mut self.home, &page)?;
                self.store();
                Ok(audited.map(|audited| End::Done(Outcome::Audited(audited))))
            }
            _ => self.trouble(now_ms).map(|()| None),
        }
    }

    /// Something went wrong on the way: the same again with everything new, after a while; or the user is told.
    fn trouble(&mut self, now_ms: u64) -> Result<(), End> {
        self.forget();
        self.waiting = None;
        let Some(job) = &mut self.job else { return Ok(()) };
        job.tries += 1;
        if job.tries >= TRIES_MAX {
            return Err(End::Open("too many tries".to_owned()));
        }
        job.again_ms = now_ms + (100 << job.tries);
        Ok(())
    }

    /// Lets go of session and evidence.
    pub fn forget(&mut self) {
        self.session = None;
        self.evidence = None;
    }

    /// Ends what is under way.
    pub fn rest(&mut self) {
        self.job = None;
        self.waiting = None;
        self.store();
    }
}

impl Signer for Device {
    fn sign(&self, level: Level, message: &[u8]) -> Result<Vec<u8>, String> {
        let key = match level {
            Level::Hw => Some(&self.hw),
            Level::Uv => self.uv.as_ref(),
        };
        key.map(|key| key.sign(message)).ok_or_else(|| "no such key".to_owned())
    }
}

impl From<FlowError> for End {
    fn from(error: FlowError) -> End {
        match error {
            FlowError::Refused(refusal) => End::Refused(refusal),
            FlowError::Fault(sentence) => End::Open(sentence),
        }
    }
}
