//! Services that the contract names and this build does not have yet: each method says so.

use crate::error::Error;
use crate::proto::envoy::service::auth::v3 as envoy;
use envoy::authorization_server::Authorization;
use tonic::{Request, Response, Status};

/// Answers `UNIMPLEMENTED`.
#[derive(Clone, Copy, Debug)]
pub struct Unbuilt;

#[tonic::async_trait]
impl Authorization for Unbuilt {
    async fn check(&self, _: Request<envoy::CheckRequest>) -> Result<Response<envoy::CheckResponse>, Status> {
        Err(Error::Unbuilt { method: "envoy.service.auth.v3.Authorization/Check" }.into())
    }
}
