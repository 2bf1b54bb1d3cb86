//! What becomes of the counts of keys' use.

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// How flushes went, and what was not counted.
#[derive(Clone, Debug)]
pub struct UsageMeter {
    flushes: Counter<u64>,
    dropped: Counter<u64>,
}

impl UsageMeter {
    /// New ones, all zero and all shown by `meter`.
    pub(super) fn exported_by(meter: &Meter) -> Self {
        let flushes = meter
            .u64_counter("keyward.usage.flushes")
            .with_description("Flushes of what keys were used, by what became of them: written or failed.")
            .build();
        let dropped = meter
            .u64_counter("keyward.usage.dropped.checks")
            .with_description("Checks that are missing from the usage of keys: too many counts waited to be written.")
            .build();
        let made = Self { flushes, dropped };
        made.add("written", 0);
        made.add("failed", 0);
        made.count_dropped(0);
        made
    }

    /// Counts a flush that was written.
    pub fn count_written(&self) {
        self.add("written", 1);
    }

    /// Counts a flush that failed, and is tried again.
    pub fn count_failed(&self) {
        self.add("failed", 1);
    }

    /// Counts Checks that were dropped.
    pub fn count_dropped(&self, checks: u64) {
        self.dropped.add(checks, &[]);
    }

    fn add(&self, outcome: &'static str, number: u64) {
        self.flushes.add(number, &[KeyValue::new("outcome", outcome)]);
    }
}
