//! `keyward events`: the audit log.

mod export;
mod watch;

use clap::{Args, Subcommand};
use tonic::transport::Channel;

use super::ClientOptions;
use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES};
use super::failure::Failure;
use super::output::{Paging, or_dash, print};
use super::value::{time_column, within_tenant};
use crate::proto::v1::event_service_client::EventServiceClient;
use crate::proto::v1::{Event, ListEventsRequest};
use crate::server::{Verdict, VerifyArgs, verify_events};

/// Read the audit log.
#[derive(Debug, Subcommand)]
pub enum Events {
    /// List what was changed, by whom and when, oldest first
    #[command(after_help = "\
Fields of a filter: kind, actor, subject, revision, request_id, time; with =, <, >, AND and quoted strings.

Examples:
  keyward events list --tenant acme --filter 'kind = \"key.revoke\" AND time > \"2026-01-01T00:00:00Z\"'
  keyward events list --all-tenants --limit 100 -o json")]
    List(List),
    /// Show events as they happen, until it is interrupted
    #[command(after_help = "\
Shows the events after a revision, from the first if none is given, and then each as soon as it is in force on the server
that is asked; none is left out and none comes twice. When the connection ends it connects again and goes on after the last
event it has shown, which it says on standard error. With -o json each event is an object on a line of its own.

Examples:
  keyward events watch --tenant acme
  keyward events watch --all-tenants --after 8132 -o json | jq -c 'select(.kind == \"key.revoke\")'")]
    Watch(watch::Watch),
    /// Write all events as JSON, one object a line, oldest first
    #[command(after_help = "\
What is written is complete up to the last line. Where it ended, go on with --after and the revision of that line. Each
event has the hash chain after it, which stands for it and all before it: what --head-file keeps, away from the database,
shows by `keyward events verify` whether one of them was changed or taken away since.

Examples:
  keyward events export --all-tenants --key-file root.key --head-file head > events.jsonl
  keyward events export --tenant acme --after 8132 >> acme.jsonl")]
    Export(export::Export),
    /// Read the whole audit log in a database, and say whether it is what was written, and the rows what it says of them
    #[command(after_help = "\
Reads the database itself, and needs no server; it writes nothing, and may run beside one. Finds an event that was deleted
or edited, changes in the log that are not those of their event, a head that was set back; and a row of a tenant, user,
key, application, token or session that was added, edited, set back or deleted behind the log. It cannot tell so of a row
whose last change was pruned from the log, and says of how many. Whoever can write to the
database could also have written everything anew, or cut off its end together with the head: that is found only by
comparing with a head that was exported earlier and kept elsewhere.

Exits with 0 when all of it is whole, 1 when something is wrong, and 2 when it could not be told.

Examples:
  keyward events export --all-tenants --head-file /safe/head > /safe/events.jsonl
  keyward events verify --database-url postgres://keyward@db.example/keyward --head-file /safe/head
  keyward events verify --database-url sqlite:keyward.db --head 8132:5f0c…")]
    Verify(VerifyArgs),
}

/// List what was changed, by whom and when, oldest first.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    scope: Scope,

    /// Which ones, in a subset of AIP-160
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    #[command(flatten)]
    paging: Paging,
}

/// Whose events.
#[derive(Debug, Args)]
pub(super) struct Scope {
    /// Events of all tenants and of none, for root only
    #[arg(long)]
    all_tenants: bool,
}

impl Scope {
    fn parent(&self, options: &ClientOptions) -> Result<String, Failure> {
        if self.all_tenants { Ok(String::new()) } else { options.tenant() }
    }
}

impl Events {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(options).await,
            Self::Watch(watch) => watch.run(options).await,
            Self::Export(export) => export.run(options).await,
            Self::Verify(verify) => verified(verify).await,
        }
    }
}

/// Verifies offline; what is wrong is an answer, not a failure to find one.
async fn verified(verify: &VerifyArgs) -> Result<(), Failure> {
    let mut printed = Ok(());
    let verdict = verify_events(verify, |line| {
        if printed.is_ok() {
            printed = print(line);
        }
    });
    let verdict = verdict.await;
    printed?;
    match verdict {
        Verdict::Whole => Ok(()),
        Verdict::Broken | Verdict::Unknown => Err(Failure::Told(verdict.exit_code())),
    }
}

async fn open(options: &ClientOptions) -> Result<(Connection, EventServiceClient<Channel>), Failure> {
    let connection = Connection::open(options, ADMIN_SERVER).await?;
    let service = EventServiceClient::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok((connection, service))
}

impl List {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let parent = self.scope.parent(options)?;
        let (connection, mut service) = open(options).await?;
        let fetch = async |page_size, page_token| {
            let filter = self.filter.clone().unwrap_or_default();
            let request = ListEventsRequest { parent: parent.clone(), filter, page_size, page_token };
            let response = service.list_events(connection.request(request)).await?.into_inner();
            Ok((response.events, response.next_page_token))
        };
        let events = self.paging.collect(fetch).await?;
        options.output.list("events", &events, ["REVISION", "TIME (UTC)", "KIND", "ACTOR", "SUBJECT"], |event| {
            row(event, self.scope.all_tenants)
        })
    }
}

/// What people read of an event; names within their tenant, where it is one.
fn row(event: &Event, is_of_all: bool) -> [String; 5] {
    let name = |name: &str| or_dash(if is_of_all { name } else { within_tenant(name) });
    [
        event.revision.to_string(),
        time_column(event.time.as_ref()),
        event.kind.clone(),
        name(&event.actor),
        name(&event.subject),
    ]
}
