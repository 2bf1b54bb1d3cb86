//! `keyward keys import`: keys from a file, in batches of which a few are on their way at a time.

#![expect(clippy::disallowed_types, reason = "this is a client that speaks gRPC itself")]

mod entry;
mod lines;
mod progress;
mod records;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use self::progress::Progress;
use self::records::{Batch, read};
use super::{Service, open};
use crate::cli::connect::Connection;
use crate::cli::failure::Failure;
use crate::cli::output::remark;
use crate::cli::{ClientOptions, value};
use crate::proto::v1::{ImportKeysRequest, ImportKeysResponse};

/// What people read after the options.
pub(super) const HELP: &str = "\
A line has the fields of a key as `keyward keys get -o json` shows them (display_name or displayName, grants, labels,
expire_time, …), key_id, and either the text in `credential` or its SHA-256 in `sha256`, in hex or base64. In CSV the first
line names the columns; a list is separated by `;` or written as JSON, grants are JSON, and a label has a column of its own,
`labels.team`. An empty cell is as good as none.

A bad line is told with its number and its reason, and the others are imported. The same line twice is harmless, so that an
import that was cut off may simply be run again; with --resume-file it goes on where it was. Exit code 1 says that lines
were refused, and 3 that the server could not be reached any more.

Examples:
  keyward keys import old-keys.jsonl --parent tenants/acme
  keyward keys import old-keys.csv --parent tenants/acme/users/ben --resume-file import.progress
  zcat old-keys.jsonl.gz | keyward keys import - --format jsonl";

/// Take over keys from a file.
#[derive(Debug, Args)]
pub struct Import {
    /// JSON lines or CSV, `-` for standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Who will own them: `tenants/acme`, `users/ben`, `applications/atlas` [default: the tenant]
    #[arg(long, value_name = "NAME")]
    parent: Option<String>,

    /// What the file is [default: csv if its name ends so, else jsonl]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<FileFormat>,

    /// How many keys to send at a time
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,

    /// A file that keeps the last line that is done, so that the next run begins after it; removed at the end
    #[arg(long, value_name = "PATH")]
    resume_file: Option<PathBuf>,
}

/// How keys are written in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum FileFormat {
    /// An object of JSON in each line
    Jsonl,
    /// Comma-separated values under a line of names
    Csv,
}

/// How many batches may be on their way.
const WINDOW: usize = 4;

/// How often in a row a batch is sent again, and how long to wait before the first time.
const TRIES: u32 = 6;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

impl Import {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let tenant = options.tenant()?;
        let parent = match &self.parent {
            Some(parent) => value::parent_name(&tenant, parent).map_err(Failure::Usage)?,
            None => tenant,
        };
        let is_csv = self.file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv"));
        let format = self.format.unwrap_or(if is_csv { FileFormat::Csv } else { FileFormat::Jsonl });
        let mut progress = Progress::begin(&self.file, self.resume_file.as_deref())?;
        let batches = read(&self.file, format, usize::from(self.batch), progress.done_line())?;
        let (connection, service) = open(options).await?;
        let mut sender = Sender {
            connection,
            service,
            timeout: options.timeout,
            parent,
            batches,
            is_read: false,
            failure: None,
            window: VecDeque::new(),
        };
        let sent = sender.send_all(&mut progress).await;
        progress.clear();
        if let Err(failure) = sent {
            remark(&progress.how_to_go_on());
            return Err(failure);
        }
        let (imported, refused) = progress.finish()?;
        options.output.counts(&[("imported", imported), ("refused", refused)])?;
        if refused == 0 { Ok(()) } else { Err(Failure::Lines(refused)) }
    }
}

/// Sends what is read, and remembers what was not acknowledged.
struct Sender {
    connection: Connection,
    service: Service,
    timeout: Duration,
    parent: String,
    batches: mpsc::Receiver<Result<Batch, Failure>>,
    /// Whether the file is at its end.
    is_read: bool,
    /// What went wrong in reading, told once everything before it is imported.
    failure: Option<Failure>,
    window: VecDeque<Batch>,
}

impl Sender {
    /// Sends everything, over as many streams as it takes.
    async fn send_all(&mut self, progress: &mut Progress) -> Result<(), Failure> {
        let mut tries = 0_u32;
        loop {
            let before = progress.done_line();
            let Err(status) = self.send_some(progress).await else {
                return self.failure.take().map_or(Ok(()), Err);
            };
            tries = if progress.done_line() > before { 1 } else { tries.saturating_add(1) };
            if !may_help_to_retry(&status) || tries >= TRIES {
                return Err(Failure::Refused(status));
            }
            sleep(FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)))).await;
        }
    }

    /// Sends over one stream, what was not acknowledged on the one before first, until the end or a failure.
    async fn send_some(&mut self, progress: &mut Progress) -> Result<(), Status> {
        let (requests, stream) = mpsc::channel(WINDOW.saturating_add(1));
        for batch in &self.window {
            let _room_for_all = requests.try_send(self.request(batch));
        }
        let request = self.connection.stream(ReceiverStream::new(stream));
        let opening = self.service.import_keys(request);
        let mut answers = timeout(self.timeout, opening).await.map_err(|_| silent())??.into_inner();
        while !(self.is_read && self.window.is_empty()) {
            tokio::select! {
                batch = self.batches.recv(), if !self.is_read && self.window.len() < WINDOW => match batch {
                    Some(Ok(batch)) => {
                        let _answered_by_an_error = requests.send(self.request(&batch)).await;
                        self.window.push_back(batch);
                    }
                    Some(Err(failure)) => (self.is_read, self.failure) = (true, Some(failure)),
                    None => self.is_read = true,
                },
                answer = timeout(self.timeout, next(&mut answers)), if !self.window.is_empty() => {
                    let answer = answer.map_err(|_| silent())??;
                    match self.window.pop_front() {
                        Some(batch) if batch.sequence == answer.sequence => progress.note(batch, answer),
                        _ => return Err(Status::data_loss("the server answered another batch than was sent")),
                    }
                }
            }
        }
        Ok(())
    }

    fn request(&self, batch: &Batch) -> ImportKeysRequest {
        ImportKeysRequest { parent: self.parent.clone(), sequence: batch.sequence, entries: batch.entries.clone() }
    }
}

async fn next(answers: &mut Streaming<ImportKeysResponse>) -> Result<ImportKeysResponse, Status> {
    answers.message().await?.ok_or_else(|| Status::unavailable("the server ended the stream"))
}

fn silent() -> Status {
    Status::deadline_exceeded("no answer within --timeout")
}

/// Whether the same may be taken a moment later, or by the server that comes next. Sending it twice is harmless.
fn may_help_to_retry(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::ResourceExhausted
        | Code::Aborted
        | Code::Unknown
        | Code::Internal => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

#[cfg(test)]
mod fuzz;
