use crate::harness::{TestServer, refused};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use std::time::{Duration, Instant};
use tonic::{Code, Request};

#[tokio::test]
async fn a_check_waits_for_the_revision_it_asks_for_and_no_longer_than_its_deadline() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let issued = acme.owner.key("tenants/-").issued().await;
    let at_least = |revision: i64| CheckRequest {
        credential: issued.credential.clone(),
        min_revision: revision,
        ..CheckRequest::default()
    };
    let ask = async |revision: i64, deadline: Duration| {
        let mut request = Request::new(at_least(revision));
        request.set_timeout(deadline);
        CheckServiceClient::new(server.data.clone()).check(request).await.map(tonic::Response::into_inner)
    };
    for seen in [0, 1, issued.revision] {
        let answer = ask(seen, Duration::from_secs(5)).await.unwrap();
        assert_eq!((answer.decision(), answer.revision), (Decision::Allowed, issued.revision));
    }
    let begin = Instant::now();
    let refusal = refused(ask(issued.revision + 1, Duration::from_millis(300)).await, Code::Unavailable);
    assert_eq!(refusal.reason, "CANNOT_DECIDE");
    assert!(begin.elapsed() >= Duration::from_millis(200), "it was waited for");
    refused(ask(i64::MAX, Duration::from_millis(100)).await, Code::Unavailable);
    for negative in [-1, i64::MIN] {
        let refusal = refused(ask(negative, Duration::from_secs(5)).await, Code::InvalidArgument);
        assert_eq!(refusal.fields, ["min_revision"]);
    }
    let checks = vec![at_least(0), at_least(-1)];
    let refusal = CheckServiceClient::new(server.data.clone()).batch_check(BatchCheckRequest { checks }).await;
    assert_eq!(refused(refusal, Code::InvalidArgument).fields, ["checks[1].min_revision"]);

    // A mutation made meanwhile lets it go on, and it sees what was done.
    let client = server.data.clone();
    let request = at_least(issued.revision + 1);
    let waiting = tokio::spawn(async move { CheckServiceClient::new(client).check(request).await });
    let name = issued.key.clone().unwrap().name;
    acme.owner.keys().suspend_key(SuspendKeyRequest { name, ..Default::default() }).await.unwrap();
    let answer = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!(answer.reasons().collect::<Vec<_>>(), [Reason::Suspended]);
    assert_eq!(answer.revision, issued.revision + 1);
    server.check(&issued.credential).denied(&[Reason::Suspended]).await;
}
