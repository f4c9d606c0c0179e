//! The way to the enclave: evidence, session, retries. A call is made again, with the same id and the same commands,
//! after whatever went wrong between here and there.

use crate::clock::now_ms;
use crate::http::{Gateway, GatewayError};
use crate::keystore::Keystore;
use keyferry_client::evidence::{VerifiedEvidence, appraise};
use keyferry_client::exchange::{self, ExchangeError, Signer};
use keyferry_client::flow::{Call, FlowError};
use keyferry_client::home::Home;
use keyferry_client::session::{Opening, Session, SessionError};
use keyferry_crypto::random::Random;
use keyferry_wire::command::Answer;
use keyferry_wire::frame::Level;
use keyferry_wire::refusal::Refusal;
use std::time::Duration;

/// How often a call is made before the user is told.
const TRIES_MAX: u32 = 5;
/// Wait before the second try; doubled for each further one.
const BACKOFF: Duration = Duration::from_millis(100);

/// Evidence and session last as long as the process; they are renewed when they are due or fail.
pub(super) struct Link {
    gateway: Gateway,
    keys: Option<Keystore>,
    evidence: Option<VerifiedEvidence>,
    session: Option<Session>,
}

/// What went wrong on the way.
enum Trouble {
    /// With a new handshake it may work.
    Session(String),
    /// After a while it may work.
    Later(FlowError),
    /// It will not.
    Final(FlowError),
}

impl Link {
    pub(super) fn new(gateway: Gateway, keys: Keystore) -> Link {
        Link { gateway, keys: Some(keys), evidence: None, session: None }
    }

    /// For the one call that nobody signs.
    pub(super) fn without_keys(gateway: Gateway) -> Link {
        Link { gateway, keys: None, evidence: None, session: None }
    }

    pub(super) fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    pub(super) fn keys(&mut self) -> Result<&mut Keystore, FlowError> {
        self.keys.as_mut().ok_or_else(no_keys)
    }

    pub(super) fn is_unlocked(&self) -> bool {
        self.keys.as_ref().is_some_and(Keystore::is_unlocked)
    }

    pub(super) fn evidence(&self) -> Result<&VerifiedEvidence, FlowError> {
        self.evidence.as_ref().ok_or_else(|| FlowError::fault("no evidence was appraised yet"))
    }

    /// Lets go of session and evidence.
    pub(super) fn forget(&mut self) {
        self.evidence = None;
        self.session = None;
    }

    /// Looks at the server's evidence before anything is said to it.
    pub(super) fn meet(&mut self, home: &mut Home) -> Result<(), FlowError> {
        self.retrying(|link| link.appraise(home))
    }

    /// Carries a call to the enclave and brings back its answers.
    pub(super) fn carry(
        &mut self,
        home: &mut Home,
        random: &mut dyn Random,
        call: &Call,
    ) -> Result<Vec<Answer>, FlowError> {
        self.retrying(|link| {
            link.appraise(home)?;
            link.handshake(random)?;
            link.exchange(home, call)
        })
    }

    /// Reads from the gateway, again after trouble on the way: whatever was read before stays read. Here the gateway's
    /// guard has a say of its own, and its no is a refusal.
    pub(super) fn read<T>(
        &mut self,
        mut ask: impl FnMut(&Gateway) -> Result<T, GatewayError>,
    ) -> Result<T, FlowError> {
        self.retrying(|link| {
            ask(&link.gateway).map_err(|error| match error {
                GatewayError::Shut(_) => Trouble::Final(error.into()),
                other => other.into(),
            })
        })
    }

    fn retrying<T>(&mut self, mut step: impl FnMut(&mut Link) -> Result<T, Trouble>) -> Result<T, FlowError> {
        let mut wait = BACKOFF;
        for _ in 1..TRIES_MAX {
            match step(self) {
                Ok(done) => return Ok(done),
                Err(Trouble::Final(error)) => {
                    // Whatever was not answered is not run after what the device says next: that it says elsewhere.
                    self.session = None;
                    return Err(error);
                }
                Err(Trouble::Session(_) | Trouble::Later(_)) => {
                    self.forget();
                    std::thread::sleep(wait);
                    wait *= 2;
                }
            }
        }
        let done = step(self);
        if done.is_err() {
            self.session = None;
        }
        done.map_err(Trouble::told)
    }

    fn appraise(&mut self, home: &mut Home) -> Result<(), Trouble> {
        let now_ms = now_ms();
        if self.evidence.as_ref().is_some_and(|evidence| !evidence.is_due(now_ms)) {
            return Ok(());
        }
        self.forget();
        let evidence = self.gateway.evidence()?;
        let verified = appraise(&evidence, &home.trust, now_ms).map_err(Refusal::from)?;
        home.believe(&verified);
        self.evidence = Some(verified);
        Ok(())
    }

    fn handshake(&mut self, random: &mut dyn Random) -> Result<(), Trouble> {
        if self.session.is_some() {
            return Ok(());
        }
        let (opening, open) = Opening::start(self.evidence()?, random)?;
        let opened = self.gateway.open_session(&open)?;
        self.session = Some(opening.finish(&opened)?);
        Ok(())
    }

    fn exchange(&mut self, home: &mut Home, call: &Call) -> Result<Vec<Answer>, Trouble> {
        let session = self.session.as_mut().ok_or_else(|| Trouble::Session("no session".to_owned()))?;
        let signer: &dyn Signer = match &self.keys {
            Some(keys) => keys,
            None => &Unsigned,
        };
        let sent = exchange::seal(session, home, call, signer)?;
        let reply = self.gateway.request(&sent.frame)?;
        Ok(exchange::open(session, home, call, &sent, &reply)?)
    }
}

impl Trouble {
    fn told(self) -> FlowError {
        match self {
            Trouble::Session(sentence) => FlowError::fault(sentence),
            Trouble::Later(error) | Trouble::Final(error) => error,
        }
    }
}

impl From<GatewayError> for Trouble {
    fn from(error: GatewayError) -> Trouble {
        match error {
            GatewayError::SessionGone(_) => Trouble::Session(error.to_string()),
            GatewayError::Unreachable(_) | GatewayError::Busy(_) | GatewayError::Limited(_) => {
                Trouble::Later(error.into())
            }
            // Whether a password or a device is right, the enclave says; here nobody was asked for either.
            GatewayError::Shut(_) => Trouble::Final(FlowError::fault(error.to_string())),
            GatewayError::Fault(_) => Trouble::Final(error.into()),
        }
    }
}

impl From<SessionError> for Trouble {
    fn from(error: SessionError) -> Trouble {
        match error {
            SessionError::TooLong => Trouble::Final(FlowError::fault(error.to_string())),
            other => Trouble::Session(other.to_string()),
        }
    }
}

impl From<ExchangeError> for Trouble {
    fn from(error: ExchangeError) -> Trouble {
        match error {
            ExchangeError::Session(error) => error.into(),
            ExchangeError::Flow(error) => Trouble::Final(error),
        }
    }
}

impl From<FlowError> for Trouble {
    fn from(error: FlowError) -> Trouble {
        Trouble::Final(error)
    }
}

impl From<Refusal> for Trouble {
    fn from(refusal: Refusal) -> Trouble {
        Trouble::Final(refusal.into())
    }
}

struct Unsigned;

impl Signer for Unsigned {
    fn sign(&self, _level: Level, _message: &[u8]) -> Result<Vec<u8>, String> {
        Err(no_keys().to_string())
    }
}

fn no_keys() -> FlowError {
    FlowError::fault("this step needs the keys of a device")
}
