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
use super::super::failure::Failure;
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
            Err(Failure::Unreachable(cause)) => findings.push(finding(
                CHECK,
                FindingSeverity::Warning,
                format!("{} could not be asked: {cause}", replica.id),
                "look whether it runs, and ask from a machine that reaches it".to_owned(),
            )),
            Err(_) => findings.push(finding(
                CHECK,
                FindingSeverity::Problem,
                format!("{} at {} takes connections and does not answer", replica.id, replica.address),
                "look whether it is stopped or overloaded: the next revocation waits for it, until it is shut out"
                    .to_owned(),
            )),
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
mod tests {
    use super::*;

    #[test]
    fn only_an_address_that_is_another_s_is_asked() {
        let cases = [
            ("10.0.0.8:50052", "http://10.0.0.7:50052", Some("http://10.0.0.8:50052")),
            ("10.0.0.8:50052", "https://keyward.example:50052", Some("https://10.0.0.8:50052")),
            ("[fd00::1]:50052", "http://10.0.0.7:50052", Some("http://[fd00::1]:50052")),
            ("127.0.0.1:50062", "http://127.0.0.1:50052", Some("http://127.0.0.1:50062")),
            ("127.0.0.1:50052", "http://127.0.0.1:50052", None),
            ("127.0.0.1:50062", "http://10.0.0.7:50052", None),
            ("0.0.0.0:50052", "http://10.0.0.7:50052", None),
            ("[::]:50052", "http://127.0.0.1:50052", None),
            ("", "http://10.0.0.7:50052", None),
            ("10.0.0.8:50052", "unix:/run/keyward.sock", None),
        ];
        for (address, server, expected) in cases {
            assert_eq!(reachable(address, server).as_deref(), expected, "{address} from {server}");
        }
    }
}
