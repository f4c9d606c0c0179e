//! Watching an account: its ledger entries as they come, each verified before it is given. The home is locked only while
//! something is read, so that other commands can use it meanwhile.

use super::{Agent, Options};
use crate::documents::{Standing, SyncDone};
use crate::http::GatewayError;
use crate::live::Socket;
use crate::random::SystemRandom;
use keyferry_client::audit::{Audit, Entry};
use keyferry_client::flow::FlowError;
use keyferry_client::live::{Announced, Backoff, Look, position};
use keyferry_client::sync::Synced;
use keyferry_wire::publish::Hint;
use keyferry_wire::refusal::Code;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A watch reads by itself after so long without a hint: a gateway that keeps hints back delays, and hides nothing.
const LOOK_EVERY: Duration = Duration::from_secs(300);

/// Which entries are given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// Those that come from now on.
    Now,
    /// Those after the one of this number; 0 gives the whole history.
    Entry(u64),
}

/// What happened.
#[derive(Clone, Debug)]
pub enum News {
    /// Entries of the account, in order.
    Entries(Vec<Entry>),
    /// Rows of the vault changed.
    Synced(SyncDone),
    /// The connection is lost, and why. It is sought again.
    Lost(String),
    /// It is back; what came meanwhile follows.
    Found,
}

/// What is followed.
enum What {
    /// The ledger: entries after this number are given.
    Entries(Box<Audit>, u64),
    /// The vault.
    Vault,
}

/// An account that is watched.
pub struct Watch {
    path: PathBuf,
    options: Options,
    standing: Standing,
    what: What,
    announced: Announced,
    /// Up to where this watch has read.
    position: Hint,
    socket: Option<Socket>,
    lost: bool,
    backoff: Backoff,
    retry_at: Instant,
    looked_at: Instant,
    queue: VecDeque<News>,
    /// What ends the watch once all news are told.
    end: Option<FlowError>,
}

/// Trouble of a moment, or the end.
enum Trouble {
    Lost(String),
    Final(FlowError),
}

impl Watch {
    /// Follows the ledger of a home's account. What is there already is read and verified at once.
    pub fn entries(path: &Path, options: Options, since: Since) -> Result<Watch, FlowError> {
        let mut agent = Agent::open(path, options.clone())?;
        let (audit, after) = match since {
            Since::Entry(after) => (Audit::start(&agent.home)?, after),
            Since::Now => {
                let mut audit = Audit::resume(&agent.home)?;
                agent.audit_on(&mut audit)?;
                (audit, 0)
            }
        };
        Watch::start(agent, path, options, What::Entries(Box::new(audit), after))
    }

    /// Follows the vault of a home's account, and keeps the home up to date.
    pub fn vault(path: &Path, options: Options) -> Result<Watch, FlowError> {
        let agent = Agent::open(path, options.clone())?;
        Watch::start(agent, path, options, What::Vault)
    }

    fn start(agent: Agent, path: &Path, options: Options, what: What) -> Result<Watch, FlowError> {
        let mut watch = Watch {
            path: path.to_path_buf(),
            options,
            standing: agent.standing(),
            what,
            announced: Announced::default(),
            position: position(&agent.home),
            socket: None,
            lost: false,
            backoff: Backoff::default(),
            retry_at: Instant::now(),
            looked_at: Instant::now(),
            queue: VecDeque::new(),
            end: None,
        };
        watch.read(agent)?;
        Ok(watch)
    }

    /// Number of the newest entry that was read.
    pub fn seq(&self) -> u64 {
        self.position.seq
    }

    /// What the home believes without proof.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// Whether the service tells of changes now.
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// Waits for what happens next. `None`: nothing did within `patience`.
    pub fn next(&mut self, patience: Duration) -> Result<Option<News>, FlowError> {
        if self.queue.is_empty()
            && self.end.is_none()
            && let Err(trouble) = self.step(patience)
        {
            self.lose(trouble);
        }
        match (self.queue.pop_front(), &self.end) {
            (None, Some(end)) => Err(end.clone()),
            (news, _) => Ok(news),
        }
    }

    fn step(&mut self, patience: Duration) -> Result<(), Trouble> {
        let Some(socket) = &mut self.socket else { return self.connect(patience) };
        let look = match socket.next(patience)? {
            Some(hint) => self.announced.hear(self.position, hint),
            None if self.looked_at.elapsed() >= LOOK_EVERY => Look::Read,
            None => Look::Rest,
        };
        if look == Look::Rest {
            return Ok(());
        }
        let agent = self.open()?;
        Ok(self.read(agent)?)
    }

    /// Connects, and says where this watch stands: what it missed is announced at once.
    fn connect(&mut self, patience: Duration) -> Result<(), Trouble> {
        let wait = self.retry_at.saturating_duration_since(Instant::now());
        std::thread::sleep(wait.min(patience));
        if wait > patience {
            return Ok(());
        }
        let agent = self.open()?;
        self.socket = Some(agent.listen_from(self.position)?);
        self.backoff.reset();
        if std::mem::take(&mut self.lost) {
            self.queue.push_back(News::Found);
        }
        Ok(())
    }

    fn lose(&mut self, trouble: Trouble) {
        self.socket = None;
        let why = match trouble {
            Trouble::Final(error) => return self.end = Some(error),
            Trouble::Lost(why) => why,
        };
        let pause = self.backoff.pause_ms(&mut SystemRandom);
        self.retry_at = Instant::now() + Duration::from_millis(pause);
        if !std::mem::replace(&mut self.lost, true) {
            self.queue.push_back(News::Lost(why));
        }
    }

    fn open(&self) -> Result<Agent, FlowError> {
        Agent::open(&self.path, self.options.clone())
    }

    /// Reads on, and holds what was served against what was announced.
    fn read(&mut self, mut agent: Agent) -> Result<(), FlowError> {
        self.looked_at = Instant::now();
        match &mut self.what {
            What::Entries(audit, after) => {
                let events = agent.audit_on(audit)?;
                let mut entries = agent.named(&events)?;
                entries.retain(|entry| entry.seq > *after);
                if !entries.is_empty() {
                    self.queue.push_back(News::Entries(entries));
                }
                agent.sync()?;
                agent.settle(&mut self.announced)?;
                let seq = audit.next().saturating_sub(1);
                self.position = Hint { seq, ..position(&agent.home) };
            }
            What::Vault => {
                let synced = agent.catch_up(&mut self.announced)?;
                // Counted from what this watch has told: another command on this home may have fetched it first.
                let told = self.position.vault_seq;
                let changed = agent.home.vault.rows.iter().filter(|row| row.vault_seq > told).count();
                if changed > 0 {
                    let synced = Synced { changed: u64::try_from(changed).unwrap_or(u64::MAX), ..synced };
                    self.queue.push_back(News::Synced(SyncDone::new(synced, agent.standing())));
                }
                self.position = position(&agent.home);
            }
        }
        Ok(())
    }
}

impl From<FlowError> for Trouble {
    fn from(error: FlowError) -> Trouble {
        match error {
            FlowError::Refused(refusal) if refusal.code == Code::RateLimited => {
                Trouble::Lost(refusal.message)
            }
            FlowError::Fault(sentence) => Trouble::Lost(sentence),
            refused => Trouble::Final(refused),
        }
    }
}

impl From<GatewayError> for Trouble {
    fn from(error: GatewayError) -> Trouble {
        FlowError::from(error).into()
    }
}
