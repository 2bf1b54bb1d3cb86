//! The rest of an answer: its code comes with the trailers.

use super::{Call, code_of};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tonic::Code;

pin_project! {
    /// A body whose end ends its call; dropped before, the call was cancelled.
    #[derive(Debug)]
    pub struct ObservedBody<B> {
        #[pin]
        inner: Option<B>,
        call: Option<Call>,
    }
}

impl<B> ObservedBody<B> {
    /// One that is no call's.
    pub fn unobserved(inner: B) -> Self {
        Self::new(Some(inner), None)
    }

    /// `inner`, or nothing; `call` if it is not over.
    pub(super) fn new(inner: Option<B>, call: Option<Call>) -> Self {
        Self { inner, call }
    }
}

impl<B: Body> Body for ObservedBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let this = self.project();
        let Some(inner) = this.inner.as_pin_mut() else { return Poll::Ready(None) };
        let polled = {
            let _entered = this.call.as_ref().and_then(Call::enter);
            inner.poll_frame(context)
        };
        let mut frame = ready!(polled);
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
