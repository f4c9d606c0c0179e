//! What the gateway hands out by itself, verified before it counts: the vault's rows and the account's history. A gateway
//! that withholds or rolls back is remembered in the home, and told of by every command until it shows what was seen.

use super::Agent;
use crate::documents::{AuditDone, SyncDone};
use crate::http::{GatewayError, Reader};
use crate::live::Socket;
use keyferry_client::audit::{Audit, Entry};
use keyferry_client::flow::{FlowError, ListDevices};
use keyferry_client::home::Home;
use keyferry_client::live::{Announced, position};
use keyferry_client::sync::{Sync, Synced};
use keyferry_wire::ledger::Event;
use keyferry_wire::publish::Hint;
use keyferry_wire::refusal::{Code, Refusal};

impl Agent {
    /// Brings the vault up to date.
    pub fn sync(&mut self) -> Result<SyncDone, FlowError> {
        let synced = self.stored(Agent::sync_pages)?;
        Ok(SyncDone::new(synced, self.standing()))
    }

    /// Connects to be told of changes; each hint is a reason to `sync`. There is one at once if this device is behind.
    pub fn listen(&self) -> Result<Socket, GatewayError> {
        self.listen_from(position(&self.home))
    }

    pub(super) fn listen_from(&self, position: Hint) -> Result<Socket, GatewayError> {
        let reader = reader(&self.home).map_err(|error| GatewayError::Fault(error.to_string()))?;
        self.link.gateway().live(reader, position)
    }

    /// Reads and verifies every ledger entry of the account. The vault and the devices are read first, for names.
    pub fn audit(&mut self) -> Result<AuditDone, FlowError> {
        self.sync()?;
        self.run(ListDevices)?;
        let audited = self.stored(|agent| {
            let mut audit = Audit::start(&agent.home)?.with_devices(&agent.home);
            loop {
                let page = agent.audit_page(&audit)?;
                if let Some(audited) = audit.page(&mut agent.home, &page)? {
                    return Ok(audited);
                }
            }
        })?;
        Ok(AuditDone::new(&audited, self.standing()))
    }

    /// The entries that came after those that `audit` has given, verified.
    pub(super) fn audit_on(&mut self, audit: &mut Audit) -> Result<Vec<Event>, FlowError> {
        self.stored(|agent| {
            loop {
                let page = agent.audit_page(audit)?;
                if let Some((_, events)) = audit.events(&mut agent.home, &page)? {
                    return Ok(events);
                }
            }
        })
    }

    /// Entries with names; what this device needs to know for them is fetched first.
    pub(super) fn named(&mut self, events: &[Event]) -> Result<Vec<Entry>, FlowError> {
        if events.iter().any(|event| Entry::wants_vault(&self.home, event)) {
            self.sync()?;
        }
        if events.iter().any(|event| Entry::wants_devices(&self.home, event)) {
            self.run(ListDevices)?;
        }
        events.iter().map(|event| Entry::named(&self.home, event)).collect()
    }

    /// Reads what a hint was about, and holds it against what the gateway had announced.
    pub(super) fn catch_up(&mut self, announced: &mut Announced) -> Result<Synced, FlowError> {
        let synced = self.stored(Agent::sync_pages)?;
        // Rows alone do not prove where the account stands; the page after its newest entry does.
        let mut audit = Audit::resume(&self.home)?;
        self.audit_on(&mut audit)?;
        self.settle(announced)?;
        Ok(synced)
    }

    pub(super) fn settle(&mut self, announced: &mut Announced) -> Result<(), FlowError> {
        self.stored(|agent| {
            let position = position(&agent.home);
            announced.settle(&mut agent.home, position)
        })
    }

    /// What the gateway was caught at before is told again, unless it now shows all that this device has seen: the
    /// enclave says where the account stands, and rows and entries reach it.
    pub(super) fn resolve(&mut self) -> Result<(), FlowError> {
        let Some(alarm) = self.home.alarm.clone() else { return Ok(()) };
        let shown = self.run(ListDevices).and_then(|_| self.catch_up(&mut Announced::default()));
        match shown {
            Ok(_) => {
                self.home.alarm = None;
                self.save()
            }
            Err(FlowError::Refused(refusal)) if refusal.code != Code::RateLimited => Err(refusal.into()),
            Err(_) => Err(Refusal::new(Code::Stale, alarm).into()),
        }
    }

    fn sync_pages(&mut self) -> Result<Synced, FlowError> {
        let mut sync = Sync::start(&self.home)?;
        loop {
            let (home, cursor) = (&self.home, sync.cursor());
            let reader = reader(home)?;
            let page = self.link.read(|gateway| gateway.sync(reader, cursor))?;
            if let Some(synced) = sync.page(&mut self.home, page)? {
                return Ok(synced);
            }
        }
    }

    fn audit_page(&mut self, audit: &Audit) -> Result<keyferry_wire::publish::AuditPage, FlowError> {
        let (reader, next) = (reader(&self.home)?, audit.next());
        self.link.read(|gateway| gateway.audit(reader, next))
    }

    /// Does something and stores the home, whatever came of it: a refusal may have taught it something.
    fn stored<T>(&mut self, work: impl FnOnce(&mut Agent) -> Result<T, FlowError>) -> Result<T, FlowError> {
        let result = work(self);
        self.save()?;
        result
    }
}

fn reader(home: &Home) -> Result<Reader<'_>, FlowError> {
    Ok(Reader {
        account: home.account()?,
        access: home.membership()?.access.expose(),
        seen: home.trust.seen.map_or(0, |head| head.size),
    })
}
