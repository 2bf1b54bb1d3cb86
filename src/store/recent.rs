//! What this process has committed lately, for its own follower, which then need not have the database send it back.
//!
//! INVARIANT (no gap): nothing here counts by itself. It is what the log says only where it leads, link by link, from what
//! the follower has applied to the chain that the database gives as the head's, which is of no other history, and where the
//! database has an event for each link.

use super::draft::Committed;
use super::log::Head;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// How many revisions are kept, and how many bytes of changes: of what is beyond it the follower reads the log.
pub(super) const MAX_LINKS: usize = 1024;
const MAX_BYTES: usize = 1 << 20;

/// A revision that this process has committed.
#[derive(Debug)]
pub(super) struct Link {
    /// The chain before it.
    pub(super) before: [u8; 32],
    /// Where it leads.
    pub(super) committed: Committed,
    /// The stored form of what it changed.
    pub(super) payloads: Vec<String>,
}

impl Link {
    fn bytes(&self) -> usize {
        self.payloads.iter().map(String::len).sum()
    }
}

/// The latest of them, without a gap.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Links>);

#[derive(Debug, Default)]
struct Links {
    links: VecDeque<Link>,
    bytes: usize,
}

impl Links {
    fn forget_first(&mut self) {
        if let Some(first) = self.links.pop_front() {
            self.bytes = self.bytes.saturating_sub(first.bytes());
        }
    }
}

impl Recent {
    /// Keeps what was committed.
    pub(super) fn add(&self, links: Vec<Link>) {
        let mut kept = self.0.lock();
        for link in links {
            let follows = kept.links.back().is_none_or(|last| last.committed.chain == link.before);
            if !follows {
                *kept = Links::default();
            }
            kept.bytes = kept.bytes.saturating_add(link.bytes());
            kept.links.push_back(link);
            while kept.links.len() > MAX_LINKS || kept.bytes > MAX_BYTES {
                kept.forget_first();
            }
        }
    }

    /// What leads from `from` to `to`, which is the head in the database, if this process has committed all of it and the
    /// database has so many `events` after `from`. It is forgotten here, and what was before it too.
    pub(super) fn between(&self, from: &Head, to: &Head, events: i64) -> Option<Vec<(Head, Vec<String>)>> {
        let mut kept = self.0.lock();
        while kept.links.front().is_some_and(|first| first.committed.revision <= from.revision) {
            kept.forget_first();
        }
        let count = usize::try_from(to.revision.checked_sub(from.revision)?).ok()?;
        let (first, last) = (kept.links.front()?, kept.links.get(count.checked_sub(1)?)?);
        let leads =
            first.before == *from.chain && last.committed.revision == to.revision && last.committed.chain == *to.chain;
        if !leads || to.revision.saturating_sub(from.revision) != events {
            return None;
        }
        let mut links = Vec::with_capacity(count);
        for link in kept.links.drain(..count) {
            let Committed { revision, chain } = link.committed;
            links.push((Head { revision, chain: chain.to_vec() }, link.payloads));
        }
        kept.bytes = kept.links.iter().map(Link::bytes).sum();
        Some(links)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(number: i64) -> [u8; 32] {
        [u8::try_from(number).unwrap(); 32]
    }

    fn link(number: i64) -> Link {
        let committed = Committed { revision: number, chain: chain(number) };
        Link { before: chain(number - 1), committed, payloads: vec![format!("{number}")] }
    }

    fn head(number: i64) -> Head {
        Head { revision: number, chain: chain(number).to_vec() }
    }

    fn taken(recent: &Recent, from: &Head, to: &Head) -> Option<Vec<String>> {
        let events = to.revision - from.revision;
        assert!(recent.between(from, to, events - 1).is_none(), "an event has vanished");
        let links = recent.between(from, to, events)?;
        assert_eq!(links.last().map(|(head, _)| head), Some(to));
        Some(links.into_iter().flat_map(|(_, payloads)| payloads).collect())
    }

    #[test]
    fn only_what_leads_from_what_is_applied_to_the_head_is_given_and_but_once() {
        let recent = Recent::default();
        recent.add((3..8).map(link).collect());
        assert_eq!(taken(&recent, &head(1), &head(5)), None, "revision 2 is another's");
        assert_eq!(taken(&recent, &head(2), &Head { chain: chain(9).to_vec(), ..head(5) }), None, "another history");
        assert_eq!(taken(&recent, &Head { chain: chain(9).to_vec(), ..head(2) }, &head(5)), None, "another past");
        assert_eq!(taken(&recent, &head(2), &head(9)), None, "more was committed by others");
        assert_eq!(taken(&recent, &head(5), &head(5)), None, "there is nothing");
        assert_eq!(taken(&recent, &head(5), &head(4)), None, "it went back");
    }

    #[test]
    fn what_was_applied_is_forgotten() {
        let recent = Recent::default();
        recent.add((3..8).map(link).collect());
        assert_eq!(taken(&recent, &head(2), &head(5)), Some(vec!["3".to_owned(), "4".to_owned(), "5".to_owned()]));
        assert_eq!(taken(&recent, &head(2), &head(5)), None);
        assert_eq!(taken(&recent, &head(6), &head(7)), Some(vec!["7".to_owned()]));
        assert!(recent.0.lock().links.is_empty());
        assert_eq!(recent.0.lock().bytes, 0);
    }

    #[test]
    fn what_another_process_committed_in_between_ends_what_is_kept() {
        let recent = Recent::default();
        recent.add(vec![link(3)]);
        recent.add(vec![link(5)]);
        assert_eq!(taken(&recent, &head(2), &head(5)), None);
        assert_eq!(taken(&recent, &head(4), &head(5)), Some(vec!["5".to_owned()]));
    }

    #[test]
    fn it_is_bounded() {
        let recent = Recent::default();
        recent
            .add((1..100).map(|number| Link { payloads: vec!["x".repeat(MAX_BYTES / 10)], ..link(number) }).collect());
        assert!(recent.0.lock().bytes <= MAX_BYTES && recent.0.lock().links.len() == 10);
        recent.add(vec![Link { payloads: vec!["x".repeat(MAX_BYTES + 1)], ..link(100) }]);
        assert!(recent.0.lock().links.is_empty() && recent.0.lock().bytes == 0);
    }
}
