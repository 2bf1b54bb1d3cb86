//! What Keyward is measured by: a bare tonic server that answers always the same, without looking at what was asked.

use keyward::proto::envoy::service::auth::v3 as envoy;
use keyward::proto::envoy::service::auth::v3::authorization_server::{Authorization, AuthorizationServer};
use keyward::proto::v1::check_service_server::{CheckService, CheckServiceServer};
use keyward::proto::v1::*;
use tokio::net::TcpListener;
use tokio_stream::Empty;
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Request, Response, Status, Streaming};

/// Answers every Check with the same reply.
struct Echo(CheckResponse);

#[tonic::async_trait]
impl CheckService for Echo {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    async fn batch_check(&self, _: Request<BatchCheckRequest>) -> Result<Response<BatchCheckResponse>, Status> {
        Err(Status::unimplemented("an echo answers Check"))
    }

    type StreamCheckStream = Empty<Result<StreamCheckResponse, Status>>;

    async fn stream_check(
        &self,
        _: Request<Streaming<StreamCheckRequest>>,
    ) -> Result<Response<Self::StreamCheckStream>, Status> {
        Err(Status::unimplemented("an echo answers Check"))
    }
}

/// Lets every request of a proxy's pass.
struct Allow(envoy::CheckResponse);

#[tonic::async_trait]
impl Authorization for Allow {
    async fn check(&self, _: Request<envoy::CheckRequest>) -> Result<Response<envoy::CheckResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }
}

/// Serves both at `listener`, until it is dropped.
pub(crate) async fn serve(listener: TcpListener, check: CheckResponse, allow: envoy::CheckResponse) {
    let router: Router = tonic::transport::Server::builder()
        .add_service(CheckServiceServer::new(Echo(check)))
        .add_service(AuthorizationServer::new(Allow(allow)));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    router.serve_with_incoming(incoming).await.expect("a server");
}
