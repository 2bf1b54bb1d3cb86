//! The command line as people and scripts use it, against a server process of its own.

use crate::harness::process::{Process, keyward};
use serde_json::Value;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;

/// A terminal beside a server that holds the tenant `acme`.
struct Terminal {
    server: Process,
    dir: TempDir,
    root: String,
    /// The master credential of acme's owner.
    owner: String,
    /// Each `command --flag` that was used.
    used: RefCell<BTreeSet<String>>,
}

/// A command in the making.
struct Line<'a> {
    terminal: &'a Terminal,
    words: Vec<String>,
    variables: Vec<(&'static str, String)>,
    stdin: String,
}

/// What became of a command.
#[derive(Debug)]
struct Done {
    line: String,
    code: i32,
    out: String,
    err: String,
}

impl Terminal {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let server = Process::start(&dir.path().join("keyward.db"), &[]);
        let root = std::fs::read_to_string(dir.path().join("root.key")).unwrap().trim().to_owned();
        let mut terminal = Self { server, dir, root, owner: String::new(), used: RefCell::default() };
        let made = terminal.as_root("tenants create acme --owner-email ana@acme.example").json();
        terminal.owner = text(&made["masterCredential"]);
        terminal
    }

    /// A command by nobody; its words are parted by single spaces.
    fn line(&self, words: &str) -> Line<'_> {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let server = if words[0] == "check" { &self.server.data_addr } else { &self.server.admin_addr };
        Line { terminal: self, words, variables: vec![("KEYWARD_SERVER", server.clone())], stdin: String::new() }
    }

    fn as_root(&self, words: &str) -> Line<'_> {
        self.line(words).variable("KEYWARD_KEY", &self.root)
    }

    fn as_owner(&self, words: &str) -> Line<'_> {
        self.line(words).variable("KEYWARD_KEY", &self.owner)
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    /// A key of the owner's that may read `doc/*`: its credential.
    fn key(&self, id: &str) -> String {
        text(&self.as_owner(&format!("keys create {id} --grant doc/*=read")).json()["credential"])
    }

    /// The commands there are, each with the flags of its own; read from the help.
    fn commands(&self, path: &str, found: &mut BTreeSet<String>) {
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
            "check" | "descriptors" => 1,
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
    fn word(mut self, word: impl Into<String>) -> Self {
        self.words.push(word.into());
        self
    }

    fn variable(mut self, name: &'static str, value: &str) -> Self {
        self.variables.push((name, value.to_owned()));
        self
    }

    fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    fn run(self) -> Done {
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
    fn ok(self) -> Done {
        self.exits(0)
    }

    #[track_caller]
    fn exits(self, code: i32) -> Done {
        let done = self.run();
        assert_eq!(done.code, code, "{done:?}");
        done
    }

    /// Its answer with `-o json`.
    #[track_caller]
    fn json(self) -> Value {
        let done = self.word("-o").word("json").ok();
        serde_json::from_str(&done.out).unwrap_or_else(|error| panic!("{error}: {done:?}"))
    }
}

impl Done {
    #[track_caller]
    fn says(&self, part: &str) -> &Self {
        assert!(self.out.contains(part) || self.err.contains(part), "{part:?} is not in {self:?}");
        self
    }
}

#[track_caller]
fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}

const UUID: &str = "6f1c2f0e-3b9d-4c6e-9b1a-7f0d5a4e2c11";

#[test]
fn every_command_does_its_work_with_every_flag() {
    let terminal = Terminal::new();
    let t = &terminal;
    walk_tenants(t);
    walk_users(t);
    walk_keys(t);
    walk_secrets(t);
    walk_reading(t);
    walk_tenant_life(t);

    let mut all = BTreeSet::new();
    t.commands("", &mut all);
    let is_ours = |name: &&String| {
        let command = name.split(' ').next().unwrap();
        !matches!(command, "serve" | "root") && !name.ends_with(" --help") && !name.starts_with(' ')
    };
    let used = t.used.borrow();
    let unused: Vec<&String> = all.iter().filter(is_ours).filter(|name| !used.contains(*name)).collect();
    assert!(all.len() > 100, "the help was not understood: {all:?}");
    assert!(unused.is_empty(), "never used: {unused:?}");
}

