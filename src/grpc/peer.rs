//! Who is at the other end of a connection, as its certificate says; and which of them `--check-auth=mtls` lets in.
//! The listener puts an [`Identity`] into a request's extensions; nothing that a client sends as text can.

use crate::config::ListedClient;
use crate::domain::name::TenantId;
use crate::error::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;
use tonic::Extensions;

/// The SPIFFE ID or the DNS name in a client's certificate, which one of the listener's authorities has signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity(Arc<str>);

impl Identity {
    /// The identity that a verified certificate names.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whose request it is, if its connection has shown a certificate with a name.
    pub(crate) fn of(extensions: &Extensions) -> Option<Self> {
        extensions.get().cloned()
    }
}

/// The clients that are let in by their certificates, each with the tenant that it is bound to.
#[derive(Clone, Debug)]
pub struct Clients(Arc<HashMap<String, Option<TenantId>>>);

impl Clients {
    /// Those of the configuration.
    pub fn new(listed: &[ListedClient]) -> Self {
        let entries = listed.iter().map(|client| (client.identity.clone(), client.tenant.clone()));
        Self(Arc::new(entries.collect()))
    }

    /// The tenant that a client is bound to; one that is not listed is refused.
    pub(crate) fn admit(&self, identity: Option<&Identity>) -> Result<Option<TenantId>> {
        let found = identity.and_then(|identity| self.0.get(identity.as_str()));
        found.cloned().ok_or_else(|| Error::Unauthenticated {
            reason: "no entry of [[clients]] names the client's certificate".to_owned(),
        })
    }
}
