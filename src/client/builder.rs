//! How a client is made.

use super::Client;
use super::balance::Member;
use super::chance::Chance;
use super::resolve::{self, Directory, Lookup, Resolver};
use super::target::Target;
use super::wire::{Shared, Wire};
use http::HeaderValue;
use prost::bytes::Bytes;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};
use zeroize::Zeroizing;

/// Why a client could not be made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BuildError {
    /// This part of what was said about it breaks this rule.
    Invalid {
        /// Which part.
        what: &'static str,
        /// The rule.
        rule: String,
    },
    /// Keyward was not reached, for this reason.
    Unreachable(String),
}

impl BuildError {
    pub(super) fn invalid(what: &'static str, rule: impl Into<String>) -> Self {
        Self::Invalid { what, rule: rule.into() }
    }
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid { what, rule } => write!(f, "{what} {rule}"),
            Self::Unreachable(cause) => write!(f, "cannot reach Keyward: {cause}"),
        }
    }
}

impl Error for BuildError {}

/// A client in the making; begun by [`Client::builder`].
#[must_use = "a builder makes nothing until it is told to connect"]
pub struct Builder {
    target: String,
    credential: Option<Zeroizing<String>>,
    secret_key: Option<Zeroizing<String>>,
    timeout: Duration,
    mutation_timeout: Duration,
    max_attempts: u32,
    connect_timeout: Duration,
    keep_alive: (Duration, Duration),
    tls: Tls,
    resolver: Resolver,
    resolve_period: Duration,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the credentials nor the client's private key.
        f.debug_struct("Builder").field("target", &self.target).finish_non_exhaustive()
    }
}

impl Builder {
    pub(super) fn new(target: String) -> Self {
        Self {
            target,
            credential: None,
            secret_key: None,
            timeout: Duration::from_secs(5),
            mutation_timeout: Duration::from_secs(30),
            max_attempts: 5,
            connect_timeout: Duration::from_secs(2),
            keep_alive: (Duration::from_secs(20), Duration::from_secs(5)),
            tls: Tls::default(),
            resolver: resolve::system(),
            resolve_period: Duration::from_secs(30),
        }
    }

    /// Who calls: a credential of ours, which goes with every call that does not carry one of its own. It is wiped from
    /// memory with the last clone of the client.
    pub fn credential(mut self, credential: impl Into<String>) -> Self {
        self.credential = Some(Zeroizing::new(credential.into()));
        self
    }

    /// The second secret of that credential's key, if it has one.
    pub fn secret_key(mut self, secret_key: impl Into<String>) -> Self {
        self.secret_key = Some(Zeroizing::new(secret_key.into()));
        self
    }

    /// How long the answer of a call that reads, such as a Check, is waited for, all attempts together, unless the
    /// request says otherwise ([`tonic::Request::set_timeout`]). The server is told. Streams have no such limit. 5 s if
    /// not set.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same for a call that changes something, which may have to wait for a replica that is dead; 30 s if not set.
    pub fn mutation_timeout(mut self, timeout: Duration) -> Self {
        self.mutation_timeout = timeout;
        self
    }

    /// How often a call is sent at most; 5 times if not set, and 1 means never again.
    ///
    /// A call is sent again while its deadline allows
    /// - if no server has begun with it: nobody could be reached, or the connection ended before its turn, as when a
    ///   server says good-bye (GOAWAY) at the end of a connection's age; and this whatever it is, streams of requests apart;
    /// - if the connection broke, or the server answered `UNAVAILABLE`, and once more does no harm: it only reads, such
    ///   as a Check; or it ends something (`RevokeKey`, `RevokeCredentials`, `RevokeToken`); or it carries a `request_id`.
    ///   With one of these, the answer to what was carried out at the first attempt has its credential field empty:
    ///   rotate the secret then.
    ///
    /// Another server is asked, if one is well, otherwise the same one after the time it asked for (`RetryInfo`).
    /// Between attempts there are 50 ms, then twice that and so on up to 1 s, shortened at random by up to half.
    pub fn max_attempts(mut self, max_attempts: u32) -> Self {
        self.max_attempts = max_attempts.max(1);
        self
    }

    /// How long one attempt to connect may take; 2 s if not set.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    /// After how long a silence the server is asked whether it is still there (HTTP/2 PING, without calls too), and how
    /// long its answer is waited for before the connection counts as lost; 20 s and 5 s if not set.
    pub fn keep_alive(mut self, interval: Duration, timeout: Duration) -> Self {
        self.keep_alive = (interval, timeout);
        self
    }

