//! Who owns an account: created once per identity, proved in each request that needs it.

use super::{Context, Stop, prune, refuse};
use crate::load::{Keys, log_key};
use crate::record::{AccountRecord, AssertPolicy, Held};
use keyferry_crypto::hash;
use keyferry_crypto::label::Label;
use keyferry_wire::command::{self, Answer, Authenticate};
use keyferry_wire::ledger::{Kind, Outcome};
use keyferry_wire::refusal::{Code, Refusal};
use keyferry_wire::{AccountId, limits};

/// The account of an identity; computed here only, so that a gateway cannot send a joiner to an account of its own.
pub(crate) fn account(keys: &Keys, identity: &Authenticate) -> Result<AccountId, Refusal> {
    let name = &identity.name;
    let clean = !name.is_empty()
        && name.len() <= limits::NAME_MAX
        && name.trim() == name
        && !name.chars().any(char::is_control);
    if clean {
        Ok(keys.local_account(name))
    } else {
        Err(Refusal::new(Code::BadOptions, "an account name has 1 to 256 bytes and no control characters"))
    }
}

impl Context<'_> {
    pub(super) fn authenticate(&mut self, identity: &Authenticate) -> Result<Answer, Stop> {
        let now_ms = self.now_ms;
        let record = self.record()?;
        let since = now_ms.saturating_sub(limits::PASSWORD_WINDOW_MS);
        let recent = record.password_failures.iter().filter(|time| **time >= since).count();
        if recent >= limits::PASSWORD_FAILURES_MAX {
            return refuse(Code::RateLimited, "too many wrong passwords; try again in an hour");
        }
        let check = password_check(&record.password_key, &identity.proof);
        if hash::ct_eq(&check, &record.password_check) {
            self.authority.identity = true;
            return Ok(self.account_answer());
        }
        let record = self.record_mut()?;
        prune(&mut record.password_failures, now_ms, limits::PASSWORD_WINDOW_MS);
        record.password_failures.push(now_ms);
        self.event(Kind::Authenticate, Outcome::Refused);
        refuse(Code::Auth, "name or password is wrong")
    }

    /// One account per identity: creation needs its absence in the map, which the view has shown.
    pub(super) fn create_account(&mut self, identity: &Authenticate) -> Result<Answer, Stop> {
        let created_by = hash::sha256(&[&self.operation]);
        if let Some(record) = &self.account.record {
            return if record.created_by == created_by {
                self.known = true;
                Ok(self.account_answer())
            } else {
                refuse(Code::Exists, "an account of this name exists")
            };
        }
        let password_key = Held::random(self.random);
        let password_check = password_check(&password_key, &identity.proof);
        self.account.record = Some(AccountRecord {
            password_key,
            password_check,
            password_failures: Vec::new(),
            created_by,
            epoch: 0,
            sds_hash: None,
            audit_key: Held::random(self.random),
            devices: Vec::new(),
            pin: None,
            prepared: None,
            pin_failures: Vec::new(),
            pin_changes: Vec::new(),
            generation: 0,
            assert_policy: AssertPolicy::Hw,
        });
        self.authority.identity = true;
        self.event(Kind::CreateAccount, Outcome::Done);
        Ok(self.account_answer())
    }

    /// What an account is told of its place.
    pub(super) fn account_answer(&self) -> Answer {
        let members = self.account.record.as_ref().map_or(0, AccountRecord::members);
        Answer::Account(command::Account {
            account: self.account.id,
            shard: self.shard.id,
            origin: self.shard.origin.clone(),
            log_key: log_key(self.shard).to_string(),
            members: u16::try_from(members).unwrap_or(u16::MAX),
        })
    }
}

fn password_check(key: &Held<32>, proof: &[u8; 32]) -> [u8; 32] {
    hash::hmac(&key.0, Label::PasswordCheck, &[proof])
}
