//! A replica as one that commits: which mutations every replica has, and what to do about those that are silent.

use super::{Peer, ReplicaId, Timing};
use crate::domain::clock::Moment;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How many mutations one question asks about; of more, the rest is asked by the next.
const MAX_ASKED: usize = 64;

/// One mutation that waits.
pub type Ticket = u64;

/// What one statement said (V2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The lease that the ledger's head names.
    pub lease: Duration,
    /// All rows of replicas.
    pub peers: Vec<Peer>,
    /// Of the revisions asked about, the chain of the event at each that has one.
    pub chains: BTreeMap<i64, Vec<u8>>,
}

/// How a barrier ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// No replica answers by what was before (V4).
    Settled,
    /// The database has lost what it had acknowledged (V2).
    Lost,
    /// What was committed could not be read again, nor who must know of it (V2).
    Unreadable,
}

/// What is to be done to rows of replicas, in transactions of their own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Make these rows `fencing` if they are active and have still not confirmed this revision; then call [`Barriers::fenced`].
    Fence {
        /// Whose.
        ids: Vec<ReplicaId>,
        /// What they have not confirmed.
        below: i64,
    },
    /// Delete these rows if they are fencing; then call [`Barriers::removed`].
    Remove(Vec<ReplicaId>),
}

#[derive(Clone, Debug)]
struct Waiting {
    revision: i64,
    /// The chain that our own event has; none where nothing was left to do (V5).
    chain: Option<Vec<u8>>,
    /// The timer: begun after COMMIT had returned (V1).
    since: Moment,
    /// Until when, and for whom; known once V2 has been read.
    confirmed: Option<Confirmed>,
}

#[derive(Clone, Debug)]
struct Confirmed {
    deadline: Moment,
    outstanding: BTreeSet<ReplicaId>,
}

#[derive(Clone, Copy, Debug)]
enum Fence {
    /// To be written: it has not confirmed this revision.
    Wanted(i64),
    /// Asked for at the database, which does not say of whom it was done: to be deleted then if the row is seen fencing. One
    /// that had confirmed in time is active still, and may be shut out by another later.
    Written(Moment),
    /// Seen; to be deleted then. A row that is fencing is never active again.
    Until(Moment),
}

/// The mutations of this replica that wait, and the replicas that are being shut out.
#[derive(Clone, Debug)]
pub struct Barriers {
    timing: Timing,
    waiting: BTreeMap<Ticket, Waiting>,
    fences: BTreeMap<ReplicaId, Fence>,
    /// The largest lease that was seen with the last question (V7).
    lease: Duration,
}

impl Barriers {
    /// None yet.
    pub fn new(timing: Timing) -> Self {
        Self { timing, waiting: BTreeMap::new(), fences: BTreeMap::new(), lease: timing.lease() }
    }

    /// A mutation that was committed as `revision`, its COMMIT having returned before `now` (V1). `chain` is the one
    /// after it; none if nothing was left to do, and `revision` is the head that was read after what was seen (V5).
    pub fn begin(&mut self, ticket: Ticket, revision: i64, chain: Option<Vec<u8>>, now: Moment) {
        self.waiting.insert(ticket, Waiting { revision, chain, since: now, confirmed: None });
    }

    /// The revisions whose events to ask about, with the head and all replicas, in one statement (V2, V3); none if
    /// nothing is waited for and nobody is being shut out.
    pub fn question(&self) -> Option<Vec<i64>> {
        if self.waiting.is_empty() && self.fences.is_empty() {
            return None;
        }
        let unconfirmed =
            self.waiting.values().filter(|waiting| waiting.confirmed.is_none() && waiting.chain.is_some());
        Some(unconfirmed.map(|waiting| waiting.revision).take(MAX_ASKED).collect())
    }

    /// The chains that are waited for: what a process that is alone with its database need not read back.
    pub fn chains(&self) -> BTreeMap<i64, Vec<u8>> {
        self.waiting.values().filter_map(|waiting| Some((waiting.revision, waiting.chain.clone()?))).collect()
    }

    /// How many mutations wait.
    pub fn waiting_count(&self) -> usize {
        self.waiting.len()
    }

