//! Following the ledger: load everything at one revision, then apply what comes after it, one revision after the other.
//!
//! INVARIANT (one writer): only this task writes the index, for this process's own commits as for anyone's. A handler
//! that has committed says so by [`Ledger::applied`] and waits; it never writes what it believes it has changed.
//!
//! If the ledger is out of reach for longer than a lease, or is no longer the one that was read, the index stops
//! answering until it can be followed again.

use crate::check::Index;
use crate::clock::Clock;
use crate::domain::change::Change;
use crate::error::{Error, Result};
use crate::store::{Head, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long the follower sleeps unless it is told that there is something to see.
const POLL: Duration = Duration::from_millis(250);

/// How many revisions are read at a time.
const STRIDE: i64 = 256;

/// How long the ledger may be out of reach before this replica stops answering: what was revoked since is unknown to it.
const LEASE: Duration = Duration::from_secs(10);

/// How long one look at the ledger may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a handler waits for its own revision.
const APPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// How many of the last revisions are verified before anything is loaded, and how many changes: an import makes a
/// thousand of them with each revision.
const VERIFIED: i64 = 10_000;
const VERIFIED_CHANGES: u64 = 50_000;

/// A handle on the follower. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    hint: Arc<Notify>,
    progress: watch::Receiver<Progress>,
}

#[derive(Clone, Copy, Debug)]
struct Progress {
    applied: i64,
    is_broken: bool,
}

impl Ledger {
    /// Waits until `revision`, which was committed, is in the index.
    pub async fn applied(&self, revision: i64) -> Result<()> {
        self.hint.notify_one();
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.applied >= revision || progress.is_broken);
        match timeout(APPLY_TIMEOUT, reached).await {
            Ok(Ok(progress)) if progress.applied >= revision => Ok(()),
            Ok(_) | Err(_) => Err(Error::Unavailable {
                what: "this replica does not follow the ledger".to_owned(),
                committed: Some(revision),
            }),
        }
    }

    /// Waits until the index has at least `revision`, which may not exist yet; in vain after `deadline`.
    pub async fn reached(&self, revision: i64, deadline: Instant) -> Result<()> {
        let mut progress = self.progress.clone();
        let waiting = progress.wait_for(|progress| progress.applied >= revision);
        match timeout_at(deadline, waiting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::unavailable(format!(
                "revision {revision} has not reached this replica within the deadline of the call"
            ))),
        }
    }
}

/// Verifies the ledger's end, loads everything into `index`, lets it answer, and starts to follow. The task ends when
/// every [`Ledger`] is gone.
pub async fn follow(store: Store, index: Arc<Index>, clock: &Clock) -> Result<Ledger> {
    // What was changed while nobody followed would otherwise be taken for what was written.
    store.verify(VERIFIED, VERIFIED_CHANGES).await?;
    let head = load(&store, &index, clock).await?;
    index.renew(crate::domain::clock::Moment::MAX);
    let hint = Arc::new(Notify::new());
    let (sender, progress) = watch::channel(Progress { applied: head.revision, is_broken: false });
    let following = tokio::spawn(run(store, Arc::clone(&index), clock.clone(), head, Arc::clone(&hint), sender));
    tokio::spawn(async move {
        // However it ends, nobody keeps this index current any more.
        let ended = following.await;
        index.stop();
        if let Err(failure) = ended {
            tracing::error!("the follower failed: {failure}");
        }
    });
    Ok(Ledger { hint, progress })
}

/// Puts all rows into `index`, at the revision they belong to.
async fn load(store: &Store, index: &Index, clock: &Clock) -> Result<Head> {
    let now = clock.now();
    let is_forgotten = |change: &Change| match change {
        Change::Key(key) => key.is_forgotten(now),
        Change::Token(token) => token.is_forgotten(now),
        Change::Session(session) => session.is_forgotten(now),
        Change::Root(_) | Change::Tenant(_) | Change::User(_) | Change::Application(_) | Change::SigningKey(_) => false,
    };
    store
        .snapshot(|head, mut changes| {
            changes.retain(|change| !is_forgotten(change));
            index.apply(head.revision, changes);
        })
        .await
}

async fn run(
    store: Store,
    index: Arc<Index>,
    clock: Clock,
    mut head: Head,
    hint: Arc<Notify>,
    progress: watch::Sender<Progress>,
) {
    let mut last_failure = String::new();
    let mut last_success = Instant::now();
    while !progress.is_closed() {
        let begun = Instant::now();
        let looked = timeout(LOOK_TIMEOUT, catch_up(&store, &index, &mut head, &progress)).await;
        match looked.unwrap_or_else(|_| Err(Error::unavailable("the database does not answer"))) {
            Ok(()) => {
                last_success = begun;
                if !last_failure.is_empty() {
                    tracing::info!(revision = head.revision, "the ledger can be followed again");
                    last_failure.clear();
                    index.renew(crate::domain::clock::Moment::MAX);
                    progress.send_modify(|progress| progress.is_broken = false);
                }
            }
            Err(failure) => {
                // A gap or another history is no outage: what the index holds may be what was taken back.
                if matches!(failure, Error::Internal(_)) || last_success.elapsed() >= LEASE {
                    index.stop();
                    progress.send_modify(|progress| progress.is_broken = true);
                }
                let cause = std::error::Error::source(&failure).map(ToString::to_string).unwrap_or_default();
                let text = format!("{failure}: {cause}");
                if text != last_failure {
                    tracing::error!(revision = head.revision, "the ledger cannot be followed: {text}");
                    last_failure = text;
                }
                sleep(POLL).await;
            }
        }
        index.sweep(clock.now());
        // In vain or not: nothing depends on a hint.
        let _hinted = timeout(POLL, hint.notified()).await;
    }
}

/// Applies everything up to the head of the ledger.
async fn catch_up(store: &Store, index: &Index, head: &mut Head, progress: &watch::Sender<Progress>) -> Result<()> {
    loop {
        let batches = store.changes_after(head, STRIDE).await?;
        if batches.is_empty() {
            return Ok(());
        }
        for batch in batches {
            index.apply(batch.head.revision, batch.changes);
            *head = batch.head;
        }
        progress.send_modify(|progress| progress.applied = head.revision);
    }
}
