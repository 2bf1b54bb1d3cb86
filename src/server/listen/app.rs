//! What a listener serves, and what each request is told about the connection it came by.

use crate::grpc::arrive::{Arrive, ArriveLayer, Arriving};
use crate::grpc::observe::{Observe, ObserveLayer, ObservedBody, Observing};
use crate::grpc::peer::Identity;
use crate::grpc::services::Services;
use crate::grpc::unary::ReplyBody;
use axum::routing::future::RouteFuture;
use http::{Request, Response};
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::body::Body;
use tonic::transport::server::TcpConnectInfo;
use tower::{Layer as _, Service as _};

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
    Grpc(Observe<Arrive<Services>>),
    Http(axum::Router),
}

impl App {
    /// Services of gRPC, whose calls are observed and whose callers are waited for.
    pub(in crate::server) fn grpc(services: Services, (observe, arrive): (ObserveLayer, ArriveLayer)) -> Self {
        Self { kind: Kind::Grpc(observe.layer(arrive.layer(services))), peer: Peer::default() }
    }

    /// Anything over HTTP/1 or 2.
    pub(in crate::server) fn http(router: axum::Router) -> Self {
        Self { kind: Kind::Http(router.with_state(())), peer: Peer::default() }
    }

    /// The same for another thread that serves it.
    pub(super) fn of_another(&self) -> Self {
        let kind = match &self.kind {
            Kind::Grpc(service) => Kind::Grpc(service.of_another()),
            Kind::Http(router) => Kind::Http(router.clone()),
        };
        Self { kind, peer: self.peer.clone() }
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

impl hyper::service::Service<Request<Incoming>> for App {
    type Response = Response<ObservedBody<ReplyBody>>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, mut request: Request<Incoming>) -> Answering {
        let extensions = request.extensions_mut();
        if let Some(tcp) = &self.peer.tcp {
            extensions.insert(tcp.clone());
        }
        if let Some(identity) = &self.peer.identity {
            extensions.insert(identity.clone());
        }
        // Neither has to be asked first whether it is ready.
        match &self.kind {
            Kind::Grpc(service) => Answering::Grpc { answering: service.clone().call(request) },
            Kind::Http(router) => Answering::Http { answering: router.clone().call(request) },
        }
    }
}

pin_project! {
    /// The answer to come.
    #[project = AnsweringProjection]
    pub(in crate::server) enum Answering {
        Grpc { #[pin] answering: Observing<Arriving<Services, Incoming>> },
        Http { #[pin] answering: RouteFuture<Infallible> },
    }
}

impl Future for Answering {
    type Output = Result<Response<ObservedBody<ReplyBody>>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            AnsweringProjection::Grpc { answering } => answering.poll(context),
            AnsweringProjection::Http { answering } => {
                let response = ready!(answering.poll(context))?;
                Poll::Ready(Ok(response.map(|body| ObservedBody::unobserved(ReplyBody::Stream(Body::new(body))))))
            }
        }
    }
}
