//! How often somebody may try to sign in: per source, in all, and per account, whether or not there is such an account.
//!
//! Nobody is kept out by others. Whatever they have used up of an account, each source has a few attempts of its own at
//! it, and a share of what is allowed in all is kept for sources that have hardly failed lately; a source from which the
//! account has signed in lately has a limit that strangers neither use up nor take away. A sign-in that succeeds costs
//! nothing, nor does one whose password was never compared. So guessing is bounded by source, by source and account, and
//! in all; the account's own limit bounds what few sources do. Limits are this process's own, full after a restart.
//!
//! On a Unix socket all callers are one source, about which nothing is known: there only the account's limit and that of
//! all count, and whoever reaches the socket can use up an account's.
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
/// To one account from one source although others have used up what the account has; and from one source although they
/// have used up what there is in all.
const FIRST: Rate = Rate { burst: 3, every: Duration::from_secs(30) };
/// In all, from sources that the account does not know: at once, and a second for each worker of the pool. Together with
/// what is kept, it is about half of what the pool can do.
const IN_ALL_BURST: u32 = 150;
const IN_ALL_PER_WORKER: u32 = 10;
/// What is kept of it for sources that still have some of [`FIRST`].
const KEPT_BURST: u32 = 50;
const KEPT_PER_WORKER: u32 = 5;

/// How long a source is remembered from which an account has signed in.
const KNOWN_FOR: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// So many sources, accounts and pairs of them are remembered.
const CAPACITY: usize = 100_000;

/// Whose password is tried. The two are counted apart, whatever is typed as an email.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Account<'a> {
    /// That of whoever has this email. It counts as one account whichever tenant is named, or none.
    Email {
        /// In its canonical form.
        email: &'a str,
        /// The id of the tenant, if one is named.
        tenant: Option<&'a str>,
    },
    /// That of the user of this name, tried by somebody who is signed in already.
    User(&'a str),
}

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
    /// By pair, and by source.
    first: Buckets,
    in_all: Bucket,
    kept: Bucket,
    known: Recent,
}

/// What an attempt is counted by.
struct Keys {
    account: u64,
    /// `None` on a Unix socket.
    place: Option<Place>,
}

struct Place {
    source: u64,
    pair: u64,
    /// The pair under the tenant that was named: an account of the same email elsewhere makes nothing known here.
    known: u64,
}

/// An attempt that was let in, though perhaps only to be refused after it has cost what every attempt does.
#[derive(Debug, Default)]
#[must_use]
pub struct Attempt {
    /// What is known if it succeeds.
    known: Option<u64>,
    refused_for: Option<Duration>,
    // What it has taken of each.
    of_account: Option<u64>,
    of_pair: Option<u64>,
    of_first: [Option<u64>; 2],
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
        let each_second = |per_worker: u32| Duration::from_secs(1) / per_worker.saturating_mul(workers);
        let counts = Counts {
            by_source: Buckets::new(PER_SOURCE, CAPACITY),
            by_account: Buckets::new(PER_ACCOUNT, CAPACITY),
            by_pair: Buckets::new(PER_PAIR, CAPACITY),
            first: Buckets::new(FIRST, CAPACITY),
            in_all: Bucket::new(Rate { burst: IN_ALL_BURST, every: each_second(IN_ALL_PER_WORKER) }),
            kept: Bucket::new(Rate { burst: KEPT_BURST, every: each_second(KEPT_PER_WORKER) }),
            known: Recent::new(CAPACITY),
        };
        Self { clock, hasher: RandomState::new(), counts: Mutex::new(counts) }
    }

    /// Lets somebody at `source` try the password of an account; an empty source is a Unix socket.
    pub fn attempt(&self, account: Account<'_>, source: &str) -> Result<Attempt> {
        let keys = self.keys(account, source);
        let now = self.clock.elapsed();
        self.counts.lock().attempt(&keys, now)
    }

    /// The password was right: the attempt costs nothing, and the source is known from now on.
    pub fn succeeded(&self, attempt: &Attempt) {
        let now = self.clock.elapsed();
        let mut counts = self.counts.lock();
        counts.give_back(attempt, now);
        if let Some(known) = attempt.known {
            counts.known.put(known, now.saturating_add(KNOWN_FOR), now);
        }
    }

    /// No password was compared: all that it costs is one attempt of its source and of all.
    pub fn abandoned(&self, attempt: &Attempt) {
        let now = self.clock.elapsed();
        self.counts.lock().give_back(attempt, now);
    }

    fn keys(&self, account: Account<'_>, source: &str) -> Keys {
        let counted = match account {
            Account::Email { email, tenant: _ } => Account::Email { email, tenant: None },
            Account::User(_) => account,
        };
        let place = (!source.is_empty()).then(|| {
            let source = neighbourhood(source);
            Place {
                source: self.hasher.hash_one(&source),
                pair: self.hasher.hash_one((counted, &source)),
                known: self.hasher.hash_one((account, &source)),
            }
        });
        Keys { account: self.hasher.hash_one(counted), place }
    }
}

