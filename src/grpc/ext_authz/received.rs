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

/// So many times as much as is looked at is let come and dropped, so that its sender reads the answer; nobody forwards more.
const DROPPED_TIMES: usize = 64;

/// The flag and the length before a gRPC message.
const PREFIX_BYTES: usize = 5;

const CHECK: &str = "/envoy.service.auth.v3.Authorization/Check";

/// What was received; nothing if it was too large or cannot be read, which is also what it is if nobody looked.
#[derive(Clone, Default)]
pub(super) struct Arrived(pub(super) Option<envoy::CheckRequest>);

/// Puts what was received into the request's extensions, and has the service inside see an empty message.
#[derive(Clone, Debug)]
pub struct Received<S> {
    inner: S,
    max_bytes: usize,
}

impl<S> Received<S> {
    /// What is larger than so many bytes is not looked at.
    pub(super) fn new(inner: S, max_bytes: usize) -> Self {
        Self { inner, max_bytes }
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
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if request.uri().path() != CHECK {
            return Box::pin(self.inner.call(request));
        }
        // The one that is ready is the one that is called.
        let fresh = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, fresh);
        let max_bytes = self.max_bytes;
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            parts.extensions.insert(Arrived(read(body, max_bytes).await));
            // A message that is compressed has been refused by its flag; tonic would answer an error to the header alone.
            parts.headers.remove("grpc-encoding");
            let empty: &'static [u8] = &[0; PREFIX_BYTES];
            inner.call(Request::from_parts(parts, Body::new(axum::body::Body::from(empty)))).await
        })
    }
}

/// The one message of a body, of so many bytes at most.
async fn read(body: Body, max_bytes: usize) -> Option<envoy::CheckRequest> {
    let mut body = pin!(body);
    let mut received = Vec::new();
    let mut total: usize = 0;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        total = total.saturating_add(data.len());
        if total <= max_bytes.saturating_add(PREFIX_BYTES) {
            received.extend_from_slice(&data);
        } else {
            received = Vec::new();
            if total > max_bytes.saturating_mul(DROPPED_TIMES) {
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
