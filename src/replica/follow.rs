//! Following the ledger: load everything at one revision, then apply what comes after it, one revision after the other.
//!
//! INVARIANT (one writer): only this task writes the index, for this process's own commits as for anyone's. A handler
//! that has committed says so by [`Ledger::applied`] and waits; it never writes what it believes it has changed.

use crate::check::Index;
use crate::clock::Clock;
use crate::domain::change::Change;
use crate::error::{Error, Result};
use crate::store::{Head, Store};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

/// How long the follower sleeps unless it is told that there is something to see.
const POLL: Duration = Duration::from_millis(250);

/// How many revisions are read at a time.
const STRIDE: i64 = 256;

/// A handle on the follower. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    wanted: Arc<watch::Sender<i64>>,
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
        self.hint(revision);
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.applied >= revision || progress.is_broken).await;
        match reached.map(|progress| *progress) {
            Ok(progress) if progress.applied >= revision => Ok(()),
            Ok(_) | Err(_) => Err(Error::Unavailable {
                what: "this replica no longer follows the ledger".to_owned(),
                committed: Some(revision),
            }),
        }
    }

    /// Waits until the index has at least `revision`, which may not exist yet; in vain after `deadline`.
    pub async fn reached(&self, revision: i64, deadline: Instant) -> Result<()> {
        self.hint(revision);
        let mut progress = self.progress.clone();
        let waiting = progress.wait_for(|progress| progress.applied >= revision);
        match timeout_at(deadline, waiting).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Error::unavailable(format!(
                "revision {revision} has not reached this replica within the deadline of the call"
            ))),
        }
    }

    fn hint(&self, revision: i64) {
        self.wanted.send_if_modified(|wanted| {
            let is_news = revision > *wanted;
            *wanted = revision.max(*wanted);
            is_news
        });
    }
}

/// Loads everything into `index` and starts to follow. The task ends when every [`Ledger`] is gone.
pub async fn follow(store: Store, index: Arc<Index>, clock: &Clock) -> Result<Ledger> {
    let head = load(&store, &index, clock).await?;
    let (wanted, wanted_receiver) = watch::channel(head.revision);
    let (progress_sender, progress) = watch::channel(Progress { applied: head.revision, is_broken: false });
    tokio::spawn(run(store, index, head, wanted_receiver, progress_sender));
    Ok(Ledger { wanted: Arc::new(wanted), progress })
}

/// Puts all rows into `index`, at the revision they belong to.
async fn load(store: &Store, index: &Index, clock: &Clock) -> Result<Head> {
    let snapshot = store.snapshot().await?;
    let revision = snapshot.head.revision;
    let now = clock.now();
    if let Some(root) = snapshot.root {
        index.apply(revision, vec![Change::Root(root)]);
    }
    for tenant in snapshot.tenants {
        index.apply(revision, vec![Change::Tenant(tenant)]);
    }
    for user in snapshot.users {
        index.apply(revision, vec![Change::User(user)]);
    }
    for key in snapshot.keys {
        if !key.is_forgotten(now) {
            index.apply(revision, vec![Change::Key(Box::new(key))]);
        }
    }
    index.apply(revision, Vec::new());
    Ok(snapshot.head)
}

async fn run(
    store: Store,
    index: Arc<Index>,
    mut head: Head,
    mut wanted: watch::Receiver<i64>,
    progress: watch::Sender<Progress>,
) {
    let mut last_failure = String::new();
    loop {
        match catch_up(&store, &index, &mut head, &progress).await {
            Ok(()) => {
                if !last_failure.is_empty() {
                    tracing::info!(revision = head.revision, "the ledger can be followed again");
                    last_failure.clear();
                }
            }
            Err(failure) => {
                // A gap or another history is no outage: what the index holds may be what was taken back.
                if matches!(failure, Error::Internal(_)) {
                    index.set_serving(false);
                    progress.send_modify(|progress| progress.is_broken = true);
                }
                let cause = std::error::Error::source(&failure).map(ToString::to_string).unwrap_or_default();
                let text = format!("{failure}: {cause}");
                if text != last_failure {
                    tracing::error!(revision = head.revision, "the ledger cannot be followed: {text}");
                    last_failure = text;
                }
                tokio::time::sleep(POLL).await;
            }
        }
        match tokio::time::timeout(POLL, wanted.changed()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(_)) => return,
        }
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
