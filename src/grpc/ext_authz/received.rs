//! Reads what Envoy sends before tonic does, which would answer an error to what is too large or cannot be decoded.

use crate::proto::envoy::service::auth::v3 as envoy;
use http::{Request, Response};
use http_body::Body as _;
use prost::Message as _;
use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

/// The largest request that is looked at.
pub(super) const MAX_REQUEST_BYTES: usize = 1024 * 1024;

/// So much of a larger one is let come and dropped, so that its sender reads the answer; nobody forwards more.
const MAX_DROPPED_BYTES: usize = 64 * 1024 * 1024;

/// The flag and the length before a gRPC message.
const PREFIX_BYTES: usize = 5;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What was received; nothing if it was too large or cannot be read, which is also what it is if nobody looked.
#[derive(Clone, Default)]
pub(super) struct Arrived(pub(super) Option<envoy::CheckRequest>);

/// Puts what was received into the request's extensions, and has the service inside see an empty message.
#[derive(Clone, Debug)]
pub struct Received<S>(S);

impl<S> Received<S> {
    pub(super) fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S: NamedService> NamedService for Received<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Received<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != CHECK {
            return Box::pin(self.0.call(request));
        }
        // The one that is ready is the one that is called.
        let fresh = self.0.clone();
        let mut inner = std::mem::replace(&mut self.0, fresh);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(Arrived(read(body).await));
            // A message that is compressed has been refused by its flag; tonic would answer an error to the header alone.
            parts.headers.remove("grpc-encoding");
            let empty: &'static [u8] = &[0; PREFIX_BYTES];
            inner.call(Request::from_parts(parts, Body::new(axum::body::Body::from(empty)))).await
        })
    }
}

/// The one message of a body.
async fn read(body: Body) -> Option<envoy::CheckRequest> {
    let mut body = pin!(body);
    let mut received = Vec::new();
    let mut total: usize = 0;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        total = total.saturating_add(data.len());
        if total <= MAX_REQUEST_BYTES + PREFIX_BYTES {
            received.extend_from_slice(&data);
        } else {
            received = Vec::new();
            if total > MAX_DROPPED_BYTES {
                return None;
            }
        }
    }
    // Not compressed, one message and nothing after it.
    let [0, a, b, c, d, message @ ..] = received.as_slice() else { return None };
    let is_whole = usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).is_ok_and(|length| length == message.len());
    if is_whole { envoy::CheckRequest::decode(message).ok() } else { None }
}

#[cfg(test)]
mod fuzz;
