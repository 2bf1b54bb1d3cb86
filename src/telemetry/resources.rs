//! What runs out: places where passwords are hashed, connections to the database; and how far back the log goes.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use std::sync::Arc;
use std::time::Duration;

/// How busy the threads are that hash passwords.
#[derive(Clone, Copy, Debug, Default)]
pub struct PasswordState {
    /// How many are hashed at once.
    pub workers: usize,
    /// How many are being hashed.
    pub busy: usize,
    /// How many wait for that.
    pub queued: usize,
}

/// The connections of one purpose to the database.
#[derive(Clone, Copy, Debug)]
pub struct PoolState {
    /// What they are for.
    pub pool: &'static str,
    /// How many are in use.
    pub used: u32,
    /// How many wait to be used.
    pub idle: u32,
    /// How many there may be.
    pub max: u32,
}

/// What there is of all of it.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    /// Passwords.
    pub passwords: PasswordState,
    /// Connections to the database.
    pub pools: Vec<PoolState>,
    /// How long ago the oldest change was made that the log has; none if it has none, or nobody has looked.
    pub log_age: Option<Duration>,
}

/// What there is, asked for each time.
pub type ResourceGauges = Arc<dyn Fn() -> Resources + Send + Sync>;

pub(super) fn show(meter: &Meter, resources: &ResourceGauges) {
    let passwords = |name, description, of: fn(PasswordState) -> usize| {
        let read = Arc::clone(resources);
        let gauge = meter.u64_observable_gauge(name).with_description(description);
        gauge.with_callback(move |observer| observer.observe(of(read().passwords) as u64, &[])).build();
    };
    passwords("keyward.passwords.workers", "Passwords that may be hashed at once.", |state| state.workers);
    passwords("keyward.passwords.busy", "Passwords that are being hashed.", |state| state.busy);
    passwords("keyward.passwords.queued", "Passwords that wait to be hashed.", |state| state.queued);
    let read = Arc::clone(resources);
    meter
        .u64_observable_gauge("keyward.database.connections")
        .with_description("Connections to the database, by what they are for and whether they are used or idle.")
        .with_callback(move |observer| {
            for PoolState { pool, used, idle, .. } in read().pools {
                let labels = |state| [KeyValue::new("pool", pool), KeyValue::new("state", state)];
                observer.observe(used.into(), &labels("used"));
                observer.observe(idle.into(), &labels("idle"));
            }
        })
        .build();
    let read = Arc::clone(resources);
    meter
        .u64_observable_gauge("keyward.database.connections.max")
        .with_description("Connections to the database that there may be, by what they are for.")
        .with_callback(move |observer| {
            read()
                .pools
                .iter()
                .for_each(|state| observer.observe(state.max.into(), &[KeyValue::new("pool", state.pool)]));
        })
        .build();
    let read = Arc::clone(resources);
    meter
        .f64_observable_gauge("keyward.ledger.log.age")
        .with_unit("s")
        .with_description(
            "How long ago the oldest change was made that the log still has; looked at every ten minutes.",
        )
        .with_callback(move |observer| {
            if let Some(age) = read().log_age {
                observer.observe(age.as_secs_f64(), &[]);
            }
        })
        .build();
}
