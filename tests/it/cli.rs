//! The command line as people and scripts use it, against a server process of its own.

mod import;
mod people;
mod terminal;
mod walk;

use crate::harness::process::{Process, keyward};
use serde_json::Value;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::Stdio;
use tempfile::TempDir;
use terminal::{Terminal, id_of, text};

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
    check("check --server https://127.0.0.1:1 --tls-ca-file /nowhere").exits(2).says("--tls-ca-file");
    check("check --server https://127.0.0.1:1 --tls-cert-file /nowhere").exits(2).says("--tls-key-file");
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
    assert_eq!(done.err.matches("key.allowed_ips[0]").count(), 1, "{done:?}");
    assert_eq!(done.err.lines().count(), 3, "{done:?}");
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
    for words in ["--help", "keys list --help", "serve --help", "check --help", "users passwd --help"] {
        let line = t.as_owner(words).variable("KEYWARD_CREDENTIAL", &t.root).variable("KEYWARD_SECRET_KEY", &t.root);
        let line = line.variable("KEYWARD_PASSWORD", &t.root).variable("KEYWARD_NEW_PASSWORD", &t.root);
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

/// A server whose admin listener is where it was before.
fn serve_at(dir: &std::path::Path) -> Process {
    let mut command = keyward();
    command.args(["serve", "--log-format", "json", "--data-addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0"]);
    command.arg("--database-url").arg(format!("sqlite:{}", dir.join("keyward.db").display()));
    command.arg("--admin-addr").arg(format!("unix:{}", dir.join("admin.sock").display()));
    command.arg("--root-key-file").arg(dir.join("root.key"));
    Process::launch(command)
}

#[test]
fn a_watch_goes_on_after_the_server_was_restarted() {
    let dir = TempDir::new().unwrap();
    let server = serve_at(dir.path());
    let client = |words: &str| {
        let mut command = keyward();
        command
            .args(words.split(' '))
            .env("KEYWARD_SERVER", format!("unix:{}", dir.path().join("admin.sock").display()));
        command.arg("--key-file").arg(dir.path().join("root.key"));
        command
    };
    let create = |tenant: &str| {
        let made = client(&format!("tenants create {tenant} --owner-email a@{tenant}.example")).output().unwrap();
        assert!(made.status.success(), "{made:?}");
    };
    create("acme");
    let mut watching = client("events watch --all-tenants -o json");
    let mut watching = watching.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut revisions = Vec::new();
    let mut read_until = |subject: &str, revisions: &mut Vec<i64>| {
        loop {
            let event: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
            revisions.push(text(&event["revision"]).parse().unwrap());
            if event["subject"] == subject {
                return;
            }
        }
    };
    read_until("tenants/acme", &mut revisions);
    let (status, ..) = server.terminate();
    assert!(status.success());
    let server = serve_at(dir.path());
    create("beta");
    read_until("tenants/beta", &mut revisions);
    assert!(revisions.iter().copied().eq(1..=revisions.len() as i64), "{revisions:?}");
    watching.kill().unwrap();
    let said = watching.wait_with_output().unwrap();
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("goes on after revision") && said.contains("watching again"), "{said}");
    server.kill();
}
