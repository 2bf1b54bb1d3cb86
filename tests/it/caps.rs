//! How many things a tenant may have, and what is said to whoever asks for more.

use crate::harness::{Client, TestServer, send};
use crate::serve::http_get;
use keyward::proto::v1::import_keys_entry::Material;
use keyward::proto::v1::*;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

/// Asserts that a tenant has as many of these as it may.
#[track_caller]
fn capped<T: std::fmt::Debug>(result: Result<T, Status>, kind: &str, cap: u64) {
    let status = result.expect_err("was to be refused");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    let details = status.get_error_details();
    let info = details.error_info().unwrap();
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("CAP_REACHED", "keyward.v1"));
    assert_eq!(
        (&*info.metadata["tenant"], &*info.metadata["limit"], &*info.metadata["cap"]),
        ("tenants/acme", kind, &*cap.to_string())
    );
    let quota = details.quota_failure().unwrap();
    assert_eq!(quota.violations.len(), 1);
    assert_eq!(quota.violations[0].subject, "tenants/acme");
    assert_eq!(quota.violations[0].description, status.message());
    assert!(status.message().contains(&format!("more than {cap} {kind}")), "{status}");
    assert!(status.message().contains(&format!("raise --max-{kind}-per-tenant")), "{status}");
    // It does not pass by itself.
    assert!(details.retry_info().is_none(), "{status}");
}

async fn key(client: &Client, id: &str) -> Result<CreateKeyResponse, Status> {
    client.key("tenants/acme").id(id).tried().await
}

async fn metrics(server: &TestServer) -> String {
    let address = server.ops_addr();
    tokio::task::spawn_blocking(move || http_get(&address, "/metrics")).await.unwrap()
}

#[tokio::test]
async fn a_tenant_has_as_many_keys_as_it_may_and_no_more() {
    let mut server = TestServer::start_with(|args| args.max_keys_per_tenant = Some("3".into())).await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let first = acme.owner.key("tenants/-").id("a").may("doc/*", "read");
    let again = first.request.clone();
    let request_id = "0198c0de-0000-7000-8000-000000000001".to_owned();
    let first = first.asking(|request| request.request_id = request_id.clone()).issued().await;
    key(&acme.owner, "b").await.unwrap();
    key(&acme.owner, "c").await.unwrap();
    let before = server.revision().await;
    capped(key(&acme.owner, "d").await, "keys", 3);
    // Root has no more room than the tenant, and whoever may not make keys is told so and nothing else.
    capped(key(&server.root(), "d").await, "keys", 3);
    let narrow = server.bearer(&first.credential);
    assert_eq!(key(&narrow, "d").await.unwrap_err().code(), Code::PermissionDenied);
    assert_eq!(server.revision().await, before, "a refusal changes nothing");
    // Another tenant has room of its own, users have their master keys, and what was made is told of again.
    other.owner.key("tenants/-").issued().await;
    server.user(&acme, "bo", UserRole::Member).await;
    let replay = CreateKeyRequest { request_id, ..again };
    assert_eq!(acme.owner.keys().create_key(replay).await.unwrap().into_inner().revision, first.revision);

    // Another secret is not another key, and a key that works no more makes room.
    let keys = || acme.owner.keys();
    send!(keys(), rotate_key, RotateKeyRequest { name: "tenants/acme/keys/a" }).unwrap();
    send!(keys(), delete_key, DeleteKeyRequest { name: "tenants/acme/keys/b" }).unwrap();
    key(&acme.owner, "d").await.unwrap();
    let undelete = || async { send!(keys(), undelete_key, UndeleteKeyRequest { name: "tenants/acme/keys/b" }) };
    capped(undelete().await, "keys", 3);
    send!(keys(), revoke_key, RevokeKeyRequest { name: "tenants/acme/keys/c" }).unwrap();
    undelete().await.unwrap();
    capped(key(&acme.owner, "e").await, "keys", 3);

    // Those from elsewhere are taken as long as there is room, and the others told of by their lines.
    send!(keys(), revoke_key, RevokeKeyRequest { name: "tenants/acme/keys/b" }).unwrap();
    let entry = |line: i64| ImportKeysEntry {
        line,
        key: Some(Key::default()),
        material: Some(Material::Credential(format!("old-credential-number-{line}"))),
        ..Default::default()
    };
    let batch =
        ImportKeysRequest { parent: "tenants/-".into(), sequence: 1, entries: vec![entry(1), entry(2), entry(3)] };
    let mut answers = keys().import_keys(tokio_stream::iter([batch.clone(), batch])).await.unwrap().into_inner();
    for _ in 0..2 {
        let answer = answers.message().await.unwrap().unwrap();
        let lines: Vec<_> = answer.errors.iter().map(|error| error.line).collect();
        assert_eq!(lines, [2, 3], "{answer:?}");
        assert!(answer.errors[0].reason.contains("more than 3 keys"), "{answer:?}");
    }
    // Four mutations of one key, and two batches, however many of their lines were refused.
    let text = metrics(&server).await;
    assert!(text.contains("keyward_caps_refused_total{kind=\"keys\"} 6\n"), "{text}");
    let seen = send!(server.root().replicas(), diagnose, DiagnoseRequest {}).unwrap();
    let finding = seen.findings.iter().find(|finding| finding.check == "caps").unwrap();
    assert!(finding.description.contains("tenants/acme has 3 of at most 3 keys"), "{finding:?}");

    // A cap that is lowered takes nothing away; one that is raised makes room.
    server.stop().await;
    server.start_again_with(|args| args.max_keys_per_tenant = Some("2".into())).await;
    capped(key(&server.root(), "f").await, "keys", 2);
    server.check(&first.credential).denied(&[Reason::RotatedOut]).await;
    // It is looked at once the server serves.
    let line = "keyward_caps_fullest_ratio{kind=\"keys\"} 1.5\n";
    let shown = async { while !metrics(&server).await.contains(line) {} };
    tokio::time::timeout(Duration::from_secs(30), shown).await.expect(line);
    server.stop().await;
    server.start_again_with(|args| args.max_keys_per_tenant = Some("unlimited".into())).await;
    key(&server.root(), "f").await.unwrap();
}

