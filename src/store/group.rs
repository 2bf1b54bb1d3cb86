//! Mutations that wait together share one transaction: what a commit costs, they pay together. The first that comes
//! opens it and locks the head of the ledger; each has its turn alone, in the order of arrival; when nobody waits, or the
//! group is full, one COMMIT makes them all durable, and only then is any of them answered. Meanwhile the next group may
//! form: it waits for the head in the database.
//!
//! A group is led by a task of its own, which no caller can cancel. What a mutation writes in its turn is in a savepoint:
//! if it fails, or is dropped, the others are spared. Nobody waits for anything but the database while a group is open,
//! and every wait ends.

mod cache;
mod delayed;
mod lost;
mod record;

use super::draft::{Committed, Entry, Replay, SHARD};
use super::entity::ledger_head;
use super::failure::sort;
use super::mail::MailMark;
use super::open::Store;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::error::{Error, Result};
pub(super) use cache::Cache;
use delayed::Delayed;
use lost::Outcome;
use parking_lot::Mutex;
use record::Record;
use sea_orm::{
    ConnectionTrait, DatabaseTransaction, EntityTrait, QuerySelect, SqliteTransactionMode, TransactionOptions,
    TransactionTrait,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

/// How long a mutation waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a mutation may have the transaction: a quarter of the usual lease.
const TURN: Duration = Duration::from_millis(2500);

/// How long one step of the leader may take.
const STEP: Duration = Duration::from_secs(2);

/// How long opening a group may take: getting a connection, and waiting for whoever has the head.
const OPENING: Duration = Duration::from_secs(5);

/// A group takes in no more after this: far below a quarter of any lease, for it keeps other replicas from writing.
const LIFE: Duration = Duration::from_millis(100);

/// How many mutations share a commit at most.
const MEMBERS: usize = 128;

/// How many changes share a commit at most, if there is more than one mutation.
const CHANGES: usize = 2000;

/// Where mutations wait for their turn.
#[derive(Debug, Default)]
pub(super) struct Groups {
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<oneshot::Sender<Result<Turn>>>,
    /// Whether somebody takes from the queue.
    is_led: bool,
}

/// The transaction, what was read in it, and what of it is not written yet.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) transaction: DatabaseTransaction,
    pub(super) cache: Mutex<Cache>,
    pub(super) delayed: Mutex<Delayed>,
    pub(super) record: Mutex<Record>,
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

/// Somebody who is answered once the group is committed.
#[derive(Debug)]
struct Member {
    committed: Committed,
    mail: Option<MailMark>,
    answer: Answer,
}

impl Store {
    /// Waits for the turn to write.
    pub(super) async fn turn(&self) -> Result<Turn> {
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
        Ok(runtime) => drop(runtime.spawn(lead(Lead { store, is_over: false }))),
        Err(_) => drop(store.groups.disband()),
    }
}

impl Groups {
    /// Ends the leading: all who wait.
    fn disband(&self) -> VecDeque<oneshot::Sender<Result<Turn>>> {
        let mut queue = self.queue.lock();
        queue.is_led = false;
        std::mem::take(&mut queue.waiting)
    }
}

/// Whoever leads a group. Whatever happens to it, the next group is led.
struct Lead {
    store: Store,
    is_over: bool,
}

impl Lead {
    /// The next who waits; if there is none, this group takes in no more.
    fn next(&mut self, group: &Group) -> Option<oneshot::Sender<Result<Turn>>> {
        if !group.is_full() {
            let mut queue = self.store.groups.queue.lock();
            if let Some(next) = queue.waiting.pop_front() {
                return Some(next);
            }
            queue.is_led = false;
            self.is_over = true;
            return None;
        }
        self.hand_over();
        None
    }

    /// Takes in no more. Those who wait form the next group.
    fn hand_over(&mut self) {
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
        self.hand_over();
    }
}

/// Leads one group from BEGIN to the answers.
async fn lead(mut lead: Lead) {
    let store = lead.store.clone();
    let opened = timeout(OPENING, Group::open(&store)).await;
    let mut group = match opened.unwrap_or_else(|_| Err(Error::unavailable("the head of the ledger was not free"))) {
        Ok(group) => group,
        Err(error) => {
            lead.is_over = true;
            for place in store.groups.disband() {
                let _gone = place.send(Err(same(&error)));
            }
            return;
        }
    };
    let failed = loop {
        let Some(place) = lead.next(&group) else { break None };
        match group.serve(place).await {
            Ok(true) => {}
            Ok(false) => break None,
            Err(error) => break Some(error),
        }
    };
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
        let head = locked_head(&transaction).await?;
        let (cache, delayed, record) = Default::default();
        let work = Work { transaction, cache, delayed, record };
        Ok(Self {
            work: Arc::new(work),
            head,
            members: Vec::new(),
            changes: 0,
            is_marked: false,
            open_time: Instant::now(),
        })
    }

    fn is_full(&self) -> bool {
        self.members.len() >= MEMBERS || self.changes >= CHANGES || self.open_time.elapsed() >= LIFE
    }

    /// Gives one its turn. Whether there can be another; an error is everybody's.
    async fn serve(&mut self, place: oneshot::Sender<Result<Turn>>) -> Result<bool> {
        if self.changes > 0 && !self.is_marked {
            self.mark().await?;
        }
        let (back, mut messages) = mpsc::unbounded_channel();
        let turn = Turn { work: Arc::clone(&self.work), head: self.head, back: Back(Some(back)) };
        // Whoever has gone away has done nothing; dropped, its turn says so.
        let _gone = place.send(Ok(turn));
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
        if let Err(error) = bounded(self.work.flush(self.head)).await {
            return self.fail(&error);
        }
        let Self { work, head, members, .. } = self;
        // Whoever had a turn has let go of it before it told so.
        let Some(Work { transaction, .. }) = Arc::into_inner(work) else {
            return answer(members, Err(Error::internal("a mutation kept the transaction beyond its turn")));
        };
        let outcome = match timeout(STEP, transaction.commit()).await {
            Ok(Ok(())) => Outcome::Committed,
            Ok(Err(_)) | Err(_) => store.find_out(head).await,
        };
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
async fn locked_head(transaction: &DatabaseTransaction) -> Result<Committed> {
    let head = ledger_head::Entity::find_by_id(SHARD).lock_exclusive().one(transaction).await.map_err(sort)?;
    let head = head.ok_or_else(|| Error::internal("the ledger has no head"))?;
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
