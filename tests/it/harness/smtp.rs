//! An SMTP server for tests: it keeps what it accepted, and fails as it is told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// What is done with the next mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Accept,
    /// Does not even greet.
    Silent,
    /// 450 to the recipient.
    Later,
    /// 550 to the recipient.
    Never,
    /// Takes the mail and ends the connection without an answer.
    DropAfterData,
    /// Refuses the mail and repeats all of it.
    Repeat,
    /// Accepts the mail and says nothing any more.
    AcceptAndHang,
}

#[derive(Default)]
struct State {
    moods: VecDeque<Mood>,
    /// What is done when `moods` is empty.
    usual: Option<Mood>,
    connections: usize,
    accepted: Vec<String>,
    dropped: Vec<String>,
}

/// The server; it ends with the test's runtime.
#[derive(Clone)]
pub struct Sink {
    pub url: String,
    state: Arc<Mutex<State>>,
}

impl Sink {
    /// One that does these things first and accepts everything afterwards.
    pub async fn start(moods: &[Mood]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("smtp://{}?tls=none", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { moods: moods.iter().copied().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let state = Arc::clone(&shared);
                // A client that goes away is no failure of the server's.
                tokio::spawn(async move { converse(stream, state).await.ok() });
            }
        });
        Self { url, state }
    }

    /// What is done from now on.
    pub fn behave(&self, usual: Mood) {
        let mut state = self.state.lock().unwrap();
        state.moods.clear();
        state.usual = Some(usual);
    }

    /// The mails accepted, with their headers.
    pub fn accepted(&self) -> Vec<String> {
        self.state.lock().unwrap().accepted.clone()
    }

    /// The mails taken in whole and not answered.
    pub fn dropped(&self) -> Vec<String> {
        self.state.lock().unwrap().dropped.clone()
    }

    pub fn connections(&self) -> usize {
        self.state.lock().unwrap().connections
    }

    /// Waits until `is_so`.
    #[track_caller]
    pub fn until(&self, is_so: impl Fn(&Self) -> bool) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        let sink = self.clone();
        async move {
            for _ in 0..3000 {
                if is_so(&sink) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            panic!("{place}: {} connections, accepted {:?}", sink.connections(), sink.accepted());
        }
    }
}

async fn converse(stream: TcpStream, state: Arc<Mutex<State>>) -> std::io::Result<()> {
    let mood = {
        let mut state = state.lock().unwrap();
        state.connections += 1;
        let usual = state.usual.unwrap_or(Mood::Accept);
        state.moods.pop_front().unwrap_or(usual)
    };
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    if mood == Mood::Silent {
        while lines.next_line().await?.is_some() {}
        return Ok(());
    }
    write.write_all(b"220 sink\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let answer = match line.split([' ', ':']).next().unwrap().to_uppercase().as_str() {
            "EHLO" => "250-sink\r\n250 8BITMIME\r\n",
            "MAIL" => "250 ok\r\n",
            "RCPT" if mood == Mood::Later => "450 4.2.1 not now\r\n",
            "RCPT" if mood == Mood::Never => "550 5.1.1 no such user\r\n",
            "RCPT" => "250 ok\r\n",
            "DATA" => {
                write.write_all(b"354 go on\r\n").await?;
                let mut mail = String::new();
                while let Some(line) = lines.next_line().await? {
                    if line == "." {
                        break;
                    }
                    mail.push_str(line.strip_prefix('.').unwrap_or(&line));
                    mail.push('\n');
                }
                if mood == Mood::DropAfterData {
                    state.lock().unwrap().dropped.push(mail);
                    return Ok(());
                }
                if mood == Mood::Repeat {
                    let repeated = mail.replace('\n', " ");
                    write.write_all(format!("554 5.7.1 spam: {repeated}\r\n").as_bytes()).await?;
                    continue;
                }
                state.lock().unwrap().accepted.push(mail);
                "250 accepted\r\n"
            }
            "QUIT" if mood == Mood::AcceptAndHang => continue,
            "QUIT" => {
                write.write_all(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 unknown\r\n",
        };
        write.write_all(answer.as_bytes()).await?;
    }
    Ok(())
}