impl Counts {
    fn attempt(&mut self, keys: &Keys, now: Duration) -> Result<Attempt> {
        let Some(place) = &keys.place else {
            self.in_all.take(now).map_err(|wait| exhausted("attempts to sign in", wait))?;
            let taken = self.by_account.take(keys.account, now);
            let of_account = taken.is_ok().then_some(keys.account);
            return Ok(Attempt { of_account, refused_for: taken.err(), ..Attempt::default() });
        };
        let of_source = self.by_source.take(place.source, now);
        of_source.map_err(|wait| exhausted("attempts to sign in from one address", wait))?;
        let mut attempt = Attempt { known: Some(place.known), ..Attempt::default() };
        match self.by_pair.take(place.pair, now) {
            Ok(()) => attempt.of_pair = Some(place.pair),
            Err(wait) => attempt.refused_for = Some(wait),
        }
        if self.known.get(place.known).is_some_and(|until| until > now) {
            return Ok(attempt);
        }
        // The account's own limit is touched only by an attempt that the pair's lets through.
        if attempt.of_pair.is_some()
            && let Err(wait) = self.take_of_account(keys.account, place.pair, &mut attempt, now)
        {
            self.give_back(&attempt, now);
            attempt.of_pair = None;
            attempt.refused_for = Some(wait);
        }
        if let Err(wait) = self.take_of_all(place.source, &mut attempt, now) {
            self.give_back(&attempt, now);
            return Err(exhausted("attempts to sign in", wait));
        }
        Ok(attempt)
    }

    fn take_of_account(
        &mut self,
        account: u64,
        pair: u64,
        attempt: &mut Attempt,
        now: Duration,
    ) -> Result<(), Duration> {
        let Err(wait) = self.by_account.take(account, now) else {
            attempt.of_account = Some(account);
            return Ok(());
        };
        self.first.take(pair, now).map_err(|own_wait| own_wait.min(wait))?;
        attempt.of_first = [Some(pair), None];
        Ok(())
    }

    fn take_of_all(&mut self, source: u64, attempt: &mut Attempt, now: Duration) -> Result<(), Duration> {
        let Err(wait) = self.in_all.take(now) else { return Ok(()) };
        if attempt.refused_for.is_some() || self.first.take(source, now).is_err() {
            return Err(wait);
        }
        let [of_pair, _] = attempt.of_first;
        attempt.of_first = [of_pair, Some(source)];
        self.kept.take(now).map_err(|own_wait| own_wait.min(wait))
    }

    fn give_back(&mut self, attempt: &Attempt, now: Duration) {
        let Attempt { known: _, refused_for: _, of_account, of_pair, of_first } = attempt;
        if let Some(account) = of_account {
            self.by_account.give_back(*account, now);
        }
        if let Some(pair) = of_pair {
            self.by_pair.give_back(*pair, now);
        }
        for first in of_first.iter().flatten() {
            self.first.give_back(*first, now);
        }
    }
}

#[cfg(test)]
mod tests;
