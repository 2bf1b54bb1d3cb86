//! Check over the wire, beside a bare tonic echo of the same messages: the same run, the same kind of runtime, the same
//! client, blocks taking turns. Each server has one worker thread, and the load comes from another. Every reply is looked
//! at. Run by `cargo bench --bench rpc`; the ratios are what counts.

#![expect(clippy::expect_used, clippy::disallowed_types, reason = "a bench may panic, and speaks gRPC")]

use keyward::clock::Clock;
use keyward::config::{Config, ServeArgs};
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::check_service_server::{CheckService, CheckServiceServer};
use keyward::proto::v1::key_service_client::KeyServiceClient;
use keyward::proto::v1::tenant_service_client::TenantServiceClient;
use keyward::proto::v1::*;
use keyward::server::Server;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio_stream::Empty;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status, Streaming};

/// Connections, and calls in flight on each.
const SHAPES: [(usize, usize); 4] = [(1, 1), (1, 64), (8, 8), (64, 1)];
const BLOCK: Duration = Duration::from_millis(400);
const ROUNDS: usize = 11;

/// Answers every Check with the same reply.
struct Echo(CheckResponse);

#[tonic::async_trait]
impl CheckService for Echo {
    async fn check(&self, _: Request<CheckRequest>) -> Result<Response<CheckResponse>, Status> {
        Ok(Response::new(self.0.clone()))
    }

    async fn batch_check(&self, _: Request<BatchCheckRequest>) -> Result<Response<BatchCheckResponse>, Status> {
        Err(Status::unimplemented("an echo answers Check"))
    }

    type StreamCheckStream = Empty<Result<StreamCheckResponse, Status>>;

    async fn stream_check(
        &self,
        _: Request<Streaming<StreamCheckRequest>>,
    ) -> Result<Response<Self::StreamCheckStream>, Status> {
        Err(Status::unimplemented("an echo answers Check"))
    }
}

fn one_worker() -> Runtime {
    Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

fn main() {
    let (keyward_runtime, echo_runtime, client) = (one_worker(), one_worker(), one_worker());
    let dir = tempfile::TempDir::new().expect("a folder");
    let (server, address, question) = keyward_runtime.block_on(keyward(&dir));
    let answer = client.block_on(async {
        let channel = connect(&address).await;
        CheckServiceClient::new(channel).check(question.clone()).await.expect("an answer").into_inner()
    });
    assert_eq!(answer.decision(), Decision::Allowed);
    let echo_address = echo_runtime.block_on(echo(answer));

    println!(
        "| connections | in flight on each | Check, calls/s | echo, calls/s | throughput, Check / echo | Check, median µs | echo, median µs | latency, Check / echo |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|---:|");
    for (connections, in_flight) in SHAPES {
        client.block_on(async {
            let checks = connect_all(&address, connections).await;
            let echoes = connect_all(&echo_address, connections).await;
            let (mut of_check, mut of_echo) = (Load::default(), Load::default());
            for _ in 0..ROUNDS {
                of_check.add(block(&checks, in_flight, &question).await);
                of_echo.add(block(&echoes, in_flight, &question).await);
            }
            let (check, echo) = (of_check.median(), of_echo.median());
            println!(
                "| {connections} | {in_flight} | {:.0} | {:.0} | {:.2} | {:.0} | {:.0} | {:.2} |",
                check.0,
                echo.0,
                check.0 / echo.0,
                check.1,
                echo.1,
                check.1 / echo.1
            );
        });
    }
    keyward_runtime.block_on(server.shutdown()).expect("a clean end");
}

/// The real server with a tenant and a key of three permissions, of which a Check asks one.
async fn keyward(dir: &tempfile::TempDir) -> (Server, String, CheckRequest) {
    let args = ServeArgs {
        database_url: Some(format!("sqlite:{}", dir.path().join("keyward.db").display()).into()),
        data_addr: Some("127.0.0.1:0".to_owned()),
        admin_addr: Some("127.0.0.1:0".to_owned()),
        ops_addr: Some("127.0.0.1:0".to_owned()),
        log: Some("warn".to_owned()),
        ..ServeArgs::default()
    };
    let mut server = Server::start(Config::load(args).expect("a config"), Clock::default()).await.expect("a server");
    let root = server.take_root_credential().expect("a root credential");
    let channel = connect(&server.admin_addr().to_string()).await;
    let bearing = |credential: &str| {
        let bearer: tonic::metadata::MetadataValue<_> = format!("Bearer {credential}").parse().expect("a credential");
        move |mut request: Request<()>| -> Result<Request<()>, Status> {
            request.metadata_mut().insert("authorization", bearer.clone());
            Ok(request)
        }
    };
    let request = CreateTenantRequest { tenant_id: "acme".to_owned(), ..CreateTenantRequest::default() };
    let tenant = TenantServiceClient::with_interceptor(channel.clone(), bearing(root.expose()))
        .create_tenant(request)
        .await
        .expect("a tenant")
        .into_inner();
    let grant = |kind| Grant { kind: Some(kind) };
    let key = Key {
        grants: vec![
            grant(grant::Kind::Apis(ApisGrant { names: vec!["maps".to_owned(), "sql".to_owned()] })),
            grant(grant::Kind::Dataservices(DataservicesGrant { names: vec!["geocoding".to_owned()] })),
        ],
        ..Key::default()
    };
    let request = CreateKeyRequest {
        parent: "tenants/acme".to_owned(),
        key_id: "ci".to_owned(),
        key: Some(key),
        ..CreateKeyRequest::default()
    };
    let issued = KeyServiceClient::with_interceptor(channel, bearing(&tenant.master_credential))
        .create_key(request)
        .await
        .expect("a key")
        .into_inner();
    let question = CheckRequest {
        credential: issued.credential,
        tenant: "tenants/acme".to_owned(),
        permissions: vec![Permission { resource: "apis/maps".to_owned(), action: "use".to_owned() }],
        ..CheckRequest::default()
    };
    let address = server.data_addr().to_string();
    (server, address, question)
}

async fn echo(answer: CheckResponse) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let router = tonic::transport::Server::builder().add_service(CheckServiceServer::new(Echo(answer)));
    tokio::spawn(router.serve_with_incoming(TcpIncoming::from(listener).with_nodelay(Some(true))));
    address
}