fn walk_tenants(t: &Terminal) {
    let made = t.as_root("tenants create bolt --display-name Bolt --credential-prefix bo --owner-given-name Bea");
    let made = made.word("--owner-family-name").word("Bolt").word("--request-id").word(UUID).json();
    assert_eq!(made["tenant"]["displayName"], "Bolt");
    assert_eq!(made["owner"]["familyName"], "Bolt");
    assert!(made["owner"].get("email").is_none(), "{made}");
    assert!(text(&made["masterCredential"]).starts_with("bo_"));
    let again = t.as_root("tenants create bolt --display-name Bolt --credential-prefix bo --owner-given-name Bea");
    let again = again.word("--owner-family-name").word("Bolt").word("--request-id").word(UUID).ok();
    again.says("was shown the first time this request id was used");

    let etag = text(&t.as_root("tenants get bolt").json()["tenant"]["etag"]);
    let updated = t.as_root("tenants update bolt --display-name Bolts").word("--etag").word(&etag).json();
    assert_eq!(updated["tenant"]["displayName"], "Bolts");
    t.as_root("tenants get bolt --etag").word(&etag).exits(1).says("ABORTED");
    let named = |line: Line<'_>| -> Vec<String> {
        line.json()["tenants"].as_array().unwrap().iter().map(|tenant| text(&tenant["name"])).collect()
    };
    assert_eq!(named(t.as_root("tenants list --page-size 1")), ["tenants/acme", "tenants/bolt"]);
    assert_eq!(named(t.as_root("tenants list --limit 1")), ["tenants/acme"]);
    let filter = "display_name = \"Bolts\"";
    assert_eq!(named(t.as_root("tenants list --filter").word(filter)), ["tenants/bolt"]);
    assert_eq!(named(t.as_owner("tenants list")), ["tenants/acme"], "one's own and no other");
}

fn walk_tenant_life(t: &Terminal) {
    let etag = || text(&t.as_root("tenants get bolt").json()["tenant"]["etag"]);
    t.as_root("tenants suspend bolt --etag").word(etag()).ok().says("SUSPENDED");
    t.as_root("tenants activate bolt --etag").word(etag()).ok().says("ACTIVE");
    t.as_root("tenants delete bolt --etag").word(etag()).ok().says("DELETED");
    let count = |words: &str| t.as_root(words).json()["tenants"].as_array().unwrap().len();
    assert_eq!((count("tenants list"), count("tenants list --show-deleted")), (1, 2));
}

fn walk_users(t: &Terminal) {
    let line = "users create ben --email ben@acme.example --given-name Ben --family-name Bay --role admin --request-id";
    let made = t.as_owner(line).word(UUID).json();
    assert_eq!(made["user"]["role"], "USER_ROLE_ADMIN");
    assert_eq!(made["masterKey"]["owner"], "tenants/acme/users/ben");
    let nameless = t.as_owner("users create cleo").ok();
    nameless.says("MEMBER").says("master credential (shown once): kw_");
    t.as_owner("users list").ok().says("cleo");

    let user = || t.as_owner("users get ben").json()["user"].clone();
    let etag = || text(&user()["etag"]);
    let line = "users update ben --email b@acme.example --given-name B --family-name= --role member --etag";
    let updated = t.as_owner(line).word(etag()).json();
    assert_eq!(updated["user"]["email"], "b@acme.example");
    assert!(updated["user"].get("familyName").is_none());
    t.as_owner("users get ben --etag").word(etag()).ok().says("b@acme.example");
    let rotated = t.as_owner("users rotate-master-key ben --etag").word(etag());
    let rotated = rotated.word("--request-id").word("0b0f6f0e-93c5-4a51-a9f5-0f7a3d1f9a10").json();
    assert_ne!(rotated["masterCredential"], made["masterCredential"]);
    let old = text(&made["masterCredential"]);
    t.line("check").variable("KEYWARD_CREDENTIAL", &old).exits(1).says("ROTATED_OUT");
    t.as_owner("users suspend ben --etag").word(etag()).ok().says("SUSPENDED");
    t.as_owner("users activate ben --etag").word(etag()).ok().says("ACTIVE");
    t.as_owner("users delete ben --etag").word(etag()).ok().says("DELETED");
    let count = |line: Line<'_>| line.json()["users"].as_array().unwrap().len();
    assert_eq!(count(t.as_owner("users list --page-size 1")), 2);
    assert_eq!(count(t.as_owner("users list --show-deleted")), 3);
    assert_eq!(count(t.as_owner("users list --limit 1")), 1);
    assert_eq!(count(t.as_owner("users list --filter").word("role = USER_ROLE_OWNER")), 1);
}

