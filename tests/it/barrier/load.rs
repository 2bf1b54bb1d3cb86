//! Clients that make keys, take them away through any replica, and ask about them at every replica all the while.

use super::history::Fact;
use super::site::{PATIENCE, Site};
use crate::harness::settings::Dice;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::{Code, Request, Status};

/// About how many credentials is asked at a time: those that are alive, and those that were taken away last.
const WATCHED: usize = 96;

/// So many Checks at one replica may be under way before they are sent more slowly, and before no more are sent.
const EASY: usize = 32;
const MOST: usize = 600;

/// A credential that is asked about.
#[derive(Debug)]
pub(super) struct Watched {
    number: u64,
    text: String,
    /// The revision that made it.
    revision: i64,
}

/// What was done so far.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) made: AtomicU64,
    pub(super) ended: AtomicU64,
    pub(super) retried: AtomicU64,
    pub(super) allowed: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) unavailable: AtomicU64,
    pub(super) unanswered: AtomicU64,
    pub(super) slowest_end_ms: AtomicU64,
}

/// The clients of one site.
pub(super) struct Load {
    pub(super) site: Arc<Site>,
    pub(super) counts: Counts,
    begun: Instant,
    facts: Mutex<Vec<Fact>>,
    board: Mutex<VecDeque<Arc<Watched>>>,
    next: AtomicU64,
    is_over: AtomicBool,
    /// Whether Checks are sent slowly.
    is_calm: AtomicBool,
    /// What was answered that nobody should be answered, and what was asked again.
    strange: Mutex<BTreeMap<String, u64>>,
    retried: Mutex<BTreeMap<String, u64>>,
    last_refusal: Mutex<String>,
}