    /// Trusts servers that these authorities (PEM) have certified, and no others; for `https` targets. The system's
    /// authorities if not set.
    pub fn ca(mut self, pem: impl AsRef<[u8]>) -> Self {
        self.tls.authorities.push(Certificate::from_pem(pem));
        self
    }

    /// Shows this certificate chain to the server (PEM, with its private key), for mutual TLS.
    pub fn identity(mut self, certificate: impl AsRef<[u8]>, private_key: impl AsRef<[u8]>) -> Self {
        self.tls.identity = Some(Identity::from_pem(certificate, private_key));
        self
    }

    /// Expects this name in the server's certificate; that of the target if not set.
    pub fn server_name(mut self, name: impl Into<String>) -> Self {
        self.tls.server_name = Some(name.into());
        self
    }

    /// Asks this function for the addresses of the target's host at its port, rather than the system. An address may
    /// have another port.
    pub fn resolver<F, Addresses>(mut self, resolver: F) -> Self
    where
        F: Fn(String, u16) -> Addresses + Send + Sync + 'static,
        Addresses: Future<Output = std::io::Result<Vec<SocketAddr>>> + Send + 'static,
    {
        self.resolver = Arc::new(move |host, port| -> Lookup { Box::pin(resolver(host, port)) });
        self
    }

    /// How often to ask for these addresses; every 30 s if not set, and soon after a server has failed.
    pub fn resolve_every(mut self, period: Duration) -> Self {
        self.resolve_period = period;
        self
    }

    /// Connects to one server at least. Runs within a Tokio runtime.
    pub async fn connect(self) -> Result<Client, BuildError> {
        let template = self.template()?;
        let unreachable = |error: &(dyn Error + 'static)| BuildError::Unreachable(innermost(error));
        let Some((host, port)) = template.name() else {
            let (address, endpoint) = template.only_endpoint()?;
            let channel = endpoint.connect().await.map_err(|error| unreachable(&error))?;
            return self.client(Directory::fixed(Member::new(address, channel)));
        };
        let addresses = resolve::look_up(&self.resolver, &host, port).await.map_err(|error| unreachable(&error))?;
        let mut members = Vec::with_capacity(addresses.len());
        let mut is_connected = false;
        let mut trouble = None;
        for address in addresses {
            let endpoint = template.endpoint(address)?;
            let channel = if is_connected {
                endpoint.connect_lazy()
            } else {
                match endpoint.connect().await {
                    Ok(channel) => {
                        is_connected = true;
                        channel
                    }
                    Err(error) => {
                        trouble = Some(unreachable(&error));
                        endpoint.connect_lazy()
                    }
                }
            };
            members.push(Arc::new(Member::new(address.to_string(), channel)));
        }
        match trouble {
            Some(trouble) if !is_connected => Err(trouble),
            _ => {
                let resolver = Arc::clone(&self.resolver);
                let directory = Directory::following(template, resolver, (host, port), self.resolve_period, members);
                self.client(directory)
            }
        }
    }

    /// Connects when the first call is made; that call fails where Keyward is not there. Runs within a Tokio runtime.
    pub fn connect_lazy(self) -> Result<Client, BuildError> {
        let template = self.template()?;
        let directory = match template.name() {
            None => {
                let (address, endpoint) = template.only_endpoint()?;
                Directory::fixed(Member::new(address, endpoint.connect_lazy()))
            }
            Some(name) => {
                let resolver = Arc::clone(&self.resolver);
                Directory::following(template, resolver, name, self.resolve_period, Vec::new())
            }
        };
        self.client(directory)
    }

    fn client(self, directory: Directory) -> Result<Client, BuildError> {
        let authorization = self.credential.map(|text| header("the credential", "Bearer ", &text)).transpose()?;
        let secret_key = self.secret_key.map(|text| header("the secret key", "", &text)).transpose()?;
        let Self { timeout, mutation_timeout, max_attempts, .. } = self;
        let chance = Chance::default();
        let shared = Shared { directory, chance, authorization, secret_key, timeout, mutation_timeout, max_attempts };
        Ok(Client { wire: Wire::new(shared) })
    }

    fn template(&self) -> Result<Template, BuildError> {
        let target = Target::parse(&self.target)?;
        if !matches!(target, Target::Tcp { is_tls: true, .. }) && self.tls.is_set() {
            return Err(BuildError::invalid("the target", "must begin with https:// where certificates are named"));
        }
        let Self { connect_timeout, keep_alive, .. } = *self;
        let template = Template { target, tls: self.tls.clone(), connect_timeout, keep_alive };
        // Whatever is wrong with the certificates is said now.
        template.endpoint(SocketAddr::from(([127, 0, 0, 1], 1)))?;
        Ok(template)
    }
}

/// What the client expects of certificates, and shows of its own.
#[derive(Clone, Default)]
struct Tls {
    authorities: Vec<Certificate>,
    identity: Option<Identity>,
    server_name: Option<String>,
}

impl Tls {
    fn is_set(&self) -> bool {
        !self.authorities.is_empty() || self.identity.is_some() || self.server_name.is_some()
    }

