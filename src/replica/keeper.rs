//! Carries out what [`Barriers`] decides: asks the database who has confirmed what, shuts out the silent, and tells each
//! handler when its mutation is settled. Questions and deeds run beside each other and all of them are bounded, so that
//! a database that is silent keeps nobody beyond the time that their leases take.

use super::protocol::{Barriers, Deed, Outcome, Peer, Seen, Ticket, Timing};
use super::{Progress, Shared};
use crate::clock::boot_time;
use crate::domain::clock::Moment;
use crate::error::{Error, Result};
use crate::store::{Roll, Store};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

/// How soon the database is asked again while somebody waits; each time a quarter longer, up to the longest, so that
/// what is seen is never much older than the wait was long.
const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// What handlers ask for.
#[derive(Debug)]
pub(super) enum Request {
    /// To know when every replica has a mutation.
    Barrier(Barrier),
    /// That other replicas are told of a revision.
    Hint(i64),
}

/// A mutation that waits for every replica.
#[derive(Debug)]
pub(super) struct Barrier {
    pub(super) revision: i64,
    pub(super) chain: Option<Vec<u8>>,
    /// When its COMMIT had returned.
    pub(super) since: Moment,
    pub(super) outcome: oneshot::Sender<Outcome>,
    /// Whom it waits for, kept current.
    pub(super) outstanding: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
struct Waiter {
    outcome: oneshot::Sender<Outcome>,
    outstanding: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug)]
enum Done {
    Asked { revisions: Vec<i64>, begun_before: Ticket, seen: Result<Seen> },
    Fenced { ids: Vec<String>, is_done: bool },
    Removed { ids: Vec<String>, is_done: bool },
    Hinted,
}

/// The one that asks.
#[derive(Debug)]
pub(super) struct Keeper {
    store: Store,
    timing: Timing,
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    requests: mpsc::UnboundedReceiver<Request>,
    barriers: Barriers,
    waiters: BTreeMap<Ticket, Waiter>,
    next_ticket: Ticket,
    tasks: JoinSet<Done>,
    is_asking: bool,
    is_hinting: bool,
    hint_next: Option<i64>,
    is_doing: bool,
    is_look_wanted: bool,
    pause: Duration,
    next_question: Instant,
    last_failure: String,
}

impl Keeper {
    pub(super) fn new(
        store: Store,
        timing: Timing,
        shared: Arc<Shared>,
        progress: watch::Receiver<Progress>,
        requests: mpsc::UnboundedReceiver<Request>,
    ) -> Self {
        Self {
            store,
            timing,
            shared,
            progress,
            requests,
            barriers: Barriers::new(timing),
            waiters: BTreeMap::new(),
            next_ticket: 1,
            tasks: JoinSet::new(),
            is_asking: false,
            is_hinting: false,
            hint_next: None,
            is_doing: false,
            is_look_wanted: false,
            pause: SHORTEST_PAUSE,
            next_question: Instant::now(),
            last_failure: String::new(),
        }
    }

