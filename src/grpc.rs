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
pub mod rpcs;
pub mod services;
mod status;
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

use crate::desk::Desk;
use caller::Gate;
use std::sync::Arc;

/// What the administrative services share.
#[derive(Clone, Debug)]
pub struct Api {
    gate: Gate,
    desk: Desk,
    page_token_key: Arc<[u8]>,
}

impl Api {
    /// Everything a handler needs.
    pub fn new(desk: Desk, page_token_key: &[u8], audience: &[String]) -> Self {
        let gate = Gate { index: Arc::clone(&desk.index), clock: desk.clock.clone(), audience: audience.into() };
        Self { gate, desk, page_token_key: page_token_key.into() }
    }
}
