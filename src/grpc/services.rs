//! The services of a listener. The two by which Checks come are found by their names alone, since a router costs nearly as
//! much as a Check does; all others by a router.

use super::ext_authz::Received;
use super::{CheckApi, ExtAuthzApi};
use crate::proto::envoy::service::auth::v3::authorization_server::{self, AuthorizationServer};
use crate::proto::v1::check_service_server::{self, CheckServiceServer};
use axum::body::Bytes;
use http::{Request, Response};
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::service::Routes;
use tower::Service;

/// Clones share everything.
#[derive(Clone, Debug)]
pub struct Services(Arc<All>);

#[derive(Debug)]
struct All {
    check: CheckServiceServer<CheckApi>,
    ext_authz: Received<AuthorizationServer<ExtAuthzApi>>,
    rest: Routes,
}

impl Services {
    /// Check by both doors, and the rest.
    pub fn new(
        check: CheckServiceServer<CheckApi>,
        ext_authz: Received<AuthorizationServer<ExtAuthzApi>>,
        rest: Routes,
    ) -> Self {
        Self(Arc::new(All { check, ext_authz, rest: rest.prepare() }))
    }
}

/// The service in `/package.Service/Method`.
fn service_of(path: &str) -> Option<&str> {
    let (service, _method) = path.strip_prefix('/')?.split_once('/')?;
    Some(service)
}

impl<B> Service<Request<B>> for Services
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    /// All of them are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self(all) = self;
        match service_of(request.uri().path()) {
            Some(check_service_server::SERVICE_NAME) => all.check.clone().call(request),
            Some(authorization_server::SERVICE_NAME) => all.ext_authz.clone().call(request.map(Body::new)),
            Some(_) | None => Box::pin(all.rest.clone().call(request)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_named_in_full() {
        assert_eq!(service_of("/keyward.v1.CheckService/Check"), Some(check_service_server::SERVICE_NAME));
        assert_eq!(service_of("/keyward.v1.CheckService/"), Some(check_service_server::SERVICE_NAME));
        for path in ["", "/", "/keyward.v1.CheckService", "keyward.v1.CheckService/Check"] {
            assert_eq!(service_of(path), None, "{path}");
        }
        for path in ["//keyward.v1.CheckService/Check", "/keyward.v1.CheckServices/Check", "/keyward.v1/Check"] {
            assert_ne!(service_of(path), Some(check_service_server::SERVICE_NAME), "{path}");
        }
    }
}
