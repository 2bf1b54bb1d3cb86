//! TLS of one listener: a certificate, and perhaps the authorities of clients, read again when their files change.
//! What is open goes on with what it began with; what is new gets what is new. Files that cannot be used are told of
//! once, and what there was is kept.

use crate::clock::Clock;
use crate::config::{Limits, TlsFiles};
use crate::domain::clock::Time;
use crate::error::{Error, Result, Violation};
use crate::grpc::peer::Identity;
use crate::telemetry::{ConnectionMeter, Listener};
use parking_lot::RwLock;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

/// A longer name is none: a SPIFFE ID has at most so many bytes.
const MAX_IDENTITY_BYTES: usize = 2048;

/// What new connections are accepted with; clones share it.
#[derive(Clone)]
pub(super) struct Tls {
    current: Arc<RwLock<Current>>,
    files: Arc<TlsFiles>,
    /// Why what the files hold now is not in use.
    refusal: Arc<RwLock<Option<String>>>,
    clock: Clock,
    /// What the files held when they were last used, or told of.
    known: Print,
    is_grpc: bool,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

/// What is in use, and until when its certificate is good.
#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    end: Time,
}

/// Tells contents apart.
type Print = [u8; 32];

/// What the files hold.
struct Contents {
    cert: Vec<u8>,
    key: Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Tls {
    /// Reads the files, which must be good.
    pub(super) fn load(files: &TlsFiles, is_grpc: bool, clock: &Clock) -> Result<Self> {
        let (print, config) = look(files, is_grpc, clock.now());
        let config = config.map_err(|violation| Error::Invalid(vec![violation]))?;
        let (current, files) = (Arc::new(RwLock::new(config)), Arc::new(files.clone()));
        Ok(Self { current, files, refusal: Arc::default(), clock: clock.clone(), known: print, is_grpc })
    }

    /// Accepts one connection with what is current.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.read().config))
    }

    /// Until when the certificate is good that is in use.
    pub(super) fn end(&self) -> Time {
        self.current.read().end
    }

    /// Why what its files hold now is not in use, if it is not.
    pub(super) fn refusal(&self) -> Option<String> {
        self.refusal.read().clone()
    }

