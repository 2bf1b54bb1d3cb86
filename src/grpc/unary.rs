//! Calls with one message each way, read and answered without the streams that tonic makes of them. The Checks come by
//! here, ours and Envoy's; whatever decides is told only what arrived. Absent: compression, which nobody is offered.
//!
//! The form is that of "gRPC over HTTP/2" (github.com/grpc/grpc, doc/PROTOCOL-HTTP2.md), the codes are those of
//! doc/statuscodes.md beside it.

use crate::error::Error;
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Frame, SizeHint};
use prost::Message;
use prost::bytes::Bytes;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use tonic::Status;
use tonic::body::Body;
use tonic::metadata::MetadataValue;

/// The flag and the length before a gRPC message.
pub(super) const PREFIX_BYTES: usize = 5;

/// So many times as much as is read is let come and dropped, so that its sender reads the answer.
const DROPPED_TIMES: usize = 64;

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// It has more bytes than this.
    TooLarge(usize),
    /// It is compressed.
    Compressed,
    /// It ends before its end.
    Cut,
    /// There is none, or more than one.
    NotOne,
    /// The client broke off.
    BrokenOff,
}

impl From<Flaw> for Status {
    fn from(flaw: Flaw) -> Self {
        match flaw {
            Flaw::TooLarge(max) => {
                Error::Exhausted { limit: format!("a message of at most {max} bytes"), retry_after: None }.into()
            }
            Flaw::Compressed => {
                let mut status = Self::unimplemented("a message must not be compressed");
                status.metadata_mut().insert("grpc-accept-encoding", MetadataValue::from_static("identity"));
                status
            }
            Flaw::Cut => unreadable(),
            Flaw::NotOne => Self::unimplemented("the method takes exactly one message"),
            Flaw::BrokenOff => Self::cancelled("the client broke off"),
        }
    }
}

/// What is answered to bytes that are no message.
pub(super) fn unreadable() -> Status {
    Error::invalid("request", "must be a protobuf message of the method's request type").into()
}

/// The one message of a body, of so many bytes at most.
pub(super) async fn read<B>(body: B, max: usize) -> Result<Bytes, Flaw>
where
    B: http_body::Body<Data = Bytes>,
{
    let mut body = pin!(body);
    // Nearly always all of it comes at once.
    let (mut first, mut all) = (Bytes::new(), Vec::new());
    let mut total: usize = 0;
    while let Some(frame) = std::future::poll_fn(|context| body.as_mut().poll_frame(context)).await {
        let Ok(data) = frame.map_err(|_| Flaw::BrokenOff)?.into_data() else { continue };
        total = total.saturating_add(data.len());
        if total > max.saturating_add(PREFIX_BYTES) {
            (first, all) = (Bytes::new(), Vec::new());
            if total > max.saturating_mul(DROPPED_TIMES) {
                break;
            }
        } else if total == data.len() {
            first = data;
        } else {
            all.extend_from_slice(&std::mem::take(&mut first));
            all.extend_from_slice(&data);
        }
    }
    if total > max.saturating_add(PREFIX_BYTES) {
        return Err(Flaw::TooLarge(max));
    }
    message_of(if all.is_empty() { first } else { all.into() })
}

/// The message in a whole body.
fn message_of(mut body: Bytes) -> Result<Bytes, Flaw> {
    let Some(([flag, length @ ..], message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(if body.is_empty() { Flaw::NotOne } else { Flaw::Cut });
    };
    if *flag != 0 {
        return Err(Flaw::Compressed);
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| Flaw::Cut)?;
    match message.len().cmp(&length) {
        std::cmp::Ordering::Less => Err(Flaw::Cut),
        std::cmp::Ordering::Equal => Ok(body.split_off(PREFIX_BYTES)),
        std::cmp::Ordering::Greater => Err(Flaw::NotOne),
    }
}

/// The response to a call.
pub(super) fn respond(answer: Result<Reply, Status>) -> Response<ReplyBody> {
    match answer {
        Ok(reply) => {
            let mut response = Response::new(ReplyBody::Message(reply.framed()));
            let content_type = HeaderValue::from_static("application/grpc");
            response.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
            response
        }
        Err(status) => status.into_http(),
    }
}

/// A message that is being written, behind its prefix.
#[derive(Debug)]
pub(super) struct Reply(Vec<u8>);

impl Reply {
    /// An empty one, with room for so many bytes at first.
    pub(super) fn with_room(room: usize) -> Self {
        let mut framed = Vec::with_capacity(room.saturating_add(PREFIX_BYTES));
        framed.extend_from_slice(&[0; PREFIX_BYTES]);
        Self(framed)
    }

    /// That message. An error, rather than one that says less.
    pub(super) fn of(message: &impl Message) -> Result<Self, Error> {
        let mut reply = Self::with_room(message.encoded_len());
        message.encode(reply.message()).map_err(Error::internal)?;
        Ok(reply)
    }

    /// Where the message is to be appended.
    pub(super) fn message(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }

    fn framed(self) -> Bytes {
        let Self(mut framed) = self;
        // No message of ours is nearly as long.
        let length = u32::try_from(framed.len().saturating_sub(PREFIX_BYTES)).unwrap_or(u32::MAX);
        if let Some([_, prefix @ ..]) = framed.first_chunk_mut::<PREFIX_BYTES>() {
            *prefix = length.to_be_bytes();
        }
        framed.into()
    }
}

/// What a service answers, by either way.
#[derive(Debug, Default)]
pub enum ReplyBody {
    /// A stream of tonic's.
    Stream(Body),
    /// One message, and then that all is well.
    Message(Bytes),
    /// That all is well.
    Trailers,
    /// Nothing more.
    #[default]
    Over,
}

impl http_body::Body for ReplyBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Self::Stream(body) = &mut *self {
            return Pin::new(body).poll_frame(context);
        }
        let (frame, next) = match std::mem::take(&mut *self) {
            Self::Message(framed) => (Frame::data(framed), Self::Trailers),
            Self::Trailers => (Frame::trailers(ok()), Self::Over),
            Self::Stream(_) | Self::Over => return Poll::Ready(None),
        };
        *self = next;
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Stream(body) => body.is_end_stream(),
            Self::Message(_) | Self::Trailers => false,
            Self::Over => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Stream(body) => body.size_hint(),
            // An exact one would become a header, which nobody reads.
            Self::Message(_) | Self::Trailers => SizeHint::default(),
            Self::Over => SizeHint::with_exact(0),
        }
    }
}

fn ok() -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert(Status::GRPC_STATUS, HeaderValue::from_static("0"));
    trailers
}

#[cfg(test)]
mod tests;
