//! Who is next. An account has one place among those who are ready, and its further requests wait behind it in a line of
//! their own: however much one account sends, the turns of the others are as full as without it.

use super::Item;
use keyferry_wire::AccountId;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::mem;

/// Requests that wait in a line, new ones and those that the enclave holds: far more than all devices of a person send at
/// once. An account's hint is unchecked, so whoever fills a line may be anybody.
pub(super) const LINE_MAX: usize = 16;

#[derive(Default)]
pub(super) struct Lines {
    /// At most one of an account.
    pub(super) ready: VecDeque<Item>,
    /// For each account that has a place, or had one in the turn that runs: who waits behind.
    lines: HashMap<AccountId, Line>,
    /// Accounts whose place is free for the next in line.
    free: Vec<AccountId>,
}

/// Those that the enclave holds came before the others.
#[derive(Default)]
struct Line {
    held: VecDeque<Item>,
    new: VecDeque<Item>,
}

impl Lines {
    /// Nobody is ready, and nobody waits in a line.
    pub(super) fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.free.is_empty()
    }

    /// Gives the item a place, or lets it wait in line; gives it back when the line is full.
    #[must_use]
    pub(super) fn enter(&mut self, item: Item) -> Option<Item> {
        self.enter_at(item, VecDeque::push_back)
    }

    /// The same, ahead of all who are ready.
    #[must_use]
    pub(super) fn enter_first(&mut self, item: Item) -> Option<Item> {
        self.enter_at(item, VecDeque::push_front)
    }

    fn enter_at(&mut self, item: Item, put: fn(&mut VecDeque<Item>, Item)) -> Option<Item> {
        match item.account().map(|account| self.lines.entry(account)) {
            Some(Entry::Occupied(line)) => return line.into_mut().add(item),
            Some(Entry::Vacant(place)) => drop(place.insert(Line::default())),
            None => {}
        }
        put(&mut self.ready, item);
        None
    }

    /// Whoever had a place goes into the turn: the next in line gets the place when the turn is over.
    pub(super) fn leave(&mut self, item: &Item) {
        self.free.extend(item.account());
    }

    /// Whoever had a place goes into no turn: the next in line gets it at once.
    pub(super) fn pass_on(&mut self, item: &Item) {
        if let Some(account) = item.account() {
            self.call(account);
        }
    }

    /// The turn is over. Whom the enclave holds goes on; others wait until it is seen who else has come.
    pub(super) fn turn_is_over(&mut self) {
        for account in mem::take(&mut self.free) {
            match self.lines.get(&account) {
                Some(line) if line.held.is_empty() && !line.new.is_empty() => self.free.push(account),
                _ => self.call(account),
            }
        }
    }

    /// The next in each line takes the place that is free.
    pub(super) fn call_all(&mut self) {
        for account in mem::take(&mut self.free) {
            self.call(account);
        }
    }

    fn call(&mut self, account: AccountId) {
        match self.lines.get_mut(&account).and_then(Line::next) {
            Some(next) => self.ready.push_back(next),
            None => drop(self.lines.remove(&account)),
        }
    }
}

impl Line {
    fn add(&mut self, item: Item) -> Option<Item> {
        let line = if matches!(item, Item::Resume(..)) { &mut self.held } else { &mut self.new };
        if line.len() >= LINE_MAX {
            return Some(item);
        }
        line.push_back(item);
        None
    }

    fn next(&mut self) -> Option<Item> {
        self.held.pop_front().or_else(|| self.new.pop_front())
    }
}