fn walk_keys(t: &Terminal) {
    let made = t
        .as_owner("keys create all --owner cleo --display-name All --ttl 30d --not-before 2020-01-01T00:00:00Z")
        .word("--description")
        .word("everything at once")
        .word("--request-id")
        .word("2b1c1bd5-5a27-4b73-86a3-9f2d7a1c3e10");
    let grants = "--grant doc/*=read,write --grant-api maps --grant-table public.roads=select --grant-schema public \
                  --grant-dataservice geocoding --allow-ip 192.0.2.0/24 --allow-referrer *.example.com/* --label a=b";
    let made = grants.split_whitespace().fold(made, Line::word).json();
    let key = &made["key"];
    assert_eq!(key["owner"], "tenants/acme/users/cleo");
    assert_eq!(key["description"], "everything at once");
    assert_eq!(key["grants"].as_array().unwrap().len(), 4);
    assert_eq!(key["labels"]["a"], "b");
    assert_eq!(key["allowedIps"][0], "192.0.2.0/24");
    assert_eq!(key["allowedReferrers"][0], "*.example.com/*");

    let credential = t.file("all.txt", &text(&made["credential"])).display().to_string();
    let check = || {
        let line = t.line("check --resource doc/1 --action write --resource apis/maps --action use --credential-file");
        line.word(&credential).word("--min-revision").word(text(&made["revision"]))
    };
    let fits = "--source-ip 192.0.2.7 --referrer https://www.example.com/a --attribute path=/a --audience maps";
    let allowed = fits.split(' ').fold(check(), Line::word).word("--tenant").word("acme").ok();
    allowed.says("ALLOWED").says("tenants/acme/keys/all").says("a=b");
    check().exits(1).says("IP_NOT_ALLOWED, REFERRER_NOT_ALLOWED");

    let etag = || text(&t.as_owner("keys get all").json()["key"]["etag"]);
    t.as_owner("keys get all --etag").word(etag()).ok().says("table public.roads: select");
    let cleared = "keys update all --clear-expire-time --clear-not-before --clear-allowed-ips --clear-allowed-referrers \
                   --clear-labels --clear-grants --etag";
    let cleared = t.as_owner(cleared).word(etag()).json();
    for field in ["expireTime", "notBeforeTime", "allowedIps", "allowedReferrers", "labels", "grants"] {
        assert!(cleared["key"].get(field).is_none(), "{field}: {cleared}");
    }
    let line = "keys update all --display-name Some --description less --expire-time 2100-01-01T00:00:00Z --not-before \
                2020-01-01T00:00:00Z --allow-ip 192.0.2.1 --allow-referrer example.com --label c=d --grant doc/1=read \
                --grant-api sql --grant-table public.tolls=insert --grant-schema x=create --grant-dataservice routing";
    let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
    let updated = t.as_owner(&line).json();
    assert_eq!(updated["key"]["expireTime"], "2100-01-01T00:00:00Z");
    assert_eq!(updated["key"]["grants"].as_array().unwrap().len(), 4);

    let line = t.as_owner("keys create late --parent users/cleo --expire-time 2100-01-01T00:00:00Z");
    assert_eq!(line.json()["key"]["expireTime"], "2100-01-01T00:00:00Z");
    let ids = |line: Line<'_>| -> Vec<String> {
        line.json()["keys"].as_array().unwrap().iter().map(|key| id_of(&key["name"])).collect()
    };
    assert_eq!(ids(t.as_owner("keys list --owner cleo --filter").word("type = KEY_TYPE_REGULAR")), ["all", "late"]);
    assert_eq!(ids(t.as_owner("keys list --parent users/cleo --page-size 1 --limit 2")).len(), 2);
    t.as_owner("keys delete late --etag").word(text(&t.as_owner("keys get late").json()["key"]["etag"])).ok();
    assert!(!ids(t.as_owner("keys list")).contains(&"late".to_owned()));
    assert!(ids(t.as_owner("keys list --show-deleted")).contains(&"late".to_owned()));
    let etag = text(&t.as_owner("keys get late").json()["key"]["etag"]);
    t.as_owner("keys undelete late --etag").word(etag).ok().says("ACTIVE");
}

