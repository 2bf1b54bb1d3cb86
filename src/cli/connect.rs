//! The connection to the server, and what every request carries.

use std::error::Error;
use std::time::Duration;

use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::failure::Failure;
use super::output::remark;
use super::{ClientOptions, sign_in};

/// Where Check is answered.
pub(super) const DATA_SERVER: &str = "http://127.0.0.1:50051";
/// Where everything is answered.
pub(super) const ADMIN_SERVER: &str = "http://127.0.0.1:50052";
/// What one response may measure: a page of keys can pass tonic's 4 MiB.
pub(super) const MAX_RESPONSE_BYTES: usize = 256 << 20;

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
        let endpoint = Endpoint::from_shared(address.clone())
            .map_err(|error| Failure::Usage(format!("--server {address}: {}", chain(&error))))?
            .connect_timeout(options.timeout);
        let channel = tokio::time::timeout(options.timeout, endpoint.connect())
            .await
            .map_err(|_| Failure::Unreachable(format!("cannot reach {address} within --timeout")))?
            .map_err(|error| Failure::Unreachable(format!("cannot reach {address}: {}", chain(&error))))?;
        Ok(Self { channel, bearer: None, secret_key: None, timeout: options.timeout })
    }

    /// What a generated client is made from.
    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
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
    if text.starts_with("https:") {
        return Err(format!("--server {text}: TLS is not built yet; use http:// or unix:"));
    }
    let authority = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0));
    if !has_port || authority.contains(['/', '@', '?', '#']) {
        return Err(format!("--server {text}: must be HOST:PORT, http://HOST:PORT or unix:PATH"));
    }
    Ok(format!("http://{authority}"))
}

/// The innermost cause, which is the one that tells something.
fn chain(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
