//! How long a replica may answer after a poll, and what follows from it.

use std::time::Duration;

/// The lease, D, and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    lease: Duration,
}

impl Timing {
    /// What a lease is unless it is said otherwise.
    pub const DEFAULT_LEASE: Duration = Duration::from_secs(10);

    /// The shortest: a poll has a quarter of it, and databases count time-outs in seconds.
    pub const SHORTEST_LEASE: Duration = Duration::from_secs(1);

    /// The longest: nobody should wait longer for a dead replica.
    pub const LONGEST_LEASE: Duration = Duration::from_secs(300);

    /// Of a lease.
    pub const fn new(lease: Duration) -> Self {
        Self { lease }
    }

    /// D: how long a replica answers after it has sent a poll that succeeded.
    pub const fn lease(self) -> Duration {
        self.lease
    }

    /// W = 1.2 D + 250 ms: after so long on anyone's clock a lease of D is over on its holder's, though each clock may be
    /// wrong by a twelfth.
    pub fn wait(self) -> Duration {
        self.lease.saturating_mul(6) / 5 + Duration::from_millis(250)
    }

    /// How long one statement of a poll may take, and how long a transaction may hold the head without a word.
    pub fn statement_timeout(self) -> Duration {
        self.lease / 4
    }

    /// How long a connection may take to be made again. It may be longer than a statement, and must not be as short where
    /// leases are: whoever gives up too early never has one, and a busy machine has been seen to need more than three seconds.
    pub fn connect_timeout(self) -> Duration {
        (self.lease / 2).max(Duration::from_secs(5))
    }

    /// How long a replica sleeps between two polls unless it is told that there is something to see.
    pub fn poll_interval(self) -> Duration {
        Duration::from_millis(250).min(self.lease / 8)
    }
}

impl Default for Timing {
    fn default() -> Self {
        Self::new(Self::DEFAULT_LEASE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_outlasts_a_lease_on_clocks_that_are_wrong_by_a_twelfth_each() {
        for lease in [Timing::SHORTEST_LEASE, Timing::DEFAULT_LEASE, Timing::LONGEST_LEASE] {
            let wait = Timing::new(lease).wait();
            // The holder's clock is slow, so that its lease is long; the waiter's is fast, so that its wait is short.
            assert!(wait * 11 / 12 > lease * 13 / 12, "{wait:?} for {lease:?}");
        }
    }
}
