//! The limits that an operator sets: what is as large as it may be is taken, and one more is refused by name.

use crate::harness::{TestServer, refused, send};
use crate::transport::raw::{END_HEADERS, Frame, HEADERS, RST_STREAM, SETTINGS, frame, head, hello, read_frame};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use prost::Message as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tonic::Code;
use tonic::transport::Channel;

const MESSAGE: usize = 100_000;
const CHECK: usize = 20_000;
const BATCH: usize = 3;
const HEADER: usize = 13_000;
const CALLS: u32 = 4;

async fn server() -> TestServer {
    TestServer::start_with(|args| {
        args.max_message_bytes = Some(MESSAGE);
        args.max_check_bytes = Some(CHECK);
        args.max_batch = Some(BATCH);
        args.max_header_bytes = Some(HEADER);
        args.max_calls_per_connection = Some(CALLS as usize);
    })
    .await
}

/// A Check that is encoded in so many bytes.
fn check(bytes: usize) -> CheckRequest {
    // Its tag and its length take four.
    let made = CheckRequest { id: "x".repeat(bytes - 4), ..CheckRequest::default() };
    assert_eq!(made.encoded_len(), bytes);
    made
}

#[tokio::test]
async fn a_check_is_as_large_as_it_may_be_and_not_larger() {
    let server = server().await;
    let mut checks = CheckServiceClient::new(server.data.clone());
    assert_eq!(checks.check(check(CHECK)).await.unwrap().into_inner().decision(), Decision::Denied);
    let batch = |bytes| BatchCheckRequest { checks: vec![CheckRequest::default(), check(bytes)] };
    assert_eq!(checks.batch_check(batch(CHECK)).await.unwrap().into_inner().results.len(), 2);
    let named = format!("a Check of at most {CHECK} bytes");
    let refusals = [
        refused(checks.check(check(CHECK + 1)).await, Code::ResourceExhausted),
        refused(checks.batch_check(batch(CHECK + 1)).await, Code::ResourceExhausted),
    ];
    for refusal in refusals {
        assert_eq!(refusal.reason, "LIMIT_REACHED");
        assert!(refusal.message.contains(&named), "{refusal:?}");
    }
}

#[tokio::test]
async fn a_message_is_as_large_as_it_may_be_and_not_larger() {
    let server = server().await;
    let named = format!("a message of at most {MESSAGE} bytes");
    let request = |bytes: usize| {
        let made = GetKeyRequest { name: "x".repeat(bytes - 4), ..GetKeyRequest::default() };
        assert_eq!(made.encoded_len(), bytes);
        made
    };
    refused(server.root().keys().get_key(request(MESSAGE)).await, Code::InvalidArgument);
    let refusal = refused(server.root().keys().get_key(request(MESSAGE + 1)).await, Code::ResourceExhausted);
    assert!(refusal.message.contains(&named) && refusal.reason == "LIMIT_REACHED", "{refusal:?}");
    // A Check is a message too.
    let mut checks = CheckServiceClient::new(server.data.clone());
    let refusal = refused(checks.check(check(MESSAGE + 1)).await, Code::ResourceExhausted);
    assert!(refusal.message.contains(&named), "{refusal:?}");
}

