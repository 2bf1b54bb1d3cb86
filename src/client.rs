//! THE CLIENT: for services that ask Keyward, the only room that is of use without the rest of this crate
//! (`keyward = { default-features = false, features = ["client"] }`).
//!
//! A [`Client`] is a handle on connections to one Keyward, which may be many replicas behind one name. It keeps them
//! alive, spreads the calls over them, gives each call a deadline, and sends again what may be sent again
//! ([what that is](Builder::max_attempts)). It is cheap to clone, and all clones share the connections.
//!
//! ```no_run
//! use keyward::client::{Client, Refused};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let keyward = Client::builder("http://keyward.internal:50051")
//!     .credential(std::fs::read_to_string("/run/secrets/keyward")?.trim_end())
//!     .connect()
//!     .await?;
//!
//! // Whoever sent this text: may they read this document?
//! match keyward.check("kw_…").may("doc/1", "read").tenant("tenants/acme").require().await {
//!     Ok(allowed) => println!("hello, {}", allowed.principal.key),
//!     Err(Refused::Denied(denied)) => println!("no: {denied}"),
//!     Err(Refused::Undecided(status)) => println!("nobody can say now, so no: {status}"),
//! }
//!
//! // Everything else of the contract, as it was generated.
//! use keyward::proto::v1::ListKeysRequest;
//! let request = ListKeysRequest { parent: "tenants/-".to_owned(), ..ListKeysRequest::default() };
//! for key in keyward.keys().list_keys(request).await?.into_inner().keys {
//!     println!("{}", key.name);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`layer::ProtectLayer`] asks for you, in front of a service of axum or tonic.
//!
//! Whatever is no permission is a refusal: [`Answer`] has no zero value that allows, an outage is an error, and so is an
//! answer that contradicts itself.

#![expect(clippy::disallowed_types, reason = "this is a room that speaks gRPC")]

mod balance;
mod body;
mod builder;
mod chance;
mod deadline;
mod failure;
pub mod layer;
mod question;
mod repeat;
mod resolve;
mod target;
mod wire;

pub use self::builder::{BuildError, Builder};
pub use self::question::{Allowed, Answer, Denied, Question, Refused};
pub use self::wire::Wire;
pub use crate::proto::v1::Principal;

use crate::proto::v1::admin_service_client::AdminServiceClient;
use crate::proto::v1::application_service_client::ApplicationServiceClient;
use crate::proto::v1::check_service_client::CheckServiceClient;
use crate::proto::v1::event_service_client::EventServiceClient;
use crate::proto::v1::key_service_client::KeyServiceClient;
use crate::proto::v1::tenant_service_client::TenantServiceClient;
use crate::proto::v1::token_service_client::TokenServiceClient;
use crate::proto::v1::user_service_client::UserServiceClient;

/// What one response may measure: a page of keys can pass tonic's 4 MiB.
const MAX_RESPONSE_BYTES: usize = 256 << 20;

/// A caller of Keyward, and its connections.
#[derive(Clone, Debug)]
pub struct Client {
    wire: Wire,
}

impl Client {
    /// Begins a client of the Keyward at `target`: `http://HOST:PORT`, `https://HOST:PORT`, `HOST:PORT` (without TLS) or
    /// `unix:PATH`.
    ///
    /// Check is answered on the data address, everything on the admin address.
    pub fn builder(target: impl Into<String>) -> Builder {
        Builder::new(target.into())
    }

    /// A question about this credential, which is sent by [`Question::require`] or [`Question::ask`].
    pub fn check(&self, credential: impl Into<String>) -> Question {
        Question::new(self.checks(), credential.into())
    }

    /// What the generated clients of the contract are made over, for a service that has no function here.
    pub fn wire(&self) -> Wire {
        self.wire.clone()
    }

    /// Checks of any shape: in batches and streams too.
    pub fn checks(&self) -> CheckServiceClient<Wire> {
        CheckServiceClient::new(self.wire()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// Keys.
    pub fn keys(&self) -> KeyServiceClient<Wire> {
        KeyServiceClient::new(self.wire()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// Access tokens and sessions.
    pub fn tokens(&self) -> TokenServiceClient<Wire> {
        TokenServiceClient::new(self.wire()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// Applications.
    pub fn applications(&self) -> ApplicationServiceClient<Wire> {
        ApplicationServiceClient::new(self.wire()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// Tenants.
    pub fn tenants(&self) -> TenantServiceClient<Wire> {
        TenantServiceClient::new(self.wire()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// Users.
    pub fn users(&self) -> UserServiceClient<Wire> {
        UserServiceClient::new(self.wire()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// The audit log.
    pub fn events(&self) -> EventServiceClient<Wire> {
        EventServiceClient::new(self.wire()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }

    /// What root asks of the replicas.
    pub fn admin(&self) -> AdminServiceClient<Wire> {
        AdminServiceClient::new(self.wire()).max_decoding_message_size(MAX_RESPONSE_BYTES)
    }
}