fn id_of(name: &Value) -> String {
    text(name).rsplit('/').next().unwrap().to_owned()
}

fn walk_secrets(t: &Terminal) {
    let first = t.key("ci");
    let key = || t.as_owner("keys get ci").json()["key"].clone();
    let etag = || text(&key()["etag"]);
    let is_good = |credential: &str| t.line("check").variable("KEYWARD_CREDENTIAL", credential).run().code == 0;

    let rotated = t.as_owner("keys rotate ci --overlap 1h --etag").word(etag());
    let second = text(&rotated.word("--request-id").word("b21f4f5e-06cd-44c5-9a3f-d11f0be2f2a1").json()["credential"]);
    assert!(is_good(&first) && is_good(&second));
    t.as_owner("keys finish-rotation ci --etag").word(etag()).ok();
    assert!(!is_good(&first) && is_good(&second));

    t.as_owner("keys suspend ci --etag").word(etag()).ok().says("SUSPENDED");
    assert!(!is_good(&second));
    t.as_owner("keys activate ci --etag").word(etag()).ok().says("ACTIVE");
    assert!(is_good(&second));

    let secret = text(&t.as_owner("keys generate-secret-key ci --etag").word(etag()).json()["secretKey"]);
    t.line("check").variable("KEYWARD_CREDENTIAL", &second).exits(1).says("SECRET_KEY_REQUIRED");
    let path = t.file("second.txt", &format!("{secret}\n"));
    let line = t.line("check --credential-secret-key-file").word(path.display().to_string());
    line.variable("KEYWARD_CREDENTIAL", &second).ok();

    let found = t.as_owner("keys lookup --credential-file -").stdin(&first).json();
    assert_eq!(found["key"]["name"], "tenants/acme/keys/ci");
    t.as_owner("keys lookup --credential-file -").stdin("kw_unknown").exits(1).says("NOT_FOUND");

    let revoked = t.as_owner("keys revoke ci --reason key-compromise --etag").word(etag()).json();
    assert_eq!(revoked["key"]["revocationReason"], "REVOCATION_REASON_KEY_COMPROMISE");
    assert!(!is_good(&second));
    t.as_owner("keys activate ci").exits(1).says("FAILED_PRECONDITION").says("revocation is final");

    let leaked = t.key("leaked");
    let path = t.file("leaked.txt", &format!("{leaked}\n"));
    let line = t.line("keys revoke-credentials --reason superseded --file").word(path.display().to_string());
    line.ok().says("handed in  1");
    assert!(!is_good(&leaked));
}

fn walk_reading(t: &Terminal) {
    let events = |line: Line<'_>| line.json()["events"].as_array().unwrap().clone();
    let revoked = events(t.as_owner("events list --filter").word("kind = \"key.revoke\""));
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0]["subject"], "tenants/acme/keys/ci");
    assert_eq!(events(t.as_root("events list --all-tenants --limit 3 --page-size 2")).len(), 3);
    t.as_owner("events list").ok().says("KIND").says("credential.revoke");
    t.as_owner("events list --all-tenants").exits(1).says("\n  parent: must be of the form");

    let path = t.dir.path().join("keyward.binpb");
    t.line("descriptors --out").word(path.display().to_string()).ok();
    assert_eq!(std::fs::read(path).unwrap(), keyward::proto::FILE_DESCRIPTOR_SET);
}

