//! A replica as one that polls.

use super::{Head, Timing};
use crate::domain::clock::Moment;

/// What one poll said, all of it read by one statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Polled {
    /// The head of the ledger.
    pub head: Head,
    /// Below this revision the log was pruned.
    pub floor: i64,
    /// Which ledger it is; an operator changes it by adopting one that is not the continuation of what was followed.
    pub cluster_id: String,
    /// Whether the own row is there and not fencing.
    pub is_member: bool,
    /// What the own row says to be confirmed.
    pub confirmed: i64,
    /// The chain of the event at the revision that was asked about: that which is applied. None if there is no such event.
    pub chain_at_applied: Option<Vec<u8>>,
}

/// What to do after a poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Stop answering, delete the own row, and join again under a new id; the data may be kept (R2, V6).
    Rejoin,
    /// Stop answering and load everything anew: another ledger was adopted.
    Reload,
    /// Load everything anew: what is missing was pruned. What was applied is part of this ledger's history.
    CatchUpByLoading,
    /// Stop answering until an operator adopts it: this ledger is not the continuation of what was followed.
    Refuse(String),
    /// Apply what came after `from` at least up to the polled head, then [`Member::valid_until`] says how long.
    Apply,
    /// Nothing is missing: [`Member::valid_until`] says how long it may answer.
    Renew,
}

/// This replica as one that polls. It is joined: its row was committed before anything was loaded (R1).
#[derive(Clone, Debug)]
pub struct Member {
    timing: Timing,
    cluster_id: String,
    applied: Head,
    refused: Option<String>,
}

impl Member {
    /// One that has loaded everything at `applied` from the ledger `cluster_id`, after its row was committed.
    pub fn new(timing: Timing, cluster_id: String, applied: Head) -> Self {
        Self { timing, cluster_id, applied, refused: None }
    }

    /// What is applied.
    pub fn applied(&self) -> &Head {
        &self.applied
    }

    /// Why the ledger is refused, if it is.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// What to do with the answer of a poll. Whether this is the ledger that was followed comes first: a restored backup
    /// lacks the own row too, and joining it again must not make it ours.
    pub fn polled(&mut self, polled: &Polled) -> Next {
        if polled.cluster_id != self.cluster_id {
            return Next::Reload;
        }
        if let Some(reason) = self.refusal(polled) {
            return Next::Refuse(reason);
        }
        if !polled.is_member {
            return Next::Rejoin;
        }
        if polled.floor > self.applied.revision {
            return Next::CatchUpByLoading;
        }
        if polled.head == self.applied { Next::Renew } else { Next::Apply }
    }

    /// Why the ledger is not followed, nor loaded in place of what was followed, before an operator has adopted it.
    pub fn refusal(&mut self, polled: &Polled) -> Option<String> {
        if polled.cluster_id != self.cluster_id {
            return None;
        }
        // What was refused once stays refused, even if the ledger has grown past what is applied since then.
        self.refused = self.contradiction(polled).or(self.refused.take());
        self.refused.clone()
    }

    /// Why the ledger cannot be the continuation of what is applied.
    fn contradiction(&self, polled: &Polled) -> Option<String> {
        let applied = &self.applied;
        if polled.head.revision < applied.revision {
            return Some(format!(
                "the ledger went back from revision {} to {}: was an older backup restored, or did a fail-over lose commits?",
                applied.revision, polled.head.revision
            ));
        }
        let is_known = applied.revision == 0 || polled.chain_at_applied.as_ref() == Some(&applied.chain);
        let is_head = polled.head.revision == applied.revision;
        if is_known && (!is_head || polled.head.chain == applied.chain) {
            return None;
        }
        if polled.chain_at_applied.is_none() && !is_head {
            return Some(format!(
                "the event of revision {}, up to which was followed, is not there: if retention has removed it, for this \
                 replica was away for longer than that, start it anew; else the ledger has another history",
                applied.revision
            ));
        }
        Some(format!(
            "the ledger has another history: its chain at revision {} is not the one that was followed",
            applied.revision
        ))
    }

