//! What gauges show: each is read of the room that knows it, whenever somebody asks.

use super::listen::Listeners;
use crate::check::Index;
use crate::clock::Clock;
use crate::desk::caps::{CapState, TenantCaps};
use crate::desk::passwords::Passwords;
use crate::domain::clock::Time;
use crate::error::Result;
use crate::replica::Ledger;
use crate::store::Store;
use crate::telemetry::{CapGauge, Gauges, PasswordState, PoolState, ReplicaState, Resources};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;

/// When the oldest change was made that the log still has, as of when it was last looked. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct OldestChange(Arc<Mutex<Option<Time>>>);

impl OldestChange {
    /// Looks again.
    pub(super) async fn look(&self, store: &Store) -> Result<()> {
        let time = store.oldest_change_time().await?;
        *self.0.lock() = time;
        Ok(())
    }
}

/// Where they are read.
pub(super) struct Sources<'a> {
    pub(super) store: &'a Store,
    pub(super) index: &'a Arc<Index>,
    pub(super) ledger: &'a Ledger,
    pub(super) listeners: &'a Listeners,
    pub(super) caps: &'a TenantCaps,
    pub(super) passwords: &'a Passwords,
    pub(super) oldest_change: &'a OldestChange,
    pub(super) clock: &'a Clock,
}

impl Sources<'_> {
    /// All of them.
    pub(super) fn gauges(self) -> Gauges {
        let [credentials, revision, is_serving] = [self.index; 3].map(Arc::clone);
        let (ledger, caps) = (self.ledger.clone(), self.caps.clone());
        Gauges {
            credentials: Box::new(move || credentials.credential_count()),
            revision: Box::new(move || revision.applied()),
            is_serving: Box::new(move || is_serving.is_serving()),
            replica: Box::new(move || {
                let status = ledger.status();
                ReplicaState {
                    lease_remaining: status.lease_remaining,
                    lease_age: status.lease_age,
                    lag: status.head.saturating_sub(status.applied),
                    outstanding: status.outstanding,
                    waiting: status.waiting,
                    is_refusing: status.refused.is_some(),
                }
            }),
            certificates: Box::new(self.listeners.certificates()),
            caps: Arc::new(move || {
                let states = caps.states().into_iter();
                let gauge = |state: CapState| CapGauge {
                    kind: state.counted.as_str(),
                    refused: state.refused,
                    fullest: state.fullest,
                };
                states.map(gauge).collect()
            }),
            resources: Arc::new(self.resources()),
        }
    }

    fn resources(&self) -> impl Fn() -> Resources + Send + Sync + use<> {
        let (store, passwords) = (self.store.clone(), self.passwords.clone());
        let (oldest_change, clock) = (self.oldest_change.clone(), self.clock.clone());
        move || {
            let load = passwords.load();
            let state = |pool: crate::store::Pool| PoolState {
                pool: pool.name,
                used: pool.used,
                idle: pool.idle,
                max: pool.max,
            };
            let oldest = *oldest_change.0.lock();
            Resources {
                passwords: PasswordState { workers: load.workers, busy: load.busy, queued: load.queued },
                pools: store.pools().into_iter().map(state).collect(),
                log_age: oldest.map(|oldest| age(oldest, clock.now())),
            }
        }
    }
}

fn age(oldest: Time, now: Time) -> Duration {
    Duration::from_micros(u64::try_from(now.micros().saturating_sub(oldest.micros())).unwrap_or_default())
}
