//! The connection to the server, and what every request carries.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use super::failure::{Failure, is_tls};
use super::output::remark;
use super::{ClientOptions, HEADING, sign_in};

/// Where Check is answered.
pub(super) const DATA_SERVER: &str = "http://127.0.0.1:50051";
/// Where everything is answered.
pub(super) const ADMIN_SERVER: &str = "http://127.0.0.1:50052";
/// What one response may measure: a page of keys can pass tonic's 4 MiB.
pub(super) const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// How often a server is asked whether it is there while a call is under way, and how long that may take.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Whom we trust, and who we are, where the server is reached by https.
#[derive(Args, Debug)]
pub(super) struct TlsOptions {
    /// The authorities (PEM) that a server at https:// may have its certificate from [default: the system's]
    #[arg(long, global = true, env = "KEYWARD_TLS_CA_FILE", value_name = "PATH", help_heading = HEADING)]
    tls_ca_file: Option<PathBuf>,

    /// Our own certificate (PEM), where the server asks for one
    #[arg(long, global = true, env = "KEYWARD_TLS_CERT_FILE", value_name = "PATH", help_heading = HEADING)]
    tls_cert_file: Option<PathBuf>,

    /// The private key (PEM) of our own certificate
    #[arg(long, global = true, env = "KEYWARD_TLS_KEY_FILE", value_name = "PATH", help_heading = HEADING)]
    tls_key_file: Option<PathBuf>,
}

impl TlsOptions {
    fn config(&self) -> Result<ClientTlsConfig, Failure> {
        let config = match &self.tls_ca_file {
            Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read("--tls-ca-file", path)?)),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        match (&self.tls_cert_file, &self.tls_key_file) {
            (Some(cert), Some(key)) => {
                let (cert, key) = (read("--tls-cert-file", cert)?, read("--tls-key-file", key)?);
                Ok(config.identity(Identity::from_pem(cert, key)))
            }
            (None, None) => Ok(config),
            (Some(_), None) | (None, Some(_)) => {
                Err(Failure::Usage("--tls-cert-file and --tls-key-file must be given together".to_owned()))
            }
        }
    }
}

fn read(flag: &str, path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Usage(format!("{flag} {}: cannot be read: {error}", path.display())))
}

/// A connection, and who we are on it.
pub(super) struct Connection {
    channel: Channel,
    bearer: Option<MetadataValue<Ascii>>,
    secret_key: Option<MetadataValue<Ascii>>,
    timeout: Duration,
}

impl Connection {
    /// Connects as the caller whom the options name: by a key, else as a user who signs in, else as nobody.
    pub(super) async fn open(options: &ClientOptions, default_server: &str) -> Result<Self, Failure> {
        if let Some(key) = options.key()? {
            let bearer = Some(header(&format!("Bearer {key}"), "the key")?);
            let secret_key = options.secret_key()?.map(|text| header(&text, "the secret key")).transpose()?;
            if options.user.is_some() {
                remark(&"--user is left aside, since a key is given");
            }
            let anonymous = Self::open_anonymous(options, default_server).await?;
            return Ok(Self { bearer, secret_key, ..anonymous });
        }
        let anonymous = Self::open_anonymous(options, default_server).await?;
        match sign_in::session(options).await? {
            Some(session) => anonymous.bearing(session.token()),
            None => Ok(anonymous),
        }
    }

    /// The same connection in the name of whoever holds this credential.
    pub(super) fn bearing(self, credential: &str) -> Result<Self, Failure> {
        Ok(Self { bearer: Some(header(&format!("Bearer {credential}"), "the credential")?), ..self })
    }

    /// Connects as nobody.
    pub(super) async fn open_anonymous(options: &ClientOptions, default_server: &str) -> Result<Self, Failure> {
        let address = server_uri(options.server.as_deref().unwrap_or(default_server)).map_err(Failure::Usage)?;
        Self::open_at(options, &address, options.timeout).await
    }

    /// Connects as nobody to this address, with as much patience.
    pub(super) async fn open_at(options: &ClientOptions, address: &str, timeout: Duration) -> Result<Self, Failure> {
        let unusable =
            |error: tonic::transport::Error| Failure::Usage(format!("--server {address}: {}", chain(&error)));
        let endpoint = Endpoint::from_shared(address.to_owned()).map_err(unusable)?.connect_timeout(timeout);
        // A stream may be silent for long; that nobody is there any more must be found out.
        let endpoint = endpoint.http2_keep_alive_interval(KEEPALIVE_INTERVAL).keep_alive_timeout(KEEPALIVE_TIMEOUT);
        let endpoint = if address.starts_with("https:") {
            endpoint.tls_config(options.tls.config()?).map_err(unusable)?
        } else {
            endpoint
        };
        let channel = tokio::time::timeout(timeout, endpoint.connect())
            .await
            .map_err(|_| Failure::Unreachable(format!("cannot reach {address} within --timeout")))?
            .map_err(|error| match is_tls(&error) {
                true => Failure::Untrusted(format!("no TLS with {address}: {}", chain(&error))),
                false => Failure::Unreachable(format!("cannot reach {address}: {}", chain(&error))),
            })?;
        Ok(Self { channel, bearer: None, secret_key: None, timeout })
    }

    /// What a generated client is made from.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// How long to wait for an answer.
    pub(super) fn patience(&self) -> Duration {
        self.timeout
    }

    /// A request by the caller, with a deadline.
    pub(super) fn request<T>(&self, message: T) -> Request<T> {
        let mut request = self.stream(message);
        request.set_timeout(self.timeout);
        request
    }

    /// A stream of the caller's, which may take as long as it likes.
    pub(super) fn stream<T>(&self, messages: T) -> Request<T> {
        let mut request = Request::new(messages);
        if let Some(bearer) = &self.bearer {
            request.metadata_mut().insert("authorization", bearer.clone());
        }
        if let Some(secret_key) = &self.secret_key {
            request.metadata_mut().insert("x-secret-key", secret_key.clone());
        }
        request
    }
}

/// A header's value, kept out of logs and of HPACK's table.
fn header(text: &str, what: &str) -> Result<MetadataValue<Ascii>, Failure> {
    let mut value = MetadataValue::try_from(text)
        .map_err(|_| Failure::Usage(format!("{what} has characters that no credential of ours has")))?;
    value.set_sensitive(true);
    Ok(value)
}

/// An address as tonic takes it.
pub(super) fn server_uri(text: &str) -> Result<String, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        return if path.trim_start_matches('/').is_empty() {
            Err(format!("--server {text}: a path is missing after `unix:`"))
        } else {
            Ok(text.to_owned())
        };
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let authority = rest.trim_end_matches('/');
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if !matches!(scheme, "http" | "https") || !has_port || authority.contains(['/', '@', '?', '#']) {
        return Err(format!("--server {text}: must be HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:PATH"));
    }
    Ok(format!("{scheme}://{authority}"))
}

/// The innermost cause, which is the one that tells something.
fn chain(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
