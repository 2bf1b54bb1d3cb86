//! Following the ledger: join, load everything at one revision, then poll, and apply what comes after it, one revision
//! after the other. What a poll means is decided by [`Member`]; here it is carried out.
//!
//! INVARIANT (one writer): only this task writes the index, for this process's own commits as for anyone's. A handler
//! that has committed says so and waits; it never writes what it believes it has changed.

use super::protocol::{Member, Next, Polled, Timing};
use super::{Progress, Shared};
use crate::clock::{Clock, boot_time};
use crate::domain::change::{Change, Head};
use crate::error::{Error, Result};
use crate::store::{Poll, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How many revisions are read at a time.
const STRIDE: i64 = 256;

/// How many of the last revisions are verified before anything is loaded, and how many changes: an import makes a
/// thousand of them with each revision.
const VERIFIED: i64 = 10_000;
const VERIFIED_CHANGES: u64 = 50_000;

/// How long after a poll the next may begin that is asked for by credentials nobody here knows: whoever sends such
/// must not have the database asked without end.
const LOOK_GAP: Duration = Duration::from_millis(10);

/// How long it may take to verify or to read everything: far longer than it does, and not for ever.
const LOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// How long what is not part of a poll may take.
pub(super) const REGISTRY_TIMEOUT: Duration = Duration::from_secs(5);

/// The one that follows.
#[derive(Debug)]
pub(super) struct Follower {
    store: Store,
    clock: Clock,
    timing: Timing,
    shared: Arc<Shared>,
    progress: watch::Sender<Progress>,
    /// Under which row this process has joined.
    id: String,
    address: String,
    member: Option<Member>,
    /// What was followed before everything is loaded anew.
    before: Option<Member>,
    /// What was read of the log did not fit: load anew, if the ledger is the one that was followed.
    is_in_doubt: bool,
    last_failure: String,
}

fn new_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

impl Follower {
    pub(super) fn new(
        store: Store,
        clock: Clock,
        timing: Timing,
        shared: Arc<Shared>,
        progress: watch::Sender<Progress>,
        address: String,
    ) -> Self {
        Self {
            store,
            clock,
            timing,
            shared,
            progress,
            id: new_id(),
            address,
            member: None,
            before: None,
            is_in_doubt: false,
            last_failure: String::new(),
        }
    }

    /// Joins, loads, and holds the lease when it returns (R1).
    pub(super) async fn start(&mut self) -> Result<()> {
        self.join().await?;
        if self.store.is_alone() {
            self.store.remove_all_but(&self.id).await?;
        }
        self.load().await?;
        loop {
            self.look().await?;
            if self.shared.index.is_serving() {
                return Ok(());
            }
            // Shut out while it loaded, most likely, and joined again.
            sleep(self.timing.poll_interval()).await;
        }
    }

    /// Follows until nobody is left who could ask.
    pub(super) async fn run(&mut self) {
        let mut last_begin = tokio::time::Instant::now();
        while !self.progress.is_closed() {
            let wait = self.timing.poll_interval().mul_f64(0.9 + 0.2 * rand::random::<f64>());
            tokio::select! {
                () = self.shared.hint.notified() => {}
                () = self.shared.wanted.notified() => sleep(LOOK_GAP.saturating_sub(last_begin.elapsed())).await,
                () = sleep(wait) => {}
            }
            last_begin = tokio::time::Instant::now();
            match self.look().await {
                Ok(()) => self.note_success(),
                Err(failure) => {
                    self.note_failure(&failure);
                    sleep(self.timing.poll_interval()).await;
                    if !matches!(failure, Error::Internal(_)) {
                        // In vain or not, the next look tells.
                        let _made = timeout(self.timing.connect_timeout(), self.store.reconnect_follower()).await;
                    }
                }
            }
            self.shared.index.sweep(self.clock.now());
            if let Err(failure) = self.announce().await {
                tracing::warn!("where this replica serves could not be said: {failure}");
            }
        }
    }

    /// Stops answering, then takes the own row away (R4).
    pub(super) async fn leave(&mut self) {
        self.shared.index.stop();
        let left = timeout(REGISTRY_TIMEOUT, self.store.leave(&self.id)).await;
        if !matches!(left, Ok(Ok(()))) {
            tracing::warn!("the row of this replica could not be deleted; others will shut it out");
        }
    }

    /// One poll, and all that follows from it (R2).
    async fn look(&mut self) -> Result<()> {
        let Some(applied) = self.member.as_ref().map(|member| member.applied().revision) else {
            return self.load().await;
        };
        let number = self.shared.begin_look();
        // Before it is sent: what the answer says was true no later than that for sure.
        let sent = boot_time();
        let (polled, events) = self.poll(applied).await?;
        self.progress.send_if_modified(|progress| {
            progress.head = polled.head.revision;
            // Nobody waits for what is only seen.
            false
        });
        let Some(member) = &mut self.member else { return Ok(()) };
        match member.polled(&polled) {
            Next::Renew | Next::Apply if self.is_in_doubt => return self.reload("the log did not fit").await,
            Next::Renew => {}
            Next::Apply => self.apply_up_to(&polled.head, events).await?,
            Next::Rejoin => return self.rejoin().await,
            Next::Reload => return self.reload("another ledger was adopted").await,
            Next::CatchUpByLoading => return self.reload("what is missing was pruned").await,
            Next::Refuse(reason) => {
                self.shared.index.stop();
                return Err(Error::internal(reason));
            }
        }
        self.publish(number, sent, &polled).await
    }

    /// What the database says, and how many events there are after `applied`.
    async fn poll(&self, applied: i64) -> Result<(Polled, i64)> {
        let answer = timeout(self.timing.statement_timeout(), self.store.poll(&self.id, applied)).await;
        let Poll { revision, chain, floor, cluster_id, own, chain_at, events_after, is_any_fencing } =
            answer.map_err(|_| Error::unavailable("the database does not answer"))??;
        if is_any_fencing {
            self.shared.see_fences.notify_one();
        }
        let polled = Polled {
            head: Head { revision, chain },
            floor,
            cluster_id,
            is_member: own.is_some_and(|(is_fencing, _)| !is_fencing),
            confirmed: own.map_or(-1, |(_, applied)| applied),
            chain_at_applied: chain_at,
        };
        Ok((polled, events_after))
    }

    /// Everything up to the polled head is in: lets the index answer, and only then confirms it.
    async fn publish(&mut self, number: u64, sent: crate::domain::clock::Moment, polled: &Polled) -> Result<()> {
        let Some(member) = &self.member else { return Ok(()) };
        let Some(valid_until) = member.valid_until(sent, polled) else { return Ok(()) };
        self.shared.index.renew(valid_until);
        let applied = member.applied().revision;
        self.progress.send_modify(|progress| {
            progress.look = number;
            progress.sent = sent;
            progress.applied = applied;
            progress.head = polled.head.revision;
            progress.floor = polled.floor;
            progress.cluster_id.clone_from(&polled.cluster_id);
            progress.replica_id.clone_from(&self.id);
            progress.refused = None;
        });
        if polled.confirmed < applied && !self.store.is_alone() {
            let confirmed = timeout(self.timing.statement_timeout(), self.store.confirm(&self.id, applied)).await;
            confirmed.map_err(|_| Error::unavailable("the database does not answer"))??;
        }
        Ok(())
    }

    /// Applies what came after what is applied, at least up to `head`, which was polled with so many `events` after that.
    async fn apply_up_to(&mut self, head: &Head, events: i64) -> Result<()> {
        while let Some(member) = &mut self.member
            && member.applied().revision < head.revision
        {
            let reading = self.store.changes_between(member.applied(), head, events, STRIDE);
            let batches = match timeout(self.timing.statement_timeout(), reading).await {
                Ok(Ok(batches)) => batches,
                Ok(Err(failure)) => {
                    if matches!(failure, Error::Internal(_)) {
                        // A gap is never normal: nothing more is answered before everything was read anew.
                        self.shared.index.stop();
                        self.is_in_doubt = true;
                    }
                    return Err(failure);
                }
                Err(_) => return Err(Error::unavailable("the database does not answer")),
            };
            for batch in batches {
                self.shared.index.apply(batch.head.revision, batch.changes);
                member.applied_up_to(batch.head);
            }
            let applied = member.applied().revision;
            self.progress.send_modify(|progress| progress.applied = applied);
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Commits the own row: before anything is loaded or renewed (R1).
    async fn join(&mut self) -> Result<()> {
        self.id = new_id();
        let joined = timeout(REGISTRY_TIMEOUT, self.store.join(&self.id, &self.address, self.timing.lease())).await;
        joined.map_err(|_| Error::unavailable("the database does not answer"))??;
        self.progress.send_modify(|progress| progress.replica_id.clone_from(&self.id));
        Ok(())
    }

    /// The own row is gone or fencing: stops, takes it away and joins under a new id. What is loaded is kept, and caught up
    /// by the next polls.
    async fn rejoin(&mut self) -> Result<()> {
        self.shared.index.stop();
        tracing::warn!(replica = self.id, "this replica was shut out, and joins again");
        self.leave().await;
        self.join().await?;
        tracing::info!(replica = self.id, "this replica has joined again");
        self.shared.hint.notify_one();
        Ok(())
    }

    /// Stops, and loads everything anew.
    async fn reload(&mut self, reason: &str) -> Result<()> {
        self.shared.index.stop();
        tracing::warn!("everything is loaded anew: {reason}");
        self.shared.index.clear();
        self.progress.send_modify(|progress| progress.applied = 0);
        self.before = self.member.take().or(self.before.take());
        self.load().await
    }

    /// Verifies the end of the ledger and puts all rows into the index, at the revision they belong to.
    async fn load(&mut self) -> Result<()> {
        let followed = self.before.as_ref().map_or(0, |before| before.applied().revision);
        let (polled, _) = self.poll(followed).await?;
        // However often loading failed in between: what was followed is not followed back.
        if let Some(reason) = self.before.as_mut().and_then(|before| before.refusal(&polled)) {
            return Err(Error::internal(reason));
        }
        // What was changed while nobody followed would otherwise be taken for what was written.
        let verified = timeout(LOAD_TIMEOUT, self.store.verify(VERIFIED, VERIFIED_CHANGES)).await;
        verified.map_err(|_| Error::unavailable("the database does not answer"))??;
        self.shared.index.clear();
        let now = self.clock.now();
        let is_forgotten = |change: &Change| match change {
            Change::Key(key) => key.is_forgotten(now),
            Change::Token(token) => token.kept_until() <= now,
            Change::Session(session) => session.is_forgotten(now),
            Change::Root(_) | Change::Tenant(_) | Change::User(_) | Change::Application(_) | Change::SigningKey(_) => {
                false
            }
        };
        let index = &self.shared.index;
        let reading = self.store.snapshot(|head, mut changes| {
            changes.retain(|change| !is_forgotten(change));
            index.apply(head.revision, changes);
        });
        let head = timeout(LOAD_TIMEOUT, reading).await;
        let head = head.map_err(|_| Error::unavailable("the database does not answer"))??;
        let applied = head.revision;
        self.member = Some(Member::new(self.timing, polled.cluster_id.clone(), head));
        self.before = None;
        self.is_in_doubt = false;
        self.progress.send_modify(|progress| {
            progress.applied = applied;
            progress.cluster_id = polled.cluster_id;
        });
        self.shared.hint.notify_one();
        Ok(())
    }

    /// Says where this replica serves, once it does.
    async fn announce(&mut self) -> Result<()> {
        let address = self.shared.address.lock().clone();
        if address != self.address && self.member.is_some() {
            let said = timeout(self.timing.statement_timeout(), self.store.announce(&self.id, &address)).await;
            said.map_err(|_| Error::unavailable("the database does not answer"))??;
            self.address = address;
        }
        Ok(())
    }

    fn note_success(&mut self) {
        if !self.last_failure.is_empty() && self.shared.index.is_serving() {
            tracing::info!(revision = self.shared.index.applied(), "the ledger can be followed again");
            self.last_failure.clear();
        }
    }

    fn note_failure(&mut self, failure: &Error) {
        let cause = std::error::Error::source(failure).map(ToString::to_string).unwrap_or_default();
        if matches!(failure, Error::Internal(_)) {
            self.progress.send_modify(|progress| progress.refused = Some(cause.clone()));
        }
        let text = if cause.is_empty() { failure.to_string() } else { format!("{failure}: {cause}") };
        if text != self.last_failure {
            let revision = self.shared.index.applied();
            tracing::error!(revision, "the ledger cannot be followed: {text}");
            self.last_failure = text;
        }
    }
}
