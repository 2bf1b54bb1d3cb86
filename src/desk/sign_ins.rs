//! How often somebody may try to sign in: per source, in all, and per account, whether or not there is such an account.
//!
//! Nobody can be kept out for good. Every limit refills; one source alone cannot use up what an account has; a sign-in
//! that succeeds costs nothing; and a source from which an account has signed in lately has a limit of its own, which
//! strangers can neither use up nor take away. Limits are this process's own and are full again after a restart.
//!
//! A refusal for the source's sake, or for all, is given at once: it tells nothing of an account. One for the account's
//! sake is given only after as much work as a wrong password costs, and in the same words whether it exists or not.

use crate::clock::Clock;
use crate::domain::bucket::{Bucket, Buckets, Rate, Recent};
use crate::domain::network::neighbourhood;
use crate::error::{Error, Result};
use parking_lot::Mutex;
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// From one source.
const PER_SOURCE: Rate = Rate { burst: 100, every: Duration::from_secs(1) };
/// To one account, from all sources that it does not know.
const PER_ACCOUNT: Rate = Rate { burst: 20, every: Duration::from_secs(6) };
/// To one account from one source.
const PER_PAIR: Rate = Rate { burst: 10, every: Duration::from_secs(10) };
/// In all, from sources that the account does not know: at once, and a second for each worker of the pool, about half of
/// what it can do.
const IN_ALL_BURST: u32 = 200;
const IN_ALL_PER_WORKER: u32 = 15;

/// How long a source is remembered from which an account has signed in.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// So many sources, accounts and pairs of them are remembered.
const CAPACITY: usize = 100_000;

/// The limits. What is counted by is hashed with a key of this process's own, so that nobody can aim at another's count.
#[derive(Debug)]
pub struct SignIns {
    clock: Clock,
    hasher: RandomState,
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    by_source: Buckets,
    by_account: Buckets,
    by_pair: Buckets,
    in_all: Bucket,
    known: Recent,
}

/// An attempt that was let in, though perhaps only to be refused after it has cost what every attempt does.
#[derive(Debug)]
#[must_use]
pub struct Attempt {
    account: u64,
    pair: u64,
    counts_for_account: bool,
    refused_for: Option<Duration>,
}

impl Attempt {
    /// To be asked once the password has been checked: whether the account has been tried too often.
    pub fn judge(&self) -> Result<()> {
        match self.refused_for {
            None => Ok(()),
            Some(wait) => Err(exhausted("attempts to sign in to one account", wait)),
        }
    }
}

fn exhausted(limit: &str, wait: Duration) -> Error {
    Error::Exhausted { limit: limit.to_owned(), retry_after: Some(wait) }
}

impl SignIns {
    /// Full limits, in keeping with a pool of so many workers.
    pub fn new(clock: Clock, worker_count: usize) -> Self {
        let workers = u32::try_from(worker_count).unwrap_or(1).max(1);
        let in_all =
            Rate { burst: IN_ALL_BURST, every: Duration::from_secs(1) / IN_ALL_PER_WORKER.saturating_mul(workers) };
        let counts = Counts {
            by_source: Buckets::new(PER_SOURCE, CAPACITY),
            by_account: Buckets::new(PER_ACCOUNT, CAPACITY),
            by_pair: Buckets::new(PER_PAIR, CAPACITY),
            in_all: Bucket::new(in_all),
            known: Recent::new(CAPACITY),
        };
        Self { clock, hasher: RandomState::new(), counts: Mutex::new(counts) }
    }

    /// Lets somebody at `source` try the password of `account`: of that name, in the one form of it, in that tenant, if
    /// one was named.
    pub fn attempt(&self, tenant: &str, account: &str, source: &str) -> Result<Attempt> {
        let source = self.hasher.hash_one(neighbourhood(source));
        let account = self.hasher.hash_one((tenant, account));
        let pair = self.hasher.hash_one((account, source));
        let now = self.clock.elapsed();
        let mut counts = self.counts.lock();
        counts.by_source.take(source, now).map_err(|wait| exhausted("attempts to sign in from one address", wait))?;
        let is_known = counts.known.get(pair).is_some_and(|until| until > now);
        if !is_known {
            counts.in_all.take(now).map_err(|wait| exhausted("attempts to sign in", wait))?;
        }
        // The account's own limit is touched only by an attempt that the pair's lets through.
        let of_pair = counts.by_pair.take(pair, now);
        let of_account = match of_pair {
            Ok(()) if !is_known => counts.by_account.take(account, now),
            Ok(()) | Err(_) => Ok(()),
        };
        if of_account.is_err() {
            counts.by_pair.give_back(pair, now);
        }
        let refused_for = of_pair.and(of_account).err();
        Ok(Attempt { account, pair, counts_for_account: !is_known && refused_for.is_none(), refused_for })
    }

