//! From an [`Error`] to a status with google.rpc details: one exhaustive match.

use crate::error::Error;
use std::collections::HashMap;
use std::error::Error as _;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

/// `ErrorInfo.domain` of every error.
const DOMAIN: &str = "keyward.v1";

/// More violations than this are cut off: details travel in a header, and headers are small.
const MAX_VIOLATIONS: usize = 20;

/// How long a client should wait before it asks again where Keyward could not decide.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(1);

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let message = error.to_string();
        let (code, reason, metadata) = match &error {
            Error::Invalid(_) => (Code::InvalidArgument, "INVALID_FIELD", vec![]),
            Error::Unauthenticated { reason } => {
                (Code::Unauthenticated, "CREDENTIAL_REFUSED", vec![("reasons", reason.clone())])
            }
            Error::Forbidden { missing } => (Code::PermissionDenied, "NOT_GRANTED", vec![("missing", missing.clone())]),
            Error::NotFound { name } => (Code::NotFound, "NOT_FOUND", vec![("name", name.clone())]),
            Error::AlreadyExists { field, value } => {
                (Code::AlreadyExists, "ALREADY_EXISTS", vec![("field", (*field).to_owned()), ("value", value.clone())])
            }
            Error::Conflict { name } => (Code::Aborted, "STALE_ETAG", vec![("name", name.clone())]),
            Error::Precondition { name, .. } => {
                (Code::FailedPrecondition, "STATE_FORBIDS", vec![("name", name.clone())])
            }
            Error::Exhausted { limit, .. } => {
                (Code::ResourceExhausted, "LIMIT_REACHED", vec![("limit", limit.clone())])
            }
            Error::Unavailable { committed, .. } => {
                let committed = committed.iter().map(|revision| ("committed_revision", revision.to_string())).collect();
                (Code::Unavailable, "CANNOT_DECIDE", committed)
            }
            Error::Unbuilt { method } => (Code::Unimplemented, "NOT_BUILT", vec![("method", (*method).to_owned())]),
            Error::Internal(_) => (Code::Internal, "INTERNAL", vec![]),
        };
        let metadata: HashMap<String, String> =
            metadata.into_iter().map(|(name, value)| (name.to_owned(), clip(&value))).collect();
        let mut details = ErrorDetails::with_error_info(reason, DOMAIN, metadata);
        match &error {
            Error::Invalid(violations) => {
                let violations: Vec<FieldViolation> = violations
                    .iter()
                    .take(MAX_VIOLATIONS)
                    .map(|violation| FieldViolation::new(clip(&violation.field), clip(&violation.rule)))
                    .collect();
                details.set_bad_request(violations);
            }
            Error::Exhausted { retry_after, .. } => {
                details.set_retry_info(*retry_after);
            }
            Error::Unavailable { .. } => {
                details.set_retry_info(Some(RETRY_UNAVAILABLE));
            }
            Error::Internal(_) => {
                let cause = error.source().map(ToString::to_string).unwrap_or_default();
                tracing::error!(cause, "an internal error was answered");
            }
            Error::Unauthenticated { .. }
            | Error::Forbidden { .. }
            | Error::NotFound { .. }
            | Error::AlreadyExists { .. }
            | Error::Conflict { .. }
            | Error::Precondition { .. }
            | Error::Unbuilt { .. } => {}
        }
        Status::with_error_details(code, clip(&message), details)
    }
}

/// Text that may hold what a client sent, short enough for a header.
fn clip(text: &str) -> String {
    const MAX_CHARACTERS: usize = 300;
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => text.get(..end).map(|head| format!("{head}…")).unwrap_or_default(),
        None => text.to_owned(),
    }
}
