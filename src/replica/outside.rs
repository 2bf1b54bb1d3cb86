//! The barrier for a command that is no replica: what it took away is in force on every replica when it has ended.

use super::keeper::seen;
use super::protocol::{Barriers, Deed, Outcome, Timing};
use crate::clock::boot_time;
use crate::error::{Error, Result};
use crate::store::{Committed, Store};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How soon the database is asked again.
const PAUSE: Duration = Duration::from_millis(20);

/// Waits until no replica answers by what was before `committed`, whose COMMIT has returned.
pub async fn settle_from_outside(store: &Store, committed: Committed) -> Result<()> {
    // Where one process has the database to itself, that is this one.
    if store.is_alone() {
        return Ok(());
    }
    let (ticket, next) = (1, 2);
    let timing = Timing::new(store.lease());
    let mut barriers = Barriers::new(timing);
    barriers.begin(ticket, committed.revision, Some(committed.chain.to_vec()), boot_time());
    let outcome = loop {
        let mut over = barriers.time_out(boot_time());
        if over.is_empty()
            && let Some(revisions) = barriers.question()
            && let Ok(Ok(roll)) = timeout(timing.statement_timeout(), store.roll(&revisions)).await
        {
            over = barriers.seen(&revisions, next, &seen(roll), boot_time());
        }
        if let Some((_, outcome)) = over.pop() {
            break outcome;
        }
        sleep(PAUSE).await;
    };
    for deed in barriers.deeds(boot_time()) {
        if let Deed::Fence { ids, below } = deed {
            // Whoever of the replicas sees the row will delete it.
            store.fence(&ids, below).await?;
        }
    }
    let revision = committed.revision;
    match outcome {
        Outcome::Settled => Ok(()),
        Outcome::Lost => {
            Err(Error::internal(format!("the database has lost revision {revision}, which it had acknowledged")))
        }
        Outcome::Unreadable => Err(Error::Unavailable {
            what: "the database cannot say which replicas there are".to_owned(),
            committed: Some(revision),
        }),
    }
}
