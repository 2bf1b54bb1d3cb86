//! The rest of an answer: its code comes with the trailers.

use super::{Call, code_of, late_trailers};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;
use tokio::time::{Sleep, sleep_until};
use tonic::Code;

pin_project! {
    /// A body whose end ends its call; dropped before, the call was cancelled.
    #[derive(Debug)]
    pub struct ObservedBody<B> {
        #[pin]
        inner: Option<B>,
        call: Option<Call>,
        deadline: Option<Instant>,
        // Made when the rest is not there at once.
        sleep: Option<Pin<Box<Sleep>>>,
    }
}

impl<B> ObservedBody<B> {
    /// One that is no call's.
    pub fn unobserved(inner: B) -> Self {
        Self::new(Some(inner), None, None)
    }

    /// `inner`, or nothing; `call` if it is not over, and by when it has to be.
    pub(super) fn new(inner: Option<B>, call: Option<Call>, deadline: Option<Instant>) -> Self {
        Self { inner, call, deadline, sleep: None }
    }
}

impl<B: Body> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let mut this = self.project();
        let Some(inner) = this.inner.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        let polled = {
            let _entered = this.call.as_ref().and_then(Call::span);
            inner.poll_frame(context)
        };
        let Poll::Ready(mut frame) = polled else {
            let (Some(deadline), true) = (*this.deadline, this.call.is_some()) else { return Poll::Pending };
            let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(deadline.into())));
            ready!(sleep.as_mut().poll(context));
            this.inner.set(None);
            if let Some(call) = this.call.take() {
                call.end(Code::DeadlineExceeded);
            }
            return Poll::Ready(Some(Ok(Frame::trailers(late_trailers()))));
        };
        let code = match &mut frame {
            Some(Ok(frame)) => frame.trailers_mut().map(|trailers| code_of(trailers).unwrap_or(Code::Unknown)),
            // Without trailers nobody knows how it ended.
            Some(Err(_)) | None => Some(Code::Unknown),
        };
        if let Some(code) = code
            && let Some(call) = this.call.take()
        {
            call.end(code);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}
