//! What a mutation has read, as it was: only so can be told whether it takes something away.

use super::draft::Draft;
use crate::domain::change::Change;
use crate::domain::narrow::{Window, may_narrow};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

/// The things that were read, by their full names.
#[derive(Default)]
pub(super) struct Seen(Mutex<HashMap<String, Change>>);

impl fmt::Debug for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seen").field("count", &self.0.lock().len()).finish()
    }
}

impl Seen {
    /// Remembers what was read; nothing under the lock changes it before the commit.
    pub(super) fn note<T: Clone + Into<Change>>(&self, found: Option<T>) -> Option<T> {
        if let Some(thing) = &found {
            let change: Change = thing.clone().into();
            self.0.lock().entry(change.entity()).or_insert(change);
        }
        found
    }
}

impl Draft {
    /// Whether some Check could be ALLOWED before these changes and DENIED after them: then the mutation waits for every
    /// replica. `bound` is after how long a change is in force everywhere, with a margin for clocks that differ. What was
    /// not read under the lock counts as taken away.
    pub fn narrows(&self, changes: &[Change], bound: Duration) -> bool {
        let window = Window { now: self.now(), bound };
        let seen = self.seen.0.lock();
        changes.iter().any(|change| may_narrow(seen.get(&change.entity()), change, window))
    }
}
