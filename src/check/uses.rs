//! How keys are used, off the hot path: a Check adds one to a number beside what it has read anyway. The first since a key
//! was last told of puts it on a list; the list is taken in parts, by whoever writes it down.
//!
//! What waits is bounded: the list by the keys that are used and how long nobody takes it, what is put aside by
//! [`MAX_ASIDE`].

use super::index::{HolderEntry, Met};
use crate::domain::clock::Time;
use crate::domain::facts::Kind;
use crate::domain::usage::{Count, Hour, Use};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many keys are taken from the list at a time.
const PART: usize = 1024;

/// How many counts of past hours wait at most while nobody takes them, one for each key and hour. What is more is dropped.
const MAX_ASIDE: usize = 1 << 20;

/// The keys whose use was not told yet.
#[derive(Debug, Default)]
pub(super) struct Uses {
    /// In parts, so that it grows by one and not by all. A key may be there twice.
    list: Mutex<VecDeque<Vec<Arc<HolderEntry>>>>,
    /// What a key was used in an hour in which it is counted no longer.
    aside: Mutex<VecDeque<(Arc<HolderEntry>, Hour, Count)>>,
    dropped: AtomicU64,
}

impl Uses {
    /// Counts a Check of `holder` at `now`, if it is a key; an allowed one is a use, too.
    pub(super) fn count(&self, holder: &Arc<HolderEntry>, is_allowed: bool, now: Time) {
        let Kind::Key(_) = holder.kind() else { return };
        let minute = minute_of(now);
        if is_allowed {
            is_later_use(holder, minute);
        }
        match holder.tally.add(Hour::of_minute(minute), is_allowed) {
            Met::Others => {}
            Met::Nothing => self.list(holder),
            Met::PutAside(hour, count) => self.put_aside(holder, hour, count),
        }
    }

    /// Notes that `holder` was accepted at `now` by something that is no Check, if it is a key.
    pub(super) fn note(&self, holder: &Arc<HolderEntry>, now: Time) {
        let Kind::Key(_) = holder.kind() else { return };
        if is_later_use(holder, minute_of(now)) {
            self.list(holder);
        }
    }

    /// Whether there is nothing to take; how many parts there are otherwise.
    pub(super) fn parts(&self) -> usize {
        self.list.lock().len().saturating_add(self.aside.lock().len().div_ceil(PART))
    }

    /// Takes a part of what is not told yet.
    pub(super) fn take(&self) -> Vec<Use> {
        let aside: Vec<_> = {
            let mut aside = self.aside.lock();
            let count = aside.len().min(PART);
            aside.drain(..count).collect()
        };
        let listed = self.list.lock().pop_front().unwrap_or_default();
        let aside = aside.into_iter().map(|(holder, hour, count)| use_of(&holder, hour, count));
        let listed = listed.into_iter().map(|holder| {
            // Before the minute is read, which may only be too late.
            let (hour, count) = holder.tally.take();
            use_of(&holder, hour, count)
        });
        aside.chain(listed).collect()
    }

    /// How many Checks were dropped since this was last asked, because too many counts waited.
    pub(super) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Ordering::Relaxed)
    }

    fn list(&self, holder: &Arc<HolderEntry>) {
        let mut list = self.list.lock();
        match list.back_mut().filter(|part| part.len() < PART) {
            Some(part) => part.push(Arc::clone(holder)),
            None => {
                let mut part = Vec::with_capacity(PART);
                part.push(Arc::clone(holder));
                list.push_back(part);
            }
        }
    }

    fn put_aside(&self, holder: &Arc<HolderEntry>, hour: Hour, count: Count) {
        let mut aside = self.aside.lock();
        if aside.len() < MAX_ASIDE {
            aside.push_back((Arc::clone(holder), hour, count));
        } else {
            self.dropped.fetch_add(count.total(), Ordering::Relaxed);
        }
    }
}

fn minute_of(now: Time) -> u32 {
    u32::try_from(now.minutes()).unwrap_or_default()
}

/// Whether that is the first use in its minute, or in a later one than was known.
fn is_later_use(holder: &HolderEntry, minute: u32) -> bool {
    holder.last_use.load(Ordering::Relaxed) < minute && holder.last_use.fetch_max(minute, Ordering::Relaxed) < minute
}

fn use_of(holder: &HolderEntry, hour: Hour, count: Count) -> Use {
    let minute = holder.last_use.load(Ordering::Relaxed);
    let last_auth_time = (minute > 0).then(|| Time::from_micros(i64::from(minute).saturating_mul(60_000_000)));
    Use { tenant: holder.tenant().clone(), key: holder.id().into(), last_auth_time, hour, count }
}
