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

/// How many are kept for those who come a little later, and how long their details may be together, as text.
const KEPT: usize = 1024;
const KEPT_BYTES: usize = 1 << 20;

/// How many are read at a time for one who comes from further back.
const PAGE: u64 = 64;

/// After so much, as text, nobody is handed more at a time: whoever does not take it keeps it in memory, where a detail is
/// many times as long.
const HANDED_BYTES: usize = 64 * 1024;

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
    events: VecDeque<Weighed>,
    bytes: usize,
}

/// An event, and how long its detail is as text.
#[derive(Clone, Debug)]
struct Weighed {
    event: Arc<Event>,
    bytes: usize,
}

impl Weighed {
    fn new(event: Event) -> Self {
        let bytes = event.detail.to_string().len();
        Self { event: Arc::new(event), bytes }
    }
}

impl Found {
    /// As many of these as one is handed at a time, one at least; all up to `last` if that is all of them.
    fn part(events: impl Iterator<Item = Weighed>, last: i64) -> Self {
        let mut found = Self { events: VecDeque::new(), last };
        let mut bytes = 0_usize;
        for weighed in events {
            if bytes > HANDED_BYTES {
                found.last = found.events.back().map_or(last, |event| event.revision);
                break;
            }
            bytes = bytes.saturating_add(weighed.bytes);
            found.events.push_back(weighed.event);
        }
        found
    }
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
        Ok(Found::part(events.into_iter().map(Weighed::new), last))
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
            let mut from = recent.last.max(last.saturating_sub(STRIDE));
            if from > recent.last || recent.last == 0 {
                // Whoever begins anew cannot begin with what was removed.
                from = from.max(store.event_checkpoint().await?.revision).min(last);
            }
            let events = store.events_between(None, from, last, STRIDE.unsigned_abs()).await?;
            if !is_whole(&events, from, last) {
                return Ok(None);
            }
            recent.take(events, from, last);
        }
        if after < recent.after {
            return Ok(None);
        }
        let is_wanted = |weighed: &&Weighed| {
            let event = &weighed.event;
            event.revision > after && tenant.is_none_or(|tenant| event.tenant.as_ref() == Some(tenant))
        };
        Ok(Some(Found::part(recent.events.iter().filter(is_wanted).cloned(), recent.last)))
    }
}

impl Recent {
    fn take(&mut self, events: Vec<Event>, from: i64, last: i64) {
        if from > self.last {
            self.events.clear();
            self.bytes = 0;
            self.after = from;
        }
        for weighed in events.into_iter().map(Weighed::new) {
            self.bytes = self.bytes.saturating_add(weighed.bytes);
            self.events.push_back(weighed);
        }
        self.last = last;
        while self.events.len() > KEPT || self.bytes > KEPT_BYTES {
            let Some(Weighed { event, bytes }) = self.events.pop_front() else { break };
            self.after = event.revision;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
    }
}

/// Whether there is an event of each revision after one and up to another.
fn is_whole(events: &[Event], after: i64, last: i64) -> bool {
    let expected = usize::try_from(last.saturating_sub(after)).unwrap_or_default();
    events.len() == expected && events.last().is_none_or(|event| event.revision == last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::clock::Time;

    fn event(revision: i64, length: usize) -> Event {
        Event {
            revision,
            kind: "key.update".into(),
            tenant: None,
            actor: "root".into(),
            credential_id: String::new(),
            subject: String::new(),
            time: Time::default(),
            request_id: String::new(),
            source_ip: String::new(),
            detail: serde_json::json!({ "after": "a".repeat(length) }),
            chain: Vec::new(),
        }
    }

    #[test]
    fn nobody_is_handed_more_than_a_little_at_a_time_and_nothing_is_left_out() {
        let long = 30 * 1024;
        let events: Vec<Event> =
            (1..=40).map(|revision| event(revision, if revision <= 20 { long } else { 1 })).collect();
        let (mut after, mut parts, mut seen) = (0, 0, Vec::new());
        while after < 40 {
            let rest = events.iter().filter(|event| event.revision > after).cloned().map(Weighed::new);
            let Found { events, last } = Found::part(rest, 40);
            assert!(events.len() <= 3 || after >= 18, "{} of them long", events.len());
            assert!(last > after, "it goes on");
            seen.extend(events.iter().map(|event| event.revision));
            (after, parts) = (last, parts + 1);
        }
        assert_eq!(seen, (1..=40).collect::<Vec<_>>());
        assert_eq!(parts, 7);
        assert_eq!(Found::part([].into_iter(), 7).last, 7);
    }

    #[test]
    fn what_is_kept_for_all_is_bounded_by_how_long_it_is() {
        let mut recent = Recent::default();
        recent.take((1..=100).map(|revision| event(revision, 30 * 1024)).collect(), 0, 100);
        assert!(recent.bytes <= KEPT_BYTES && recent.events.len() < 40, "{}", recent.events.len());
        assert_eq!((recent.after, recent.last), (100 - i64::try_from(recent.events.len()).unwrap(), 100));
        recent.take((101..=2000).map(|revision| event(revision, 1)).collect(), 100, 2000);
        assert_eq!((recent.events.len(), recent.after, recent.last), (KEPT, 2000 - 1024, 2000));
        assert_eq!(recent.bytes, recent.events.iter().map(|weighed| weighed.bytes).sum::<usize>());
    }
}
