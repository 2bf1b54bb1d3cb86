//! Pruning the log, beside the polls: deleting takes long, and a poll must not wait for it.

use super::Progress;
use super::follow::REGISTRY_TIMEOUT;
use crate::error::{Error, Result};
use crate::store::Store;
use std::future::pending;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How many revisions the log keeps at least, and how many more there may be before it is pruned.
const KEPT: i64 = 100_000;
const PRUNE_EVERY: i64 = 10_000;

/// After this long a poll has seen the new floor, or it is tried again.
const PAUSE: Duration = Duration::from_secs(10);

/// Prunes whenever it is time; for ever.
pub(super) async fn prune(store: &Store, mut progress: watch::Receiver<Progress>) {
    loop {
        let due = progress.wait_for(|progress| is_due(progress.head, progress.floor)).await;
        let Ok(head) = due.map(|progress| progress.head) else {
            // Nobody follows any more.
            return pending().await;
        };
        let floor = head.saturating_sub(KEPT);
        if let Err(failure) = cut(store, floor).await {
            tracing::warn!("the log could not be pruned: {failure}");
        }
        sleep(PAUSE).await;
    }
}

fn is_due(head: i64, floor: i64) -> bool {
    head.saturating_sub(floor) > KEPT.saturating_add(PRUNE_EVERY)
}

/// Only the replica that raises the floor deletes. What it does not come to is deleted with what comes after it.
async fn cut(store: &Store, floor: i64) -> Result<()> {
    let is_ours = in_time(store.raise_floor(floor)).await?;
    while is_ours && in_time(store.prune(floor)).await? {}
    Ok(())
}

async fn in_time<T>(statement: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(REGISTRY_TIMEOUT, statement).await.map_err(|_| Error::unavailable("the database does not answer"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hundred_thousand_revisions_are_always_left() {
        assert!(!is_due(0, 0) && !is_due(KEPT + PRUNE_EVERY, 0));
        assert!(is_due(KEPT + PRUNE_EVERY + 1, 0));
        assert!(!is_due(2 * KEPT, KEPT));
    }
}
