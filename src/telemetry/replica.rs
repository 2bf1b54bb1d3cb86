//! How this process is as a replica: its lease, what it lags behind, and what waits for others.

use crate::error::{Error, Result};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundHistogram, Histogram, Meter};
use std::sync::Arc;
use std::time::Duration;

/// Bounds in seconds: from a poll on the same machine to the longest that a dead replica keeps anyone waiting by default.
const WAIT_BOUNDS: [f64; 15] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 12.5, 20.0];

/// How a replica is, as gauges show it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplicaState {
    /// How long it may still answer unless it polls again.
    pub lease_remaining: Duration,
    /// How long ago the poll was sent that its lease rests on.
    pub lease_age: Duration,
    /// How many revisions it has seen and not applied.
    pub lag: i64,
    /// For how many replicas its mutations wait.
    pub outstanding: usize,
    /// How many of its mutations wait.
    pub waiting: usize,
    /// Whether it refuses to follow the ledger.
    pub is_refusing: bool,
}

/// Shows what `state` says whenever somebody asks.
pub(super) fn show(meter: &Meter, state: impl Fn() -> ReplicaState + Send + Sync + 'static) {
    let state = Arc::new(state);
    let seconds = |name, description, read: fn(ReplicaState) -> Duration| {
        let state = Arc::clone(&state);
        meter
            .f64_observable_gauge(name)
            .with_unit("s")
            .with_description(description)
            .with_callback(move |observer| observer.observe(read(state()).as_secs_f64(), &[]))
            .build();
    };
    seconds(
        "keyward.lease.remaining",
        "How long this replica may still answer unless it polls again; 0 if it has stopped.",
        |state| state.lease_remaining,
    );
    seconds("keyward.lease.age", "How long ago the poll was sent that the lease rests on.", |state| state.lease_age);
    let number = |name, description, read: fn(ReplicaState) -> i64| {
        let state = Arc::clone(&state);
        meter
            .i64_observable_gauge(name)
            .with_description(description)
            .with_callback(move |observer| observer.observe(read(state()), &[]))
            .build();
    };
    number("keyward.replica.lag.revisions", "Revisions that were seen and are not applied yet.", |state| state.lag);
    number("keyward.replica.refusing", "1 if the ledger is refused: it is not the one that was followed.", |state| {
        state.is_refusing.into()
    });
    number("keyward.barrier.outstanding.replicas", "Replicas that mutations of this one wait for.", |state| {
        shown(state.outstanding)
    });
    number("keyward.barrier.waiting.mutations", "Mutations of this replica that wait for replicas.", |state| {
        shown(state.waiting)
    });
}

fn shown(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// How long mutations wait until every replica has them, by how that ended: `settled`, `unfinished` at the caller's deadline,
/// `lost` by the database that had acknowledged them, or `unreadable`, where nobody could say which replicas there are.
#[derive(Clone, Debug)]
pub struct BarrierMeter {
    settled: Arc<BoundHistogram<f64>>,
    unfinished: Arc<BoundHistogram<f64>>,
    lost: Arc<BoundHistogram<f64>>,
    unreadable: Arc<BoundHistogram<f64>>,
}

impl BarrierMeter {
    /// New ones, all zero and all shown by `meter`.
    pub(super) fn exported_by(meter: &Meter) -> Self {
        let waits: Histogram<f64> = meter
            .f64_histogram("keyward.barrier.wait")
            .with_unit("s")
            .with_description("How long a mutation waited until it was in force on every replica, by how that ended.")
            .with_boundaries(WAIT_BOUNDS.to_vec())
            .build();
        let bound = |outcome| Arc::new(waits.bind(&[KeyValue::new("outcome", outcome)]));
        Self {
            settled: bound("settled"),
            unfinished: bound("unfinished"),
            lost: bound("lost"),
            unreadable: bound("unreadable"),
        }
    }

    /// Counts one wait that ended so.
    pub fn record(&self, ended: &Result<()>, waited: Duration) {
        let histogram = match ended {
            Ok(()) => &self.settled,
            Err(Error::Unfinished { .. }) => &self.unfinished,
            Err(Error::Internal(_)) => &self.lost,
            Err(
                Error::Unavailable { .. }
                | Error::Invalid(_)
                | Error::Unauthenticated { .. }
                | Error::Forbidden { .. }
                | Error::NotFound { .. }
                | Error::AlreadyExists { .. }
                | Error::Conflict { .. }
                | Error::Precondition { .. }
                | Error::Removed { .. }
                | Error::Exhausted { .. }
                | Error::Capped { .. }
                | Error::Late,
            ) => &self.unreadable,
        };
        histogram.record(waited.as_secs_f64());
    }
}
