//! The other replicas, asked whether they serve: a process that hangs is a row like any other in the database.
//!
//! They are asked as nobody: an address in the database may be anybody's, who must not get root's credential.

use std::net::SocketAddr;
use std::time::Duration;

use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::super::ClientOptions;
use super::super::connect::Connection;
use super::super::failure::{Failure, Lack};
use super::finding;
use crate::proto::v1::{Finding, FindingSeverity, Replica, ReplicaState};

/// How long each has to answer: they are asked one after the other.
const PATIENCE: Duration = Duration::from_secs(3);

/// Of more replicas the rest is only named.
const MAX_ASKED: usize = 16;

const CHECK: &str = "servers";

/// What the others say, and which were not asked. `server` is the address of the one that was.
pub(super) async fn ask(options: &ClientOptions, server: &str, replicas: &[Replica], asked: &str) -> Vec<Finding> {
    let others = replicas.iter().filter(|replica| replica.id != asked && replica.state() == ReplicaState::Active);
    let (mut findings, mut answered, mut unasked) = (Vec::new(), Vec::new(), Vec::new());
    for replica in others {
        let is_one_too_many = answered.len().saturating_add(findings.len()) >= MAX_ASKED;
        let Some(address) = reachable(&replica.address, server).filter(|_| !is_one_too_many) else {
            unasked.push(replica.address.as_str());
            continue;
        };
        match serves(options, &address).await {
            Ok(ServingStatus::Serving) => answered.push(replica.address.as_str()),
            Ok(ServingStatus::NotServing | ServingStatus::Unknown | ServingStatus::ServiceUnknown) => {
                findings.push(finding(
                    CHECK,
                    FindingSeverity::Problem,
                    format!("{} at {} answers no Checks now", replica.id, replica.address),
                    "look at its log, and ask it by --server".to_owned(),
                ));
            }
            Err(failure) => findings.push(unanswered(replica, &failure)),
        }
    }
    if !answered.is_empty() {
        findings.push(finding(
            CHECK,
            FindingSeverity::Fine,
            format!("also serve: {}", answered.join(", ")),
            String::new(),
        ));
    }
    if !unasked.is_empty() {
        let seen = format!("not asked: {}", unasked.join(", "));
        findings.push(finding(CHECK, FindingSeverity::Fine, seen, "ask each of them by --server".to_owned()));
    }
    findings
}

/// Why a replica did not answer.
fn unanswered(replica: &Replica, failure: &Failure) -> Finding {
    let told = failure.to_string();
    let told = told.strip_prefix("error: ").unwrap_or(&told).lines().next().unwrap_or_default();
    let Replica { id, address, .. } = replica;
    let (severity, seen, remedy) = match failure.lack() {
        Lack::Connection => (
            FindingSeverity::Warning,
            format!("{id} could not be asked: {told}"),
            "look whether it runs, and ask from a machine that reaches it",
        ),
        Lack::Trust => (
            FindingSeverity::Warning,
            format!("{id} at {address} could not be asked: {told}"),
            "see whether its certificate names that address and comes from --tls-ca-file, or ask it by --server",
        ),
        Lack::Admission => (
            FindingSeverity::Warning,
            format!("{id} at {address} could not be asked: whoever answers there refuses us: {told}"),
            "look what stands before it: a replica lets everybody ask for its health",
        ),
        Lack::Answer => (
            FindingSeverity::Problem,
            format!("{id} at {address} takes connections and does not answer"),
            "look whether it is stopped or overloaded: the next revocation waits for it, until it is shut out",
        ),
        Lack::Sense => (
            FindingSeverity::Problem,
            format!("{id} at {address} answers with an error: {told}"),
            "look at its log, and whether it is keyward that answers there",
        ),
    };
    finding(CHECK, severity, seen, remedy.to_owned())
}

/// Where a replica that says it serves at `address` is reached by one who reached another at `server`; nowhere if that is
/// not known: a listener for all addresses says none, and a loopback address is of the machine it is on.
fn reachable(address: &str, server: &str) -> Option<String> {
    let (scheme, theirs) = server.split_once("://")?;
    let ip = address.parse::<SocketAddr>().ok()?.ip();
    let is_here = super::is_local(server);
    let is_known = !ip.is_unspecified() && (is_here || !ip.is_loopback()) && address != theirs;
    is_known.then(|| format!("{scheme}://{address}"))
}

async fn serves(options: &ClientOptions, address: &str) -> Result<ServingStatus, Failure> {
    let connection = Connection::open_at(options, address, PATIENCE.min(options.timeout)).await?;
    let request = connection.request(HealthCheckRequest { service: String::new() });
    Ok(HealthClient::new(connection.channel()).check(request).await?.into_inner().status())
}

#[cfg(test)]
mod tests;
