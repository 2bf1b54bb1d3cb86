//! What became of a call that got no answer: whether the server can have seen it, and what the caller is told.

use std::error::Error;
use tonic::{Code, Status, TimeoutExpired};

/// A call that ended without an answer from the server.
#[derive(Debug)]
pub(super) struct Failure {
    /// What the caller is told, unless it is sent again.
    pub(super) status: Status,
    /// Whether it is certain that no server has begun with it.
    pub(super) is_unsent: bool,
    /// Whether the connection had been there and was ended by the server in good order.
    pub(super) is_farewell: bool,
}

/// What an error of a connection says. INVARIANT (nothing is done twice): `is_unsent` only where the request cannot have
/// reached a handler, for a mutation is then sent again.
pub(super) fn of(error: &(dyn Error + 'static)) -> Failure {
    let mut failure = Failure { status: Status::unavailable(""), is_unsent: false, is_farewell: false };
    let mut innermost = error;
    let mut next = Some(error);
    while let Some(one) = next {
        innermost = one;
        if one.is::<TimeoutExpired>() {
            return Failure { status: late(), ..failure };
        }
        if one.is::<tonic::ConnectError>() {
            failure.is_unsent = true;
        }
        // Only what waited for its turn on a connection is "canceled" when that ends.
        if one.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            failure.is_unsent = true;
            failure.is_farewell = true;
        }
        if let Some(error) = one.downcast_ref::<h2::Error>() {
            // A GOAWAY without an error fails those streams alone that the server says it has not looked at.
            let is_unseen = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
            let is_refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
            failure.is_unsent |= error.is_remote() && (is_unseen || is_refused);
            failure.is_farewell |= error.is_remote() && is_unseen;
        }
        next = one.source();
    }
    failure.status = Status::unavailable(format!("the connection to Keyward failed: {innermost}"));
    failure
}

/// What the caller is told of an answer that broke off.
pub(super) fn of_body(status: Status) -> Status {
    match status.code() {
        // What the server said came in the trailers, and is no error of the body.
        Code::Unknown | Code::Internal | Code::Cancelled | Code::Unavailable if status.source().is_some() => {
            of(&status).status
        }
        _ => status,
    }
}

/// The deadline came before the answer.
pub(super) fn late() -> Status {
    Status::deadline_exceeded("the answer did not come before the deadline")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_server_began_with_counts_as_unsent() {
        let reset = |reason: h2::Reason| h2::Error::from(reason);
        // Our own resets say nothing about the server.
        for reason in [h2::Reason::REFUSED_STREAM, h2::Reason::NO_ERROR, h2::Reason::CANCEL] {
            let failure = of(&reset(reason));
            assert!(!failure.is_unsent && !failure.is_farewell, "{failure:?}");
            assert_eq!(failure.status.code(), Code::Unavailable);
        }
        let refused = tonic::ConnectError(std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into());
        let failure = of(&refused);
        assert!(failure.is_unsent && !failure.is_farewell, "{failure:?}");
        assert_eq!(
            of(&std::io::Error::other("reset by peer")).status.message(),
            "the connection to Keyward failed: reset by peer"
        );
    }
}
