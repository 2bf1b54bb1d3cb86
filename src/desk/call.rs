//! The call for which a command is carried out.

use std::fmt;
use std::sync::Arc;
use tokio::time::Instant;

/// One call: where it came from, and under which id it is traced.
#[derive(Clone, Debug, Default)]
pub struct Call {
    /// The caller's request id, or one made for it.
    pub request_id: String,
    /// The address of the peer; empty on a Unix socket.
    pub source_ip: String,
    /// Whom the certificate names that the peer's connection has shown, if it has.
    pub client: Option<String>,
    /// By when its answer must be on its way, if it has said so.
    pub deadline: Option<Instant>,
    /// What it takes of its listener, until the last of it is done.
    pub held: Option<Arc<dyn Held>>,
}

/// Something that is only held and let go of.
pub trait Held: fmt::Debug + Send + Sync {}

impl<T: fmt::Debug + Send + Sync> Held for T {}

impl Call {
    /// What an event tells, and by whose connection it came about.
    pub(crate) fn noted(&self, mut detail: serde_json::Value) -> serde_json::Value {
        if let (Some(client), Some(detail)) = (&self.client, detail.as_object_mut()) {
            detail.insert("client".to_owned(), client.as_str().into());
        }
        detail
    }
}
