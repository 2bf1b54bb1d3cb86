//! Limits on calls that need no credential: per address, and in all.

use crate::domain::network::neighbourhood;
use crate::error::{Error, Result};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Calls from one address, and in all.
const PER_ADDRESS: Tempo = Tempo { per_second: 10, burst: 100 };
const IN_ALL: Tempo = Tempo { per_second: 100, burst: 1000 };
/// Addresses are forgotten once there are more than this many and they have been quiet.
const MAX_ADDRESSES: usize = 10_000;

/// Token buckets (GCRA).
#[derive(Debug)]
pub(super) struct Throttle {
    per_address: DefaultKeyedRateLimiter<String>,
    in_all: DefaultDirectRateLimiter,
    clock: DefaultClock,
    start: Instant,
    /// In which second after the start all addresses were last looked at.
    looked: AtomicU64,
}

/// How often something may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tempo {
    /// On average.
    pub(super) per_second: u32,
    /// At once.
    pub(super) burst: u32,
}

fn quota(Tempo { per_second, burst }: Tempo) -> Quota {
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst))
}

impl Default for Throttle {
    fn default() -> Self {
        Self::new(PER_ADDRESS, IN_ALL)
    }
}

impl Throttle {
    /// So much from one address, and in all.
    pub(super) fn new(per_address: Tempo, in_all: Tempo) -> Self {
        Self {
            per_address: RateLimiter::keyed(quota(per_address)),
            in_all: RateLimiter::direct(quota(in_all)),
            clock: DefaultClock::default(),
            start: Instant::now(),
            looked: AtomicU64::new(0),
        }
    }

    /// Lets a call from `address` pass, or says when to try again.
    pub(super) fn pass(&self, address: &str) -> Result<()> {
        self.forget();
        let refused = |limit: &str, wait| Error::Exhausted { limit: limit.to_owned(), retry_after: Some(wait) };
        self.per_address.check_key(&neighbourhood(address)).map_err(|not_until| {
            refused("calls without a credential from one address", not_until.wait_time_from(self.clock.now()))
        })?;
        self.in_all
            .check()
            .map_err(|not_until| refused("calls without a credential", not_until.wait_time_from(self.clock.now())))
    }

    /// Looks at all addresses, but not for each call: once a second at most.
    fn forget(&self) {
        let second = self.start.elapsed().as_secs();
        let is_first = self.looked.fetch_max(second, Ordering::Relaxed) < second;
        if is_first && self.per_address.len() > MAX_ADDRESSES {
            self.per_address.retain_recent();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_loud_address_does_not_silence_another() {
        let throttle = Throttle::default();
        let passed = (0..500).filter(|_| throttle.pass("192.0.2.1").is_ok()).count();
        assert!((100..500).contains(&passed), "{passed}");
        assert!(throttle.pass("192.0.2.2").is_ok());
        let passed = (0..500).filter(|host| throttle.pass(&format!("2001:db8::{host}")).is_ok()).count();
        assert!((100..500).contains(&passed), "{passed}");
        assert!(matches!(throttle.pass("192.0.2.1"), Err(Error::Exhausted { retry_after: Some(_), .. })));
    }
}