async fn connect(address: &str) -> Channel {
    Endpoint::from_shared(format!("http://{address}")).expect("an address").connect().await.expect("a connection")
}

async fn connect_all(address: &str, connections: usize) -> Vec<Channel> {
    let mut channels = Vec::new();
    for _ in 0..connections {
        channels.push(connect(address).await);
    }
    channels
}

/// Calls a second, and the median latency in microseconds, of one block.
async fn block(channels: &[Channel], in_flight: usize, question: &CheckRequest) -> (f64, f64) {
    let question = Arc::new(question.clone());
    let begin = Instant::now();
    let mut callers = tokio::task::JoinSet::new();
    for channel in channels {
        for _ in 0..in_flight {
            let mut client = CheckServiceClient::new(channel.clone());
            let question = Arc::clone(&question);
            callers.spawn(async move {
                let mut latencies = Vec::new();
                while begin.elapsed() < BLOCK {
                    let sent = Instant::now();
                    let answer = client.check(CheckRequest::clone(&question)).await.expect("an answer").into_inner();
                    assert_eq!(answer.decision(), Decision::Allowed);
                    latencies.push(sent.elapsed());
                }
                latencies
            });
        }
    }
    let mut latencies: Vec<Duration> = callers.join_all().await.concat();
    let elapsed = begin.elapsed();
    latencies.sort();
    let median = latencies.get(latencies.len() / 2).copied().unwrap_or_default();
    (latencies.len() as f64 / elapsed.as_secs_f64(), median.as_secs_f64() * 1e6)
}

#[derive(Default)]
struct Load(Vec<(f64, f64)>);

impl Load {
    fn add(&mut self, block: (f64, f64)) {
        self.0.push(block);
    }

    fn median(&self) -> (f64, f64) {
        let middle = |mut values: Vec<f64>| {
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or_default()
        };
        (middle(self.0.iter().map(|block| block.0).collect()), middle(self.0.iter().map(|block| block.1).collect()))
    }
}
