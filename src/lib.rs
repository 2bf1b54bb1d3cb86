//! Keyward.

pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod desk;
pub mod domain;
pub mod error;
pub mod grpc;
pub mod proto;
pub mod replica;
pub mod server;
pub mod store;
pub mod telemetry;