#[test]
fn a_check_tells_its_answer_by_the_exit_code() {
    let t = Terminal::new();
    let credential = t.key("ci");
    let check = |words: &str| t.line(words).variable("KEYWARD_CREDENTIAL", &credential);
    check("check").ok().says("ALLOWED");
    check("check --resource doc/1 --action read").ok();
    check("check --resource doc/1 --action write").exits(1).says("NOT_GRANTED").says("write on doc/1");
    t.line("check").variable("KEYWARD_CREDENTIAL", "nothing of ours").exits(1).says("NOT_FOUND");
    t.line("check").variable("KEYWARD_CREDENTIAL", "").exits(1).says("MISSING");

    // Whatever stands in the way of an answer is neither yes nor no.
    t.line("check").exits(2).says("no credential");
    check("check --resource doc/1").exits(2).says("--resource and --action come in pairs: 1 and 0 were given");
    check("check --no-such-flag").exits(2);
    check("check --min-revision -1").exits(2);
    check("check --tenant").word("").exits(2);
    check("check --tenant nobody").exits(2).says("NOT_FOUND");
    check("check --server nowhere").exits(2).says("must be HOST:PORT");
    check("check --server https://127.0.0.1:1").exits(2).says("TLS is not built yet");
    t.line("check --credential-file").word("/nonexistent/file").exits(2).says("cannot read");
    check("check --min-revision 9000000 --timeout 1s").exits(2);
}

#[test]
fn a_server_that_cannot_be_reached_or_does_not_answer_decides_nothing() {
    let t = Terminal::new();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for (address, says) in [(free, "cannot reach"), (silent.local_addr().unwrap(), "--timeout")] {
        let server = address.to_string();
        let with = |words: &str| t.line(words).word("--timeout").word("1s").word("--server").word(&server);
        with("check").variable("KEYWARD_CREDENTIAL", &t.owner).exits(2).says(says);
        with("keys list").variable("KEYWARD_KEY", &t.owner).exits(3).says(says);
    }
}

#[test]
fn the_other_commands_tell_what_went_wrong_by_the_exit_code() {
    let t = Terminal::new();
    t.as_owner("keys get nothing").exits(1).says("error: tenants/acme/keys/nothing not found (NOT_FOUND");
    t.line("keys list").exits(1).says("UNAUTHENTICATED").says("no key was given");
    t.as_owner("tenants create other").exits(1).says("PERMISSION_DENIED");
    t.as_owner("keys").exits(2);
    t.as_owner("keys get").exits(2);
    t.as_owner("keys update ci").exits(2).says("nothing to change");
    t.as_owner("keys create --ttl soon").exits(2).says("must be a number with a unit");
    t.as_owner("keys list --limit many").exits(2);
    t.as_owner("keys create --owner ana --parent users/ana").exits(2);
    t.as_owner("keys list --key-file /nonexistent/file").exits(2).says("cannot read /nonexistent/file");
}

#[test]
fn a_refused_field_is_named_with_its_rule() {
    let t = Terminal::new();
    let done = t.as_owner("keys create ci --grant doc/**/x=read --allow-ip nowhere").exits(1);
    done.says("INVALID_ARGUMENT");
    assert!(done.err.lines().any(|line| line.starts_with("  key.grants[0].resources.resource: ")), "{done:?}");
    assert!(done.err.lines().any(|line| line.starts_with("  key.allowed_ips[0]: ")), "{done:?}");
    assert_eq!(done.out, "");
    t.as_owner("keys list --filter").word("colour = \"red\"").exits(1).says("\n  filter: ");
}

