//! Mail to an SMTP server: a connection for each, encrypted and with a password as the configuration says.

use crate::config::{SmtpServer, SmtpTls};
use crate::error::{Error, Result};
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use std::error::Error as _;
use std::fmt;
use std::time::Duration;
use tokio::time::timeout;

/// How long a connection may take; and the farewell, on which nothing depends any more.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const QUIT_TIMEOUT: Duration = Duration::from_secs(1);

/// A server that mail is sent to.
pub(super) struct Smtp {
    host: String,
    port: u16,
    tls: SmtpTls,
    parameters: TlsParameters,
    credentials: Option<Credentials>,
}

impl fmt::Debug for Smtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smtp").field("host", &self.host).field("port", &self.port).finish_non_exhaustive()
    }
}

impl Smtp {
    /// Reads the authorities that are trusted; connects to nobody yet.
    pub(super) fn new(server: &SmtpServer) -> Result<Self> {
        let SmtpServer { host, port, tls, ca_file, account } = server.clone();
        let mut parameters = TlsParameters::builder(host.clone());
        if let Some(path) = ca_file {
            let refuse = |rule: String| Error::invalid("--smtp-ca-file", format!("{}: {rule}", path.display()));
            let pem = std::fs::read(&path).map_err(|error| refuse(format!("cannot be read: {error}")))?;
            let holds_one = pem.windows(27).any(|window| window == b"-----BEGIN CERTIFICATE-----");
            let authorities = Certificate::from_pem(&pem).ok().filter(|_| holds_one);
            let authorities = authorities.ok_or_else(|| refuse("must hold certificates in PEM".to_owned()))?;
            parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(authorities);
        } else if tls == SmtpTls::Never {
            // Nobody's certificate will be looked at, and a machine without any is no failure.
            parameters = parameters.certificate_store(CertificateStore::None);
        }
        let parameters = parameters
            .build()
            .map_err(|error| Error::invalid("--smtp-url", format!("cannot be used with TLS: {}", told(&error))))?;
        let credentials = account.map(|account| Credentials::new(account.user, account.password.to_string()));
        Ok(Self { host, port, tls, parameters, credentials })
    }

    /// Hands one mail over. `Ok` is the server's word that it has it, and nothing that comes after can take it back.
    pub(super) async fn send(&self, envelope: &Envelope, message: &[u8]) -> std::result::Result<(), String> {
        let hello = ClientId::default();
        let wrapped = (self.tls == SmtpTls::Always).then(|| self.parameters.clone());
        let server = (self.host.as_str(), self.port);
        let connected = AsyncSmtpConnection::connect_tokio1(server, Some(CONNECT_TIMEOUT), &hello, wrapped, None).await;
        let mut connection =
            connected.map_err(|error| format!("{}:{} cannot be reached: {}", self.host, self.port, told(&error)))?;
        let is_upgraded = match self.tls {
            SmtpTls::Required => true,
            SmtpTls::Opportunistic => connection.can_starttls(),
            SmtpTls::Always | SmtpTls::Never => false,
        };
        if is_upgraded {
            let upgraded = connection.starttls(self.parameters.clone(), &hello).await;
            upgraded.map_err(|error| format!("STARTTLS: {}", told(&error)))?;
        }
        if let Some(credentials) = &self.credentials {
            let accepted = connection.auth(DEFAULT_MECHANISMS, credentials).await;
            // What the server says to a wrong password may repeat it.
            accepted.map_err(|error| match error.status() {
                Some(code) => format!("the server refused user and password with {code}"),
                None => format!("user and password could not be shown: {}", told(&error)),
            })?;
        }
        // The client ends the last line itself; an empty one more would stand where the token's is the only one of its kind.
        let message = message.strip_suffix(b"\r\n").unwrap_or(message);
        connection.send(envelope, message).await.map_err(|error| told(&error))?;
        // A server that says no farewell has accepted the mail all the same.
        let _farewell = timeout(QUIT_TIMEOUT, connection.quit()).await;
        Ok(())
    }
}

/// An error and its causes on one line.
fn told(error: &lettre::transport::smtp::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
