//! How a refusal is told: as HTTP to HTTP callers, and as gRPC to gRPC callers.

use super::super::body::Whole;
use super::super::question::{Denied, Refused};
use crate::proto::v1::Reason;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use http_body::{Body, Frame, SizeHint};
use prost::bytes::Bytes;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use tonic::{Code, Status};

const EXT_AUTH_REASON: HeaderName = HeaderName::from_static("x-ext-auth-reason");

/// The response to a request that is not let through.
pub(super) fn response<B>(refused: Refused, request: &HeaderMap) -> Response<ProtectedBody<B>> {
    if let Refused::Undecided(status) = &refused {
        // The caller is not told: it may be this service's own credential that is refused.
        tracing::warn!(code = ?status.code(), message = status.message(), "Keyward did not decide, so a call was refused");
    }
    let is_grpc = request.get(CONTENT_TYPE).is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        let response = Status::from(refused).into_http::<()>();
        return response.map(|()| ProtectedBody::of_refusal(Bytes::new()));
    }
    match refused {
        Refused::Denied(denied) => denial(&denied),
        Refused::Undecided(_) => {
            let message = "cannot decide now whether this is permitted";
            let mut response = json(StatusCode::SERVICE_UNAVAILABLE, Code::Unavailable, message, &[]);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            response
        }
    }
}

/// By RFC 6750; as ext_authz says it. No error is named where none was sent, nor where no other credential would help.
fn denial<B>(denied: &Denied) -> Response<ProtectedBody<B>> {
    let (status, code) = match denied.is_of_credential() {
        true => (StatusCode::UNAUTHORIZED, Code::Unauthenticated),
        false => (StatusCode::FORBIDDEN, Code::PermissionDenied),
    };
    let challenge = if denied.reasons.contains(&Reason::Missing) {
        r#"Bearer realm="keyward""#
    } else if denied.is_of_credential() {
        r#"Bearer realm="keyward", error="invalid_token""#
    } else if denied.reasons.contains(&Reason::NotGranted) {
        r#"Bearer realm="keyward", error="insufficient_scope""#
    } else {
        r#"Bearer realm="keyward""#
    };
    let reasons: Vec<&str> = denied.reason_names().collect();
    let message = if denied.is_of_credential() { "the credential is refused" } else { "permission denied" };
    let mut response = json(status, code, message, &reasons);
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    if let Ok(reasons) = HeaderValue::try_from(reasons.join(",")) {
        response.headers_mut().insert(EXT_AUTH_REASON, reasons);
    }
    response
}

/// Nothing that a caller sent is in it, and no text of ours needs an escape.
fn json<B>(status: StatusCode, code: Code, message: &str, reasons: &[&str]) -> Response<ProtectedBody<B>> {
    let reasons: Vec<String> = reasons.iter().map(|reason| format!("\"{reason}\"")).collect();
    let code = i32::from(code);
    let text = format!(r#"{{"code":{code},"message":"{message}","reasons":[{}]}}"#, reasons.join(","));
    let mut response = Response::new(ProtectedBody::of_refusal(text.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The body of a response: the service's own, or a refusal.
pub struct ProtectedBody<B>(Kind<B>);

enum Kind<B> {
    Service(Pin<Box<B>>),
    Refusal(Whole),
}

impl<B> fmt::Debug for ProtectedBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedBody").finish_non_exhaustive()
    }
}

impl<B: Default> Default for ProtectedBody<B> {
    fn default() -> Self {
        Self::of_service(B::default())
    }
}

impl<B> ProtectedBody<B> {
    pub(super) fn of_service(body: B) -> Self {
        Self(Kind::Service(Box::pin(body)))
    }

    fn of_refusal(text: Bytes) -> Self {
        Self(Kind::Refusal(Whole::new(text)))
    }
}

impl<B: Body<Data = Bytes>> Body for ProtectedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match &mut self.0 {
            Kind::Service(body) => body.as_mut().poll_frame(context),
            Kind::Refusal(text) => {
                Pin::new(text).poll_frame(context).map(|frame| frame.map(|frame| frame.map_err(|never| match never {})))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Kind::Service(body) => body.is_end_stream(),
            Kind::Refusal(text) => text.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Service(body) => body.size_hint(),
            Kind::Refusal(text) => text.size_hint(),
        }
    }
}
