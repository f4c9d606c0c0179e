//! The end of a world: the faults have stopped, everything is started again, and all promises must hold.

use super::World;
use super::ends::vault_root;
use crate::device::{End, Role};
use crate::errand::{Errand, Outcome};
use crate::gateway::Who;
use crate::oracle::{Checked, KeyTruth, breach, ensure, law};
use keyferry_wire::CredentialId;
use keyferry_wire::refusal::Code;

/// Beyond every window: failures, changes and passwords are forgiven.
const MONTH_MS: i64 = 32 * 24 * 3600 * 1000;

impl World {
    /// All promises at once.
    pub fn finale(&mut self) -> Checked {
        self.gateway.publish();
        self.gateway.die(Who::Gateway, &mut self.oracle, "finale");
        self.devices.iter_mut().for_each(|device| *device = device.reborn());
        let ahead = i64::try_from(self.host_max_ms.saturating_sub(self.now_ms)).unwrap_or(0);
        self.skew_ms = ahead + MONTH_MS;
        self.note(format_args!("everything starts again"));
        self.step(false)?;
        self.check_store()?;
        for account in 0..self.people.len() {
            self.note(format_args!("the end of account {account}"));
            self.first_member(account)?;
            let members = self.members(account);
            for at in &members {
                self.must(*at, Errand::Sync)?;
                self.must(*at, Errand::ListDevices)?;
            }
            self.open_pin(account, &members)?;
            self.all_join(account)?;
            self.check_passkeys(account)?;
            self.check_vaults(account)?;
        }
        self.gateway.look_through(&self.oracle)
    }

    fn members(&self, account: usize) -> Vec<usize> {
        let of = self.honest(account);
        of.into_iter().filter(|at| self.devices[*at].home.membership.is_some()).collect()
    }

    fn honest(&self, account: usize) -> Vec<usize> {
        let honest =
            |device: &&crate::device::Device| device.account == account && device.role == Role::Honest;
        self.devices.iter().filter(honest).map(|device| device.at).collect()
    }

    /// An errand that has to be done.
    fn must(&mut self, at: usize, errand: Errand) -> Checked<Outcome> {
        let word = errand.word();
        match self.complete(at, errand)? {
            End::Done(outcome) => Ok(outcome),
            End::Refused(refusal) => breach(law::LIVE, format!("device {at} is refused {word}: {refusal}")),
            End::Open(why) => breach(law::LIVE, format!("device {at} cannot {word}: {why}")),
        }
    }

    /// Every acknowledged write is on the disk.
    fn check_store(&self) -> Checked {
        for truth in &self.oracle.truths {
            let Some(stored) = truth.id.and_then(|id| self.gateway.store.accounts.get(&id)) else {
                ensure(truth.passkeys.is_empty(), law::KEPT, || {
                    "an account with passkeys is gone".to_owned()
                })?;
                continue;
            };
            for (id, key) in &truth.passkeys {
                let row = stored.passkeys.get(id);
                let there = row.is_some_and(|row| !row.deleted);
                ensure(!key.acknowledged || key.delete_sent || there, law::KEPT, || {
                    format!("passkey {id:?} is gone")
                })?;
                ensure(!key.deleted || !there, law::KEPT, || format!("passkey {id:?} is back"))?;
            }
        }
        Ok(())
    }

    /// The account exists, with one member and a PIN.
    fn first_member(&mut self, account: usize) -> Checked {
        if self.oracle.truths[account].id.is_none() {
            let first = self.honest(account)[0];
            // It may exist although nobody was told: the answer was lost and its device has given up.
            match self.complete(first, Errand::CreateAccount)? {
                End::Done(_) => {}
                End::Refused(refusal) if refusal.code == Code::Exists => {}
                end => return breach(law::LIVE, format!("account {account} cannot be made: {end:?}")),
            }
        }
        if self.oracle.truths[account].generation > 0 && !self.members(account).is_empty() {
            return Ok(());
        }
        // Whoever has begun to enrol goes first: to the others the account is taken.
        let mut devices = self.honest(account);
        devices.sort_by_key(|at| {
            self.devices[*at].home.pending.is_none() && self.devices[*at].home.membership.is_none()
        });
        for at in devices {
            let (pin, label) = self.retyped(at);
            match self.complete(at, Errand::Enrol { pin, label })? {
                End::Done(_) => return Ok(()),
                End::Refused(refusal) if matches!(refusal.code, Code::Exists | Code::Stale) => {}
                end => return breach(law::LIVE, format!("device {at} cannot enrol: {end:?}")),
            }
        }
        // A generation is in force although no device knows of it: its members' answers were lost.
        let joined = self.oracle.truths[account].generation > 0;
        ensure(joined, law::LIVE, || format!("nobody can enrol account {account}"))
    }

