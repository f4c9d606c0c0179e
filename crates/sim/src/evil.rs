//! A host that plays false: other rows, older rows, hidden rows, forged tickets, spoiled letters.

use crate::dice::Dice;
use crate::oracle::Oracle;
use crate::post::{Body, Letter, Tell};
use keyferry_wire::AccountId;
use keyferry_wire::door::{AccountView, Work};
use keyferry_wire::publish::{MapProof, SyncPage, Terminal};
use std::collections::VecDeque;

/// Views that an evil host keeps.
const KEPT: usize = 60;

const FALSE_PROOF: &str = "a proof of another time or place";

/// What an evil host has kept for later use.
#[derive(Default)]
pub struct Evil {
    views: VecDeque<AccountView>,
    /// Pages of a sync as they once were, served instead of new ones (sabotage).
    pub old_pages: Vec<SyncPage>,
    /// Whether to serve them.
    pub serve_old: bool,
}

impl Evil {
    /// Keeps a view.
    pub fn remember(&mut self, view: &AccountView) {
        if self.views.len() == KEPT {
            self.views.pop_front();
        }
        self.views.push_back(view.clone());
    }

    /// Plays false with the rows of one request, if told to, and says how.
    pub fn tamper(
        &self,
        work: &mut Work,
        evil: bool,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Option<&'static str> {
        let view = work.view.as_mut().filter(|_| evil)?;
        let honest = view.clone();
        let kind = match dice.below(7) {
            0 => self.swap(view, dice),
            1 => self.age(view, dice),
            2 => hide(view, dice),
            3 => flip(view, dice),
            4 => self.other_account(view, dice),
            5 => without_rows(view),
            _ => self.false_proof(view, dice),
        };
        let kind = kind.filter(|_| *view != honest)?;
        oracle.stats.fault(kind);
        // Of a path that another request of the turn has shown, the proof is not looked at, so a false one does no harm.
        Some(kind).filter(|kind| *kind != FALSE_PROOF)
    }

    fn another<'a>(&'a self, account: &AccountId, dice: &mut Dice) -> Option<&'a AccountView> {
        let others: Vec<_> = self.views.iter().filter(|view| view.account != *account).collect();
        dice.pick(&others).copied()
    }

    /// Rows of another account under this one's name.
    fn swap(&self, view: &mut AccountView, dice: &mut Dice) -> Option<&'static str> {
        let other = self.another(&view.account, dice)?.clone();
        *view = AccountView { account: view.account, shard: view.shard, map_key: view.map_key, ..other };
        Some("rows of another account")
    }

    /// What the account was before.
    fn age(&self, view: &mut AccountView, dice: &mut Dice) -> Option<&'static str> {
        let older = |old: &&AccountView| old.account == view.account && old.state != view.state;
        let old: Vec<_> = self.views.iter().filter(older).collect();
        *view = (*dice.pick(&old)?).clone();
        Some("an older state")
    }

    /// Another account's view as it is.
    fn other_account(&self, view: &mut AccountView, dice: &mut Dice) -> Option<&'static str> {
        *view = self.another(&view.account, dice)?.clone();
        Some("another account's view")
    }

    fn false_proof(&self, view: &mut AccountView, dice: &mut Dice) -> Option<&'static str> {
        let old: Vec<_> = self.views.iter().filter(|old| old.proof != view.proof).collect();
        view.proof = dice.pick(&old)?.proof.clone();
        Some(FALSE_PROOF)
    }

    /// Tickets that were never given out, and tickets twice.
    pub fn forge_tickets(&self, work: &mut Vec<Work>, dice: &mut Dice, oracle: &mut Oracle) {
        if dice.chance(300) {
            oracle.stats.fault("a forged ticket");
            let view = self.views.back().cloned();
            work.push(Work { ticket: 1 << 40 | dice.below(9), frame: None, view });
        }
        if dice.chance(300)
            && let Some(again) = dice.pick(work).cloned()
        {
            // The same frame under a ticket of the host's own: nobody waits for its answer.
            oracle.stats.fault("a frame handed in twice");
            work.push(Work { ticket: 1 << 41, ..again });
        }
    }

    /// Exchanges or spoils letters that are under way.
    pub fn spoil_letters<'a>(
        &self,
        letters: impl Iterator<Item = &'a mut Letter>,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) {
        let mut tells: Vec<_> = letters.filter(|letter| matches!(letter.body, Body::Tell(_))).collect();
        if tells.is_empty() {
            return;
        }
        let (one, other) = (dice.index(tells.len()), dice.index(tells.len()));
        if one != other && dice.chance(500) {
            oracle.stats.fault("answers exchanged");
            let body = tells[one].body.clone();
            tells[one].body = tells[other].body.clone();
            tells[other].body = body;
        } else if let Body::Tell(tell) = &mut tells[one].body {
            spoil(tell, dice);
            oracle.stats.fault("an answer spoiled");
        }
    }

    /// Serves yesterday's page, if told to (sabotage).
    pub fn age_page(&mut self, page: SyncPage) -> SyncPage {
        if self.serve_old {
            return self.old_pages.last().cloned().unwrap_or(page);
        }
        self.old_pages.push(page.clone());
        page
    }
}

/// Hides a passkey: says that there is none of this id.
fn hide(view: &mut AccountView, dice: &mut Dice) -> Option<&'static str> {
    let some: Vec<usize> =
        view.passkeys.iter().enumerate().filter(|(_, one)| one.row.is_some()).map(|(at, _)| at).collect();
    let passkey = view.passkeys.get_mut(*dice.pick(&some)?)?;
    passkey.row = None;
    if dice.chance(500) {
        passkey.proof = MapProof { siblings: Vec::new(), terminal: Terminal::Empty };
    }
    Some("a hidden passkey")
}

fn flip(view: &mut AccountView, dice: &mut Dice) -> Option<&'static str> {
    let mut rows: Vec<&mut Vec<u8>> = view.devices.iter_mut().map(|row| &mut row.row.0).collect();
    let passkeys = view.passkeys.iter_mut().filter_map(|passkey| passkey.row.as_mut());
    rows.extend(passkeys.flat_map(|row| [&mut row.blob.0, &mut row.metadata.0]));
    rows.extend(view.state.as_mut().map(|state| &mut state.row.0));
    rows.retain(|row| !row.is_empty());
    if rows.is_empty() {
        return None;
    }
    let at = dice.index(rows.len());
    let byte = dice.index(rows[at].len());
    rows[at][byte] ^= 1;
    Some("a flipped bit in a row")
}

/// Leaves out what was hinted at.
fn without_rows(view: &mut AccountView) -> Option<&'static str> {
    view.state.take()?;
    Some("an account without its state")
}

fn spoil(tell: &mut Tell, dice: &mut Dice) {
    match tell {
        Tell::Reply(frame) if dice.chance(300) => frame.consistency.clear(),
        Tell::Reply(frame) => {
            let at = dice.index(frame.ciphertext.0.len());
            if let Some(byte) = frame.ciphertext.0.get_mut(at) {
                *byte ^= 1;
            }
        }
        Tell::Sync(page) => match dice.below(3) {
            0 => drop(page.rows.pop()),
            1 => page.account = None,
            _ => page.cursor = page.cursor.wrapping_add(1),
        },
        Tell::Audit(page) => match dice.below(3) {
            0 => drop(page.entries.pop()),
            1 => page.entries.reverse(),
            _ => page.more = !page.more,
        },
        other => *other = Tell::Unavailable,
    }
}
