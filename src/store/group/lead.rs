//! Leading a group from BEGIN to the answers.

use super::lost::Outcome;
use super::queue::{Lead, Place};
use super::{Answer, Back, Ending, Message, Turn, Wish, Work};
use crate::error::{Error, Result};
use crate::store::draft::{Committed, SHARD};
use crate::store::entity::ledger_head;
use crate::store::failure::sort;
use crate::store::mail::MailMark;
use crate::store::open::Store;
use parking_lot::Mutex;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, EntityTrait, QuerySelect, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a mutation may have the transaction: a quarter of the usual lease.
const TURN: Duration = Duration::from_millis(2500);

/// How long one step of the leader may take.
const STEP: Duration = Duration::from_secs(2);

/// How long opening a group may take: getting a connection, and waiting for whoever has the head.
pub(super) const OPENING: Duration = Duration::from_secs(5);

/// A group takes in no more after this: far below a quarter of any lease, for it keeps other replicas from writing.
const LIFE: Duration = Duration::from_millis(100);

/// How many changes share a commit at most, if there is more than one mutation.
const CHANGES: usize = 2000;

/// Somebody who is answered once the group is committed.
#[derive(Debug)]
struct Member {
    committed: Committed,
    mail: Option<MailMark>,
    answer: Answer,
}

