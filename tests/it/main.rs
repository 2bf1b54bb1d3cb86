//! The one integration binary: a module per subject, the real server in each.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "tests"
)]
#![allow(
    clippy::allow_attributes,
    clippy::disallowed_types,
    clippy::needless_update,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod applications;
mod authorization;
mod barrier;
mod canary;
mod caps;
mod check;
mod cli;
mod client;
mod commits;
mod deadlines;
mod depth;
mod descent;
mod doctor;
mod durability;
mod engines;
mod errors;
mod events;
mod ext_authz;
mod harness;
mod history;
mod import;
mod jwt;
mod keys;
mod limits;
mod mail;
mod model;
mod overload;
mod passwords;
mod people;
mod replicas;
mod road;
mod serve;
mod sessions;
mod signing;
mod simulation;
mod soak;
mod start;
mod store;
mod tidy;
mod tokens;
mod transport;
mod usage;
mod watch;
