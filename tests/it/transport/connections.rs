//! Connections that say nothing, that are too many, and that grow old.

use super::raw::{self, GOAWAY, PREFACE, SETTINGS, ended, frame, goaway, hello, is_alive, read_frame};
use super::tls::connect;
use super::{Authority, Files, ask, counts, until};
use crate::harness::TestServer;
use hyper_util::rt::TokioIo;
use keyward::config::{Config, ServeArgs};
use keyward::proto::v1::*;
use std::error::Error as _;
use std::iter;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream, UnixStream};
use tonic::transport::Endpoint;
use tonic::{Code, Status};

fn hurry(config: &mut Config) {
    config.transport.limits.handshake = Duration::from_secs(1);
    config.transport.limits.head = Duration::from_secs(1);
}

/// A connection that has said this much.
async fn said(address: &str, bytes: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// A connection that speaks HTTP/2, from an address of this machine.
async fn open(address: &str, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(address.parse().unwrap()).await.unwrap();
    stream.write_all(&hello()).await.unwrap();
    stream
}

/// Whether a connection is served; otherwise it has been closed without a word.
async fn is_served(stream: &mut TcpStream) -> bool {
    read_frame(stream).await.is_some_and(|frame| frame.kind == SETTINGS)
}

#[tokio::test]
async fn a_connection_that_does_not_say_what_it_wants_is_closed() {
    let server = TestServer::start_configured(|_| {}, hurry).await;
    let (data_addr, admin_addr, ops_addr) = (server.data_addr(), server.admin_addr(), server.ops_addr());
    let mut lives = said(&data_addr, &hello()).await;
    let (mut silent, mut slow) = (Vec::new(), Vec::new());
    for address in [&data_addr, &admin_addr, &ops_addr] {
        for bytes in [&b""[..], b"P", &PREFACE[..23]] {
            silent.push(said(address, bytes).await);
        }
    }
    // The head of a request that never ends.
    for bytes in [&b"G"[..], b"GET /metrics HTTP/1.1\r\nhost: a\r\n", b"GET / HTTP/1.1\r\nx: "] {
        slow.push(said(&ops_addr, bytes).await);
    }
    for stream in &mut silent {
        assert_eq!(ended(stream).await, b"");
    }
    for stream in &mut slow {
        let answer = String::from_utf8(ended(stream).await).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert!(is_alive(&mut lives).await, "its preface was there in time");
    assert!(ask(&server.data, "", "").await.is_ok());
    for listener in ["data", "admin", "ops"] {
        let series = format!("keyward_connections_refused_total{{listener=\"{listener}\",reason=\"silent\"}}");
        counts(&ops_addr, &series, 3).await;
    }
    let open = "keyward_connections_open{listener=\"data\"}";
    // The one that lives, and our own.
    counts(&ops_addr, open, 2).await;
}

#[tokio::test]
async fn nor_does_tls_wait_for_ever() {
    let (authority, files) = (Authority::new("servers"), Files::new());
    files.put_issued("data", &authority.issue(&["127.0.0.1"]));
    let server = TestServer::start_configured(|args| files.serve_data(args, "data", None), hurry).await;
    let address = server.data_addr();
    // Nothing, the beginning of a ClientHello that is to have 256 bytes, and a hello that says nothing.
    let (mut silent, mut inside) = (Vec::new(), Vec::new());
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x01\x00\x01\x00\x00\xfc\x03\x03"] {
        silent.push(said(&address, bytes).await);
    }
    // TLS is there, and nothing or too little inside.
    for bytes in [&b""[..], &PREFACE[..23]] {
        let mut stream = connect(&address, &authority, b"h2").await;
        stream.write_all(bytes).await.unwrap();
        inside.push(stream);
    }
    for stream in &mut silent {
        assert_eq!(ended(stream).await, b"");
    }
    for stream in &mut inside {
        assert_eq!(ended(stream).await, b"");
    }
    let mut lives = connect(&address, &authority, b"h2").await;
    lives.write_all(&hello()).await.unwrap();
    assert_eq!(read_frame(&mut lives).await.unwrap().kind, SETTINGS);
    let silent = "keyward_connections_refused_total{listener=\"data\",reason=\"silent\"}";
    counts(&server.ops_addr(), silent, 5).await;
    // No TLS at all, which is clear at once.
    ended(&mut said(&address, &hello()).await).await;
    let handshake = "keyward_connections_refused_total{listener=\"data\",reason=\"handshake\"}";
    counts(&server.ops_addr(), handshake, 1).await;
}

#[tokio::test]
async fn one_address_has_so_many_connections_and_others_have_theirs() {
    let server = TestServer::start_with(|args| args.max_connections_per_address = Some(3)).await;
    let address = server.data_addr();
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = open(&address, "127.0.0.2").await;
        assert!(is_served(&mut stream).await);
        held.push(stream);
    }
    for _ in 0..2 {
        assert!(!is_served(&mut open(&address, "127.0.0.2").await).await);
    }
    assert!(ask(&server.data, "", "").await.is_ok());
    let refused = "keyward_connections_refused_total{listener=\"data\",reason=\"address\"}";
    counts(&server.ops_addr(), refused, 2).await;
    // Those that are there go on, and where one ends another may begin.
    for stream in &mut held {
        assert!(is_alive(stream).await);
    }
    held.pop();
    until("there is room again", async || is_served(&mut open(&address, "127.0.0.2").await).await).await;
}

