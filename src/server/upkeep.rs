//! What goes on beside the calls: health is kept in step, what is over is swept away.

use super::usage::Usage;
use crate::check::Index;
use crate::clock::Clock;
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

/// Deletes, now and then, the rows of tokens and sessions that nobody knows any more, and old counts.
pub(super) async fn sweep(store: Store, usage: Usage, clock: Clock, mut stopped: watch::Receiver<bool>) -> Result<()> {
    while timeout(SWEEP_INTERVAL, stopped.wait_for(|stopped| *stopped)).await.is_err() {
        if let Err(error) = store.sweep(clock.now()).await {
            tracing::warn!("old tokens and sessions could not be swept away: {error}");
        }
        if let Err(error) = usage.prune().await {
            tracing::warn!("old counts of keys' use could not be deleted: {error}");
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
