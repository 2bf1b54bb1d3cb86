//! Starts that are refused, each in words that name the setting, the file and what is wrong with it, before anything is
//! bound; and a crash, which leaves nothing behind.

use crate::harness::process::{Process, ended, keyward, limited, serve};
use crate::harness::{Client, postgres, resources};
use crate::transport::{Authority, Files};
use keyward::proto::v1::*;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

/// A server that may not start: its listeners are taken already, and so whoever tries to bind one says that instead.
struct Refused {
    taken: [TcpListener; 3],
}

impl Refused {
    fn new() -> Self {
        Self { taken: [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap()) }
    }

    fn command(&self, database: &str) -> Command {
        let mut command = keyward();
        command.args(["serve", "--database-url", database]);
        for (flag, taken) in ["--data-addr", "--admin-addr", "--ops-addr"].into_iter().zip(&self.taken) {
            command.arg(flag).arg(taken.local_addr().unwrap().to_string());
        }
        command
    }

    /// It ends with an error that says all of `words`, and has bound nothing.
    #[track_caller]
    fn check(&self, command: Command, words: &[&str]) {
        let (code, printed, said) = ended(command);
        assert_eq!((code, printed.as_str()), (Some(1), ""), "{said}");
        let last = said.lines().last().unwrap();
        assert!(last.starts_with("keyward: "), "{said}");
        assert!(words.iter().all(|word| last.contains(word)), "{words:?} not in {last}");
        assert!(!said.contains("cannot listen"), "{said}");
    }
}

#[test]
fn files_of_tls_that_cannot_be_used_are_refused_by_name_before_anything_is_bound() {
    let authority = Authority::new("ours");
    let files = Files::new();
    files.put_issued("good", &authority.issue(&["127.0.0.1"]));
    files.put_issued("other", &authority.issue(&["127.0.0.1"]));
    files.put_issued("old", &authority.issue_expired(&["127.0.0.1"]));
    files.put("ca.pem", &authority.pem());
    files.put("text", "not in PEM");
    std::fs::create_dir(files.path("folder")).unwrap();
    let refused = Refused::new();
    let none: Option<&str> = None;
    for (cert, key, ca, part, of, rule) in [
        ("none", "good.key", none, "cert", "none", "cannot be read"),
        ("folder", "good.key", none, "cert", "folder", "cannot be read"),
        ("text", "good.key", none, "cert", "text", "holds no certificate in PEM"),
        ("good.key", "good.key", none, "cert", "good.key", "holds no certificate in PEM"),
        ("good.pem", "none", none, "key", "none", "cannot be read"),
        ("good.pem", "folder", none, "key", "folder", "cannot be read"),
        ("good.pem", "good.pem", none, "key", "good.pem", "holds no private key in PEM"),
        ("good.pem", "other.key", none, "cert", "good.pem", "does not go with the key in"),
        ("old.pem", "old.key", none, "cert", "old.pem", "has expired"),
        ("good.pem", "good.key", Some("none"), "client-ca", "none", "cannot be read"),
        ("good.pem", "good.key", Some("text"), "client-ca", "text", "holds no certificate in PEM"),
    ] {
        for listener in ["data", "admin", "ops"] {
            let mut command = refused.command(&format!("sqlite:{}", files.path("k.db").display()));
            let flag = |part: &str| format!("--{listener}-tls-{part}-file");
            command.arg(flag("cert")).arg(files.path(cert)).arg(flag("key")).arg(files.path(key));
            if let Some(ca) = ca {
                command.arg(flag("client-ca")).arg(files.path(ca));
            }
            refused.check(command, &[&flag(part), &files.path(of).display().to_string(), rule]);
        }
    }
    assert!(!files.path("k.db").exists(), "files come before the database");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_key_file_that_cannot_be_used_is_refused_on_every_engine() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let whole = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    file("open", whole, 0o644);
    file("short", "AAAA", 0o600);
    file("text", "no base64", 0o600);
    let sqlite = format!("sqlite:{}", folder.path().join("k.db").display());
    let refused = Refused::new();
    for url in [sqlite, postgres::database().await] {
        for (name, rule) in [
            ("none", "is not there; make one with"),
            ("open", "has mode 0644, so that others can read it"),
            ("short", "does not hold 32 bytes in base64"),
            ("text", "does not hold 32 bytes in base64"),
        ] {
            let mut command = refused.command(&url);
            command.arg("--root-key-file").arg(folder.path().join("root.key"));
            let path = folder.path().join(name);
            command.arg("--master-key-file").arg(&path);
            refused.check(command, &[&path.display().to_string(), rule]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_no_core_and_no_secret_behind() {
    const PASSWORD: &str = "canary-of-a-mail-server";
    const SIGN_IN: &str = "canary of somebody who signs in";
    let folder = tempfile::tempdir().unwrap();
    let mut command = serve(&folder.path().join("keyward.db"));
    command.arg("--root-key-file").arg(folder.path().join("root.key")).args(["--log", "debug"]);
    command.env("KEYWARD_SMTP_URL", format!("smtps://kay:{PASSWORD}@127.0.0.1:1"));
    // Where it may leave a core, as large as it likes.
    let mut command = limited(&command, "-c unlimited");
    command.current_dir(folder.path());
    let server = Process::launch(command);
    let root = std::fs::read_to_string(folder.path().join("root.key")).unwrap().trim().to_owned();
    let client = Client::at(server.admin(), &root);
    let owner = User { email: "ana@acme.example".to_owned(), ..User::default() };
    let request = CreateTenantRequest { tenant_id: "acme".into(), owner: Some(owner), ..Default::default() };
    let acme = client.tenants().create_tenant(request).await.unwrap().into_inner();
    let key = Client::at(server.admin(), &acme.master_credential)
        .key("tenants/-")
        .grant(resources("doc/*", &["read"]))
        .issued()
        .await;
    let wrong =
        CreateSessionRequest { email: "ana@acme.example".into(), password: SIGN_IN.into(), ..Default::default() };
    client.tokens().create_session(wrong).await.unwrap_err();
    let check = CheckRequest { credential: key.credential.clone(), ..CheckRequest::default() };
    let answer = client.through(&server.data()).checks().check(check).await.unwrap().into_inner();
    assert_eq!(answer.decision(), Decision::Allowed);

    let (status, printed, log) = server.crash();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
    for secret in [PASSWORD, SIGN_IN, &root, &acme.master_credential, &key.credential] {
        assert!(!printed.contains(secret) && !log.contains(secret), "{secret} was written");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    let is_core = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("core");
    assert_eq!(left.iter().find(is_core), None);
    let refused = log.lines().filter(|line| line.contains("a caller was refused")).collect::<Vec<_>>();
    assert_eq!(refused.len(), 1, "{log}");
    assert!(refused[0].contains("127.0.0.1") && refused[0].contains("TokenService/CreateSession"), "{refused:?}");
}
