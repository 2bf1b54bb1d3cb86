//! `keyward health`: whether a server answers, for probes where there is no other program to ask with.

use std::collections::BTreeMap;

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::ClientOptions;
use super::connect::{ADMIN_SERVER, Connection};
use super::failure::Failure;

/// Ask whether a server answers Checks.
#[derive(Debug, Args)]
#[command(after_help = "\
Exits with 0 if it does and 3 if it does not or cannot be reached. Needs no credential; every listener has an answer.

Example:
  keyward health --server 127.0.0.1:50053 --timeout 2s")]
pub struct Health {}

impl Health {
    /// Asks, and tells by the exit code.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let connection = Connection::open_anonymous(options, ADMIN_SERVER).await?;
        let request = connection.request(HealthCheckRequest { service: String::new() });
        let status = HealthClient::new(connection.channel()).check(request).await?.into_inner().status();
        match status {
            ServingStatus::Serving => {
                let value = BTreeMap::from([("status", status.as_str_name())]);
                options.output.value(&value, || "serving".to_owned())
            }
            ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown => {
                Err(Failure::Unreachable(format!("the server answers no Checks now ({})", status.as_str_name())))
            }
        }
    }
}
