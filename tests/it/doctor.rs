//! `keyward doctor`: what is wrong is found, said in plain words and told by the exit code; what is well is not told as wrong.

use crate::harness::process::{ended, keyward};
use crate::harness::{TestServer, ledger, postgres};
use crate::transport::{Authority, Files, until};
use sea_orm::{ConnectionTrait as _, TransactionTrait as _};
use serde_json::Value;
use std::net::TcpListener;
use std::time::Duration;
use tokio::task::spawn_blocking;

/// What a doctor said: its exit code, each finding by what was looked at, and the text.
struct Said {
    code: Option<i32>,
    findings: Vec<[String; 4]>,
}

impl Said {
    /// How severe what was found of `check` is, at worst.
    fn of(&self, check: &str) -> &str {
        let of_check = || self.findings.iter().filter(|[name, ..]| name == check).map(|[_, severity, ..]| &**severity);
        ["PROBLEM", "WARNING", "FINE"]
            .into_iter()
            .find(|wanted| of_check().any(|found| found == *wanted))
            .unwrap_or("-")
    }

    /// That something was found of `check` which says `text`, and how to mend it unless it is well.
    #[track_caller]
    fn says(&self, check: &str, text: &str) -> &Self {
        let found = self.findings.iter().find(|[name, _, said, _]| name == check && said.contains(text));
        let [_, severity, _, remedy] = found.unwrap_or_else(|| panic!("{check}: {text}: {:#?}", self.findings));
        assert!(severity == "FINE" || !remedy.is_empty(), "{found:?}");
        self
    }

    /// That nothing else is wrong, and the exit code says so.
    #[track_caller]
    fn wrong(&self, checks: &[&str]) -> &Self {
        let wrong = self.findings.iter().filter(|[_, severity, ..]| severity == "PROBLEM");
        let wrong: Vec<&str> = wrong.map(|[name, ..]| &**name).collect();
        assert_eq!(wrong, checks, "{:#?}", self.findings);
        assert_eq!(self.code, Some(i32::from(!checks.is_empty())));
        self
    }
}

async fn doctor(server: &str, key: &str, more: &[&str]) -> Said {
    let mut command = keyward();
    command.args(["doctor", "-o", "json", "--timeout", "20s", "--server", server]).args(more).env("KEYWARD_KEY", key);
    let (code, printed, said) = spawn_blocking(|| ended(command)).await.unwrap();
    assert_eq!(said, "", "all of it is an answer");
    let answer: Value = serde_json::from_str(&printed).unwrap_or_else(|error| panic!("{error}: {printed}"));
    let texts = |finding: &Value| {
        let text = |name: &str| finding[name].as_str().unwrap_or_default().replace("FINDING_SEVERITY_", "");
        [text("check"), text("severity"), text("description"), text("remedy")]
    };
    let findings = answer["findings"].as_array().unwrap().iter().map(texts).collect();
    Said { code, findings }
}

#[tokio::test]
async fn a_server_with_which_nothing_is_wrong() {
    let server = TestServer::start().await;
    let said = doctor(&server.admin_addr(), &server.root, &[]).await;
    said.wrong(&[]).says("mail", "not sent").says("replicas", "one process");
    for check in ["reach", "lease", "lag", "barrier", "replicas", "database", "clock", "events", "signing"] {
        assert_eq!(said.of(check), "FINE", "{check}");
    }
    for listener in ["data", "admin", "ops"] {
        assert_eq!(said.of(&format!("listener.{listener}")), "FINE", "{listener}");
        assert_eq!(said.of(&format!("certificate.{listener}")), "-", "there is none to look at");
    }
    let quiet = doctor(&server.admin_addr(), &server.root, &["--quiet"]).await;
    assert_eq!(quiet.findings.len(), 1, "the mail alone: {:?}", quiet.findings);

    // For people, what is worst stands last.
    let mut command = keyward();
    command.args(["doctor", "--server", &server.admin_addr()]).env("KEYWARD_KEY", &server.root);
    let (code, printed, _) = spawn_blocking(|| ended(command)).await.unwrap();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(code, Some(0), "{printed}");
    assert!(lines[0].starts_with("ok       "), "{printed}");
    let [warning, remedy, end] = lines[lines.len() - 3..] else { panic!("{printed}") };
    assert!(warning.starts_with("warning  mail: ") && remedy.contains("-> give --smtp-url"), "{printed}");
    assert_eq!(end, "nothing is wrong; warnings: 1");
}

