//! How many tokens may be made of one key or application: each is a row and an event, and whoever holds a key may ask.

use crate::error::{Error, Result};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Tokens a second of one parent, on average.
const PER_SECOND: u32 = 10;
/// And how many at once.
const BURST: u32 = 500;
/// Parents are forgotten once there are more than this many and they have been quiet.
const MAX_PARENTS: usize = 100_000;

/// Token buckets (GCRA) by parent. Cheap to clone.
#[derive(Clone)]
pub struct Mints {
    by_parent: Arc<DefaultKeyedRateLimiter<String>>,
    clock: DefaultClock,
}

impl fmt::Debug for Mints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mints").field("parents", &self.by_parent.len()).finish_non_exhaustive()
    }
}

impl Default for Mints {
    fn default() -> Self {
        let at_least_one = |number| NonZeroU32::new(number).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::per_second(at_least_one(PER_SECOND)).allow_burst(at_least_one(BURST));
        Self { by_parent: Arc::new(RateLimiter::keyed(quota)), clock: DefaultClock::default() }
    }
}

impl Mints {
    /// Lets one more token of `parent` be made, or says when to try again.
    pub fn pass(&self, parent: &str) -> Result<()> {
        if self.by_parent.len() > MAX_PARENTS {
            self.by_parent.retain_recent();
        }
        self.by_parent.check_key(&parent.to_owned()).map_err(|not_until| Error::Exhausted {
            limit: format!("{PER_SECOND} tokens a second of one key or application; use a token until it expires"),
            retry_after: Some(not_until.wait_time_from(self.clock.now())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_parent_that_makes_too_many_does_not_hold_up_another() {
        let mints = Mints::default();
        let passed = (0..2000).filter(|_| mints.pass("tenants/a/keys/loud").is_ok()).count();
        assert!((500..2000).contains(&passed), "{passed}");
        assert!(mints.pass("tenants/a/keys/quiet").is_ok());
        assert!(matches!(mints.pass("tenants/a/keys/loud"), Err(Error::Exhausted { retry_after: Some(_), .. })));
    }
}
