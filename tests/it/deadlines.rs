//! A call that says how long it may take is answered by then, and by the right code: whatever it waits for.

use crate::authorization::raw;
use crate::harness::{TestServer, ledger, refused, send};
use keyward::proto::v1::*;
use sea_orm::sqlx;
use std::time::Duration;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

const SHORT: Duration = Duration::from_millis(300);

fn timeout(text: &str) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    metadata.insert("grpc-timeout", text.parse().unwrap());
    metadata
}

#[tokio::test]
async fn a_deadline_that_says_nothing_is_refused_by_every_rpc() {
    let server = TestServer::start().await;
    for method in raw::methods() {
        for text in ["1", "1s", "-1S", "123456789S", "S"] {
            let answer = raw::call(&server.admin, &method, Vec::new(), timeout(text)).await;
            let refusal = refused(answer, Code::InvalidArgument);
            assert_eq!(refusal.fields, ["grpc-timeout"], "{method} {text}");
        }
        // One that says something is none of those; what else is wrong is told.
        let answer = raw::call(&server.admin, &method, Vec::new(), timeout("99999999S")).await;
        if let Err(status) = answer {
            assert_ne!((status.code(), status.message().contains("grpc-timeout")), (Code::InvalidArgument, true));
        }
    }
    // Health is answered whatever is said.
    let mut health = HealthClient::new(server.data.clone());
    let mut request = Request::new(HealthCheckRequest::default());
    *request.metadata_mut() = timeout("soon");
    health.check(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mutation_whose_turn_does_not_come_in_time_is_told_so_and_not_carried_out() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let made = acme.owner.key("tenants/-").id("ci").issued().await;
    let before = server.revision().await;
    let requests = [
        ("KeyService/CreateKey", r#"{"parent": "tenants/acme"}"#.to_owned()),
        ("KeyService/RevokeKey", r#"{"name": "tenants/acme/keys/ci"}"#.to_owned()),
        ("KeyService/DeleteKey", r#"{"name": "tenants/acme/keys/ci"}"#.to_owned()),
        ("KeyService/RotateKey", r#"{"name": "tenants/acme/keys/ci"}"#.to_owned()),
        ("TenantService/SuspendTenant", r#"{"name": "tenants/acme"}"#.to_owned()),
        ("TenantService/CreateTenant", r#"{"owner": {"email": "a@b.example"}}"#.to_owned()),
        (
            "UserService/CreateUser",
            r#"{"parent": "tenants/acme", "user": {"email": "a@b.example", "role": "USER_ROLE_MEMBER"}}"#.to_owned(),
        ),
        (
            "ApplicationService/CreateApplication",
            r#"{"parent": "tenants/acme", "application": {"contactEmail": "a@b.example"}}"#.to_owned(),
        ),
        ("TokenService/CreateToken", format!(r#"{{"key": "{}"}}"#, made.credential)),
    ];
    // Somebody else has the database.
    let mut other = ledger::connect(&server.database()).await;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
    let call = async |method: &str, request: &str| {
        let mut metadata = timeout("300m");
        metadata.insert("authorization", format!("Bearer {}", server.root).parse().unwrap());
        raw::call(&server.admin, method, raw::encoded(method, request), metadata).await
    };
    for (method, request) in &requests {
        let refusal = refused(call(method, request).await, Code::DeadlineExceeded);
        assert_eq!(refusal.reason, "DEADLINE_EXCEEDED", "{method}");
        assert!(refusal.message.contains("nothing was changed"), "{method}: {refusal:?}");
    }
    // What is only read need not wait.
    call("KeyService/GetKey", r#"{"name": "tenants/acme/keys/ci"}"#).await.unwrap();
    sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
    // None of them is carried out afterwards.
    let after = loop {
        match send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: "tenants/acme/keys/ci" }) {
            Ok(done) => break done.revision,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
    };
    assert_eq!(after, before + 1);
}

#[tokio::test]
async fn a_stream_ends_when_its_deadline_comes() {
    let server = TestServer::start().await;
    let mut request = Request::new(WatchEventsRequest::default());
    request.set_timeout(SHORT);
    let mut events = server.root().events().watch_events(request).await.unwrap().into_inner();
    let ended: Status = loop {
        match events.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended well"),
            Err(status) => break status,
        }
    };
    assert_eq!(ended.code(), Code::DeadlineExceeded, "{ended}");

    let mut health = HealthClient::new(server.data.clone());
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(SHORT);
    let mut told = health.watch(request).await.unwrap().into_inner();
    assert!(told.message().await.unwrap().is_some());
    assert_eq!(told.message().await.unwrap_err().code(), Code::DeadlineExceeded);
    // One that has time is answered on.
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(Duration::from_secs(3600));
    assert!(health.watch(request).await.unwrap().into_inner().message().await.unwrap().is_some());
}
