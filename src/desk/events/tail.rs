//! The end of the audit log, read once for all who watch: whoever comes first to what is new reads it for the others.

use super::check_kept;
use crate::domain::change::Event;
use crate::domain::name::TenantId;
use crate::error::{Error, Result};
use crate::store::Store;
use std::collections::VecDeque;
use std::sync::Arc;
use tokio::sync::{Mutex, Semaphore};

/// How many events are read at a time for all.
const STRIDE: i64 = 256;

/// How many are kept for those who come a little later.
const KEPT: usize = 1024;

/// How many are read at a time for one who comes from further back.
const PAGE: u64 = 64;

/// How many such read at a time: lists must not wait for connections because many catch up.
const READERS: usize = 2;

/// What is read of the log.
#[derive(Debug)]
pub(super) struct Found {
    /// Oldest first.
    pub(super) events: VecDeque<Arc<Event>>,
    /// All that was wanted up to this revision is among them.
    pub(super) last: i64,
}

/// The end of the log of one ledger.
#[derive(Debug)]
pub(super) struct Tail {
    recent: Mutex<Recent>,
    readers: Semaphore,
}

impl Default for Tail {
    fn default() -> Self {
        Self { recent: Mutex::default(), readers: Semaphore::new(READERS) }
    }
}

/// All events after one revision and up to another.
#[derive(Debug, Default)]
struct Recent {
    cluster_id: String,
    after: i64,
    last: i64,
    events: VecDeque<Arc<Event>>,
}

impl Tail {
    /// What there is of a tenant's (of all, if `None`) after one revision, or the first part of it. Everything up to `last`
    /// is applied.
    pub(super) async fn read(
        &self,
        store: &Store,
        cluster_id: &str,
        tenant: Option<&TenantId>,
        after: i64,
        last: i64,
    ) -> Result<Found> {
        if let Some(found) = self.read_for_all(store, cluster_id, tenant, after, last).await? {
            return Ok(found);
        }
        let _turn = self.readers.acquire().await.map_err(Error::internal)?;
        let events = store.events_between(tenant, after, last, PAGE).await?;
        let is_cut = events.len() as u64 >= PAGE;
        let last = events.last().filter(|_| is_cut).map_or(last, |event| event.revision);
        // After they were read: what was removed meanwhile is not taken for what never was.
        check_kept(store, after).await?;
        if tenant.is_none() && !is_whole(&events, after, last) {
            return Err(Error::internal(format!("the audit log has a gap after revision {after}")));
        }
        Ok(Found { events: events.into_iter().map(Arc::new).collect(), last })
    }

    /// The same from memory, which is brought up to `last` before; none for whoever comes from further back.
    async fn read_for_all(
        &self,
        store: &Store,
        cluster_id: &str,
        tenant: Option<&TenantId>,
        after: i64,
        last: i64,
    ) -> Result<Option<Found>> {
        let mut recent = self.recent.lock().await;
        if recent.cluster_id != cluster_id {
            *recent = Recent { cluster_id: cluster_id.to_owned(), ..Recent::default() };
        }
        if last > recent.last {
            let from = recent.last.max(last.saturating_sub(STRIDE));
            let events = store.events_between(None, from, last, STRIDE.unsigned_abs()).await?;
            if !is_whole(&events, from, last) {
                return Ok(None);
            }
            recent.take(events, from, last);
        }
        if after < recent.after {
            return Ok(None);
        }
        let is_wanted = |event: &&Arc<Event>| {
            event.revision > after && tenant.is_none_or(|tenant| event.tenant.as_ref() == Some(tenant))
        };
        Ok(Some(Found { events: recent.events.iter().filter(is_wanted).cloned().collect(), last: recent.last }))
    }
}

impl Recent {
    fn take(&mut self, events: Vec<Event>, from: i64, last: i64) {
        if from > self.last {
            self.events.clear();
            self.after = from;
        }
        self.events.extend(events.into_iter().map(Arc::new));
        self.last = last;
        while self.events.len() > KEPT {
            if let Some(event) = self.events.pop_front() {
                self.after = event.revision;
            }
        }
    }
}

/// Whether there is an event of each revision after one and up to another.
fn is_whole(events: &[Event], after: i64, last: i64) -> bool {
    let expected = usize::try_from(last.saturating_sub(after)).unwrap_or_default();
    events.len() == expected && events.last().is_none_or(|event| event.revision == last)
}
