//! What goes on beside the calls: health is kept in step, what is over is swept away.

use super::gauges::OldestChange;
use super::usage::Usage;
use crate::check::Index;
use crate::clock::Clock;
use crate::desk::caps::TenantCaps;
use crate::desk::events;
use crate::error::Result;
use crate::grpc::health::Health;
use crate::store::Store;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

/// How often health is brought in step with the index.
const HEALTH_INTERVAL: Duration = Duration::from_millis(200);

/// How often the rows of old tokens, sessions and hours are deleted.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// How often it is looked whether events are older than they are kept, and how soon after the start for the first time;
/// and how long others have the database between two batches that are deleted.
const EXPIRE_INTERVAL: Duration = Duration::from_secs(60 * 60);
const FIRST_EXPIRE: Duration = Duration::from_secs(2);
const BATCH_PAUSE: Duration = Duration::from_millis(100);

/// Deletes, now and then, the rows of tokens and sessions that nobody knows any more, and old counts; and looks how full
/// the tenants are and how far back the log goes, for the first time at once.
pub(super) async fn sweep(
    store: Store,
    usage: Usage,
    seen: (TenantCaps, OldestChange),
    clock: Clock,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    look(&seen, &store, &clock).await;
    while timeout(SWEEP_INTERVAL, stopped.wait_for(|stopped| *stopped)).await.is_err() {
        if let Err(error) = store.sweep(clock.now()).await {
            tracing::warn!("old tokens and sessions could not be swept away: {error}");
        }
        if let Err(error) = store.establish_counts().await {
            tracing::warn!("what tenants have could not be counted, so that no cap is in the way: {error}");
        }
        if let Err(error) = store.sweep_counts(clock.now()).await {
            tracing::warn!("counts of tokens that have expired could not be deleted: {error}");
        }
        look(&seen, &store, &clock).await;
        loop {
            match usage.prune().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!("old counts of keys' use could not be deleted: {error}");
                    break;
                }
            }
            if timeout(BATCH_PAUSE, stopped.wait_for(|stopped| *stopped)).await.is_ok() {
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn look((caps, oldest_change): &(TenantCaps, OldestChange), store: &Store, clock: &Clock) {
    if let Err(error) = caps.look(store, clock.now()).await {
        tracing::warn!("how full the tenants are could not be read: {error}");
    }
    if let Err(error) = oldest_change.look(store).await {
        tracing::warn!("how far back the log goes could not be read: {error}");
    }
}

/// Removes, now and then, the events that are older than they are kept.
pub(super) async fn expire_events(
    store: Store,
    index: Arc<Index>,
    clock: Clock,
    retention: Duration,
    mut stopped: watch::Receiver<bool>,
) -> Result<()> {
    let mut pause = FIRST_EXPIRE;
    while timeout(pause, stopped.wait_for(|stopped| *stopped)).await.is_err() {
        if !index.is_serving() {
            // Nothing is removed of a ledger that is not followed.
            continue;
        }
        pause = EXPIRE_INTERVAL;
        // By the clock that is behind: one that is ahead would have everything removed.
        let now = clock.now();
        let expired = match store.database_time().await {
            Ok(theirs) => events::expire(&store, theirs.map_or(now, |theirs| theirs.min(now)), retention).await,
            Err(error) => Err(error),
        };
        match expired {
            Ok(Some(revision)) => {
                tracing::info!(revision, "events up to here are older than they are kept: removing them");
                // There may be more of them.
                pause = FIRST_EXPIRE;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("events that are older than they are kept could not be found: {error}"),
        }
        // What an earlier one has left, too.
        loop {
            match store.delete_expired_events().await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!("events that are older than they are kept could not be removed: {error}");
                    break;
                }
            }
            if timeout(BATCH_PAUSE, stopped.wait_for(|stopped| *stopped)).await.is_ok() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Keeps what health says in step with whether the index may answer.
pub(super) async fn tell_health(health: Health, index: Arc<Index>, mut stopped: watch::Receiver<bool>) -> Result<()> {
    let mut was_serving = true;
    while timeout(HEALTH_INTERVAL, stopped.wait_for(|stopped| *stopped)).await.is_err() {
        let is_serving = index.is_serving();
        if is_serving != was_serving {
            health.set_serving(is_serving);
            if is_serving {
                tracing::info!(revision = index.applied(), "the lease holds again: Checks are answered");
            } else {
                tracing::error!(
                    revision = index.applied(),
                    "the lease is lost: no Check is answered until it is renewed"
                );
            }
            was_serving = is_serving;
        }
    }
    Ok(())
}
