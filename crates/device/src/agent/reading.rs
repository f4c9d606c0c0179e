//! What the gateway hands out by itself, verified before it counts: the vault's rows and the account's history.

use super::Agent;
use crate::documents::{AuditDone, SyncDone};
use crate::http::Reader;
use keyferry_client::audit::Audit;
use keyferry_client::flow::{FlowError, ListDevices};
use keyferry_client::home::Home;
use keyferry_client::sync::Sync;

impl Agent {
    /// Brings the vault up to date.
    pub fn sync(&mut self) -> Result<SyncDone, FlowError> {
        let mut sync = Sync::start(&self.home)?;
        let synced = loop {
            let page = self.link.gateway().sync(reader(&self.home)?, sync.cursor())?;
            if let Some(synced) = sync.page(&mut self.home, page)? {
                break synced;
            }
        };
        self.save()?;
        Ok(SyncDone::new(synced, self.standing()))
    }

    /// Reads and verifies every ledger entry of the account. The vault and the devices are read first, for names.
    pub fn audit(&mut self) -> Result<AuditDone, FlowError> {
        self.sync()?;
        self.run(ListDevices)?;
        let mut audit = Audit::start(&self.home)?.with_devices(&self.home);
        let audited = loop {
            let page = self.link.gateway().audit(reader(&self.home)?, audit.next())?;
            if let Some(audited) = audit.page(&mut self.home, &page)? {
                break audited;
            }
        };
        self.save()?;
        Ok(AuditDone::new(&audited, self.standing()))
    }
}

fn reader(home: &Home) -> Result<Reader<'_>, FlowError> {
    Ok(Reader {
        account: home.account()?,
        access: home.membership()?.access.expose(),
        seen: home.trust.seen.map_or(0, |head| head.size),
    })
}
