//! What users set out to do, when nothing else goes on at their device.

use super::World;
use crate::device::Role;
use crate::errand::Errand;
use crate::oracle::Checked;
use keyferry_crypto::credential::Algorithm;
use keyferry_wire::CredentialId;

impl World {
    /// Some idle device sets out.
    pub(super) fn wish(&mut self) -> Checked<bool> {
        let idle: Vec<usize> =
            self.devices.iter().filter(|device| device.is_idle()).map(|device| device.at).collect();
        let Some(at) = self.dice.pick(&idle).copied() else { return Ok(false) };
        let errand = match self.devices[at].role {
            Role::Stranger => self.stranger_wish(at),
            Role::Honest if self.devices[at].home.membership.is_some() => Some(self.member_wish(at)),
            Role::Honest => Some(self.outsider_wish(at)),
        };
        match errand {
            Some(errand) => self.set_out(at, errand).map(|()| true),
            None => Ok(false),
        }
    }

    fn stranger_wish(&mut self, at: usize) -> Option<Errand> {
        let account = self.devices[at].account;
        let known = self.oracle.truths[account].generation > 0;
        if !known || !self.dice.chance(250) {
            return None;
        }
        if self.dice.chance(300) {
            let (pin, label) = (self.dice.word(7), self.label());
            return Some(Errand::Join { pin, label });
        }
        Some(Errand::Guess { rounds: u32::try_from(self.dice.between(2, 7)).unwrap_or(2) })
    }

    /// A device that is to become a member.
    fn outsider_wish(&mut self, at: usize) -> Errand {
        let account = self.devices[at].account;
        let label = self.label();
        let truth = &self.oracle.truths[account];
        if truth.id.is_none() {
            return Errand::CreateAccount;
        }
        let committed = self.devices[at].home.pending.as_ref().is_some_and(|pending| pending.committed);
        let before = self.typed[at].clone().filter(|_| committed || self.dice.chance(500));
        match truth.pin().map(str::to_owned) {
            None => {
                let (pin, label) = before.unwrap_or_else(|| (self.dice.word(8), label));
                Errand::Enrol { pin, label }
            }
            Some(_) if !committed && self.dice.chance(150) => Errand::Join { pin: self.dice.word(8), label },
            Some(pin) => {
                let (pin, label) = before.unwrap_or((pin, label));
                Errand::Join { pin, label }
            }
        }
    }

    fn member_wish(&mut self, at: usize) -> Errand {
        let device = &self.devices[at];
        let (account, has_uv) = (device.account, device.has_uv());
        let pin = self.oracle.truths[account].pin().map(str::to_owned);
        if device.home.pin.is_none() && pin.is_none() {
            let (pin, label) = self.retyped(at);
            return Errand::Enrol { pin, label };
        }
        let passkeys: Vec<(CredentialId, String)> = self.passkeys(at);
        let chosen = self.dice.pick(&passkeys).cloned();
        match (self.dice.below(100), chosen) {
            (0..22, _) => self.creation(at),
            (22..42, Some((id, rp_id))) => Errand::Get { rp_id, id, verified: self.dice.chance(500) },
            (42..50, Some((id, _))) => {
                Errand::RenamePasskey { id, user_name: format!("user-{}", self.dice.word(10)) }
            }
            (50..57, Some((id, _))) => Errand::Delete { id },
            (57..63, _) => Errand::Audit,
            (63..69, _) => Errand::PinStatus,
            (69..75, _) => {
                let old = if has_uv && self.dice.chance(700) {
                    None
                } else if self.dice.chance(800) {
                    pin
                } else {
                    Some(self.dice.word(8))
                };
                Errand::PinChange { old, new: self.dice.word(8) }
            }
            (75..80, _) => Errand::ListDevices,
            (80..85, _) => {
                let device = self.devices[at].home.device_id();
                Errand::RenameDevice { device, label: self.label() }
            }
            _ => Errand::Sync,
        }
    }

    pub(super) fn creation(&mut self, at: usize) -> Errand {
        let rp_ids = self.people[self.devices[at].account].rp_ids.clone();
        let rp_id = self.dice.pick(&rp_ids).cloned().unwrap_or_default();
        let known = self.passkeys(at);
        let mut exclude: Vec<CredentialId> =
            known.iter().filter(|(_, of)| *of != rp_id).map(|(id, _)| *id).collect();
        exclude.truncate(4);
        if self.dice.chance(100) {
            exclude = known.iter().map(|(id, _)| *id).collect();
        }
        let user_name = format!("user-{}", self.dice.word(10));
        let alg = self.dice.pick(&Algorithm::ALL).map_or(-7, |algorithm| algorithm.cose());
        Errand::Create { rp_id, user_name, exclude, alg, verified: self.dice.chance(500) }
    }

    /// What was typed at a device before, or something new.
    pub(super) fn retyped(&mut self, at: usize) -> (String, String) {
        let fresh = (self.dice.word(8), self.label());
        self.typed[at].clone().unwrap_or(fresh)
    }

    pub(super) fn label(&mut self) -> String {
        format!("label-{}", self.dice.word(10))
    }

    /// Passkeys that a device can offer.
    pub(super) fn passkeys(&self, at: usize) -> Vec<(CredentialId, String)> {
        let passkeys = self.devices[at].home.passkeys().unwrap_or_default();
        passkeys.into_iter().map(|passkey| (passkey.id, passkey.metadata.rp_id)).collect()
    }
}
