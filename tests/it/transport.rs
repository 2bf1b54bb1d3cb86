//! Connections as such: TLS and who is let in by it, new certificates under load, and what one connection, or very many,
//! cannot do to the others.

mod connections;
mod flood;
pub mod raw;
mod reload;
mod starved;
mod strangers;
mod tls;

use keyward::config::ServeArgs;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, KeyUsagePurpose,
    SanType,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

/// How long something is waited for that has to come.
const LONG: Duration = Duration::from_secs(60);

/// Who signs certificates.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub struct Issued {
    pub cert: String,
    pub key: String,
}

fn params(names: &[&str], title: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = names.iter().map(|name| name_of(name)).collect();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, title);
    params
}

fn name_of(name: &str) -> SanType {
    let text = || Ia5String::try_from(name).unwrap();
    match name.parse() {
        Ok(address) => SanType::IpAddress(address),
        Err(_) if name.contains("://") => SanType::URI(text()),
        Err(_) => SanType::DnsName(text()),
    }
}

impl Authority {
    pub fn new(title: &str) -> Self {
        let mut params = params(&[], title);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self { issuer: CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap() }
    }

    /// A certificate with these names: addresses, URIs and DNS names.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.sign(params(names, "somebody"))
    }

    /// The same, good for so long.
    pub fn issue_for(&self, names: &[&str], life: Duration) -> Issued {
        let mut params = params(names, "somebody");
        params.not_after = time::OffsetDateTime::now_utc() + life;
        self.sign(params)
    }

    /// The same, no longer good.
    pub fn issue_expired(&self, names: &[&str]) -> Issued {
        let mut params = params(names, "somebody");
        params.not_after = time::OffsetDateTime::now_utc() - Duration::from_secs(60);
        self.sign(params)
    }

    fn sign(&self, params: CertificateParams) -> Issued {
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Issued { cert: cert.pem(), key: key.serialize_pem() }
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }
}

/// A folder with the files of TLS, as an operator has it.
pub struct Files(TempDir);

impl Files {
    pub fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Puts a file there in one step, as those who renew certificates do.
    pub fn put(&self, name: &str, text: &str) -> PathBuf {
        let new = self.path("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path(name)).unwrap();
        self.path(name)
    }

    pub fn put_issued(&self, name: &str, issued: &Issued) {
        self.put(&format!("{name}.pem"), &issued.cert);
        self.put(&format!("{name}.key"), &issued.key);
    }

    /// Has the data listener use the certificate of that name, and these authorities of clients.
    pub fn serve_data(&self, args: &mut ServeArgs, name: &str, client_ca: Option<&Path>) {
        args.data_tls_cert_file = Some(self.path(&format!("{name}.pem")));
        args.data_tls_key_file = Some(self.path(&format!("{name}.key")));
        args.data_tls_client_ca_file = client_ca.map(Path::to_owned);
    }
}

/// A client of a listener with TLS that trusts these authorities, and may show a certificate of its own.
pub fn channel(address: &str, trusted: &[&Authority], own: Option<&Issued>) -> Channel {
    let trusted = trusted.iter().map(|authority| Certificate::from_pem(authority.pem()));
    let mut tls = ClientTlsConfig::new().ca_certificates(trusted);
    if let Some(own) = own {
        tls = tls.identity(Identity::from_pem(&own.cert, &own.key));
    }
    Endpoint::from_shared(format!("https://{address}")).unwrap().tls_config(tls).unwrap().connect_lazy()
}

/// Asks about a credential, for a tenant if it is named.
pub async fn ask(channel: &Channel, credential: &str, tenant: &str) -> Result<CheckResponse, Status> {
    let request =
        CheckRequest { credential: credential.to_owned(), tenant: tenant.to_owned(), ..CheckRequest::default() };
    CheckServiceClient::new(channel.clone()).check(request).await.map(tonic::Response::into_inner)
}

/// Asserts that no connection came about.
#[track_caller]
pub fn unreachable(answer: Result<CheckResponse, Status>) {
    let status = answer.expect_err("was to be turned away");
    // With TLS 1.3 a client may send before it hears that its certificate was refused.
    assert!(
        matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal),
        "{status:?}"
    );
    use tonic_types::StatusExt as _;
    assert!(status.get_error_details().error_info().is_none(), "it was answered by the service: {status:?}");
}

/// Waits until something is so.
pub async fn until<F: Future<Output = bool>>(what: &str, mut is_so: impl FnMut() -> F) {
    let waited = tokio::time::timeout(LONG, async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("in vain: {what}"));
}

/// Waits until `/metrics` says so much of a series: a client may see an end before the server has counted it.
pub async fn counts(ops_addr: &str, series: &str, wanted: i64) {
    until(series, async || metric(ops_addr, series).await == wanted).await;
}

/// What `/metrics` says of a series.
pub async fn metric(ops_addr: &str, series: &str) -> i64 {
    let text = raw::http(ops_addr, "GET /metrics HTTP/1.0\r\n\r\n").await;
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in {text}")).trim().parse().unwrap()
}
