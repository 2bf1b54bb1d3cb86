//! Bodies in any number of pieces, good and bad.

use super::*;
use crate::fuzz::fuzz;
use http_body::Body as _;
use std::collections::VecDeque;
use std::task::Waker;
use tonic::Code;

/// A body that comes in these pieces, and breaks off at its end or not.
struct Pieces {
    pieces: VecDeque<Bytes>,
    breaks_off: bool,
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        Poll::Ready(match self.pieces.pop_front() {
            Some(piece) => Some(Ok(Frame::data(piece))),
            None if self.breaks_off => Some(Err("reset")),
            None => None,
        })
    }
}

fn at_once<T>(work: impl Future<Output = T>) -> T {
    match pin!(work).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("it waits for nothing"),
    }
}

fn read_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, max: usize, breaks_off: bool) -> Result<Bytes, Flaw> {
    let pieces = pieces.into_iter().map(Bytes::copy_from_slice).collect();
    at_once(read(Pieces { pieces, breaks_off }, max))
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0][..], &length, message].concat()
}

#[test]
fn a_message_is_the_same_however_it_comes() {
    let body = framed(b"a message");
    for size in 1..=body.len() {
        assert_eq!(read_pieces(body.chunks(size), 9, false).as_deref(), Ok(&b"a message"[..]), "in pieces of {size}");
    }
    let empty: &[u8] = &[];
    assert_eq!(read_pieces([empty, &body, empty], 9, false).as_deref(), Ok(&b"a message"[..]));
    assert_eq!(read_pieces([&*framed(b"")], 0, false).as_deref(), Ok(&b""[..]));
}

#[test]
fn what_is_no_message_is_told_by_its_code() {
    #[track_caller]
    fn check(body: &[u8], flaw: Flaw, code: Code) {
        for size in [1, 4, 1000] {
            let found = read_pieces(body.chunks(size), 9, false);
            assert_eq!(found, Err(flaw), "in pieces of {size}");
        }
        assert_eq!(Status::from(flaw).code(), code);
    }
    check(b"", Flaw::NotOne, Code::Unimplemented);
    check(&[framed(b"one"), framed(b"")].concat(), Flaw::NotOne, Code::Unimplemented);
    check(&[0; 4], Flaw::Cut, Code::InvalidArgument);
    check(&framed(b"a message")[..13], Flaw::Cut, Code::InvalidArgument);
    check(&[1, 0, 0, 0, 1, 0], Flaw::Compressed, Code::Unimplemented);
    check(&[0, 0xff, 0xff, 0xff, 0xff, 0], Flaw::Cut, Code::InvalidArgument);
    check(&framed(b"a messages"), Flaw::TooLarge(9), Code::ResourceExhausted);
    assert_eq!(read_pieces([&*framed(b"one")], 9, true), Err(Flaw::BrokenOff));

    let headers = Status::from(Flaw::Compressed).into_http::<()>().into_parts().0.headers;
    assert_eq!(headers.get("grpc-accept-encoding").unwrap(), "identity");
}

#[test]
fn what_is_too_large_is_let_come_only_so_far() {
    let piece = vec![0; 9 * DROPPED_TIMES / 4];
    for (count, breaks_off, flaw) in [
        (4, false, Flaw::TooLarge(9)),
        (4, true, Flaw::BrokenOff),
        // More is not waited for: what breaks off afterwards is not seen.
        (5, true, Flaw::TooLarge(9)),
    ] {
        let pieces = std::iter::repeat_n(&*piece, count);
        assert_eq!(read_pieces(pieces, 9, breaks_off), Err(flaw), "{count} pieces");
    }
}

#[test]
fn whatever_comes_is_one_message_or_none() {
    let made = vec![framed(b""), framed(b"abc"), [framed(b"a"), framed(b"b")].concat(), framed(&[7; 300])];
    fuzz!("unary", made, |bytes| {
        let found = read_pieces([bytes], 300, false);
        let by_one = read_pieces(bytes.chunks(1), 300, false);
        assert_eq!(found, by_one);
        if let Ok(message) = found {
            assert_eq!(framed(&message), bytes);
        }
    });
}

#[test]
fn a_reply_is_one_message_and_its_status() {
    let mut reply = Reply::with_room(0);
    reply.message().extend_from_slice(b"a reply");
    let response = respond(Ok(reply));
    assert_eq!(response.headers().get("content-type").unwrap(), "application/grpc");
    let mut body = pin!(response.into_body());
    let mut next = || at_once(std::future::poll_fn(|context| body.as_mut().poll_frame(context)));
    assert_eq!(next().unwrap().unwrap().into_data().unwrap(), framed(b"a reply"));
    let trailers = next().unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers.get("grpc-status").unwrap(), "0");
    assert!(next().is_none());

    let refused = respond(Err(Flaw::NotOne.into()));
    assert_eq!(refused.headers().get("grpc-status").unwrap(), "12");
    assert!(http_body::Body::is_end_stream(refused.body()));
}