#[tokio::test]
async fn whoever_cannot_look_is_told_why() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let address = server.admin_addr();
    doctor(&address, "", &[]).await.wrong(&["caller"]).says("caller", "UNAUTHENTICATED");
    doctor(&address, "kw_nothing", &[]).await.wrong(&["caller"]);
    doctor(&address, &acme.made.master_credential, &[]).await.wrong(&["caller"]).says("caller", "PERMISSION_DENIED");
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    doctor(&free, &server.root, &[]).await.wrong(&["server"]).says("server", "cannot reach");
    // A listener of another kind: what it says makes no sense, and that is said.
    assert_eq!(doctor(&server.ops_addr(), &server.root, &[]).await.code, Some(1));

    let mut command = keyward();
    command.args(["doctor", "--no-such-flag"]);
    assert_eq!(spawn_blocking(|| ended(command)).await.unwrap().0, Some(2));
}

#[tokio::test]
async fn listeners_mail_and_certificates_are_looked_at() {
    let (authority, files) = (Authority::new("ours"), Files::new());
    files.put_issued("data", &authority.issue_for(&["127.0.0.1"], Duration::from_secs(3 * 86_400 + 3600)));
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = TestServer::start_with(|args| {
        files.serve_data(args, "data", None);
        args.data_addr = Some("0.0.0.0:0".to_owned());
        args.check_auth = Some("none".to_owned());
        args.ops_addr = Some("0.0.0.0:0".to_owned());
        args.smtp_url = Some(format!("smtp://{closed}?tls=none").into());
    })
    .await;
    let said = doctor(&server.admin_addr(), &server.root, &[]).await;
    said.wrong(&["listener.data"]).says("listener.data", "whoever reaches 0.0.0.0:");
    said.says("listener.ops", "may read the metrics").says("certificate.data", "expires in 3 days");
    assert_eq!([said.of("listener.ops"), said.of("certificate.data"), said.of("mail")], ["WARNING", "WARNING", "FINE"]);

    // A certificate that is put in its place is the one that is looked at.
    files.put_issued("data", &authority.issue(&["127.0.0.1"]));
    until("the new certificate is seen", async || {
        doctor(&server.admin_addr(), &server.root, &[]).await.of("certificate.data") == "FINE"
    })
    .await;

    // Mail that nobody takes.
    let acme = server.tenant("acme").await;
    let application = keyward::proto::v1::Application::default();
    let request = keyward::proto::v1::CreateApplicationRequest {
        parent: acme.name.clone(),
        application: Some(application),
        ..Default::default()
    };
    acme.owner.applications().create_application(request).await.unwrap();
    until("the failure is seen", async || {
        let said = doctor(&server.admin_addr(), &server.root, &[]).await;
        said.of("mail") == "PROBLEM" && said.says("mail", "could not be sent").code == Some(1)
    })
    .await;
}

