//! `keyward events verify`: whether the audit log in a database is what was written, and the rows what it says of them,
//! without a server.

use crate::clock::Clock;
use crate::config::DatabaseUrl;
use crate::domain::change::Head;
use crate::error::{Error, Result};
use crate::store::{Audit, Audited, Compared, Fault};
use std::path::{Path, PathBuf};

/// How many faults are told, each on a line; beyond that they are counted.
const MAX_TOLD: u64 = 50;

/// `keyward events verify`.
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// Where the rows are, as for `serve`; on SQLite the server may be running
    #[arg(long, value_name = "URL", env = "KEYWARD_DATABASE_URL", hide_env_values = true)]
    database_url: DatabaseUrl,

    /// A revision and the hash chain after it, as `events export` has written them: the log must have both still
    #[arg(long, value_name = "REVISION:CHAIN", value_parser = parse_head, conflicts_with = "head_file")]
    head: Option<Head>,

    /// The same from a file
    #[arg(long, value_name = "PATH")]
    head_file: Option<PathBuf>,
}

/// What an audit came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is what was written.
    Whole,
    /// Something is not.
    Broken,
    /// It could not be told.
    Unknown,
}

impl Verdict {
    /// What the process exits with.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Whole => 0,
            Self::Broken => 1,
            Self::Unknown => 2,
        }
    }
}

fn parse_head(text: &str) -> std::result::Result<Head, String> {
    text.trim().parse().map_err(|()| "must be a revision, a colon and 64 hexadecimal digits".to_owned())
}

/// Carries it out, and tells `say` what was found, a line each.
pub async fn verify_events(args: &VerifyArgs, mut say: impl FnMut(&str)) -> Verdict {
    match verified(args, &mut say).await {
        Ok(verdict) => verdict,
        Err(error) => {
            let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
            say(&format!("could not tell: {error}{cause}"));
            Verdict::Unknown
        }
    }
}

async fn verified(args: &VerifyArgs, say: &mut impl FnMut(&str)) -> Result<Verdict> {
    let anchor = match (&args.head, &args.head_file) {
        (Some(head), _) => Some(head.clone()),
        (None, Some(path)) => Some(read_head(path)?),
        (None, None) => None,
    };
    let audit = Audit::open(args.database_url.as_str()).await?;
    let read = read(&audit, anchor.as_ref()).await;
    let closed = audit.close().await;
    let Read { audited, rows, told, count } = read?;
    let Audited { start, end, events, compared, is_anchored } = audited;
    closed?;
    for fault in told {
        say(&fault);
    }
    if count > MAX_TOLD {
        say(&format!("and {} faults more", count - MAX_TOLD));
    }
    if count > 0 {
        say(&format!("not whole: {count} faults in {events} events up to revision {}", end.revision));
        return Ok(Verdict::Broken);
    }
    if let (Some(false), Some(anchor)) = (is_anchored, &anchor) {
        say(&format!(
            "could not tell: retention has removed revision {}, with which to compare; the rest is whole",
            anchor.revision
        ));
        return Ok(Verdict::Unknown);
    }
    let first = start.revision.saturating_add(1);
    say(&format!("whole: {events} events from revision {first} to {}, the changes of {compared} too", end.revision));
    say(&format!("rows: {} are what the log says of them", rows.rows.saturating_sub(rows.untold)));
    if rows.untold > 0 {
        say(&format!(
            "of {} rows more the last change is in the log no longer: whether they were edited since cannot be told",
            rows.untold
        ));
    }
    if start.revision > 0 {
        say(&format!("revisions 1 to {} were removed by retention, as an event says", start.revision));
    }
    match &anchor {
        Some(anchor) => say(&format!("revision {} is the one that was exported", anchor.revision)),
        None => say(
            "whoever can write to the database could have written all of it anew: compare it with a head kept elsewhere (--head)",
        ),
    }
    say(&format!("head {end}"));
    Ok(Verdict::Whole)
}

/// What was read, the first faults, and how many there are.
struct Read {
    audited: Audited,
    rows: Compared,
    told: Vec<String>,
    count: u64,
}

/// Reads it all. Once more, if a server has removed events meanwhile that it took for missing.
async fn read(audit: &Audit, anchor: Option<&Head>) -> Result<Read> {
    loop {
        let (mut told, mut count) = (Vec::new(), 0_u64);
        let mut tell = |fault: Fault| {
            count = count.saturating_add(1);
            if count <= MAX_TOLD {
                told.push(fault.to_string());
            }
        };
        let audited = audit.run(anchor, &mut tell).await?;
        let rows = audit.compare_rows(&Clock::default(), &mut tell).await;
        let rows = match rows {
            Ok(rows) => rows,
            Err(error) if count > 0 => {
                // Faults are not kept back because one more thing cannot be read.
                told.push(format!("the rows could not be compared: {error}"));
                Compared::default()
            }
            Err(error) => return Err(error),
        };
        if count == 0 || !audit.has_moved(&audited.start).await? {
            return Ok(Read { audited, rows, told, count });
        }
    }
}

fn read_head(path: &Path) -> Result<Head> {
    let refuse = |rule: String| Error::invalid("--head-file", format!("{}: {rule}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
    parse_head(&text).map_err(refuse)
}
