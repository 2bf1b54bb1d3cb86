//! The real program as a process of its own, for what only a process can show: signals, exit codes, output, kills.

use parking_lot::Mutex;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tonic::transport::{Channel, Endpoint};

/// The program that the tests were built with.
pub fn keyward() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_keyward"));
    // What a developer has set must not reach the tests.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("KEYWARD_") || name.to_string_lossy().starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// `keyward serve` on free ports with its log in JSON, on a database that may not be there yet.
pub fn serve(database: &Path) -> Command {
    let mut command = keyward();
    command.args(["serve", "--log-format", "json", "--data-addr", "127.0.0.1:0"]);
    command.args(["--admin-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--database-url"]);
    command.arg(format!("sqlite:{}", database.display()));
    command
}

/// The same command under a limit of the shell's: `-n 100`, or `-c unlimited`.
pub fn limited(command: &Command, limit: &str) -> Command {
    let mut limited = Command::new("bash");
    limited.args(["-c", &format!("ulimit {limit} && exec \"$@\""), "bash"]);
    limited.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited
}

/// Runs a program that is to end by itself: its exit code, what it printed and what it said on standard error.
pub fn ended(mut command: Command) -> (Option<i32>, String, String) {
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (printed, said) = (drained(child.stdout.take().unwrap()), drained(child.stderr.take().unwrap()));
    let deadline = Instant::now() + Duration::from_secs(60);
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let (printed, said) = (printed.join().unwrap(), said.join().unwrap());
    let status = status.unwrap_or_else(|| panic!("it was to end by itself:\n{printed}\n{said}"));
    (status.code(), printed, said)
}

fn drained(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // A killed process may leave half a character.
        let _ended = pipe.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// The same line by line, so that it can be looked at meanwhile.
fn kept(mut pipe: impl BufRead + Send + 'static, lines: Arc<Mutex<String>>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while pipe.read_until(b'\n', &mut bytes).is_ok_and(|count| count > 0) {
            lines.lock().push_str(&String::from_utf8_lossy(&bytes));
            bytes.clear();
        }
        lines.lock().clone()
    })
}

/// `keyward serve` on free ports; killed when dropped.
pub struct Process {
    child: Child,
    /// What it prints and logs, read as it comes: a full pipe would stop it.
    stdout: Option<JoinHandle<String>>,
    stderr: Option<JoinHandle<String>>,
    pub data_addr: String,
    pub admin_addr: String,
    pub ops_addr: String,
    /// What it logged until it was serving.
    pub log: String,
    /// What it logged since.
    since: Arc<Mutex<String>>,
}

impl Process {
    /// Starts the server on `database`, with the root credential going to `root.key` beside it.
    #[allow(clippy::zombie_processes, reason = "dropping `Process` waits, and so does the panic")]
    pub fn start(database: &Path, more: &[&str]) -> Self {
        let root_key = database.with_file_name("root.key");
        let mut command = serve(database);
        command.arg("--root-key-file").arg(root_key).args(more);
        Self::launch(command)
    }

    /// Starts any `keyward serve` that logs in JSON, and waits until it serves.
    pub fn launch(command: Command) -> Self {
        Self::try_launch(command).unwrap_or_else(|said| panic!("the server ended before it served: {said}"))
    }

    /// The same where it may end instead: what it logged then.
    pub fn try_launch(mut command: Command) -> Result<Self, String> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let stdout = Some(drained(child.stdout.take().unwrap()));
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        // From here on it is killed whatever happens.
        let mut server = Self {
            child,
            stdout,
            stderr: None,
            data_addr: String::new(),
            admin_addr: String::new(),
            ops_addr: String::new(),
            log: String::new(),
            since: Arc::default(),
        };
        loop {
            let mut line = String::new();
            if stderr.read_line(&mut line).unwrap() == 0 {
                return Err(format!("{:?}\n{}", server.child.wait(), server.log));
            }
            server.log.push_str(&line);
            let Ok(entry) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            let fields = &entry["fields"];
            if fields["message"] == "serving" {
                let address = |name: &str| fields[name].as_str().unwrap().to_owned();
                server.data_addr = address("data");
                server.admin_addr = address("admin");
                server.ops_addr = address("ops");
                server.stderr = Some(kept(stderr, Arc::clone(&server.since)));
                return Ok(server);
            }
        }
    }

    pub fn data(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.data_addr)).unwrap().connect_lazy()
    }

    pub fn admin(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.admin_addr)).unwrap().connect_lazy()
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it logged since it was serving, so far.
    pub fn logged(&self) -> String {
        self.since.lock().clone()
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill").arg(format!("-{signal}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Ends it without a word.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Has it end by SIGABRT, as a bug would: its exit status, all it printed and all it logged.
    pub fn crash(self) -> (ExitStatus, String, String) {
        self.end("-ABRT")
    }

    /// Asks it to end and waits: its exit status, all it printed and all it logged.
    pub fn terminate(self) -> (ExitStatus, String, String) {
        self.end("-TERM")
    }

    fn end(mut self, signal: &str) -> (ExitStatus, String, String) {
        let asked = Command::new("kill").arg(signal).arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        let deadline = Instant::now() + Duration::from_secs(30);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let printed = self.stdout.take().unwrap().join().unwrap();
        let log = std::mem::take(&mut self.log) + &self.stderr.take().unwrap().join().unwrap();
        (status, printed, log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