    /// Whom a mutation waits for; nothing as long as that is not known.
    pub fn outstanding(&self, ticket: Ticket) -> Vec<ReplicaId> {
        let confirmed = self.waiting.get(&ticket).and_then(|waiting| waiting.confirmed.as_ref());
        confirmed.map(|confirmed| confirmed.outstanding.iter().cloned().collect()).unwrap_or_default()
    }

    /// All that any mutation waits for.
    pub fn all_outstanding(&self) -> BTreeSet<ReplicaId> {
        let confirmed = self.waiting.values().filter_map(|waiting| waiting.confirmed.as_ref());
        confirmed.flat_map(|confirmed| confirmed.outstanding.iter().cloned()).collect()
    }

    /// Takes in the answer to a question that was asked about `asked`, sent after every mutation it asks about had begun to
    /// wait (`begun_before` is the first ticket that had not). Answers with those that are over.
    pub fn seen(&mut self, asked: &[i64], begun_before: Ticket, seen: &Seen, now: Moment) -> Vec<(Ticket, Outcome)> {
        let lease = seen.peers.iter().map(|peer| peer.lease).max().unwrap_or_default().max(seen.lease);
        self.lease = lease.max(self.timing.lease());
        let wait = Timing::new(self.lease).wait();
        self.note_fences(&seen.peers, now.after(wait));
        let mut over = Vec::new();
        for (ticket, waiting) in &mut self.waiting {
            if waiting.confirmed.is_none() && *ticket < begun_before {
                let is_there = match &waiting.chain {
                    Some(_) if !asked.contains(&waiting.revision) => continue,
                    Some(chain) => seen.chains.get(&waiting.revision) == Some(chain),
                    None => true,
                };
                if !is_there {
                    over.push((*ticket, Outcome::Lost));
                    continue;
                }
                let outstanding = seen.peers.iter().map(|peer| peer.id.clone()).collect();
                waiting.confirmed = Some(Confirmed { deadline: waiting.since.after(wait), outstanding });
            }
            if let Some(confirmed) = &mut waiting.confirmed {
                // Whoever has no row any more has left or was removed, and answers no more.
                let must_wait = |peer: &Peer| peer.is_fencing || peer.applied < waiting.revision;
                confirmed.outstanding.retain(|id| seen.peers.iter().any(|peer| peer.id == *id && must_wait(peer)));
                if confirmed.outstanding.is_empty() {
                    over.push((*ticket, Outcome::Settled));
                }
            }
        }
        for (ticket, _) in &over {
            self.waiting.remove(ticket);
        }
        over
    }

    /// Rows that others have made fencing are deleted too, W after they were first seen so (V6).
    fn note_fences(&mut self, peers: &[Peer], remove_at: Moment) {
        self.fences.retain(|id, fence| match fence {
            Fence::Wanted(below) => {
                peers.iter().any(|peer| peer.id == *id && !peer.is_fencing && peer.applied < *below)
            }
            Fence::Written(until) => {
                let until = *until;
                *fence = Fence::Until(until);
                peers.iter().any(|peer| peer.id == *id && peer.is_fencing)
            }
            Fence::Until(_) => peers.iter().any(|peer| peer.id == *id && peer.is_fencing),
        });
        for peer in peers.iter().filter(|peer| peer.is_fencing) {
            self.fences.entry(peer.id.clone()).or_insert(Fence::Until(remove_at));
        }
    }

    /// Those whose time is up (V4): settled if it is known who had to confirm, whose leases are all over then.
    pub fn time_out(&mut self, now: Moment) -> Vec<(Ticket, Outcome)> {
        let unread = self.timing.wait();
        let mut over = Vec::new();
        for (ticket, waiting) in &self.waiting {
            match &waiting.confirmed {
                Some(confirmed) if now >= confirmed.deadline => {
                    for id in &confirmed.outstanding {
                        let fence = self.fences.entry(id.clone()).or_insert(Fence::Wanted(waiting.revision));
                        if let Fence::Wanted(below) = fence {
                            *below = waiting.revision.max(*below);
                        }
                    }
                    over.push((*ticket, Outcome::Settled));
                }
                None if now >= waiting.since.after(unread) => over.push((*ticket, Outcome::Unreadable)),
                Some(_) | None => {}
            }
        }
        for (ticket, _) in &over {
            self.waiting.remove(ticket);
        }
        over
    }

