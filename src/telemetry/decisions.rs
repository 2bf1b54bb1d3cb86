//! How checks were decided, counted without a lock, an allocation or a look-up.

use crate::domain::decision::{Decision, Reason};
use opentelemetry::KeyValue;
use opentelemetry::metrics::Meter;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// By which RPC a check came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Surface {
    /// `Check`.
    Check,
    /// `BatchCheck`, each of its checks.
    Batch,
    /// `StreamCheck`, each of its checks.
    Stream,
    /// Envoy's `Check`.
    ExtAuthz,
    /// The same where a denial is only told.
    ExtAuthzObserve,
}

impl Surface {
    const ALL: [Self; 5] = [Self::Check, Self::Batch, Self::Stream, Self::ExtAuthz, Self::ExtAuthzObserve];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Batch => "batch",
            Self::Stream => "stream",
            Self::ExtAuthz => "ext_authz",
            Self::ExtAuthzObserve => "ext_authz_observe",
        }
    }
}

/// What one surface counted: the allowed, the denied, and the reasons by number, 0 being none at all.
#[derive(Debug, Default)]
struct Tally {
    allowed: AtomicU64,
    denied: AtomicU64,
    reasons: [AtomicU64; Reason::ALL.len() + 1],
}

/// The tallies of one core's threads; on cache lines of their own, so that cores do not wait for each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Sheet([Tally; Surface::ALL.len()]);

/// A power of two; with more threads than this, some share a sheet, which is slower and no less right.
const SHEETS: usize = 32;

/// How checks were decided.
#[derive(Debug)]
pub struct Decisions(Box<[Sheet]>);

impl Default for Decisions {
    fn default() -> Self {
        Self((0..SHEETS).map(|_| Sheet::default()).collect())
    }
}

/// The sheet of this thread: threads take turns.
fn sheet_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! { static OWN: Cell<Option<usize>> = const { Cell::new(None) } }
    OWN.with(|own| {
        own.get().unwrap_or_else(|| {
            let number = NEXT.fetch_add(1, Ordering::Relaxed) % SHEETS;
            own.set(Some(number));
            number
        })
    })
}

impl Decisions {
    /// Counts one decision, and for a denial each of its reasons.
    pub fn count(&self, surface: Surface, decision: &Decision) {
        let Some(tally) = self.0.get(sheet_number()).and_then(|sheet| sheet.0.get(surface as usize)) else { return };
        if decision.is_allowed() {
            tally.allowed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        tally.denied.fetch_add(1, Ordering::Relaxed);
        let reasons = decision.reasons();
        let count = |number: usize| {
            if let Some(counter) = tally.reasons.get(number) {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        };
        if reasons.is_empty() {
            count(0);
        }
        reasons.iter().for_each(|reason| count(reason as usize));
    }

    /// How often `which` was counted for `surface`.
    fn total(&self, surface: Surface, which: impl Fn(&Tally) -> Option<&AtomicU64>) -> u64 {
        let tallies = self.0.iter().filter_map(|sheet| sheet.0.get(surface as usize));
        tallies.filter_map(which).map(|counter| counter.load(Ordering::Relaxed)).sum()
    }

    /// New ones, all zero and all shown by `meter`: `keyward.check.decisions` by decision, reason and surface, in
    /// which a denial counts once for each reason, and `keyward.check.denials`, in which it counts once.
    pub(super) fn exported_by(meter: &Meter) -> Arc<Self> {
        let decisions = Arc::new(Self::default());
        let shown = Arc::clone(&decisions);
        meter
            .u64_observable_counter("keyward.check.decisions")
            .with_description("Checks decided; a denial counts once for each of its reasons.")
            .with_callback(move |observer| {
                for surface in Surface::ALL {
                    for (decision, reason, count) in shown.by_reason(surface) {
                        let attributes = [
                            KeyValue::new("decision", decision),
                            KeyValue::new("reason", reason),
                            KeyValue::new("surface", surface.as_str()),
                        ];
                        observer.observe(count, &attributes);
                    }
                }
            })
            .build();
        let shown = Arc::clone(&decisions);
        meter
            .u64_observable_counter("keyward.check.denials")
            .with_description("Checks denied, each counted once.")
            .with_callback(move |observer| {
                for surface in Surface::ALL {
                    let count = shown.total(surface, |tally| Some(&tally.denied));
                    observer.observe(count, &[KeyValue::new("surface", surface.as_str())]);
                }
            })
            .build();
        decisions
    }

    /// Every pair of labels, those never seen at zero.
    fn by_reason(&self, surface: Surface) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        let allowed = ("ALLOWED", "", self.total(surface, |tally| Some(&tally.allowed)));
        let unspecified = (0, "UNSPECIFIED");
        let reasons = Reason::ALL.into_iter().map(|reason| (reason as usize, reason.as_str()));
        let denied = std::iter::once(unspecified)
            .chain(reasons)
            .map(move |(number, name)| ("DENIED", name, self.total(surface, |tally| tally.reasons.get(number))));
        std::iter::once(allowed).chain(denied)
    }
}
