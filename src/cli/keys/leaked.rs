//! Keys by their text: whose a credential is, and the end of those that others know.

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;

use clap::Args;

use super::show::text;
use super::{Service, Why, open};
use crate::cli::ClientOptions;
use crate::cli::connect::{ADMIN_SERVER, Connection};
use crate::cli::failure::Failure;
use crate::cli::output::{Fields, remark};
use crate::cli::secret::{self, CredentialSource};
use crate::proto::v1::{LookupKeyRequest, RevocationReason, RevokeCredentialsRequest, RevokeCredentialsResponse};

/// Find the key that a credential belongs to.
#[derive(Debug, Args)]
pub struct Lookup {
    #[command(flatten)]
    credential: CredentialSource,
}

/// End leaked credentials.
#[derive(Debug, Args)]
pub struct RevokeCredentials {
    /// The credentials, one a line, `-` for standard input; empty lines are skipped
    #[arg(long, value_name = "PATH")]
    file: PathBuf,

    /// Why; kept with what is revoked and in the audit log
    #[arg(long, value_enum, value_name = "REASON", default_value_t)]
    reason: Why,
}

impl Lookup {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let credential = self.credential.credential()?;
        let (connection, mut service) = open(options).await?;
        let response = service.lookup_key(connection.request(LookupKeyRequest { credential })).await?.into_inner();
        options.output.reply(&response, || text(response.key.as_ref(), 0))
    }
}

impl RevokeCredentials {
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let mut lines = Lines::new(secret::open(&self.file)?);
        // Possession is the proof: a refused key of the caller's must not stand in the way.
        let connection = Connection::open_anonymous(options, ADMIN_SERVER).await?;
        let mut service = Service::new(connection.channel());
        let mut count = 0;
        let mut answer = RevokeCredentialsResponse::default();
        loop {
            let read = lines.next_batch().map_err(|error| secret::unreadable(&self.file, &error));
            let credentials = read.inspect_err(|_| tell_progress(count))?;
            if credentials.is_empty() {
                break;
            }
            let batch_count = credentials.len();
            let reason = RevocationReason::from(self.reason).into();
            let request = connection.request(RevokeCredentialsRequest { credentials, reason });
            let response =
                service.revoke_credentials(request).await.inspect_err(|_| tell_progress(count))?.into_inner();
            answer.revision = answer.revision.max(response.revision);
            count += batch_count;
        }
        options
            .output
            .reply(&answer, || Fields::new().lines("handed in", count.to_string()).revision(answer.revision).render())
    }
}

fn tell_progress(count: usize) {
    remark(&format!("the first {count} credentials are dead, the others may not be; handing all in again is harmless"));
}

/// Credentials from text, in batches that the server takes.
pub(in crate::cli) struct Lines<R> {
    reader: BufReader<R>,
    number: usize,
    held: Option<String>,
}

impl<R: Read> Lines<R> {
    pub(in crate::cli) fn new(read: R) -> Self {
        Self { reader: BufReader::new(read), number: 0, held: None }
    }

    /// The next credentials, at most 1,000 and few enough bytes; none at the end.
    pub(in crate::cli) fn next_batch(&mut self) -> std::io::Result<Vec<String>> {
        let mut batch = Vec::new();
        let mut bytes = 0;
        while batch.len() < MAX_BATCH
            && let Some(credential) = self.next_credential()?
        {
            // Its own bytes, a tag and a length.
            bytes += credential.len() + 4;
            if bytes > MAX_BATCH_BYTES {
                self.held = Some(credential);
                break;
            }
            batch.push(credential);
        }
        Ok(batch)
    }

    fn next_credential(&mut self) -> std::io::Result<Option<String>> {
        if let Some(credential) = self.held.take() {
            return Ok(Some(credential));
        }
        let mut line = Vec::new();
        loop {
            line.clear();
            if self.reader.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            self.number += 1;
            let text = std::str::from_utf8(&line).ok().map(secret::without_line_end);
            match text {
                Some("") => {}
                Some(credential) if credential.len() <= MAX_CREDENTIAL_BYTES => return Ok(Some(credential.to_owned())),
                Some(_) | None => remark(&format!("line {} is skipped: it cannot be a credential", self.number)),
            }
        }
    }
}

/// What the server takes at once.
const MAX_BATCH: usize = 1_000;
/// Below the server's 1 MiB for one request.
const MAX_BATCH_BYTES: usize = 900 << 10;
/// The longest credential there is.
const MAX_CREDENTIAL_BYTES: usize = 8 << 10;