#[tokio::test]
async fn a_listener_has_so_many_connections_and_the_others_have_theirs() {
    let server = TestServer::start_with(|args| args.max_connections = Some(2)).await;
    let address = server.data_addr();
    let mut held = [open(&address, "127.0.0.1").await, open(&address, "127.0.0.2").await];
    for stream in &mut held {
        assert!(is_served(stream).await);
    }
    assert!(!is_served(&mut open(&address, "127.0.0.3").await).await);
    assert!(server.root().tenants().list_tenants(ListTenantsRequest::default()).await.is_ok());
    let refused = "keyward_connections_refused_total{listener=\"data\",reason=\"total\"}";
    counts(&server.ops_addr(), refused, 1).await;
    drop(held);
    until("there is room again", async || is_served(&mut open(&address, "127.0.0.3").await).await).await;
}

/// Whether a call met the end of its connection on the way, and was not looked at: its client says so, or a GOAWAY
/// without an error did, which fails only streams that the server has not begun.
fn was_unseen(status: &Status) -> bool {
    let sources = iter::successors(status.source(), |&error| error.source());
    let mut errors = sources.filter_map(|error| error.downcast_ref::<h2::Error>());
    let is_farewell = |error: &h2::Error| error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    status.code() == Code::Cancelled || errors.any(is_farewell)
}

