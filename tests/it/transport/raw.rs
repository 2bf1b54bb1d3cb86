//! HTTP/2 written by hand, for what no client library would do.

use super::LONG;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const CONTINUATION: u8 = 9;

pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// A frame (RFC 9113, section 4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a Check (RFC 7541), all literal and in no table.
pub fn head() -> Vec<u8> {
    // POST and http, from the static table.
    let mut block = vec![0x83, 0x86];
    let mut put = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend_from_slice(value.as_bytes());
    };
    put(&[0x04], "/keyward.v1.CheckService/Check");
    put(&[0x01], "localhost");
    put(&[0x0f, 0x10], "application/grpc");
    put(b"\x00\x02te", "trailers");
    block
}

/// The preface and empty settings.
pub fn hello() -> Vec<u8> {
    [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()
}

/// A frame that was received.
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// The next frame; none if the connection has ended.
pub async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<Frame> {
    let reading = async {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.ok()?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    };
    timeout(LONG, reading).await.expect("neither a frame nor an end")
}

/// The error code of the GOAWAY that comes; none if the connection ends without one.
pub async fn goaway(stream: &mut (impl AsyncRead + Unpin)) -> Option<u32> {
    loop {
        let frame = read_frame(stream).await?;
        if frame.kind == GOAWAY {
            return Some(u32::from_be_bytes(frame.payload[4..8].try_into().unwrap()));
        }
    }
}

/// Asks for a sign of life and waits for it.
pub async fn is_alive(stream: &mut TcpStream) -> bool {
    if stream.write_all(&frame(PING, 0, 0, b"are you?")).await.is_err() {
        return false;
    }
    loop {
        match read_frame(stream).await {
            Some(Frame { kind: PING, flags: ACK, .. }) => return true,
            Some(_) => {}
            None => return false,
        }
    }
}

/// Waits for the end of a connection, whatever comes before.
pub async fn ended(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut bytes = Vec::new();
    let reading = async {
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = stream.read(&mut part).await {
            bytes.extend_from_slice(&part[..count]);
        }
    };
    timeout(LONG, reading).await.expect("the connection is still there");
    bytes
}

/// What a server says to this text.
pub async fn http(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    String::from_utf8(ended(&mut stream).await).unwrap()
}
