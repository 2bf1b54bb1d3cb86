//! When keys were last used, to the minute, off the hot path: the first use of a key in a minute puts it on a list,
//! every further one costs a load and a comparison.

use super::index::HolderEntry;
use crate::domain::clock::Time;
use crate::domain::facts::Kind;
use crate::domain::name::{KeyId, TenantId};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The keys used since the list was last taken, each with the minute.
#[derive(Debug, Default)]
pub(super) struct Uses {
    list: Mutex<Vec<(Arc<HolderEntry>, u32)>>,
}

impl Uses {
    /// Notes a use of `holder` at `now`, if it is a key.
    pub(super) fn note(&self, holder: &Arc<HolderEntry>, now: Time) {
        let Kind::Key(_) = holder.kind() else { return };
        let minute = u32::try_from(now.minutes()).unwrap_or_default();
        let before = holder.last_use.load(Ordering::Relaxed);
        let swapped = || holder.last_use.compare_exchange(before, minute, Ordering::Relaxed, Ordering::Relaxed);
        if before < minute && swapped().is_ok() {
            self.list.lock().push((Arc::clone(holder), minute));
        }
    }

    /// Takes the list.
    pub(super) fn take(&self) -> Vec<(TenantId, KeyId, Time)> {
        let list = std::mem::take(&mut *self.list.lock());
        let use_of = |(holder, minute): (Arc<HolderEntry>, u32)| {
            let time = Time::from_micros(i64::from(minute).saturating_mul(60_000_000));
            (holder.tenant().clone(), holder.id().into(), time)
        };
        list.into_iter().map(use_of).collect()
    }
}
