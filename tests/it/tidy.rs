//! What each room's sources may not hold: the fences that neither visibility nor a lint can put up.

use std::fs;
use std::path::{Path, PathBuf};

/// A source file of ours.
struct Source {
    /// Below `src/`, such as `grpc/keys.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The room it is in: `grpc` for `grpc.rs` and everything below `grpc/`.
    fn room(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    fn is_one_of(&self, places: &[&str]) -> bool {
        places.iter().any(|place| *place == self.room() || *place == self.path)
    }

    /// The lines of code, numbered; whole-line comments are left out.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let numbered = self.text.lines().enumerate().map(|(number, line)| (number + 1, line.trim()));
        numbered.filter(|(_, line)| !line.starts_with("//"))
    }

    /// Where its code holds one of these words.
    fn holds(&self, words: &[&str]) -> Vec<String> {
        self.code()
            .filter(|(_, line)| words.iter().any(|word| line.contains(word)))
            .map(|(number, line)| format!("src/{}:{number}: {line}", self.path))
            .collect()
    }

    /// What it names of our own crate: `domain` of `crate::domain::key`.
    fn rooms_named(&self) -> Vec<(usize, String)> {
        let mut named = Vec::new();
        for (number, line) in self.code() {
            for part in line.split("crate::").skip(1) {
                let end = part.find(|c: char| !c.is_ascii_lowercase() && c != '_').unwrap_or(part.len());
                named.push((number, part.split_at(end).0.to_owned()));
            }
        }
        named
    }

    /// The crates and rooms that it imports: `serde` of `use serde::Serialize`.
    fn imports(&self) -> Vec<(usize, String)> {
        let imported = |line: &str| {
            let path = line.strip_prefix("pub ").unwrap_or(line).strip_prefix("use ")?;
            let end = path.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(path.len());
            Some(path.split_at(end).0.to_owned())
        };
        self.code().filter_map(|(number, line)| Some((number, imported(line)?))).collect()
    }
}

fn sources() -> Vec<Source> {
    fn visit(folder: &Path, root: &Path, found: &mut Vec<Source>) {
        let mut paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                visit(&path, root, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source { path: path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text });
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    visit(&root, &root, &mut found);
    assert!(found.len() > 50, "the sources are not where they were");
    found
}

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

#[track_caller]
fn none(offences: Vec<String>, rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n{}", offences.join("\n"));
}

/// Offences against "only these places may hold such words".
fn outside(sources: &[Source], places: &[&str], words: &[&str]) -> Vec<String> {
    sources.iter().filter(|source| !source.is_one_of(places)).flat_map(|source| source.holds(words)).collect()
}

const WAITING: &[&str] =
    &[".await", "async fn", "async move", "async {", "async |", "tokio", "std::fs", "std::net::Tcp"];

#[test]
fn nothing_in_the_hot_room_waits_or_touches_the_disk() {
    let offences = sources().iter().filter(|source| source.room() == "check").flat_map(|s| s.holds(WAITING)).collect();
    none(offences, "`check` answers from memory");
}

#[test]
fn only_the_rooms_at_the_wire_speak_grpc() {
    // `telemetry` sends OTLP by gRPC and names the option and the log target for it, nothing more.
    let places = ["grpc", "server", "cli", "client", "proto", "main", "telemetry"];
    none(outside(&sources(), &places, &["tonic"]), "only `grpc`, `server`, `cli`, `client` and `proto` know tonic");
    let words = ["tonic::Status", "tonic::Request", "tonic::Response"];
    none(outside(&sources(), &["grpc", "server", "cli", "client"], &words), "only the wire handles gRPC messages");
}

#[test]
fn only_the_store_speaks_to_the_database() {
    // `telemetry` names them as log targets, to keep statements out of the log.
    none(outside(&sources(), &["store", "telemetry"], &["sea_orm", "sqlx"]), "only `store` knows SeaORM");
    none(outside(&sources(), &["store"], &["use sea_orm", "use sqlx", "sea_orm::Db"]), "only `store` knows SeaORM");
}

#[test]
fn only_the_clock_reads_the_wall_clock() {
    let words = ["SystemTime::now", "now_utc(", "Utc::now"];
    none(outside(&sources(), &["clock.rs"], &words), "time is taken from `Clock`");
    // The ids of requests in traces and of the process are told apart by it; nothing is decided by it.
    let places = ["grpc/observe.rs", "telemetry"];
    none(outside(&sources(), &places, &["now_v7"]), "ids are made of the time of `Clock`");
}

#[test]
fn only_the_configuration_reads_the_environment() {
    // `cli/secret.rs`: clap has no option without an argument, and secrets stay out of arguments. `fuzz.rs`: how much the
    // tests try.
    let words = ["env::var", "env::vars", "env::args"];
    none(outside(&sources(), &["config", "cli/secret.rs", "fuzz.rs"], &words), "only `config` reads the environment");
}

/// Small and pure: values, encodings, hashes, signatures that are verified. `rand` for its traits, the generator being
/// given; `aws_lc_rs`, `proptest` and `regex` in tests.
const PURE_CRATES: &[&str] = &[
    "aws_lc_rs",
    "base64",
    "crc32fast",
    "ipnet",
    "jsonwebtoken",
    "proptest",
    "rand",
    "regex",
    "serde",
    "serde_json",
    "sha2",
    "subtle",
    "time",
    "unicode_normalization",
    "uuid",
    "zeroize",
];

fn impure(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources.iter().filter(|source| source.room() == "domain") {
        offences.extend(source.holds(WAITING));
        offences.extend(source.holds(&["Instant::now", "rand::rng()", "rand::random", "thread_rng"]));
        let is_ours = |name: &str| matches!(name, "std" | "core" | "crate" | "super" | "self");
        let imports = source.imports().into_iter().filter(|(_, name)| !is_ours(name));
        let strange = imports.filter(|(_, name)| !PURE_CRATES.contains(&name.as_str()));
        offences.extend(strange.map(|(number, name)| format!("src/{}:{number}: {name}", source.path)));
    }
    offences
}

#[test]
fn the_rules_are_pure() {
    none(impure(&sources()), "`domain` takes no clock, no randomness and nothing but small pure crates");
}

/// Which rooms a room may name, itself apart: the arrows of the map in `src/lib.rs`.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("clock", &["domain"]),
    ("config", &["domain", "error"]),
    ("domain", &["error"]),
    ("proto", &[]),
    ("check", &["clock", "domain", "error"]),
    ("store", &["clock", "domain", "error"]),
    ("replica", &["check", "clock", "domain", "error", "store"]),
    ("keyring", &["check", "clock", "domain", "error", "store"]),
    ("desk", &["check", "clock", "domain", "error", "keyring", "replica", "store"]),
    ("mail", &["clock", "config", "domain", "error", "store", "telemetry"]),
    ("telemetry", &["config", "domain", "error"]),
    // `config` and `store` in tests, and `store` for the request ids that a conversion reads.
    ("grpc", &["check", "clock", "config", "desk", "domain", "error", "proto", "replica", "store", "telemetry"]),
    // `domain` for the form of credentials alone, which scanners are told; `server` for what reads a database itself.
    ("cli", &["clock", "domain", "proto", "server"]),
    ("client", &["proto"]),
];

