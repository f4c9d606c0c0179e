//! Hints: what a device makes of a gateway's word that its account has changed.
//!
//! A hint carries two numbers and no proof. It is a reason to read, in either direction, and nothing else: what is read
//! is verified as always. But a gateway has to serve what it announces. One that announces more than it then serves
//! withholds, or lies; one that serves less than this device has seen is found by the reading itself.

use crate::flow::FlowError;
use crate::home::Home;
use keyferry_crypto::random::{self, Random};
use keyferry_wire::publish::Hint;
use keyferry_wire::refusal::{Code, Refusal};

/// Pause before the second try to connect; doubled for each further one.
const PAUSE_MS: u64 = 250;
/// The longest pause: somebody who watches should not wait for long once the service is back.
const PAUSE_MAX_MS: u64 = 30_000;

/// What the gateway has announced and not yet served.
#[derive(Clone, Copy, Debug, Default)]
pub struct Announced(Hint);

/// What to do about a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nothing: this device stands there.
    Rest,
    /// Read, then hold what was served against what was announced.
    Read,
}

/// Where a device stands: the newest entry that it has seen, and the change up to which its vault is verified.
pub fn position(home: &Home) -> Hint {
    Hint { seq: home.head.map_or(0, |head| head.seq), vault_seq: home.vault.cursor }
}

impl Announced {
    /// Takes a hint. A smaller one than before may have been under way for long, so it is looked into and not believed.
    pub fn hear(&mut self, position: Hint, hint: Hint) -> Look {
        self.0.seq = self.0.seq.max(hint.seq);
        self.0.vault_seq = self.0.vault_seq.max(hint.vault_seq);
        if hint == position { Look::Rest } else { Look::Read }
    }

    /// After reading: whether the gateway served what it had announced. If not, the home remembers it.
    pub fn settle(&mut self, home: &mut Home, position: Hint) -> Result<(), FlowError> {
        let Announced(said) = std::mem::take(self);
        if said.seq <= position.seq && said.vault_seq <= position.vault_seq {
            return Ok(());
        }
        let sentence = format!(
            "the gateway announced entry {} and change {} of the vault, and serves no more than entry {} and change {}: \
             it withholds what it has, or announces what there is not",
            said.seq, said.vault_seq, position.seq, position.vault_seq
        );
        Err(home.alarmed(Refusal::new(Code::Stale, sentence)).into())
    }
}

/// Pauses between tries to connect: longer each time, up to a bound, and never the same for all devices at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The pause after one more failure: between half of the step and all of it.
    pub fn pause_ms(&mut self, random: &mut dyn Random) -> u64 {
        let step = PAUSE_MS.checked_shl(self.failures).unwrap_or(u64::MAX).min(PAUSE_MAX_MS);
        self.failures = self.failures.saturating_add(1).min(16);
        let half = step / 2;
        let chance = u64::from(u32::from_be_bytes(random::bytes(random)));
        half + (step - half) * chance / u64::from(u32::MAX)
    }

    /// It works again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Ledger, Seeded, member};

    fn hint(seq: u64, vault_seq: u64) -> Hint {
        Hint { seq, vault_seq }
    }

    #[test]
    fn a_hint_is_a_reason_to_read_unless_the_device_stands_there() {
        let mut announced = Announced::default();
        assert_eq!(announced.hear(hint(4, 2), hint(4, 2)), Look::Rest);
        for other in [hint(5, 2), hint(5, 3), hint(3, 2), hint(4, 1), hint(u64::MAX, u64::MAX)] {
            assert_eq!(announced.hear(hint(4, 2), other), Look::Read, "{other:?}");
        }
    }

    #[test]
    fn a_gateway_that_serves_what_it_announced_is_not_accused() {
        let mut home = member(&Ledger::new());
        let mut announced = Announced::default();
        announced.hear(hint(4, 2), hint(6, 3));
        // An older hint that was under way for long.
        announced.hear(hint(4, 2), hint(5, 2));
        assert_eq!(announced.settle(&mut home, hint(7, 3)), Ok(()));
        assert_eq!((announced.settle(&mut home, hint(0, 0)), home.alarm), (Ok(()), None), "said once");
    }

    #[test]
    fn a_gateway_that_serves_less_than_it_announced_is_remembered_with_both_numbers() {
        for (said, served) in [(hint(9, 2), hint(8, 2)), (hint(8, 5), hint(8, 4))] {
            let mut home = member(&Ledger::new());
            let mut announced = Announced::default();
            announced.hear(hint(1, 1), said);
            // A smaller hint later does not take it back.
            announced.hear(hint(1, 1), hint(1, 1));
            let Err(FlowError::Refused(refusal)) = announced.settle(&mut home, served) else {
                panic!("not noticed")
            };
            assert_eq!(refusal.code, Code::Stale);
            let seen = format!("announced entry {} and change {}", said.seq, said.vault_seq);
            let shown = format!("no more than entry {} and change {}", served.seq, served.vault_seq);
            assert!(refusal.message.contains(&seen) && refusal.message.contains(&shown), "{refusal}");
            assert_eq!(home.alarm, Some(refusal.message));
        }
    }

    #[test]
    fn pauses_grow_up_to_a_bound_and_are_spread() {
        let mut random = Seeded::new(1);
        let mut backoff = Backoff::default();
        let mut step = 250;
        for _ in 0..40 {
            let pause = backoff.pause_ms(&mut random);
            assert!((step / 2..=step).contains(&pause), "{pause} of {step}");
            step = (step * 2).min(30_000);
        }
        backoff.reset();
        assert!(backoff.pause_ms(&mut random) <= 250);
        let first = |seed| Backoff::default().pause_ms(&mut Seeded::new(seed));
        assert!((0..8).any(|seed| first(seed) != first(9)), "devices do not come back in step");
    }
}
