//! How listeners are reached: TLS and whom it lets in, how many connections there may be, and how long each lives.

use super::{CheckAuth, Config, Limits, ServeArgs};
use crate::domain::name::{Path, TenantId};
use crate::error::Violation;
use serde::Deserialize;
use std::collections::HashSet;
use std::path::PathBuf;

/// A SPIFFE ID may have this many bytes, and a DNS name far fewer.
const MAX_IDENTITY_BYTES: usize = 2048;
const SPIFFE: &str = "spiffe://";

/// How listeners are reached, checked.
#[derive(Clone, Debug, Default)]
pub struct TransportConfig {
    /// The TLS of the data listener, if it has any.
    pub data_tls: Option<TlsFiles>,
    /// The TLS of the admin listener.
    pub admin_tls: Option<TlsFiles>,
    /// The TLS of the ops listener.
    pub ops_tls: Option<TlsFiles>,
    /// Who is let in by `--check-auth=mtls`.
    pub clients: Vec<ListedClient>,
    /// What each connection, and all of them, may take.
    pub limits: Limits,
}

/// The files of one listener's TLS. They are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The name of the listener, as it stands in the flags.
    pub listener: &'static str,
    /// The certificate and those that lead to its authority, in PEM.
    pub cert: PathBuf,
    /// The certificate's private key, in PEM.
    pub key: PathBuf,
    /// The authorities one of which must have signed a client's certificate, in PEM; if none, clients show no certificate.
    pub client_ca: Option<PathBuf>,
}

impl TlsFiles {
    /// The flag by which a file is given: of `cert`, `key` or `client-ca`.
    pub fn flag(&self, part: &str) -> String {
        flag(self.listener, part)
    }
}

fn flag(listener: &str, part: &str) -> String {
    format!("--{listener}-tls-{part}-file")
}

/// A client that is let in by its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedClient {
    /// The SPIFFE ID in its certificate, or the DNS name.
    pub identity: String,
    /// The tenant that it asks for; any, if there is none.
    pub tenant: Option<TenantId>,
}

/// An element of `[[clients]]` in the file of `--config`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ClientEntry {
    /// The SPIFFE ID in its certificate, or the DNS name.
    pub identity: String,
    /// The tenant that it asks for, `tenants/{tenant}`; any, if it is left out.
    pub tenant: Option<String>,
}

/// What is said about the transport by `args` and, where they are silent, by `file`.
pub(super) fn checked(broken: &mut Vec<Violation>, args: &ServeArgs, file: &ServeArgs) -> TransportConfig {
    type Given = Option<PathBuf>;
    let mut files = |listener: &'static str, of: fn(&ServeArgs) -> [&Given; 3]| {
        let [cert, key, client_ca] = of(args);
        let [file_cert, file_key, file_client_ca] = of(file);
        let given = |args: &Given, file: &Given| args.clone().or(file.clone());
        let client_ca = given(client_ca, file_client_ca);
        match (given(cert, file_cert), given(key, file_key)) {
            (Some(cert), Some(key)) => Some(TlsFiles { listener, cert, key, client_ca }),
            (Some(_), None) => {
                let rule = format!("must be given with {}", flag(listener, "cert"));
                broken.push(Violation::new(flag(listener, "key"), rule));
                None
            }
            (None, Some(_)) => {
                let rule = format!("must be given with {}", flag(listener, "key"));
                broken.push(Violation::new(flag(listener, "cert"), rule));
                None
            }
            (None, None) => {
                if client_ca.is_some() {
                    let (cert, key) = (flag(listener, "cert"), flag(listener, "key"));
                    let rule = format!("must not be given without {cert} and {key}");
                    broken.push(Violation::new(flag(listener, "client-ca"), rule));
                }
                None
            }
        }
    };
    let data_tls =
        files("data", |args| [&args.data_tls_cert_file, &args.data_tls_key_file, &args.data_tls_client_ca_file]);
    let admin_tls =
        files("admin", |args| [&args.admin_tls_cert_file, &args.admin_tls_key_file, &args.admin_tls_client_ca_file]);
    let ops_tls = files("ops", |args| [&args.ops_tls_cert_file, &args.ops_tls_key_file, &args.ops_tls_client_ca_file]);

    TransportConfig {
        data_tls,
        admin_tls,
        ops_tls,
        clients: clients(broken, &file.clients),
        limits: super::limits::checked(broken, args, file),
    }
}

fn clients(broken: &mut Vec<Violation>, entries: &[ClientEntry]) -> Vec<ListedClient> {
    let mut seen = HashSet::new();
    let mut listed = Vec::new();
    for (place, ClientEntry { identity, tenant }) in entries.iter().enumerate() {
        let mut refuse =
            |field: &str, rule: &str| broken.push(Violation::new(format!("clients[{place}].{field}"), rule));
        let Some(identity) = plain_identity(identity) else {
            refuse("identity", "must be a SPIFFE ID, such as spiffe://example.org/gateway, or a DNS name");
            continue;
        };
        if !seen.insert(identity.clone()) {
            refuse("identity", "must be listed once");
            continue;
        }
        let tenant = match tenant.as_deref().map(tenant_of) {
            Some(None) => {
                refuse("tenant", "must be of the form tenants/{tenant}");
                continue;
            }
            Some(Some(tenant)) => Some(tenant),
            None => None,
        };
        listed.push(ListedClient { identity, tenant });
    }
    listed
}

/// The form in which identities are compared: a SPIFFE ID as it is, a DNS name in lower case.
fn plain_identity(text: &str) -> Option<String> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic()) && text.len() <= MAX_IDENTITY_BYTES;
    match text.strip_prefix(SPIFFE) {
        Some(rest) => (is_plain && !rest.is_empty() && !rest.starts_with('/')).then(|| text.to_owned()),
        None => {
            let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'*');
            (is_plain && !text.is_empty() && text.bytes().all(is_name)).then(|| text.to_ascii_lowercase())
        }
    }
}

fn tenant_of(name: &str) -> Option<TenantId> {
    match Path::find(name) {
        Some(Path { tenant, child: None }) => TenantId::find(tenant),
        _ => None,
    }
}

/// The rules about who may ask by certificate.
pub(super) fn judge(config: &Config, broken: &mut Vec<Violation>) {
    let TransportConfig { data_tls, clients, .. } = &config.transport;
    let is_mtls = config.check_auth == Some(CheckAuth::Mtls);
    let has_client_ca = data_tls.as_ref().is_some_and(|files| files.client_ca.is_some());
    if is_mtls && !has_client_ca {
        let rule = "mtls needs TLS with clients' certificates on the data listener: give --data-tls-cert-file, \
                    --data-tls-key-file and --data-tls-client-ca-file";
        broken.push(Violation::new("--check-auth", rule));
    } else if is_mtls && clients.is_empty() {
        let rule = "mtls lets nobody in without [[clients]] in the file of --config, each with an identity";
        broken.push(Violation::new("--check-auth", rule));
    } else if !is_mtls && !clients.is_empty() {
        broken.push(Violation::new("clients", "must not be listed without --check-auth=mtls"));
    }
}

#[cfg(test)]
mod tests;
