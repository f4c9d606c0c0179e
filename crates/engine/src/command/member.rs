//! Devices of an account: the first is enrolled, others join; each has keys of its own and a half of the secret.

use super::{Context, Missing, Stop, refuse};
use crate::record::{DeviceRecord, Held};
use crate::request::{Actor, signature_holds};
use keyferry_crypto::hpke::{self, BoxKey};
use keyferry_crypto::label::Label;
use keyferry_crypto::secret::SecretVec;
use keyferry_crypto::sign::PublicKey;
use keyferry_crypto::tree::SecurityDomainSecret;
use keyferry_crypto::{hash, random, seal};
use keyferry_wire::cbor::Bytes;
use keyferry_wire::command::{
    Answer, DeviceInfo, Devices, Member, MemberSecrets, Registration, RenameDevice,
};
use keyferry_wire::frame::Level;
use keyferry_wire::ledger::{Kind, Outcome};
use keyferry_wire::refusal::Code;
use keyferry_wire::{DeviceId, Wire, limits};

impl Context<'_> {
    /// The first device: opens the account's security domain. The same device may do so again as long as nothing was
    /// made in the domain: whoever lost the first answer, and asks in other words, is not shut out of the account.
    pub(super) fn enrol(&mut self, registration: &Registration) -> Result<Answer, Stop> {
        let device = self.registrant(registration)?;
        let record = self.record()?;
        let alone = record.devices.iter().all(|entry| entry.device == device);
        let untouched = record.pin.is_none() && self.account.head().vault_seq == 0;
        // Devices are never taken off the list.
        let again = alone && untouched;
        if !record.devices.is_empty() && !again {
            return refuse(Code::Exists, "the account has a device already; join with its PIN");
        }
        let sds = SecurityDomainSecret::random(self.random);
        let account = self.account.id;
        let record = self.record_mut()?;
        let before = (record.epoch, record.sds_hash);
        record.epoch = 1;
        record.sds_hash = Some(sds.hash(&account.0, u64::from(record.epoch)));
        self.sds = Some(sds);
        let admitted = self.admit(device, registration, Kind::Enrol);
        if admitted.is_err() {
            // Another command of the request may write the record all the same.
            self.sds = None;
            let record = self.record_mut()?;
            (record.epoch, record.sds_hash) = before;
        }
        admitted
    }

    /// A further device, let in by the account's PIN in the same request. A member that lost the answer to its join, and
    /// shows the PIN again, is let in again in its old place.
    pub(super) fn join(&mut self, registration: &Registration) -> Result<Answer, Stop> {
        let device = self.registrant(registration)?;
        if self.authority.pin.is_none() {
            return refuse(Code::Auth, "joining needs the account's PIN in the same request");
        }
        self.all_devices()?;
        let record = self.record()?;
        if record.devices.len() >= limits::DEVICES_MAX && record.entry(&device).is_none() {
            return refuse(Code::Policy, "the account has as many devices as it can have");
        }
        self.admit(device, registration, Kind::Join)
    }

    /// Checks who registers: the identity is proved, and both keys signed this request.
    fn registrant(&self, registration: &Registration) -> Result<DeviceId, Stop> {
        if !self.authority.identity {
            return refuse(Code::Auth, "registering a device needs the proof of the account");
        }
        let (device, hw) = match &self.actor {
            Actor::Stranger { device, hw } => (device, &hw[..]),
            Actor::Member { device, .. } => (device, &self.device(device)?.hw[..]),
            Actor::Nobody => return refuse(Code::Auth, "a device that registers signs the request"),
        };
        let label_ok = (1..=limits::LABEL_MAX).contains(&registration.label.len())
            && !registration.label.chars().any(char::is_control);
        if !label_ok {
            return refuse(Code::BadOptions, "a device label has 1 to 64 bytes and no control characters");
        }
        let hw_ok = registration.hw[..] == *hw && PublicKey::parse(hw).is_ok();
        let uv_ok = registration.uv.as_ref().is_none_or(|uv| {
            uv[..] != *hw
                && PublicKey::parse(uv).is_ok()
                && signature_holds(self.received, Level::Uv, uv) == Some(true)
        });
        if hw_ok && uv_ok {
            Ok(*device)
        } else {
            refuse(Code::Auth, "the device did not prove possession of the keys that it registers")
        }
    }

    /// Makes the device a member and seals what it must keep to the device itself: a lost reply can be given again,
    /// and neither host nor HSM can read it.
    fn admit(&mut self, device: DeviceId, registration: &Registration, kind: Kind) -> Result<Answer, Stop> {
        let wrap_key = Held::<32>::random(self.random);
        let member = BoxKey::generate(self.random);
        let access: [u8; 32] = random::bytes(self.random);
        let secrets = self.member_secrets(&device, &wrap_key, &member, access)?;
        let plain = SecretVec::new(secrets.to_bytes());
        let aad: [&[u8]; 2] = [&self.account.id.0, &device.0];
        let sealed =
            hpke::seal_to(&registration.sealing, Label::DeviceBox, &aad, plain.expose(), self.random)
                .map_err(|_| bad_sealing_key())?;
        let devices = self.record()?.devices.len();
        let before = self.account.device(&device).map(|record| record.index);
        let index = before.unwrap_or(u16::try_from(devices).unwrap_or(u16::MAX));
        let row = DeviceRecord {
            index,
            hw: registration.hw.clone(),
            uv: registration.uv.clone(),
            wrap_key,
            member: member.public(),
            label: registration.label.clone(),
            storage: registration.storage,
            created_ms: self.now_ms,
            access: hash::sha256(&[&access]),
            ops: Vec::new(),
            minute_ms: 0,
            asserted: 0,
        };
        self.account.add_device(device, row);
        let verified = registration.uv.is_some();
        self.actor = Actor::Member { device, index, verified };
        let detail = hash::labelled_hash(Label::AuditDetail, &[registration.label.as_bytes()]);
        self.event(kind, Outcome::Done).detail = detail;
        let Answer::Account(account) = self.account_answer() else { return Err(Stop::Store) };
        let members = self.all_devices()?;
        let map_key = self.account.map_key;
        Ok(Answer::Member(Member { account, device, secrets: Bytes(sealed), members, map_key }))
    }

    fn member_secrets(
        &mut self,
        device: &DeviceId,
        wrap_key: &Held<32>,
        member: &BoxKey,
        access: [u8; 32],
    ) -> Result<MemberSecrets, Stop> {
        let account = self.account.id;
        let record = self.record()?;
        let (epoch, audit_key) = (record.epoch, record.audit_key.0);
        let (sds_salt, member_salt) = (random::bytes(self.random), random::bytes(self.random));
        let sds = self.sds()?;
        let aad: [&[u8]; 3] = [&account.0, &device.0, &epoch.to_be_bytes()];
        Ok(MemberSecrets {
            epoch,
            wrapped: seal::seal(&wrap_key.0, Label::DeviceWrap, &aad, sds.expose(), sds_salt).into(),
            member_key: seal::seal(
                &wrap_key.0,
                Label::MemberWrap,
                &aad,
                member.secret().expose(),
                member_salt,
            )
            .into(),
            audit_key,
            metadata_key: *sds.metadata_key().expose(),
            access,
        })
    }

    pub(super) fn list_devices(&mut self) -> Result<Answer, Stop> {
        self.member()?;
        Ok(Answer::Devices(Devices { devices: self.all_devices()? }))
    }

    pub(super) fn rename_device(&mut self, rename: &RenameDevice) -> Result<Answer, Stop> {
        self.member()?;
        let label_ok = (1..=limits::LABEL_MAX).contains(&rename.label.len())
            && !rename.label.chars().any(char::is_control);
        if !label_ok {
            return refuse(Code::BadOptions, "a device label has 1 to 64 bytes and no control characters");
        }
        if self.record()?.entry(&rename.device).is_none() {
            return refuse(Code::UnknownDevice, "the account has no such device");
        }
        self.device(&rename.device)?;
        self.device_mut(&rename.device)?.label.clone_from(&rename.label);
        let detail = hash::labelled_hash(Label::AuditDetail, &[rename.label.as_bytes()]);
        self.event(Kind::RenameDevice, Outcome::Done).detail = detail;
        Ok(Answer::Renamed)
    }

    /// All devices, for which the host has to attach every row.
    fn all_devices(&self) -> Result<Vec<DeviceInfo>, Stop> {
        let record = self.record()?;
        let missing: Vec<_> = record
            .devices
            .iter()
            .map(|entry| entry.device)
            .filter(|device| self.account.device(device).is_none())
            .collect();
        if !missing.is_empty() {
            return Err(Stop::Need(Missing { devices: missing, ..Missing::default() }));
        }
        let info = |entry: &crate::record::DeviceEntry| {
            Some(self.account.device(&entry.device)?.info(entry.device, entry.state))
        };
        Ok(record.devices.iter().filter_map(info).collect())
    }
}

fn bad_sealing_key() -> Stop {
    Stop::Refused(keyferry_wire::refusal::Refusal::new(
        Code::BadOptions,
        "the sealing key is not an X25519 key",
    ))
}

impl DeviceRecord {
    /// Whether an assertion fits into this minute's allowance; counts it.
    pub(super) fn admit_assertion(&mut self, now_ms: u64) -> bool {
        const MINUTE_MS: u64 = 60_000;
        if now_ms.saturating_sub(self.minute_ms) >= MINUTE_MS {
            self.minute_ms = now_ms;
            self.asserted = 0;
        }
        self.asserted = self.asserted.saturating_add(1);
        self.asserted <= limits::ASSERTIONS_PER_MINUTE
    }
}
