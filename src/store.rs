//! THE ROWS: the only room that knows SeaORM. A mutation is a [`Draft`]: it locks the head of the ledger, re-reads what
//! it rests on, and commits rows, event and log entry at the next revision, in one transaction with those who come at the
//! same time (`store/group.rs`). Nothing else writes,
//! but for how keys are used (`store/usage.rs`) and the end of a mail in `mail_queue`, which are no part of the ledger; and
//! what is deleted of the ledger is what it does not need any more (`Store::prune`, `Store::delete_expired_events`). Nothing
//! here decides; `domain` does. Counts of tokens that have expired are deleted too: they count nothing (`Store::sweep_counts`).

#![expect(clippy::disallowed_types, reason = "this is the room that speaks to the database")]

mod chain;
mod counts;
mod draft;
mod entity;
mod failure;
mod group;
mod hints;
mod import;
mod log;
mod mail;
mod many;
mod migration;
mod open;
mod passwords;
mod pools;
mod read;
mod readmit;
mod recent;
mod replicas;
mod rows;
mod seen;
mod signing;
mod snapshot;
mod usage;
mod write;

pub use draft::{Committed, Draft, Entry, Replay};
pub use group::Wants;
pub use hints::Hints;
pub use log::{Audit, Audited, Batch, Compared, EXPIRE, Fault, Head};
pub use mail::QueuedMail;
pub use migration::Migrated;
pub use open::{Engine, Store};
pub use passwords::StoredPassword;
pub use pools::Pool;
pub use read::{KeyQuery, Page};
pub use readmit::RowDirectory;
pub use replicas::{Poll, ReplicaRow, Roll};
pub use signing::Sealed;
pub use usage::UsageLog;

#[cfg(test)]
mod tests;
