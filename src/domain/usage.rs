//! How much keys are used: Checks, counted by the hours of UTC. Tokens of a key are things of their own and count as no
//! Checks of it.

use super::clock::Time;
use super::name::{KeyId, TenantId};
use crate::error::Violation;
use std::collections::BTreeMap;
use std::time::Duration;

/// For how long the counts of an hour are kept.
pub const USAGE_RETENTION: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// What is shown if nobody says from when.
const DEFAULT_SPAN: i64 = 24 * HOUR;

/// Microseconds.
const HOUR: i64 = 60 * 60 * 1_000_000;

/// An hour of UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hour(u32);

impl Hour {
    /// The last that there is, in the year 3883, so that it takes 24 bits.
    pub const MAX: Self = Self((1 << 24) - 1);

    /// The one in which a minute is, both counted since 1970-01-01T00:00:00Z.
    pub fn of_minute(minute: u32) -> Self {
        Self::of_number(minute / 60)
    }

    /// The one of this number since 1970-01-01T00:00:00Z.
    pub fn of_number(number: u32) -> Self {
        Self(number).min(Self::MAX)
    }

    /// How many came before it since 1970-01-01T00:00:00Z.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// When it begins.
    pub fn start(self) -> Time {
        Time::from_micros(i64::from(self.0).saturating_mul(HOUR))
    }
}

/// How many Checks there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Allowed.
    pub allowed: u64,
    /// Denied.
    pub denied: u64,
}

impl Count {
    /// None.
    pub const NONE: Self = Self { allowed: 0, denied: 0 };

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self { allowed: self.allowed.saturating_add(other.allowed), denied: self.denied.saturating_add(other.denied) }
    }

    /// Allowed or denied.
    pub const fn total(self) -> u64 {
        self.allowed.saturating_add(self.denied)
    }
}

/// What is known of the use of a key and was not told before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Use {
    /// Whose key.
    pub tenant: TenantId,
    /// Which key.
    pub key: KeyId,
    /// The minute in which it was last accepted, if it was.
    pub last_auth_time: Option<Time>,
    /// In which hour it was checked.
    pub hour: Hour,
    /// How often; perhaps never, if it was accepted for something else.
    pub count: Count,
}

/// What is to be written down at once, in the order in which all write it: who wait for each other stand in one line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tallies {
    /// How often keys were checked in an hour.
    pub counts: BTreeMap<(TenantId, KeyId, Hour), Count>,
    /// When keys were last accepted, to the minute.
    pub last_auth_times: BTreeMap<(TenantId, KeyId), Time>,
}

impl Tallies {
    /// Whether they tell nothing.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.last_auth_times.is_empty()
    }
}

impl FromIterator<Use> for Tallies {
    fn from_iter<I: IntoIterator<Item = Use>>(uses: I) -> Self {
        let mut all = Self::default();
        for Use { tenant, key, last_auth_time, hour, count } in uses {
            if let Some(time) = last_auth_time {
                let last = all.last_auth_times.entry((tenant.clone(), key.clone())).or_insert(time);
                *last = (*last).max(time);
            }
            if count != Count::NONE {
                let sum = all.counts.entry((tenant, key, hour)).or_default();
                *sum = sum.plus(count);
            }
        }
        all
    }
}

/// The whole hours that somebody asks about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// When the first begins.
    pub start: Time,
    /// When the last ends.
    pub end: Time,
}

impl Span {
    /// The hours from `start`, by default 24 before the end, to `end`, by default now, which are rounded outwards.
    pub fn new(start: Option<Time>, end: Option<Time>, now: Time) -> Result<Self, Violation> {
        if start.is_some_and(|start| end.unwrap_or(now) <= start) {
            return Err(match end {
                Some(_) => Violation::new("end_time", "must be after start_time"),
                None => Violation::new("start_time", "must be before end_time, which is now if it is not given"),
            });
        }
        let end = hour_up(end.unwrap_or(now));
        let start = start.map_or_else(|| earlier(end, DEFAULT_SPAN), hour_down);
        Ok(Self { start, end })
    }
}

/// Of which hours nothing is kept any more: those that began before this.
pub fn kept_from(now: Time) -> Time {
    hour_down(earlier(now, i64::try_from(USAGE_RETENTION.as_micros()).unwrap_or(i64::MAX)))
}

fn earlier(time: Time, micros: i64) -> Time {
    Time::from_micros(time.micros().saturating_sub(micros)).max(Time::MIN)
}

fn hour_down(time: Time) -> Time {
    Time::from_micros(time.micros().div_euclid(HOUR).saturating_mul(HOUR))
}

/// The last hour of all ends where time does.
fn hour_up(time: Time) -> Time {
    let whole = hour_down(time);
    if whole == time { time } else { Time::from_micros(whole.micros().saturating_add(HOUR)).min(Time::MAX) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(hour: i64, micros: i64) -> Time {
        Time::from_micros(hour * HOUR + micros)
    }

    #[test]
    fn a_span_is_of_whole_hours_around_what_was_asked() {
        #[track_caller]
        fn check(start: Option<Time>, end: Option<Time>, expected: (i64, i64)) {
            let span = Span::new(start, end, at(1000, 1)).unwrap();
            assert_eq!((span.start, span.end), (at(expected.0, 0), at(expected.1, 0)), "{start:?} {end:?}");
        }
        check(None, None, (977, 1001));
        check(Some(at(7, HOUR - 1)), None, (7, 1001));
        check(None, Some(at(50, 0)), (26, 50));
        check(None, Some(at(50, 1)), (27, 51));
        check(Some(at(7, 0)), Some(at(7, 1)), (7, 8));
        check(Some(at(-8, 5)), Some(at(-8, 6)), (-8, -7));
        check(Some(at(2000, 5)), Some(at(2001, 0)), (2000, 2001));
        let all = Span::new(Some(Time::MIN), Some(Time::MAX), at(1000, 1)).unwrap();
        assert_eq!((all.start, all.end), (Time::MIN, Time::MAX));
    }

    #[test]
    fn a_span_that_ends_before_it_begins_is_refused() {
        #[track_caller]
        fn check(start: Time, end: Option<Time>, field: &str) {
            assert_eq!(Span::new(Some(start), end, at(1000, 1)).unwrap_err().field, field);
        }
        check(at(7, 5), Some(at(7, 5)), "end_time");
        check(at(7, 5), Some(at(7, 4)), "end_time");
        check(at(1000, 1), None, "start_time");
        check(at(1001, 0), None, "start_time");
    }

    #[test]
    fn ninety_days_of_whole_hours_are_kept() {
        assert_eq!(kept_from(at(90 * 24 + 5, 7)), at(5, 0));
        assert_eq!(Hour::of_number(u32::MAX), Hour::MAX);
    }

    proptest! {
        #[test]
        fn an_hour_is_the_one_that_its_minutes_are_in(minute in 0..1_000_000_000_u32) {
            let (hour, time) = (Hour::of_minute(minute), Time::from_micros(i64::from(minute) * 60_000_000));
            prop_assert_eq!(hour.start(), hour_down(time));
            prop_assert_eq!(Hour::of_number(hour.number()), hour);
        }
    }
}