#[tokio::test]
async fn a_tenant_has_as_many_applications_as_it_may() {
    let server = TestServer::start_with(|args| args.max_applications_per_tenant = Some("2".into())).await;
    let acme = server.tenant("acme").await;
    let make = async |id: &str| {
        let application = Application { contact_email: format!("{id}@example.com"), ..Application::default() };
        send!(
            acme.owner.applications(),
            create_application,
            CreateApplicationRequest { parent: "tenants/acme", application: application, application_id: id }
        )
    };
    make("a").await.unwrap();
    make("b").await.unwrap();
    capped(make("c").await, "applications", 2);
    // Nobody was mailed about one that is not there.
    assert_eq!(server.mailed("tenants/acme/applications/b", 1).await.len(), 1);
    // One that is revoked may come back.
    let name = "tenants/acme/applications/a";
    send!(acme.owner.applications(), revoke_application, RevokeApplicationRequest { name: name }).unwrap();
    capped(make("c").await, "applications", 2);
    send!(acme.owner.applications(), delete_application, DeleteApplicationRequest { name: name }).unwrap();
    make("c").await.unwrap();
}

#[tokio::test]
async fn a_tenant_has_as_many_tokens_in_force_as_it_may() {
    let server = TestServer::start_with(|args| args.max_tokens_per_tenant = Some("2".into())).await;
    let acme = server.tenant("acme").await;
    let made = acme.owner.key("tenants/-").may("doc/*", "read").issued().await;
    let make = async |ttl: i64, format: TokenFormat| {
        let request = CreateTokenRequest {
            key: made.credential.clone(),
            ttl: Some(prost_types::Duration { seconds: ttl, nanos: 0 }),
            format: format.into(),
            ..CreateTokenRequest::default()
        };
        server.nobody().tokens().create_token(request).await.map(tonic::Response::into_inner)
    };
    let brief = make(60, TokenFormat::Opaque).await.unwrap();
    let long = make(3600, TokenFormat::Opaque).await.unwrap();
    capped(make(60, TokenFormat::Opaque).await, "tokens", 2);
    // A JWT is no row.
    make(3600, TokenFormat::Jwt).await.unwrap();
    server.check(&brief.token).may("doc/1", "read").allowed().await;
    send!(acme.owner.tokens(), revoke_token, RevokeTokenRequest { token: &*long.token }).unwrap();
    make(3600, TokenFormat::Opaque).await.unwrap();
    capped(make(60, TokenFormat::Opaque).await, "tokens", 2);
    // One that has expired counts ten minutes longer at most.
    server.pass(60 + 600);
    make(60, TokenFormat::Opaque).await.unwrap();
    capped(make(60, TokenFormat::Opaque).await, "tokens", 2);
}
