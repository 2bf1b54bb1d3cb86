//! The servers, each a process of its own (this same program, told its part), so that what each takes of a core can be
//! read. Servers share the first core, and the load comes from the second.

use crate::{echo, writer};
use keyward::clock::Clock;
use keyward::config::{Config, ServeArgs};
use keyward::proto::envoy::service::auth::v3 as envoy;
use keyward::proto::v1::CheckResponse;
use keyward::server::Server;
use prost::Message as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// The file with the root credential, beside the database.
pub(crate) const ROOT_KEY: &str = "root.key";

/// The cores this process may use.
fn cores() -> Vec<usize> {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a list of cores");
    let number = |text: &str| text.trim().parse::<usize>().expect("a number");
    let range = |text: &str| match text.split_once('-') {
        Some((first, last)) => number(first)..=number(last),
        None => number(text)..=number(text),
    };
    list.split(',').flat_map(range).collect()
}

/// Has this process, which makes the load, use the second core only, and says which the servers have.
pub(crate) fn take_second_core() -> Option<usize> {
    let [first, second, ..] = cores()[..] else { return None };
    let id = std::process::id().to_string();
    let done = Command::new("taskset").args(["-cp", &second.to_string(), &id]).stdout(Stdio::null()).status();
    done.is_ok_and(|status| status.success()).then_some(first)
}

/// Another process.
pub(crate) struct Other {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Other {
    /// Starts this program in the part that `words` say.
    pub(crate) fn start(core: Option<usize>, words: &[&str]) -> Self {
        let program = std::env::current_exe().expect("a path");
        let mut command = match core {
            Some(core) => {
                let mut command = Command::new("taskset");
                command.args(["-c", &core.to_string()]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.args(words).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a process");
        let (input, output) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, input, output: BufReader::new(output) }
    }

    pub(crate) fn say(&mut self, line: &str) {
        writeln!(self.input, "{line}").expect("it listens");
    }

    pub(crate) fn hear(&mut self) -> String {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("it speaks");
        assert!(!line.is_empty(), "it ended");
        line.trim().to_owned()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it; it sees that nobody speaks to it any more.
    pub(crate) fn end(self) {
        let Self { mut child, input, output } = self;
        drop((input, output));
        child.wait().expect("an end");
    }
}

/// The processor time that a process has used.
pub(crate) fn used(id: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("a process");
    // Its name is in brackets; then the state, ten numbers, and the two that are meant, in hundredths of a second.
    let (_, rest) = stat.rsplit_once(')').expect("a name");
    let ticks = rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// Keyward as `keyward serve` runs it, and where it is: data, admin.
pub(crate) fn keyward(core: Option<usize>, folder: &Path) -> (Other, String, String) {
    let mut other = Other::start(core, &["as-keyward", &folder.display().to_string()]);
    let (data, admin) = (other.hear(), other.hear());
    (other, data, admin)
}

/// A bare tonic server, on a runtime of one thread or on tokio's default one.
pub(crate) fn bare(core: Option<usize>, runtime: &str, check: &[u8], allow: &[u8]) -> (Other, String) {
    let mut other = Other::start(core, &["as-echo", runtime]);
    other.say(&hex(check));
    other.say(&hex(allow));
    let address = other.hear();
    (other, address)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let byte = |place: usize| u8::from_str_radix(&text[place..place + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

/// Plays the part that the words say, if they say one.
pub(crate) fn play(words: &[String]) -> bool {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["as-keyward", folder] => Runtime::new().expect("a runtime").block_on(as_keyward(Path::new(folder))),
        ["as-echo", "default"] => Runtime::new().expect("a runtime").block_on(async {
            // Its connections are for the worker, as with `tokio::main` and for anything that is spawned.
            tokio::spawn(as_echo()).await.expect("an end");
        }),
        ["as-echo", _] => {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(as_echo());
        }
        ["as-writer", admin, folder] => {
            let root = std::fs::read_to_string(Path::new(folder).join(ROOT_KEY)).expect("a root credential");
            writer::play(admin, root.trim());
        }
        _ => return false,
    }
    true
}

fn lines(count: usize) -> Vec<String> {
    std::io::stdin().lock().lines().take(count).map(|line| line.expect("a line")).collect()
}

/// Completes once nobody speaks to this process any more.
async fn left() {
    let waiting = tokio::task::spawn_blocking(|| {
        while std::io::stdin().read_line(&mut String::new()).is_ok_and(|count| count > 0) {}
    });
    waiting.await.expect("an end");
}

pub(crate) fn serve_args(folder: &Path) -> ServeArgs {
    ServeArgs {
        database_url: Some(format!("sqlite:{}", folder.join("keyward.db").display()).into()),
        root_key_file: Some(folder.join(ROOT_KEY)),
        data_addr: Some("127.0.0.1:0".to_owned()),
        admin_addr: Some("127.0.0.1:0".to_owned()),
        ops_addr: Some("127.0.0.1:0".to_owned()),
        issuer: Some("http://localhost".to_owned()),
        log: Some("warn".to_owned()),
        ..ServeArgs::default()
    }
}

async fn as_keyward(folder: &Path) {
    let config = Config::load(serve_args(folder)).expect("a configuration");
    let server = Server::start(config, Clock::default()).await.expect("a server");
    println!("{}\n{}", server.data_addr(), server.admin_addr());
    left().await;
    server.shutdown().await.expect("a clean end");
}

async fn as_echo() {
    let lines = lines(2);
    let check = CheckResponse::decode(unhex(&lines[0]).as_slice()).expect("a reply");
    let allow = envoy::CheckResponse::decode(unhex(&lines[1]).as_slice()).expect("a reply");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    println!("{}", listener.local_addr().expect("an address"));
    tokio::select! {
        () = echo::serve(listener, check, allow) => {}
        () = left() => {}
    }
}
