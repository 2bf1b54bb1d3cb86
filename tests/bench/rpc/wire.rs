//! A client of gRPC that costs as little as it can, so that it is the server that is measured: one HTTP/2 connection, the
//! requests as bytes, and every reply compared byte by byte with what it must be.

use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;
/// The largest frame that every server takes.
const MAX_FRAME: usize = 16 * 1024;
/// So many bytes are let come; given again when half are used.
const WINDOW: u32 = 1 << 30;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// What is asked, and what must be answered: each a gRPC message with its prefix of five bytes.
#[derive(Debug)]
pub(crate) struct Script {
    pub(crate) path: &'static str,
    pub(crate) requests: Vec<Vec<u8>>,
    /// As many as requests, or one for all.
    pub(crate) replies: Replies,
}

/// How a reply is looked at.
#[derive(Debug)]
pub(crate) enum Replies {
    /// It must be these bytes; one of them for all requests, or one for each.
    Exact(Vec<Vec<u8>>),
    /// It holds what is not known beforehand.
    Judged(fn(&[u8]) -> bool),
}

impl Script {
    /// The request of a call's number, and that of its reply.
    fn request(&self, number: usize) -> &[u8] {
        &self.requests[number % self.requests.len()]
    }

    fn check(&self, number: usize, reply: &[u8]) {
        let is_good = match &self.replies {
            Replies::Exact(replies) if replies.len() == 1 => replies[0] == reply,
            Replies::Exact(replies) => replies[number % self.requests.len()] == reply,
            Replies::Judged(is_good) => is_good(reply),
        };
        assert!(is_good, "{}: a reply to request {number} that it must not be: {reply:?}", self.path);
    }
}

/// A stream: what it was asked and has not answered, and what came of the next answer.
#[derive(Debug)]
struct Open {
    id: u32,
    asked: VecDeque<(usize, Instant)>,
    received: Vec<u8>,
}

/// What was answered: how long after it was to be asked; or that a call is over.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answered {
    pub(crate) latency: Duration,
    pub(crate) is_over: bool,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    address: String,
    input: Vec<u8>,
    output: Vec<u8>,
    next_stream: u32,
    has_sent_head: bool,
    received: u32,
    open: Vec<Open>,
}

impl Wire {
    pub(crate) async fn connect(address: &str) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        let mut wire = Self {
            stream,
            address: address.to_owned(),
            input: Vec::new(),
            output: PREFACE.to_vec(),
            next_stream: 1,
            has_sent_head: false,
            received: 0,
            open: Vec::new(),
        };
        // SETTINGS_ENABLE_PUSH 0, SETTINGS_INITIAL_WINDOW_SIZE.
        let mut settings = vec![0, 2, 0, 0, 0, 0, 0, 4];
        settings.extend(WINDOW.to_be_bytes());
        wire.frame(SETTINGS, 0, 0, &settings);
        wire.frame(WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        wire.flush().await;
        wire
    }

    /// Calls a method with one request.
    pub(crate) fn call(&mut self, script: &Script, number: usize, begin: Instant) {
        let id = self.begin(script.path);
        self.say(script, id, number, begin, true);
    }

    /// Begins a call, and says nothing yet.
    pub(crate) fn begin(&mut self, path: &str) -> u32 {
        let id = self.next_stream;
        self.next_stream += 2;
        let head = self.head(path);
        self.frame(HEADERS, END_HEADERS, id, &head);
        self.open.push(Open { id, asked: VecDeque::new(), received: Vec::new() });
        id
    }

    /// Sends one request of a call, perhaps the last; its latency counts from `begin`.
    pub(crate) fn say(&mut self, script: &Script, id: u32, number: usize, begin: Instant, is_last: bool) {
        let open = self.open.iter_mut().find(|open| open.id == id).expect("an open stream");
        open.asked.push_back((number, begin));
        let mut parts = script.request(number).chunks(MAX_FRAME).peekable();
        while let Some(part) = parts.next() {
            let flags = if is_last && parts.peek().is_none() { END_STREAM } else { 0 };
            self.frame(DATA, flags, id, part);
        }
    }

    /// Ends the requests of a call.
    pub(crate) fn end(&mut self, id: u32) {
        self.frame(DATA, END_STREAM, id, &[]);
    }

    /// The headers: in full the first time, and then by their places in the table that the first have made.
    fn head(&mut self, path: &str) -> Vec<u8> {
        if std::mem::replace(&mut self.has_sent_head, true) {
            return vec![0x83, 0x86, 0xc2, 0xc1, 0xc0, 0xbf, 0xbe];
        }
        let mut head = vec![0x83, 0x86];
        let mut field = |begin: &[u8], value: &str| {
            head.extend(begin);
            head.push(u8::try_from(value.len()).expect("short"));
            head.extend(value.as_bytes());
        };
        field(&[0x44], path);
        field(&[0x41], &self.address);
        field(&[0x5f], "application/grpc");
        field(b"\x40\x02te", "trailers");
        field(&[0x7a], "grpc-bench/1.0");
        head
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        self.output.extend(&length[1..]);
        self.output.extend([kind, flags]);
        self.output.extend(stream.to_be_bytes());
        self.output.extend(payload);
    }