#[tokio::test]
async fn the_database_its_clock_and_other_replicas_are_looked_at() {
    let daemon = postgres::start(&["full_page_writes=off"]);
    let url = postgres::database_on(&daemon).await;
    let server_on = async |url: &str| {
        TestServer::start_with(|args| {
            args.database_url = Some(url.to_owned().into());
            args.lease = Some("1s".to_owned());
        })
        .await
    };
    let server = server_on(&url).await;
    let alone = doctor(&server.admin_addr(), &server.root, &[]).await;
    alone.wrong(&[]).says("database", "full_page_writes is off").says("replicas", "there is one");
    assert_eq!([alone.of("database"), alone.of("replicas"), alone.of("signing")], ["WARNING"; 3]);
    assert_eq!(alone.of("servers"), "-");

    let second = server_on(&url).await;
    let both = doctor(&server.admin_addr(), &server.root, &[]).await;
    both.wrong(&[]).says("replicas", "2 share the database").says("servers", &second.admin_addr());
    doctor(&second.admin_addr(), &server.root, &[]).await.wrong(&[]).says("servers", &server.admin_addr());

    // One hangs, and one is not there.
    let hangs = TcpListener::bind("127.0.0.1:0").unwrap();
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let database = sea_orm::Database::connect(&url).await.unwrap();
    for (number, address) in [&hangs, &gone].map(|listener| listener.local_addr().unwrap()).iter().enumerate() {
        let insert = format!(
            "INSERT INTO replica (id, state, address, applied, lease_ms, reader) VALUES \
             ('10000000-0000-4000-8000-00000000000{number}', 'active', '{address}', 1000000, 1000, 1)"
        );
        database.execute_unprepared(&insert).await.unwrap();
    }
    drop(gone);
    let said = doctor(&server.admin_addr(), &server.root, &[]).await;
    said.wrong(&["servers"]).says("servers", "takes connections and does not answer");
    said.says("servers", "could not be asked").says("servers", &second.admin_addr());
    database.execute_unprepared("DELETE FROM replica WHERE id LIKE '10000000-%'").await.unwrap();

    // Somebody holds what every mutation needs.
    let holding = database.begin().await.unwrap();
    holding.execute_unprepared("SELECT * FROM ledger_head FOR UPDATE").await.unwrap();
    let said = doctor(&server.admin_addr(), &server.root, &[]).await;
    said.wrong(&["mutations"]).says("mutations", "cannot be carried out");
    holding.rollback().await.unwrap();
    doctor(&server.admin_addr(), &server.root, &[]).await.wrong(&[]).says("mutations", "can be carried out");

    // One that is shut out and does not go for long.
    let insert = "INSERT INTO replica (id, state, address, applied, lease_ms, reader) VALUES \
        ('00000000-0000-4000-8000-000000000001', 'fencing', '10.9.8.7:1', 1, 300000, 1)";
    database.execute_unprepared(insert).await.unwrap();
    database.close().await.unwrap();
    let said = doctor(&server.admin_addr(), &server.root, &[]).await;
    said.wrong(&["replicas"]).says("replicas", "10.9.8.7:1 is shut out");

    // This one's clock is set wrong: the other's is not.
    server.pass(60);
    let said = doctor(&server.admin_addr(), &server.root, &[]).await;
    said.wrong(&["replicas", "clock"]).says("clock", "differs from the database's by 60");
    said.says("clock", "from that of this machine");
    doctor(&second.admin_addr(), &server.root, &[]).await.wrong(&["replicas"]);
}

#[tokio::test]
async fn an_audit_log_that_was_edited_is_seen() {
    let server = TestServer::start().await;
    server.tenant("acme").await;
    let edited = "UPDATE audit_event SET actor = 'root' WHERE revision = (SELECT MAX(revision) FROM audit_event)";
    assert_eq!(ledger::execute(&server.database(), edited).await, 1);
    doctor(&server.admin_addr(), &server.root, &[]).await.wrong(&[]);
    let edited = "UPDATE audit_event SET actor = 'nobody' WHERE revision = (SELECT MAX(revision) FROM audit_event)";
    assert_eq!(ledger::execute(&server.database(), edited).await, 1);
    let said = doctor(&server.admin_addr(), &server.root, &[]).await;
    said.wrong(&["events"]).says("events", "was edited");
}
