//! What HTTP/2 lets a client begin: streams without end, streams that are reset at once (CVE-2023-44487), headers without
//! end (CVE-2024-27316). Whoever does so is sent away; all others are answered meanwhile.

use super::raw::{
    ACK, CONTINUATION, END_HEADERS, Frame, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame, goaway, head, hello,
    read_frame,
};
use super::{ask, metric, until};
use crate::harness::TestServer;
use keyward::proto::v1::Decision;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const OPEN: &str = "keyward_connections_open{listener=\"data\"}";
const REFUSED_STREAM: u32 = 7;
const ENHANCE_YOUR_CALM: u32 = 11;

async fn attacker(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.data_addr()).await.unwrap();
    stream.write_all(&hello()).await.unwrap();
    stream
}

/// Sends `flood` until the server closes the connection, while others ask: the error code that it gave, if any.
async fn flooded(server: &TestServer, flood: impl Iterator<Item = Vec<u8>>) -> Option<u32> {
    let (mut reading, mut writing) = attacker(server).await.into_split();
    let said = tokio::spawn(async move { goaway(&mut reading).await });
    for frames in flood {
        if said.is_finished() || writing.write_all(&frames).await.is_err() {
            break;
        }
        let answer = ask(&server.data, &server.root, "").await.unwrap();
        assert_eq!(answer.decision(), Decision::Allowed);
    }
    let code = said.await.unwrap();
    drop(writing);
    until("the connection is gone", async || metric(&server.ops_addr(), OPEN).await == 1).await;
    assert_eq!(ask(&server.data, &server.root, "").await.unwrap().decision(), Decision::Allowed);
    code
}

fn ids() -> impl Iterator<Item = u32> {
    (1..).step_by(2)
}

#[tokio::test]
async fn ten_thousand_streams_on_one_connection_are_256_and_the_rest_refused() {
    let server = TestServer::start().await;
    let mut stream = attacker(&server).await;
    let settings = read_frame(&mut stream).await.unwrap();
    // Their ids and values (RFC 9113, section 6.5.1): 3 is MAX_CONCURRENT_STREAMS.
    let streams = settings.payload.chunks(6).find(|setting| setting[..2] == [0, 3]).unwrap();
    assert_eq!((settings.kind, &streams[2..]), (SETTINGS, &256_u32.to_be_bytes()[..]));

    // A call whose message does not come, and then more than there may be.
    let begun: Vec<u8> = ids().take(300).flat_map(|id| frame(HEADERS, END_HEADERS, id, &head())).collect();
    stream.write_all(&begun).await.unwrap();
    stream.write_all(&frame(PING, 0, 0, b"are you?")).await.unwrap();
    let mut refused = 0;
    loop {
        match read_frame(&mut stream).await.unwrap() {
            Frame { kind: RST_STREAM, payload, .. } => {
                assert_eq!(payload, REFUSED_STREAM.to_be_bytes());
                refused += 1;
            }
            Frame { kind: PING, flags: ACK, .. } if refused >= 44 => break,
            Frame { kind: PING, flags: ACK, .. } => stream.write_all(&frame(PING, 0, 0, b"are you?")).await.unwrap(),
            Frame { kind: GOAWAY, payload, .. } => panic!("{payload:?}"),
            _ => {}
        }
    }
    assert_eq!(refused, 300 - 256);
    assert_eq!(ask(&server.data, &server.root, "").await.unwrap().decision(), Decision::Allowed);
    drop(stream);

    // Who does not take no for an answer is sent away.
    let streams: Vec<u32> = ids().take(10_000).collect();
    let flood = streams
        .chunks(100)
        .map(|ids| ids.iter().flat_map(|id| frame(HEADERS, END_HEADERS, *id, &head())).collect::<Vec<u8>>());
    let code = flooded(&server, flood).await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
}

#[tokio::test]
async fn streams_that_are_reset_at_once_end_the_connection() {
    let server = TestServer::start().await;
    let cancel = 8_u32.to_be_bytes();
    let streams: Vec<u32> = ids().take(50_000).collect();
    let flood = streams.chunks(500).map(|ids| {
        let pair = |id: &u32| [frame(HEADERS, END_HEADERS, *id, &head()), frame(RST_STREAM, 0, *id, &cancel)].concat();
        ids.iter().flat_map(pair).collect::<Vec<u8>>()
    });
    let code = flooded(&server, flood).await;
    assert!(matches!(code, None | Some(ENHANCE_YOUR_CALM)), "{code:?}");
}

#[tokio::test]
async fn headers_without_end_end_the_connection() {
    let server = TestServer::start().await;
    // Small ones, large ones, and such as say nothing at all.
    for (name, payload, count) in [
        ("small", b"\x00\x01a\x01b".to_vec(), 100_000),
        ("large", [&b"\x00\x01a\x7f\x81\x7d"[..], &[b'b'; 16_000]].concat(), 2000),
        ("empty", Vec::new(), 100_000),
    ] {
        let part = frame(CONTINUATION, 0, 1, &payload);
        let parts_at_once = 50;
        let first = frame(HEADERS, 0, 1, &head());
        let rest = std::iter::repeat_n(part.repeat(parts_at_once), count / parts_at_once);
        let code = flooded(&server, std::iter::once(first).chain(rest)).await;
        assert_ne!(code, Some(0), "{name}");
    }
}

#[tokio::test]
async fn one_who_sends_and_does_not_read_holds_up_nobody() {
    let server = TestServer::start().await;
    let stream = attacker(&server).await;
    let (mut reading, mut writing) = stream.into_split();
    let pings = frame(PING, 0, 0, b"are you?").repeat(1000);
    let flood = tokio::spawn(async move {
        for _ in 0..2000 {
            if writing.write_all(&pings).await.is_err() {
                break;
            }
        }
        writing
    });
    for _ in 0..200 {
        let answer = ask(&server.data, &server.root, "").await.unwrap();
        assert_eq!(answer.decision(), Decision::Allowed);
    }
    flood.abort();
    drop(flood.await);
    let mut some = [0; 1024];
    let _said_something = reading.read(&mut some).await;
    drop(reading);
    until("the connection is gone", async || metric(&server.ops_addr(), OPEN).await == 1).await;
}
