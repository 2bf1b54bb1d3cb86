//! `keyward doctor`: what is wrong with a deployment, in plain words, and how it is mended.

mod others;

use std::net::IpAddr;
use std::time::Duration;

use clap::Args;
use prost_types::Timestamp;
use tonic::Code;

use super::ClientOptions;
use super::connect::{ADMIN_SERVER, Connection, MAX_RESPONSE_BYTES, server_uri};
use super::failure::{Failure, Lack};
use super::output::plain;
use crate::clock::Clock;
use crate::proto::v1::admin_service_client::AdminServiceClient;
use crate::proto::v1::{DiagnoseRequest, DiagnoseResponse, Finding, FindingSeverity, ListReplicasRequest};

/// A second, and more than that, between our clock and the server's.
const NOTABLE_DIFFERENCE: Duration = Duration::from_secs(2);

/// Of more replicas not each is named.
const MAX_REPLICAS: i32 = 1000;

/// What to do where certificates are not taken.
const TRUST: &str = "see whether its certificate is good, names the host of --server and comes from --tls-ca-file, and \
                     whether it lets in who has --tls-cert-file";

/// Look for what is wrong with a deployment, and say how to mend it.
#[derive(Debug, Args)]
#[command(after_help = "\
Asks one server, as root, what it sees: its lease, the database's settings and clock, the other replicas, the audit log,
mail, listeners and certificates; and looks itself at how that server is reached, and whether the other replicas serve,
as far as it reaches them. Each replica sees its own clock, listeners and certificates: ask each by --server.

Exits with 0 if nothing is wrong, warnings included, and with 1 if something is, a server that does not answer included;
with 2 if the command line cannot be used.

Examples:
  keyward doctor --key-file root.key
  keyward doctor --server https://10.0.0.7:50052 --key-file root.key --quiet
  keyward doctor --key-file root.key -o json")]
pub struct Doctor {
    /// Say nothing of what is well
    #[arg(long)]
    quiet: bool,
}

impl Doctor {
    /// Looks, says what it found, and tells by the exit code.
    pub(super) async fn run(&self, options: &ClientOptions) -> Result<(), Failure> {
        let address = options.server.as_deref().unwrap_or(ADMIN_SERVER);
        let address = server_uri(address).map_err(Failure::Usage)?;
        let mut findings = vec![reach(&address)];
        match examine(options, &address).await {
            Ok((diagnosis, others)) => {
                findings.extend(clock(diagnosis.time));
                findings.extend(diagnosis.findings);
                findings.extend(others);
            }
            Err(failure) => findings.push(unseen(failure)?),
        }
        let wrong = findings.iter().filter(|finding| severity(finding) == FindingSeverity::Problem).count();
        if self.quiet {
            findings.retain(|finding| severity(finding) != FindingSeverity::Fine);
        }
        let response = DiagnoseResponse { findings, ..DiagnoseResponse::default() };
        options.output.reply(&response, || text(&response.findings))?;
        if wrong == 0 { Ok(()) } else { Err(Failure::Told(1)) }
    }
}

/// What the server found, and what the others say.
async fn examine(options: &ClientOptions, server: &str) -> Result<(DiagnoseResponse, Vec<Finding>), Failure> {
    let connection = Connection::open(options, ADMIN_SERVER).await?;
    let mut service = AdminServiceClient::new(connection.channel()).max_decoding_message_size(MAX_RESPONSE_BYTES);
    let diagnosis = service.diagnose(connection.request(DiagnoseRequest {})).await?.into_inner();
    let request = ListReplicasRequest { page_size: MAX_REPLICAS, page_token: String::new() };
    let replicas = service.list_replicas(connection.request(request)).await?.into_inner().replicas;
    let others = others::ask(options, server, &replicas, &diagnosis.replica_id).await;
    Ok((diagnosis, others))
}

/// Whether our own credential is safe on its way.
fn reach(address: &str) -> Finding {
    const CHECK: &str = "reach";
    if address.starts_with("http://") && !is_local(address) {
        return finding(
            CHECK,
            FindingSeverity::Warning,
            format!("root's credential travels to {address} in the clear"),
            "use https:// with --tls-ca-file, a Unix socket, or ask from the same machine".to_owned(),
        );
    }
    finding(CHECK, FindingSeverity::Fine, format!("asked {address}"), String::new())
}

