//! Which errors a client may be answered, and while what fails.

use super::changes::Acknowledged;
use super::world::LEASE;
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// What fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Spell {
    /// The process of a replica is killed, and another begins.
    Killed(usize),
    /// It is asked to leave, and another begins.
    Leaves(usize),
    /// It stands still.
    Paused(usize),
    /// Its link to the database is cut, silent or slow.
    Link(usize),
    /// The database ends or stands still.
    Database,
    /// The machine stands still: the database answered nobody in time.
    Stall,
}

impl Spell {
    fn name(self) -> &'static str {
        match self {
            Self::Killed(_) | Self::Leaves(_) => "gone",
            Self::Paused(_) => "paused",
            Self::Link(_) => "link",
            Self::Database => "database",
            Self::Stall => STALL,
        }
    }

    /// Whether it is about a replica, or about all.
    pub(super) fn concerns(self, replica: usize) -> bool {
        match self {
            Self::Killed(whom) | Self::Leaves(whom) | Self::Paused(whom) | Self::Link(whom) => whom == replica,
            Self::Database | Self::Stall => true,
        }
    }
}

/// When what failed.
#[derive(Debug, Default)]
pub(super) struct Weather(pub(super) Vec<(Spell, Duration, Option<Duration>)>);

impl Weather {
    pub(super) fn begin(&mut self, spell: Spell, now: Duration) -> usize {
        self.0.push((spell, now, None));
        self.0.len() - 1
    }

    pub(super) fn end(&mut self, spell: usize, now: Duration) {
        self.0[spell].2 = Some(now);
    }

    /// Whether something that concerns a replica failed then.
    pub(super) fn is_felt(&self, replica: usize, at: Duration) -> bool {
        self.during(at, at).any(|spell| spell.concerns(replica))
    }

    /// What failed in a span, or so shortly before that it may still be felt: a replica that is silent holds mutations up
    /// for W, as does the head of the ledger that a stopped one has locked.
    pub(super) fn during(&self, from: Duration, until: Duration) -> impl Iterator<Item = Spell> {
        let tail = LEASE.mul_f64(1.2) + Duration::from_millis(750);
        let overlaps = move |begun: Duration, ended: Option<Duration>| {
            begun <= until && ended.is_none_or(|ended| from <= ended + tail)
        };
        self.0.iter().filter(move |(_, begun, ended)| overlaps(*begun, *ended)).map(|(spell, ..)| *spell)
    }
}

/// An error that a client was answered, or made itself.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) rpc: &'static str,
    pub(super) code: Code,
    /// Of its `ErrorInfo`; `-` if it has none, which no answer of Keyward's lacks: then it is the client's own word.
    pub(super) reason: String,
    pub(super) message: String,
    pub(super) replica: usize,
    pub(super) sent: Duration,
    pub(super) answered: Duration,
}

pub(super) fn reason_of(status: &Status) -> String {
    let details = status.get_error_details();
    details.error_info().map_or_else(|| "-".to_owned(), |info| info.reason.clone())
}

const STALL: &str = "stall";

/// While what an error is allowed. What is not here is never allowed: INTERNAL, UNKNOWN and the like with Keyward's own
/// `ErrorInfo` first of all.
const ALLOWED: &[(Code, &str, &[&str])] = &[
    // Keyward's own words.
    (Code::Unavailable, "CANNOT_DECIDE", &["database", "link", "paused", "gone", "stall"]),
    (Code::DeadlineExceeded, "BARRIER_UNFINISHED", &["database", "link", "paused", "gone", "stall"]),
    // No connection: the client's word.
    (Code::Unavailable, "-", &["gone"]),
    // A connection that broke off in the middle of a call has several names.
    (Code::Cancelled, "-", &["gone", "database", "link", "paused"]),
    (Code::Unknown, "-", &["gone"]),
    (Code::Internal, "-", &["gone"]),
    // The time that the client has given is over.
    (Code::DeadlineExceeded, "-", &["database", "link", "paused", "gone", "stall"]),
];

/// What a mutation is told that had no turn. Where that is the machine's doing it is so for all: if more than so many that came
/// later were carried out meanwhile, it was passed over.
const NO_TURN: &str = "too many mutations wait";
const PASSED_OVER: usize = 24;

/// Whether a call writes: then it waits for all replicas, and for whoever has the head of the ledger.
fn is_mutation(rpc: &str) -> bool {
    let reads = ["Check", "BatchCheck", "StreamCheck", "ExtAuthz", "Get", "List", "Watch"];
    !reads.iter().any(|read| rpc.starts_with(read))
}

/// While what it happened, if that allows it.
fn excuse(failed: &Failed, weather: &Weather, done: &[Acknowledged]) -> Option<&'static str> {
    let is_broken = matches!(failed.code, Code::Unknown | Code::Internal)
        || (failed.code == Code::Unavailable && failed.reason == "-");
    let is_felt = |spell: &Spell| spell.concerns(failed.replica) || (is_mutation(failed.rpc) && !is_broken);
    let rows = ALLOWED.iter().filter(|(code, reason, _)| *code == failed.code && *reason == failed.reason);
    let excuses: Vec<&str> = rows.flat_map(|(_, _, spells)| spells.iter().copied()).collect();
    let found = weather.during(failed.sent, failed.answered).filter(is_felt).map(Spell::name);
    let mut found: Vec<_> = found.filter(|name| excuses.contains(name)).collect();
    // What is done to replicas tells more than how the machine is.
    found.sort_unstable_by_key(|name| *name == STALL);
    let is_passed_over = || failed.message.contains(NO_TURN) && passed_over(failed, done) > PASSED_OVER;
    found.first().copied().filter(|name| *name != STALL || !is_passed_over())
}

