//! Reads what Envoy sends. What is too large or cannot be read is no error: see [`super`].

use crate::grpc::unary::read;
use crate::proto::envoy::service::auth::v3 as envoy;
use http_body::Body;
use prost::Message as _;
use prost::bytes::Bytes;

/// The one message of a body, unless it has more bytes than that or cannot be read.
pub(super) async fn received<B: Body<Data = Bytes>>(body: B, max: usize) -> Option<envoy::CheckRequest> {
    let message = read(body, max).await.ok()?;
    envoy::CheckRequest::decode(message).ok()
}

#[cfg(test)]
mod fuzz;