    /// What was read of the log does not fit together, or does not follow what is applied.
    pub fn refuse(&mut self, reason: String) {
        self.refused = Some(reason);
    }

    /// Notes that everything up to `head` is in the index. Data first: the lease follows by [`Member::valid_until`].
    pub fn applied_up_to(&mut self, head: Head) {
        self.applied = head;
    }

    /// Until when this replica may answer, once everything up to `polled.head` is published: D after the poll was *sent*,
    /// since it was true at no later time for sure (R2). None if something is missing still.
    pub fn valid_until(&self, sent: Moment, polled: &Polled) -> Option<Moment> {
        let is_same = self.applied.revision != polled.head.revision || self.applied.chain == polled.head.chain;
        let is_current = self.refused.is_none() && self.applied.revision >= polled.head.revision;
        (is_current && is_same).then(|| sent.after(self.timing.lease()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(revision: i64, chain: u8) -> Head {
        Head { revision, chain: vec![chain] }
    }

    fn polled(revision: i64, chain: u8) -> Polled {
        Polled {
            head: head(revision, chain),
            floor: 0,
            cluster_id: "a".to_owned(),
            is_member: true,
            confirmed: 0,
            chain_at_applied: Some(vec![5]),
        }
    }

    fn member() -> Member {
        Member::new(Timing::default(), "a".to_owned(), head(5, 5))
    }

    #[test]
    fn a_poll_that_fits_renews_and_one_that_is_ahead_applies_first() {
        let mut member = member();
        assert_eq!(member.polled(&polled(5, 5)), Next::Renew);
        let ahead = polled(7, 7);
        assert_eq!(member.polled(&ahead), Next::Apply);
        let sent = Moment::from_nanos(1_000);
        assert_eq!(member.valid_until(sent, &ahead), None, "nothing is renewed before it is applied");
        member.applied_up_to(head(7, 7));
        assert_eq!(member.valid_until(sent, &ahead), Some(sent.after(Timing::DEFAULT_LEASE)));
    }

    #[test]
    fn what_was_followed_is_not_loaded_back() {
        let known = Polled { chain_at_applied: Some(vec![5]), ..polled(9, 9) };
        assert_eq!(member().refusal(&known), None);
        assert!(member().refusal(&polled(4, 4)).is_some_and(|reason| reason.contains("went back")));
        let adopted = Polled { cluster_id: "b".to_owned(), ..polled(4, 4) };
        assert_eq!(member().refusal(&adopted), None, "an operator has said so");
        let mut member = member();
        assert!(member.refusal(&polled(4, 4)).is_some() && member.refusal(&known).is_some(), "not by waiting");
    }

    #[test]
    fn whoever_was_shut_out_joins_again() {
        assert_eq!(member().polled(&Polled { is_member: false, ..polled(9, 9) }), Next::Rejoin);
    }

    #[test]
    fn a_pruned_log_is_replaced_by_loading_if_it_is_the_same_history() {
        let pruned = Polled { floor: 6, ..polled(9, 9) };
        assert_eq!(member().polled(&pruned), Next::CatchUpByLoading);
        let other = Polled { chain_at_applied: Some(vec![4]), ..pruned };
        assert!(matches!(member().polled(&other), Next::Refuse(_)));
    }

    #[test]
    fn another_history_is_refused_for_good_and_taken_only_when_it_is_adopted() {
        for other in [polled(4, 4), polled(5, 6), Polled { chain_at_applied: Some(vec![6]), ..polled(5, 6) }] {
            // Without the own row too, as in a backup from before it.
            for is_member in [true, false] {
                let mut member = member();
                assert!(matches!(member.polled(&Polled { is_member, ..other.clone() }), Next::Refuse(_)));
                assert!(matches!(member.polled(&polled(5, 5)), Next::Refuse(_)), "it does not come back by itself");
                assert_eq!(member.valid_until(Moment::from_nanos(1), &polled(5, 5)), None);
                assert_eq!(member.polled(&Polled { cluster_id: "b".to_owned(), ..other.clone() }), Next::Reload);
            }
        }
    }
}
