//! What the clients of the soak share: the site, the weather, what went wrong, and what must be there in the end.

use super::errors::{Failed, Spell, Weather, reason_of};
use crate::barrier::history::Fact;
use crate::barrier::site::{PATIENCE, Site};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{sleep, timeout};
use tonic::{Response, Status};

/// The lease of all replicas.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// About how many credentials are asked about at a time: those that are alive, and those that were taken away last.
const BOARD: usize = 120;

/// What a client does after it was refused.
const AFTER_AN_ERROR: Duration = Duration::from_millis(50);

/// How it is with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// Every Check must allow it.
    Live,
    /// Somebody is about to take it away, or was not told whether it is.
    Ending,
    /// What took it away was answered with OK.
    Ended,
    /// It comes back, as another entry of the board: nobody is judged by this one any more.
    Past,
}

/// A credential that is asked about.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) number: u64,
    pub(super) text: String,
    /// The revision from which on it is allowed.
    pub(super) revision: i64,
    /// Whether replicas may not know yet that it is allowed: it came back, and no replica waits for that.
    pub(super) is_back: bool,
    life: AtomicU8,
}

impl Watched {
    pub(super) fn life(&self) -> Life {
        match self.life.load(Ordering::SeqCst) {
            0 => Life::Live,
            1 => Life::Ending,
            2 => Life::Ended,
            _ => Life::Past,
        }
    }

    pub(super) fn set(&self, life: Life) {
        self.life.store(life as u8, Ordering::SeqCst);
    }
}

/// A mutation that was answered with OK.
#[derive(Clone, Debug)]
pub(super) struct Acknowledged {
    pub(super) revision: i64,
    pub(super) kind: &'static str,
    /// Empty where it is not compared.
    pub(super) subject: String,
}

/// How often what was done.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) allowed: AtomicU64,
    pub(super) denied: AtomicU64,
    pub(super) calls: AtomicU64,
    /// Credentials that were ever made: rows that stay.
    pub(super) credentials: AtomicU64,
    pub(super) pages: AtomicU64,
    pub(super) watches: AtomicU64,
}

/// All of it.
pub(super) struct World {
    pub(super) site: Arc<Site>,
    begun: Instant,
    /// The wall clock then, for what logs say.
    begun_at: OffsetDateTime,
    pub(super) counts: Counts,
    pub(super) failed: Mutex<Vec<Failed>>,
    pub(super) weather: Mutex<Weather>,
    pub(super) facts: Mutex<Vec<Fact>>,
    /// What nobody should see, in words.
    pub(super) wrong: Mutex<Vec<String>>,
    pub(super) board: Mutex<VecDeque<Arc<Watched>>>,
    pub(super) all: Mutex<Vec<Arc<Watched>>>,
    pub(super) acknowledged: Mutex<Vec<Acknowledged>>,
    /// How each thing may look in the end: several ways only if a mutation of it was not answered.
    pub(super) model: Mutex<BTreeMap<String, Vec<String>>>,
    /// What must not be in any log.
    pub(super) secrets: Mutex<HashSet<String>>,
    is_over: AtomicBool,
    is_resting: AtomicBool,
    busy: AtomicU64,
}

