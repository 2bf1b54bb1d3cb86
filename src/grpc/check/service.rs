//! The three methods: a message is read, the questions in it are answered, the answers are written. By another way than
//! tonic's ([`crate::grpc::unary`]), since every request of everyone else's service waits for it.

use super::asked::Asked;
use super::bytes::BytesCodec;
use super::told::{ROOM, write, write_result};
use super::{Asker, CheckApi, DEFAULT_WAIT, Deadline, Place};
use crate::error::{Error, Result};
use crate::grpc::stream::{Seats, seated};
use crate::grpc::unary::{Flaw, Reply, ReplyBody, read, respond};
use crate::telemetry::Surface;
use http::{Request, Response};
use http_body::Body;
use prost::bytes::Bytes;
use std::error::Error as StdError;
use std::future::{Ready, ready};
use std::pin::Pin;
use std::sync::Arc;
use tokio::time::Instant;
use tokio_stream::{Stream, StreamExt};
use tonic::server::{Grpc, StreamingService};
use tonic::{Status, Streaming};

/// A method that is called with one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grpc) enum Unary {
    Check,
    BatchCheck,
}

impl CheckApi {
    /// Answers a call of `method`.
    pub(in crate::grpc) async fn unary<B>(&self, method: Unary, request: Request<B>) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes>,
    {
        let (parts, body) = request.into_parts();
        let message = read(body, self.limits.max_message_bytes).await;
        let asker = Asker::of(parts.headers, &parts.extensions);
        respond(match method {
            Unary::Check => self.check(&asker, message).await,
            Unary::BatchCheck => self.batch_check(&asker, message).await,
        })
    }

    async fn check(&self, asker: &Asker, message: Result<Bytes, Flaw>) -> Result<Reply, Status> {
        let mut caller = self.enter(asker)?;
        let message = message?;
        let asked = Asked::read(&message)?;
        self.validate(&asked, Place::Whole)?;
        let deadline = &mut Deadline::Of(asker);
        let answer = self.answer(asker, &mut caller, &asked, Place::Whole, deadline, Surface::Check).await?;
        let mut reply = Reply::with_room(ROOM);
        write(&answer, &asked, reply.message());
        Ok(reply)
    }

    async fn batch_check(&self, asker: &Asker, message: Result<Bytes, Flaw>) -> Result<Reply, Status> {
        let mut caller = self.enter(asker)?;
        let message = message?;
        let max = self.limits.max_batch;
        let checks = Asked::read_batch(&message, max)?;
        if checks.len() > max {
            return Err(Error::invalid("checks", format!("must hold at most {max} checks")).into());
        }
        for (number, asked) in checks.iter().enumerate() {
            self.validate(asked, Place::Batch(number))?;
        }
        let deadline = &mut Deadline::Of(asker);
        let mut reply = Reply::with_room(ROOM.saturating_mul(checks.len()));
        for (number, asked) in checks.iter().enumerate() {
            let place = Place::Batch(number);
            let answer = self.answer(asker, &mut caller, asked, place, deadline, Surface::Batch).await?;
            write_result(&answer, asked, reply.message());
        }
        Ok(reply)
    }

    /// Answers a call of `StreamCheck`.
    pub(in crate::grpc) async fn stream<B>(&self, request: Request<B>) -> Response<ReplyBody>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn StdError + Send + Sync>> + Send,
    {
        let mut grpc = Grpc::new(BytesCodec).max_decoding_message_size(self.limits.max_message_bytes);
        grpc.streaming(Streamed(self.clone()), request).await.map(ReplyBody::Stream)
    }

    /// The answer to a question of a stream, as a message.
    async fn answer_streamed(&self, asker: &Asker, question: Result<Bytes, Status>) -> Result<Vec<u8>, Status> {
        // Admitted anew with every question: one who was revoked in between gets no more answers.
        let mut caller = self.enter(asker)?;
        let message = question?;
        let asked = Asked::read_streamed(&message)?;
        self.validate(&asked, Place::Stream)?;
        let deadline = &mut Deadline::At(Instant::now() + DEFAULT_WAIT);
        let answer = self.answer(asker, &mut caller, &asked, Place::Stream, deadline, Surface::Stream).await?;
        let mut result = Vec::with_capacity(ROOM);
        write_result(&answer, &asked, &mut result);
        Ok(result)
    }

    /// What a question must be before it is looked at.
    fn validate(&self, asked: &Asked<'_>, place: Place) -> Result<()> {
        let max = self.limits.max_check_bytes;
        if asked.length > max {
            return Err(Error::Exhausted { limit: format!("a Check of at most {max} bytes"), retry_after: None });
        }
        if asked.min_revision < 0 {
            return Err(Error::invalid(format!("{place}min_revision"), "must not be negative"));
        }
        Ok(())
    }
}

/// What tonic has answer a stream.
struct Streamed(CheckApi);

impl StreamingService<Bytes> for Streamed {
    type Response = Vec<u8>;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<Vec<u8>, Status>> + Send>>;
    type Future = Ready<Result<tonic::Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: tonic::Request<Streaming<Bytes>>) -> Self::Future {
        let (metadata, extensions, questions) = request.into_parts();
        let asker = Asker::of(metadata.into_headers(), &extensions);
        let seat = match self.0.enter(&asker).and_then(|_| Seats::of(&extensions).take()) {
            Ok(seat) => seat,
            Err(error) => return ready(Err(error.into())),
        };
        let both = Arc::new((self.0.clone(), asker));
        let answers = questions.then(move |question| {
            let both = Arc::clone(&both);
            async move {
                let (api, asker) = &*both;
                api.answer_streamed(asker, question).await
            }
        });
        let answers: Self::ResponseStream = Box::pin(seated(seat, answers));
        ready(Ok(tonic::Response::new(answers)))
    }
}
