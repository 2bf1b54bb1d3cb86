//! A line in the log for whoever shows a wrong credential or password: from where, at what, and why it was refused, and
//! never what was shown. Not for each: whoever tries without end would fill the log.

use super::throttle::{Tempo, Throttle};
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Lines a second about one address, on average, and how many at once; and about all.
const PER_ADDRESS: Tempo = Tempo { per_second: 1, burst: 5 };
const IN_ALL: Tempo = Tempo { per_second: 10, burst: 50 };

/// Where refusals are told. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Refusals(Arc<Told>);

#[derive(Debug)]
struct Told {
    throttle: Throttle,
    /// How many were not told since the last that was.
    left_out: AtomicU64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self(Arc::new(Told { throttle: Throttle::new(PER_ADDRESS, IN_ALL), left_out: AtomicU64::new(0) }))
    }
}

impl Refusals {
    /// Passes on what came of a call from `address`, and tells of it if whoever called is not known.
    pub(super) fn told<T>(&self, outcome: Result<T>, address: impl FnOnce() -> String, at: &str) -> Result<T> {
        if let Err(Error::Unauthenticated { reason }) = &outcome {
            self.tell(&address(), at, reason);
        }
        outcome
    }

    fn tell(&self, address: &str, at: &str, reason: &str) {
        let Told { throttle, left_out } = &*self.0;
        if throttle.pass(address).is_err() {
            left_out.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let address = if address.is_empty() { "unix" } else { address };
        let left_out = left_out.swap(0, Ordering::Relaxed);
        tracing::warn!(parent: None, address, at, reason, left_out, "a caller was refused");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_who_tries_without_end_is_told_of_a_few_times_and_counted() {
        let refusals = Refusals::default();
        let refused = || Err::<(), _>(Error::Unauthenticated { reason: "NOT_FOUND".to_owned() });
        for _ in 0..500 {
            assert!(refusals.told(refused(), || "192.0.2.1".to_owned(), "Check").is_err());
        }
        let left_out = refusals.0.left_out.load(Ordering::Relaxed);
        assert!((400..=495).contains(&left_out), "{left_out}");
        // Another address is told of, and with it how many were not.
        assert!(refusals.told(refused(), || "192.0.2.2".to_owned(), "Check").is_err());
        assert_eq!(refusals.0.left_out.load(Ordering::Relaxed), 0);
        // What else goes wrong is no matter of credentials.
        for _ in 0..500 {
            assert!(refusals.told(Err::<(), _>(Error::unavailable("x")), String::new, "Check").is_err());
            assert!(refusals.told(Ok(()), String::new, "Check").is_ok());
        }
        assert_eq!(refusals.0.left_out.load(Ordering::Relaxed), 0);
    }
}
