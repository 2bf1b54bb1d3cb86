//! How many mails may be asked for, and what becomes of those whose tenant or user is gone.

use super::{NAME, reader, tried, update, verify};
use crate::harness::process::Process;
use crate::harness::smtp::{Mood, Sink};
use crate::harness::{Client, DAY, TestServer, send};
use keyward::clock::Clock;
use keyward::domain::mail::{DAILY_MAILS_OF_TENANT, DAILY_MAILS_TO_ONE};
use keyward::proto::v1::*;
use keyward::store::Store;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// How long a refusal says to wait, in whole seconds, rounded up.
fn wait<T: std::fmt::Debug>(result: Result<T, Status>) -> u64 {
    let status = result.expect_err("was to be refused");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let delay = status.get_error_details().retry_info().unwrap().retry_delay.unwrap();
    delay.as_secs() + u64::from(delay.subsec_nanos() > 0)
}

async fn resend(client: &Client) -> Result<ResendVerificationResponse, Status> {
    send!(client.applications(), resend_verification, ResendVerificationRequest { name: NAME })
}

/// Moves the clock to the beginning of a day.
fn next_day(server: &TestServer) {
    let micros_of_day = server.clock.now().micros().rem_euclid(DAY as i64 * 1_000_000);
    let left = u64::try_from(DAY as i64 * 1_000_000 - micros_of_day).unwrap();
    server.clock.advance(Duration::from_micros(left));
}

fn to(contact: &str) -> Application {
    Application { contact_email: contact.to_owned(), ..reader() }
}

#[tokio::test]
async fn an_application_is_mailed_about_once_a_minute_whoever_asks() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    tried(&acme.owner, "billing", reader()).await.unwrap();
    let mail = server.mailed(NAME, 1).await.pop().unwrap();
    let before = server.revision().await;
    let contact =
        |email: &str| Application { name: NAME.to_owned(), contact_email: email.to_owned(), ..Default::default() };
    server.pass(20);
    for client in [&acme.owner, &server.root()] {
        assert!((20..=40).contains(&wait(resend(client).await)));
        assert!((20..=40).contains(&wait(update(client, contact("stranger@example.com"), &[]).await)));
    }
    // What was refused has changed nothing: neither the contact nor the token.
    assert_eq!(server.revision().await, before);
    let named = Application { name: NAME.to_owned(), display_name: "Billing".to_owned(), ..Default::default() };
    assert_eq!(update(&acme.owner, named, &[]).await.unwrap().contact_email, mail.to);
    server.pass(40);
    update(&acme.owner, contact("bo@example.com"), &[]).await.unwrap();
    wait(resend(&acme.owner).await);
    wait(update(&acme.owner, contact("other@example.com"), &[]).await);
    server.pass(60);
    resend(&acme.owner).await.unwrap();
    let mails = server.mailed(NAME, 3).await;
    assert_eq!(
        mails.iter().map(|mail| mail.to.as_str()).collect::<Vec<_>>(),
        [&mail.to, "bo@example.com", "bo@example.com"]
    );
    // Neither does verifying it in between let another be sent.
    verify(&server, NAME, &mails[2].token).await.unwrap();
    wait(update(&acme.owner, contact("other@example.com"), &[]).await);
}

#[tokio::test]
async fn one_address_is_mailed_so_often_a_day_by_all_tenants_together() {
    let mut server = TestServer::start().await;
    next_day(&server);
    let acme = server.tenant("acme").await;
    for number in 0..DAILY_MAILS_TO_ONE {
        let contact = if number % 2 == 0 { "bo@example.com" } else { "BO@Example.com" };
        tried(&acme.owner, &format!("a{number}"), to(contact)).await.unwrap();
    }
    server.restart().await;
    let owner = server.bearer(&acme.made.master_credential);
    let other = server.tenant("other").await;
    for client in [&owner, &server.root()] {
        assert!(wait(tried(client, "one-more", to("bo@example.com")).await) > DAY - 600);
    }
    let parent = || "tenants/other".to_owned();
    let request =
        CreateApplicationRequest { parent: parent(), application: Some(to("Bo@example.com")), ..Default::default() };
    wait(other.owner.applications().create_application(request).await);
    // Others are mailed, and what was refused counts for nothing.
    tried(&owner, "one-more", to("eve@example.com")).await.unwrap();
    next_day(&server);
    tried(&owner, "next-day", to("bo@example.com")).await.unwrap();
}

