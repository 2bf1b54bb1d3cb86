//! Calls that were turned away since there were too many.

use super::Listener;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Meter};

/// Why a call was turned away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shed {
    /// Too many waited before it.
    Queue,
    /// It had waited for too long.
    Late,
    /// Too many were under way.
    InFlight,
    /// Too many streams were open.
    Streams,
    /// Too many streams of reflection were.
    Reflections,
}

impl Shed {
    const ALL: [Self; 5] = [Self::Queue, Self::Late, Self::InFlight, Self::Streams, Self::Reflections];

    /// The word for it in metrics.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Queue => "queue",
            Self::Late => "late",
            Self::InFlight => "in_flight",
            Self::Streams => "streams",
            Self::Reflections => "reflections",
        }
    }
}

/// Counts them by listener and reason.
#[derive(Clone, Debug)]
pub struct ShedMeter(Counter<u64>);

impl ShedMeter {
    /// A new one, all zero and shown by `meter`.
    pub(super) fn exported_by(meter: &Meter) -> Self {
        let counter = meter
            .u64_counter("keyward.calls.shed")
            .with_description("Calls that were turned away since there were too many, by listener and reason.");
        let made = Self(counter.build());
        for listener in [Listener::Data, Listener::Admin] {
            Shed::ALL.into_iter().for_each(|reason| made.add(listener, reason, 0));
        }
        made
    }

    /// A call was turned away.
    pub fn count(&self, listener: Listener, reason: Shed) {
        self.add(listener, reason, 1);
    }

    fn add(&self, listener: Listener, reason: Shed, number: u64) {
        let labels = [KeyValue::new("listener", listener.as_str()), KeyValue::new("reason", reason.as_str())];
        self.0.add(number, &labels);
    }
}
