//! The start of a call: whether it waits for its turn, is turned away, or is under way.

use super::deadline::late;
use crate::grpc::load::{Queued, Turn};
use http::{HeaderMap, Response};
use std::time::Instant;

/// How far a call has come.
#[derive(Debug, Default)]
pub(super) enum Start {
    /// It waits for its turn.
    Queued(Queued),
    /// It was turned away.
    Refused(Box<HeaderMap>),
    /// It is under way.
    #[default]
    Begun,
}

impl Start {
    /// Begins it; an answer if it is over already.
    pub(super) fn begin<R>(self, since: Option<Instant>, deadline: Option<Instant>) -> Option<Response<Option<R>>> {
        let refusal = match self {
            Self::Begun => return None,
            Self::Refused(refusal) => *refusal,
            Self::Queued(queued) => match queued.begin(since, deadline) {
                Turn::Begin => return None,
                Turn::Late => return Some(late()),
                Turn::Refuse(refusal) => refusal,
            },
        };
        let mut response = Response::new(None);
        *response.headers_mut() = refusal;
        Some(response)
    }
}
