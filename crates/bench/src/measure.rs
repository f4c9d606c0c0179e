//! Medians, percentiles, and CPU time per operation of code that runs in this process.

use crate::host;
use serde_json::{Value, json};

/// A median with the smallest and the largest of what was measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) count: usize,
}

impl Spread {
    pub(crate) fn of(values: &[f64]) -> Spread {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |index: usize| sorted.get(index).copied().unwrap_or(f64::NAN);
        let middle = sorted.len() / 2;
        let median = if sorted.len().is_multiple_of(2) && middle > 0 {
            f64::midpoint(at(middle - 1), at(middle))
        } else {
            at(middle)
        };
        Spread { median, low: at(0), high: at(sorted.len().saturating_sub(1)), count: sorted.len() }
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "median": rounded(self.median),
            "low": rounded(self.low),
            "high": rounded(self.high),
            "count": self.count,
        })
    }
}

/// Four digits are more than these measurements can bear.
pub(crate) fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let scale = 10f64.powi(4 - value.abs().log10().ceil() as i32);
    (value * scale).round() / scale
}

/// The value below which `part` of all values lie.
pub(crate) fn percentile(sorted: &[u64], part: f64) -> u64 {
    let last = sorted.len().saturating_sub(1);
    let index = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(index.saturating_sub(1).min(last)).copied().unwrap_or(0)
}

/// Slices of which the median counts, and the CPU time of each.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    pub(crate) slices: usize,
    pub(crate) slice_ns: u64,
}

impl Effort {
    pub(crate) const SHORT: Effort = Effort { slices: 7, slice_ns: 8_000_000 };
    pub(crate) const LONG: Effort = Effort { slices: 15, slice_ns: 20_000_000 };
}

/// Nanoseconds of this thread's CPU time per call, the median over the slices.
pub(crate) fn cpu_per_call(effort: Effort, mut call: impl FnMut()) -> f64 {
    call();
    let mut calls = 1u64;
    // Finds a number of calls that fills a slice, so that the clock itself does not count.
    let mut took = timed(calls, &mut call);
    while took < effort.slice_ns && calls < 1 << 40 {
        let factor = (effort.slice_ns / took.max(1)).clamp(2, 16);
        calls *= factor;
        took = timed(calls, &mut call);
    }
    let slice = |_| timed(calls, &mut call) as f64 / calls as f64;
    Spread::of(&(0..effort.slices).map(slice).collect::<Vec<_>>()).median
}

fn timed(calls: u64, call: &mut impl FnMut()) -> u64 {
    let start = host::thread_cpu_ns();
    for _ in 0..calls {
        call();
    }
    host::thread_cpu_ns().saturating_sub(start)
}
