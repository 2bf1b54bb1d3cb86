//! The mailed token: who gets it, how often it works, and what it tells.

use super::{NAME, reader, tried, update, verified, verify};
use crate::harness::process::Process;
use crate::harness::smtp::{Mood, Sink};
use crate::harness::{Client, DAY, TestServer, refused, send};
use keyward::proto::v1::*;
use tonic::Code;

#[tokio::test]
async fn an_application_is_verified_by_the_token_that_was_mailed_and_gets_its_secret_once() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = tried(&acme.owner, "billing", reader()).await.unwrap().application.unwrap();
    assert_eq!((made.name.as_str(), made.is_verified, made.is_revoked), (NAME, false, false));
    assert_eq!((made.owner.as_str(), made.contact_email.as_str()), (acme.owner_name.as_str(), "owner@acme.example"));
    let mail = server.mailed(NAME, 1).await.pop().unwrap();
    assert_eq!((mail.to.as_str(), mail.token.len()), ("owner@acme.example", 43));

    // A wrong one consumes nothing, and says nothing of what is there.
    let mut texts = Vec::new();
    let elsewhere = "tenants/acme/applications/nobody";
    for (name, token) in [
        (NAME, "wrong"),
        (NAME, ""),
        (elsewhere, mail.token.as_str()),
        ("tenants/-/applications/billing", &mail.token),
        ("tenants/other/applications/billing", &mail.token),
        ("tenants/acme/keys/billing", &mail.token),
        ("", &mail.token),
    ] {
        texts.push(refused(verify(&server, name, token).await, Code::Unauthenticated).message);
    }
    assert!(texts.iter().all(|text| *text == texts[0]), "{texts:?}");

    server.restart().await;
    let done = verify(&server, NAME, &mail.token).await.unwrap();
    let application = done.application.unwrap();
    assert!(application.is_verified && done.secret.starts_with("kw_") && done.revision > 0);
    let answer = server.check(&done.secret).may("doc/1", "read").allowed().await;
    assert_eq!(answer.principal.unwrap().application, NAME);
    server.check(&done.secret).may("doc/1", "write").denied(&[Reason::NotGranted]).await;
    // Whoever has it may know that it was used; it gives nothing any more.
    refused(verify(&server, NAME, &mail.token).await, Code::FailedPrecondition);
    refused(verify(&server, NAME, "wrong").await, Code::Unauthenticated);
    let owner = server.bearer(&acme.made.master_credential);
    refused(
        send!(owner.applications(), resend_verification, ResendVerificationRequest { name: NAME }),
        Code::FailedPrecondition,
    );
    server.pass(DAY);
    refused(verify(&server, NAME, &mail.token).await, Code::Unauthenticated);
    server.check(&done.secret).may("doc/1", "read").allowed().await;
}

#[tokio::test]
async fn a_token_lives_a_day_and_a_new_one_voids_it() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    tried(&acme.owner, "billing", reader()).await.unwrap();
    let first = server.mailed(NAME, 1).await.pop().unwrap().token;
    server.pass(60);
    let again =
        send!(acme.owner.applications(), resend_verification, ResendVerificationRequest { name: NAME }).unwrap();
    assert!(!again.application.unwrap().is_verified);
    let mails = server.mailed(NAME, 2).await;
    assert_eq!(mails[0].token, first);
    refused(verify(&server, NAME, &first).await, Code::Unauthenticated);
    server.pass(DAY);
    refused(verify(&server, NAME, &mails[1].token).await, Code::Unauthenticated);
    send!(acme.owner.applications(), resend_verification, ResendVerificationRequest { name: NAME }).unwrap();
    let third = server.mailed(NAME, 3).await.pop().unwrap().token;
    server.pass(DAY - 60);
    verify(&server, NAME, &third).await.unwrap();
}

