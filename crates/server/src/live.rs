//! Who listens to which account. A durable commit rings; whoever listens to an account of it wakes up and looks at the
//! desk for itself, so that many commits are one hint for a slow listener, and nothing is kept for anybody.
//!
//! Absent: what the hint says, and every account that nobody listens to.

use keyferry_wire::door::Batch;
use keyferry_wire::{AccountId, Hash};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How many may listen, and how long without a sign of life.
#[derive(Clone, Copy, Debug)]
pub struct LiveLimits {
    /// In all: each holds a file descriptor and some KiB.
    pub total: usize,
    /// To one account: more than devices have, fewer than would cost the others.
    pub per_account: usize,
    /// With one device's token, so that a stolen one does not shut out the others.
    pub per_device: usize,
    /// A sign of life is asked for this often.
    pub ping_every: Duration,
    /// Without any for so long, the other side is taken for gone.
    pub silence_max: Duration,
    /// A hint that is not taken within this ends the connection: nothing is buffered for a slow reader.
    pub send_max: Duration,
}

impl Default for LiveLimits {
    fn default() -> LiveLimits {
        LiveLimits {
            total: 4096,
            per_account: 256,
            per_device: 8,
            ping_every: Duration::from_secs(30),
            silence_max: Duration::from_secs(75),
            send_max: Duration::from_secs(10),
        }
    }
}

/// Why somebody may not listen as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crowded {
    /// The gateway has no room.
    Here,
    /// The account or the device has enough of them.
    There,
}

/// All who listen.
pub struct Live {
    limits: LiveLimits,
    accounts: Mutex<HashMap<AccountId, Account>>,
    /// How many listen.
    count: watch::Sender<usize>,
    closing: watch::Sender<bool>,
}

/// An account that somebody listens to.
struct Account {
    bell: watch::Sender<()>,
    /// The hash of the access token of each who listens.
    tokens: Vec<Hash>,
}

/// Somebody who listens, until it is dropped.
pub struct Listener {
    live: Arc<Live>,
    /// To this account.
    pub account: AccountId,
    /// With the access token that has this hash.
    pub token: Hash,
    bell: watch::Receiver<()>,
    closing: watch::Receiver<bool>,
}

/// What woke a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Something of the account became durable.
    Rung,
    /// The gateway stops.
    Closing,
}

impl Live {
    /// Nobody listens yet.
    pub fn new(limits: LiveLimits) -> Arc<Live> {
        Arc::new(Live {
            limits,
            accounts: Mutex::default(),
            count: watch::Sender::new(0),
            closing: watch::Sender::new(false),
        })
    }

    /// The limits.
    pub fn limits(&self) -> &LiveLimits {
        &self.limits
    }

    /// Begins to listen. Whatever becomes durable from now on wakes the listener; what did before is at the desk.
    pub fn listen(self: &Arc<Self>, account: AccountId, token: Hash) -> Result<Listener, Crowded> {
        let mut accounts = self.accounts();
        if *self.count.borrow() >= self.limits.total {
            return Err(Crowded::Here);
        }
        if let Some(known) = accounts.get(&account) {
            let own = known.tokens.iter().filter(|other| **other == token).count();
            if known.tokens.len() >= self.limits.per_account || own >= self.limits.per_device {
                return Err(Crowded::There);
            }
        }
        let entry = accounts
            .entry(account)
            .or_insert_with(|| Account { bell: watch::Sender::new(()), tokens: Vec::new() });
        entry.tokens.push(token);
        let (bell, closing) = (entry.bell.subscribe(), self.closing.subscribe());
        self.count.send_modify(|count| *count += 1);
        Ok(Listener { live: Arc::clone(self), account, token, bell, closing })
    }

    /// Wakes all who listen to an account of these batches, which are durable and at the desk.
    pub fn ring(&self, batches: &[Batch]) {
        if *self.count.borrow() == 0 {
            return;
        }
        let accounts = self.accounts();
        for put in batches.iter().flat_map(|batch| &batch.accounts) {
            if let Some(account) = accounts.get(&put.account) {
                account.bell.send_replace(());
            }
        }
    }