    /// What is to be done to rows now (V6).
    pub fn deeds(&self, now: Moment) -> Vec<Deed> {
        let mut wanted: BTreeMap<i64, Vec<ReplicaId>> = BTreeMap::new();
        let mut ended = Vec::new();
        for (id, fence) in &self.fences {
            match fence {
                Fence::Wanted(below) => wanted.entry(*below).or_default().push(id.clone()),
                Fence::Until(time) if now >= *time => ended.push(id.clone()),
                Fence::Until(_) | Fence::Written(_) => {}
            }
        }
        let mut deeds: Vec<Deed> = wanted.into_iter().map(|(below, ids)| Deed::Fence { ids, below }).collect();
        if !ended.is_empty() {
            deeds.push(Deed::Remove(ended));
        }
        deeds
    }

    /// Rows were made fencing, where they were active and silent still, that commit having returned before `now`.
    pub fn fenced(&mut self, ids: &[ReplicaId], now: Moment) {
        let until = now.after(Timing::new(self.lease).wait());
        for id in ids {
            if let Some(fence) = self.fences.get_mut(id) {
                *fence = Fence::Written(until);
            }
        }
    }

    /// Rows were deleted.
    pub fn removed(&mut self, ids: &[ReplicaId]) {
        for id in ids {
            self.fences.remove(id);
        }
    }