    /// Looks at the files every now and then, and at SIGHUP.
    pub(super) async fn keep_current(
        mut self,
        listener: Listener,
        limits: Limits,
        meter: ConnectionMeter,
        stopped: watch::Receiver<bool>,
    ) -> Result<()> {
        let mut hangup = signal(SignalKind::hangup()).map_err(Error::internal)?;
        let mut ticks = interval(limits.tls_poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut stop = std::pin::pin!(super::connection::until(stopped));
        // Files are replaced one after the other: what does not fit together must stay so for a while to be told of.
        let mut doubtful = None;
        loop {
            tokio::select! {
                () = stop.as_mut() => return Ok(()),
                _ = hangup.recv() => {}
                _ = ticks.tick() => {}
            }
            let (files, is_grpc, now) = (Arc::clone(&self.files), self.is_grpc, self.clock.now());
            let looked = tokio::task::spawn_blocking(move || look(&files, is_grpc, now)).await;
            let (print, config) = looked.map_err(Error::internal)?;
            if print == self.known {
                doubtful = None;
                continue;
            }
            match config {
                Ok(config) => {
                    *self.current.write() = config;
                    *self.refusal.write() = None;
                    tracing::info!(listener = listener.as_str(), "changed files of TLS are in use");
                    meter.reloaded(listener, true);
                }
                Err(_) if doubtful != Some(print) => {
                    doubtful = Some(print);
                    continue;
                }
                Err(Violation { field, rule }) => {
                    let name = listener.as_str();
                    tracing::warn!(listener = name, "changed files of TLS are not used, the old go on: {field} {rule}");
                    *self.refusal.write() = Some(format!("{field} {rule}"));
                    meter.reloaded(listener, false);
                }
            }
            (self.known, doubtful) = (print, None);
        }
    }
}

/// What the files hold now, and what that makes.
fn look(files: &TlsFiles, is_grpc: bool, now: Time) -> (Print, Result<Current, Violation>) {
    match Contents::read(files) {
        Ok(contents) => (contents.print(), contents.config(files, is_grpc, now)),
        Err(violation) => (Sha256::digest(violation.rule.as_bytes()).into(), Err(violation)),
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, Violation> {
        let read = |part: &str, path: &Path| {
            std::fs::read(path).map_err(|error| refused(files, part, path, &format!("cannot be read: {error}")))
        };
        let client_ca = files.client_ca.as_deref().map(|path| read("client-ca", path)).transpose()?;
        Ok(Self { cert: read("cert", &files.cert)?, key: read("key", &files.key)?.into(), client_ca })
    }

    fn print(&self) -> Print {
        let mut hash = Sha256::new();
        for part in [Some(&self.cert), Some(&self.key), self.client_ca.as_ref()] {
            let part = part.map(Vec::as_slice).unwrap_or_default();
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }

    fn config(&self, files: &TlsFiles, is_grpc: bool, now: Time) -> Result<Current, Violation> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let certs = certificates(files, "cert", &files.cert, &self.cert)?;
        // Our own, not those that lead to its authority: clients may have others of these. What rustls takes and another reader
        // does not is shown all the same, as one that is good for ever.
        let end = certs.first().and_then(end).unwrap_or(Time::MAX);
        if end <= now {
            return Err(refused(files, "cert", &files.cert, "has expired: clients would refuse it"));
        }
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| refused(files, "key", &files.key, "holds no private key in PEM"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| refused(files, "cert", &files.cert, &error.to_string()))?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => {
                let unusable =
                    |what: &dyn fmt::Display| refused(files, "client-ca", path, &format!("is no authority: {what}"));
                let mut roots = RootCertStore::empty();
                for authority in certificates(files, "client-ca", path, pem)? {
                    roots.add(authority).map_err(|error| unusable(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                    .build()
                    .map_err(|error| unusable(&error))?;
                builder.with_client_cert_verifier(verifier)
            }
            (None, _) | (_, None) => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(certs, key).map_err(|error| {
            let rule = format!("does not go with the key in {}: {error}", files.key.display());
            refused(files, "cert", &files.cert, &rule)
        })?;
        config.alpn_protocols = if is_grpc { vec![b"h2".to_vec()] } else { vec![b"h2".to_vec(), b"http/1.1".to_vec()] };
        Ok(Current { config: Arc::new(config), end })
    }
}

/// Until when a certificate is good.
fn end(certificate: &CertificateDer<'static>) -> Option<Time> {
    let (_, read) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Some(Time::from_micros(read.validity().not_after.timestamp().saturating_mul(1_000_000)))
}

/// The certificates in a file; at least one.
fn certificates(
    files: &TlsFiles,
    part: &str,
    path: &Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, Violation> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) | Err(_) => Err(refused(files, part, path, "holds no certificate in PEM")),
    }
}

fn refused(files: &TlsFiles, part: &str, path: &Path, rule: &str) -> Violation {
    Violation::new(files.flag(part), format!("{}: {rule}", path.display()))
}

/// Whom a verified certificate names: its first SPIFFE ID, else its first DNS name.
pub(super) fn identity(chain: &[CertificateDer<'static>]) -> Option<Identity> {
    let certificate = webpki::EndEntityCert::try_from(chain.first()?).ok()?;
    let spiffe = certificate.valid_uri_names().find(|name| name.starts_with("spiffe://")).map(str::to_owned);
    let name = spiffe.or_else(|| certificate.valid_dns_names().next().map(str::to_ascii_lowercase))?;
    (name.len() <= MAX_IDENTITY_BYTES).then(|| Identity::new(&name))
}
