//! Flags, environment and file become one validated [`Config`]. The only reader of the environment, which it reads
//! through clap. A flag goes before the environment, that before the file, that before the default.
//! Errors name the flag and never repeat a value that may be a secret.

mod address;
mod args;
mod caps;
mod database;
mod ext_authz;
mod file;
mod judge;
mod limits;
mod mail;
mod transport;
mod value;

use crate::domain::cap::Caps;
use crate::error::{Error, Result, Violation};
pub use address::Address;
pub use args::ServeArgs;
pub use caps::CapText;
pub use database::DatabaseUrl;
use database::SCHEMES;
pub use ext_authz::ExtAuthzConfig;
use file::{parse, parse_if, read_file};
pub use limits::Limits;
pub use mail::{MailConfig, MailRoute, SmtpAccount, SmtpServer, SmtpTls, SmtpUrl};
use std::path::PathBuf;
use std::time::Duration;
pub use transport::{ClientEntry, ListedClient, TlsFiles, TransportConfig};
pub use value::{CheckAuth, LogFormat};
use value::{Span, parse_check_auth};

/// Where the rows are if nothing is said.
const DEFAULT_DATABASE_URL: &str = "sqlite:./keyward.db";
const DEFAULT_DATA_ADDR: &str = "127.0.0.1:50051";
const DEFAULT_ADMIN_ADDR: &str = "127.0.0.1:50052";
const DEFAULT_OPS_ADDR: &str = "127.0.0.1:50053";
const DEFAULT_DRAIN_TIMEOUT: &str = "8s";
const DEFAULT_LOG: &str = "info";
const DEFAULT_SIGNING_KEY_LIFE: &str = "90d";

/// SIGTERM must end the process within this time, so draining must end before.
const LONGEST_DRAIN: Duration = Duration::from_secs(10);

/// A signing key is published a day before it signs, so it must live longer than that.
const SHORTEST_SIGNING_KEY_LIFE: Duration = Duration::from_secs(2 * 24 * 60 * 60);

/// A replica that was away for less than this must find the events that it had come to.
const SHORTEST_EVENT_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything `serve` needs to know, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the rows are.
    pub database_url: DatabaseUrl,
    /// Where the root credential is written on first start; printed if none.
    pub root_key_file: Option<PathBuf>,
    /// The file of the key that encrypts signing keys; on SQLite made beside the database if none.
    pub master_key_file: Option<PathBuf>,
    /// Who issues JWTs, if it is said.
    pub issuer: Option<String>,
    /// How long a key signs JWTs.
    pub signing_key_life: Duration,
    /// How long events are kept, if not for ever.
    pub event_retention: Option<Duration>,
    /// How long replicas answer after a poll, if it is said.
    pub lease: Option<Duration>,
    /// Check, ext_authz and health.
    pub data_addr: Address,
    /// Everything.
    pub admin_addr: Address,
    /// Metrics and health over HTTP.
    pub ops_addr: Address,
    /// Who may ask on the data listener; always there if others can reach it.
    pub check_auth: Option<CheckAuth>,
    /// Whether an admin listener that others can reach goes without TLS.
    pub admin_plaintext: bool,
    /// How listeners are reached.
    pub transport: TransportConfig,
    /// How many things a tenant may have.
    pub caps: Caps,
    /// What a Check is for if it does not say.
    pub audience: Vec<String>,
    /// How requests are read that Envoy asks about.
    pub ext_authz: ExtAuthzConfig,
    /// How mail leaves.
    pub mail: MailConfig,
    /// How long calls may go on after SIGTERM.
    pub drain_timeout: Duration,
    /// How the log is written.
    pub log_format: LogFormat,
    /// What is logged, in the syntax of `EnvFilter`.
    pub log_level: String,
    /// The collector of traces and metrics.
    pub otlp_endpoint: Option<String>,
    /// How this service is named in what is exported, if it is said.
    pub service_name: Option<String>,
}

impl Config {
    /// Reads the file if `args` names one, fills in the defaults, and checks all of it; every broken rule is told.
    pub fn load(args: ServeArgs) -> Result<Self> {
        let file = match &args.config {
            Some(path) => read_file(path)?,
            None => ServeArgs::default(),
        };
        Self::checked(args, file)
    }

    fn checked(args: ServeArgs, file: ServeArgs) -> Result<Self> {
        let mut broken = Vec::new();
        let database_url = args
            .database_url
            .clone()
            .or(file.database_url.clone())
            .unwrap_or_else(|| DEFAULT_DATABASE_URL.to_owned().into());
        if !SCHEMES.contains(&database_url.scheme()) {
            broken.push(Violation::new("--database-url", "must begin with sqlite:, postgres: or mysql:"));
        }
        let mail = mail::checked(&mut broken, &args, &file, database_url.folder());
        let ext_authz = ext_authz::checked(&mut broken, &args, &file);
        let transport = transport::checked(&mut broken, &args, &file);
        let caps = caps::checked(&mut broken, &args, &file);
        let config = Self {
            database_url,
            caps,
            mail,
            ext_authz,
            transport,
            root_key_file: args.root_key_file.or(file.root_key_file),
            master_key_file: args.master_key_file.or(file.master_key_file),
            issuer: args.issuer.or(file.issuer),
            signing_key_life: parse::<Span>(
                &mut broken,
                "--signing-key-life",
                args.signing_key_life.or(file.signing_key_life),
                DEFAULT_SIGNING_KEY_LIFE,
            )
            .0,
            event_retention: parse_if::<Span>(
                &mut broken,
                "--event-retention",
                args.event_retention.or(file.event_retention),
            )
            .map(|span| span.0),
            lease: parse_if::<Span>(&mut broken, "--lease", args.lease.or(file.lease)).map(|span| span.0),
            data_addr: parse(&mut broken, "--data-addr", args.data_addr.or(file.data_addr), DEFAULT_DATA_ADDR),
            admin_addr: parse(&mut broken, "--admin-addr", args.admin_addr.or(file.admin_addr), DEFAULT_ADMIN_ADDR),
            ops_addr: parse(&mut broken, "--ops-addr", args.ops_addr.or(file.ops_addr), DEFAULT_OPS_ADDR),
            check_auth: args.check_auth.or(file.check_auth).and_then(|word| {
                let parsed = parse_check_auth(&word);
                parsed.map_err(|rule| broken.push(Violation::new("--check-auth", rule))).ok()
            }),
            admin_plaintext: args.admin_plaintext.or(file.admin_plaintext).unwrap_or_default(),
            audience: args.audience.or(file.audience).unwrap_or_default(),
            drain_timeout: parse::<Span>(
                &mut broken,
                "--drain-timeout",
                args.drain_timeout.or(file.drain_timeout),
                DEFAULT_DRAIN_TIMEOUT,
            )
            .0,
            log_format: parse(&mut broken, "--log-format", args.log_format.or(file.log_format), "human"),
            log_level: args.log.or(file.log).unwrap_or_else(|| DEFAULT_LOG.to_owned()),
            otlp_endpoint: args
                .otlp_endpoint
                .or(args.otel_exporter_otlp_endpoint)
                .or(file.otlp_endpoint)
                .filter(|endpoint| !endpoint.is_empty()),
            // To OpenTelemetry a variable that is empty is none.
            service_name: args.otel_service_name.filter(|name| !name.is_empty()),
        };
        // What could not be parsed has been replaced by its default, about which there is nothing to say.
        if broken.is_empty() {
            config.judge(&mut broken);
        }
        if broken.is_empty() { Ok(config) } else { Err(Error::Invalid(broken)) }
    }
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
