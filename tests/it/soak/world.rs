//! What the clients of the soak share: the site, the weather, what went wrong, and what must be there in the end.

use super::askers::timed;
use super::changes::{AFTER_AN_ERROR, Acknowledged};
use super::errors::{Failed, Spell, Weather, reason_of};
use super::keys::LIMIT;
use crate::barrier::history::Fact;
use crate::barrier::site::{PATIENCE, Site};
use crate::harness::settings::Dice;
use crate::usage::question;
use keyward::proto::v1::CheckRequest;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use parking_lot::Mutex;
use prost_types::Timestamp;
use sea_orm::sqlx;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{sleep, timeout};
use tonic::{Response, Status};

/// The lease of all replicas.
pub(super) const LEASE: Duration = Duration::from_secs(2);

/// About how many credentials are asked about at a time: those that are alive, and those that were taken away last.
const BOARD: usize = 120;

/// So near to its end nobody is judged by a token: the wall clock is another than that of the tests.
pub(super) const SLACK: Duration = Duration::from_secs(1);

/// How often it is looked whether something was done.
const STEP: Duration = Duration::from_millis(10);

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
    /// When it ends by itself.
    pub(super) until: Option<Duration>,
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
    /// Mutations that were sent once more, and those of them that were found done.
    pub(super) repeated: AtomicU64,
    pub(super) found_done: AtomicU64,
}

/// All of it.
pub(super) struct World {
    pub(super) site: Arc<Site>,
    /// How many replicas have joined.
    joined: AtomicUsize,
    /// The last revision before anybody began.
    pub(super) first: i64,
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
    /// How each thing may look: several ways only until a mutation of it is answered.
    pub(super) model: Mutex<BTreeMap<String, Vec<String>>>,
    /// Which events each thing must have, in order and no others.
    pub(super) histories: Mutex<BTreeMap<String, Vec<&'static str>>>,
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

/// The part of a credential that must be in no log: what follows the last underscore, and of a JWT the longest word of the
/// signature.
fn secret_of(text: &str) -> &str {
    match text.rsplit_once('.') {
        Some((_, signature)) => signature.split(['-', '_']).max_by_key(|word| word.len()).unwrap_or_default(),
        None => text.rsplit('_').next().unwrap_or_default(),
    }
}

pub(super) fn bump(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

impl World {
    pub(super) fn new(site: Arc<Site>, joined: usize, first: i64) -> Arc<Self> {
        Arc::new(Self {
            site,
            joined: AtomicUsize::new(joined),
            first,
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
            histories: Mutex::default(),
            secrets: Mutex::default(),
            is_over: AtomicBool::new(false),
            is_resting: AtomicBool::new(false),
            busy: AtomicU64::new(0),
        })
    }

    /// How many replicas have joined.
    pub(super) fn joined(&self) -> usize {
        self.joined.load(Ordering::SeqCst)
    }

    /// One more serves.
    pub(super) fn join(&self) {
        self.joined.fetch_add(1, Ordering::SeqCst);
    }

    /// One of the replicas.
    pub(super) fn anywhere(&self, dice: &mut Dice) -> usize {
        dice.roll(self.joined() as u64) as usize
    }

    /// The time of the tests.
    pub(super) fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The same time of a line in a log.
    pub(super) fn time_of(&self, timestamp: &str) -> Option<Duration> {
        self.time_at(OffsetDateTime::parse(timestamp, &Rfc3339).ok()?)
    }

    /// The same time of the wall clock; none before it began.
    fn time_at(&self, at: OffsetDateTime) -> Option<Duration> {
        (at - self.begun_at).try_into().ok()
    }

    /// The same of the end that a token was told.
    pub(super) fn end_of(&self, expire_time: Option<Timestamp>) -> Option<Duration> {
        let Timestamp { seconds, nanos } = expire_time?;
        self.time_at(OffsetDateTime::from_unix_timestamp(seconds).ok()? + Duration::new(0, nanos.unsigned_abs()))
    }

    /// Waits until so many more mutations were answered with OK.
    pub(super) async fn until_more_is_done(&self, more: usize) {
        let wanted = self.acknowledged.lock().len() + more;
        // In steps of its own: while the machine stands still, none is done.
        for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
            if self.acknowledged.lock().len() >= wanted {
                return;
            }
            sleep(STEP).await;
        }
        panic!("nothing can be changed:\n{}", self.plight().await);
    }

    /// What may tell why nothing goes on: the last errors, what the database does, and what replicas have said last.
    async fn plight(&self) -> String {
        let now = self.now();
        let mut lines =
            vec![format!("at {now:?}; {:?}", self.weather.lock().0.iter().rev().take(8).collect::<Vec<_>>())];
        lines.extend(self.failed.lock().iter().rev().take(30).map(|failed| format!("{failed:?}")));
        let sessions = "SELECT concat_ws(' ', pid, client_port, state, wait_event_type, wait_event, now() - xact_start, \
                        pg_blocking_pids(pid), left(query, 90)) FROM pg_stat_activity WHERE xact_start IS NOT NULL";
        let asked = async {
            let mut hand = self.site.hand().await;
            sqlx::query_scalar::<_, String>(sessions).fetch_all(&mut hand).await
        };
        lines.push(format!("{:#?}", timeout(LIMIT, asked).await));
        for (number, replica) in self.site.replicas.iter().enumerate() {
            let logged = replica.logged();
            let last: Vec<&str> = logged.lines().rev().take(12).collect();
            lines.push(format!("replica {number}, last first: {last:#?}"));
        }
        lines.join("\n")
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
        let turn = self.rested().await;
        if self.is_over() { None } else { Some(turn) }
    }

    /// The same for what was begun, and is ended even then.
    pub(super) async fn rested(&self) -> Turn<'_> {
        loop {
            self.busy.fetch_add(1, Ordering::SeqCst);
            let turn = Turn(&self.busy);
            if !self.is_resting.load(Ordering::SeqCst) {
                return turn;
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

    /// Whether a replica knows what was done up to a revision: who is told so need not reckon with older state there.
    pub(super) async fn is_known(&self, at: usize, revision: i64) -> bool {
        let request = CheckRequest { min_revision: revision, ..question("nobody's", "doc/1") };
        let mut checks = CheckServiceClient::new(self.site.replicas[at].data(0));
        self.call("Check", at, checks.check(timed(request, LIMIT))).await.is_some()
    }

    /// Has a credential asked about from now on.
    pub(super) fn watch(&self, text: &str, revision: i64) -> Arc<Watched> {
        self.watch_until(text, revision, None)
    }

    /// The same of one that ends by itself.
    pub(super) fn watch_until(&self, text: &str, revision: i64, until: Option<Duration>) -> Arc<Watched> {
        bump(&self.counts.credentials);
        self.secrets.lock().insert(secret_of(text).to_owned());
        self.put_up(text.to_owned(), revision, until, false)
    }

    fn put_up(&self, text: String, revision: i64, until: Option<Duration>, is_back: bool) -> Arc<Watched> {
        let mut all = self.all.lock();
        let number = all.len() as u64;
        let life = AtomicU8::new(Life::Live as u8);
        let watched = Arc::new(Watched { number, text, revision, until, is_back, life });
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
        watched.iter().map(|watched| self.put_up(watched.text.clone(), revision, watched.until, true)).collect()
    }
}
