//! What the judge makes of an errand's end.

use super::World;
use crate::device::{End, Role};
use crate::errand::{Errand, Outcome};
use crate::oracle::{Checked, breach, ensure, law};
use keyferry_client::audit::Audited;
use keyferry_tlog::Map;
use keyferry_tlog::state::{vault_key, vault_value};
use keyferry_wire::Hash;
use keyferry_wire::refusal::{Code, Refusal};

impl World {
    /// An errand has ended.
    pub(super) fn end(&mut self, at: usize, end: End) -> Checked {
        let errand = self.devices[at].job.as_ref().map(|job| job.errand.clone());
        self.devices[at].rest();
        let word = errand.as_ref().map_or("nothing", Errand::word);
        self.learn(at)?;
        match &end {
            End::Done(outcome) => {
                self.note(format_args!("device {at} has done {word}"));
                self.oracle.stats.flow(word, "done");
                self.done(at, outcome)?;
            }
            End::Refused(refusal) => {
                self.note(format_args!("device {at} is refused {word}: {refusal}"));
                self.oracle.stats.flow(word, refusal.code.as_str());
                self.refused(at, refusal)?;
            }
            End::Open(why) => {
                self.note(format_args!("device {at} gives {word} up: {why}"));
                self.oracle.stats.flow(word, "open");
            }
        }
        self.ends[at] = Some(end);
        Ok(())
    }

    fn done(&mut self, at: usize, outcome: &Outcome) -> Checked {
        let account = self.devices[at].account;
        let honest = self.devices[at].role == Role::Honest;
        match outcome {
            Outcome::Account(id) => self.oracle.meet(account, *id),
            Outcome::Member | Outcome::Changed(_) => {
                ensure(honest, law::TRUTH, || "a stranger has become a member".to_owned())?;
                let shown = self.devices[at].home.pin.as_ref().map_or(0, |pin| pin.generation);
                let truth = &mut self.oracle.truths[account];
                truth.acknowledged = truth.acknowledged.max(shown);
                ensure(truth.generation >= shown, law::KEPT, || {
                    format!("PIN {shown} was acknowledged and is not in force")
                })
            }
            Outcome::Created(id) => match self.oracle.truths[account].passkeys.get_mut(id) {
                Some(key) => {
                    key.acknowledged = true;
                    Ok(())
                }
                None => breach(law::KEPT, format!("{id:?} was acknowledged and never made")),
            },
            Outcome::Synced => self.check_synced(at),
            Outcome::Audited(audited) => self.check_audited(at, audited),
            Outcome::Status(_) | Outcome::Signed(_) | Outcome::Done => Ok(()),
        }
    }

    /// What a device believes to be its vault was the vault.
    fn check_synced(&self, at: usize) -> Checked {
        let device = &self.devices[at];
        let cursor = device.home.vault.cursor;
        let root = vault_root(&device.home.vault.rows);
        ensure(self.oracle.is_vault(device.account, cursor, &root), law::EQUAL, || {
            format!("device {at} takes other rows for vault {cursor}")
        })
    }

    /// The audit shows the ledger as it is, from its first entry on.
    fn check_audited(&self, at: usize, audited: &Audited) -> Checked {
        let events = self.oracle.events(self.devices[at].account);
        let same = audited.entries.iter().zip(events).all(|(entry, event)| {
            entry.seq == event.seq && entry.kind == event.kind && entry.outcome == event.outcome
        });
        let within = same && audited.entries.len() <= events.len();
        ensure(within, law::AUDIT, || format!("device {at} reads another ledger than was written"))?;
        ensure(self.oracle.is_head(audited.size, &audited.root), law::LOG, || {
            format!("device {at} audits a tree of size {} that was never published", audited.size)
        })
    }

    fn refused(&self, at: usize, refusal: &Refusal) -> Checked {
        let accused = refusal.code == Code::Evidence
            || ["rolled back", "withholds", "two ledgers", "older"]
                .iter()
                .any(|word| refusal.message.contains(word));
        let fair = self.evil || !accused;
        ensure(fair || self.config.sabotage.is_some(), law::HONEST, || format!("device {at}: {refusal}"))
    }
}

/// The root over some rows.
pub(super) fn vault_root(rows: &[keyferry_wire::publish::PasskeyRow]) -> Hash {
    let mut map = Map::new();
    for row in rows {
        map.set(vault_key(&row.id), vault_value(row)).expect("a full map knows every place");
    }
    map.root()
}