/// Holds connections until they are told to go, one after the other. One that answers pings is told in two steps, and
/// closed once nothing is under way.
async fn grow_old(address: String, count: usize) {
    for _ in 0..count {
        let mut stream = said(&address, &hello()).await;
        let mut told = Vec::new();
        while let Some(frame) = read_frame(&mut stream).await {
            if frame.kind == raw::PING && frame.flags == 0 {
                stream.write_all(&raw::frame(raw::PING, raw::ACK, 0, &frame.payload)).await.unwrap();
            } else if frame.kind == GOAWAY {
                told.push(frame.payload);
            }
        }
        // The last stream that is still taken, and no error.
        assert_eq!(told, [[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0], [0; 8]]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_old_is_told_to_go_and_no_call_fails() {
    let age = |config: &mut Config| config.transport.limits.max_connection_age = Duration::from_millis(100);
    let server = TestServer::start_configured(|_| {}, age).await;
    let growing = tokio::spawn(grow_old(server.data_addr(), 5));
    while !growing.is_finished() {
        match ask(&server.data, &server.root, "").await {
            Err(status) if was_unseen(&status) => {}
            answer => assert_eq!(answer.unwrap().decision(), Decision::Allowed),
        }
    }
    growing.await.unwrap();
}

#[tokio::test]
async fn a_call_that_is_under_way_outlives_the_age_of_its_connection() {
    let age = |config: &mut Config| config.transport.limits.max_connection_age = Duration::from_millis(50);
    let server = TestServer::start_configured(|_| {}, age).await;
    let (send, questions) = tokio::sync::mpsc::channel(1);
    let mut checks = check_service_client::CheckServiceClient::new(server.data.clone());
    let questions = tokio_stream::wrappers::ReceiverStream::new(questions);
    let question = || StreamCheckRequest {
        check: Some(CheckRequest { credential: server.root.clone(), ..CheckRequest::default() }),
    };
    send.send(question()).await.unwrap();
    let mut answers = checks.stream_check(questions).await.unwrap().into_inner();
    let mut others = said(&server.data_addr(), &hello()).await;
    for _ in 0..3 {
        let answer = answers.message().await.unwrap().unwrap().result.unwrap();
        assert_eq!(answer.decision(), Decision::Allowed);
        // Another connection grows old meanwhile, begun later than this one.
        assert_eq!(goaway(&mut others).await, Some(0));
        others = said(&server.data_addr(), &hello()).await;
        send.send(question()).await.unwrap();
    }
}

#[tokio::test]
async fn a_unix_socket_is_for_its_owner_and_group_and_has_no_cap_for_each_address() {
    let folder = tempfile::tempdir().unwrap();
    let sockets = ["data", "admin", "ops"].map(|name| folder.path().join(name));
    let change = |args: &mut ServeArgs| {
        let [data, admin, ops] = sockets.each_ref().map(|path| Some(format!("unix:{}", path.display())));
        (args.data_addr, args.admin_addr, args.ops_addr) = (data, admin, ops);
        args.max_connections_per_address = Some(1);
    };
    let server = TestServer::start_configured(change, hurry).await;
    let mut held = Vec::new();
    for path in &sockets {
        let mode = std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode & 0o607, 0o600, "{mode:o}");
        for _ in 0..3 {
            let mut stream = UnixStream::connect(path).await.unwrap();
            stream.write_all(&hello()).await.unwrap();
            assert_eq!(read_frame(&mut stream).await.unwrap().kind, SETTINGS);
            held.push(stream);
        }
        let mut silent = UnixStream::connect(path).await.unwrap();
        assert_eq!(ended(&mut silent).await, b"");
    }
    let path = sockets[0].clone();
    let channel = Endpoint::from_static("http://unix").connect_with_connector_lazy(tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    }));
    assert_eq!(ask(&channel, &server.root, "").await.unwrap().decision(), Decision::Allowed);
    let mut ops = UnixStream::connect(&sockets[2]).await.unwrap();
    ops.write_all(b"GET /readyz HTTP/1.0\r\n\r\n").await.unwrap();
    assert!(ended(&mut ops).await.ends_with(b"serving\n"));
}

#[tokio::test]
async fn a_server_that_stops_does_not_wait_for_who_says_nothing() {
    let mut server = TestServer::start().await;
    let address = server.data_addr();
    let mut silent = [said(&address, b"").await, said(&address, &PREFACE[..10]).await];
    let mut idle = said(&address, &hello()).await;
    assert!(is_alive(&mut idle).await);
    let stopping = tokio::spawn(async move {
        server.stop().await;
        server
    });
    for stream in &mut silent {
        ended(stream).await;
    }
    // One that speaks hears that it is to go.
    loop {
        match read_frame(&mut idle).await {
            Some(raw::Frame { kind: raw::PING, flags: 0, payload, .. }) => {
                idle.write_all(&frame(raw::PING, raw::ACK, 0, &payload)).await.unwrap();
            }
            Some(raw::Frame { kind: GOAWAY, payload, .. }) => assert_eq!(payload[4..8], [0; 4]),
            Some(_) => {}
            None => break,
        }
    }
    stopping.await.unwrap();
}