    /// A locked PIN opens for nobody, until a member sets another.
    fn open_pin(&mut self, account: usize, members: &[usize]) -> Checked {
        let Some(member) = members.first().copied() else { return Ok(()) };
        let Outcome::Status(status) = self.must(member, Errand::PinStatus)? else { return Ok(()) };
        if !status.locked {
            return ensure(!self.oracle.truths[account].locked, law::LOCKED, || {
                "it is open again".to_owned()
            });
        }
        let pin = self.oracle.truths[account].pin().unwrap_or_default().to_owned();
        let outsider = self.honest(account).into_iter().find(|at| !members.contains(at));
        if let Some(at) = outsider {
            let label = self.label();
            match self.complete(at, Errand::Join { pin, label })? {
                End::Refused(refusal) if refusal.code == Code::PinLocked => {}
                end => return breach(law::LOCKED, format!("device {at} joins with a locked PIN: {end:?}")),
            }
        }
        let verified = members.iter().copied().find(|at| self.devices[*at].has_uv());
        if let Some(at) = verified {
            let new = self.dice.word(8);
            self.must(at, Errand::PinChange { old: None, new })?;
            self.note(format_args!("a locked PIN was set anew"));
        }
        Ok(())
    }

    /// Whoever is not a member yet becomes one with the PIN in force.
    fn all_join(&mut self, account: usize) -> Checked {
        if self.oracle.truths[account].locked {
            return Ok(());
        }
        for at in self.honest(account) {
            if self.devices[at].home.membership.is_some() {
                continue;
            }
            let pin = self.oracle.truths[account].pin().unwrap_or_default().to_owned();
            let (_, label) = self.retyped(at);
            match self.complete(at, Errand::Join { pin, label })? {
                End::Done(_) => {}
                end => {
                    return breach(law::LIVE, format!("device {at} cannot join with the right PIN: {end:?}"));
                }
            }
        }
        Ok(())
    }

    /// Passkeys are there and sign, for each member; deleted ones do not.
    fn check_passkeys(&mut self, account: usize) -> Checked {
        let members = self.members(account);
        ensure(!members.is_empty() || self.oracle.truths[account].locked, law::LIVE, || {
            format!("account {account} has no member")
        })?;
        for at in &members {
            self.must(*at, Errand::Sync)?;
            let offered = self.passkeys(*at);
            let known: Vec<(CredentialId, KeyTruth)> =
                self.oracle.truths[account].passkeys.iter().map(|(id, key)| (*id, key.clone())).collect();
            for (id, key) in known {
                let there = offered.iter().any(|(other, _)| *other == id);
                ensure(!key.acknowledged || key.delete_sent || there, law::KEPT, || {
                    format!("device {at} lacks {id:?}")
                })?;
                ensure(!key.deleted || !there, law::DELETED, || format!("device {at} offers {id:?}"))?;
                if key.deleted && self.dice.chance(300) {
                    self.press(*at, id, &key.rp_id)?;
                }
            }
            let mut some = offered;
            while some.len() > 2 {
                let at = self.dice.index(some.len());
                some.swap_remove(at);
            }
            for (id, rp_id) in some {
                self.must(*at, Errand::Get { rp_id, id, verified: true })?;
            }
        }
        if let Some(at) = members.first().copied() {
            self.make_use_delete(at)?;
        }
        Ok(())
    }

    fn make_use_delete(&mut self, at: usize) -> Checked {
        let rp_id = self.people[self.devices[at].account].rp_ids[0].clone();
        let user_name = format!("user-{}", self.dice.word(10));
        let create =
            Errand::Create { rp_id: rp_id.clone(), user_name, exclude: Vec::new(), alg: -7, verified: false };
        let Outcome::Created(id) = self.must(at, create)? else { return Ok(()) };
        self.must(at, Errand::Sync)?;
        self.must(at, Errand::Get { rp_id: rp_id.clone(), id, verified: false })?;
        self.must(at, Errand::Delete { id })?;
        self.press(at, id, &rp_id)?;
        self.must(at, Errand::Sync)?;
        Ok(())
    }

    /// Asks for a signature of a deleted passkey, whatever the vault says.
    fn press(&mut self, at: usize, id: CredentialId, rp_id: &str) -> Checked {
        match self.complete(at, Errand::Press { rp_id: rp_id.to_owned(), id })? {
            End::Refused(refusal) if refusal.code == Code::NoCredentials => Ok(()),
            end => breach(law::DELETED, format!("device {at} asks for {id:?}: {end:?}")),
        }
    }

    /// All members hold the newest vault, and read the whole ledger.
    pub fn check_vaults(&mut self, account: usize) -> Checked {
        for at in self.members(account) {
            self.must(at, Errand::Sync)?;
            let newest = self.oracle.vault_seq(account);
            let vault = &self.devices[at].home.vault;
            let right =
                vault.cursor == newest && self.oracle.is_vault(account, newest, &vault_root(&vault.rows));
            ensure(right, law::EQUAL, || format!("device {at} has vault {} of {newest}", vault.cursor))?;
            let Outcome::Audited(audited) = self.must(at, Errand::Audit)? else { return Ok(()) };
            let (read, written) = (audited.entries.len(), self.oracle.events(account).len());
            ensure(read == written, law::AUDIT, || format!("device {at} reads {read} of {written} entries"))?;
        }
        Ok(())
    }
}
