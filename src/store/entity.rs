//! The tables as SeaORM sees them. Invisible outside `store`. Times are microseconds since the epoch, digests are raw
//! bytes, lists and maps are JSON text; identifiers are compared byte for byte on every engine.

pub(in crate::store) mod access_token;
pub(in crate::store) mod api_key;
pub(in crate::store) mod api_key_secret;
pub(in crate::store) mod api_key_usage;
pub(in crate::store) mod api_key_use;
pub(in crate::store) mod application;
pub(in crate::store) mod application_secret;
pub(in crate::store) mod audit_event;
pub(in crate::store) mod ledger_change;
pub(in crate::store) mod ledger_head;
pub(in crate::store) mod mail_count;
pub(in crate::store) mod mail_queue;
pub(in crate::store) mod replay;
pub(in crate::store) mod replica;
pub(in crate::store) mod root_secret;
pub(in crate::store) mod setting;
pub(in crate::store) mod signing_key;
pub(in crate::store) mod tenant;
pub(in crate::store) mod tenant_count;
pub(in crate::store) mod tenant_user;
pub(in crate::store) mod usage_flush;
pub(in crate::store) mod user_password;
pub(in crate::store) mod user_session;
