//! A look at what this replica needs to keep its promises, and at what others can do to it.

use super::Desk;
use crate::domain::clock::Time;
use crate::domain::finding::{Exposure, Finding, judge_certificate, judge_clock, refused_files};
use crate::error::{Error, Result};
use crate::replica::Status;
use crate::store::ReplicaRow;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// More revisions behind than this is more than a moment's work, and more than that is too much.
const NOTABLE_LAG: i64 = 100;
const GREAT_LAG: i64 = 10_000;

/// So many of the newest events are read again.
const RECENT_EVENTS: i64 = 1000;

/// Of more replicas not each is looked at.
const MAX_REPLICAS: u64 = 1000;

/// So long each look at the database may take, so that one that hangs is said to, and all the rest too.
const LOOK: Duration = Duration::from_secs(5);

/// What of a deployment only its wiring knows.
pub struct Deployment {
    /// Its listeners.
    pub exposures: Vec<Exposure>,
    /// Which listeners show a certificate, and until when it is good.
    pub certificates: Box<dyn Fn() -> Vec<(&'static str, Time)> + Send + Sync>,
    /// Which listeners were given files of TLS that cannot be used, which, and why.
    pub refused_files: Box<dyn Fn() -> Vec<(&'static str, String)> + Send + Sync>,
    /// The folder that mail is written to instead of being sent.
    pub mail_folder: Option<String>,
    /// Whether it can sign JWTs.
    pub has_master_key: bool,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment").field("exposures", &self.exposures).finish_non_exhaustive()
    }
}

/// What was found, when, and by whom.
#[derive(Debug)]
pub struct Diagnosis {
    /// What was looked at, all that is well included.
    pub findings: Vec<Finding>,
    /// When, by the replica's clock.
    pub time: Time,
    /// The replica's id.
    pub replica_id: String,
}

/// Looks at everything. What cannot be looked at is a finding too.
pub async fn diagnose(desk: &Desk, deployment: &Deployment) -> Diagnosis {
    let status = desk.ledger.status();
    let mut findings = vec![lease(&status), lag(&status), barrier(&status)];
    let folder = deployment.mail_folder.as_deref();
    let (who, where_to, turn, what, caps, post) = tokio::join!(
        replicas(desk, &status),
        database(desk),
        turn(desk),
        events(desk, status.head),
        super::caps::diagnose(desk),
        mail(desk, folder)
    );
    findings.extend(who);
    findings.extend(where_to);
    findings.extend([turn, what, post]);
    findings.extend(caps);
    findings.push(signing(deployment.has_master_key));
    findings.extend(deployment.exposures.iter().map(Exposure::judge));
    let time = desk.clock.now();
    let certificates = (deployment.certificates)();
    findings.extend(certificates.into_iter().map(|(listener, end)| judge_certificate(listener, time, end)));
    let refused = (deployment.refused_files)();
    findings.extend(refused.into_iter().map(|(listener, why)| refused_files(listener, &why)));
    Diagnosis { findings, time, replica_id: status.replica_id }
}

/// What the database says to one question, if it does within [`LOOK`].
pub(super) async fn look<T>(question: impl Future<Output = Result<T>>) -> Result<T> {
    let said = timeout(LOOK, question).await;
    said.unwrap_or_else(|_| Err(Error::unavailable("the database does not answer")))
}

fn lease(status: &Status) -> Finding {
    let Status { lease, lease_remaining, lease_age, .. } = status;
    let seen = format!("answers for {:.1} s more if the database goes away now", lease_remaining.as_secs_f64());
    if *lease_age > *lease / 2 {
        Finding::warning(
            "lease",
            format!("{seen}: the last poll that succeeded is {:.1} s old", lease_age.as_secs_f64()),
            "look whether the database is slow or hard to reach from this replica",
        )
    } else {
        Finding::fine("lease", seen)
    }
}

fn lag(status: &Status) -> Finding {
    let behind = status.head.saturating_sub(status.applied);
    let seen = format!("{behind} revisions behind the database (revision {})", status.head);
    let remedy = "look whether this machine has too little processor or the database is slow";
    if behind > GREAT_LAG {
        Finding::problem("lag", seen, remedy)
    } else if behind > NOTABLE_LAG {
        Finding::warning("lag", seen, remedy)
    } else {
        Finding::fine("lag", seen)
    }
}

fn barrier(status: &Status) -> Finding {
    if status.waiting == 0 {
        return Finding::fine("barrier", "no revocation waits for a replica");
    }
    Finding::warning(
        "barrier",
        format!("{} mutations wait for {} replicas to confirm them", status.waiting, status.outstanding),
        "if this stays so, see which replica lags: keyward replicas list",
    )
}

async fn replicas(desk: &Desk, status: &Status) -> Vec<Finding> {
    const CHECK: &str = "replicas";
    if desk.store.is_alone() {
        return vec![Finding::fine(CHECK, "one process has the database to itself")];
    }
    let rows = match look(desk.store.replicas("", MAX_REPLICAS)).await {
        Ok(rows) => rows,
        Err(error) => return vec![unreadable(CHECK, &error)],
    };
    let mut findings: Vec<Finding> = rows.iter().filter_map(|row| replica(row, status)).collect();
    if rows.len() as u64 >= MAX_REPLICAS {
        let seen = format!("there are more than the {MAX_REPLICAS} that were looked at");
        findings.push(Finding::warning(CHECK, seen, "look at all of them: keyward replicas list"));
    }
    let active = rows.iter().filter(|row| !row.is_fencing).count();
    findings.push(if active > 1 {
        Finding::fine(CHECK, format!("{active} share the database"))
    } else {
        Finding::warning(CHECK, "there is one: when it stops nobody answers", "start another on the same database")
    });
    findings
}

fn replica(row: &ReplicaRow, status: &Status) -> Option<Finding> {
    let ReplicaRow { id, is_fencing, address, applied, lease: _ } = row;
    let who = format!("{id} at {address}");
    if *is_fencing {
        let remedy = "if it should serve, look at its log: it is cut off, stopped, or too slow; its row goes by itself";
        return Some(Finding::problem("replicas", format!("{who} is shut out: it did not confirm in time"), remedy));
    }
    let behind = status.head.saturating_sub(*applied);
    let is_loading = *applied < 0;
    let is_waited_for = status.waiting > 0 && behind > 0;
    (is_loading || is_waited_for || behind > NOTABLE_LAG).then(|| {
        let seen = if is_loading { "has not loaded yet".to_owned() } else { format!("is {behind} revisions behind") };
        Finding::warning("replicas", format!("{who} {seen}"), "if this stays so, look at its log")
    })
}

async fn database(desk: &Desk) -> Vec<Finding> {
    const CHECK: &str = "database";
    const REMEDY: &str = "change the setting, and see in README.md what the guarantee needs of a database";
    let mut findings = match look(desk.store.examine()).await {
        Ok(remarks) if remarks.is_empty() => {
            vec![Finding::fine(CHECK, format!("{} keeps what it acknowledges", desk.store.engine().word()))]
        }
        Ok(remarks) => remarks.into_iter().map(|remark| Finding::warning(CHECK, remark, REMEDY)).collect(),
        Err(error @ Error::Unavailable { .. }) => vec![unreadable(CHECK, &error)],
        Err(error) => vec![Finding::problem(CHECK, error.to_string(), REMEDY)],
    };
    findings.push(match look(clock_difference(desk)).await {
        Ok(Some(difference)) => judge_clock(difference),
        Ok(None) => Finding::fine("clock", "is the database's own"),
        Err(error) => unreadable("clock", &error),
    });
    findings
}

/// How far our clock is from the database's, less what the question took; `None` if it is the same clock.
async fn clock_difference(desk: &Desk) -> Result<Option<Duration>> {
    let before = desk.clock.now().micros();
    let Some(theirs) = desk.store.database_time().await? else { return Ok(None) };
    let (theirs, after) = (theirs.micros(), desk.clock.now().micros());
    let ahead = theirs.saturating_sub(after).max(before.saturating_sub(theirs)).max(0);
    Ok(Some(Duration::from_micros(ahead.unsigned_abs())))
}

/// Whether a mutation could be carried out: one begins, and ends without a change.
async fn turn(desk: &Desk) -> Finding {
    const CHECK: &str = "mutations";
    match look(desk.store.begin()).await {
        Ok(_) => Finding::fine(CHECK, "can be carried out"),
        Err(error) => Finding::problem(
            CHECK,
            format!("cannot be carried out: {error}"),
            "look whether another session of the database holds a lock on the row of ledger_head, or the disk is full",
        ),
    }
}

async fn events(desk: &Desk, head: i64) -> Finding {
    const CHECK: &str = "events";
    match look(desk.store.audit_recent(RECENT_EVENTS)).await {
        Ok(faults) => match faults.first() {
            None => Finding::fine(CHECK, format!("the last {} are what was written", RECENT_EVENTS.min(head))),
            Some(fault) => Finding::problem(
                CHECK,
                fault.to_string(),
                "find out who writes to the database: keyward events verify reads all of it",
            ),
        },
        Err(error) => unreadable(CHECK, &error),
    }
}

async fn mail(desk: &Desk, folder: Option<&str>) -> Finding {
    const CHECK: &str = "mail";
    let failed = match look(desk.store.failed_mail_count()).await {
        Ok(failed) => failed,
        Err(error) => return unreadable(CHECK, &error),
    };
    if failed > 0 {
        return Finding::problem(
            CHECK,
            format!("{failed} mails could not be sent yet and are tried again"),
            "the log says why: look at --smtp-url, its password and its certificate",
        );
    }
    match folder {
        Some(folder) => Finding::warning(
            CHECK,
            format!("is written to {folder} and not sent: owners of applications get no verification token"),
            "give --smtp-url, unless nobody registers applications here",
        ),
        None => Finding::fine(CHECK, "none waits that could not be sent"),
    }
}

fn signing(has_master_key: bool) -> Finding {
    if has_master_key {
        Finding::fine("signing", "JWTs can be signed")
    } else {
        Finding::warning("signing", "TOKEN_FORMAT_JWT is refused", "give --master-key-file, the same on all replicas")
    }
}

pub(super) fn unreadable(check: &str, error: &crate::error::Error) -> Finding {
    Finding::problem(check, format!("could not be looked at: {error}"), "look at the database and the log")
}
