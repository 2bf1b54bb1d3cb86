//! What is asked and answered: Checks of many keys, one permission of three, by each of the doors.

use crate::fill::{credential, fill, key_id};
use crate::wire::{Replies, Script};
use keyward::domain::grant::Grant;
use keyward::proto::envoy::config::core::v3 as core;
use keyward::proto::envoy::service::auth::v3 as envoy;
use keyward::proto::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use prost::Message;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

const CHECK: &str = "/keyward.v1.CheckService/Check";
const BATCH_CHECK: &str = "/keyward.v1.CheckService/BatchCheck";
const STREAM_CHECK: &str = "/keyward.v1.CheckService/StreamCheck";
const AUTHORIZE: &str = "/envoy.service.auth.v3.Authorization/Check";

/// So many keys at most are asked about, in random order: far more than a cache holds.
const ASKED: usize = 200_000;
/// Checks in a batch, and how many different batches there are.
pub(crate) const BATCH: usize = 100;
const BATCHES: usize = 500;
/// Different requests of a proxy.
const PROXIED: usize = 5_000;

/// A database with so many keys, made if it is not there from an earlier run.
pub(crate) async fn folder(count: usize) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("rpc-{count}"));
    let (database, partial) = (folder.join("keyward.db"), folder.join("partial.db"));
    if !database.exists() {
        eprintln!("writing {count} keys below {}", folder.display());
        let _may_not_be_there = std::fs::remove_dir_all(&folder);
        std::fs::create_dir_all(&folder).expect("a folder");
        let apis = Grant::Apis(vec!["maps".to_owned(), "sql".to_owned()]);
        let services = Grant::Dataservices(vec!["geocoding".to_owned()]);
        fill(&format!("sqlite:{}", partial.display()), count, |_| vec![apis.clone(), services.clone()]).await;
        std::fs::rename(&partial, &database).expect("a file");
    }
    folder
}

/// What is asked, and of whom.
pub(crate) struct World {
    pub(crate) check: &'static Script,
    pub(crate) batch: &'static Script,
    pub(crate) stream: &'static Script,
    pub(crate) authorize: &'static Script,
    /// The same Checks to a bare server that answers all with the first reply.
    pub(crate) check_echo: &'static Script,
    pub(crate) authorize_echo: &'static Script,
    /// The same Checks while revisions come.
    pub(crate) check_amid: &'static Script,
    /// What a bare server answers.
    pub(crate) reply: Vec<u8>,
    pub(crate) authorized: Vec<u8>,
}

struct Asked {
    credential: String,
    key: String,
}

impl World {
    /// Learns from Keyward how a reply looks.
    pub(crate) async fn learn(data: &str, count: usize) -> Self {
        let channel = Endpoint::from_shared(format!("http://{data}")).expect("an address").connect().await;
        let channel = channel.expect("a connection");
        let asked = asked(count);
        let reply = check(&channel, &asked[0]).await;
        let requests: Vec<CheckRequest> = asked.iter().map(question).collect();
        let answers: Vec<CheckResponse> = asked.iter().map(|asked| answer(&reply, asked)).collect();
        for place in (0..asked.len()).step_by(1 + asked.len() / 100) {
            assert_eq!(check(&channel, &asked[place]).await, answers[place], "what the others are compared with");
        }
        let count = asked.len();
        let all_of = |batch: usize| (0..BATCH).map(move |place| (batch * BATCH + place) % count);
        let batch = |batch| BatchCheckRequest { checks: all_of(batch).map(|place| requests[place].clone()).collect() };
        let results =
            |batch| BatchCheckResponse { results: all_of(batch).map(|place| answers[place].clone()).collect() };
        let batches: Vec<_> = (0..BATCHES).map(batch).collect();
        let results: Vec<_> = (0..BATCHES).map(results).collect();
        let said: Vec<_> = requests.iter().map(|check| StreamCheckRequest { check: Some(check.clone()) }).collect();
        let heard: Vec<_> = answers.iter().map(|result| StreamCheckResponse { result: Some(result.clone()) }).collect();
        let proxied: Vec<envoy::CheckRequest> = asked.iter().take(PROXIED).map(proxied).collect();
        let authorized = authorize(&channel, &proxied).await;
        Self {
            check: script(CHECK, framed(&requests), framed(&answers)),
            batch: script(BATCH_CHECK, framed(&batches), framed(&results)),
            stream: script(STREAM_CHECK, framed(&said), framed(&heard)),
            authorize: script(AUTHORIZE, framed(&proxied), framed(&authorized)),
            check_echo: script(CHECK, framed(&requests), framed(&answers[..1])),
            authorize_echo: script(AUTHORIZE, framed(&proxied), framed(&authorized[..1])),
            check_amid: leak(CHECK, framed(&requests), Replies::Judged(is_allowed)),
            reply: answers[0].encode_to_vec(),
            authorized: authorized[0].encode_to_vec(),
        }
    }
}

