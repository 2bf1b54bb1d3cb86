//! The clocks. The wall clock is given to whoever needs the time, and read here only, so that a test can set it; what leases
//! and barriers are measured by is [`boot_time`], which nobody can set.

use crate::domain::clock::{Moment, Time};
use rustix::time::{ClockId, clock_gettime};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The system's clock plus an offset, zero but in tests.
#[derive(Clone, Debug)]
pub struct Clock {
    offset_micros: Arc<AtomicI64>,
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { offset_micros: Arc::default(), start: Instant::now() }
    }
}

impl Clock {
    /// Now.
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub fn now(&self) -> Time {
        // A clock that cannot be right ends what expires, rather than letting it live.
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).ok();
        let micros = since_epoch.and_then(|since| i64::try_from(since.as_micros()).ok()).unwrap_or(Time::MAX.micros());
        Time::from_micros(micros.saturating_add(self.offset_micros.load(Ordering::Relaxed)))
    }

    /// How long this clock has been there: it only grows, whatever happens to the wall clock.
    pub fn elapsed(&self) -> Duration {
        let offset = u64::try_from(self.offset_micros.load(Ordering::Relaxed)).unwrap_or_default();
        self.start.elapsed().saturating_add(Duration::from_micros(offset))
    }

    /// Moves this clock and its clones forward: what tests do instead of waiting.
    pub fn advance(&self, span: Duration) {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        self.offset_micros.fetch_add(micros, Ordering::Relaxed);
    }
}

/// The elapsed time of this machine, that which it slept through included (`CLOCK_BOOTTIME`, clock_gettime(2)). Leases are
/// measured by it: `Instant` stands still while the machine is suspended, and the wall clock may be set.
pub fn boot_time() -> Moment {
    let now = clock_gettime(ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u64::try_from(now.tv_nsec));
    match (seconds, nanos) {
        (Ok(seconds), Ok(nanos)) => Moment::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(nanos)),
        // A clock that cannot be right ends every lease.
        (Err(_), _) | (_, Err(_)) => Moment::MAX,
    }
}
