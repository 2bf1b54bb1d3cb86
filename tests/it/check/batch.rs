use crate::harness::{TestServer, refused, send};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Request};

#[tokio::test]
async fn a_batch_answers_as_its_checks_alone_and_in_their_order() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let other = server.tenant("other").await;
    let ips = vec!["10.0.0.0/8".to_owned()];
    let restricted = acme.owner.key("tenants/-").may("doc/*", "read").with(|key| key.allowed_ips = ips).issued().await;
    let wide = acme.owner.key("tenants/-").may("**", "*").issued().await;
    let secret = acme.owner.key("tenants/-").may("doc/**", "read").issued().await;
    let name = secret.key.unwrap().name;
    let secret_key =
        send!(acme.owner.keys(), generate_secret_key, GenerateSecretKeyRequest { name: name }).unwrap().secret_key;
    let dead = other.owner.key("tenants/-").may("**", "*").issued().await;
    let name = dead.key.unwrap().name;
    send!(other.owner.keys(), revoke_key, RevokeKeyRequest { name: name }).unwrap();
    let credentials = vec![
        restricted.credential,
        wide.credential,
        secret.credential,
        dead.credential,
        server.root.clone(),
        acme.made.master_credential.clone(),
        other.made.default_public_credential.clone(),
        String::new(),
        "kw_x".to_owned(),
    ];
    let pick =
        |options: &[&str]| prop::sample::select(options.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    let permission = (pick(&["doc/1", "doc/a/b", "doc", "keyward/keys/x", "", "*"]), pick(&["read", "write", "*", ""]))
        .prop_map(|(resource, action)| Permission { resource, action });
    let question = (
        prop::sample::select(credentials),
        prop::collection::vec(permission, 0..4),
        pick(&["", "tenants/acme", "tenants/other"]),
        prop::sample::select(vec![String::new(), secret_key, "wrong".to_owned()]),
        pick(&["", "10.0.0.1", "::ffff:10.0.0.1", "192.0.2.1", "x"]),
        any::<u16>(),
    )
        .prop_map(|(credential, permissions, tenant, secret_key, source_ip, id)| CheckRequest {
            credential,
            permissions,
            tenant,
            secret_key,
            context: Some(CheckContext { source_ip, ..CheckContext::default() }),
            id: id.to_string(),
            ..CheckRequest::default()
        });
    let mut runner = TestRunner::default();
    let checks = prop::collection::vec(question, 400).new_tree(&mut runner).unwrap().current();

    let mut client = CheckServiceClient::new(server.data.clone());
    let mut alone = Vec::new();
    for check in &checks {
        alone.push(client.check(check.clone()).await.unwrap().into_inner());
    }
    let allowed = alone.iter().filter(|answer| answer.decision() == Decision::Allowed).count();
    assert!((1..checks.len()).contains(&allowed), "{allowed} of {}", checks.len());
    let batch = client.batch_check(BatchCheckRequest { checks: checks.clone() }).await.unwrap().into_inner();
    assert_eq!(batch.results, alone);
    let questions = checks.into_iter().map(|check| StreamCheckRequest { check: Some(check) }).collect::<Vec<_>>();
    let mut stream = client.stream_check(tokio_stream::iter(questions)).await.unwrap().into_inner();
    for expected in alone {
        assert_eq!(stream.message().await.unwrap().unwrap().result, Some(expected));
    }
    assert_eq!(stream.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_batch_holds_at_most_a_thousand_checks() {
    let server = TestServer::start().await;
    let mut client = CheckServiceClient::new(server.data.clone());
    let mut batch = async |size: usize| {
        let checks = (0..size).map(|id| CheckRequest { id: id.to_string(), ..CheckRequest::default() }).collect();
        client.batch_check(BatchCheckRequest { checks }).await.map(tonic::Response::into_inner)
    };
    for size in [0, 1, 1000] {
        let ids: Vec<String> = batch(size).await.unwrap().results.into_iter().map(|answer| answer.id).collect();
        assert_eq!(ids, (0..size).map(|id| id.to_string()).collect::<Vec<_>>());
    }
    assert_eq!(refused(batch(1001).await, Code::InvalidArgument).fields, ["checks"]);
    let bad = CheckRequest { tenant: "acme".to_owned(), ..CheckRequest::default() };
    let checks = vec![CheckRequest::default(), CheckRequest::default(), bad.clone()];
    let refusal = client.batch_check(BatchCheckRequest { checks }).await;
    assert_eq!(refused(refusal, Code::InvalidArgument).fields, ["checks[2].tenant"]);
    let question = StreamCheckRequest { check: Some(bad) };
    let mut stream = client.stream_check(tokio_stream::once(question)).await.unwrap().into_inner();
    assert_eq!(refused(stream.message().await, Code::InvalidArgument).fields, ["check.tenant"]);
}

#[tokio::test]
async fn a_stream_sees_what_changes_between_its_questions() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let asker = acme.owner.key("tenants/-").may("keyward/check", "use").issued().await;
    let name = issued.key.unwrap().name;
    let (questions, receiver) = tokio::sync::mpsc::channel(1);
    let asking = server.bearer(&asker.credential);
    let stream = asking.checks().stream_check(Request::new(ReceiverStream::new(receiver))).await;
    let mut answers = stream.unwrap().into_inner();
    let mut ask = async || {
        let check = CheckRequest { credential: issued.credential.clone(), ..CheckRequest::default() };
        questions.send(StreamCheckRequest { check: Some(check) }).await.unwrap();
        answers.message().await.map(|answer| answer.unwrap().result.unwrap().reasons().collect::<Vec<_>>())
    };
    assert_eq!(ask().await.unwrap(), []);
    send!(acme.owner.keys(), suspend_key, SuspendKeyRequest { name: &*name }).unwrap();
    assert_eq!(ask().await.unwrap(), [Reason::Suspended]);
    send!(acme.owner.keys(), activate_key, ActivateKeyRequest { name: &*name }).unwrap();
    assert_eq!(ask().await.unwrap(), []);
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: &*name }).unwrap();
    assert_eq!(ask().await.unwrap(), [Reason::Revoked]);
    // Whoever asks is admitted anew with each question.
    let name = asker.key.unwrap().name;
    send!(acme.owner.keys(), revoke_key, RevokeKeyRequest { name: name }).unwrap();
    refused(ask().await, Code::Unauthenticated);
}
