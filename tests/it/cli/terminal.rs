//! A terminal at which commands are typed, and what they answer.

use crate::harness::process::{Process, keyward};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;

/// A terminal beside a server that holds the tenant `acme`.
pub struct Terminal {
    pub server: Process,
    pub dir: TempDir,
    pub root: String,
    /// The master credential of acme's owner.
    pub owner: String,
    /// Each `command --flag` that was used.
    pub used: RefCell<BTreeSet<String>>,
}

/// A command in the making.
pub struct Line<'a> {
    terminal: &'a Terminal,
    words: Vec<String>,
    variables: Vec<(&'static str, String)>,
    stdin: String,
}

/// What became of a command.
#[derive(Debug)]
pub struct Done {
    pub line: String,
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Terminal {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let server = Process::start(&dir.path().join("keyward.db"), &[]);
        let root = std::fs::read_to_string(dir.path().join("root.key")).unwrap().trim().to_owned();
        let mut terminal = Self { server, dir, root, owner: String::new(), used: RefCell::default() };
        let made = terminal.as_root("tenants create acme --owner-email ana@acme.example").json();
        terminal.owner = text(&made["masterCredential"]);
        terminal
    }

    /// A command by nobody; its words are parted by single spaces.
    pub fn line(&self, words: &str) -> Line<'_> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let server = if words[0] == "check" { &self.server.data_addr } else { &self.server.admin_addr };
        Line { terminal: self, words, variables: vec![("KEYWARD_SERVER", server.clone())], stdin: String::new() }
    }

    pub fn as_root(&self, words: &str) -> Line<'_> {
        self.line(words).variable("KEYWARD_KEY", &self.root)
    }

    pub fn as_owner(&self, words: &str) -> Line<'_> {
        self.line(words).variable("KEYWARD_KEY", &self.owner)
    }

    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A key of the owner's that may read `doc/*`: its credential.
    pub fn key(&self, id: &str) -> String {
        text(&self.as_owner(&format!("keys create {id} --grant doc/*=read")).json()["credential"])
    }

    /// The commands there are, each with the flags of its own; read from the help.
    pub fn commands(&self, path: &str, found: &mut BTreeSet<String>) {
        let help = self.line(format!("{path} --help").trim_start()).ok().out;
        let (mut is_command, mut is_own_option) = (false, false);
        let mut children = Vec::new();
        for line in help.lines() {
            if !line.starts_with(' ') && !line.is_empty() {
                is_command = line == "Commands:";
                is_own_option = line == "Options:";
            } else if is_command && let Some(name) = line.split_whitespace().next() {
                children.push(name.to_owned());
            } else if is_own_option && let Some(flag) = line.trim().split([' ', ',']).find(|w| w.starts_with("--")) {
                found.insert(format!("{path} {flag}"));
            }
        }
        if children.is_empty() {
            found.insert(path.to_owned());
        }
        for child in children.iter().filter(|child| *child != "help") {
            self.commands(format!("{path} {child}").trim_start(), found);
        }
    }

    /// Notes the command and its flags: the words up to the first flag or argument that is no command.
    fn note(&self, words: &[String]) {
        let depth = match words[0].as_str() {
            "check" | "descriptors" | "doctor" | "health" => 1,
            _ => 2,
        };
        let path = words[..depth.min(words.len())].join(" ");
        let mut used = self.used.borrow_mut();
        for word in words.iter().filter(|word| word.starts_with("--")) {
            used.insert(format!("{path} {}", word.split('=').next().unwrap()));
        }
        used.insert(path);
    }
}

impl Line<'_> {
    /// A further word that may hold spaces.
    pub fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    pub fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    pub fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    pub fn run(self) -> Done {
        self.terminal.note(&self.words);
        let mut child = keyward()
            .args(&self.words)
            .envs(self.variables)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Who does not read its input may have ended before it was written.
        let _is_not_read = child.stdin.take().unwrap().write_all(self.stdin.as_bytes());
        let done = child.wait_with_output().unwrap();
        Done {
            line: self.words.join(" "),
            code: done.status.code().unwrap(),
            out: String::from_utf8(done.stdout).unwrap(),
            err: String::from_utf8(done.stderr).unwrap(),
        }
    }

    #[track_caller]
    pub fn ok(self) -> Done {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Done {
        let done = self.run();
        assert_eq!(done.code, code, "keyward {}: {done:?}", done.line);
        done
    }

    /// Its answer with `-o json`.
    #[track_caller]
    pub fn json(self) -> Value {
        let done = self.word("-o").word("json").ok();
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"))
    }
}

impl Done {
    #[track_caller]
    pub fn says(&self, part: &str) -> &Self {
        assert!(self.out.contains(part) || self.err.contains(part), "{part:?} is not in {self:?}");
        self
    }
}

#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

/// The last segment of a name.
#[track_caller]
pub fn id_of(name: &Value) -> String {
    text(name).rsplit('/').next().unwrap().to_owned()
}
