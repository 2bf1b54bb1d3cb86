//! Why a command did not do what it should, how that reads, and what the shell is told.

#![expect(clippy::disallowed_types, reason = "this is what the client is told by gRPC")]

use std::error::Error as _;
use std::{fmt, io};

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use super::output::{plain, remark};

/// Why a command failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// Change the command line, the environment or a file.
    Usage(String),
    /// No connection to the server.
    Unreachable(String),
    /// A connection, and a certificate that is not taken: the server's by us, or ours by it.
    Untrusted(String),
    /// The server answered with an error, or not at all.
    Refused(Status),
    /// So many lines of a file were refused, and each was told.
    Lines(u64),
    /// What the server answered could not be written.
    Output(io::Error),
    /// The answer makes no sense: report it.
    Broken(String),
    /// It has said itself what is wrong, and exits with this.
    Told(u8),
}

/// Why there was no answer, as far as whoever asked can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lack {
    /// There is no connection.
    Connection,
    /// There is one, and no agreement on TLS: they do not trust each other's certificates.
    Trust,
    /// Whoever answers does not let us in.
    Admission,
    /// Nobody answers in time.
    Answer,
    /// There was an answer, and it is an error.
    Sense,
}

impl Failure {
    /// Why there was no answer.
    pub(super) fn lack(&self) -> Lack {
        match self {
            Self::Untrusted(_) => Lack::Trust,
            Self::Unreachable(_) => Lack::Connection,
            Self::Refused(status) if is_timeout(status) || status.code() == Code::DeadlineExceeded => Lack::Answer,
            Self::Refused(status) if is_of_tls(status) => Lack::Trust,
            Self::Refused(status) if broken_off(status).is_some() => Lack::Connection,
            Self::Refused(status) if matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied) => {
                Lack::Admission
            }
            Self::Refused(_) | Self::Usage(_) | Self::Lines(_) | Self::Output(_) | Self::Broken(_) | Self::Told(_) => {
                Lack::Sense
            }
        }
    }

    /// What every command but `check` exits with.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Told(code) => *code,
            Self::Unreachable(_) | Self::Untrusted(_) => 3,
            Self::Refused(status) if is_timeout(status) || broken_off(status).is_some() => 3,
            Self::Refused(status) if matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded) => 3,
            Self::Refused(_) | Self::Lines(_) | Self::Output(_) | Self::Broken(_) => 1,
        }
    }

    /// Tells standard error, unless the answer has told it all.
    pub(super) fn report(&self) {
        if matches!(self, Self::Told(_)) {
            return;
        }
        remark(self);
        if matches!(self, Self::Refused(status) if is_nobody(status)) {
            remark(&"no key was given: use --key-file PATH, KEYWARD_KEY or --user EMAIL");
        }
    }

    /// Whether it may be over when it is tried again, without another command line.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            // A new certificate may be on its way.
            Self::Unreachable(_) | Self::Untrusted(_) => true,
            Self::Refused(status) => match status.code() {
                Code::Unavailable
                | Code::DeadlineExceeded
                | Code::ResourceExhausted
                | Code::Aborted
                | Code::Cancelled
                | Code::Unknown
                | Code::Internal => true,
                Code::Ok
                | Code::InvalidArgument
                | Code::NotFound
                | Code::AlreadyExists
                | Code::PermissionDenied
                | Code::FailedPrecondition
                | Code::OutOfRange
                | Code::Unimplemented
                | Code::DataLoss
                | Code::Unauthenticated => false,
            },
            Self::Usage(_) | Self::Lines(_) | Self::Output(_) | Self::Broken(_) | Self::Told(_) => false,
        }
    }

    /// Up to which revision the events were removed that were asked for, if that is why it failed.
    pub(super) fn removed_up_to(&self) -> Option<i64> {
        let Self::Refused(status) = self else { return None };
        let info = status.get_details_error_info().filter(|info| info.reason == "EVENTS_REMOVED")?;
        info.metadata.get("removed_up_to_revision")?.parse().ok()
    }

    /// Whether whoever reads what is printed has seen enough, as `head` does.
    pub(super) fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Whether the server did not take the credential.
    pub(super) fn is_unauthenticated(&self) -> bool {
        matches!(self, Self::Refused(status) if status.code() == Code::Unauthenticated)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Unreachable(text) | Self::Untrusted(text) | Self::Broken(text) => {
                write!(f, "error: {text}")
            }
            Self::Told(_) => Ok(()),
            Self::Lines(count) => write!(f, "error: {count} lines were refused, for the reasons above"),
            Self::Output(error) => write!(f, "error: cannot write the answer: {error}"),
            Self::Refused(status) if is_timeout(status) => f.write_str(
                "error: no answer within --timeout; a change may have been made all the same (DEADLINE_EXCEEDED)",
            ),
            Self::Refused(status) => match broken_off(status) {
                Some(cause) => write!(f, "error: the connection failed: {cause} ({})", code_name(status.code())),
                None => write_status(f, status),
            },
        }
    }
}

fn write_status(f: &mut fmt::Formatter<'_>, status: &Status) -> fmt::Result {
    let violations = status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
    let message = match status.message() {
        // The message repeats the broken rules, which have a line each below.
        _ if !violations.is_empty() => "invalid request",
        "" => "the server gave no message",
        message => message,
    };
    write!(f, "error: {} ({}", plain(message), code_name(status.code()))?;
    if let Some(info) = status.get_details_error_info()
        && !info.reason.is_empty()
        && info.reason != code_name(status.code())
    {
        write!(f, ", {}", plain(&info.reason))?;
    }
    f.write_str(")")?;
    for violation in violations {
        let (field, rule) = (plain(&violation.field), plain(&violation.description));
        write!(f, "\n  {field}: {rule}")?;
    }
    if let Some(delay) = status.get_details_retry_info().and_then(|info| info.retry_delay) {
        write!(f, "\n  retry in {} s", delay.as_secs_f64().ceil())?;
    }
    Ok(())
}

/// Whether it was refused since no credential was sent where one is needed.
fn is_nobody(status: &Status) -> bool {
    status.code() == Code::Unauthenticated
        && status
            .get_details_error_info()
            .is_some_and(|info| info.metadata.get("reasons").is_some_and(|reasons| reasons == "MISSING"))
}

/// Whether our own deadline ran out; tonic says so in these words only.
fn is_timeout(status: &Status) -> bool {
    status.code() == Code::Cancelled && status.message() == "Timeout expired"
}

/// Whether an error comes of TLS: as such, or in the words of a stream.
pub(super) fn is_tls(error: &(dyn std::error::Error + 'static)) -> bool {
    let of_stream = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    error.is::<rustls::Error>()
        || of_stream.is_some_and(|inner| inner.is::<rustls::Error>())
        || error.source().is_some_and(is_tls)
}

/// Whether the connection ended since a certificate was not taken.
fn is_of_tls(status: &Status) -> bool {
    status.source().is_some_and(is_tls)
}

/// Why the connection ended before there was an answer, if it did: a server that does not take our certificate says so
/// only once the connection is there.
fn broken_off(status: &Status) -> Option<String> {
    let mut is_of_transport = false;
    let mut innermost = status.source()?;
    loop {
        is_of_transport |= innermost.is::<tonic::transport::Error>();
        match innermost.source() {
            Some(source) => innermost = source,
            None => return is_of_transport.then(|| plain(&innermost.to_string())),
        }
    }
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
