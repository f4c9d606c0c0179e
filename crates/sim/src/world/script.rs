//! Worlds that a test leads by the hand.

use super::World;
use crate::device::End;
use crate::gateway::{Crash, Plan, Who};
use crate::oracle::{Checked, breach, law};
use crate::post::{Ask, Body, Letter};

/// Turns that one request may take.
const TURNS_MAX: usize = 8;

impl World {
    /// Starts the service, if it does not run.
    pub fn start(&mut self) -> Checked {
        while !self.gateway.serves() {
            self.step(false)?;
        }
        Ok(())
    }

    /// Takes one request of a device to the enclave and back, alone. `crash`: in which of its turns, where, and who.
    /// Gives whether it crashed; then the device still waits.
    pub fn exchange(&mut self, at: usize, crash: Option<(usize, Crash, Who)>) -> Checked<bool> {
        self.start()?;
        self.until_request(at)?;
        for number in 0..TURNS_MAX {
            self.arrive_all()?;
            if !self.gateway.is_busy() {
                return Ok(false);
            }
            let crash = crash.filter(|(turn, ..)| *turn == number).map(|(_, crash, who)| (crash, who));
            self.turn_with(Plan { crash, ..Plan::default() })?;
            if crash.is_some() {
                return Ok(true);
            }
        }
        breach(law::LIVE, format!("a request of device {at} takes more than {TURNS_MAX} turns"))
    }

    /// Lets a device speak until it has sent a request (and not only asked for evidence or a session).
    fn until_request(&mut self, at: usize) -> Checked {
        for _ in 0..TURNS_MAX * 4 {
            let before = self.tape.len();
            if !self.gateway.serves() {
                self.start()?;
            }
            self.speak_of(at)?;
            let sent = self.tape.iter().skip(before).any(is_request);
            if sent || self.devices[at].is_idle() {
                return Ok(());
            }
            self.arrive_all()?;
            if self.gateway.is_busy() {
                self.turn_with(Plan::default())?;
                self.arrive_all()?;
            }
            let due = self.devices[at].next_due().unwrap_or(0);
            self.now_ms = self.now_ms.max(due);
        }
        breach(law::LIVE, format!("device {at} does not get to its request"))
    }

    /// How the last errand of a device ended, if it did.
    pub fn take_end(&mut self, at: usize) -> Option<End> {
        self.ends[at].take()
    }

    /// All letters arrive.
    pub fn arrive_all(&mut self) -> Checked {
        while let Some(due) = self.network.next_due() {
            self.now_ms = self.now_ms.max(due);
            self.deliver()?;
        }
        Ok(())
    }

    /// The last request that was sent, held back by the host: it never arrives by itself.
    pub fn hold_back(&mut self, at: usize) -> Checked<Option<Letter>> {
        self.until_request(at)?;
        self.network.clear();
        Ok(self.tape.iter().rev().find(|letter| is_request(letter)).cloned())
    }

    /// The host lets go of a letter.
    pub fn let_go(&mut self, letter: Letter) -> Checked {
        self.mail(Letter { exchange: 0, device: usize::MAX, ..letter });
        self.arrive_all()?;
        while self.gateway.is_busy() {
            self.turn_with(Plan::default())?;
            self.arrive_all()?;
        }
        Ok(())
    }
}

fn is_request(letter: &Letter) -> bool {
    matches!(letter.body, Body::Ask(Ask::Request(..)))
}
