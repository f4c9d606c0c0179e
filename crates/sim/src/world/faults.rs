//! What goes wrong, by the dice.

use super::World;
use crate::device::Device;
use crate::gateway::{Crash, Plan, Who};
use crate::oracle::Checked;
use crate::post::{Ask, Body, Letter};

/// A device that nobody is: answers to replays go there.
const NOBODY: usize = usize::MAX;

impl World {
    /// One thing goes wrong.
    pub(super) fn fault(&mut self) -> Checked {
        match self.dice.below(13) {
            12 => self.pass(),
            0 => self.crash_idle()?,
            1 => self.jump(),
            2 | 3 => self.crash_device(),
            4..7 => self.replay(),
            7 => self.fresh_evidence()?,
            8 => self.forget_session(),
            9 if self.evil && self.dice.chance(60) => self.fork_host()?,
            10 | 11 if self.evil => {
                self.note(format_args!("the host spoils letters"));
                let letters = self.network.letters();
                self.gateway.evil.spoil_letters(letters, &mut self.dice, &mut self.oracle);
            }
            _ => self.gateway.publish(),
        }
        Ok(())
    }

    pub(super) fn any_crash(&mut self) -> Option<Crash> {
        self.dice.pick(&Crash::ALL).copied()
    }

    /// How the next turn goes.
    pub(super) fn any_plan(&mut self) -> Plan {
        let who = if self.dice.chance(500) { Who::Enclave } else { Who::Gateway };
        let crash = if self.dice.chance(45) { self.any_crash() } else { None };
        Plan {
            crash: crash.map(|crash| (crash, who)),
            choosy: self.dice.chance(500),
            crowded: self.dice.chance(250),
            silent: self.dice.chance(200),
            evil: self.evil && self.dice.chance(100),
        }
    }

    fn crash_idle(&mut self) -> Checked {
        let who = if self.dice.chance(500) { Who::Enclave } else { Who::Gateway };
        self.note(format_args!("{who:?} crashes between turns"));
        self.gateway.die(who, &mut self.oracle, "between-turns");
        self.post()
    }

    /// The host's clock is set.
    fn jump(&mut self) {
        const SPANS_MS: [i64; 5] = [5_000, 700_000, 4_000_000, 90_000_000, 800_000_000];
        let span = *self.dice.pick(&SPANS_MS).unwrap_or(&0);
        self.skew_ms = if self.dice.chance(300) { 0 } else { self.skew_ms + span };
        if self.dice.chance(400) {
            self.skew_ms -= 2 * span;
        }
        self.oracle.stats.fault("clock jump");
        let skew = self.skew_ms;
        self.note(format_args!("the host's clock is off by {skew} ms"));
    }

    /// Time passes while nobody does anything.
    fn pass(&mut self) {
        const SPANS_MS: [u64; 4] = [20_000, 400_000, 700_000, 4_000_000];
        let span = *self.dice.pick(&SPANS_MS).unwrap_or(&0);
        self.now_ms += span;
        self.oracle.stats.simulated_ms += span;
        self.oracle.stats.fault("time passes");
        self.note(format_args!("{span} ms pass"));
    }

    fn crash_device(&mut self) {
        let at = self.dice.index(self.devices.len());
        self.note(format_args!("device {at} crashes"));
        self.oracle.stats.fault("device crash");
        self.devices[at] = Device::reborn(&self.devices[at]);
    }

    fn forget_session(&mut self) {
        let at = self.dice.index(self.devices.len());
        self.devices[at].forget();
    }

    /// A device of another account sends what it has recorded.
    fn replay(&mut self) {
        let Some(letter) = self.dice.pick(self.tape.make_contiguous()).cloned() else { return };
        let Body::Ask(Ask::Request(mut frame, from)) = letter.body else { return };
        if self.dice.chance(300) {
            frame.number += self.dice.below(3);
        }
        self.oracle.stats.fault("frame replayed");
        self.note(format_args!(
            "a frame of device {} is replayed ({:?} #{})",
            letter.device, frame.session, frame.number
        ));
        self.mail(Letter { exchange: 0, device: NOBODY, body: Body::Ask(Ask::Request(frame, from)) });
    }

    fn fresh_evidence(&mut self) -> Checked {
        let host = self.host_ms();
        self.gateway.refresh(host, &mut self.oracle)
    }

    /// A second enclave on a copy of the disk. Anchor level 0 does not promise to refuse it; that is only noted.
    fn fork_host(&mut self) -> Checked {
        let mut oracle = self.oracle.clone();
        let mut other = self.gateway.copy(self.trace.step);
        let host = self.host_ms();
        other.boot(host, None, &mut oracle)?;
        self.oracle.stats.fault("a second enclave on a copy starts (level 0 promises nothing)");
        Ok(())
    }
}