#[tokio::test]
async fn a_batch_holds_as_many_as_it_may_and_no_more() {
    let server = server().await;
    let acme = server.tenant("acme").await;
    let mut checks = CheckServiceClient::new(server.data.clone());
    let batch = |count| BatchCheckRequest { checks: vec![CheckRequest::default(); count] };
    assert_eq!(checks.batch_check(batch(BATCH)).await.unwrap().into_inner().results.len(), BATCH);
    let refusal = refused(checks.batch_check(batch(BATCH + 1)).await, Code::InvalidArgument);
    assert_eq!(refusal.fields, ["checks"]);
    assert!(refusal.message.contains("at most 3 checks"), "{refusal:?}");

    let leaked = |count: usize| vec!["kw_nobody".to_owned(); count];
    let nobody = server.nobody();
    send!(nobody.keys(), revoke_credentials, RevokeCredentialsRequest { credentials: leaked(BATCH) }).unwrap();
    let more = send!(nobody.keys(), revoke_credentials, RevokeCredentialsRequest { credentials: leaked(BATCH + 1) });
    assert_eq!(refused(more, Code::InvalidArgument).fields, ["credentials"]);

    let entries = |count: usize| (0..count).map(|_| ImportKeysEntry::default()).collect();
    let import = async |count| {
        let message = ImportKeysRequest { parent: "tenants/-".to_owned(), sequence: 1, entries: entries(count) };
        let mut answers = acme.owner.keys().import_keys(tokio_stream::once(message)).await.unwrap().into_inner();
        answers.message().await.map(Option::unwrap)
    };
    assert_eq!(import(BATCH).await.unwrap().errors.len(), BATCH);
    assert_eq!(refused(import(BATCH + 1).await, Code::InvalidArgument).fields, ["entries"]);
}

async fn connected(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.data_addr()).await.unwrap();
    stream.write_all(&hello()).await.unwrap();
    stream
}

/// The next frame of that kind.
async fn next(stream: &mut TcpStream, kind: u8) -> Frame {
    loop {
        let frame = read_frame(stream).await.expect("the connection has ended");
        if frame.kind == kind {
            return frame;
        }
    }
}

/// The head of a Check with a header more, so that it counts as so many bytes (RFC 9113, section 6.5.2).
fn head_of(bytes: usize) -> Vec<u8> {
    let fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/keyward.v1.CheckService/Check"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        ("a", ""),
    ];
    let counted: usize = fields.iter().map(|(name, value)| name.len() + value.len() + 32).sum();
    let length = bytes - counted;
    // A number of seven bits and what is beyond (RFC 7541, section 5.1).
    let (mut rest, mut written) = (length - 127, vec![127]);
    while rest >= 128 {
        written.push(u8::try_from(rest % 128).unwrap() | 128);
        rest /= 128;
    }
    written.push(u8::try_from(rest).unwrap());
    [head(), b"\x00\x01a".to_vec(), written, vec![b'x'; length]].concat()
}

#[tokio::test]
async fn headers_are_as_large_as_they_may_be_and_not_larger() {
    const END_STREAM: u8 = 1;
    let server = server().await;
    let mut stream = connected(&server).await;
    // Their ids and values (RFC 9113, section 6.5.1).
    let settings = next(&mut stream, SETTINGS).await.payload;
    let streams = settings.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
    assert_eq!(&streams[2..], &CALLS.to_be_bytes()[..]);

    let ask = |id, bytes| frame(HEADERS, END_HEADERS | END_STREAM, id, &head_of(bytes));
    stream.write_all(&ask(1, HEADER)).await.unwrap();
    // `:status: 200`, as it stands in the static table (RFC 7541, appendix A).
    assert_eq!(next(&mut stream, HEADERS).await.payload[0], 0x88);
    stream.write_all(&ask(3, HEADER + 1)).await.unwrap();
    // `:status` and 431 in Huffman's code.
    assert_eq!(next(&mut stream, HEADERS).await.payload[..5], [0x48, 0x83, 0x69, 0x90, 0xff]);
}

#[tokio::test]
async fn a_connection_has_as_many_calls_under_way_as_it_may_and_no_more() {
    let server = server().await;
    let mut stream = connected(&server).await;
    // Calls whose message does not come.
    let begun = (0..=CALLS).flat_map(|number| frame(HEADERS, END_HEADERS, 2 * number + 1, &head()));
    stream.write_all(&begun.collect::<Vec<u8>>()).await.unwrap();
    let refused_stream = 7_u32.to_be_bytes();
    let refusal = next(&mut stream, RST_STREAM).await;
    assert_eq!((refusal.stream, refusal.payload.as_slice()), (2 * CALLS + 1, &refused_stream[..]));
    // Another connection has as many.
    let other: Channel = server.data.clone();
    assert!(CheckServiceClient::new(other).check(CheckRequest::default()).await.is_ok());
}
