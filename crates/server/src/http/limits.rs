//! Token buckets per peer address and class of route.

use super::routes::Class;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Requests that one address may send. Sessions cost the enclave a key agreement and live connections stay, so both
/// have a rate of their own.
#[derive(Clone, Copy, Debug)]
pub struct RateLimits {
    /// Requests a second in each class of routes.
    pub per_second: u32,
    /// Requests at once.
    pub burst: u32,
    /// Sessions, and live connections, a second.
    pub sessions_per_second: u32,
    /// Sessions at once.
    pub sessions_burst: u32,
}

impl Default for RateLimits {
    fn default() -> RateLimits {
        RateLimits { per_second: 500, burst: 1000, sessions_per_second: 50, sessions_burst: 100 }
    }
}

impl RateLimits {
    fn of(&self, class: Class) -> (f64, f64) {
        match class {
            Class::Session | Class::Live => (self.sessions_per_second.into(), self.sessions_burst.into()),
            _ => (self.per_second.into(), self.burst.into()),
        }
    }
}

/// Buckets of all addresses seen lately.
pub(super) struct Buckets {
    rates: RateLimits,
    hasher: RandomState,
    parts: [Mutex<HashMap<(IpAddr, Class), Bucket>>; PARTS],
}

#[derive(Clone, Copy)]
struct Bucket {
    tokens: f64,
    at: Instant,
}

/// Locks, so that workers rarely meet.
const PARTS: usize = 16;
/// Buckets of one part; beyond it those that are full again are forgotten.
const BUCKETS_MAX: usize = 4096;

impl Buckets {
    pub(super) fn new(rates: RateLimits) -> Buckets {
        Buckets { rates, hasher: RandomState::new(), parts: Default::default() }
    }

    /// Takes a token; false when there is none.
    pub(super) fn take(&self, peer: IpAddr, class: Class, now: Instant) -> bool {
        let key = (network(peer), class);
        let (rate, burst) = self.rates.of(class);
        let part = usize::try_from(self.hasher.hash_one(key.0) % 16).unwrap_or(0);
        let Some(part) = self.parts.get(part) else {
            return false;
        };
        let mut buckets = part.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= BUCKETS_MAX && !buckets.contains_key(&key) {
            forget(&mut buckets, &self.rates, now);
        }
        let bucket = buckets.entry(key).or_insert(Bucket { tokens: burst, at: now });
        bucket.tokens = bucket.refilled(rate, burst, now);
        bucket.at = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

impl Bucket {
    fn refilled(&self, rate: f64, burst: f64, now: Instant) -> f64 {
        let waited = now.saturating_duration_since(self.at).as_secs_f64();
        (self.tokens + waited * rate).min(burst)
    }
}

/// Forgets full buckets, which say nothing; all of them if that is not enough, since memory comes first.
fn forget(buckets: &mut HashMap<(IpAddr, Class), Bucket>, rates: &RateLimits, now: Instant) {
    buckets.retain(|(_, class), bucket| {
        let (rate, burst) = rates.of(*class);
        bucket.refilled(rate, burst, now) < burst
    });
    if buckets.len() >= BUCKETS_MAX {
        buckets.clear();
    }
}

/// An IPv6 host has a whole /64 to choose addresses from.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_served_then_the_rate() {
        let buckets = Buckets::new(RateLimits { per_second: 10, burst: 3, ..RateLimits::default() });
        let peer = IpAddr::from([192, 0, 2, 1]);
        let start = Instant::now();
        let taken = (0..5).filter(|_| buckets.take(peer, Class::Read, start)).count();
        assert_eq!(taken, 3);
        assert!(buckets.take(peer, Class::Read, start + Duration::from_millis(100)));
        assert!(!buckets.take(peer, Class::Read, start + Duration::from_millis(100)));
        assert!(buckets.take(IpAddr::from([192, 0, 2, 2]), Class::Read, start));
    }

    #[test]
    fn addresses_of_one_ipv6_network_share_a_bucket() {
        let buckets = Buckets::new(RateLimits { per_second: 1, burst: 1, ..RateLimits::default() });
        let now = Instant::now();
        assert!(buckets.take("2001:db8::1".parse().unwrap(), Class::Read, now));
        assert!(!buckets.take("2001:db8::2".parse().unwrap(), Class::Read, now));
        assert!(buckets.take("2001:db8:0:1::1".parse().unwrap(), Class::Read, now));
    }

    #[test]
    fn many_addresses_do_not_fill_the_memory() {
        let buckets = Buckets::new(RateLimits::default());
        let now = Instant::now();
        for host in 0..200_000u32 {
            buckets.take(IpAddr::from(host.to_be_bytes()), Class::Read, now);
        }
        let held: usize = buckets.parts.iter().map(|part| part.lock().unwrap().len()).sum();
        assert!(held <= PARTS * BUCKETS_MAX);
    }
}