fn leak(path: &'static str, requests: Vec<Vec<u8>>, replies: Replies) -> &'static Script {
    Box::leak(Box::new(Script { path, requests, replies }))
}

fn script(path: &'static str, requests: Vec<Vec<u8>>, replies: Vec<Vec<u8>>) -> &'static Script {
    leak(path, requests, Replies::Exact(replies))
}

/// Whether a reply, with its prefix, allows.
pub(crate) fn is_allowed(framed: &[u8]) -> bool {
    CheckResponse::decode(&framed[5..]).is_ok_and(|reply| reply.decision() == Decision::Allowed)
}

fn framed<M: Message>(messages: &[M]) -> Vec<Vec<u8>> {
    messages.iter().map(frame).collect()
}

/// A message with the prefix that gRPC puts before it.
pub(crate) fn frame(message: &impl Message) -> Vec<u8> {
    let mut bytes = vec![0];
    bytes.extend(u32::try_from(message.encoded_len()).expect("short").to_be_bytes());
    message.encode(&mut bytes).expect("room");
    bytes
}

/// Those who are asked about. Their credentials are of one length, and so are all messages.
fn asked(count: usize) -> Vec<Asked> {
    let mut numbers: Vec<usize> = (0..count).collect();
    numbers.shuffle(&mut StdRng::seed_from_u64(7));
    let length = credential(count - 1).0.expose().len();
    let asked = numbers.into_iter().map(|number| Asked {
        credential: credential(number).0.expose().to_owned(),
        key: format!("tenants/acme/keys/{}", key_id(number)),
    });
    asked.filter(|asked| asked.credential.len() == length).take(ASKED).collect()
}

fn question(asked: &Asked) -> CheckRequest {
    CheckRequest {
        credential: asked.credential.clone(),
        tenant: "tenants/acme".to_owned(),
        permissions: vec![Permission { resource: "apis/maps".to_owned(), action: "use".to_owned() }],
        ..CheckRequest::default()
    }
}

async fn check(channel: &Channel, asked: &Asked) -> CheckResponse {
    let answer = CheckServiceClient::new(channel.clone()).check(question(asked)).await.expect("an answer").into_inner();
    assert_eq!(answer.decision(), Decision::Allowed);
    answer
}

fn answer(reply: &CheckResponse, asked: &Asked) -> CheckResponse {
    let mut answer = reply.clone();
    answer.principal.as_mut().expect("a principal").key.clone_from(&asked.key);
    answer
}

/// What Envoy sends of an ordinary request.
fn proxied(asked: &Asked) -> envoy::CheckRequest {
    let headers = [
        (":authority", "api.example.com"),
        (":method", "GET"),
        (":path", "/v1/maps/42?zoom=3"),
        (":scheme", "https"),
        ("accept", "application/json"),
        ("accept-encoding", "gzip, deflate, br"),
        ("authorization", &format!("Bearer {}", asked.credential)),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0"),
        ("x-forwarded-for", "203.0.113.7"),
        ("x-forwarded-proto", "https"),
        ("x-request-id", "6f3a1c9e-8f1b-4c52-9d8f-2a9f0f6f1b77"),
    ];
    let http = envoy::attribute_context::HttpRequest {
        id: "1234567890".to_owned(),
        method: "GET".to_owned(),
        path: "/v1/maps/42?zoom=3".to_owned(),
        host: "api.example.com".to_owned(),
        scheme: "https".to_owned(),
        protocol: "HTTP/1.1".to_owned(),
        headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    };
    let socket = core::SocketAddress { address: "203.0.113.7".to_owned(), ..Default::default() };
    let address = core::Address { address: Some(core::address::Address::SocketAddress(socket)) };
    let said = [("resource", "apis/maps"), ("action", "use"), ("tenant", "tenants/acme")];
    let attributes = envoy::AttributeContext {
        source: Some(envoy::attribute_context::Peer { address: Some(address), ..Default::default() }),
        request: Some(envoy::attribute_context::Request { http: Some(http), ..Default::default() }),
        context_extensions: said.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    };
    envoy::CheckRequest { attributes: Some(attributes) }
}

async fn authorize(channel: &Channel, proxied: &[envoy::CheckRequest]) -> Vec<envoy::CheckResponse> {
    let mut client = AuthorizationClient::new(channel.clone());
    let mut replies = Vec::with_capacity(proxied.len());
    for request in proxied {
        let reply = client.check(request.clone()).await.expect("an answer").into_inner();
        assert_eq!(reply.status.as_ref().map(|status| status.code), Some(0), "it is let pass");
        replies.push(reply);
    }
    replies
}

/// Waits until no revision comes by itself any more.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}