#[tokio::test]
async fn another_contact_has_to_verify_it_anew() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (_, secret) = verified(&server, &acme, "billing").await;
    let token = super::token(&server, NAME, &secret).await.unwrap();
    let same =
        Application { name: NAME.to_owned(), contact_email: "owner@acme.example".to_owned(), ..Default::default() };
    assert!(update(&acme.owner, same, &["contact_email"]).await.unwrap().is_verified);
    let other =
        Application { name: NAME.to_owned(), contact_email: "bo@acme.example".to_owned(), ..Default::default() };
    server.pass(60);
    let changed = update(&acme.owner, other, &[]).await.unwrap();
    assert!(!changed.is_verified);
    for _ in 0..2 {
        for text in [&secret, &token] {
            server.check(text).may("doc/1", "read").denied(&[Reason::ApplicationNotVerified]).await;
        }
        server.restart().await;
    }
    refused(super::token(&server, NAME, &secret).await, Code::Unauthenticated);
    let mail = server.mailed(NAME, 2).await.pop().unwrap();
    assert_eq!(mail.to, "bo@acme.example");
    let renewed = verify(&server, NAME, &mail.token).await.unwrap().secret;
    server.check(&renewed).may("doc/1", "read").allowed().await;
    for text in [&secret, &token] {
        server.check(text).may("doc/1", "read").denied(&[Reason::RotatedOut]).await;
    }
    // An empty contact is the owner's again.
    server.pass(60);
    let owner = server.bearer(&acme.made.master_credential);
    let none = Application { name: NAME.to_owned(), ..Default::default() };
    assert_eq!(update(&owner, none, &["contact_email"]).await.unwrap().contact_email, "owner@acme.example");
}

#[tokio::test]
async fn a_contact_is_needed_and_must_be_an_address() {
    let server = TestServer::start().await;
    let mut tenants = server.root().tenants();
    let request = CreateTenantRequest { tenant_id: "acme".to_owned(), ..Default::default() };
    let made = tenants.create_tenant(request).await.unwrap().into_inner();
    let owner = server.bearer(&made.master_credential);
    let no_email = refused(tried(&owner, "billing", reader()).await, Code::InvalidArgument);
    assert_eq!(no_email.fields, ["application.contact_email"]);
    // Good enough to sign in with, but no mail would reach it.
    let user = Some(User { email: "ana\u{ff20}acme.example".to_owned(), ..User::default() });
    let request = CreateUserRequest { parent: "tenants/acme".to_owned(), user, ..Default::default() };
    let ana = owner.users().create_user(request).await.unwrap().into_inner();
    let ana = server.bearer(&ana.master_credential);
    let no_mail = refused(tried(&ana, "billing", reader()).await, Code::InvalidArgument);
    assert_eq!(no_mail.fields, ["application.contact_email"]);
    for bad in ["bo", "bo@", "a@b\nBcc: c@d", "ana\u{ff20}acme.example", "a,b@c", "bo@b\u{fc}cher.example", " "] {
        let application = Application { contact_email: bad.to_owned(), ..reader() };
        assert_eq!(
            refused(tried(&owner, "billing", application).await, Code::InvalidArgument).fields,
            ["application.contact_email"]
        );
    }
    // What is kept is what is mailed to.
    let application = Application { contact_email: " bo@acme.example ".to_owned(), ..reader() };
    let made = tried(&owner, "billing", application.clone()).await.unwrap().application.unwrap();
    assert_eq!(made.contact_email, "bo@acme.example");
    for bad in ["ana\u{ff20}acme.example", "a,b@c"] {
        let changed = Application { name: NAME.to_owned(), contact_email: bad.to_owned(), ..Application::default() };
        let refusal = refused(update(&owner, changed, &[]).await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["application.contact_email"]);
    }
    assert_eq!(server.mailed(NAME, 1).await[0].to, "bo@acme.example");
    // What was refused has mailed nobody: the second is about an application of its own.
    refused(tried(&owner, "billing", application.clone()).await, Code::AlreadyExists);
    tried(&owner, "other", application).await.unwrap();
    server.mailed("tenants/acme/applications/other", 1).await;
    assert_eq!(server.mailed(NAME, 1).await.len(), 1);
}