/// Whoever has it may call until it is dropped.
pub(super) struct Turn<'a>(&'a AtomicU64);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(super) fn bump(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl World {
    pub(super) fn new(site: Arc<Site>) -> Arc<Self> {
        Arc::new(Self {
            site,
            begun: Instant::now(),
            begun_at: OffsetDateTime::now_utc(),
            counts: Counts::default(),
            failed: Mutex::default(),
            weather: Mutex::default(),
            facts: Mutex::default(),
            wrong: Mutex::default(),
            board: Mutex::default(),
            all: Mutex::default(),
            acknowledged: Mutex::default(),
            model: Mutex::default(),
            secrets: Mutex::default(),
            is_over: AtomicBool::new(false),
            is_resting: AtomicBool::new(false),
            busy: AtomicU64::new(0),
        })
    }

    /// The time of the tests.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The same time of a line in a log.
    pub(super) fn time_of(&self, timestamp: &str) -> Option<Duration> {
        let at = OffsetDateTime::parse(timestamp, &Rfc3339).ok()?;
        (at - self.begun_at).try_into().ok()
    }

    /// Waits until so many more mutations were answered with OK.
    pub(super) async fn until_more_is_done(&self, more: usize) {
        let wanted = self.acknowledged.lock().len() + more;
        let begun = Instant::now();
        while self.acknowledged.lock().len() < wanted {
            assert!(begun.elapsed() < PATIENCE, "nothing can be changed: {:?}", self.failed.lock().last());
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    /// No more is begun.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::SeqCst);
    }

    /// Waits while all rest; none once it is over.
    pub(super) async fn turn(&self) -> Option<Turn<'_>> {
        loop {
            if self.is_over() {
                return None;
            }
            self.busy.fetch_add(1, Ordering::SeqCst);
            let turn = Turn(&self.busy);
            if !self.is_resting.load(Ordering::SeqCst) {
                return Some(turn);
            }
            drop(turn);
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Has all clients rest, and waits until nothing is under way.
    pub(super) async fn rest(&self) {
        self.is_resting.store(true, Ordering::SeqCst);
        let begun = Instant::now();
        while self.busy.load(Ordering::SeqCst) > 0 {
            assert!(begun.elapsed() < PATIENCE, "some call never ends");
            sleep(Duration::from_millis(10)).await;
        }
    }

    pub(super) fn go_on(&self) {
        self.is_resting.store(false, Ordering::SeqCst);
    }

    pub(super) fn note(&self, fact: Fact) {
        self.facts.lock().push(fact);
    }

    pub(super) fn wrong(&self, what: String) {
        self.wrong.lock().push(what);
    }

    /// Something begins to fail: what to end it by.
    pub(super) fn begin(&self, spell: Spell) -> usize {
        self.weather.lock().begin(spell, self.now())
    }

    /// It is over.
    pub(super) fn over(&self, spell: usize) {
        let now = self.now();
        self.weather.lock().end(spell, now);
    }

    /// Keeps what an error was and when.
    pub(super) fn failed(&self, rpc: &'static str, replica: usize, sent: Duration, status: &Status) {
        let reason = reason_of(status);
        let answered = self.now();
        let message = status.message().chars().take(160).collect();
        let code = status.code();
        self.failed.lock().push(Failed { rpc, code, reason, message, replica, sent, answered });
    }

    /// One call at a replica: its answer, or an error that is kept.
    pub(super) async fn call<T>(
        &self,
        rpc: &'static str,
        replica: usize,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<T> {
        bump(&self.counts.calls);
        let sent = self.now();
        match timeout(PATIENCE, call).await {
            Ok(Ok(answer)) => return Some(answer.into_inner()),
            Ok(Err(status)) => self.failed(rpc, replica, sent, &status),
            Err(_) => self.wrong(format!("{rpc} at replica {replica} is never answered")),
        }
        sleep(AFTER_AN_ERROR).await;
        None
    }

    /// A mutation of one thing that looks like `ways.0` and shall look like `ways.1`.
    pub(super) async fn change<T: Revised>(
        &self,
        (rpc, kind): (&'static str, &'static str),
        at: usize,
        name: &str,
        ways: (&str, &str),
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Option<T> {
        self.model.lock().insert(name.to_owned(), vec![ways.0.to_owned(), ways.1.to_owned()]);
        let answer = self.call(rpc, at, call).await?;
        self.model.lock().insert(name.to_owned(), vec![ways.1.to_owned()]);
        self.acknowledge(answer.revision(), kind, name);
        Some(answer)
    }

    pub(super) fn acknowledge(&self, revision: i64, kind: &'static str, subject: &str) {
        self.acknowledged.lock().push(Acknowledged { revision, kind, subject: subject.to_owned() });
    }

    /// Has a credential asked about from now on.
    pub(super) fn watch(&self, text: &str, revision: i64, is_back: bool) -> Arc<Watched> {
        if !is_back {
            bump(&self.counts.credentials);
            self.secrets.lock().insert(text.rsplit('_').next().unwrap_or_default().to_owned());
        }
        let mut all = self.all.lock();
        let number = all.len() as u64;
        let life = AtomicU8::new(Life::Live as u8);
        let watched = Arc::new(Watched { number, text: text.to_owned(), revision, is_back, life });
        all.push(Arc::clone(&watched));
        let mut board = self.board.lock();
        board.push_front(Arc::clone(&watched));
        board.truncate(BOARD);
        watched
    }

    /// These are about to be taken away.
    pub(super) fn ending(&self, watched: &[Arc<Watched>]) {
        watched.iter().for_each(|watched| watched.set(Life::Ending));
    }

    /// What took them away was answered with OK.
    pub(super) fn ended(&self, watched: &[Arc<Watched>]) {
        for watched in watched {
            self.note(Fact::Ended { credential: watched.number, at: self.now() });
            watched.set(Life::Ended);
        }
    }

    /// They may be allowed again from now on.
    pub(super) fn past(&self, watched: &[Arc<Watched>]) {
        watched.iter().for_each(|watched| watched.set(Life::Past));
    }

    /// They are allowed again since a revision.
    pub(super) fn back(&self, watched: &[Arc<Watched>], revision: i64) -> Vec<Arc<Watched>> {
        watched.iter().map(|watched| self.watch(&watched.text, revision, true)).collect()
    }
}

/// An answer that tells the revision of its mutation.
pub(super) trait Revised {
    fn revision(&self) -> i64;
}

macro_rules! revised {
    ($($answer:ident)*) => {
        $(impl Revised for keyward::proto::v1::$answer {
            fn revision(&self) -> i64 {
                self.revision
            }
        })*
    };
}

revised! {
    CreateKeyResponse UpdateKeyResponse RotateKeyResponse SuspendKeyResponse ActivateKeyResponse RevokeKeyResponse
    DeleteKeyResponse UndeleteKeyResponse RevokeCredentialsResponse
    CreateUserResponse UpdateUserResponse SuspendUserResponse ActivateUserResponse DeleteUserResponse SetPasswordResponse
    CreateApplicationResponse VerifyApplicationResponse UpdateApplicationResponse RotateApplicationSecretResponse
    RevokeApplicationResponse ActivateApplicationResponse DeleteApplicationResponse
}