fn bump(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

const THROTTLED: &str = "calls without a credential";

/// What a client does again.
fn is_worth_another_try(status: &Status) -> bool {
    // A process that is killed breaks off in ways that h2 has several names for.
    let codes = [Code::Unavailable, Code::DeadlineExceeded, Code::Cancelled, Code::Unknown, Code::Internal];
    // Who asks again without a pause, and without a credential, is told to wait.
    codes.contains(&status.code()) || (status.code() == Code::ResourceExhausted && status.message().contains(THROTTLED))
}

impl Load {
    pub(super) fn new(site: Arc<Site>) -> Arc<Self> {
        Arc::new(Self {
            site,
            counts: Counts::default(),
            begun: Instant::now(),
            facts: Mutex::default(),
            board: Mutex::default(),
            next: AtomicU64::new(1),
            is_over: AtomicBool::new(false),
            is_calm: AtomicBool::new(false),
            strange: Mutex::default(),
            retried: Mutex::default(),
            last_refusal: Mutex::default(),
        })
    }

    /// The time of the tests.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    pub(super) fn note(&self, fact: Fact) {
        self.facts.lock().push(fact);
    }

    /// Starts so many clients that change keys, and one for each replica that asks.
    pub(super) fn spawn(self: &Arc<Self>, clients: u64, tasks: &mut JoinSet<()>) {
        for client in 0..clients {
            tasks.spawn(Arc::clone(self).change(client));
        }
        for replica in 0..self.site.replicas.len() {
            tasks.spawn(Arc::clone(self).ask(replica));
        }
    }

    /// No more is begun.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    /// Waits, while nothing fails and little is asked, until so many more credentials were taken away.
    pub(super) async fn until_more_are_taken_away(&self, more: u64) {
        self.is_calm.store(true, Ordering::Relaxed);
        let wanted = self.counts.ended.load(Ordering::Relaxed) + more;
        let begun = Instant::now();
        while self.counts.ended.load(Ordering::Relaxed) < wanted {
            let why = || format!("{}{}", self.last_refusal.lock(), self.why_retried());
            assert!(begun.elapsed() < PATIENCE * 2, "nothing can be taken away: {}", why());
            sleep(Duration::from_millis(10)).await;
        }
        self.is_calm.store(false, Ordering::Relaxed);
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// All facts, and what was answered that nobody should be answered.
    pub(super) fn seen(&self) -> (Vec<Fact>, BTreeMap<String, u64>) {
        (self.facts.lock().clone(), self.strange.lock().clone())
    }

    fn note_strange(&self, doing: &str, status: &Status) {
        let text = format!("{doing}: {:?} {}", status.code(), status.message());
        *self.strange.lock().entry(text).or_default() += 1;
    }

    /// Why something was asked again, without what is different each time.
    fn note_retry(&self, doing: &str, status: &Status) {
        bump(&self.counts.retried);
        let message: String = status.message().chars().filter(|c| !c.is_ascii_digit()).take(48).collect();
        *self.retried.lock().entry(format!("{doing}: {:?} {message}", status.code())).or_default() += 1;
    }

    /// Why what was asked again.
    pub(super) fn why_retried(&self) -> String {
        let retried = self.retried.lock();
        retried.iter().map(|(why, count)| format!("\n  {count:6} {why}")).collect()
    }

    async fn change(self: Arc<Self>, client: u64) {
        let mut dice = Dice(0xba11 + client);
        let mut count = 0_u64;
        while !self.is_over() {
            count += 1;
            let Some((name, watched)) = self.make(&mut dice, format!("c{client}-{count}")).await else { continue };
            sleep(Duration::from_millis(dice.roll(150))).await;
            self.take_away(&mut dice, &name, &watched).await;
            sleep(Duration::from_millis(dice.roll(100))).await;
        }
    }

    fn watch(&self, text: String, revision: i64) -> Arc<Watched> {
        let watched = Arc::new(Watched { number: self.next.fetch_add(1, Ordering::Relaxed), text, revision });
        let mut board = self.board.lock();
        board.push_front(Arc::clone(&watched));
        board.truncate(WATCHED);
        watched
    }

    /// A new key, if the replica asked can make one.
    async fn make(&self, dice: &mut Dice, id: String) -> Option<(String, Arc<Watched>)> {
        let at = dice.roll(self.site.replicas.len() as u64) as usize;
        let request = CreateKeyRequest {
            parent: "tenants/-".to_owned(),
            key: Some(Key::default()),
            key_id: id,
            ..CreateKeyRequest::default()
        };
        let mut request = Request::new(request);
        request.set_timeout(Duration::from_secs(3));
        match self.site.owner(at).keys().create_key(request).await.map(tonic::Response::into_inner) {
            Ok(made) => {
                bump(&self.counts.made);
                Some((made.key.unwrap().name, self.watch(made.credential, made.revision)))
            }
            Err(status) => {
                self.note_retry("create", &status);
                if !is_worth_another_try(&status) {
                    self.note_strange("create", &status);
                }
                sleep(Duration::from_millis(20)).await;
                None
            }
        }
    }

    /// Takes a credential away, in one of the ways there are, again and again until it is answered with OK.
    async fn take_away(&self, dice: &mut Dice, name: &str, watched: &Arc<Watched>) {
        let begun = Instant::now();
        let way = dice.roll(6);
        let request_id = uuid::Uuid::new_v4().to_string();
        loop {
            let at = dice.roll(self.site.replicas.len() as u64) as usize;
            // Some callers have little time: what they are not told in time they ask again.
            let limit = Duration::from_millis([300, 1500, 3000, 6000][dice.roll(4) as usize]);
            match self.try_to_take_away(at, way, name, watched, &request_id, limit).await {
                Ok(()) => break,
                Err(status) => {
                    self.note_retry("end", &status);
                    if !is_worth_another_try(&status) || status.code() == Code::Internal {
                        self.note_strange("end", &status);
                    }
                    *self.last_refusal.lock() = format!("{name}: {status}");
                    sleep(Duration::from_millis(dice.roll(50))).await;
                }
            }
        }
        self.note(Fact::Ended { credential: watched.number, at: self.now() });
        bump(&self.counts.ended);
        self.counts.slowest_end_ms.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
        // Now everywhere at once: this is when it must be gone.
        let mut asked = JoinSet::new();
        for replica in 0..self.site.replicas.len() {
            let (site, watched) = (Arc::clone(&self.site), Arc::clone(watched));
            let sent = self.now();
            asked.spawn(async move { (replica, sent, site.replicas[replica].check(&watched.text).await) });
        }
        while let Some(Ok((replica, sent, answer))) = asked.join_next().await {
            self.answered(replica, watched, sent, 0, answer);
        }
    }

    async fn try_to_take_away(
        &self,
        at: usize,
        way: u64,
        name: &str,
        watched: &Watched,
        request_id: &str,
        limit: Duration,
    ) -> Result<(), Status> {
        let mut keys = self.site.owner(at).keys();
        let name = name.to_owned();
        match way {
            0 => {
                keys.suspend_key(timed(SuspendKeyRequest { name, ..Default::default() }, limit)).await?;
            }
            1 => {
                let request_id = request_id.to_owned();
                let request = RotateKeyRequest { name, request_id, ..Default::default() };
                let made = keys.rotate_key(timed(request, limit)).await?.into_inner();
                if !made.credential.is_empty() {
                    self.watch(made.credential, made.revision);
                }
            }
            2 => {
                keys.delete_key(timed(DeleteKeyRequest { name, ..Default::default() }, limit)).await?;
            }
            3 => {
                let credentials = vec![watched.text.clone()];
                let request = RevokeCredentialsRequest { credentials, ..Default::default() };
                keys.revoke_credentials(timed(request, limit)).await?;
            }
            _ => {
                keys.revoke_key(timed(RevokeKeyRequest { name, ..Default::default() }, limit)).await?;
            }
        }
        Ok(())
    }

    async fn ask(self: Arc<Self>, replica: usize) {
        let mut dice = Dice(0xa5c + replica as u64);
        let permits = Arc::new(Semaphore::new(MOST));
        let mut asked = JoinSet::new();
        let mut count = 0_usize;
        while !self.is_over() {
            let under_way = MOST - permits.available_permits();
            let is_calm = self.is_calm.load(Ordering::Relaxed);
            sleep(Duration::from_millis(if is_calm || under_way >= EASY { 40 } else { 8 })).await;
            while asked.try_join_next().is_some() {}
            let watched = {
                let board = self.board.lock();
                if board.is_empty() {
                    continue;
                }
                Arc::clone(&board[dice.roll(board.len() as u64) as usize])
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
            count += 1;
            let wanted = if dice.roll(8) == 0 { watched.revision } else { 0 };
            let channel = self.site.replicas[replica].data(count);
            let this = Arc::clone(&self);
            asked.spawn(async move {
                let request =
                    CheckRequest { credential: watched.text.clone(), min_revision: wanted, ..CheckRequest::default() };
                // One that a replica must catch up for has less time, so that few of them wait at a time.
                let limit = Duration::from_secs(if wanted > 0 { 2 } else { 30 });
                let sent = this.now();
                let answer = CheckServiceClient::new(channel).check(timed(request, limit)).await;
                this.answered(replica, &watched, sent, wanted, answer.map(tonic::Response::into_inner));
                drop(permit);
            });
        }
        while asked.join_next().await.is_some() {}
    }

    fn answered(
        &self,
        replica: usize,
        watched: &Watched,
        sent: Duration,
        wanted: i64,
        answer: Result<CheckResponse, Status>,
    ) {
        let answered = self.now();
        let answer = match answer {
            Ok(answer) => answer,
            Err(status) if status.code() == Code::Unavailable => return bump(&self.counts.unavailable),
            Err(status) => {
                if !is_worth_another_try(&status) {
                    self.note_strange("check", &status);
                }
                return bump(&self.counts.unanswered);
            }
        };
        if answer.decision() == Decision::Allowed {
            bump(&self.counts.allowed);
            self.note(Fact::Allowed { credential: watched.number, replica, sent, answered });
        } else {
            bump(&self.counts.denied);
        }
        if wanted > 0 {
            self.note(Fact::Decided { replica, wanted, revision: answer.revision });
            if answer.reasons().any(|reason| reason == Reason::NotFound) {
                self.note(Fact::Unknown { credential: watched.number, replica });
            }
        }
    }
}

fn timed<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}
