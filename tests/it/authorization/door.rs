//! Who may ask Check, where not everybody may.

use crate::harness::{Client, TestServer, TestTenant, refused};
use keyward::proto::v1::*;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;
use tonic::{Code, Status};

async fn guarded() -> TestServer {
    TestServer::start_with(|args| args.check_auth = Some("bearer".into())).await
}

async fn ask(client: &Client, credential: &str, tenant: &str) -> Result<CheckResponse, Status> {
    let request =
        CheckRequest { credential: credential.to_owned(), tenant: tenant.to_owned(), ..CheckRequest::default() };
    client.checks().check(request).await.map(tonic::Response::into_inner)
}

async fn service(server: &TestServer, tenant: &TestTenant, resource: &str, action: &str) -> (String, Client) {
    let made = tenant.owner.key("tenants/-").may(resource, action).issued().await;
    (made.key.unwrap().name, server.bearer(&made.credential))
}

/// The admin listener, which always asks, and the data listener that was told to.
fn doors(server: &TestServer) -> [Channel; 2] {
    [server.admin.clone(), server.data.clone()]
}

#[tokio::test]
async fn only_who_holds_the_use_of_check_may_ask() {
    let server = guarded().await;
    let acme = server.tenant("acme").await;
    let (_, admin) = server.user(&acme, "ada", UserRole::Admin).await;
    let (_, member) = server.user(&acme, "eve", UserRole::Member).await;
    let (_, service_key) = service(&server, &acme, "keyward/check", "use").await;
    let (_, all) = service(&server, &acme, "keyward/**", "*").await;
    let question = acme.made.master_credential.clone();
    for door in &doors(&server) {
        for client in [&service_key, &all, &acme.owner, &admin, &server.root()] {
            let answer = ask(&client.clone().through(door), &question, "").await.unwrap();
            assert_eq!(answer.decision(), Decision::Allowed);
        }
        refused(ask(&server.nobody().through(door), &question, "").await, Code::Unauthenticated);
        refused(ask(&server.bearer("kw_no_body").through(door), &question, "").await, Code::Unauthenticated);
        for (resource, action) in [
            ("keyward/check", "check"),
            ("keyward/check/use", "use"),
            ("keyward/checks", "use"),
            ("keyward/keys/*", "*"),
            ("check", "use"),
        ] {
            let (_, client) = service(&server, &acme, resource, action).await;
            refused(ask(&client.through(door), &question, "").await, Code::PermissionDenied);
        }
        let public = server.bearer(&acme.made.default_public_credential);
        for client in [member.clone(), public] {
            refused(ask(&client.clone().through(door), &question, "").await, Code::PermissionDenied);
            let mut checks = client.through(door).checks();
            let batch = BatchCheckRequest { checks: vec![CheckRequest::default()] };
            refused(checks.batch_check(batch).await, Code::PermissionDenied);
            let stream = tokio_stream::once(StreamCheckRequest { check: Some(CheckRequest::default()) });
            refused(checks.stream_check(stream).await.map(drop), Code::PermissionDenied);
        }
    }
}

