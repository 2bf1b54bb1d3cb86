//! What Check answers, and why.

mod batch;
mod grants;
mod reasons;
mod revision;
