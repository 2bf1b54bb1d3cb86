//! The one integration binary: a module per subject, the real server in each.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]
#![allow(clippy::allow_attributes, clippy::disallowed_types, missing_docs, unreachable_pub, reason = "tests")]

mod authorization;
mod canary;
mod cli;
mod durability;
mod harness;
mod history;
mod road;
mod serve;
mod store;
mod tidy;
