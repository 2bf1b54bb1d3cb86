//! Services that the contract names and this build does not have yet: each method says so.

use super::rpcs;
use crate::error::Error;
use crate::proto::envoy::service::auth::v3 as envoy;
use crate::proto::v1 as proto;
use envoy::authorization_server::Authorization;
use proto::admin_service_server::AdminService;
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

macro_rules! unbuilt {
    ($service:ident: $($method:ident $request:ident $response:ident $rpc:ident,)*) => {
        #[tonic::async_trait]
        impl $service for Unbuilt {
            $(async fn $method(&self, _: Request<proto::$request>) -> Result<Response<proto::$response>, Status> {
                Err(Error::Unbuilt { method: rpcs::$rpc.method }.into())
            })*
        }
    };
}

unbuilt! { AdminService:
    list_replicas ListReplicasRequest ListReplicasResponse LIST_REPLICAS,
    get_status GetStatusRequest GetStatusResponse GET_STATUS,
}
