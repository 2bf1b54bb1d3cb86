//! `keyward events`: the audit log.

use clap::{Args, Subcommand};

use super::ClientOptions;
use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES};
use super::failure::Failure;
use super::output::{Paging, or_dash};
use super::value::{time_column, within_tenant};
use crate::proto::v1::event_service_client::EventServiceClient;
use crate::proto::v1::{Event, ListEventsRequest};

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
}

/// List what was changed, by whom and when, oldest first.
#[derive(Debug, Args)]
pub struct List {
    /// Events of all tenants and of none, for root only
    #[arg(long)]
    all_tenants: bool,

    /// Which ones, in a subset of AIP-160
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,

    #[command(flatten)]
    paging: Paging,
}

impl Events {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(options).await,
        }
    }
}

impl List {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let parent = if self.all_tenants { String::new() } else { options.tenant()? };
        let connection = Connection::open(options, ADMIN_SERVER).await?;
        let mut service = EventServiceClient::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
        let fetch = async |page_size, page_token| {
            let filter = self.filter.clone().unwrap_or_default();
            let request = ListEventsRequest { parent: parent.clone(), filter, page_size, page_token };
            let response = service.list_events(connection.request(request)).await?.into_inner();
            Ok((response.events, response.next_page_token))
        };
        let events = self.paging.collect(fetch).await?;
        options.output.list("events", &events, ["REVISION", "TIME (UTC)", "KIND", "ACTOR", "SUBJECT"], |event| {
            let name = |name: &str| or_dash(if self.all_tenants { name } else { within_tenant(name) });
            row(event, name)
        })
    }
}

fn row(event: &Event, name: impl Fn(&str) -> String) -> [String; 5] {
    [
        event.revision.to_string(),
        time_column(event.time.as_ref()),
        event.kind.clone(),
        name(&event.actor),
        name(&event.subject),
    ]
}
