//! Limits on calls that need no credential: per address, and in all.

use crate::domain::network::neighbourhood;
use crate::error::{Error, Result};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::num::NonZeroU32;

/// Calls a second from one address, on average, and how many at once.
const PER_ADDRESS: (u32, u32) = (10, 100);
/// Calls a second in all, and how many at once.
const IN_ALL: (u32, u32) = (100, 1000);
/// Addresses are forgotten once there are more than this many and they have been quiet.
const MAX_ADDRESSES: usize = 10_000;

/// Token buckets (GCRA).
#[derive(Debug)]
pub(super) struct Throttle {
    per_address: DefaultKeyedRateLimiter<String>,
    in_all: DefaultDirectRateLimiter,
    clock: DefaultClock,
}

fn quota((per_second, burst): (u32, u32)) -> Quota {
    let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
    Quota::per_second(at_least_one(per_second)).allow_burst(at_least_one(burst))
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            per_address: RateLimiter::keyed(quota(PER_ADDRESS)),
            in_all: RateLimiter::direct(quota(IN_ALL)),
            clock: DefaultClock::default(),
        }
    }
}

impl Throttle {
    /// Lets a call from `address` pass, or says when to try again.
    pub(super) fn pass(&self, address: &str) -> Result<()> {
        if self.per_address.len() > MAX_ADDRESSES {
            self.per_address.retain_recent();
        }
        let refused = |limit: &str, wait| Error::Exhausted { limit: limit.to_owned(), retry_after: Some(wait) };
        self.per_address.check_key(&neighbourhood(address)).map_err(|not_until| {
            refused("calls without a credential from one address", not_until.wait_time_from(self.clock.now()))
        })?;
        self.in_all
            .check()
            .map_err(|not_until| refused("calls without a credential", not_until.wait_time_from(self.clock.now())))
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
