//! The code that a call ended with; what tonic says by itself becomes what it is.

use super::{GRPC_MESSAGE, GRPC_STATUS};
use crate::error::Error;
use http::{HeaderMap, HeaderValue};
use tonic::{Code, Status};

/// What tonic says, under CANCELLED, when a deadline has passed.
const TONIC_TIMEOUT: [&[u8]; 2] = [b"Timeout expired", b"Timeout%20expired"];

/// How tonic begins, as text and as a header, under INTERNAL and OUT_OF_RANGE, when it cannot read a message.
const TONIC_UNDECODABLE: [&str; 2] = ["failed to decode Protobuf", "failed%20to%20decode%20Protobuf"];
const TONIC_TOO_LARGE: [&str; 2] = ["Error, decoded message length", "Error,%20decoded%20message%20length"];

/// The status code in headers or trailers, if there is one; what tonic says by itself becomes what it is.
pub(super) fn code_of(headers: &mut HeaderMap) -> Option<Code> {
    let code = Code::from_bytes(headers.get(GRPC_STATUS)?.as_bytes());
    if matches!(code, Code::Internal | Code::OutOfRange)
        && let Some(status) = headers.get(GRPC_MESSAGE).and_then(|message| unread(message.as_bytes()))
    {
        let code = status.code();
        return match status.add_header(headers) {
            Ok(()) => Some(code),
            Err(_) => Some(Code::Internal),
        };
    }
    let is_timeout = |message: &HeaderValue| TONIC_TIMEOUT.contains(&message.as_bytes());
    if code == Code::Cancelled && headers.get(GRPC_MESSAGE).is_some_and(is_timeout) {
        headers.insert(GRPC_STATUS, HeaderValue::from(Code::DeadlineExceeded as i32));
        return Some(Code::DeadlineExceeded);
    }
    Some(code)
}

/// What is meant where tonic could not read a message: it calls bytes that are no protobuf INTERNAL, and a message above
/// the limit OUT_OF_RANGE.
fn unread(message: &[u8]) -> Option<Status> {
    let begins = |begin: [&str; 2]| begin.iter().any(|begin| message.starts_with(begin.as_bytes()));
    if begins(TONIC_UNDECODABLE) {
        Some(Error::invalid("request", "must be a protobuf message of the method's request type").into())
    } else if begins(TONIC_TOO_LARGE) {
        let limit = match limit_in(message) {
            Some(bytes) => format!("a message of at most {bytes} bytes"),
            None => "the size of a message".to_owned(),
        };
        Some(Error::Exhausted { limit, retry_after: None }.into())
    } else {
        None
    }
}

/// The number in what tonic says at its end, as text or as a header: `the limit is: 1048576 bytes`.
fn limit_in(message: &[u8]) -> Option<usize> {
    let text = str::from_utf8(message).ok()?.replace("%20", " ");
    text.strip_suffix(" bytes")?.rsplit(' ').next()?.parse().ok()
}
