//! Why a command did not do what it should, how that reads, and what the shell is told.

#![expect(clippy::disallowed_types, reason = "this is what the client is told by gRPC")]

use std::{fmt, io};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::ClientOptions;
use super::output::{plain, remark};

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Change the command line, the environment or a file.
    Usage(String),
    /// No connection to the server.
    Unreachable(String),
    /// The server answered with an error, or not at all.
    Refused(Status),
    /// So many lines of a file were refused, and each was told.
    Lines(u64),
    /// What the server answered could not be written.
    Output(io::Error),
    /// The answer makes no sense: report it.
    Broken(String),
}

impl Failure {
    /// What every command but `check` exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Refused(status) if is_timeout(status) => 3,
            Self::Refused(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => 3,
            Self::Refused(_) | Self::Lines(_) | Self::Output(_) | Self::Broken(_) => 1,
        }
    }

    /// Tells standard error.
    pub(super) fn report(&self, options: &ClientOptions) {
        remark(self);
        let is_unauthenticated = matches!(self, Self::Refused(status) if status.code() == Code::Unauthenticated);
        if is_unauthenticated && !options.has_key() {
            remark(&"no key was given: use --key-file PATH or KEYWARD_KEY");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Unreachable(text) | Self::Broken(text) => write!(f, "error: {text}"),
            Self::Lines(count) => write!(f, "error: {count} lines were refused, for the reasons above"),
            Self::Output(error) => write!(f, "error: cannot write the answer: {error}"),
            Self::Refused(status) if is_timeout(status) => f.write_str(
                "error: no answer within --timeout; a change may have been made all the same (DEADLINE_EXCEEDED)",
            ),
            Self::Refused(status) => write_status(f, status),
        }
    }
}

fn write_status(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let message = if status.message().is_empty() { "the server gave no message" } else { status.message() };
    write!(f, "error: {} ({}", plain(message), code_name(status.code()))?;
    if let Some(info) = status.get_details_error_info()
        && !info.reason.is_empty()
        && info.reason != code_name(status.code())
    {
        write!(f, ", {}", plain(&info.reason))?;
    }
    f.write_str(")")?;
    for violation in status.get_details_bad_request().into_iter().flat_map(|details| details.field_violations) {
        let (field, rule) = (plain(&violation.field), plain(&violation.description));
        write!(f, "\n  {field}: {rule}")?;
    }
    if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        write!(f, "\n  retry in {} s", delay.as_secs_f64().ceil())?;
    }
    Ok(())
}

/// Whether our own deadline ran out; tonic says so in these words only.
fn is_timeout(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == "Timeout expired"
}

/// The code's name in the gRPC documents.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Refused(status)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
