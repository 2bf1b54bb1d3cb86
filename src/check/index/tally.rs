//! The Checks of one key that were not told yet, in eight bytes: the hour, how many were denied, how many allowed.

use crate::domain::usage::{Count, Hour};
use std::sync::atomic::{AtomicU64, Ordering};

/// What each of the two counts has.
const BITS: u32 = 20;
const HOUR_AT: u32 = 2 * BITS;
const FULL: u64 = (1 << BITS) - 1;
const COUNTS: u64 = FULL << BITS | FULL;

/// One of the counts is half full: more threads than the other half has room for cannot add to it at once.
const HALF: u64 = 1 << (BITS - 1) | 1 << (HOUR_AT - 1);

/// INVARIANT (none lost): whoever counts the first Check after it was empty puts the key on the list; only what is on the
/// list is emptied, and what is taken out is told.
#[derive(Debug, Default)]
pub(in crate::check) struct Tally(AtomicU64);

/// What a Check that was counted has met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::check) enum Met {
    /// Nothing: it is the first.
    Nothing,
    /// Others of its hour.
    Others,
    /// These, which it has put aside: they were of another hour, or there was no room for more.
    PutAside(Hour, Count),
}

impl Tally {
    /// Counts a Check. Which side of an hour's very border it falls on is not told.
    pub(in crate::check) fn add(&self, hour: Hour, is_allowed: bool) -> Met {
        let one = if is_allowed { 1 } else { 1 << BITS };
        let of_hour = u64::from(hour.number()) << HOUR_AT;
        loop {
            let seen = self.0.load(Ordering::Relaxed);
            if seen & !COUNTS == of_hour && seen & HALF == 0 {
                // Released, so that whoever takes it out sees in which minute the key was used.
                let before = self.0.fetch_add(one, Ordering::Release);
                return if before & COUNTS == 0 { Met::Nothing } else { Met::Others };
            }
            let swapped = self.0.compare_exchange(seen, of_hour | one, Ordering::AcqRel, Ordering::Relaxed);
            if swapped.is_ok() {
                let (hour, count) = apart(seen);
                return if count == Count::NONE { Met::Nothing } else { Met::PutAside(hour, count) };
            }
        }
    }

    /// Takes out what was counted.
    pub(in crate::check) fn take(&self) -> (Hour, Count) {
        apart(self.0.fetch_and(!COUNTS, Ordering::Acquire))
    }
}

fn apart(word: u64) -> (Hour, Count) {
    let hour = u32::try_from(word >> HOUR_AT).unwrap_or_default();
    (Hour::of_number(hour), Count { allowed: word & FULL, denied: word >> BITS & FULL })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn a_count_that_is_half_full_is_put_aside() {
        let (tally, hour) = (Tally::default(), Hour::of_number(499_000));
        assert_eq!(tally.add(hour, false), Met::Nothing);
        for _ in 1..1 << (BITS - 1) {
            assert_eq!(tally.add(hour, false), Met::Others);
        }
        let half = Count { allowed: 0, denied: 1 << (BITS - 1) };
        assert_eq!(tally.add(hour, true), Met::PutAside(hour, half));
        assert_eq!(tally.take(), (hour, Count { allowed: 1, denied: 0 }));
        assert_eq!(tally.take(), (hour, Count::NONE));
        assert_eq!(tally.add(hour, true), Met::Nothing);
    }

    /// A Check in some hour, or somebody who takes out.
    fn steps() -> impl Strategy<Value = Vec<Option<(u32, bool)>>> {
        let hour = prop_oneof![0..3_u32, Just(499_000), Just(499_001), Just(Hour::MAX.number())];
        prop::collection::vec(prop::option::weighted(0.9, (hour, any::<bool>())), 0..200)
    }

    proptest! {
        #[test]
        fn every_check_is_told_once_and_in_its_hour(steps in steps()) {
            let (tally, mut is_listed) = (Tally::default(), false);
            let (mut told, mut expected) = (BTreeMap::new(), BTreeMap::new());
            let tell = |told: &mut BTreeMap<Hour, Count>, (hour, count): (Hour, Count)| {
                if count != Count::NONE {
                    let sum = told.entry(hour).or_default();
                    *sum = sum.plus(count);
                }
            };
            for step in steps.into_iter().chain([None]) {
                let Some((hour, is_allowed)) = step else {
                    // Only what is listed is taken out.
                    if std::mem::take(&mut is_listed) {
                        tell(&mut told, tally.take());
                    }
                    continue;
                };
                let hour = Hour::of_number(hour);
                let one = Count { allowed: is_allowed.into(), denied: (!is_allowed).into() };
                tell(&mut expected, (hour, one));
                match tally.add(hour, is_allowed) {
                    Met::Nothing => {
                        prop_assert!(!is_listed, "twice on the list");
                        is_listed = true;
                    }
                    Met::Others => prop_assert!(is_listed),
                    Met::PutAside(hour, count) => {
                        prop_assert!(is_listed);
                        tell(&mut told, (hour, count));
                    }
                }
            }
            prop_assert_eq!(told, expected);
        }
    }

    #[test]
    fn threads_that_count_while_others_take_out_lose_nothing() {
        const EACH: u64 = 100_000;
        let (tally, first) = (Tally::default(), Hour::of_number(499_000));
        let told = parking_lot::Mutex::new((Count::NONE, 0_u64));
        let tell = |count: Count| {
            let mut told = told.lock();
            told.0 = told.0.plus(count);
        };
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let (tally, told, tell) = (&tally, &told, &tell);
                scope.spawn(move || {
                    for number in 0..EACH {
                        let hour = Hour::of_number(first.number() + u32::from(number > EACH / 2));
                        match tally.add(hour, thread % 2 == 0) {
                            Met::Nothing => told.lock().1 += 1,
                            Met::Others => {}
                            Met::PutAside(_, count) => tell(count),
                        }
                        if number % 64 == 0 {
                            let is_listed = {
                                let mut told = told.lock();
                                let is_listed = told.1 > 0;
                                told.1 -= u64::from(is_listed);
                                is_listed
                            };
                            if is_listed {
                                tell(tally.take().1);
                            }
                        }
                    }
                });
            }
        });
        tell(tally.take().1);
        let (count, _) = told.into_inner();
        assert_eq!(count, Count { allowed: 2 * EACH, denied: 2 * EACH });
    }
}
