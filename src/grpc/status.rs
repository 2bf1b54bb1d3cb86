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
            Error::Removed { last } => {
                (Code::OutOfRange, "EVENTS_REMOVED", vec![("removed_up_to_revision", last.to_string())])
            }
            Error::Exhausted { limit, .. } => {
                (Code::ResourceExhausted, "LIMIT_REACHED", vec![("limit", limit.clone())])
            }
            Error::Capped { tenant, what, cap, .. } => {
                let cap = ("cap", cap.clone());
                (
                    Code::ResourceExhausted,
                    "CAP_REACHED",
                    vec![("tenant", tenant.clone()), ("limit", (*what).to_owned()), cap],
                )
            }
            Error::Unavailable { committed, .. } => {
                let committed = committed.iter().map(|revision| ("committed_revision", revision.to_string())).collect();
                (Code::Unavailable, "CANNOT_DECIDE", committed)
            }
            Error::Late => (Code::DeadlineExceeded, "DEADLINE_EXCEEDED", vec![]),
            Error::Unfinished { revision, outstanding } => {
                let committed = ("committed_revision", revision.to_string());
                let outstanding = ("outstanding_replicas", outstanding.join(","));
                (Code::DeadlineExceeded, "BARRIER_UNFINISHED", vec![committed, outstanding])
            }
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
            Error::Capped { tenant, .. } => {
                // No RetryInfo: it does not pass by itself.
                details.add_quota_failure_violation(tenant.clone(), clip(&message));
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
            | Error::Removed { .. }
            | Error::Late
            | Error::Unfinished { .. } => {}
        }
        Status::with_error_details(code, clip(&message), details)
    }
}

/// Text that may hold what a client sent, without secrets put in the wrong field, and short enough for a header.
pub(super) fn clip(text: &str) -> String {
    const MAX_CHARACTERS: usize = 300;
    let text = blot(text);
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => text.get(..end).map(|head| format!("{head}…")).unwrap_or_default(),
        None => text,
    }
}

/// INVARIANT (no secret is told again): refusals are logged by clients, so whatever could be the secret of a credential
/// or a second secret is blotted out of them: a long run of letters of either case and digits.
fn blot(text: &str) -> String {
    const SHORTEST_SECRET: usize = 40;
    let is_secret = |word: &str| {
        let has = |wanted: fn(&u8) -> bool| word.as_bytes().iter().any(wanted);
        word.len() >= SHORTEST_SECRET
            && has(u8::is_ascii_uppercase)
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_digit)
    };
    let words = text.split_inclusive(|character: char| !character.is_ascii_alphanumeric());
    words
        .map(|word| {
            let bare = word.trim_end_matches(|character: char| !character.is_ascii_alphanumeric());
            let rest = word.get(bare.len()..).unwrap_or_default();
            if is_secret(bare) { format!("********{rest}") } else { word.to_owned() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::credential::{Prefix, mint, mint_secret_key};

    #[test]
    fn a_refusal_repeats_what_was_sent_but_no_secret() {
        let (credential, id) = mint(&Prefix::default(), 7, &mut rand::rng());
        let text = format!("tenants/acme/keys/{} not found, {}", credential.expose(), credential.expose());
        assert_eq!(blot(&text), format!("tenants/acme/keys/kw_{id}_******** not found, kw_{id}_********"));
        assert_eq!(blot(mint_secret_key(&mut rand::rng()).expose()), "********");
        let status = Status::from(Error::not_found(credential.expose()));
        assert!(!format!("{status:?}").contains(credential.expose()));
        for harmless in [
            "",
            "tenants/acme/keys/0198c0de-0000-7000-8000-000000000001 not found",
            "key.grants[2].resources.resource must be 1 to 16 segments…",
            "a_name_that_is_long_and_has_Capitals_and_d1gits_in_many_words",
        ] {
            assert_eq!(blot(harmless), harmless);
        }
    }
}