/// How many mutations came later, and were answered earlier.
fn passed_over(failed: &Failed, done: &[Acknowledged]) -> usize {
    done.iter().filter(|done| done.sent > failed.sent && done.answered < failed.answered).count()
}

/// How often and how long the machine stood still: a line for the table.
pub(super) fn stalls(weather: &Weather) -> String {
    let stalls = weather.0.iter().filter(|(spell, ..)| *spell == Spell::Stall);
    let spans: Vec<Duration> =
        stalls.filter_map(|(_, begun, ended)| Some(ended.as_ref()?.saturating_sub(*begun))).collect();
    let (all, longest) = (spans.iter().sum::<Duration>(), spans.iter().max().copied().unwrap_or_default());
    format!("stood still {} times, {all:.1?} in all, {longest:.1?} at most", spans.len())
}

/// How often which error was answered while what, and those that nobody should be answered.
pub(super) fn judged(
    failed: &[Failed],
    weather: &Weather,
    done: &[Acknowledged],
) -> (BTreeMap<String, u64>, Vec<String>) {
    let (mut table, mut wrong) = (BTreeMap::new(), Vec::new());
    for one in failed {
        let excuse = excuse(one, weather, done);
        let line = format!("{:<24} {:<18?} {:<20} {}", one.rpc, one.code, one.reason, excuse.unwrap_or("NEVER"));
        *table.entry(line).or_default() += 1;
        if excuse.is_none() {
            let spells: Vec<Spell> = weather.during(one.sent, one.answered).collect();
            let passed_over = passed_over(one, done);
            wrong.push(format!(
                "an error that is not promised: {} {one:?} during {spells:?}, {passed_over} later ones before",
                one.message
            ));
        }
    }
    (table, wrong)
}

fn failed(rpc: &'static str, code: Code, reason: &str, at: u64) -> Failed {
    let at = Duration::from_secs(at);
    Failed { rpc, code, reason: reason.to_owned(), message: String::new(), replica: 1, sent: at, answered: at }
}

#[test]
fn errors_are_judged_by_what_fails_meanwhile() {
    let seconds = Duration::from_secs;
    let weather = Weather(vec![
        (Spell::Killed(1), seconds(100), Some(seconds(110))),
        (Spell::Link(2), seconds(200), Some(seconds(210))),
        (Spell::Stall, seconds(50), Some(seconds(51))),
        (Spell::Database, seconds(300), None),
    ]);
    for good in [
        failed("Check", Code::Unavailable, "-", 105),
        failed("Check", Code::Internal, "-", 105),
        failed("CreateKey", Code::Unavailable, "CANNOT_DECIDE", 205),
        failed("RevokeKey", Code::DeadlineExceeded, "BARRIER_UNFINISHED", 212),
        failed("Check", Code::Unavailable, "CANNOT_DECIDE", 305),
    ] {
        assert_eq!(judged(std::slice::from_ref(&good), &weather, &[]).1, Vec::<String>::new(), "{good:?}");
    }
    let late = Failed {
        message: NO_TURN.to_owned(),
        answered: seconds(55),
        ..failed("CreateKey", Code::Unavailable, "CANNOT_DECIDE", 50)
    };
    let later =
        Acknowledged { revision: 1, kind: "", subject: String::new(), sent: seconds(51), answered: seconds(52) };
    let few = vec![later.clone(); PASSED_OVER];
    assert_eq!(judged(std::slice::from_ref(&late), &weather, &few).1, Vec::<String>::new());
    let many = vec![later; PASSED_OVER + 1];
    assert_eq!(judged(std::slice::from_ref(&late), &weather, &many).1.len(), 1, "it was passed over");
    for bad in [
        Failed { sent: seconds(60), answered: seconds(65), ..late },
        failed("CreateKey", Code::Unavailable, "CANNOT_DECIDE", 60),
        failed("Check", Code::Unavailable, "-", 50),
        failed("Check", Code::Cancelled, "-", 50),
        failed("Check", Code::Unavailable, "CANNOT_DECIDE", 205),
        failed("CreateKey", Code::Unavailable, "-", 205),
        failed("CreateKey", Code::Internal, "INTERNAL", 305),
        failed("CreateKey", Code::Internal, "-", 305),
        failed("RevokeKey", Code::DeadlineExceeded, "BARRIER_UNFINISHED", 220),
        failed("CreateToken", Code::FailedPrecondition, "STATE_FORBIDS", 105),
        failed("CreateToken", Code::Unauthenticated, "CREDENTIAL_REFUSED", 105),
        failed("GetKey", Code::NotFound, "NOT_FOUND", 105),
        failed("GetKey", Code::DataLoss, "-", 105),
        failed("GetKey", Code::Unimplemented, "-", 105),
    ] {
        assert_eq!(judged(std::slice::from_ref(&bad), &weather, &[]).1.len(), 1, "{bad:?}");
    }
}
