//! What every call passes first and last: it is timed and counted by method and code, held to its deadline, and, if it
//! is administrative, given a request id and a line in the log. Absent: metadata and bodies, which are never looked at
//! but for the headers named here. A Check pays for two `Instant`s, a look-up, a bound record and a place in the queue.

mod body;
mod code;
mod deadline;
mod methods;
mod start;

use super::load::{Flow, Load, Seat};
use super::stream::Seats;
use crate::error::Error;
use crate::telemetry::{Instruments, is_sampled, remote_context};
pub use body::ObservedBody;
use code::code_of;
pub(super) use deadline::grpc_timeout;
use deadline::{GRPC_TIMEOUT, Malformed, late, late_trailers};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Body;
use methods::{Kind, Method, Methods, is_servers_fault, name_of};
use opentelemetry::trace::TraceContextExt as _;
use pin_project_lite::pin_project;
use start::Start;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::time::{Sleep, sleep_until};
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Span;
use tracing::field::Empty;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const GRPC_STATUS: &str = "grpc-status";
const GRPC_MESSAGE: &str = "grpc-message";

const MAX_REQUEST_ID_BYTES: usize = 128;

/// The id under which an administrative call is known to its caller, to the log and to its event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(pub String);

/// Puts [`Observe`] around the services of a listener. Clones share everything: make one for all listeners.
#[derive(Clone, Debug)]
pub struct ObserveLayer {
    methods: Arc<Methods>,
    is_tracing: bool,
    longest: Option<Duration>,
    load: Option<Arc<Load>>,
}

impl ObserveLayer {
    /// Every method of the descriptor sets, its labels bound at zero.
    pub fn new(instruments: &Instruments) -> Self {
        let methods = Arc::new(Methods::new(&instruments.call_duration));
        Self { methods, is_tracing: instruments.is_tracing, longest: None, load: None }
    }

    /// With limits on how many calls there may be: of one listener.
    #[must_use]
    pub fn with_load(self, load: Arc<Load>) -> Self {
        Self { load: Some(load), ..self }
    }

    /// With a limit on how long any answer may take to begin; a client's own deadline can only be shorter. Instead of
    /// `tonic::transport::Server::timeout`, which answers CANCELLED.
    #[must_use]
    pub fn with_timeout(self, longest: Duration) -> Self {
        Self { longest: Some(longest), ..self }
    }
}

impl<S> Layer<S> for ObserveLayer {
    type Service = Observe<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Observe { inner, layer: self.clone() }
    }
}

/// A service whose calls are observed.
#[derive(Clone, Debug)]
pub struct Observe<S> {
    inner: S,
    layer: ObserveLayer,
}

impl<S: Clone> Observe<S> {
    /// The same for another thread that answers: what waits there is counted apart.
    pub fn of_another(&self) -> Self {
        let load = self.layer.load.as_ref().map(|load| load.of_another());
        Self { inner: self.inner.clone(), layer: ObserveLayer { load, ..self.layer.clone() } }
    }
}

impl<S, B, R> Service<Request<B>> for Observe<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Body,
{
    type Response = Response<ObservedBody<R>>;
    type Error = S::Error;
    type Future = Observing<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let begin = Instant::now();
        let method = Arc::clone(self.layer.methods.find(request.uri().path()));
        let mut call = Call { method, begin, span: None, request_id: None, code: None, seat: None };
        let entered = call.enter(request.headers(), self.layer.load.as_ref());
        let (start, asked) = match entered {
            Ok(entered) => entered,
            Err(refusal) => {
                let start = Start::Refused(Box::new(refusal));
                return Observing { inner: None, call: Some(call), deadline: None, sleep: None, start };
            }
        };
        let longest = [asked, self.layer.longest].into_iter().flatten().min();
        if let (Flow::Stream, Some(load)) = (call.method.flow, &self.layer.load) {
            request.extensions_mut().insert(Seats::at(load));
        }
        match call.method.kind {
            Kind::Administrative => {
                if let (Flow::Call, Some(load)) = (call.method.flow, &self.layer.load) {
                    request.extensions_mut().insert(Arc::clone(load));
                }
                let request_id = request_id(request.headers());
                call.span = Some(self.span(&call.method, &request_id, request.headers()));
                request.extensions_mut().insert(RequestId(request_id.clone()));
                call.request_id = Some(request_id);
            }
            Kind::Check | Kind::Other => {
                let headers = request.headers();
                // What is no `traceparent` is nobody's trace, whatever stands where the flag would be.
                if self.layer.is_tracing && is_sampled(headers) && remote_context(headers).is_some() {
                    call.span = Some(self.span(&call.method, "", headers));
                }
            }
        }
        let inner = {
            let _entered = call.span();
            self.inner.call(request)
        };
        let deadline = longest.and_then(|longest| begin.checked_add(longest));
        Observing { inner: Some(inner), call: Some(call), deadline, sleep: None, start }
    }
}

impl<S> Observe<S> {
    fn span(&self, method: &Method, request_id: &str, headers: &HeaderMap) -> Span {
        let label = &*method.label;
        let span = tracing::info_span!(
            "rpc",
            otel.name = label,
            otel.kind = "server",
            otel.status_code = Empty,
            rpc.system.name = "grpc",
            rpc.method = label,
            rpc.response.status_code = Empty,
            "error.type" = Empty,
            request_id,
        );
        if self.layer.is_tracing
            && let Some(context) = remote_context(headers)
        {
            // Fails only if the span is filtered out, and then has no parent to be had.
            let _ = span.set_parent(context);
        }
        span
    }
}

