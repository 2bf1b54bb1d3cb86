//! The flags of `serve`, which are also what its environment and its file may say.

use super::{CapText, ClientEntry, DatabaseUrl, SmtpUrl};
use crate::domain::route::RouteText;
use serde::Deserialize;
use std::path::PathBuf;

/// What `serve` is told, by flag or environment; and, under the same names, by the file of `--config`.
#[derive(Clone, Debug, Default, clap::Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ServeArgs {
    /// A TOML file whose keys are the names of these flags
    #[arg(long, value_name = "FILE", env = "KEYWARD_CONFIG", hide_env_values = true)]
    #[serde(skip)]
    pub config: Option<PathBuf>,

    /// Where the rows are: a sqlite:, postgres: or mysql: URL [default: sqlite:./keyward.db]
    #[arg(long, value_name = "URL", env = "KEYWARD_DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<DatabaseUrl>,

    /// Write the root credential to this file (mode 0600) on first start instead of printing it
    #[arg(long, value_name = "PATH", env = "KEYWARD_ROOT_KEY_FILE", hide_env_values = true)]
    pub root_key_file: Option<PathBuf>,

    /// The file of the key that encrypts signing keys, mode 0600 [default on SQLite: made beside the database]
    #[arg(long, value_name = "PATH", env = "KEYWARD_MASTER_KEY_FILE", hide_env_values = true)]
    pub master_key_file: Option<PathBuf>,

    /// Who issues JWTs, an http:// or https:// URL; fixed by the first start [default: http:// and the ops address]
    #[arg(long, value_name = "URL", env = "KEYWARD_ISSUER", hide_env_values = true)]
    pub issuer: Option<String>,

    /// How long a key signs JWTs before the next one does, such as 90d; at least 2d [default: 90d]
    #[arg(long, value_name = "SPAN", env = "KEYWARD_SIGNING_KEY_LIFE", hide_env_values = true)]
    pub signing_key_life: Option<String>,

    /// Remove audit events that are older than this, such as 400d, once a day; at least 1d [default: keep them for ever]
    #[arg(long, value_name = "SPAN", env = "KEYWARD_EVENT_RETENTION", hide_env_values = true)]
    pub event_retention: Option<String>,

    /// How long a replica answers after its last successful poll of the database, from 1s to 5m; fixed by the first server
    /// that joins a database [default: what it has fixed, or 10s]
    #[arg(long, value_name = "SPAN", env = "KEYWARD_LEASE", hide_env_values = true)]
    pub lease: Option<String>,

    /// Listen here for Check, ext_authz and health [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDRESS", env = "KEYWARD_DATA_ADDR", hide_env_values = true)]
    pub data_addr: Option<String>,

    /// Listen here for everything, with reflection [default: 127.0.0.1:50052]
    #[arg(long, value_name = "ADDRESS", env = "KEYWARD_ADMIN_ADDR", hide_env_values = true)]
    pub admin_addr: Option<String>,

    /// Listen here for metrics and health over HTTP [default: 127.0.0.1:50053]
    #[arg(long, value_name = "ADDRESS", env = "KEYWARD_OPS_ADDR", hide_env_values = true)]
    pub ops_addr: Option<String>,

    /// Who may ask on a data listener that others can reach: bearer, mtls or none
    #[arg(long, value_name = "WHO", env = "KEYWARD_CHECK_AUTH", hide_env_values = true)]
    pub check_auth: Option<String>,

    /// Allow an admin listener that others can reach without TLS
    #[arg(
        long,
        value_name = "BOOL",
        env = "KEYWARD_ADMIN_PLAINTEXT",
        hide_env_values = true,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub admin_plaintext: Option<bool>,

    /// Serve TLS on the data listener with the certificate in this file (PEM), read again when it changes
    #[arg(long, value_name = "PATH", env = "KEYWARD_DATA_TLS_CERT_FILE", hide_env_values = true)]
    pub data_tls_cert_file: Option<PathBuf>,

    /// The private key of the data listener's certificate (PEM)
    #[arg(long, value_name = "PATH", env = "KEYWARD_DATA_TLS_KEY_FILE", hide_env_values = true)]
    pub data_tls_key_file: Option<PathBuf>,

    /// Let in at the data listener only clients with a certificate from these authorities (PEM)
    #[arg(long, value_name = "PATH", env = "KEYWARD_DATA_TLS_CLIENT_CA_FILE", hide_env_values = true)]
    pub data_tls_client_ca_file: Option<PathBuf>,

    /// Serve TLS on the admin listener with the certificate in this file (PEM), read again when it changes
    #[arg(long, value_name = "PATH", env = "KEYWARD_ADMIN_TLS_CERT_FILE", hide_env_values = true)]
    pub admin_tls_cert_file: Option<PathBuf>,

    /// The private key of the admin listener's certificate (PEM)
    #[arg(long, value_name = "PATH", env = "KEYWARD_ADMIN_TLS_KEY_FILE", hide_env_values = true)]
    pub admin_tls_key_file: Option<PathBuf>,

    /// Let in at the admin listener only clients with a certificate from these authorities (PEM)
    #[arg(long, value_name = "PATH", env = "KEYWARD_ADMIN_TLS_CLIENT_CA_FILE", hide_env_values = true)]
    pub admin_tls_client_ca_file: Option<PathBuf>,

    /// Serve TLS on the ops listener with the certificate in this file (PEM), read again when it changes
    #[arg(long, value_name = "PATH", env = "KEYWARD_OPS_TLS_CERT_FILE", hide_env_values = true)]
    pub ops_tls_cert_file: Option<PathBuf>,

    /// The private key of the ops listener's certificate (PEM)
    #[arg(long, value_name = "PATH", env = "KEYWARD_OPS_TLS_KEY_FILE", hide_env_values = true)]
    pub ops_tls_key_file: Option<PathBuf>,

    /// Let in at the ops listener only clients with a certificate from these authorities (PEM)
    #[arg(long, value_name = "PATH", env = "KEYWARD_OPS_TLS_CLIENT_CA_FILE", hide_env_values = true)]
    pub ops_tls_client_ca_file: Option<PathBuf>,

    /// How many connections a listener has at most [default: 10000]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_CONNECTIONS", hide_env_values = true)]
    pub max_connections: Option<usize>,

    /// How many of them may come from one address [default: 1024]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_CONNECTIONS_PER_ADDRESS", hide_env_values = true)]
    pub max_connections_per_address: Option<usize>,

    /// After how long a client is asked to connect anew, give or take a tenth; at least 1s [default: 30m]
    #[arg(long, value_name = "SPAN", env = "KEYWARD_MAX_CONNECTION_AGE", hide_env_values = true)]
    pub max_connection_age: Option<String>,

    /// How many calls one connection may have under way, streams among them; from 1 to 65536 [default: 256]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_CALLS_PER_CONNECTION", hide_env_values = true)]
    pub max_calls_per_connection: Option<usize>,

    /// How many calls may wait for each core before more are turned away [default: 65536]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_QUEUED_CALLS", hide_env_values = true)]
    pub max_queued_calls: Option<usize>,

    /// How long a call may have waited for a core before it is turned away, if many wait [default: 10s]
    #[arg(long, value_name = "SPAN", env = "KEYWARD_MAX_QUEUE_TIME", hide_env_values = true)]
    pub max_queue_time: Option<String>,

    /// How many calls the admin listener carries out at once before more are turned away [default: 1024]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_ADMIN_MAX_IN_FLIGHT", hide_env_values = true)]
    pub admin_max_in_flight: Option<usize>,

    /// How many streams of admitted callers a listener has open at most [default: 1024]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_STREAMS", hide_env_values = true)]
    pub max_streams: Option<usize>,

    /// How many streams of reflection the admin listener has open at most, since anybody may open them [default: 64]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_REFLECTIONS", hide_env_values = true)]
    pub max_reflections: Option<usize>,

    /// How large the headers of a request may be, each counted with 32 bytes more; from 12288 to 1048576 [default: 16384]
    #[arg(long, value_name = "BYTES", env = "KEYWARD_MAX_HEADER_BYTES", hide_env_values = true)]
    pub max_header_bytes: Option<usize>,

    /// How large a message may be, of Envoy's too; from 65536 to 67108864 [default: 1048576]
    #[arg(long, value_name = "BYTES", env = "KEYWARD_MAX_MESSAGE_BYTES", hide_env_values = true)]
    pub max_message_bytes: Option<usize>,

    /// How large a Check may be, also within a batch or a stream; from 16384 to 1048576 [default: 65536]
    #[arg(long, value_name = "BYTES", env = "KEYWARD_MAX_CHECK_BYTES", hide_env_values = true)]
    pub max_check_bytes: Option<usize>,

    /// How many checks, keys to import or leaked credentials one message may hold; from 1 to 10000, and the command line
    /// sends 1000 [default: 1000]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_BATCH", hide_env_values = true)]
    pub max_batch: Option<usize>,

    /// How many regular keys a tenant may have, or unlimited; revoked and deleted ones do not count [default: 10000000]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_KEYS_PER_TENANT", hide_env_values = true)]
    pub max_keys_per_tenant: Option<CapText>,

    /// How many applications a tenant may have, or unlimited; deleted ones do not count [default: 100000]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_APPLICATIONS_PER_TENANT", hide_env_values = true)]
    pub max_applications_per_tenant: Option<CapText>,

    /// How many opaque access tokens a tenant may have in force, or unlimited [default: 1000000]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_MAX_TOKENS_PER_TENANT", hide_env_values = true)]
    pub max_tokens_per_tenant: Option<CapText>,

    /// Who is let in by --check-auth=mtls: only in the file, as `[[clients]]`.
    #[arg(skip)]
    pub clients: Vec<ClientEntry>,

    /// The audience a Check is for if it names none; may repeat
    #[arg(long, value_name = "NAME", env = "KEYWARD_AUDIENCE", hide_env_values = true, value_delimiter = ',')]
    pub audience: Option<Vec<String>>,

    /// A further header in which a request that Envoy asks about may have its credential
    #[arg(long, value_name = "NAME", env = "KEYWARD_EXT_AUTHZ_HEADER", hide_env_values = true)]
    pub ext_authz_header: Option<String>,

    /// A query parameter in which it may have its credential
    #[arg(long, value_name = "NAME", env = "KEYWARD_EXT_AUTHZ_QUERY_PARAMETER", hide_env_values = true)]
    pub ext_authz_query_parameter: Option<String>,

    /// A cookie in which it may have its credential
    #[arg(long, value_name = "NAME", env = "KEYWARD_EXT_AUTHZ_COOKIE", hide_env_values = true)]
    pub ext_authz_cookie: Option<String>,

    /// Its client is this many places from the right of x-forwarded-for; with 0 whoever is connected to Envoy [default: 0]
    #[arg(long, value_name = "COUNT", env = "KEYWARD_TRUSTED_HOPS", hide_env_values = true)]
    pub trusted_hops: Option<u8>,

    /// Which permission it needs; in the file only.
    #[arg(skip)]
    pub routes: Vec<RouteText>,

    /// Write mail into this folder, a file each [default: keyward-mail beside the SQLite database]
    #[arg(long, value_name = "PATH", env = "KEYWARD_MAIL_DIR", hide_env_values = true)]
    pub mail_dir: Option<PathBuf>,

    /// Send mail to this server, such as smtp://user@host:587?tls=required (or opportunistic, or none) or smtps://host
    #[arg(long, value_name = "URL", env = "KEYWARD_SMTP_URL", hide_env_values = true)]
    pub smtp_url: Option<SmtpUrl>,

    /// The file with the password of the user in --smtp-url
    #[arg(long, value_name = "PATH", env = "KEYWARD_SMTP_PASSWORD_FILE", hide_env_values = true)]
    pub smtp_password_file: Option<PathBuf>,

    /// Trust these authorities (PEM) for the SMTP server's certificate, instead of the system's
    #[arg(long, value_name = "PATH", env = "KEYWARD_SMTP_CA_FILE", hide_env_values = true)]
    pub smtp_ca_file: Option<PathBuf>,

    /// Whom mail is from: an address, or a name and an address; keyward at localhost by default
    #[arg(long, value_name = "ADDRESS", env = "KEYWARD_MAIL_FROM", hide_env_values = true)]
    pub mail_from: Option<String>,

    /// How long calls may go on after SIGTERM, such as 500ms or 8s; less than 10s [default: 8s]
    #[arg(long, value_name = "SPAN", env = "KEYWARD_DRAIN_TIMEOUT", hide_env_values = true)]
    pub drain_timeout: Option<String>,

    /// How the log is written: human or json [default: human]
    #[arg(long, value_name = "FORMAT", env = "KEYWARD_LOG_FORMAT", hide_env_values = true)]
    pub log_format: Option<String>,

    /// What is logged: a level, or directives such as keyward=debug,info [default: info]
    #[arg(long, value_name = "FILTER", env = "KEYWARD_LOG", hide_env_values = true)]
    pub log: Option<String>,

    /// Send traces and metrics to this OTLP collector by gRPC, such as http://localhost:4317
    #[arg(long, value_name = "URL", env = "KEYWARD_OTLP_ENDPOINT", hide_env_values = true)]
    pub otlp_endpoint: Option<String>,

    /// The variable every OpenTelemetry program knows; ours goes before it.
    #[arg(long, hide = true, env = "OTEL_EXPORTER_OTLP_ENDPOINT", hide_env_values = true)]
    #[serde(skip)]
    pub otel_exporter_otlp_endpoint: Option<String>,

    /// Another: the name of this service in what is exported.
    #[arg(long, hide = true, env = "OTEL_SERVICE_NAME", hide_env_values = true)]
    #[serde(skip)]
    pub otel_service_name: Option<String>,
}
