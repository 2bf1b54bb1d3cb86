//! Pruning the log, beside following it: deleting takes as long as the database takes, and polls must not wait for it.

use super::Progress;
use crate::store::Store;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How many revisions the log keeps at least, and how many more there may be before it is pruned.
const KEPT: i64 = 100_000;
const PRUNE_EVERY: i64 = 10_000;

/// How long it may take. What is not done by then is gone on with the next time.
const PRUNE_TIMEOUT: Duration = Duration::from_secs(30);

/// How soon it is tried again.
const PRUNE_AGAIN: Duration = Duration::from_secs(5);

/// Prunes the log whenever it has become long; for ever.
pub(super) async fn prune(store: &Store, mut progress: watch::Receiver<Progress>) {
    while progress.changed().await.is_ok() {
        let (head, floor) = {
            let progress = progress.borrow_and_update();
            (progress.head, progress.floor)
        };
        if head.saturating_sub(floor) <= KEPT + PRUNE_EVERY {
            continue;
        }
        match timeout(PRUNE_TIMEOUT, store.prune(head.saturating_sub(KEPT))).await {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => {
                tracing::warn!("the log could not be pruned: {failure}");
                sleep(PRUNE_AGAIN).await;
            }
            Err(_) => tracing::warn!("the log could not be pruned in time"),
        }
    }
    std::future::pending().await
}
