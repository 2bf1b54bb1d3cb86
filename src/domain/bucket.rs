//! Token buckets (GCRA), of which a token may be given back, and which never take more than a bounded memory. The time is
//! given: any span that only grows.

use std::collections::HashMap;
use std::time::Duration;

/// How much is allowed: `burst` at once, and one more each `every`.
#[derive(Clone, Copy, Debug)]
pub struct Rate {
    /// So many tokens are in a full bucket; at least one.
    pub burst: u32,
    /// A token comes back each time this has passed.
    pub every: Duration,
}

impl Rate {
    /// Takes a token of the bucket that is full at `full_at`: when it is full from now on, or how long to wait.
    fn take(&self, full_at: Duration, now: Duration) -> Result<Duration, Duration> {
        let full_after = full_at.max(now).saturating_add(self.every);
        let most = now.saturating_add(self.every.saturating_mul(self.burst.max(1)));
        if full_after <= most { Ok(full_after) } else { Err(full_after.saturating_sub(most)) }
    }
}

/// One bucket.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Rate,
    full_at: Duration,
}

impl Bucket {
    /// A full one.
    pub fn new(rate: Rate) -> Self {
        Self { rate, full_at: Duration::ZERO }
    }

    /// Takes a token, or says how long to wait for the next.
    pub fn take(&mut self, now: Duration) -> Result<(), Duration> {
        self.full_at = self.rate.take(self.full_at, now)?;
        Ok(())
    }
}

/// A bucket for each key. The keys are hashes that nobody outside can foresee.
#[derive(Debug)]
pub struct Buckets {
    rate: Rate,
    /// When each is full; one that is full is not kept.
    full_at: Recent,
}

impl Buckets {
    /// Full ones, of which no more than `capacity` are kept.
    pub fn new(rate: Rate, capacity: usize) -> Self {
        Self { rate, full_at: Recent::new(capacity) }
    }

    /// Takes a token, or says how long to wait for the next.
    pub fn take(&mut self, key: u64, now: Duration) -> Result<(), Duration> {
        let full_at = self.full_at.get(key).unwrap_or_default();
        let full_after = self.rate.take(full_at, now)?;
        self.full_at.put(key, full_after, now);
        Ok(())
    }

    /// Gives a token back.
    pub fn give_back(&mut self, key: u64, now: Duration) {
        if let Some(full_at) = self.full_at.get(key) {
            self.full_at.put(key, full_at.saturating_sub(self.rate.every), now);
        }
    }
}

/// Points in time by key, no more than so many: what is past goes first, then what is nearest.
#[derive(Debug)]
pub struct Recent {
    capacity: usize,
    times: HashMap<u64, Duration>,
}

impl Recent {
    /// None yet.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, times: HashMap::new() }
    }

    /// The time of a key.
    pub fn get(&self, key: u64) -> Option<Duration> {
        self.times.get(&key).copied()
    }

    /// Sets the time of a key.
    pub fn put(&mut self, key: u64, time: Duration, now: Duration) {
        if self.times.len() >= self.capacity && !self.times.contains_key(&key) {
            self.shrink(now);
        }
        self.times.insert(key, time);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.times.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.times.is_empty()
    }

    /// Forgets what is past; and, if that is not half of them, the half that will be past first.
    fn shrink(&mut self, now: Duration) {
        self.times.retain(|_, time| *time > now);
        let half = self.capacity / 2;
        if self.times.len() > half {
            let mut times: Vec<Duration> = self.times.values().copied().collect();
            let last = times.len().saturating_sub(1);
            let middle = times.len().saturating_sub(half).min(last);
            let (_, least, _) = times.select_nth_unstable(middle);
            let least = *least;
            self.times.retain(|_, time| *time > least);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { burst: 3, every: Duration::from_secs(10) };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_drained_bucket_fills_again_and_says_when() {
        let mut bucket = Bucket::new(RATE);
        for _ in 0..3 {
            assert_eq!(bucket.take(at(100)), Ok(()));
        }
        assert_eq!(bucket.take(at(100)), Err(at(10)));
        assert_eq!(bucket.take(at(107)), Err(at(3)), "a refusal costs nothing");
        assert_eq!(bucket.take(at(110)), Ok(()));
        assert_eq!(bucket.take(at(110)), Err(at(10)));
        for _ in 0..3 {
            assert_eq!(bucket.take(at(1000)), Ok(()), "never more than a burst");
        }
        assert!(bucket.take(at(1000)).is_err());
    }

    #[test]
    fn buckets_are_apart_and_a_token_can_be_given_back() {
        let mut buckets = Buckets::new(RATE, 10);
        for _ in 0..3 {
            assert_eq!(buckets.take(1, at(5)), Ok(()));
        }
        assert!(buckets.take(1, at(5)).is_err());
        assert_eq!(buckets.take(2, at(5)), Ok(()));
        buckets.give_back(1, at(5));
        assert_eq!(buckets.take(1, at(5)), Ok(()));
        buckets.give_back(3, at(5));
        for _ in 0..100 {
            buckets.give_back(2, at(5));
        }
        let taken = (0..10).filter(|_| buckets.take(2, at(5)).is_ok()).count();
        assert_eq!(taken, 3, "a bucket is never fuller than full");
    }

    #[test]
    fn memory_is_bounded_and_the_most_drained_are_kept() {
        let mut buckets = Buckets::new(RATE, 1000);
        for _ in 0..3 {
            assert!(buckets.take(u64::MAX, at(1)).is_ok());
        }
        for key in 0..100_000 {
            assert!(buckets.take(key, at(1)).is_ok());
            assert!(buckets.full_at.len() <= 1000);
        }
        assert!(buckets.take(u64::MAX, at(1)).is_err(), "a flood of others does not refill it");
        let mut same = Recent::new(100);
        for key in 0..1000 {
            same.put(key, at(7), at(1));
            assert!(same.len() <= 100);
        }
        assert_eq!(same.get(999), Some(at(7)));
        assert!(!same.is_empty());
    }
}
