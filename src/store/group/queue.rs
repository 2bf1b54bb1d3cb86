//! Where mutations wait for their turn, and whoever leads the next group.

use super::Turn;
use super::lead::lead;
use crate::error::{Error, Result};
use crate::store::open::Store;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a mutation waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where somebody waits.
pub(super) type Place = oneshot::Sender<Result<Turn>>;

/// Where mutations wait for their turn.
#[derive(Debug, Default)]
pub(in crate::store) struct Groups {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Place>,
    /// Whether somebody takes from the queue.
    is_led: bool,
}

impl Store {
    /// Waits for the turn to write.
    pub(in crate::store) async fn turn(&self) -> Result<Turn> {
        let (place, turn) = oneshot::channel();
        let is_first = {
            let mut queue = self.groups.queue.lock();
            queue.waiting.push_back(place);
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
        std::mem::take(&mut queue.waiting)
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
    /// The next who waits; if there is none, this group takes in no more.
    pub(super) fn next(&mut self, is_full: bool) -> Option<Place> {
        if !is_full {
            let mut queue = self.store.groups.queue.lock();
            // Those who have gone away must not cost those behind them a transaction each.
            while let Some(next) = queue.waiting.pop_front() {
                if !next.is_closed() {
                    return Some(next);
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
        store.groups.queue.lock().waiting.extend([gone, here]);
        let mut lead = Lead { store, has_begun: true, is_over: false };
        assert!(lead.next(false).is_some_and(|next| !next.is_closed()));
        assert!(lead.next(false).is_none());
    }
}
