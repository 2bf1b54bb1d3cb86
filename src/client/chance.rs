//! A little randomness, to keep clients from doing the same at the same time. Nothing secret is made of it.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A source of numbers that differ.
#[derive(Debug, Default)]
pub(super) struct Chance {
    state: RandomState,
    count: AtomicU64,
}

impl Chance {
    /// A number below `end`; zero if that is zero.
    pub(super) fn below(&self, end: usize) -> usize {
        let number = self.state.hash_one(self.count.fetch_add(1, Ordering::Relaxed));
        let end = u64::try_from(end).unwrap_or(u64::MAX);
        usize::try_from(number.checked_rem(end).unwrap_or(0)).unwrap_or(0)
    }

    /// Somewhere between half of `span` and all of it.
    pub(super) fn jitter(&self, span: Duration) -> Duration {
        let half = span / 2;
        let micros = usize::try_from(half.as_micros()).unwrap_or(usize::MAX);
        half + Duration::from_micros(u64::try_from(self.below(micros.saturating_add(1))).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_keeps_to_its_span_and_differs() {
        let chance = Chance::default();
        let span = Duration::from_millis(100);
        let spans: Vec<Duration> = (0..100).map(|_| chance.jitter(span)).collect();
        assert!(spans.iter().all(|one| (span / 2..=span).contains(one)), "{spans:?}");
        assert!(spans.iter().any(|one| *one != spans[0]), "{spans:?}");
        assert_eq!(chance.jitter(Duration::ZERO), Duration::ZERO);
        assert_eq!(chance.below(0), 0);
    }
}