    /// Keeps the barriers until nobody is left who could ask for one.
    pub(super) async fn run(&mut self) {
        loop {
            let wake = self.act();
            // Where there is one process, its own progress is all that is waited for.
            let is_alone = self.store.is_alone() && !self.waiters.is_empty();
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Barrier(barrier)) => self.begin(barrier),
                    Some(Request::Hint(revision)) => self.hint(revision),
                    None => return,
                },
                Some(done) = self.tasks.join_next() => if let Ok(done) = done { self.done(done) },
                () = self.shared.see_fences.notified() => self.is_look_wanted = true,
                changed = self.progress.changed(), if is_alone => match changed {
                    Ok(()) => self.next_question = Instant::now(),
                    Err(_) => return,
                },
                () = sleep_until(wake) => {}
            }
        }
    }

    fn begin(&mut self, barrier: Barrier) {
        let Barrier { revision, chain, since, outcome, outstanding } = barrier;
        self.barriers.begin(self.next_ticket, revision, chain, since);
        self.waiters.insert(self.next_ticket, Waiter { outcome, outstanding });
        self.next_ticket = self.next_ticket.saturating_add(1);
        self.pause = SHORTEST_PAUSE;
        self.next_question = Instant::now();
        self.hint(revision);
    }

    /// Tells the others, at most one such call at a time: what comes meanwhile is told together.
    fn hint(&mut self, revision: i64) {
        if self.is_hinting {
            self.hint_next = Some(revision);
            return;
        }
        self.is_hinting = true;
        let store = self.store.clone();
        self.tasks.spawn(async move {
            store.hint(revision).await;
            Done::Hinted
        });
    }

    /// Does all that can be done now; until when there is nothing to do but to listen.
    fn act(&mut self) -> Instant {
        let over = self.barriers.time_out(boot_time());
        self.finish(over);
        if !self.is_doing
            && let Some(deed) = self.barriers.deeds(boot_time()).into_iter().next()
        {
            self.is_doing = true;
            self.perform(deed);
        }
        let now = Instant::now();
        let question = self.barriers.question().or_else(|| self.is_look_wanted.then(Vec::new));
        let mut wake = now + LONGEST_PAUSE * 20;
        if let Some(revisions) = question.filter(|_| !self.is_asking) {
            if now >= self.next_question {
                self.ask(revisions);
                self.next_question = now + self.pause;
                self.pause = (self.pause * 5 / 4).min(LONGEST_PAUSE);
            } else {
                wake = self.next_question;
            }
        }
        match self.barriers.next_time() {
            // A little later, since what is waited for is that it is over.
            Some(time) => wake.min(now + time.since(boot_time()) + SHORTEST_PAUSE),
            None => wake,
        }
    }

    fn ask(&mut self, revisions: Vec<i64>) {
        self.is_asking = true;
        self.is_look_wanted = false;
        let begun_before = self.next_ticket;
        if self.store.is_alone() {
            let seen = Ok(self.own_word(&revisions));
            self.done(Done::Asked { revisions, begun_before, seen });
            return;
        }
        let (store, limit) = (self.store.clone(), self.timing.statement_timeout());
        let patience = self.timing.connect_timeout();
        self.tasks.spawn(async move {
            let answer = timeout(limit, store.roll(&revisions)).await;
            let answer = answer.unwrap_or_else(|_| Err(Error::unavailable("the database does not answer")));
            if answer.is_err() {
                let _made = timeout(patience, store.reconnect_keeper()).await;
            }
            Done::Asked { revisions, begun_before, seen: answer.map(seen) }
        });
    }

    /// Where one process has the database to itself, it is the only one that must confirm, and its own word counts.
    fn own_word(&self, revisions: &[i64]) -> Seen {
        let own = Peer { id: String::new(), is_fencing: false, applied: -1, lease: self.timing.lease() };
        let waiting = self.barriers.chains();
        let chains = waiting.into_iter().filter(|(revision, _)| revisions.contains(revision)).collect();
        Seen { lease: self.timing.lease(), peers: vec![own], chains }
    }

    fn perform(&mut self, deed: Deed) {
        let (store, limit) = (self.store.clone(), self.timing.connect_timeout());
        self.tasks.spawn(async move {
            match deed {
                Deed::Fence { ids, below } => {
                    tracing::warn!(replicas = ids.join(", "), below, "these replicas do not confirm and are shut out");
                    let is_done = matches!(timeout(limit, store.fence(&ids, below)).await, Ok(Ok(())));
                    Done::Fenced { ids, is_done }
                }
                Deed::Remove(ids) => {
                    let is_done = matches!(timeout(limit, store.remove_fenced(&ids)).await, Ok(Ok(())));
                    Done::Removed { ids, is_done }
                }
            }
        });
    }

    fn done(&mut self, done: Done) {
        match done {
            Done::Hinted => {
                self.is_hinting = false;
                if let Some(revision) = self.hint_next.take() {
                    self.hint(revision);
                }
            }
            Done::Asked { revisions, begun_before, seen } => {
                self.is_asking = false;
                match seen {
                    Ok(mut seen) => {
                        self.last_failure.clear();
                        self.speak_for_ourselves(&mut seen);
                        let over = self.barriers.seen(&revisions, begun_before, &seen, boot_time());
                        self.finish(over);
                        self.tell_outstanding();
                    }
                    Err(failure) => {
                        let failure = failure.to_string();
                        if failure != self.last_failure {
                            tracing::warn!("the replicas cannot be read: {failure}");
                            self.last_failure = failure;
                        }
                    }
                }
            }
            Done::Fenced { ids, is_done } => {
                self.is_doing = false;
                if is_done {
                    self.barriers.fenced(&ids, boot_time());
                } else {
                    self.retry_later();
                }
            }
            Done::Removed { ids, is_done } => {
                self.is_doing = false;
                if is_done {
                    self.barriers.removed(&ids);
                } else {
                    self.retry_later();
                }
            }
        }
    }

    /// A deed that failed is tried again, but not at once.
    fn retry_later(&mut self) {
        self.is_doing = true;
        let limit = self.timing.poll_interval();
        self.tasks.spawn(async move {
            tokio::time::sleep(limit).await;
            Done::Removed { ids: Vec::new(), is_done: true }
        });
    }

    /// What this process has published it need not read back.
    fn speak_for_ourselves(&self, seen: &mut Seen) {
        let progress = self.progress.borrow();
        for peer in &mut seen.peers {
            if peer.id == progress.replica_id || self.store.is_alone() {
                peer.applied = peer.applied.max(progress.applied);
            }
        }
    }

    fn finish(&mut self, over: Vec<(Ticket, Outcome)>) {
        for (ticket, outcome) in over {
            if let Some(waiter) = self.waiters.remove(&ticket) {
                // Whoever waited may have gone away; what it waited for is settled all the same.
                let _gone = waiter.outcome.send(outcome);
            }
        }
        self.shared.pulse.lock().waiting = self.waiters.len();
    }

    fn tell_outstanding(&self) {
        for (ticket, waiter) in &self.waiters {
            *waiter.outstanding.lock() = self.barriers.outstanding(*ticket);
        }
        self.shared.pulse.lock().outstanding = self.barriers.all_outstanding().len();
    }
}

pub(super) fn seen(roll: Roll) -> Seen {
    let peers = roll.replicas.into_iter().map(|row| Peer {
        id: row.id,
        is_fencing: row.is_fencing,
        applied: row.applied,
        lease: row.lease,
    });
    Seen { lease: roll.lease.unwrap_or_default(), peers: peers.collect(), chains: roll.chains }
}