#[tokio::test]
async fn the_right_token_is_told_what_stands_against_it() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let (owner, client) = server.user(&acme, "bo", UserRole::Member).await;
    tried(&client, "billing", reader()).await.unwrap();
    let token = server.mailed(NAME, 1).await.pop().unwrap().token;
    let both = async |code: Code| {
        refused(verify(&server, NAME, &token).await, code);
        refused(verify(&server, NAME, "wrong").await, Code::Unauthenticated);
    };
    send!(client.applications(), revoke_application, RevokeApplicationRequest { name: NAME }).unwrap();
    both(Code::FailedPrecondition).await;
    refused(
        send!(client.applications(), resend_verification, ResendVerificationRequest { name: NAME }),
        Code::FailedPrecondition,
    );
    send!(client.applications(), activate_application, ActivateApplicationRequest { name: NAME }).unwrap();
    send!(acme.owner.users(), suspend_user, SuspendUserRequest { name: &*owner.name }).unwrap();
    both(Code::FailedPrecondition).await;
    send!(acme.owner.users(), activate_user, ActivateUserRequest { name: &*owner.name }).unwrap();
    send!(server.root().tenants(), suspend_tenant, SuspendTenantRequest { name: "tenants/acme" }).unwrap();
    both(Code::FailedPrecondition).await;
    send!(server.root().tenants(), activate_tenant, ActivateTenantRequest { name: "tenants/acme" }).unwrap();
    let stale =
        VerifyApplicationRequest { name: NAME.to_owned(), verification_token: token.clone(), etag: "stale".to_owned() };
    refused(server.nobody().applications().verify_application(stale).await, Code::Aborted);
    verify(&server, NAME, &token).await.unwrap();
    send!(client.applications(), delete_application, DeleteApplicationRequest { name: NAME }).unwrap();
    both(Code::FailedPrecondition).await;
}

#[tokio::test]
async fn whoever_guesses_is_slowed_down() {
    let server = TestServer::start().await;
    server.tenant("acme").await;
    let mut codes = Vec::new();
    for _ in 0..200 {
        codes.push(verify(&server, NAME, "guess").await.unwrap_err().code());
    }
    assert_eq!(codes[0], Code::Unauthenticated);
    assert!(codes.contains(&Code::ResourceExhausted), "{codes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_between_commit_and_mail_still_mails_once() {
    let sink = Sink::start(&[]).await;
    sink.behave(Mood::Silent);
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let more = ["--smtp-url", sink.url.as_str(), "--log", "trace"];
    let process = Process::start(&database, &more);
    let root = std::fs::read_to_string(folder.path().join("root.key")).unwrap();
    let root = Client::at(process.admin(), root.trim_end());
    let owner = Some(User { email: "ana@acme.example".to_owned(), ..User::default() });
    let request = CreateTenantRequest { tenant_id: "acme".to_owned(), owner, ..Default::default() };
    root.tenants().create_tenant(request).await.unwrap();
    tried(&root, "billing", reader()).await.unwrap();
    process.kill();
    sink.behave(Mood::Accept);
    let process = Process::start(&database, &more);
    sink.until(|sink| sink.accepted().len() == 1).await;
    let mail = sink.accepted().pop().unwrap();
    let (_, body) = mail.split_once("\n\n").unwrap();
    let token = body.lines().find(|line| !line.contains([' ', '/'])).unwrap().to_owned();
    let request =
        VerifyApplicationRequest { name: NAME.to_owned(), verification_token: token.clone(), ..Default::default() };
    let nobody = Client::at(process.admin(), "");
    let secret = nobody.applications().verify_application(request).await.unwrap().into_inner().secret;
    let (_, _, log) = process.terminate();
    assert!(!log.contains(&token) && !log.contains(&secret), "a secret is in the log");
    let process = Process::start(&database, &more);
    assert!(process.terminate().0.success());
    assert_eq!(sink.accepted().len(), 1);
}
