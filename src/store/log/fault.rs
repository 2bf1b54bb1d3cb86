//! What can be wrong with a ledger, and how that reads.

use std::fmt;

/// What is wrong with a ledger, in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Events are not there.
    Missing {
        /// The first of them.
        first: i64,
        /// The last of them.
        last: i64,
    },
    /// An event is not what was written.
    Edited(i64),
    /// What the log says of a revision is not what was written.
    Changes(i64),
    /// The head names another chain than the event of its revision.
    Head(i64),
    /// There are events after the head.
    Beyond {
        /// Where the head is.
        head: i64,
        /// The last event.
        last: i64,
    },
    /// The ledger does not reach what was exported.
    CutOff {
        /// Where it ends.
        last: i64,
        /// Where it had been.
        exported: i64,
    },
    /// A revision is another than the one that was exported.
    Rewritten(i64),
    /// The first events are gone, and no event says that retention has removed them.
    Unexplained(i64),
    /// A row is not what the log says of it.
    Row {
        /// The thing.
        name: String,
        /// The revision that the row says it has.
        revision: i64,
    },
    /// A row has a revision that did not change it.
    RowUnlogged {
        /// The thing.
        name: String,
        /// The revision that the row says it has.
        revision: i64,
    },
    /// A row is an older one than the last that was written.
    RowBehind {
        /// The thing.
        name: String,
        /// The revision that the row says it has.
        row: i64,
        /// A later one that has changed it.
        logged: i64,
    },
    /// A row is not there.
    RowGone {
        /// The thing.
        name: String,
        /// The revision that has changed it last.
        revision: i64,
    },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { first, last } if first == last => {
                write!(f, "revision {first} is missing: its event was deleted")
            }
            Self::Missing { first, last } => {
                write!(f, "revisions {first} to {last} are missing: their events were deleted")
            }
            Self::Edited(revision) => {
                write!(
                    f,
                    "revision {revision} was edited: its event is not what was written, or does not follow the one before"
                )
            }
            Self::Changes(revision) => {
                write!(
                    f,
                    "revision {revision} was edited: its changes in the log are not those that its event was written with"
                )
            }
            Self::Head(revision) => {
                write!(
                    f,
                    "the head of the ledger was edited: its chain is not that of revision {revision}, where it is"
                )
            }
            Self::Beyond { head, last } => write!(
                f,
                "the head of the ledger is at revision {head}, and there are events up to {last}: the head was set back, or \
                 events were added"
            ),
            Self::CutOff { last, exported } => write!(
                f,
                "the ledger ends at revision {last}, and had reached {exported} when its head was exported: its end was cut \
                 off, or this is an older backup"
            ),
            Self::Rewritten(revision) => write!(
                f,
                "revision {revision} is not the one that was exported: it, or something before it, was written anew"
            ),
            Self::Unexplained(last) => write!(
                f,
                "revisions 1 to {last} are missing, and no event says that retention has removed them: they were deleted"
            ),
            Self::Row { name, revision } => {
                write!(f, "the row of {name} was edited: it is not what revision {revision} has made of it")
            }
            Self::RowUnlogged { name, revision } => {
                write!(
                    f,
                    "the row of {name} was added or edited: revision {revision}, which it names, has not changed it"
                )
            }
            Self::RowBehind { name, row, logged } => {
                write!(f, "the row of {name} was set back to revision {row}: revision {logged} has changed it since")
            }
            Self::RowGone { name, revision } => {
                write!(f, "the row of {name} was deleted: revision {revision} has changed it, and it is not there")
            }
        }
    }
}
