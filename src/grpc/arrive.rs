//! A caller whose credential was made a moment ago on another replica is waited for: the layer looks at what was sent, not
//! whether it is good, and lets the call go on once this replica has caught up. Whatever is known here, or of a revision
//! that has been applied, goes on at once.

use super::caller::{credential, deadline_of};
use crate::check::Index;
use crate::replica::Ledger;
use http::{Request, Response};
use pin_project_lite::pin_project;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;
use tonic::Status;
use tower::{Layer, Service};

/// How long a caller is waited for whose call has no deadline.
const DEFAULT_WAIT: Duration = Duration::from_secs(10);

/// Puts [`Arrive`] around the services of a listener.
#[derive(Clone, Debug)]
pub struct ArriveLayer {
    index: Arc<Index>,
    ledger: Ledger,
}

impl ArriveLayer {
    /// One that asks this index, and waits for this ledger.
    pub fn new(index: Arc<Index>, ledger: Ledger) -> Self {
        Self { index, ledger }
    }
}

impl<S> Layer<S> for ArriveLayer {
    type Service = Arrive<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Arrive { inner, layer: self.clone() }
    }
}

/// A service whose callers are waited for.
#[derive(Clone, Debug)]
pub struct Arrive<S> {
    inner: S,
    layer: ArriveLayer,
}

impl<S, B, R> Service<Request<B>> for Arrive<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Arriving<S, B>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let headers = request.headers();
        if !headers.contains_key("authorization") && !headers.contains_key("x-api-key") {
            return Arriving { step: Step::Called { call: self.inner.call(request) }, ready: None };
        }
        let may_come = credential(headers).ok().flatten().is_some_and(|text| self.layer.index.may_come(text));
        if !may_come {
            return Arriving { step: Step::Called { call: self.inner.call(request) }, ready: None };
        }
        let deadline = deadline_of(headers).unwrap_or_else(|| Instant::now() + DEFAULT_WAIT);
        let ledger = self.layer.ledger.clone();
        let waiting = Box::pin(async move { ledger.caught_up(deadline).await.map_err(Status::from) });
        // The one that is ready is the one that is called.
        let fresh = self.inner.clone();
        let ready = std::mem::replace(&mut self.inner, fresh);
        Arriving { step: Step::Waiting { waiting }, ready: Some((ready, request)) }
    }
}

type Waiting = Pin<Box<dyn Future<Output = Result<(), Status>> + Send>>;

pin_project! {
    /// The answer to come.
    pub struct Arriving<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        step: Step<S::Future>,
        // What is called once this replica has caught up, and with what.
        ready: Option<(S, Request<B>)>,
    }
}

pin_project! {
    #[project = StepProjection]
    enum Step<F> {
        Waiting { waiting: Waiting },
        Called { #[pin] call: F },
    }
}

impl<S: Service<Request<B>>, B> std::fmt::Debug for Arriving<S, B> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Arriving")
    }
}

impl<S, B, R> Future for Arriving<S, B>
where
    S: Service<Request<B>, Response = Response<R>>,
    R: Default,
{
    type Output = Result<Response<R>, S::Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let mut this = self.as_mut().project();
            let call = match this.step.as_mut().project() {
                StepProjection::Called { call } => return call.poll(context),
                StepProjection::Waiting { waiting } => match waiting.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(status)) => return Poll::Ready(Ok(status.into_http())),
                    Poll::Ready(Ok(())) => match this.ready.take() {
                        Some((mut service, request)) => service.call(request),
                        None => return Poll::Pending,
                    },
                },
            };
            this.step.set(Step::Called { call });
        }
    }
}
