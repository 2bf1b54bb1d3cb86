//! What Keyward is measured by: a bare tonic server that answers always the same, without looking at what was asked. It goes
//! the way that tonic generates, with tonic's own codec.

use keyward::proto::envoy::service::auth::v3 as envoy;
use keyward::proto::v1::*;
use prost::Message;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tonic::body::Body;
use tonic::codegen::BoxFuture;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::transport::server::{Router, TcpIncoming};
use tonic::{Request, Response, Status};
use tonic_prost::ProstCodec;
use tower::Service;

/// Answers every request of a service with the same reply.
struct Echo<Q, R> {
    reply: Arc<R>,
    asked: PhantomData<fn(Q)>,
}

impl<Q, R> Echo<Q, R> {
    fn new(reply: R) -> Self {
        Self { reply: Arc::new(reply), asked: PhantomData }
    }
}

impl<Q, R> Clone for Echo<Q, R> {
    fn clone(&self) -> Self {
        Self { reply: Arc::clone(&self.reply), asked: PhantomData }
    }
}

impl NamedService for Echo<CheckRequest, CheckResponse> {
    const NAME: &'static str = "keyward.v1.CheckService";
}

impl NamedService for Echo<envoy::CheckRequest, envoy::CheckResponse> {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl<Q: Send + 'static, R: Clone + Send + Sync + 'static> UnaryService<Q> for Echo<Q, R> {
    type Response = R;
    type Future = BoxFuture<Response<R>, Status>;

    fn call(&mut self, _: Request<Q>) -> Self::Future {
        let reply = Arc::clone(&self.reply);
        Box::pin(async move { Ok(Response::new(R::clone(&reply))) })
    }
}

impl<Q, R> Service<http::Request<Body>> for Echo<Q, R>
where
    Q: Message + Default + Send + 'static,
    R: Message + Clone + Send + Sync + 'static,
{
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let echo = self.clone();
        let answering = async move {
            let mut grpc = Grpc::new(ProstCodec::<R, Q>::default());
            Ok(grpc.unary(echo, request).await)
        };
        Box::pin(answering)
    }
}

/// Serves both at `listener`, until it is dropped.
pub(crate) async fn serve(listener: TcpListener, check: CheckResponse, allow: envoy::CheckResponse) {
    let router: Router = tonic::transport::Server::builder()
        .add_service(Echo::<CheckRequest, _>::new(check))
        .add_service(Echo::<envoy::CheckRequest, _>::new(allow));
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    router.serve_with_incoming(incoming).await.expect("a server");
}