pin_project! {
    /// The answer to come.
    #[derive(Debug)]
    pub struct Observing<F> {
        #[pin]
        inner: Option<F>,
        call: Option<Call>,
        start: Start,
        deadline: Option<Instant>,
        // Made when the answer is not there at once: most of them are.
        #[pin]
        sleep: Option<Sleep>,
    }
}

impl<F, R, E> Future for Observing<F>
where
    F: Future<Output = Result<Response<R>, E>>,
    R: Body,
{
    type Output = Result<Response<ObservedBody<R>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let since = this.call.as_ref().map(|call| call.begin);
        if let Some(refusal) = std::mem::take(this.start).begin(since, *this.deadline) {
            this.inner.set(None);
            return Poll::Ready(Ok(observed(refusal, this.call.take(), None)));
        }
        let Some(inner) = this.inner.as_mut().as_pin_mut() else {
            // Asked again after it has answered.
            return Poll::Pending;
        };
        let polled = {
            let _entered = this.call.as_ref().and_then(Call::span);
            inner.poll(context)
        };
        let response = match polled {
            Poll::Ready(Ok(response)) => response.map(Some),
            Poll::Ready(Err(error)) => {
                if let Some(call) = this.call.take() {
                    call.end(Code::Unknown);
                }
                return Poll::Ready(Err(error));
            }
            Poll::Pending => {
                let Some(deadline) = *this.deadline else { return Poll::Pending };
                if this.sleep.is_none() {
                    this.sleep.set(Some(sleep_until(deadline.into())));
                }
                match this.sleep.as_pin_mut().map(|sleep| sleep.poll(context)) {
                    Some(Poll::Ready(())) => late(),
                    Some(Poll::Pending) | None => return Poll::Pending,
                }
            }
        };
        Poll::Ready(Ok(observed(response, this.call.take(), *this.deadline)))
    }
}

/// Ends the call if its code is known with the headers, and otherwise leaves that to the body.
fn observed<R: Body>(
    mut response: Response<Option<R>>,
    mut call: Option<Call>,
    deadline: Option<Instant>,
) -> Response<ObservedBody<R>> {
    if let Some(request_id) = call.as_ref().and_then(|call| call.request_id.as_deref())
        && let Ok(value) = HeaderValue::from_str(request_id)
    {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let is_over = response.body().as_ref().is_none_or(Body::is_end_stream);
    if let Some(code) = code_of(response.headers_mut()).or(is_over.then_some(Code::Unknown))
        && let Some(call) = call.take()
    {
        call.end(code);
    }
    response.map(|inner| ObservedBody::new(inner, call, deadline))
}

/// One call until its outcome is known. Dropped before that, it was cancelled; it is never taken for a success.
#[derive(Debug)]
struct Call {
    method: Arc<Method>,
    begin: Instant,
    span: Option<Span>,
    request_id: Option<String>,
    code: Option<Code>,
    /// Held until its end, if it is a stream that anybody may open.
    seat: Option<Seat>,
}

impl Call {
    /// How it starts, and how long it may take; or an answer that says why it does not.
    fn enter(&mut self, headers: &HeaderMap, load: Option<&Arc<Load>>) -> Result<(Start, Option<Duration>), HeaderMap> {
        let start = self.enter_load(load)?;
        match (grpc_timeout(headers), self.method.flow) {
            (Ok(timeout), _) => Ok((start, timeout)),
            // Envoy and who asks for health are answered whatever they say.
            (Err(Malformed), Flow::Always) => Ok((start, None)),
            (Err(Malformed), Flow::Call | Flow::Stream | Flow::Reflection) => {
                let rule = "must be at most eight digits and one of H, M, S, m, u and n";
                let status = Status::from(Error::invalid(GRPC_TIMEOUT, rule));
                Err(status.into_http::<()>().into_parts().0.headers)
            }
        }
    }

    /// Takes what of a listener it needs before it is begun, or an answer that says there is none.
    fn enter_load(&mut self, load: Option<&Arc<Load>>) -> Result<Start, HeaderMap> {
        let Some(load) = load else { return Ok(Start::Begun) };
        match self.method.flow {
            Flow::Always => {}
            Flow::Call | Flow::Stream => return load.queue().map(Start::Queued),
            Flow::Reflection => self.seat = Some(load.reflect()?),
        }
        Ok(Start::Begun)
    }

    fn span(&self) -> Option<tracing::span::Entered<'_>> {
        self.span.as_ref().map(Span::enter)
    }

    fn end(mut self, code: Code) {
        self.code = Some(code);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let unknown = if std::thread::panicking() { Code::Internal } else { Code::Cancelled };
        let code = self.code.unwrap_or(unknown);
        let duration = self.begin.elapsed();
        self.method.record(code, duration);
        if let Some(span) = &self.span {
            span.record("rpc.response.status_code", name_of(code));
            if is_servers_fault(code) {
                span.record("otel.status_code", "ERROR");
                span.record("error.type", name_of(code));
            }
        }
        if code != Code::Internal && self.request_id.is_none() {
            return;
        }
        let (method, code_name) = (&*self.method.label, name_of(code));
        let duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let request_id = self.request_id.as_deref().unwrap_or_default();
        // Without its span, which says the same.
        if code == Code::Internal {
            tracing::warn!(parent: None, method, code = code_name, duration_us, request_id, "call failed");
        } else {
            tracing::debug!(parent: None, method, code = code_name, duration_us, request_id, "call ended");
        }
    }
}

/// The caller's own id if it can be shown in a log; else its trace; else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let own = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_fit =
        |id: &&str| (1..=MAX_REQUEST_ID_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    own.filter(is_fit)
        .map(str::to_owned)
        .or_else(|| remote_context(headers).map(|context| context.span().span_context().trace_id().to_string()))
        .unwrap_or_else(|| uuid::Uuid::now_v7().to_string())
}

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod tests;