#[test]
fn a_secret_comes_from_a_file_standard_input_or_the_environment() {
    let t = Terminal::new();
    let credential = t.key("ci");
    for ending in ["", "\n", "\r\n"] {
        let path = t.file("credential", &format!("{credential}{ending}")).display().to_string();
        t.line("check --credential-file").word(path).ok();
        for stdin in ["-", "/dev/stdin"] {
            t.line("check --credential-file").word(stdin).stdin(&format!("{credential}{ending}")).ok();
        }
    }
    // One line end and nothing else: what is presented is compared exactly.
    for changed in [format!("{credential}\n\n"), format!(" {credential}"), format!("{credential} \n")] {
        t.line("check --credential-file -").stdin(&changed).exits(1);
    }
    // A file goes before the environment.
    t.line("check --credential-file -").stdin(&credential).variable("KEYWARD_CREDENTIAL", "other").ok();

    let owner = t.file("owner.key", &format!("{}\n", t.owner)).display().to_string();
    t.line("keys list --key-file").word(&owner).ok();
    t.line("keys list --key-file -").stdin(&t.owner).ok();
    t.line("keys list --key-file").word(&owner).variable("KEYWARD_KEY", "other").ok();
    t.line("keys list --key").word(&t.owner).ok();
    t.line("keys lookup --key-file - --credential-file -").stdin(&t.owner).exits(2).says("one thing only");

    // The caller's own second secret, too.
    let made = t.as_owner("users create ben --role admin").json();
    let (name, ben) = (text(&made["masterKey"]["name"]), text(&made["masterCredential"]));
    let secret = text(&t.as_owner("keys generate-secret-key").word(name).json()["secretKey"]);
    t.line("keys list").variable("KEYWARD_KEY", &ben).exits(1).says("SECRET_KEY_REQUIRED");
    t.line("keys list").variable("KEYWARD_KEY", &ben).variable("KEYWARD_SECRET_KEY", &secret).ok();
    t.line("keys list --secret-key-file -").variable("KEYWARD_KEY", &ben).stdin(&format!("{secret}\n")).ok();
    let check = t.line("check").variable("KEYWARD_CREDENTIAL", &ben);
    check.variable("KEYWARD_CREDENTIAL_SECRET_KEY", &secret).ok();
}

#[test]
fn help_never_shows_a_secret_of_the_environment() {
    let t = Terminal::new();
    for words in ["--help", "keys list --help", "serve --help", "check --help"] {
        let line = t.as_owner(words).variable("KEYWARD_CREDENTIAL", &t.root).variable("KEYWARD_SECRET_KEY", &t.root);
        let done = line.variable("KEYWARD_DATABASE_URL", "postgres://u:secret@db/x").ok();
        assert!(!done.out.contains(&t.owner) && !done.out.contains(&t.root), "{words}");
        assert!(!done.out.contains("u:secret"), "{words}");
    }
}

#[test]
fn people_read_a_table_and_programs_read_json() {
    let t = Terminal::new();
    t.key("ci");
    let table = t.as_owner("keys list --filter").word("type = KEY_TYPE_REGULAR").ok().out;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["KEY", "DISPLAY", "NAME"]);
    assert_eq!(rows[1][..4], ["ci", "-", "REGULAR", "ACTIVE"]);
    assert_eq!(rows.len(), 2);

    let keys = t.as_owner("keys list --filter").word("type = KEY_TYPE_REGULAR").json();
    assert_eq!(keys["keys"][0]["name"], "tenants/acme/keys/ci");
    assert_eq!(keys["keys"][0]["grants"][0]["resources"]["resource"], "doc/*");
    let key = t.as_owner("keys get ci").json();
    assert_eq!(key["key"], keys["keys"][0]);
    t.as_owner("keys get ci").ok().says("doc/*: read");

    let nothing = t.as_owner("keys list --filter").word("display_name = \"x\"").ok();
    assert_eq!((nothing.out.as_str(), nothing.err.as_str()), ("", "no keys\n"));
    let nothing = t.as_owner("keys list -o json --filter").word("display_name = \"x\"").ok();
    assert_eq!(serde_json::from_str::<Value>(&nothing.out).unwrap(), serde_json::json!({ "keys": [] }));
    let denied = t.line("check -o json").variable("KEYWARD_CREDENTIAL", "x").exits(1);
    assert_eq!(serde_json::from_str::<Value>(&denied.out).unwrap()["reasons"][0], "REASON_NOT_FOUND");
}