fn is_local(address: &str) -> bool {
    let Ok(uri) = address.parse::<http::Uri>() else { return false };
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn clock(theirs: Option<Timestamp>) -> Option<Finding> {
    let theirs = theirs?;
    let ours = Clock::default().now().micros();
    let theirs = theirs.seconds.saturating_mul(1_000_000).saturating_add(i64::from(theirs.nanos / 1000));
    let difference = Duration::from_micros(ours.abs_diff(theirs));
    (difference >= NOTABLE_DIFFERENCE).then(|| {
        finding(
            "clock",
            FindingSeverity::Warning,
            format!("the server's differs from that of this machine by {} s", difference.as_secs()),
            "look which of the two is wrong: keys expire by the server's".to_owned(),
        )
    })
}

/// Why nothing more could be seen; what is wrong with the command line is told as that.
fn unseen(failure: Failure) -> Result<Finding, Failure> {
    let (check, remedy) = match &failure {
        Failure::Unreachable(_) => {
            ("server", "look whether it runs (its log says why not), and whether --server names its admin listener")
        }
        Failure::Untrusted(_) => ("server", TRUST),
        Failure::Refused(_) if failure.lack() == Lack::Trust => ("server", TRUST),
        Failure::Refused(status) => match status.code() {
            Code::Unauthenticated | Code::PermissionDenied => {
                ("caller", "give root's credential by --key-file; `keyward root rotate` makes a new one")
            }
            Code::Unavailable | Code::DeadlineExceeded => (
                "server",
                "it admits nobody: it has lost its lease or its database, or follows another ledger; its log says which, \
                 and `keyward health` whether it serves",
            ),
            // The connection is there, and --timeout is over.
            Code::Cancelled => ("server", "look whether it is stopped or its database hangs: its log says which"),
            Code::Unimplemented => ("server", "it is older than this program: bring it up to date"),
            _ => ("server", "look at its log"),
        },
        Failure::Broken(_) => ("server", "look whether --server names keyward's admin listener"),
        Failure::Usage(_) | Failure::Lines(_) | Failure::Told(_) | Failure::Output(_) => return Err(failure),
    };
    let seen = failure.to_string();
    let seen = seen.strip_prefix("error: ").unwrap_or(&seen);
    // The lines below, such as when to try again, are for who repeats a command.
    let seen = seen.lines().next().unwrap_or_default().to_owned();
    Ok(finding(check, FindingSeverity::Problem, seen, remedy.to_owned()))
}

fn finding(check: &str, severity: FindingSeverity, description: String, remedy: String) -> Finding {
    Finding { check: check.to_owned(), severity: severity.into(), description, remedy }
}

/// What nobody judged, or judged in a way that is newer than we are, counts as a problem.
fn severity(finding: &Finding) -> FindingSeverity {
    match finding.severity() {
        FindingSeverity::Fine => FindingSeverity::Fine,
        FindingSeverity::Warning => FindingSeverity::Warning,
        FindingSeverity::Problem | FindingSeverity::Unspecified => FindingSeverity::Problem,
    }
}

/// A line for each, and what is to be done below it; the worst last, where it is read.
fn text(findings: &[Finding]) -> String {
    let mut findings: Vec<&Finding> = findings.iter().collect();
    findings.sort_by_key(|finding| severity(finding));
    let mut lines = Vec::new();
    for finding in &findings {
        let word = match severity(finding) {
            FindingSeverity::Fine => "ok      ",
            FindingSeverity::Warning => "warning ",
            FindingSeverity::Problem | FindingSeverity::Unspecified => "WRONG   ",
        };
        lines.push(format!("{word} {}: {}", plain(&finding.check), plain(&finding.description)));
        if !finding.remedy.is_empty() {
            lines.push(format!("         -> {}", plain(&finding.remedy)));
        }
    }
    let count = |wanted| findings.iter().filter(|finding| severity(finding) == wanted).count();
    let (wrong, warnings) = (count(FindingSeverity::Problem), count(FindingSeverity::Warning));
    lines.push(match (wrong, warnings) {
        (0, 0) => "nothing is wrong".to_owned(),
        (0, warnings) => format!("nothing is wrong; warnings: {warnings}"),
        (wrong, warnings) => format!("wrong: {wrong}, warnings: {warnings}"),
    });
    lines.join("\n")
}
