//! Going along with the audit log. A watch is woken when this replica has applied more, never by a clock, and reads what
//! that was; so it tells nothing that is not in force here, and nothing twice.

use super::tail::{Found, Tail};
use super::{check_kept, check_tenant};
use crate::desk::Desk;
use crate::domain::change::{Event, Head};
use crate::domain::name::TenantId;
use crate::error::{Error, Result};
use crate::replica::Steps;
use crate::store::Store;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How many watches a server has for callers that have a tenant, and how many of them one tenant may have; root has as many
/// for itself.
const MAX_WATCHES: usize = 256;
const MAX_WATCHES_OF_ONE: usize = 32;

/// When it is worth while to ask again.
const RETRY_AFTER: Duration = Duration::from_secs(10);

/// What the watches of a server share. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Watches {
    tail: Arc<Tail>,
    /// By the callers' tenants; none is root.
    counts: Arc<Mutex<HashMap<Option<TenantId>, usize>>>,
}

/// A place among the watches, given up when it is dropped.
#[derive(Debug)]
struct Seat {
    watches: Watches,
    of: Option<TenantId>,
}

impl Watches {
    fn enter(&self, of: Option<&TenantId>) -> Result<Seat> {
        let mut counts = self.counts.lock();
        let total: usize = counts.iter().filter(|(tenant, _)| tenant.is_some()).map(|(_, count)| count).sum();
        let of = of.cloned();
        let own = counts.get(&of).copied().unwrap_or_default();
        let exhausted = |limit: String| Err(Error::Exhausted { limit, retry_after: Some(RETRY_AFTER) });
        if own >= MAX_WATCHES_OF_ONE {
            return exhausted(format!("{MAX_WATCHES_OF_ONE} watches of one tenant, or of root, at a time"));
        }
        if of.is_some() && total >= MAX_WATCHES {
            return exhausted(format!("{MAX_WATCHES} watches at a time"));
        }
        counts.insert(of.clone(), own.saturating_add(1));
        Ok(Seat { watches: self.clone(), of })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut counts = self.watches.counts.lock();
        if let Some(count) = counts.get_mut(&self.of) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.of);
            }
        }
    }
}

/// One who goes along with the log.
#[derive(Debug)]
pub struct Watch {
    desk: Desk,
    seat: Seat,
    /// Whose events; all if none.
    tenant: Option<TenantId>,
    steps: Steps,
    /// Up to here everything is applied, and up to there everything was read.
    applied: i64,
    read: i64,
    /// What was read and not yet taken.
    events: VecDeque<Arc<Event>>,
}

impl Watch {
    /// Begins after the revision `after`, for a caller `of` a tenant. If it tells the `chain` there, the log must have it.
    pub async fn begin(
        desk: &Desk,
        watches: &Watches,
        of: Option<&TenantId>,
        tenant: Option<TenantId>,
        after: i64,
        chain: &str,
    ) -> Result<Self> {
        if after < 0 {
            return Err(Error::invalid("after_revision", "must not be negative"));
        }
        let seen = seen(after, chain)?;
        let seat = watches.enter(of)?;
        check_tenant(desk, tenant.as_ref()).await?;
        let steps = desk.ledger.steps();
        check_kept(&desk.store, after).await?;
        // What another replica has told may have to reach this one; what the database has not got was lost.
        if after > desk.index.applied() {
            let head = desk.store.head_revision().await?;
            if after > head {
                return Err(Error::precondition(
                    format!("after_revision {after}"),
                    format!(
                        "is above the head of the database, {head}: the database is older than what this client has \
                         seen; was an earlier backup restored, or is it another database?"
                    ),
                ));
            }
        }
        if let Some(seen) = seen
            && !is_there(&desk.store, &seen).await?
        {
            return Err(Error::precondition(
                format!("after_revision {after}"),
                "is another event in this database than this client has seen: was an earlier backup restored, or is it \
                 another database?",
            ));
        }
        Ok(Self { desk: desk.clone(), seat, tenant, steps, applied: 0, read: after, events: VecDeque::new() })
    }

    /// Waits until there may be something to take. Given up half way, it has lost nothing.
    pub async fn woken(&mut self) -> Result<()> {
        if self.events.is_empty() && self.read >= self.applied {
            self.applied = self.steps.beyond(self.read).await?;
        }
        Ok(())
    }

    /// The next event, unless there is none so far.
    pub async fn next(&mut self) -> Result<Option<Arc<Event>>> {
        if self.events.is_empty() && self.read < self.applied {
            let tail = &self.seat.watches.tail;
            let tenant = self.tenant.as_ref();
            let reading = tail.read(&self.desk.store, self.steps.cluster_id(), tenant, self.read, self.applied);
            let Found { events, last } = reading.await?;
            self.events = events;
            self.read = last;
        }
        Ok(self.events.pop_front())
    }
}

/// What a client has seen, if it says so.
fn seen(after: i64, chain: &str) -> Result<Option<Head>> {
    if chain.is_empty() {
        return Ok(None);
    }
    let parsed = format!("{after}:{chain}").parse();
    parsed.map(Some).map_err(|()| Error::invalid("after_chain", "must be the chain of an event, 64 hexadecimal digits"))
}

/// Whether the log leads through there.
async fn is_there(store: &Store, seen: &Head) -> Result<bool> {
    let start = store.event_checkpoint().await?;
    if seen.revision == start.revision {
        return Ok(*seen == start);
    }
    let events = store.events_between(None, seen.revision.saturating_sub(1), seen.revision, 1).await?;
    Ok(events.iter().any(|event| event.chain == seen.chain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_cannot_take_the_watches_of_others_nor_all_tenants_those_of_root() {
        let watches = Watches::default();
        let tenant = |number: usize| TenantId::find(&format!("t{number}"));
        let enter = |of: Option<TenantId>, count: usize| -> Vec<Seat> {
            (0..count).filter_map(|_| watches.enter(of.as_ref()).ok()).collect()
        };
        let mut seats = enter(tenant(0), 40);
        assert_eq!(seats.len(), MAX_WATCHES_OF_ONE);
        assert!(matches!(watches.enter(tenant(0).as_ref()), Err(Error::Exhausted { .. })));
        for number in 1..10 {
            seats.extend(enter(tenant(number), 40));
        }
        assert_eq!(seats.len(), MAX_WATCHES);
        assert!(watches.enter(tenant(20).as_ref()).is_err());
        assert_eq!(enter(None, 40).len(), MAX_WATCHES_OF_ONE);
        drop(seats);
        assert!(watches.counts.lock().is_empty());
        assert!(watches.enter(tenant(0).as_ref()).is_ok());
    }
}