fn against_the_arrows(sources: &[Source]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let Some((room, may_name)) = ARROWS.iter().find(|(room, _)| *room == source.room()) else { continue };
        let strange = source.rooms_named().into_iter().filter(|(_, name)| {
            // A macro or an item of the crate's root is no room.
            let is_room = ARROWS.iter().any(|(known, _)| known == name) || name == "server";
            is_room && name != room && !may_name.contains(&name.as_str())
        });
        offences.extend(strange.map(|(number, name)| format!("src/{}:{number}: {name}", source.path)));
    }
    offences
}

#[test]
fn a_room_names_only_the_rooms_that_its_arrows_lead_to() {
    none(against_the_arrows(&sources()), "the map in `src/lib.rs` has no such arrow");
}

/// A file longer than this is looked at hard.
const LONG: usize = 400;

/// Files that are longer all the same, and how long they may be at most. May only ever shrink.
const ALLOWED_LONG: &[(&str, usize)] = &[("desk/keys.rs", 490), ("grpc/observe/tests.rs", 460)];

fn too_long(sources: &[Source], allowed: &[(&str, usize)]) -> Vec<String> {
    let mut offences = Vec::new();
    for source in sources {
        let count = source.text.lines().count();
        let limit = allowed.iter().find(|(path, _)| *path == source.path).map(|(_, limit)| *limit);
        if count > limit.unwrap_or(LONG) {
            offences.push(format!("src/{} has {count} lines of at most {}", source.path, limit.unwrap_or(LONG)));
        } else if limit.is_some() && count <= LONG {
            offences.push(format!("src/{} has {count} lines and needs no exception any more", source.path));
        }
    }
    let is_there = |path: &str| sources.iter().any(|source| source.path == path);
    offences.extend(
        allowed.iter().filter(|(path, _)| !is_there(path)).map(|(path, _)| format!("src/{path} is not there any more")),
    );
    offences
}

#[test]
fn no_file_grows_long_unseen() {
    none(too_long(&sources(), ALLOWED_LONG), "split it, or say here why not");
}

#[test]
fn the_fences_hold_against_what_they_are_there_for() {
    let hot = source("check/index.rs", "// .await is fine in a comment\nlet row = find(key).await;\n");
    assert_eq!(hot.holds(WAITING), ["src/check/index.rs:2: let row = find(key).await;"]);

    let wire = [source("desk/keys.rs", "use tonic::Status;"), source("grpc/keys.rs", "use tonic::Status;")];
    assert_eq!(outside(&wire, &["grpc"], &["tonic"]), ["src/desk/keys.rs:1: use tonic::Status;"]);

    let rules = [source("domain/key.rs", "pub use tokio::sync::watch;\nuse std::fmt;\nlet id = rand::random();")];
    let expected = [
        "src/domain/key.rs:1: pub use tokio::sync::watch;",
        "src/domain/key.rs:3: let id = rand::random();",
        "src/domain/key.rs:1: tokio",
    ];
    assert_eq!(impure(&rules), expected);

    let backwards =
        [source("store/read.rs", "use crate::desk::Desk;\nuse crate::{domain, error};\ncrate::error::Error")];
    assert_eq!(against_the_arrows(&backwards), ["src/store/read.rs:1: desk"]);

    let long = [source("a.rs", &"x\n".repeat(LONG + 1)), source("b.rs", "x\n")];
    let offences = too_long(&long, &[("b.rs", 500), ("c.rs", 500)]);
    assert_eq!(offences.len(), 3, "{offences:?}");
    assert_eq!(too_long(&long, &[("a.rs", LONG + 1)]), [""; 0]);
}
