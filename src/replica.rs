//! This process as one replica of the ledger: it loads the rows, follows the log, and is the only one that writes the
//! index. It holds a lease to answer by, and waits for the other replicas on behalf of those that have taken something
//! away. It knows `store` and `check`, and nobody's request.
//!
//! All of it runs on a thread with connections of its own: neither Checks nor mutations nor lists can delay a poll.

mod follow;
mod keeper;
mod outside;
pub mod protocol;
mod prune;
mod steps;

use crate::check::Index;
use crate::clock::{Clock, boot_time};
use crate::domain::clock::Moment;
use crate::error::{Error, Result};
use crate::store::{Hints, Store};
use follow::Follower;
use keeper::{Barrier, Keeper, Request};
pub use outside::settle_from_outside;
use parking_lot::Mutex;
use protocol::{Outcome, Timing};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
pub use steps::Steps;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};

/// How long a handler waits for its own revision.
const APPLY_TIMEOUT: Duration = Duration::from_secs(20);

/// What is not waited for since it comes later must come later than W after the COMMIT. It is decided before that: this is
/// more than a mutation may take from then to its commit, and wall clocks may differ.
const COMMIT_MARGIN: Duration = Duration::from_secs(20);

/// How soon a connection to listen on is tried again.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// How far this replica has come.
#[derive(Clone, Debug, Default)]
struct Progress {
    applied: i64,
    /// The number of the last look after which everything was in that it had seen.
    look: u64,
    /// The newest revision that was seen.
    head: i64,
    /// When the poll was sent that the lease rests on.
    sent: Moment,
    floor: i64,
    cluster_id: String,
    replica_id: String,
    /// Why the ledger is not followed, if it is refused.
    refused: Option<String>,
}

/// What waits, for those who watch.
#[derive(Clone, Copy, Debug, Default)]
struct Pulse {
    waiting: usize,
    outstanding: usize,
}

/// Who is told how long each wait for every replica took, and how it ended.
#[derive(Default)]
struct Watcher(OnceLock<Watch>);

type Watch = Box<dyn Fn(&Result<()>, Duration) + Send + Sync>;

impl std::fmt::Debug for Watcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

/// What the follower, the keeper and the handles share.
#[derive(Debug)]
struct Shared {
    index: Arc<Index>,
    /// Somebody has committed.
    hint: Notify,
    /// Somebody asks for what is not known here.
    wanted: Notify,
    /// A replica is being shut out.
    see_fences: Notify,
    looks: AtomicU64,
    address: Mutex<String>,
    pulse: Mutex<Pulse>,
    watcher: Watcher,
}

impl Shared {
    /// The number of a look that begins now.
    fn begin_look(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::AcqRel).saturating_add(1)
    }
}

/// A handle on this process as a replica. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Ledger {
    timing: Timing,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    requests: mpsc::UnboundedSender<Request>,
    leave: mpsc::UnboundedSender<oneshot::Sender<()>>,
}

/// How a replica is.
#[derive(Clone, Debug)]
pub struct Status {
    /// Its id, new each time that it joins.
    pub replica_id: String,
    /// The newest revision that it has seen.
    pub head: i64,
    /// The revision up to which everything is in its memory.
    pub applied: i64,
    /// Below this revision the log was pruned.
    pub floor: i64,
    /// Which ledger it follows.
    pub cluster_id: String,
    /// How long replicas answer after a poll.
    pub lease: Duration,
    /// How long this one may still answer unless it polls again.
    pub lease_remaining: Duration,
    /// How long ago the poll was sent that its lease rests on, or rested on if it is over.
    pub lease_age: Duration,
    /// Why it does not follow the ledger, if it refuses to.
    pub refused: Option<String>,
    /// How many mutations wait for replicas.
    pub waiting: usize,
    /// For how many replicas they wait.
    pub outstanding: usize,
}

impl Ledger {
    /// After how long a change is in force everywhere, waited for or not (W), with a margin for the commit and for wall clocks that differ.
    pub fn bound(&self) -> Duration {
        self.timing.wait() + COMMIT_MARGIN
    }

