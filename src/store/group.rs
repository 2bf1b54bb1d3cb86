//! Mutations that wait together share one transaction: what a commit costs, they pay together. The first that comes
//! opens it and locks the head of the ledger; each has its turn alone, in the order of arrival; when nobody waits, or the
//! group is full, one COMMIT makes them all durable, and only then is any of them answered. Meanwhile the next group may
//! form: it waits for the head in the database.
//!
//! A group is led by a task of its own, which no caller can cancel. What a mutation writes in its turn is in a savepoint:
//! if it fails, or is dropped, the others are spared. Nobody waits for anything but the database while a group is open,
//! and every wait ends.

mod ahead;
mod cache;
mod delayed;
mod lead;
mod lost;
mod queue;
mod record;

pub use ahead::Wants;
pub(super) use cache::Cache;
pub(super) use queue::Groups;

use super::counts::Counts;
use super::draft::{Committed, Entry, Replay};
use super::mail::MailMark;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::error::{Error, Result};
use delayed::Delayed;
use parking_lot::Mutex;
use record::Record;
use sea_orm::DatabaseTransaction;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// The transaction, what was read in it, and what of it is not written yet.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) transaction: DatabaseTransaction,
    pub(super) cache: Mutex<Cache>,
    pub(super) delayed: Mutex<Delayed>,
    pub(super) record: Mutex<Record>,
    pub(super) counts: Mutex<Counts>,
}

/// A mutation's turn. Dropped, what it wrote is taken back and the next has its turn.
#[derive(Debug)]
pub(super) struct Turn {
    // Let go of before the leader is told that the turn is over: fields are dropped in this order.
    pub(super) work: Arc<Work>,
    pub(super) head: Committed,
    pub(super) back: Back,
}

impl Turn {
    /// Has what waits to be written written: it is to be read, or something that must not be written before it. The leader
    /// does it, whom nobody can cancel.
    pub(super) async fn settle(&self) -> Result<()> {
        if self.work.delayed.lock().is_empty() {
            return Ok(());
        }
        let (done, settled) = oneshot::channel();
        if let Some(leader) = &self.back.0 {
            let _gone = leader.send(Message::Settle(done));
        }
        settled.await.map_err(|_| Error::unavailable("the database failed those who share the commit"))
    }
}

/// Tells the leader how a turn ended; that it was dropped, if nothing else.
#[derive(Debug)]
pub(super) struct Back(Option<mpsc::UnboundedSender<Message>>);

impl Back {
    pub(super) fn tell(mut self, ending: Ending) {
        if let Some(leader) = self.0.take() {
            // A leader that is gone has dropped the transaction, and says so by dropping the answer.
            let _gone = leader.send(Message::Ended(ending));
        }
    }
}

impl Drop for Back {
    fn drop(&mut self) {
        if let Some(leader) = self.0.take() {
            let _gone = leader.send(Message::Ended(Ending::Dropped));
        }
    }
}

/// Where a mutation hears what became of it.
pub(super) type Answer = oneshot::Sender<Result<Committed>>;

/// What a mutation tells its leader.
#[derive(Debug)]
pub(super) enum Message {
    Settle(oneshot::Sender<()>),
    Ended(Ending),
}

/// How a turn ended.
#[derive(Debug)]
pub(super) enum Ending {
    Dropped,
    /// Nothing was left to do: true only once what the group wrote before is durable.
    Unchanged(Answer),
    Commit(Box<Wish>),
}

/// What a mutation wants to be committed.
#[derive(Debug)]
pub(super) struct Wish {
    pub(super) changes: Vec<Change>,
    pub(super) entry: Entry,
    pub(super) replay: Option<Replay>,
    pub(super) now: Time,
    pub(super) mail: MailMark,
    pub(super) answer: Answer,
}

#[cfg(test)]
mod tests;
