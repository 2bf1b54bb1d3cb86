//! What a listener serves, and what each request is told about the connection it came by.

use crate::grpc::arrive::{Arrive, ArriveLayer};
use crate::grpc::observe::{Observe, ObserveLayer};
use crate::grpc::peer::Identity;
use axum::body::Bytes;
use http::{Request, Response};
use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer as _, Service};

/// The other end of a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// Its address and ours, but on a Unix socket.
    pub(super) tcp: Option<TcpConnectInfo>,
    /// Who it is, if it has shown a certificate with a name.
    pub(super) identity: Option<Identity>,
}

/// What a listener serves.
#[derive(Clone, Debug)]
pub(in crate::server) struct App {
    kind: Kind,
    peer: Peer,
}

#[derive(Clone, Debug)]
enum Kind {
    Grpc(Observe<Arrive<Routes>>),
    Http(axum::Router),
}

impl App {
    /// Services of gRPC, whose calls are observed and whose callers are waited for.
    pub(in crate::server) fn grpc(routes: Routes, (observe, arrive): (ObserveLayer, ArriveLayer)) -> Self {
        Self { kind: Kind::Grpc(observe.layer(arrive.layer(routes.prepare()))), peer: Peer::default() }
    }

    /// Anything over HTTP/1 or 2.
    pub(in crate::server) fn http(router: axum::Router) -> Self {
        Self { kind: Kind::Http(router.with_state(())), peer: Peer::default() }
    }

    /// The same for the requests of one connection.
    pub(super) fn of(&self, peer: Peer) -> Self {
        Self { kind: self.kind.clone(), peer }
    }

    /// Whether it speaks HTTP/2 alone.
    pub(super) fn is_grpc(&self) -> bool {
        match self.kind {
            Kind::Grpc(_) => true,
            Kind::Http(_) => false,
        }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<B> Service<Request<B>> for App
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        match &mut self.kind {
            Kind::Grpc(service) => Service::<Request<Body>>::poll_ready(service, context),
            Kind::Http(router) => Service::<Request<Body>>::poll_ready(router, context),
        }
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut request = request.map(Body::new);
        let extensions = request.extensions_mut();
        if let Some(tcp) = &self.peer.tcp {
            extensions.insert(tcp.clone());
        }
        if let Some(identity) = &self.peer.identity {
            extensions.insert(identity.clone());
        }
        match &mut self.kind {
            Kind::Grpc(service) => {
                let answering = service.call(request);
                Box::pin(async move { Ok(answering.await?.map(Body::new)) })
            }
            Kind::Http(router) => {
                let answering = router.call(request);
                Box::pin(async move { Ok(answering.await?.map(Body::new)) })
            }
        }
    }
}