/// Leads one group from BEGIN to the answers.
pub(super) async fn lead(mut lead: Lead) {
    lead.has_begun = true;
    let store = lead.store.clone();
    lead.gather().await;
    let opened = timeout(OPENING, Group::open(&store)).await;
    let mut group = match opened.unwrap_or_else(|_| Err(Error::unavailable("the head of the ledger was not free"))) {
        Ok(group) => group,
        Err(error) => {
            for place in lead.give_up() {
                let _gone = place.send(Err(same(&error)));
            }
            return;
        }
    };
    let failed = loop {
        if let Err(error) = group.read_ahead(&lead).await {
            // The next one hears of it too: it would be in the way of all groups for ever.
            if let Some(place) = lead.next(false) {
                let _gone = place.send(Err(same(&error)));
            }
            break Some(error);
        }
        let Some(place) = lead.next(group.is_full(lead.share())) else { break None };
        match group.serve(place).await {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
    };
    lead.note_size(group.members.len());
    lead.hand_over();
    match failed {
        None => group.finish(&store).await,
        Some(error) => group.fail(&error),
    }
}

/// An open transaction with those who share it.
struct Group {
    work: Arc<Work>,
    head: Committed,
    members: Vec<Member>,
    changes: usize,
    /// Whether a savepoint stands after the last member's rows.
    is_marked: bool,
    open_time: Instant,
}

impl Group {
    async fn open(store: &Store) -> Result<Self> {
        let mode = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = store.writer.begin_with_options(mode).await.map_err(sort)?;
        let row = locked_row(&transaction).await?;
        let (delayed, record, counts) = (Mutex::default(), Mutex::default(), Mutex::default());
        let work = Work { transaction, cache: Mutex::default(), delayed, record, counts };
        work.catch_up(&row).await?;
        let is_counted = row.counted_rev == row.rev;
        let head = committed(row)?;
        if let Some((cache, counts)) = store.groups.kept.at(head).await {
            *work.cache.lock() = cache;
            if is_counted {
                *work.counts.lock() = counts;
            }
        }
        Ok(Self {
            work: Arc::new(work),
            head,
            members: Vec::new(),
            changes: 0,
            is_marked: false,
            open_time: Instant::now(),
        })
    }

    /// Whether it takes in no more, if it is to have so many members.
    fn is_full(&self, share: usize) -> bool {
        self.members.len() >= share || self.changes >= CHANGES || self.open_time.elapsed() >= LIFE
    }

    /// Reads what those who are to have their turns next will ask for.
    async fn read_ahead(&self, lead: &Lead) -> Result<()> {
        let share = lead.share();
        let room = if self.is_full(share) { 0 } else { share.saturating_sub(self.members.len()) };
        let wants = lead.unread(room);
        if wants.is_empty() { Ok(()) } else { bounded(self.work.read_ahead(&wants)).await }
    }

    /// Gives one its turn. Whether there can be another; an error is everybody's.
    async fn serve(&mut self, place: Place) -> Result<bool> {
        if self.changes > 0 && !self.is_marked {
            self.mark().await?;
        }
        let (back, mut messages) = mpsc::unbounded_channel();
        let turn = Turn { work: Arc::clone(&self.work), head: self.head, back: Back(Some(back)) };
        // Whoever has gone away has done nothing; dropped here, its turn says so.
        drop(place.send(Ok(turn)));
        let end_time = Instant::now() + TURN;
        let ending = loop {
            let message = timeout_at(end_time, messages.recv()).await;
            match message.map_err(|_| Error::unavailable("a mutation kept the others waiting for too long"))? {
                Some(Message::Settle(done)) => {
                    self.settle().await?;
                    let _gone = done.send(());
                }
                Some(Message::Ended(ending)) => break ending,
                None => break Ending::Dropped,
            }
        };
        match ending {
            Ending::Dropped => self.take_back().await,
            Ending::Unchanged(answer) => {
                self.members.push(Member { committed: self.head, mail: None, answer });
                self.take_back().await
            }
            Ending::Commit(wish) => {
                let Wish { changes, entry, replay, now, mail, answer } = *wish;
                let count = changes.len();
                let may_wait = self.work.may_wait(&changes);
                if !may_wait {
                    self.settle().await?;
                }
                match bounded(self.work.write(self.head, changes, entry, replay, now, may_wait)).await {
                    Ok(committed) => {
                        self.head = committed;
                        self.is_marked &= may_wait;
                        self.changes = self.changes.saturating_add(count.max(1));
                        self.members.push(Member { committed, mail: Some(mail), answer });
                        Ok(true)
                    }
                    Err(error) => {
                        let rest = self.take_back().await;
                        let _gone = answer.send(Err(error));
                        rest
                    }
                }
            }
        }
    }

    /// Sets the point to which the next turn can be taken back.
    async fn mark(&mut self) -> Result<()> {
        bounded(async { self.work.transaction.execute_unprepared("SAVEPOINT member").await.map_err(sort) }).await?;
        self.is_marked = true;
        Ok(())
    }

    /// Writes the rows that wait. The turn that is on has written nothing before.
    async fn settle(&mut self) -> Result<()> {
        if self.work.delayed.lock().is_empty() {
            return Ok(());
        }
        bounded(self.work.write_delayed()).await?;
        self.mark().await
    }

    /// Takes back what the last turn wrote. Without others there is nothing to spare, and this group ends.
    async fn take_back(&mut self) -> Result<bool> {
        if self.changes == 0 {
            return Ok(false);
        }
        let back =
            async { self.work.transaction.execute_unprepared("ROLLBACK TO SAVEPOINT member").await.map_err(sort) };
        bounded(back).await.map(|_| true)
    }

    /// Makes it durable and answers everybody.
    async fn finish(self, store: &Store) {
        if self.changes == 0 {
            // Nothing was written: those who found nothing to do rest on what was committed before.
            drop(self.work);
            answer(self.members, Ok(()));
            return;
        }
        let links = match bounded(self.work.flush(self.head)).await {
            Ok(links) => links,
            Err(error) => return self.fail(&error),
        };
        let Self { work, head, members, .. } = self;
        // Whoever had a turn has let go of it before it told so.
        let Some(Work { transaction, cache, counts, .. }) = Arc::into_inner(work) else {
            return answer(members, Err(Error::internal("a mutation kept the transaction beyond its turn")));
        };
        let leaving = store.groups.kept.leaving().await;
        let outcome = match timeout(STEP, transaction.commit()).await {
            Ok(Ok(())) => {
                if let Some(leaving) = leaving {
                    leaving.left(head, cache.into_inner(), counts.into_inner());
                }
                Outcome::Committed
            }
            Ok(Err(_)) | Err(_) => {
                // Finding out takes the head, which the next group may have.
                drop(leaving);
                store.find_out(head).await
            }
        };
        if outcome == Outcome::Committed {
            store.recent.add(links);
        }
        answer(members, outcome.into_result());
    }

    /// Tells everybody that nothing was changed: what was not committed is rolled back.
    fn fail(self, error: &Error) {
        answer(self.members, Err(same(error)));
    }
}

fn answer(members: Vec<Member>, outcome: Result<()>) {
    for Member { committed, mail, answer } in members {
        let told = match &outcome {
            Ok(()) => Ok(committed),
            Err(error) => Err(same(error)),
        };
        if let (Ok(_), Some(mail)) = (&told, mail) {
            mail.committed();
        }
        // Whoever has gone away is told nothing; what was committed stays.
        let _gone = answer.send(told);
    }
}

/// The head, locked until the transaction ends.
pub(super) async fn locked_head(transaction: &DatabaseTransaction) -> Result<Committed> {
    committed(locked_row(transaction).await?)
}

async fn locked_row(transaction: &DatabaseTransaction) -> Result<ledger_head::Model> {
    let head = ledger_head::Entity::find_by_id(SHARD).lock_exclusive().one(transaction).await.map_err(sort)?;
    head.ok_or_else(|| Error::internal("the ledger has no head"))
}

fn committed(head: ledger_head::Model) -> Result<Committed> {
    let chain = head.chain.try_into().map_err(|_| Error::internal("the ledger's chain is not 32 bytes"))?;
    Ok(Committed { revision: head.rev, chain })
}

/// One step of the leader, which takes no longer than it may.
async fn bounded<T>(step: impl Future<Output = Result<T>>) -> Result<T> {
    timeout(STEP, step).await.unwrap_or_else(|_| Err(Error::unavailable("the database did not answer in time")))
}

/// The failure once more, for another who shares it.
fn same(error: &Error) -> Error {
    match error {
        Error::Unavailable { what, committed } => Error::Unavailable { what: what.clone(), committed: *committed },
        Error::Internal(cause) => Error::internal(cause.to_string()),
        other => Error::internal(other.to_string()),
    }
}
