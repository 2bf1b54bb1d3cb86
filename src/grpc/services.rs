//! The services of a listener. The methods by which Checks come are found by their paths alone, since a router costs nearly
//! as much as a Check does; all others by a router.

use super::check::Unary;
use super::unary::ReplyBody;
use super::{CheckApi, ExtAuthzApi, rpcs};
use axum::body::Bytes;
use http::{Request, Response};
use std::convert::Infallible;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tonic::service::Routes;
use tower::Service;

/// Clones share everything.
#[derive(Clone, Debug)]
pub struct Services(Arc<All>);

#[derive(Debug)]
struct All {
    check: CheckApi,
    ext_authz: ExtAuthzApi,
    rest: Routes,
}

/// By which way a request goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Unary(Unary),
    Stream,
    ExtAuthz,
    Rest,
}

impl Services {
    /// Check by both doors, and the rest.
    pub fn new(check: CheckApi, ext_authz: ExtAuthzApi, rest: Routes) -> Self {
        Self(Arc::new(All { check, ext_authz, rest: rest.prepare() }))
    }
}

/// The way of a request with this path.
fn way(path: &str) -> Way {
    match path.strip_prefix('/').unwrap_or_default() {
        method if method == rpcs::CHECK.method => Way::Unary(Unary::Check),
        method if method == rpcs::BATCH_CHECK.method => Way::Unary(Unary::BatchCheck),
        method if method == rpcs::STREAM_CHECK.method => Way::Stream,
        "envoy.service.auth.v3.Authorization/Check" => Way::ExtAuthz,
        _ => Way::Rest,
    }
}

impl<B> Service<Request<B>> for Services
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
{
    type Response = Response<ReplyBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    /// All of them are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let Self(all) = self;
        let all = Arc::clone(all);
        match way(request.uri().path()) {
            Way::Unary(method) => Box::pin(async move { Ok(all.check.unary(method, request).await) }),
            Way::Stream => Box::pin(async move { Ok(all.check.stream(request).await) }),
            Way::ExtAuthz => Box::pin(async move { Ok(all.ext_authz.check(request).await) }),
            Way::Rest => {
                let answering = all.rest.clone().call(request);
                Box::pin(async move { Ok(answering.await?.map(ReplyBody::Stream)) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_named_in_full() {
        assert_eq!(way("/keyward.v1.CheckService/Check"), Way::Unary(Unary::Check));
        assert_eq!(way("/keyward.v1.CheckService/BatchCheck"), Way::Unary(Unary::BatchCheck));
        assert_eq!(way("/keyward.v1.CheckService/StreamCheck"), Way::Stream);
        assert_eq!(way("/envoy.service.auth.v3.Authorization/Check"), Way::ExtAuthz);
        let others =
            ["", "/", "/keyward.v1.CheckService", "/keyward.v1.CheckService/", "keyward.v1.CheckService/Check"];
        let similar = ["//keyward.v1.CheckService/Check", "/keyward.v1.CheckServices/Check", "/keyward.v1/Check"];
        for path in others.into_iter().chain(similar) {
            assert_eq!(way(path), Way::Rest, "{path}");
        }
    }
}
