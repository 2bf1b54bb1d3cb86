//! The deadline of a call: how it is read, and what is said when it has passed.

use super::GRPC_STATUS;
use http::{HeaderMap, HeaderValue, Response};
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

pub(super) const GRPC_TIMEOUT: &str = "grpc-timeout";

/// A `grpc-timeout` that says nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::grpc) struct Malformed;

/// The client's deadline, if it has one: at most eight digits and a unit.
pub(in crate::grpc) fn grpc_timeout(headers: &HeaderMap) -> Result<Option<Duration>, Malformed> {
    match headers.get(GRPC_TIMEOUT) {
        Some(value) => span(value.as_bytes()).map(Some).ok_or(Malformed),
        None => Ok(None),
    }
}

fn span(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number = digits.iter().fold(0_u64, |number, digit| number * 10 + u64::from(digit - b'0'));
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

/// The answer to a call whose deadline has passed.
pub(super) fn late<R>() -> Response<Option<R>> {
    is_late().into_http::<()>().map(|()| None)
}

fn is_late() -> Status {
    let details = ErrorDetails::with_error_info("DEADLINE_EXCEEDED", "keyward.v1", HashMap::new());
    Status::with_error_details(Code::DeadlineExceeded, "the deadline has passed", details)
}

/// The end of an answer that had begun when the deadline passed.
pub(super) fn late_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    // What does not fit into a header is left out, and the code is in it at least.
    if is_late().add_header(&mut trailers).is_err() {
        trailers.insert(GRPC_STATUS, HeaderValue::from(Code::DeadlineExceeded as i32));
    }
    trailers
}