#[tokio::test]
async fn a_tenant_causes_so_many_mails_a_day() {
    let server = TestServer::start().await;
    next_day(&server);
    let acme = server.tenant("acme").await;
    for number in 0..DAILY_MAILS_OF_TENANT {
        tried(&acme.owner, &format!("a{number}"), to(&format!("bo{number}@example.com"))).await.unwrap();
    }
    let before = server.revision().await;
    for client in [&acme.owner, &server.root()] {
        assert!(wait(tried(client, "one-more", to("eve@example.com")).await) > DAY - 600);
    }
    assert_eq!(server.revision().await, before);
    server.pass(60);
    let moved = Application { name: "tenants/acme/applications/a0".to_owned(), ..to("eve@example.com") };
    wait(update(&acme.owner, moved.clone(), &[]).await);
    // Another tenant may still.
    let other = server.tenant("other").await;
    let request = CreateApplicationRequest {
        parent: other.name.clone(),
        application: Some(to("eve@example.com")),
        ..Default::default()
    };
    other.owner.applications().create_application(request).await.unwrap();
    next_day(&server);
    update(&acme.owner, moved, &[]).await.unwrap();
}

/// A server that can mail nobody yet, with mail queued about applications of two users, and about one of another tenant.
async fn queued(sink: &Sink, folder: &std::path::Path) -> (Process, Client) {
    sink.behave(Mood::Later);
    let process = Process::start(&folder.join("keyward.db"), &["--smtp-url", sink.url.as_str()]);
    let root = std::fs::read_to_string(folder.join("root.key")).unwrap();
    let root = Client::at(process.admin(), root.trim_end());
    for tenant in ["acme", "acme2"] {
        let owner = Some(User { email: format!("owner@{tenant}.example"), ..User::default() });
        let request = CreateTenantRequest { tenant_id: tenant.to_owned(), owner, ..Default::default() };
        root.tenants().create_tenant(request).await.unwrap();
    }
    let user = Some(User { email: "bo@acme.example".to_owned(), ..User::default() });
    let request =
        CreateUserRequest { parent: "tenants/acme".to_owned(), user, user_id: "bo".to_owned(), ..Default::default() };
    root.users().create_user(request).await.unwrap();
    for (parent, id) in [("tenants/acme", "mine"), ("tenants/acme/users/bo", "his"), ("tenants/acme2", "theirs")] {
        let request = CreateApplicationRequest {
            parent: parent.to_owned(),
            application_id: id.to_owned(),
            application: Some(reader()),
            ..Default::default()
        };
        root.applications().create_application(request).await.unwrap();
    }
    (process, root)
}

/// Whom a server mails that is started on a database again.
async fn mailed_at_last(sink: &Sink, folder: &std::path::Path, process: Process, count: usize) -> Vec<String> {
    assert!(process.terminate().0.success());
    let store =
        Store::open(&format!("sqlite:{}", folder.join("keyward.db").display()), Clock::default()).await.unwrap();
    assert_eq!(store.mail_count().await.unwrap(), count as u64);
    store.close().await.unwrap();
    sink.behave(Mood::Accept);
    // Those that failed before are tried again after some seconds.
    let process = Process::start(&folder.join("keyward.db"), &["--smtp-url", sink.url.as_str()]);
    sink.until(|sink| sink.accepted().len() == count).await;
    assert!(process.terminate().0.success());
    let to = |mail: &String| mail.lines().find_map(|line| line.strip_prefix("To: ")).unwrap().to_owned();
    let mut all: Vec<String> = sink.accepted().iter().map(to).collect();
    all.sort();
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_user_takes_its_queued_mail_along() {
    let (sink, folder) = (Sink::start(&[]).await, tempfile::tempdir().unwrap());
    let (process, root) = queued(&sink, folder.path()).await;
    send!(root.users(), delete_user, DeleteUserRequest { name: "tenants/acme/users/bo" }).unwrap();
    assert_eq!(mailed_at_last(&sink, folder.path(), process, 2).await, ["owner@acme.example", "owner@acme2.example"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deleted_tenant_takes_its_queued_mail_along() {
    let (sink, folder) = (Sink::start(&[]).await, tempfile::tempdir().unwrap());
    let (process, root) = queued(&sink, folder.path()).await;
    send!(root.tenants(), delete_tenant, DeleteTenantRequest { name: "tenants/acme" }).unwrap();
    assert_eq!(mailed_at_last(&sink, folder.path(), process, 1).await, ["owner@acme2.example"]);
}
