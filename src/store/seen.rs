//! What a mutation has read, as it was: only so can be told whether it takes something away.

use super::draft::Draft;
use crate::domain::change::Change;
use crate::domain::narrow::{Window, may_narrow};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The things that were read, by their full names.
#[derive(Default)]
pub(super) struct Seen {
    things: Mutex<HashMap<String, Change>>,
    is_promised: AtomicBool,
}

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("count", &self.things.lock().len()).finish()
    }
}

impl Seen {
    /// Remembers what was read; nothing under the lock changes it before the commit.
    pub(super) fn note<T: Clone + Into<Change>>(&self, found: Option<T>) -> Option<T> {
        if let Some(thing) = &found {
            let change: Change = thing.clone().into();
            self.things.lock().entry(change.entity()).or_insert(change);
        }
        found
    }
}

impl Draft {
    /// Has the mutation wait for every replica, whatever it changes: it says what somebody may do from now on, and an
    /// earlier mutation to the same effect may be committed and not yet in force everywhere.
    pub fn promise(&self) {
        self.seen.is_promised.store(true, Ordering::Relaxed);
    }

    /// Whether some Check could be ALLOWED before these changes and DENIED after them: then the mutation waits for every
    /// replica. `bound` is after how long a change is in force everywhere, with a margin for clocks that differ. What was
    /// not read under the lock counts as taken away, and what was promised by [`Draft::promise`] is.
    pub fn narrows(&self, changes: &[Change], bound: Duration) -> bool {
        if self.seen.is_promised.load(Ordering::Relaxed) {
            return true;
        }
        let window = Window { now: self.now(), bound };
        let seen = self.seen.things.lock();
        changes.iter().any(|change| may_narrow(seen.get(&change.entity()), change, window))
    }
}
