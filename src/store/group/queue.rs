//! Where mutations wait for their turn, and whoever leads the next group.

use super::cache::Kept;
use super::lead::lead;
use super::{Turn, Wants};
use crate::error::{Error, Result};
use crate::store::open::Store;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

/// How long a mutation waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// How many mutations share a commit at most.
const MEMBERS: usize = 128;

/// Fewer who write at the same time wait for nobody.
const CROWD: usize = 8;

/// How long a group of many waits for more who are on their way, and how often it looks whether any come.
const GATHERING: Duration = Duration::from_millis(1);
const GATHERINGS: usize = 4;

/// Where somebody waits.
pub(super) type Place = oneshot::Sender<Result<Turn>>;

/// Where mutations wait for their turn.
#[derive(Debug, Default)]
pub(in crate::store) struct Groups {
    queue: Mutex<Queue>,
    pub(super) kept: Kept,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Whether somebody takes from the queue.
    is_led: bool,
    /// About how many write at the same time.
    crowd: usize,
}

/// One who waits.
#[derive(Debug)]
struct Waiting {
    place: Place,
    wants: Wants,
    /// Whether the group that is open has read what it wants.
    is_read: bool,
}

impl Store {
    /// Waits for the turn to write; meanwhile may be read what it `wants`.
    pub(in crate::store) async fn turn(&self, wants: Wants) -> Result<Turn> {
        let (place, turn) = oneshot::channel();
        let is_first = {
            let mut queue = self.groups.queue.lock();
            queue.waiting.push_back(Waiting { place, wants, is_read: false });
            !std::mem::replace(&mut queue.is_led, true)
        };
        if is_first {
            start(self.clone());
        }
        match timeout(PATIENCE, turn).await {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) => Err(Error::unavailable("the server is stopping")),
            Err(_) => Err(Error::unavailable("too many mutations wait, or the database is slow: no turn in time")),
        }
    }
}

/// Starts the next group.
fn start(store: Store) {
    match tokio::runtime::Handle::try_current() {
        Ok(runtime) => drop(runtime.spawn(lead(Lead { store, has_begun: false, is_over: false }))),
        Err(_) => drop(store.groups.disband()),
    }
}

impl Groups {
    /// Ends the leading: all who wait.
    pub(super) fn disband(&self) -> VecDeque<Place> {
        let mut queue = self.queue.lock();
        queue.is_led = false;
        std::mem::take(&mut queue.waiting).into_iter().map(|waiting| waiting.place).collect()
    }
}

/// Whoever leads a group. Whatever happens to it, the next group is led.
#[derive(Debug)]
pub(super) struct Lead {
    pub(super) store: Store,
    /// A runtime that ends drops what it is given: only one that has run may start another.
    pub(super) has_begun: bool,
    is_over: bool,
}

impl Lead {
    /// Waits, before anything is locked, for those who come at the same time as the first, if many write: they have been
    /// answered together, and come again together. What they want is then read for all of them at once.
    pub(super) async fn gather(&self) {
        let count = || {
            let queue = self.store.groups.queue.lock();
            (queue.waiting.len(), queue.crowd)
        };
        let (mut before, crowd) = count();
        if crowd < CROWD {
            return;
        }
        for _ in 0..GATHERINGS {
            if before >= self.share() {
                return;
            }
            sleep(GATHERING).await;
            let (now, _) = count();
            if now == before {
                return;
            }
            before = now;
        }
    }

    /// How many share this group at most: of many who write at the same time one half, so that these read and write while the
    /// others are answered and come again.
    pub(super) fn share(&self) -> usize {
        let crowd = self.store.groups.queue.lock().crowd;
        if crowd < CROWD { MEMBERS } else { crowd.div_ceil(2).min(MEMBERS) }
    }

    /// Notes how many have shared this group. Those who were just answered do not count, and come again: of a larger number
    /// something remains.
    pub(super) fn note_size(&self, size: usize) {
        let mut queue = self.store.groups.queue.lock();
        let (before, now) = (queue.crowd, size.saturating_add(queue.waiting.len()));
        queue.crowd = now.max(before.saturating_sub(before.div_ceil(CROWD)));
    }

    /// What the first `room` of those who wait want to be read, if the very first has not been read for.
    pub(super) fn unread(&self, room: usize) -> Vec<Wants> {
        let mut queue = self.store.groups.queue.lock();
        if queue.waiting.front().is_none_or(|first| first.is_read) {
            return Vec::new();
        }
        let unread = queue.waiting.iter_mut().take(room).filter(|waiting| !waiting.is_read);
        let wants = unread.map(|waiting| {
            waiting.is_read = true;
            waiting.wants.clone()
        });
        wants.collect()
    }

    /// The next who waits; if there is none, this group takes in no more.
    pub(super) fn next(&mut self, is_full: bool) -> Option<Place> {
        if !is_full {
            let mut queue = self.store.groups.queue.lock();
            // Those who have gone away must not cost those behind them a transaction each.
            while let Some(next) = queue.waiting.pop_front() {
                if !next.place.is_closed() {
                    return Some(next.place);
                }
            }
            queue.is_led = false;
            self.is_over = true;
            return None;
        }
        self.hand_over();
        None
    }

    /// There can be no group now: all who wait.
    pub(super) fn give_up(&mut self) -> VecDeque<Place> {
        self.is_over = true;
        self.store.groups.disband()
    }

    /// Takes in no more. Those who wait form the next group.
    pub(super) fn hand_over(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        let has_more = {
            let mut queue = self.store.groups.queue.lock();
            for waiting in &mut queue.waiting {
                waiting.is_read = false;
            }
            queue.is_led = !queue.waiting.is_empty();
            queue.is_led
        };
        if has_more {
            start(self.store.clone());
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.has_begun {
            self.hand_over();
        } else {
            drop(self.give_up());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[tokio::test]
    async fn whoever_has_gone_away_has_no_turn() {
        let folder = tempfile::TempDir::new().unwrap();
        let url = format!("sqlite:{}", folder.path().join("keyward.db").display());
        let store = Store::open(&url, Clock::default()).await.unwrap();
        let ((gone, _), (here, _waits)) = (oneshot::channel(), oneshot::channel());
        let waiting = [gone, here].map(|place| Waiting { place, wants: Wants::default(), is_read: false });
        store.groups.queue.lock().waiting.extend(waiting);
        let mut lead = Lead { store, has_begun: true, is_over: false };
        assert!(lead.next(false).is_some_and(|next| !next.is_closed()));
        assert!(lead.next(false).is_none());
    }
}