#[tokio::test]
async fn who_is_bound_to_a_tenant_learns_nothing_of_others() {
    let server = guarded().await;
    let (acme, other) = (server.tenant("acme").await, server.tenant("other").await);
    let (_, client) = service(&server, &acme, "keyward/check", "use").await;
    let theirs = other.owner.key("tenants/-").may("doc/*", "read").issued().await.credential;
    for door in &doors(&server) {
        let client = client.clone().through(door);
        for tenant in ["", "tenants/acme", "tenants/-"] {
            for credential in [&theirs, &other.made.master_credential, &server.root] {
                let answer = ask(&client, credential, tenant).await.unwrap();
                assert_eq!(answer.decision(), Decision::Denied);
                assert_eq!(answer.reasons().collect::<Vec<_>>(), [Reason::NotFound]);
                assert_eq!(answer.principal, None);
            }
            let own = ask(&client, &acme.made.master_credential, tenant).await.unwrap();
            assert_eq!(own.principal.unwrap().tenant, "tenants/acme");
        }
        for tenant in ["tenants/other", "tenants/nobody", "tenants/!!"] {
            refused(ask(&client, &theirs, tenant).await, Code::NotFound);
            let check = CheckRequest { tenant: tenant.into(), ..CheckRequest::default() };
            let batch = BatchCheckRequest { checks: vec![CheckRequest::default(), check.clone()] };
            refused(client.checks().batch_check(batch).await, Code::NotFound);
            let stream = tokio_stream::once(StreamCheckRequest { check: Some(check) });
            let mut answers = client.checks().stream_check(stream).await.unwrap().into_inner();
            refused(answers.message().await, Code::NotFound);
        }
        // Root is bound to none, and says which it means.
        let root = server.root().through(door);
        let answer = ask(&root, &theirs, "").await.unwrap();
        assert_eq!(answer.principal.unwrap().tenant, "tenants/other");
        assert_eq!(
            ask(&root, &theirs, "tenants/acme").await.unwrap().reasons().collect::<Vec<_>>(),
            [Reason::NotFound]
        );
        refused(ask(&root, &theirs, "tenants/nobody").await, Code::NotFound);
        refused(ask(&root, &theirs, "tenants/-").await, Code::InvalidArgument);
    }
}

#[tokio::test]
async fn a_stream_admits_its_caller_with_every_question() {
    let server = guarded().await;
    let acme = server.tenant("acme").await;
    for door in &doors(&server) {
        for end in ["revoke", "narrow", "suspend"] {
            let (name, client) = service(&server, &acme, "keyward/check", "use").await;
            let (questions, asked) = mpsc::channel(1);
            let asked = tokio_stream::wrappers::ReceiverStream::new(asked);
            let mut answers = client.through(door).checks().stream_check(asked).await.unwrap().into_inner();
            let question = || StreamCheckRequest {
                check: Some(CheckRequest { credential: acme.made.master_credential.clone(), ..Default::default() }),
            };
            for _ in 0..3 {
                questions.send(question()).await.unwrap();
                let answer = answers.message().await.unwrap().unwrap().result.unwrap();
                assert_eq!(answer.decision(), Decision::Allowed);
            }
            let mut keys = acme.owner.keys();
            let expected = match end {
                "revoke" => {
                    keys.revoke_key(RevokeKeyRequest { name, ..Default::default() }).await.unwrap();
                    Code::Unauthenticated
                }
                "suspend" => {
                    keys.suspend_key(SuspendKeyRequest { name, ..Default::default() }).await.unwrap();
                    Code::Unauthenticated
                }
                _ => {
                    let update_mask = Some(prost_types::FieldMask { paths: vec!["grants".into()] });
                    let request = UpdateKeyRequest { key: Some(Key { name, ..Key::default() }), update_mask };
                    keys.update_key(request).await.unwrap();
                    Code::PermissionDenied
                }
            };
            questions.send(question()).await.unwrap();
            refused(answers.message().await, expected);
            assert!(answers.next().await.is_none(), "the stream is over");
        }
    }
}

#[tokio::test]
async fn whoever_has_a_credential_may_end_it_and_need_not_say_who_they_are() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = acme.owner.key("tenants/-").may("doc/*", "read").issued().await;
    let end = async |client: Client, credential: &str| {
        let request = RevokeCredentialsRequest { credentials: vec![credential.to_owned()], ..Default::default() };
        client.keys().revoke_credentials(request).await.unwrap().into_inner().revision
    };
    server.check(&made.credential).may("doc/1", "read").allowed().await;
    let revision = end(server.nobody(), &made.credential).await;
    assert!(revision > made.revision);
    server.check(&made.credential).denied(&[Reason::Revoked]).await;
    // By a caller who is nobody any more; of what is protected, nothing.
    assert_eq!(end(server.bearer(&made.credential), &made.credential).await, revision);
    for protected in [&acme.made.default_public_credential, &server.root, "kw_of_nobody"] {
        assert_eq!(end(server.nobody(), protected).await, revision);
    }
    server.check(&acme.made.default_public_credential).allowed().await;
    server.check(&server.root).allowed().await;
}
