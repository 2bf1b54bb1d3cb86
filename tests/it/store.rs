//! What the store promises, on SQLite: contiguous revisions, whole mutations, one server a file, and no tampering.

use crate::harness::process::{Process, ended, serve};
use crate::harness::{Client, TestServer, ledger, refused};
use keyward::clock::Clock;
use keyward::proto::v1::*;
use keyward::store::Store;
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use tonic::Code;

/// Lets a call and the server run for so many turns, and then drops the call: a client that goes away.
async fn go_away<F: Future>(call: F, turns: u32) -> Option<F::Output> {
    let mut call = pin!(call);
    for _ in 0..=turns {
        let turn = poll_fn(|context| match call.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Poll::Ready(None),
        });
        if let Some(output) = turn.await {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

#[tokio::test]
async fn mutations_at_the_same_time_have_revisions_without_a_gap() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let first = acme.made.revision;
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(acme.owner.key("tenants/-").tried())).collect();
    let mut revisions = BTreeSet::new();
    for task in tasks {
        revisions.insert(task.await.unwrap().unwrap().revision);
    }
    assert!(revisions.iter().copied().eq(first + 1..=first + 64), "{revisions:?}");
    server.stop().await;
    let audited = ledger::audit(&server.database()).await;
    assert_eq!(audited.events.len() as i64, first + 64);
    let store = Store::open(&format!("sqlite:{}", server.database().display()), Clock::default()).await.unwrap();
    for (revisions, changes) in [(i64::MAX, 1_000_000), (i64::MAX, 10), (i64::MAX, 0), (5, 1_000_000), (0, 0)] {
        assert_eq!(store.verify(revisions, changes).await.unwrap().revision, first + 64, "{revisions} {changes}");
    }
    store.close().await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_cuts_no_mutation_in_two_and_takes_no_connection_along() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let revoked = acme.owner.key("tenants/-").issued().await;
    let mut gone = 0;
    for turns in (0..24).chain((5..12).map(|power| 1 << power)) {
        for attempt in 0..3 {
            let new = acme.owner.key("tenants/-").id(&format!("gone-{turns}-{attempt}"));
            gone += u32::from(go_away(new.tried(), turns).await.is_none());
        }
        // The pool has one writing connection: if it were lost or dirty, this would hang or vanish.
        acme.owner.key("tenants/-").issued().await;
    }
    assert!(gone > 30, "only {gone} clients went away");
    let name = revoked.key.unwrap().name;
    acme.owner.keys().revoke_key(RevokeKeyRequest { name, ..Default::default() }).await.unwrap();
    server.check(&revoked.credential).denied(&[Reason::Revoked]).await;
    server.stop().await;
    let audited = ledger::audit(&server.database()).await;
    // The tenant's two, the revoked one and those of the clients that stayed, at least.
    assert!(audited.keys >= 3 + 31, "{}", audited.keys);
    println!("store: {gone} clients went away, {} keys are there, all of them whole", audited.keys);
    assert_eq!(audited.events.values().filter(|(kind, _)| kind == "key.revoke").count(), 1);
}

#[tokio::test]
async fn a_second_server_on_the_same_file_is_refused_and_the_first_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let first = Process::start(&database, &[]);
    let root = std::fs::read_to_string(folder.path().join("root.key")).unwrap();
    let (code, printed, said) = ended(serve(&database));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&database.display().to_string()), "{said}");
    assert!(said.contains("in use by another keyward server"), "{said}");
    assert_eq!(printed, "");
    // Without the file's usual name it is the same file, whatever its path looks like.
    let (code, _, said) = ended(serve(&folder.path().join(".").join("keyward.db")));
    assert_eq!(code, Some(1), "{said}");
    let request = CreateTenantRequest { tenant_id: "acme".to_owned(), ..Default::default() };
    Client::at(first.admin(), root.trim_end()).tenants().create_tenant(request).await.unwrap();
    assert!(first.terminate().0.success());
    Process::start(&database, &[]).kill();
}

#[tokio::test]
async fn a_second_server_by_a_symbolic_link_is_refused_too() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let first = Process::start(&database, &[]);
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&database, &link).unwrap();
    let (code, _, said) = ended(serve(&link));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("in use by another keyward server"), "{said}");
    first.kill();
}

/// Starts a tenant with some history, stops, has somebody write to the file, and starts again: what the start says.
async fn start_after(tamper: &'static str) -> String {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    acme.owner.key("tenants/-").id("one").issued().await;
    let name = "tenants/acme/keys/one".to_owned();
    acme.owner.keys().revoke_key(RevokeKeyRequest { name, ..Default::default() }).await.unwrap();
    server.stop().await;
    assert_eq!(ledger::execute(&server.database(), tamper).await, 1, "{tamper}");
    let (code, printed, said) = ended(serve(&server.database()));
    assert_eq!(code, Some(1), "{tamper}: {said}");
    assert_eq!(printed, "", "{tamper}");
    said
}

#[tokio::test]
async fn a_history_that_was_tampered_with_is_refused_at_the_start() {
    let cases = [
        ("UPDATE audit_event SET actor = 'nobody' WHERE revision = 4", "breaks at revision 4"),
        ("UPDATE audit_event SET detail = '{}' WHERE revision = 3", "breaks at revision 3"),
        ("UPDATE audit_event SET source_ip = '192.0.2.1' WHERE revision = 5", "breaks at revision 5"),
        ("DELETE FROM audit_event WHERE revision = 4", "breaks at revision 5"),
        ("DELETE FROM audit_event WHERE revision = 5", "gap after revision 4"),
        ("DELETE FROM ledger_change WHERE rev = 5", "breaks at revision 5"),
        ("UPDATE ledger_change SET payload = replace(payload, 'false', 'true') WHERE rev = 4", "breaks at revision 4"),
        ("UPDATE ledger_head SET rev = 4", "changed its history"),
        ("UPDATE ledger_head SET chain = zeroblob(32)", "changed its history"),
    ];
    for (tamper, said) in cases {
        let text = start_after(tamper).await;
        assert!(text.contains(said), "{tamper}: {text}");
    }
}

#[tokio::test]
async fn a_ledger_that_goes_back_or_forks_under_a_running_server_is_not_followed() {
    for tamper in [
        "UPDATE ledger_head SET rev = rev - 1",
        "UPDATE ledger_head SET chain = zeroblob(32)",
        "UPDATE ledger_head SET rev = rev + 1",
    ] {
        let server = TestServer::start().await;
        let acme = server.tenant("acme").await;
        let credential = acme.made.master_credential.clone();
        server.check(&credential).allowed().await;
        assert_eq!(ledger::execute(&server.database(), tamper).await, 1);
        let unavailable = async {
            loop {
                match server.check(&credential).tried().await {
                    Ok(_) => tokio::time::sleep(std::time::Duration::from_millis(20)).await,
                    Err(status) => return status,
                }
            }
        };
        let status = tokio::time::timeout(std::time::Duration::from_secs(20), unavailable).await.expect(tamper);
        assert_eq!(status.code(), Code::Unavailable, "{tamper}: {status}");
        // Nobody is told that a mutation on it is done, either.
        refused(acme.owner.key("tenants/-").tried().await, Code::Unavailable);
    }
}

#[tokio::test]
async fn a_mutation_whose_event_vanishes_is_never_acknowledged() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let swallow = "CREATE TRIGGER swallow BEFORE INSERT ON audit_event BEGIN SELECT RAISE(IGNORE); END";
    ledger::execute(&server.database(), swallow).await;
    assert!(acme.owner.key("tenants/-").tried().await.is_err());
    let status = server.check(&acme.made.master_credential).tried().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}
