//! A database server for the tests, in a temporary folder. A shell runs it, and stops it and removes the folder once its
//! standard input ends: which it does when this process ends, in whatever way, since nobody else holds the other end.

use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A running server.
pub(crate) struct Daemon {
    shell: Child,
    stdin: Option<ChildStdin>,
    pub(crate) port: u16,
    folder: TempDir,
}

/// `$@` is the server; `$0` the folder that goes with it. Each line on standard input starts it anew. In the end it is asked
/// to end, and killed if it does not.
const WATCH: &str = r#"
while read -r _; do
  "$@" </dev/null >>"$0/log" 2>&1 &
  server=$!
done
kill -CONT $server
kill -INT $server 2>/dev/null || kill -TERM $server 2>/dev/null
(sleep 10; kill -KILL $server 2>/dev/null) &
wait $server
kill $! 2>/dev/null
rm -rf "$0"
"#;

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program by its name, where it is not on the path in one of these folders.
pub(crate) fn program(name: &str, folders: &[&str]) -> String {
    let found = folders.iter().map(|folder| format!("{folder}/{name}")).find(|path| std::fs::exists(path).unwrap());
    found.unwrap_or_else(|| name.to_owned())
}

/// Whether this process may become another user.
pub(crate) fn is_root() -> bool {
    output(Command::new("id").arg("-u")).trim() == "0"
}

/// The number of a user, or of its group.
pub(crate) fn id_of(user: &str, flag: &str) -> u32 {
    output(Command::new("id").args([flag, user])).trim().parse().unwrap()
}

/// Runs a program that must succeed: what it printed.
pub(crate) fn output(command: &mut Command) -> String {
    let ended = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{command:?} failed:\n{said}");
    String::from_utf8(ended.stdout).unwrap()
}

/// The ids of a process and of the one that began it, unless it has ended and nobody has asked how.
fn alive(entry: &std::fs::DirEntry) -> Option<(u32, u32)> {
    let id = entry.file_name().to_str()?.parse().ok()?;
    let text = std::fs::read_to_string(entry.path().join("stat")).ok()?;
    // Its name is in brackets, and may hold any.
    let (_, rest) = text.rsplit_once(')')?;
    let mut words = rest.split_whitespace();
    let is_dead = matches!(words.next()?, "Z" | "X");
    let parent = words.next()?.parse().ok()?;
    (!is_dead).then_some((id, parent))
}

/// Sends a signal to processes, some of which may just have ended.
fn signal_all(signal: &str, ids: &[u32]) {
    let ids = ids.iter().map(ToString::to_string);
    let _some_gone = Command::new("kill").arg(format!("-{signal}")).args(ids).stderr(Stdio::null()).status();
}

impl Daemon {
    /// Prepares a folder, by `prepare`, and starts what `command` says with that folder and a port; as `user` where this
    /// process is root's. Waits until the port is open.
    pub(crate) fn start(
        user: &str,
        prepare: impl FnOnce(&str) -> Vec<Command>,
        command: impl FnOnce(&str, u16) -> Vec<String>,
    ) -> Self {
        let folder = tempfile::Builder::new().prefix("keyward-it-").tempdir().unwrap();
        let path = folder.path().to_str().unwrap().to_owned();
        let becomes = is_root().then(|| (id_of(user, "-u"), id_of(user, "-g")));
        let as_user = |command: &mut Command| {
            if let Some((uid, gid)) = becomes {
                command.uid(uid).gid(gid);
            }
            command.current_dir("/");
        };
        if let Some((uid, gid)) = becomes {
            std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid)).unwrap();
        }
        for mut step in prepare(&path) {
            as_user(&mut step);
            output(&mut step);
        }
        let port = free_port();
        let mut shell = Command::new("sh");
        as_user(&mut shell);
        // A group of its own: what ends the tests by a key must not end the shell before the server.
        shell.process_group(0).args(["-c", WATCH, &path]).args(command(&path, port));
        let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let stdin = shell.stdin.take();
        let daemon = Self { shell, stdin, port, folder };
        daemon.begin();
        daemon
    }

    /// Starts the server, for the first time or after [`Daemon::stop`], and waits until the port is open.
    pub(crate) fn begin(&self) {
        self.stdin.as_ref().unwrap().write_all(b"\n").unwrap();
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the server by a signal to its first process, and waits until nothing of it is left.
    pub(crate) fn stop(&self, signal: &str) {
        let deadline = Instant::now() + Duration::from_secs(60);
        signal_all(signal, self.processes().get(..1).unwrap());
        while !self.processes().is_empty() {
            assert!(Instant::now() < deadline, "the server does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the processes of the server where they are.
    pub(crate) fn freeze(&self) {
        // The first before all others, which can then become no more.
        signal_all("STOP", self.processes().get(..1).unwrap());
        signal_all("STOP", &self.processes());
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        signal_all("CONT", &self.processes());
    }

    /// The first process of the server, and those that this has begun.
    fn processes(&self) -> Vec<u32> {
        let all: Vec<(u32, u32)> =
            std::fs::read_dir("/proc").unwrap().filter_map(|entry| alive(&entry.ok()?)).collect();
        let begun_by = |parent: u32| all.iter().filter(move |(_, other)| *other == parent).map(|(id, _)| *id);
        let first: Vec<u32> = begun_by(self.shell.id()).collect();
        let more = first.iter().flat_map(|first| begun_by(*first));
        first.iter().copied().chain(more).collect()
    }

    /// What the server has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.thaw();
        if let Some(mut stdin) = self.stdin.take() {
            let _gone_either_way = stdin.flush();
        }
        let _reaped = self.shell.wait();
    }
}