#[test]
fn a_name_may_be_bare_or_full() {
    let t = Terminal::new();
    let credential = t.key("ci");
    for name in ["ci", "keys/ci", "tenants/acme/keys/ci", "tenants/-/keys/ci"] {
        assert_eq!(t.as_owner("keys get").word(name).json()["key"]["name"], "tenants/acme/keys/ci");
    }
    for refused in ["users/ci", "acme/keys/ci", "/ci", ""] {
        t.as_owner("keys get").word(refused).exits(2).says("is no name here");
    }
    for tenant in ["acme", "tenants/acme"] {
        t.as_root("keys get ci --tenant").word(tenant).ok();
        t.as_root("keys get ci").variable("KEYWARD_TENANT", tenant).ok();
        t.line("check --tenant").word(tenant).variable("KEYWARD_CREDENTIAL", &credential).ok();
        assert_eq!(t.as_root("tenants get").word(tenant).json()["tenant"]["name"], "tenants/acme");
    }
    assert_eq!(t.as_owner("tenants get").json()["tenant"]["name"], "tenants/acme", "one's own by default");
    t.as_root("keys get ci").exits(1).says("root has none of its own");
    t.as_root("tenants create bolt").ok();
    t.line("check --tenant bolt").variable("KEYWARD_CREDENTIAL", &credential).exits(1).says("NOT_FOUND");
    t.as_owner("keys list --tenant bolt").exits(1).says("NOT_FOUND");
}

#[test]
fn lists_are_fetched_page_by_page() {
    let t = Terminal::new();
    for number in 0..5 {
        t.key(&format!("k{number}"));
    }
    let names = |words: &str| -> Vec<String> {
        t.as_owner(words).json()["keys"].as_array().unwrap().iter().map(|key| id_of(&key["name"])).collect()
    };
    let all = names("keys list");
    assert_eq!(all.len(), 7, "five, the master key and the default public key");
    for size in [1, 2, 3, 7, 1000] {
        assert_eq!(names(&format!("keys list --page-size {size}")), all, "{size} at a time");
    }
    assert_eq!(names("keys list --page-size 2 --limit 3"), all[..3]);
    t.as_owner("keys list --limit 3").ok().says("there are more than --limit 3");
    assert_eq!(t.as_owner("keys list --limit 7").ok().err, "");
    t.as_owner("keys list --page-size 0").exits(2);
    t.as_owner("keys list --page-size 1001").exits(2);
}

#[test]
fn leaked_credentials_are_revoked_in_as_many_batches_as_it_takes() {
    let t = Terminal::new();
    let credentials = ["first", "middle", "last"].map(|id| t.key(id));
    let spared = t.key("spared");
    let mut lines: Vec<String> = (0..2_500).map(|number| format!("kw_unknown{number}")).collect();
    lines[0].clone_from(&credentials[0]);
    lines[1_200].clone_from(&credentials[1]);
    lines[2_499].clone_from(&credentials[2]);
    lines.insert(7, String::new());
    lines.insert(8, "x".repeat(9_000));
    let path = t.file("leaked.txt", &lines.join("\r\n")).display().to_string();
    let done = t.line("keys revoke-credentials --reason key-compromise --file").word(path).ok();
    done.says("handed in  2500").says("line 9 is skipped");
    for credential in &credentials {
        t.line("check --credential-file -").stdin(credential).exits(1).says("REVOKED");
        assert!(!done.out.contains(credential) && !done.err.contains(credential));
    }
    t.line("check --credential-file -").stdin(&spared).ok();
    // Once more is harmless, by standard input too.
    t.line("keys revoke-credentials --file -").stdin(&lines.join("\n")).ok();
}

#[test]
fn a_socket_is_an_address_too() {
    let t = Terminal::new();
    let folder = TempDir::new().unwrap();
    let place = |name: &str| format!("unix:{}", folder.path().join(name).display());
    let mut server = keyward()
        .args(["serve", "--log-format", "json", "--ops-addr", "127.0.0.1:0"])
        .args(["--data-addr", &place("data.sock"), "--admin-addr", &place("admin.sock")])
        .args(["--database-url", &format!("sqlite:{}", folder.path().join("keyward.db").display())])
        .arg("--root-key-file")
        .arg(folder.path().join("root.key"))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = BufReader::new(server.stderr.take().unwrap()).lines();
    let is_serving = log.any(|line| line.unwrap().contains("\"message\":\"serving\""));
    let key = folder.path().join("root.key").display().to_string();
    let check = t.line("check --credential-file").word(&key).word("--server").word(place("data.sock")).run();
    let list = t.line("tenants list --key-file").word(&key).word("--server").word(place("admin.sock")).run();
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(is_serving);
    assert_eq!((check.code, list.code), (0, 0), "{check:?} {list:?}");
}