    fn config(&self, host: &str) -> ClientTlsConfig {
        let config = ClientTlsConfig::new().domain_name(self.server_name.as_deref().unwrap_or(host));
        let config = match &self.identity {
            Some(identity) => config.identity(identity.clone()),
            None => config,
        };
        if self.authorities.is_empty() {
            config.with_enabled_roots()
        } else {
            config.ca_certificates(self.authorities.clone())
        }
    }
}

/// How any of the servers is connected to.
pub(super) struct Template {
    target: Target,
    tls: Tls,
    connect_timeout: Duration,
    keep_alive: (Duration, Duration),
}

impl Template {
    /// The name to ask for and the port, if the target is a name.
    fn name(&self) -> Option<(String, u16)> {
        match &self.target {
            Target::Tcp { host, port, .. } if self.target.address().is_none() => Some((host.clone(), *port)),
            Target::Tcp { .. } | Target::Unix(_) => None,
        }
    }

    /// The one place that the target is, if it is no name.
    fn only_endpoint(&self) -> Result<(String, Endpoint), BuildError> {
        match (&self.target, self.target.address()) {
            (Target::Tcp { port, .. }, Some(address)) => {
                let address = SocketAddr::new(address, *port);
                Ok((address.to_string(), self.endpoint(address)?))
            }
            (Target::Unix(path), _) => {
                let address = format!("unix:{path}");
                Ok((address.clone(), self.configured(&address)?))
            }
            (Target::Tcp { .. }, None) => Err(BuildError::invalid("the target", "must be looked up")),
        }
    }

    /// A server at this address, to be connected to when it is called.
    pub(super) fn member(&self, address: SocketAddr) -> Result<Member, BuildError> {
        Ok(Member::new(address.to_string(), self.endpoint(address)?.connect_lazy()))
    }

    /// The server at this address, known by the name in the target.
    fn endpoint(&self, address: SocketAddr) -> Result<Endpoint, BuildError> {
        let Target::Tcp { is_tls, host, port } = &self.target else {
            return self.only_endpoint().map(|(_, endpoint)| endpoint);
        };
        let scheme = if *is_tls { "https" } else { "http" };
        let endpoint = self.configured(&format!("{scheme}://{address}"))?;
        let authority = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
        let invalid = |rule: String| BuildError::invalid("the target", rule);
        let origin = format!("{scheme}://{authority}").parse().map_err(|_| invalid("must be a host".to_owned()))?;
        let endpoint = endpoint.origin(origin);
        if !*is_tls {
            return Ok(endpoint);
        }
        let tls = self.tls.config(host).timeout(self.connect_timeout);
        endpoint.tls_config(tls).map_err(|error| BuildError::invalid("TLS", innermost(&error)))
    }

    fn configured(&self, uri: &str) -> Result<Endpoint, BuildError> {
        let endpoint = Endpoint::from_shared(uri.to_owned())
            .and_then(|endpoint| endpoint.user_agent(concat!("keyward/", env!("CARGO_PKG_VERSION"))))
            .map_err(|error| BuildError::invalid("the target", innermost(&error)))?;
        let (interval, timeout) = self.keep_alive;
        Ok(endpoint
            .connect_timeout(self.connect_timeout)
            .tcp_keepalive(Some(interval))
            .http2_keep_alive_interval(interval)
            .keep_alive_timeout(timeout)
            .keep_alive_while_idle(true))
    }
}

/// A header's value that is wiped when nobody needs it any more, and kept out of logs and of HPACK's table.
fn header(what: &'static str, scheme: &str, secret: &str) -> Result<HeaderValue, BuildError> {
    let mut text = Zeroizing::new(Vec::with_capacity(scheme.len() + secret.len()));
    text.extend_from_slice(scheme.as_bytes());
    text.extend_from_slice(secret.as_bytes());
    if secret.is_empty() || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(BuildError::invalid(what, "must be visible ASCII, without spaces or line ends"));
    }
    let refused = |_| BuildError::invalid(what, "cannot be a header");
    let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).map_err(refused)?;
    value.set_sensitive(true);
    Ok(value)
}

/// The innermost cause, which is the one that tells something.
fn innermost(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
