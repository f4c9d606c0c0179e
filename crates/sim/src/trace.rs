//! The story of a run, step by step: all of it on demand, the last events for a failure.

use std::collections::VecDeque;
use std::fmt;

/// How many of the last events a failure shows.
const KEPT: usize = 40;

/// The last events of a world.
#[derive(Clone, Debug, Default)]
pub struct Trace {
    /// Number of the step that is being done.
    pub step: u64,
    aloud: bool,
    last: VecDeque<String>,
    /// A hash over all events: two runs of one seed must tell the same story.
    story: u64,
}

impl Trace {
    /// A trace that also prints, if `aloud`.
    pub fn new(aloud: bool) -> Trace {
        Trace { aloud, story: 0xcbf2_9ce4_8422_2325, ..Trace::default() }
    }

    /// Notes an event.
    pub fn note(&mut self, now_ms: u64, event: fmt::Arguments<'_>) {
        let line = format!("{:>6} {:>9} ms  {event}", self.step, now_ms % 1_000_000_000);
        for byte in line.bytes() {
            self.story = (self.story ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        if self.aloud {
            println!("{line}");
        }
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    /// The last events, oldest first.
    pub fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    /// Hash over the whole story.
    pub fn story(&self) -> u64 {
        self.story
    }
}
