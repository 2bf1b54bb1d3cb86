//! When keys were last used, to the minute, off the hot path: the first use of a key in a minute puts it on a list,
//! every further one costs a load and a comparison.

use crate::domain::clock::Time;
use crate::domain::name::{KeyId, TenantId};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

/// The keys used since the list was last taken.
#[derive(Debug, Default)]
pub(super) struct Uses {
    list: Mutex<Vec<(TenantId, KeyId, Time)>>,
}

impl Uses {
    /// Notes a use at `now` of the key whose last minute of use is `last`.
    pub(super) fn note(&self, last: &AtomicI64, now: Time, key: impl FnOnce() -> (TenantId, KeyId)) {
        let minute = now.minutes();
        let before = last.load(Ordering::Relaxed);
        if before >= minute || last.compare_exchange(before, minute, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let (tenant, key) = key();
        let time = Time::from_micros(minute.saturating_mul(60_000_000));
        self.list.lock().push((tenant, key, time));
    }

    /// Takes the list.
    pub(super) fn take(&self) -> Vec<(TenantId, KeyId, Time)> {
        std::mem::take(&mut *self.list.lock())
    }
}
