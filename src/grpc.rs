//! THE WIRE: the only room that knows tonic; a file per service. A handler is three statements: admit, convert, command.
//! If one grows a fourth, the rule it holds belongs in `desk` or `domain`.

#![expect(clippy::disallowed_types, reason = "this is the room that speaks gRPC")]

mod admin;
mod applications;
pub mod arrive;
mod caller;
mod check;
mod convert;
mod events;
mod ext_authz;
pub mod health;
mod import;
mod keys;
pub mod load;
pub mod observe;
pub mod peer;
mod refusals;
pub mod rpcs;
pub mod services;
mod status;
mod stream;
mod tenants;
mod throttle;
mod tokens;
pub mod unary;
mod users;

pub use admin::AdminApi;
pub use applications::ApplicationApi;
pub use check::{CheckApi, Door};
pub use events::EventApi;
pub use ext_authz::ExtAuthzApi;
pub use keys::KeyApi;
pub use tenants::TenantApi;
pub use tokens::TokenApi;
pub use users::UserApi;

use crate::config::Limits;
use crate::desk::Desk;
use caller::Gate;
use refusals::Refusals;
use std::sync::Arc;

/// What the administrative services share.
#[derive(Clone, Debug)]
pub struct Api {
    gate: Gate,
    desk: Desk,
    page_token_key: Arc<[u8]>,
    limits: Limits,
}

impl Api {
    /// Everything a handler needs.
    pub fn new(desk: Desk, page_token_key: &[u8], audience: &[String], limits: Limits) -> Self {
        let (index, clock) = (Arc::clone(&desk.index), desk.clock.clone());
        let gate = Gate { index, clock, audience: audience.into(), refusals: Refusals::default() };
        Self { gate, desk, page_token_key: page_token_key.into(), limits }
    }
}
