//! `envoy.service.auth.v3.Authorization`: the same decision as Check's for a request on its way through Envoy.
//!
//! A denial is an OK reply, since a gRPC error lets the request pass an Envoy that fails open: also for what is too large
//! or cannot be read ([`received`]). Errors are for what could not be decided, and for a proxy that is not let in.
//! [`presented`] finds credential and circumstances in the request, [`crate::domain::route`] what it needs, and
//! [`verdict`] makes the reply.

mod presented;
mod received;
mod verdict;

use super::check::{Asker, CheckApi, Deadline, Place, Question};
use super::unary::{Reply, ReplyBody, respond};
use crate::config::ExtAuthzConfig;
use crate::domain::decision::{Decision, Permission, Reason};
use crate::domain::route::{Mode, Needed};
use crate::error::{Error, Result};
use crate::proto::envoy::service::auth::v3 as envoy;
use crate::telemetry::Surface;
use envoy::attribute_context::HttpRequest;
use http::{Request, Response};
use http_body::Body;
use presented::{Presented, is_grpc, line, referrer, said, source_ip, strip};
use prost::bytes::Bytes;
use received::received;
use std::sync::Arc;
use tonic::Status;
use verdict::{Fault, Outcome, Verdict};

/// The service.
#[derive(Clone, Debug)]
pub struct ExtAuthzApi {
    check: CheckApi,
    config: Arc<ExtAuthzConfig>,
}

impl ExtAuthzApi {
    /// The other door of `check`.
    pub fn new(check: CheckApi, config: Arc<ExtAuthzConfig>) -> Self {
        Self { check, config }
    }

    /// Answers a call of `Check`.
    pub(super) async fn check<B: Body<Data = Bytes>>(&self, request: Request<B>) -> Response<ReplyBody> {
        let (parts, body) = request.into_parts();
        let received = received(body, self.check.max_message_bytes()).await;
        let asker = Asker::of(parts.headers, &parts.extensions);
        let reply = self.reply(&asker, received).await.and_then(|reply| Reply::of(&reply));
        respond(reply.map_err(Status::from))
    }

    async fn reply(&self, asker: &Asker, received: Option<envoy::CheckRequest>) -> Result<envoy::CheckResponse> {
        match received.and_then(|message| message.attributes) {
            Some(attributes) => self.decide(asker, &attributes).await,
            None => {
                self.check.enter(asker)?;
                let decision = Decision::denied(Reason::NotGranted);
                self.check.count(Surface::ExtAuthz, &decision);
                let verdict = Verdict::of(Outcome::refused(decision, Fault::Unreadable), Mode::Enforce);
                Ok(verdict.encode(false, presented::Strip::default()))
            }
        }
    }

    /// Decides about a request that could be read.
    async fn decide(&self, asker: &Asker, attributes: &envoy::AttributeContext) -> Result<envoy::CheckResponse> {
        let mut caller = self.check.enter(asker)?;
        let nothing = HttpRequest::default();
        let http = attributes.request.as_ref().and_then(|request| request.http.as_ref()).unwrap_or(&nothing);
        let needed = self.config.routes.needed(&line(http), &said(attributes));
        let surface = surface(needed.mode);
        let outcome = match Presented::find(http, &self.config) {
            None => {
                let decision = Decision::denied(Reason::Malformed);
                self.check.count(surface, &decision);
                Outcome::refused(decision, Fault::Ambiguous)
            }
            Some(presented) => {
                let source_ip = source_ip(attributes, http, self.config.trusted_hops);
                let question = Question {
                    credential: &presented.credential,
                    secret_key: &presented.secret_key,
                    tenant: &needed.tenant,
                    place: Place::Whole,
                    // INVARIANT (always one): without any, a credential that is good would be enough.
                    permissions: &[Permission { resource: &needed.resource, action: &needed.action }],
                    audience: &[],
                    source_ip: &source_ip,
                    referrer: referrer(http),
                    min_revision: 0,
                };
                match self.check.decide(asker, &mut caller, &question, &mut Deadline::Of(asker), surface).await {
                    Ok(answer) => Outcome::of(answer),
                    // The tenant that the route names is not there, or not the proxy's: nobody's credential is of it.
                    Err(Error::NotFound { .. } | Error::Invalid(_)) => {
                        let decision = Decision::denied(Reason::NotFound);
                        self.check.count(surface, &decision);
                        Outcome::refused(decision, Fault::Credential)
                    }
                    Err(error) => return Err(undecided(error)),
                }
            }
        };
        let Needed { mode, .. } = needed;
        let stripped = strip(http, &self.config);
        Ok(Verdict::of(outcome, mode).encode(is_grpc(http), stripped))
    }
}

/// INVARIANT (no denial is an error): what is left are a proxy that is not let in, and what could not be decided.
fn undecided(error: Error) -> Error {
    match error {
        Error::Unauthenticated { .. } | Error::Forbidden { .. } | Error::Unavailable { .. } => error,
        Error::Internal(_) => {
            // Logs its cause.
            let _told = Status::from(error);
            Error::unavailable("an internal error; the server's log has the cause")
        }
        Error::Invalid(_)
        | Error::NotFound { .. }
        | Error::AlreadyExists { .. }
        | Error::Conflict { .. }
        | Error::Precondition { .. }
        | Error::Removed { .. }
        | Error::Exhausted { .. }
        | Error::Capped { .. }
        | Error::Late
        | Error::Unfinished { .. } => Error::unavailable("the request could not be decided"),
    }
}

fn surface(mode: Mode) -> Surface {
    match mode {
        Mode::Enforce => Surface::ExtAuthz,
        Mode::Observe => Surface::ExtAuthzObserve,
    }
}

#[cfg(test)]
mod tests;
