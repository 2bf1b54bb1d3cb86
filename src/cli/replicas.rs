//! `keyward replicas`: which servers share the database, and how the one that answers is.

use clap::{Args, Subcommand};

use super::ClientOptions;
use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES};
use super::failure::Failure;
use super::output::{Fields, Paging, or_dash, word};
use super::value::span_text;
use crate::proto::v1::admin_service_client::AdminServiceClient;
use crate::proto::v1::{GetStatusRequest, GetStatusResponse, ListReplicasRequest, ReplicaState};
use tonic::transport::Channel;

/// See which servers share the database, and how they are.
#[derive(Debug, Subcommand)]
pub enum Replicas {
    /// List the replicas in the database, those being shut out included
    #[command(after_help = "\
For root only. A replica that is FENCING has not confirmed a change in time; its row goes once its lease is surely over.

Examples:
  keyward replicas list --key-file root.key
  keyward replicas list -o json")]
    List(List),
    /// Show how the replica that answers is: what it has applied, and how long its lease lasts
    #[command(after_help = "\
For root only. A replica whose lease is over admits nobody; what it is waiting for is in its log and metrics.

Example:
  keyward replicas status --server 10.0.0.7:50052 --key-file root.key")]
    Status,
}

/// List replicas.
#[derive(Debug, Args)]
pub struct List {
    #[command(flatten)]
    paging: Paging,
}

impl Replicas {
    /// Carries out the command.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        match self {
            Self::List(list) => list.run(options).await,
            Self::Status => status(options).await,
        }
    }
}

impl List {
    async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let (connection, mut service) = open(options).await?;
        let fetch = async |page_size, page_token| {
            let request = connection.request(ListReplicasRequest { page_size, page_token });
            let response = service.list_replicas(request).await?.into_inner();
            Ok((response.replicas, response.next_page_token))
        };
        let replicas = self.paging.collect(fetch).await?;
        options.output.list("replicas", &replicas, ["REPLICA", "STATE", "APPLIED", "LEASE", "ADDRESS"], |replica| {
            [
                replica.id.clone(),
                word(replica.state, ReplicaState::as_str_name, "REPLICA_STATE_"),
                replica.applied_revision.to_string(),
                or_dash(&replica.lease_duration.as_ref().map(span_text).unwrap_or_default()),
                or_dash(&replica.address),
            ]
        })
    }
}

async fn status(options: &ClientOptions) -> Result<(), Failure> {
    let (connection, mut service) = open(options).await?;
    let response = service.get_status(connection.request(GetStatusRequest {})).await?.into_inner();
    options.output.reply(&response, || text(&response))
}

fn text(response: &GetStatusResponse) -> String {
    let span = |span: Option<&prost_types::Duration>| span.map(span_text).unwrap_or_default();
    Fields::new()
        .text("replica", &response.replica_id)
        .text("version", &response.version)
        .text("database", &response.database_engine)
        .text("cluster", &response.cluster_id)
        .text("head", &response.revision.to_string())
        .text("applied", &response.applied_revision.to_string())
        .text("log from", &response.floor_revision.to_string())
        .text("lease", &span(response.lease_duration.as_ref()))
        .text("remaining", &span(response.lease_remaining.as_ref()))
        .text("waiting", &response.waiting_mutations.to_string())
        .text("outstanding", &response.outstanding_replicas.to_string())
        .render()
}

async fn open(options: &ClientOptions) -> Result<(Connection, AdminServiceClient<Channel>), Failure> {
    let connection = Connection::open(options, ADMIN_SERVER).await?;
    let service = AdminServiceClient::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    Ok((connection, service))
}
