//! Reads what Envoy sends. What is too large or cannot be read is no error: see [`super`].

use crate::grpc::unary::read;
use crate::proto::envoy::service::auth::v3 as envoy;
use http_body::Body;
use prost::Message as _;
use prost::bytes::Bytes;

/// The largest request that is looked at; nobody forwards more.
pub(super) const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// The one message of a body, unless it is too large or cannot be read.
pub(super) async fn received<B: Body<Data = Bytes>>(body: B) -> Option<envoy::CheckRequest> {
    let message = read(body, MAX_REQUEST_BYTES).await.ok()?;
    envoy::CheckRequest::decode(message).ok()
}

#[cfg(test)]
mod fuzz;