    /// When time alone makes a difference next: a deadline or the end of a fence.
    pub fn next_time(&self) -> Option<Moment> {
        let unread = self.timing.wait();
        let deadlines = self.waiting.values().map(|waiting| match &waiting.confirmed {
            Some(confirmed) => confirmed.deadline,
            None => waiting.since.after(unread),
        });
        let fences = self.fences.values().filter_map(|fence| match fence {
            Fence::Wanted(_) | Fence::Written(_) => None,
            Fence::Until(time) => Some(*time),
        });
        deadlines.chain(fences).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const R: i64 = 7;

    fn at(millis: u64) -> Moment {
        Moment::from_nanos(millis * 1_000_000)
    }

    fn peer(id: &str, applied: i64) -> Peer {
        Peer { id: id.to_owned(), is_fencing: false, applied, lease: Timing::DEFAULT_LEASE }
    }

    fn seen(peers: Vec<Peer>) -> Seen {
        Seen { lease: Timing::DEFAULT_LEASE, peers, chains: BTreeMap::from([(R, vec![1])]) }
    }

    fn begun() -> Barriers {
        let mut barriers = Barriers::new(Timing::default());
        barriers.begin(1, R, Some(vec![1]), at(1000));
        barriers
    }

    /// W of the default lease.
    const WAIT: u64 = 12_250;

    #[test]
    fn it_is_settled_once_everybody_who_had_a_row_has_confirmed() {
        let mut barriers = begun();
        assert_eq!(barriers.question(), Some(vec![R]));
        assert_eq!(barriers.seen(&[R], 2, &seen(vec![peer("a", 7), peer("b", 6)]), at(1001)), []);
        assert_eq!(barriers.outstanding(1), ["b"]);
        // One that joined later has loaded what was committed before.
        let later = seen(vec![peer("a", 7), peer("b", 7), peer("c", -1)]);
        assert_eq!(barriers.seen(&[], 2, &later, at(1002)), [(1, Outcome::Settled)]);
        assert_eq!(barriers.question(), None);
    }

    #[test]
    fn whoever_has_left_is_not_waited_for() {
        let mut barriers = begun();
        barriers.seen(&[R], 2, &seen(vec![peer("a", 7), peer("b", 6)]), at(1001));
        assert_eq!(barriers.seen(&[], 2, &seen(vec![peer("a", 7)]), at(1002)), [(1, Outcome::Settled)]);
    }

    #[test]
    fn what_the_database_has_lost_is_never_settled() {
        for chains in [BTreeMap::new(), BTreeMap::from([(R, vec![2])])] {
            let lost = Seen { chains, ..seen(vec![peer("a", 9)]) };
            assert_eq!(begun().seen(&[R], 2, &lost, at(1001)), [(1, Outcome::Lost)]);
        }
    }

    #[test]
    fn a_question_that_was_sent_before_the_commit_says_nothing_about_it() {
        assert_eq!(begun().seen(&[], 1, &seen(vec![]), at(1001)), []);
    }

    #[test]
    fn what_cannot_be_read_is_not_settled_by_time() {
        let mut barriers = begun();
        assert_eq!(barriers.time_out(at(1000 + WAIT - 1)), []);
        assert_eq!(barriers.time_out(at(1000 + WAIT)), [(1, Outcome::Unreadable)]);
    }

    #[test]
    fn the_silent_are_waited_for_until_their_lease_is_over_then_shut_out_and_removed() {
        let mut barriers = begun();
        barriers.seen(&[R], 2, &seen(vec![peer("a", 7), peer("b", 6)]), at(1001));
        assert_eq!(barriers.time_out(at(1000 + WAIT - 1)), []);
        assert_eq!(barriers.deeds(at(1000 + WAIT - 1)), []);
        assert_eq!(barriers.time_out(at(1000 + WAIT)), [(1, Outcome::Settled)]);
        let ids = vec!["b".to_owned()];
        assert_eq!(barriers.deeds(at(1000 + WAIT)), [Deed::Fence { ids: ids.clone(), below: R }]);
        // Until the row is gone, the next ones wait for it too.
        barriers.begin(2, 8, None, at(20_000));
        barriers.fenced(&ids, at(20_000));
        let fencing = Peer { is_fencing: true, ..peer("b", 9) };
        assert_eq!(barriers.seen(&[], 3, &seen(vec![peer("a", 8), fencing.clone()]), at(20_001)), []);
        assert_eq!(barriers.deeds(at(20_000 + WAIT - 1)), []);
        assert_eq!(barriers.deeds(at(20_000 + WAIT)), [Deed::Remove(ids.clone())]);
        barriers.removed(&ids);
        assert_eq!(barriers.seen(&[], 3, &seen(vec![peer("a", 8)]), at(32_251)), [(2, Outcome::Settled)]);
    }

    #[test]
    fn one_that_confirmed_just_before_it_was_to_be_shut_out_is_not_removed() {
        let mut barriers = begun();
        barriers.seen(&[R], 2, &seen(vec![peer("a", 7), peer("b", 6)]), at(1001));
        barriers.time_out(at(1000 + WAIT));
        barriers.fenced(&["b".to_owned()], at(20_000));
        // This process stops here for long: it has not seen what became of the row.
        assert_eq!(barriers.deeds(at(90_000)), []);
        assert_eq!(barriers.question(), Some(vec![]), "it looks first");
        barriers.seen(&[], 2, &seen(vec![peer("a", 7), peer("b", 7)]), at(90_000));
        assert_eq!((barriers.deeds(at(190_000)), barriers.question()), (vec![], None));
    }

    #[test]
    fn a_longer_lease_of_anyone_is_waited_for() {
        let mut barriers = begun();
        let slow = Peer { lease: Duration::from_secs(20), ..peer("b", 6) };
        barriers.seen(&[R], 2, &seen(vec![slow]), at(1001));
        assert_eq!(barriers.time_out(at(1000 + WAIT)), []);
        assert_eq!(barriers.time_out(at(1000 + 24_250)), [(1, Outcome::Settled)]);
    }

    #[test]
    fn rows_that_others_shut_out_are_removed_too() {
        let mut barriers = Barriers::new(Timing::default());
        barriers.begin(1, R, None, at(0));
        let fencing = Peer { is_fencing: true, ..peer("b", 6) };
        barriers.seen(&[], 2, &seen(vec![fencing]), at(500));
        barriers.time_out(at(WAIT));
        assert_eq!(barriers.deeds(at(500 + WAIT - 1)), []);
        assert_eq!(barriers.deeds(at(500 + WAIT)), [Deed::Remove(vec!["b".to_owned()])]);
    }
}