    pub(crate) async fn flush(&mut self) {
        if !self.output.is_empty() {
            self.stream.write_all(&self.output).await.expect("a server that takes");
            self.output.clear();
        }
    }

    /// Waits for answers.
    pub(crate) async fn answers(&mut self, script: &Script, into: &mut Vec<Answered>) {
        self.stream.readable().await.expect("a socket");
        self.answers_there(script, into);
    }

    /// Takes the answers that are there.
    pub(crate) fn answers_there(&mut self, script: &Script, into: &mut Vec<Answered>) {
        match self.stream.try_read_buf(&mut self.input) {
            Ok(0) => panic!("{}: the server hung up", script.path),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
            Err(error) => panic!("{}: {error}", script.path),
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = input.as_slice();
        while let Some((head, after)) = rest.split_at_checked(HEAD) {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let Some((payload, after)) = after.split_at_checked(length) else { break };
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            self.received(script, (head[3], head[4], stream), payload, into);
            rest = after;
        }
        let consumed = input.len() - rest.len();
        self.input = input;
        self.input.drain(..consumed);
    }

    fn received(&mut self, script: &Script, head: (u8, u8, u32), payload: &[u8], into: &mut Vec<Answered>) {
        match head {
            (DATA, flags, id) => {
                assert_eq!(flags, 0, "{}: an answer without trailers, or a padded one", script.path);
                self.credit(id, payload.len());
                let open = self.open.iter_mut().find(|open| open.id == id).expect("an open stream");
                open.received.extend(payload);
                while let Some(length) = message_length(&open.received) {
                    let (number, begin) = open.asked.pop_front().expect("a question");
                    script.check(number, &open.received[..length]);
                    open.received.drain(..length);
                    into.push(Answered { latency: begin.elapsed(), is_over: false });
                }
            }
            (HEADERS, flags, id) if flags & END_STREAM != 0 => {
                assert!(is_ok(payload), "{}: trailers that are not grpc-status 0: {payload:?}", script.path);
                let place = self.open.iter().position(|open| open.id == id).expect("an open stream");
                let open = self.open.swap_remove(place);
                assert!(open.asked.is_empty() && open.received.is_empty(), "{}: no answer", script.path);
                into.push(Answered { latency: Duration::ZERO, is_over: true });
            }
            // It is whole, and begins with `:status: 200`.
            (HEADERS, flags, _) => assert!(flags == END_HEADERS && payload[0] == 0x88, "{}: no answer", script.path),
            (SETTINGS, 0, _) => self.frame(SETTINGS, ACK, 0, &[]),
            (PING, 0, _) => self.frame(PING, ACK, 0, payload),
            (SETTINGS | PING, ACK, _) | (WINDOW_UPDATE, _, _) => {}
            (RST_STREAM, _, _) => panic!("{} at {}: a stream was reset: {payload:?}", script.path, self.address),
            (GOAWAY, _, _) => panic!("{}: the server says goodbye: {payload:?}", script.path),
            (kind, flags, _) => panic!("{}: a frame of kind {kind} with flags {flags}", script.path),
        }
    }

    /// Lets more come.
    fn credit(&mut self, id: u32, bytes: usize) {
        self.received += u32::try_from(bytes).expect("short");
        if self.received > WINDOW / 2 {
            let increment = std::mem::take(&mut self.received).to_be_bytes();
            self.frame(WINDOW_UPDATE, 0, 0, &increment);
            self.frame(WINDOW_UPDATE, 0, id, &increment);
        }
    }
}

/// The length of the first gRPC message, once it is whole.
fn message_length(received: &[u8]) -> Option<usize> {
    let (prefix, rest) = received.split_at_checked(5)?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    (rest.len() >= length).then_some(length + 5)
}

/// Whether trailers say `grpc-status: 0`, and at most an empty message. A field is a literal the first time, and then one
/// byte that points to it; so a byte points to what was found good when it came, and to no other status.
fn is_ok(trailers: &[u8]) -> bool {
    let mut rest = trailers;
    while let Some((first, after)) = rest.split_first() {
        let value = match first {
            0x80.. => {
                rest = after;
                continue;
            }
            0x40 => after.split_first().and_then(|(length, name)| name.get(usize::from(length & 0x7f)..)),
            0x41..=0x7e => Some(after),
            _ => None,
        };
        // Empty, or 0: plain, or by Huffman.
        rest = match value {
            Some([0, after @ ..] | [1, b'0', after @ ..] | [0x81, 0x07, after @ ..]) => after,
            _ => return false,
        };
    }
    !trailers.is_empty()
}
