//! How full tenants are, and what was refused for that.

use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use std::sync::Arc;

/// What has come of the cap on one kind of thing.
#[derive(Clone, Copy, Debug)]
pub struct CapGauge {
    /// Of what: `keys`, `applications` or `tokens`.
    pub kind: &'static str,
    /// How many mutations were refused.
    pub refused: u64,
    /// How full the fullest tenant is, from 0 to 1.
    pub fullest: f64,
}

/// What there is to show, asked for each time.
pub type CapGauges = Arc<dyn Fn() -> Vec<CapGauge> + Send + Sync>;

pub(super) fn show(meter: &Meter, caps: &CapGauges) {
    let of = |kind| [KeyValue::new("kind", kind)];
    let read = Arc::clone(caps);
    meter
        .u64_observable_counter("keyward.caps.refused")
        .with_description("Mutations that were refused since a tenant had as many of something as it may, by kind.")
        .with_callback(move |observer| {
            read().into_iter().for_each(|cap| observer.observe(cap.refused, &of(cap.kind)));
        })
        .build();
    let read = Arc::clone(caps);
    meter
        .f64_observable_gauge("keyward.caps.fullest.ratio")
        .with_description("How much of its cap the tenant has that has the most, by kind; looked at every ten minutes.")
        .with_callback(move |observer| {
            read().into_iter().for_each(|cap| observer.observe(cap.fullest, &of(cap.kind)));
        })
        .build();
}