    /// Tells everyone that the gateway stops.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    /// Waits until nobody listens.
    pub async fn ended(&self) {
        // The sender is in `self`, so it is there.
        let _ = self.count.subscribe().wait_for(|count| *count == 0).await;
    }

    fn leave(&self, account: &AccountId, token: &Hash) {
        let mut accounts = self.accounts();
        if let Some(entry) = accounts.get_mut(account) {
            if let Some(at) = entry.tokens.iter().position(|other| other == token) {
                entry.tokens.swap_remove(at);
            }
            if entry.tokens.is_empty() {
                accounts.remove(account);
            }
        }
        self.count.send_modify(|count| *count = count.saturating_sub(1));
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<AccountId, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    /// Waits until there is a reason to look. What happened since the last time is one reason.
    pub async fn woken(&mut self) -> Wake {
        tokio::select! {
            biased;
            // A sender that is gone has stopped, too.
            _ = self.closing.wait_for(|closing| *closing) => Wake::Closing,
            rung = self.bell.changed() => if rung.is_ok() { Wake::Rung } else { Wake::Closing },
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.live.leave(&self.account, &self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::account;
    use tokio::time::timeout;

    fn live(total: usize, per_account: usize, per_device: usize) -> Arc<Live> {
        Live::new(LiveLimits { total, per_account, per_device, ..LiveLimits::default() })
    }

    fn batch(accounts: &[u8]) -> Batch {
        use crate::testing::{Edit, Scribe};
        let edits = accounts.iter().map(|n| Edit {
            account: account(*n),
            before: None,
            devices: Vec::new(),
            passkeys: Vec::new(),
            vault_root: [0; 32],
            events: 1,
        });
        Scribe::new(0).batch(keyferry_wire::ledger::Class::Event, edits.collect())
    }

    #[test]
    fn numbers_are_bounded_in_all_for_an_account_and_for_a_device() {
        let live = live(5, 3, 2);
        let one = |n, token| live.listen(account(n), [token; 32]);
        let held = [one(1, 1).ok(), one(1, 1).ok(), one(1, 2).ok()];
        assert!(held.iter().all(Option::is_some));
        assert_eq!(one(1, 3).err(), Some(Crowded::There));
        let other = [one(2, 1).ok(), one(2, 1).ok()];
        assert!(other.iter().all(Option::is_some));
        assert_eq!(one(3, 1).err(), Some(Crowded::Here));
        drop(other);
        assert!(one(2, 1).is_ok());
    }

    #[test]
    fn one_device_does_not_take_the_places_of_the_others() {
        let live = live(9, 9, 1);
        let _first = live.listen(account(1), [1; 32]).unwrap();
        assert_eq!(live.listen(account(1), [1; 32]).err(), Some(Crowded::There));
        assert!(live.listen(account(1), [2; 32]).is_ok());
    }

    #[test]
    fn an_account_that_nobody_listens_to_takes_no_memory() {
        let live = live(9, 9, 9);
        let listeners = [live.listen(account(1), [1; 32]), live.listen(account(1), [1; 32])];
        assert_eq!(live.accounts().len(), 1);
        drop(listeners);
        live.ring(&[batch(&[1, 2])]);
        assert_eq!((live.accounts().len(), *live.count.borrow()), (0, 0));
    }

    #[tokio::test]
    async fn commits_wake_those_who_listen_to_their_accounts_once_for_all() {
        let live = live(9, 9, 9);
        let mut one = live.listen(account(1), [1; 32]).unwrap();
        let mut two = live.listen(account(2), [1; 32]).unwrap();
        live.ring(&[batch(&[1, 3])]);
        live.ring(&[batch(&[1])]);
        assert_eq!(one.woken().await, Wake::Rung);
        assert!(timeout(Duration::ZERO, one.woken()).await.is_err(), "two commits are one hint");
        assert!(timeout(Duration::ZERO, two.woken()).await.is_err(), "another account's change");
        live.close();
        assert_eq!((one.woken().await, two.woken().await), (Wake::Closing, Wake::Closing));
        drop((one, two));
        live.ended().await;
    }
}