    /// Waits until `revision`, which was committed, is in the index.
    pub async fn applied(&self, revision: i64) -> Result<()> {
        self.shared.hint.notify_one();
        // In vain if this replica has left.
        let _told = self.requests.send(Request::Hint(revision));
        let mut progress = self.progress.clone();
        let reached = progress.wait_for(|progress| progress.applied >= revision || progress.refused.is_some());
        match timeout(APPLY_TIMEOUT, reached).await {
            Ok(Ok(progress)) if progress.applied >= revision => Ok(()),
            Ok(_) | Err(_) => Err(Error::Unavailable {
                what: "this replica does not follow the ledger".to_owned(),
                committed: Some(revision),
            }),
        }
    }

    /// The revocation barrier: waits until no replica answers by what was before `revision`, whose COMMIT has returned.
    /// `chain` is the one that its event has; none where nothing was left to do and `revision` is the head that was read
    /// afterwards. In vain after `deadline`, which changes nothing about what was committed.
    pub async fn settled(&self, revision: i64, chain: Option<Vec<u8>>, deadline: Option<Instant>) -> Result<()> {
        let begin = Instant::now();
        let ended = self.wait_for_all(revision, chain, deadline).await;
        if let Some(watch) = self.shared.watcher.0.get() {
            watch(&ended, begin.elapsed());
        }
        ended
    }

