//! What is sent again, how often, and what never is.

use super::stub::{Stub, away, done};
use super::undecided;
use crate::harness::send;
use http::HeaderMap;
use keyward::client::Client;
use keyward::proto::v1::*;
use std::time::{Duration, Instant};
use tonic::{Code, Request, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// A server that is away for the first `failures` calls of a test.
async fn failing(failures: usize) -> Stub {
    Stub::start(move |count| async move { if count <= failures { away() } else { done() } }).await
}

fn client(stub: &Stub) -> Client {
    Client::builder(stub.target()).timeout(super::LONG).connect_lazy().unwrap()
}

#[tokio::test]
async fn what_does_no_harm_is_sent_again_until_it_is_answered() {
    let stub = failing(3).await;
    assert_eq!(undecided(client(&stub).check("kw_1").require().await).code(), Code::NotFound);
    assert_eq!(stub.count(), 4);
    let stub = failing(2).await;
    let status = send!(client(&stub).keys(), list_keys, ListKeysRequest { parent: "tenants/-" }).unwrap_err();
    assert_eq!((status.code(), stub.count()), (Code::NotFound, 3));
    let stub = failing(2).await;
    let status = send!(client(&stub).keys(), revoke_key, RevokeKeyRequest { name: "tenants/-/keys/a" }).unwrap_err();
    assert_eq!((status.code(), stub.count()), (Code::NotFound, 3));
}

#[tokio::test]
async fn a_mutation_is_sent_again_under_its_request_id_only() {
    let stub = failing(1).await;
    let created = send!(client(&stub).keys(), create_key, CreateKeyRequest { parent: "tenants/-" });
    assert_eq!((created.unwrap_err().code(), stub.count()), (Code::Unavailable, 1));
    let stub = failing(3).await;
    let request_id = "0198c0de-0000-7000-8000-000000000001";
    let created =
        send!(client(&stub).keys(), create_key, CreateKeyRequest { parent: "tenants/-", request_id: request_id });
    assert_eq!((created.unwrap_err().code(), stub.count()), (Code::NotFound, 4));
    let stub = failing(1).await;
    let deleted = send!(client(&stub).keys(), delete_key, DeleteKeyRequest { name: "tenants/-/keys/a" });
    assert_eq!((deleted.unwrap_err().code(), stub.count()), (Code::Unavailable, 1));
}

#[tokio::test]
async fn attempts_have_an_end() {
    let stub = failing(usize::MAX).await;
    assert_eq!(undecided(client(&stub).check("kw_1").require().await).code(), Code::Unavailable);
    assert_eq!(stub.count(), 5);
    let once = Client::builder(stub.target()).max_attempts(1).connect_lazy().unwrap();
    assert_eq!(undecided(once.check("kw_1").require().await).code(), Code::Unavailable);
    assert_eq!(stub.count(), 6);
    // Other answers are answers.
    for code in [Code::Unauthenticated, Code::PermissionDenied, Code::ResourceExhausted, Code::Internal, Code::Unknown]
    {
        let stub = Stub::start(move |_| async move { Status::new(code, "no") }).await;
        assert_eq!(undecided(client(&stub).check("kw_1").require().await).code(), code);
        assert_eq!(stub.count(), 1, "{code:?}");
    }
}

fn away_for(span: Duration) -> Status {
    let mut details = ErrorDetails::new();
    details.set_retry_info(Some(span));
    Status::with_error_details(Code::Unavailable, "not for a while", details)
}

#[tokio::test]
async fn a_server_is_left_alone_for_as_long_as_it_asks() {
    let span = Duration::from_millis(300);
    let stub = Stub::start(move |count| async move { if count == 1 { away_for(span) } else { done() } }).await;
    let begun = Instant::now();
    assert_eq!(undecided(client(&stub).check("kw_1").require().await).code(), Code::NotFound);
    assert!(begun.elapsed() >= span);
    assert_eq!(stub.count(), 2);
    // Never past the deadline: then there is no use in waiting at all.
    let stub = Stub::start(|_| async { away_for(Duration::from_secs(3600)) }).await;
    assert_eq!(undecided(client(&stub).check("kw_1").require().await).code(), Code::Unavailable);
    assert_eq!(stub.count(), 1);
}

/// How long the server was told that it may take.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().unwrap();
    let (number, unit) = text.split_at(text.len() - 1);
    let number = number.parse().unwrap();
    match unit {
        "n" => Some(Duration::from_nanos(number)),
        "u" => Some(Duration::from_micros(number)),
        "m" => Some(Duration::from_millis(number)),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_call_has_a_deadline_that_all_its_attempts_share() {
    let stub = Stub::start(|_| std::future::pending()).await;
    let client = Client::builder(stub.target()).timeout(Duration::from_millis(300)).connect_lazy().unwrap();
    assert_eq!(undecided(client.check("kw_1").require().await).code(), Code::DeadlineExceeded);
    let status = undecided(client.check("kw_1").timeout(Duration::from_millis(20)).require().await);
    assert_eq!(status.code(), Code::DeadlineExceeded);
    let mut request = Request::new(ListKeysRequest::default());
    request.set_timeout(Duration::from_millis(10));
    assert_eq!(client.keys().list_keys(request).await.unwrap_err().code(), Code::DeadlineExceeded);
    let seen = stub.seen();
    let told: Vec<Duration> = seen.iter().map(|seen| timeout(&seen.headers).unwrap()).collect();
    assert_eq!(seen[2].path, "/keyward.v1.KeyService/ListKeys");
    for (told, most) in told.iter().zip([300, 20, 10]) {
        assert!(*told <= Duration::from_millis(most), "{told:?}");
    }

    let stub = failing(2).await;
    undecided(self::client(&stub).check("kw_1").require().await);
    let told: Vec<Duration> = stub.seen().iter().map(|seen| timeout(&seen.headers).unwrap()).collect();
    assert!(told.len() == 3 && told[0] > told[1] && told[1] > told[2], "{told:?}");
}
