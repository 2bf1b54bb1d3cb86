//! Strangers who hold all they can: whoever is known is served all the same.

use super::{LONG, until};
use crate::harness::{Client, TestServer, refused};
use crate::watch::{next, watch};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Response, Status, Streaming};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::{ServerReflectionRequest, ServerReflectionResponse};
use tonic_types::StatusExt as _;

const STREAMS: usize = 2;
const REFLECTIONS: usize = 3;
/// More than any of these.
const MANY: usize = 50;

fn channel(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy()
}

/// A stream of messages that never come.
fn silence<T: Send + 'static>() -> impl tokio_stream::Stream<Item = T> + Send + 'static {
    tokio_stream::pending()
}

async fn server() -> TestServer {
    TestServer::start_with(|args| {
        args.check_auth = Some("bearer".to_owned());
        args.max_streams = Some(STREAMS);
        args.max_reflections = Some(REFLECTIONS);
    })
    .await
}

/// Opens a stream, and what came of it.
async fn opened<T>(call: impl Future<Output = Result<Response<Streaming<T>>, Status>>) -> Result<Streaming<T>, Status> {
    timeout(LONG, call).await.expect("neither opened nor refused").map(Response::into_inner)
}

/// A stream that is open until this is dropped.
struct Held<Q, A> {
    _questions: mpsc::Sender<Q>,
    answers: Streaming<A>,
}

/// Opens one by `call`.
async fn held<Q, A, F>(call: impl FnOnce(ReceiverStream<Q>) -> F) -> Result<Held<Q, A>, Status>
where
    F: Future<Output = Result<Response<Streaming<A>>, Status>>,
{
    let (questions, asked) = mpsc::channel(1);
    Ok(Held { answers: opened(call(ReceiverStream::new(asked))).await?, _questions: questions })
}

/// A stream of questions, the first of which was answered.
async fn asking(caller: &Client) -> Result<Held<StreamCheckRequest, StreamCheckResponse>, Status> {
    let first = StreamCheckRequest { check: Some(CheckRequest::default()) };
    let mut checks = caller.checks();
    let mut held = held(async |rest| checks.stream_check(tokio_stream::once(first).chain(rest)).await).await?;
    assert!(held.answers.message().await?.unwrap().result.is_some());
    Ok(held)
}

async fn importing(caller: &Client) -> Result<Held<ImportKeysRequest, ImportKeysResponse>, Status> {
    let mut keys = caller.keys();
    held(async |batches| keys.import_keys(batches).await).await
}

/// A stream of reflection, by whoever it is.
async fn reflecting(server: &TestServer) -> Result<Held<ServerReflectionRequest, ServerReflectionResponse>, Status> {
    let mut client = ServerReflectionClient::new(channel(&server.admin_addr()));
    held(async |asked| client.server_reflection_info(asked).await).await
}

/// Turned away for want of a seat, and told when to come again.
fn shed<T: std::fmt::Debug>(result: Result<T, Status>) {
    let status = result.expect_err("there was a seat");
    assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
    assert!(status.get_error_details().retry_info().is_some(), "{status:?}");
}

/// Calls whose message never comes, of a method that takes one: nobody knows whose they are.
fn begin_without_end(address: &str, path: &'static str, calls: &mut JoinSet<()>) {
    let strangers = channel(address);
    for _ in 0..MANY {
        let mut grpc = tonic::client::Grpc::new(strangers.clone());
        calls.spawn(async move {
            grpc.ready().await.unwrap();
            let codec = tonic_prost::ProstCodec::<WatchEventsRequest, WatchEventsResponse>::default();
            let request = tonic::Request::new(silence::<WatchEventsRequest>());
            let answer = grpc.streaming(request, http::uri::PathAndQuery::from_static(path), codec).await;
            panic!("it was answered: {:?}", answer.map(|_| ()));
        });
    }
}

#[tokio::test]
async fn strangers_who_hold_all_they_can_take_no_seat_of_those_who_are_known() {
    let server = server().await;
    let acme = server.tenant("acme").await;
    let strangers = server.nobody().through(&channel(&server.admin_addr()));
    let mut stalled = JoinSet::new();
    begin_without_end(&server.admin_addr(), "/keyward.v1.EventService/WatchEvents", &mut stalled);

    // What needs a credential is refused to whoever has none, or nobody's, or one that may not, before it sends anything.
    let narrow = acme.owner.key("tenants/-").may("doc/*", "read").issued().await;
    let wrong = server.bearer("kw_nobody");
    let narrow = server.bearer(&narrow.credential);
    for (caller, code) in
        [(&strangers, Code::Unauthenticated), (&wrong, Code::Unauthenticated), (&narrow, Code::PermissionDenied)]
    {
        for _ in 0..MANY {
            for door in [&server.data, &server.admin] {
                refused(opened(caller.clone().through(door).checks().stream_check(silence())).await, code);
            }
            refused(opened(caller.keys().import_keys(silence())).await, code);
            refused(watch(caller, "tenants/acme", 0).await, code);
        }
    }

    // What is open to strangers has seats of its own, and not many; health has none to lose.
    let mut reflections = Vec::new();
    for _ in 0..REFLECTIONS {
        reflections.push(reflecting(&server).await.unwrap());
    }
    shed(reflecting(&server).await.map(drop));
    let mut watches = Vec::new();
    for address in [server.data_addr(), server.admin_addr(), server.ops_addr()] {
        let mut health = HealthClient::new(channel(&address));
        for _ in 0..MANY {
            let mut watched = opened(health.watch(HealthCheckRequest::default())).await.unwrap();
            assert_eq!(watched.message().await.unwrap().unwrap().status, 1);
            watches.push(watched);
        }
    }

    // Those who are known have all seats there are, and each listener its own.
    let mut watched = watch(&acme.owner, "tenants/-", 0).await.unwrap();
    assert!(next(&mut watched).await.unwrap().is_some());
    let imported = importing(&acme.owner).await.unwrap();
    shed(watch(&acme.owner, "tenants/-", 0).await);
    shed(importing(&acme.owner).await.map(drop));
    let asker = acme.owner.clone().through(&server.data);
    let questions = [asking(&asker).await.unwrap(), asking(&asker).await.unwrap()];
    shed(asking(&asker).await.map(drop));
    // A refused stranger has none of them still, nor is it told that there are none.
    refused(watch(&strangers, "tenants/acme", 0).await, Code::Unauthenticated);
    assert!(CheckServiceClient::new(channel(&server.data_addr())).check(CheckRequest::default()).await.is_err());

    // A seat is given back when its stream ends.
    drop((imported, questions));
    until("there is a seat to import", async || importing(&acme.owner).await.is_ok()).await;
    until("there is a seat to ask", async || asking(&asker).await.is_ok()).await;
    drop(reflections.pop());
    until("there is a seat to reflect", async || reflecting(&server).await.is_ok()).await;
    assert_eq!(stalled.len(), MANY);
    assert!(stalled.try_join_next().is_none(), "a call without its message was answered");
    drop(watches);
}
