//! THE RULES: plain values and pure decisions. No async, no I/O, no clock and no randomness is taken here, only given.
//! Everyone may call it; it calls nobody but small pure crates.

pub mod actor;
pub mod application;
pub mod bucket;
pub mod cap;
pub mod change;
pub mod clock;
pub mod credential;
pub mod decision;
pub mod detail;
pub mod etag;
pub mod facts;
pub mod filter;
pub mod finding;
pub mod grant;
pub mod jwt;
pub mod key;
pub mod lease;
pub mod mail;
pub mod name;
pub mod narrow;
pub mod network;
pub mod password;
pub mod permission;
pub mod policy;
pub mod reason;
pub mod referrer;
pub mod route;
pub mod signing;
pub mod tenant;
pub mod token;
pub mod usage;
pub mod user;