    /// The password was right: the attempt costs nothing, and the source is known from now on.
    pub fn succeeded(&self, attempt: &Attempt) {
        let now = self.clock.elapsed();
        let mut counts = self.counts.lock();
        counts.by_pair.give_back(attempt.pair, now);
        if attempt.counts_for_account {
            counts.by_account.give_back(attempt.account, now);
        }
        counts.known.put(attempt.pair, now.saturating_add(KNOWN_FOR), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> SignIns {
        SignIns::new(Clock::default(), 1)
    }

    /// How many of so many attempts are neither refused at once nor afterwards.
    fn passed(sign_ins: &SignIns, account: &str, source: &str, times: usize) -> usize {
        let tries = (0..times).map(|_| sign_ins.attempt("", account, source).and_then(|attempt| attempt.judge()));
        tries.filter(Result::is_ok).count()
    }

    #[test]
    fn an_account_is_tried_only_so_often_and_others_are_not_touched() {
        let sign_ins = new();
        assert_eq!(passed(&sign_ins, "ada", "192.0.2.1", 50), 10);
        assert_eq!(passed(&sign_ins, "ada", "192.0.2.2", 50), 10);
        assert_eq!(passed(&sign_ins, "ada", "192.0.2.3", 50), 0, "20 in all for one account");
        assert_eq!(passed(&sign_ins, "bob", "192.0.2.4", 5), 5);
        assert_eq!(passed(&sign_ins, "ada", "2001:db8::1", 1), 0);
        let refusal = sign_ins.attempt("", "ada", "192.0.2.3").and_then(|attempt| attempt.judge()).unwrap_err();
        assert!(matches!(refusal, Error::Exhausted { retry_after: Some(wait), .. } if wait <= Duration::from_secs(6)));
    }

    #[test]
    fn nobody_is_kept_out_for_good() {
        let sign_ins = new();
        let at_home = sign_ins.attempt("", "ada", "192.0.2.1").unwrap();
        sign_ins.succeeded(&at_home);
        for host in 1..=10 {
            passed(&sign_ins, "ada", &format!("198.51.100.{host}"), 15);
        }
        assert_eq!(passed(&sign_ins, "ada", "203.0.113.1", 1), 0);
        assert_eq!(passed(&sign_ins, "ada", "192.0.2.1", 1), 1, "strangers cannot use up what a known source has");
        sign_ins.clock.advance(Duration::from_secs(6));
        assert_eq!(passed(&sign_ins, "ada", "203.0.113.1", 2), 1, "and for a stranger it refills");
        // One loud stranger cannot take all that refills.
        sign_ins.clock.advance(Duration::from_secs(3600));
        let mut quiet = 0;
        for _ in 0..100 {
            passed(&sign_ins, "ada", "198.51.100.1", 10);
            quiet += passed(&sign_ins, "ada", "203.0.113.1", 1);
            sign_ins.clock.advance(Duration::from_secs(15));
        }
        assert_eq!(quiet, 100);
    }

    #[test]
    fn a_success_costs_nothing() {
        let sign_ins = new();
        for _ in 0..90 {
            let attempt = sign_ins.attempt("", "ada", "192.0.2.1").unwrap();
            assert!(attempt.judge().is_ok());
            sign_ins.succeeded(&attempt);
        }
    }

    #[test]
    fn a_source_is_known_for_the_account_that_signed_in_and_no_other() {
        let sign_ins = new();
        let attempt = sign_ins.attempt("tenants/mine", "ada", "192.0.2.1").unwrap();
        sign_ins.succeeded(&attempt);
        for host in 2..=5 {
            passed(&sign_ins, "ada", &format!("192.0.2.{host}"), 15);
        }
        assert_eq!(passed(&sign_ins, "ada", "192.0.2.1", 1), 0, "it is known in another tenant only");
    }

    #[test]
    fn a_flood_is_refused_at_once_from_one_source_and_in_all() {
        let sign_ins = new();
        let at_once =
            |source: &str, account: &str| matches!(sign_ins.attempt("", account, source), Err(Error::Exhausted { .. }));
        let refused = (0..200).filter(|number| at_once("192.0.2.1", &format!("user{number}"))).count();
        assert!((95..=100).contains(&refused), "{refused}");
        let refused = (0..1000).filter(|number| at_once(&format!("2001:db8:0:{number:x}::1"), "ada")).count();
        assert!((850..=900).contains(&refused), "{refused}");
        sign_ins.clock.advance(Duration::from_secs(1));
        assert!(!at_once("192.0.2.1", "bob"));
    }

    #[test]
    fn memory_is_bounded() {
        let sign_ins = new();
        for number in 0..300_000_u32 {
            sign_ins.clock.advance(Duration::from_millis(70));
            let source = format!("10.{}.{}.{}", number >> 16, number >> 8 & 255, number & 255);
            if let Ok(attempt) = sign_ins.attempt("", &format!("user{number}"), &source) {
                sign_ins.succeeded(&attempt);
            }
        }
        let counts = sign_ins.counts.lock();
        assert!(counts.known.len() <= CAPACITY);
        assert!(counts.known.len() > CAPACITY / 2);
    }
}
