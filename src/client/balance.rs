//! Which server a call goes to: of two that are well, taken at random, the less busy one.

use super::chance::Chance;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::Channel;

/// How long a server is left alone after its first failure; doubled for each further one.
const FIRST_REST: Duration = Duration::from_millis(100);
const LONGEST_REST: Duration = Duration::from_secs(10);

/// A server, and how it does.
pub(super) struct Member {
    /// Where it is; what tells it from others.
    pub(super) address: String,
    pub(super) channel: Channel,
    calls: AtomicUsize,
    rest: Mutex<Rest>,
}

/// After failures a server is asked only if all are in that state.
#[derive(Clone, Copy, Debug, Default)]
struct Rest {
    failures: u32,
    until: Option<Instant>,
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Member").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Member {
    pub(super) fn new(address: String, channel: Channel) -> Self {
        Self { address, channel, calls: AtomicUsize::new(0), rest: Mutex::default() }
    }

    /// It has answered.
    pub(super) fn is_well(&self) {
        self.change(|rest| *rest = Rest::default());
    }

    /// It has failed, and is left alone for a while; for as long as it asked for, if it did.
    pub(super) fn has_failed(&self, asked: Option<Duration>, chance: &Chance) {
        self.change(|rest| {
            let doubled = FIRST_REST.saturating_mul(1_u32.checked_shl(rest.failures).unwrap_or(u32::MAX));
            let span = asked.unwrap_or(doubled).min(LONGEST_REST);
            rest.failures = rest.failures.saturating_add(1);
            rest.until = Instant::now().checked_add(chance.jitter(span));
        });
    }

    fn change(&self, change: impl FnOnce(&mut Rest)) {
        change(&mut self.rest.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Until when it is left alone, if it is.
    fn rests_until(&self, now: Instant) -> Option<Instant> {
        let rest = *self.rest.lock().unwrap_or_else(PoisonError::into_inner);
        rest.until.filter(|until| *until > now)
    }
}

/// A call that a server is busy with.
#[derive(Debug)]
pub(super) struct Busy(Arc<Member>);

impl Busy {
    pub(super) fn with(member: &Arc<Member>) -> Self {
        member.calls.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(member))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The server for the next attempt, not the one that just failed if there is another; none if there are none.
pub(super) fn choose(members: &[Arc<Member>], failed: Option<&Arc<Member>>, chance: &Chance) -> Option<Arc<Member>> {
    let now = Instant::now();
    let others = || members.iter().filter(|member| failed.is_none_or(|failed| !Arc::ptr_eq(member, failed)));
    let well: Vec<&Arc<Member>> = others().filter(|member| member.rests_until(now).is_none()).collect();
    let Some(one) = well.get(chance.below(well.len())) else {
        // All are unwell: the one whose rest ends first has the best chance.
        return others().min_by_key(|member| member.rests_until(now)).or(members.first()).cloned();
    };
    let other = well.get(chance.below(well.len())).unwrap_or(one);
    let calls = |member: &Arc<Member>| member.calls.load(Ordering::Relaxed);
    Some(Arc::clone(if calls(other) < calls(one) { other } else { one }))
}

/// Whether another server than this one is well.
pub(super) fn is_another_well(members: &[Arc<Member>], failed: &Arc<Member>) -> bool {
    let now = Instant::now();
    members.iter().any(|member| !Arc::ptr_eq(member, failed) && member.rests_until(now).is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::transport::Endpoint;

    fn members(count: usize) -> Vec<Arc<Member>> {
        let channel = || Endpoint::from_static("http://127.0.0.1:1").connect_lazy();
        (0..count).map(|place| Arc::new(Member::new(place.to_string(), channel()))).collect()
    }

    #[tokio::test]
    async fn calls_go_to_those_that_are_well() {
        let chance = Chance::default();
        assert!(choose(&[], None, &chance).is_none());
        let three = members(3);
        let chosen = |failed: Option<&Arc<Member>>| {
            let mut seen: Vec<String> =
                (0..200).map(|_| choose(&three, failed, &chance).unwrap().address.clone()).collect();
            seen.sort();
            seen.dedup();
            seen
        };
        assert_eq!(chosen(None), ["0", "1", "2"]);
        assert_eq!(chosen(Some(&three[1])), ["0", "2"]);
        let long = Some(Duration::from_secs(10));
        three[0].has_failed(long, &chance);
        assert_eq!(chosen(None), ["1", "2"]);
        assert_eq!(chosen(Some(&three[1])), ["2"]);
        assert!(is_another_well(&three, &three[1]));
        three[2].has_failed(long, &chance);
        assert!(!is_another_well(&three, &three[1]));
        three[2].is_well();
        assert_eq!(chosen(None), ["1", "2"]);
    }

    #[tokio::test]
    async fn where_all_are_unwell_one_is_asked_all_the_same() {
        let chance = Chance::default();
        let two = members(2);
        two[0].has_failed(Some(Duration::from_secs(10)), &chance);
        two[1].has_failed(Some(Duration::from_millis(500)), &chance);
        assert_eq!(choose(&two, None, &chance).unwrap().address, "1");
        assert_eq!(choose(&two, Some(&two[1]), &chance).unwrap().address, "0");
        assert_eq!(choose(&two[..1], Some(&two[0]), &chance).unwrap().address, "0");
    }

    #[tokio::test]
    async fn the_less_busy_of_two_is_taken() {
        let chance = Chance::default();
        let two = members(2);
        let _busy: Vec<Busy> = (0..5).map(|_| Busy::with(&two[0])).collect();
        let taken = (0..400).filter(|_| choose(&two, None, &chance).unwrap().address == "1").count();
        assert!(taken > 240, "{taken}");
    }
}
