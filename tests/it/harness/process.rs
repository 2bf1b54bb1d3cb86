//! The real program as a process of its own, for what only a process can show: signals, exit codes, output, kills.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
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

/// `keyward serve` on free ports; killed when dropped.
pub struct Process {
    child: Child,
    stdout: Option<ChildStdout>,
    stderr: Option<BufReader<ChildStderr>>,
    pub data_addr: String,
    pub admin_addr: String,
    pub ops_addr: String,
    /// What it logged until it was serving.
    pub log: String,
}

impl Process {
    /// Starts the server on `database`, with the root credential going to `root.key` beside it.
    #[allow(clippy::zombie_processes, reason = "dropping `Process` waits, and so does the panic")]
    pub fn start(database: &Path, more: &[&str]) -> Self {
        let root_key = database.with_file_name("root.key");
        let mut child = keyward()
            .args(["serve", "--log-format", "json", "--data-addr", "127.0.0.1:0"])
            .args(["--admin-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0"])
            .arg("--database-url")
            .arg(format!("sqlite:{}", database.display()))
            .arg("--root-key-file")
            .arg(root_key)
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        loop {
            let mut line = String::new();
            if stderr.read_line(&mut line).unwrap() == 0 {
                panic!("the server ended before it served: {:?}\n{log}", child.wait());
            }
            log.push_str(&line);
            let Ok(entry) = serde_json::from_str::<serde_json::Value>(&line) else { continue };
            let fields = &entry["fields"];
            if fields["message"] == "serving" {
                let address = |name: &str| fields[name].as_str().unwrap().to_owned();
                return Self {
                    data_addr: address("data"),
                    admin_addr: address("admin"),
                    ops_addr: address("ops"),
                    child,
                    stdout,
                    stderr: Some(stderr),
                    log,
                };
            }
        }
    }

    pub fn data(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.data_addr)).unwrap().connect_lazy()
    }

    pub fn admin(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.admin_addr)).unwrap().connect_lazy()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Ends it without a word.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Asks it to end and waits: its exit status, all it printed and all it logged.
    pub fn terminate(mut self) -> (ExitStatus, String, String) {
        let asked = Command::new("kill").arg("-TERM").arg(self.child.id().to_string()).status().unwrap();
        assert!(asked.success());
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut log = std::mem::take(&mut self.log);
        self.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        let mut printed = String::new();
        self.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, printed, log);
            }
            assert!(Instant::now() < deadline, "the server does not end");
            std::thread::yield_now();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}