    async fn wait_for_all(&self, revision: i64, chain: Option<Vec<u8>>, deadline: Option<Instant>) -> Result<()> {
        let (outcome, over) = oneshot::channel();
        let outstanding = Arc::new(Mutex::new(Vec::new()));
        let barrier = Barrier { revision, chain, since: boot_time(), outcome, outstanding: Arc::clone(&outstanding) };
        let unavailable = |what: &str| Error::Unavailable { what: what.to_owned(), committed: Some(revision) };
        if self.requests.send(Request::Barrier(barrier)).is_err() {
            return Err(unavailable("this replica has left"));
        }
        self.shared.hint.notify_one();
        let over = match deadline {
            Some(deadline) => match timeout_at(deadline, over).await {
                Ok(over) => over,
                Err(_) => return Err(Error::Unfinished { revision, outstanding: outstanding.lock().clone() }),
            },
            None => over.await,
        };
        match over {
            Ok(Outcome::Settled) => Ok(()),
            Ok(Outcome::Lost) => {
                Err(Error::internal(format!("the database has lost revision {revision}, which it had acknowledged")))
            }
            Ok(Outcome::Unreadable) => Err(unavailable("the database cannot say which replicas there are")),
            Err(_) => Err(unavailable("this replica has left")),
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

    /// Waits until everything is in that was committed before this was called: one look that begins after it, shared by
    /// all who wait for one. In vain after `deadline`.
    pub async fn caught_up(&self, deadline: Instant) -> Result<()> {
        let next = self.shared.looks.load(Ordering::Acquire).saturating_add(1);
        self.shared.wanted.notify_one();
        let mut progress = self.progress.clone();
        match timeout_at(deadline, progress.wait_for(|progress| progress.look >= next)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => {
                Err(Error::unavailable("whether the credential is known elsewhere could not be learned in time"))
            }
        }
    }

    /// Says where this process serves, for people who look at the replicas.
    pub fn announce(&self, address: &str) {
        *self.shared.address.lock() = address.to_owned();
        self.shared.hint.notify_one();
    }

    /// Has `watch` told how long each wait of [`Self::settled`] took, and how it ended. The first one counts.
    pub fn watch_waits(&self, watch: impl Fn(&Result<()>, Duration) + Send + Sync + 'static) {
        // A second watcher would be a mistake of the wiring, and nothing rests on it.
        let _ = self.shared.watcher.0.set(Box::new(watch));
    }

    /// How this replica is.
    pub fn status(&self) -> Status {
        let Progress { applied, head, sent, floor, cluster_id, replica_id, refused, look: _ } =
            self.progress.borrow().clone();
        let now = boot_time();
        let Pulse { waiting, outstanding } = *self.shared.pulse.lock();
        Status {
            replica_id,
            head: head.max(applied),
            applied,
            floor,
            cluster_id,
            lease: self.timing.lease(),
            lease_remaining: self.shared.index.valid_until().since(now),
            lease_age: now.since(sent),
            refused,
            waiting,
            outstanding,
        }
    }

    /// Stops answering, then takes the row of this replica away, so that nobody waits for it (R4).
    pub async fn leave(&self) {
        self.shared.index.stop();
        let (done, left) = oneshot::channel();
        if self.leave.send(done).is_ok() {
            // Gone without a word is gone too: others shut it out.
            let _left = left.await;
        }
    }
}

/// Joins, verifies the ledger's end, loads everything into `index`, lets it answer, and follows on a thread of its own
/// until every [`Ledger`] is gone.
pub async fn follow(store: Store, index: Arc<Index>, clock: &Clock, timing: Timing) -> Result<Ledger> {
    let shared = Arc::new(Shared {
        index,
        hint: Notify::new(),
        wanted: Notify::new(),
        see_fences: Notify::new(),
        looks: AtomicU64::new(0),
        address: Mutex::default(),
        pulse: Mutex::default(),
        watcher: Watcher::default(),
    });
    let (sender, progress) = watch::channel(Progress::default());
    let (requests, incoming) = mpsc::unbounded_channel();
    let (leave, leaving) = mpsc::unbounded_channel();
    let (ready, is_ready) = oneshot::channel();
    let ledger = Ledger { timing, shared: Arc::clone(&shared), progress: progress.clone(), requests, leave };
    let clock = clock.clone();
    let live = async move {
        let _stops = StopsAtTheEnd(Arc::clone(&shared));
        let store = match store.for_follower().await {
            Ok(store) => store,
            Err(error) => return drop(ready.send(Err(error))),
        };
        let mut follower = Follower::new(store.clone(), clock, timing, Arc::clone(&shared), sender, String::new());
        let started = follower.start().await;
        let is_started = started.is_ok();
        if ready.send(started).is_err() || !is_started {
            return follower.leave().await;
        }
        let mut keeper = Keeper::new(store.clone(), timing, Arc::clone(&shared), progress.clone(), incoming);
        let told = live(&store, &shared, progress, &mut follower, &mut keeper, leaving).await;
        store.close_follower().await;
        if let Some(told) = told {
            // Whoever asked may not wait for the answer.
            let _gone = told.send(());
        }
    };
    std::thread::Builder::new()
        .name("replica".to_owned())
        .spawn(move || match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(live),
            Err(error) => tracing::error!("the replica's runtime cannot be made: {error}"),
        })
        .map_err(Error::internal)?;
    is_ready.await.map_err(|_| Error::internal("the replica's thread has ended"))??;
    Ok(ledger)
}

/// Listens to the hints of other replicas, where the engine has such; for ever.
async fn listen(store: &Store, shared: &Shared) {
    loop {
        let heard = match store.hints().await {
            Ok(Some(hints)) => hear(hints, shared).await,
            Ok(None) => return std::future::pending().await,
            Err(failure) => failure,
        };
        tracing::debug!("hints are not heard for now: {heard}");
        sleep(LISTEN_AGAIN).await;
    }
}

async fn hear(mut hints: Hints, shared: &Shared) -> Error {
    loop {
        match hints.next().await {
            Ok(revision) if revision > shared.index.applied() => shared.hint.notify_one(),
            Ok(_) => {}
            Err(failure) => return failure,
        }
    }
}

/// Follows and keeps until nobody asks any more, or this replica is to leave; whom to tell once it has.
async fn live(
    store: &Store,
    shared: &Shared,
    progress: watch::Receiver<Progress>,
    follower: &mut Follower,
    keeper: &mut Keeper,
    mut leaving: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
) -> Option<oneshot::Sender<()>> {
    let told = tokio::select! {
        () = follower.run() => None,
        () = keeper.run() => None,
        () = listen(store, shared) => None,
        () = prune::prune(store, progress) => None,
        told = leaving.recv() => told,
    };
    follower.leave().await;
    told
}

/// However it ends, nobody keeps this index current any more.
struct StopsAtTheEnd(Arc<Shared>);

impl Drop for StopsAtTheEnd {
    fn drop(&mut self) {
        self.0.index.stop();
    }
}
