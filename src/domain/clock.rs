//! Points in time as the domain sees them: given, never taken.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z: what every engine stores exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(i64);

impl Time {
    /// 9999-12-31T23:59:59Z, the last that a protobuf `Timestamp` can carry.
    pub const MAX: Self = Self(253_402_300_799_000_000);

    /// 0001-01-01T00:00:00Z, the first that a protobuf `Timestamp` can carry.
    pub const MIN: Self = Self(-62_135_596_800_000_000);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// The same without fractions of a second.
    pub const fn whole_seconds(self) -> Self {
        Self(self.seconds().saturating_mul(1_000_000))
    }

    /// Whole minutes since the epoch.
    pub const fn minutes(self) -> i64 {
        self.0.div_euclid(60_000_000)
    }

    /// `span` later, and [`Time::MAX`] at the latest.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        let micros = i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(micros)).min(Self::MAX)
    }
}

/// A point on the elapsed-time clock of one machine, in nanoseconds since some moment of its own. It goes on while the
/// process or the machine sleeps and nobody can set it; moments of two machines are never compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(u64);

impl Moment {
    /// Before every other: what is valid until then never was.
    pub const NEVER: Self = Self(0);

    /// After every other.
    pub const MAX: Self = Self(u64::MAX);

    /// From nanoseconds on that clock.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds on that clock.
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// `span` later.
    #[must_use]
    pub fn after(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long `earlier` has been over; zero if it is not.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
