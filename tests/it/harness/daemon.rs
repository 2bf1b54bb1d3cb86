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

/// `$@` is the server; `$0` the folder that goes with it. The server is asked to end, and killed if it does not.
const WATCH: &str = r#"
"$@" </dev/null >"$0/log" 2>&1 &
server=$!
cat >/dev/null
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
        let deadline = Instant::now() + Duration::from_secs(60);
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(Instant::now() < deadline, "the server does not answer:\n{}", daemon.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    /// What the server has said so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.stdin.take() {
            let _gone_either_way = stdin.flush();
        }
        let _reaped = self.shell.wait();
    }
}
