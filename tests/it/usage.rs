//! How much keys are used, as clients have counted it and as Keyward tells it.

use crate::harness::process::Process;
use crate::harness::{Client, TestServer, refused, send};
use crate::serve::http_get;
use keyward::proto::envoy::config::core::v3::{HeaderMap, HeaderValue};
use keyward::proto::envoy::service::auth::v3 as envoy;
use keyward::proto::v1::check_service_client::CheckServiceClient;
use keyward::proto::v1::*;
use prost_types::Timestamp;
use tempfile::TempDir;
use tonic::Code;
use tonic::transport::Channel;

/// What the keys of [`ask_everywhere`] must hold.
pub const HELD: [(&str, &str); 2] = [("doc/*", "read"), ("http/-/pkg.Service/Method", "post")];

/// How many Checks clients were told to be allowed, and denied.
pub type Told = (i64, i64);

pub fn question(credential: &str, doc: &str) -> CheckRequest {
    let read = Permission { resource: doc.to_owned(), action: "read".to_owned() };
    CheckRequest { credential: credential.to_owned(), permissions: vec![read], ..CheckRequest::default() }
}

/// Asks about a key by every door, some of it in vain.
pub async fn ask_everywhere(channel: &Channel, credential: &str) -> Told {
    let mut client = CheckServiceClient::new(channel.clone());
    let mut decisions = Vec::new();
    for doc in ["doc/1", "secret", "doc/2"] {
        decisions.push(client.check(question(credential, doc)).await.unwrap().into_inner().decision());
    }
    let mut checks: Vec<CheckRequest> =
        ["doc/1", "secret", "doc/3", "nothing"].map(|doc| question(credential, doc)).into();
    checks.push(question("nobody's", "doc/1"));
    let batch = client.batch_check(BatchCheckRequest { checks }).await.unwrap().into_inner();
    decisions.extend(batch.results[..4].iter().map(CheckResponse::decision));
    let questions = ["doc/1", "secret"].map(|doc| StreamCheckRequest { check: Some(question(credential, doc)) });
    let mut answers = client.stream_check(tokio_stream::iter(questions)).await.unwrap().into_inner();
    while let Some(answer) = answers.message().await.unwrap() {
        decisions.push(answer.result.unwrap().decision());
    }
    let allowed = decisions.iter().filter(|decision| **decision == Decision::Allowed).count();
    let mut told = (i64::try_from(allowed).unwrap(), i64::try_from(decisions.len() - allowed).unwrap());
    for path in ["/pkg.Service/Method", "/pkg.Service/Other"] {
        let mut envoy = envoy::authorization_client::AuthorizationClient::new(channel.clone());
        let answer = envoy.check(through_envoy(credential, path)).await.unwrap().into_inner();
        if answer.status.unwrap().code == 0 { told.0 += 1 } else { told.1 += 1 }
    }
    told
}

pub fn through_envoy(credential: &str, path: &str) -> envoy::CheckRequest {
    let bearer = HeaderValue {
        key: "authorization".to_owned(),
        raw_value: format!("Bearer {credential}").into_bytes(),
        ..HeaderValue::default()
    };
    let http = envoy::attribute_context::HttpRequest {
        method: "POST".to_owned(),
        path: path.to_owned(),
        header_map: Some(HeaderMap { headers: vec![bearer] }),
        ..Default::default()
    };
    let request = Some(envoy::attribute_context::Request { http: Some(http), ..Default::default() });
    envoy::CheckRequest { attributes: Some(envoy::AttributeContext { request, ..Default::default() }) }
}

/// All that is known of the use of a key.
pub async fn usage_of(client: &Client, name: &str) -> KeyUsage {
    let all = |seconds| Timestamp { seconds, nanos: 0 };
    let request = GetKeyUsageRequest {
        name: name.to_owned(),
        start_time: Some(all(1_500_000_000)),
        end_time: Some(all(5_000_000_000)),
        ..GetKeyUsageRequest::default()
    };
    client.keys().get_key_usage(request).await.unwrap().into_inner().key_usage.unwrap()
}

/// The totals, which are those of the hours.
pub async fn told_of(client: &Client, name: &str) -> Told {
    let usage = usage_of(client, name).await;
    let sum = usage.hours.iter().fold((0, 0), |sum, hour| (sum.0 + hour.allowed_count, sum.1 + hour.denied_count));
    assert_eq!((usage.allowed_count, usage.denied_count), sum);
    sum
}

pub fn plus(a: Told, b: Told) -> Told {
    (a.0 + b.0, a.1 + b.1)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_span_is_rounded_outwards_and_what_is_no_span_is_refused() {
    let server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let key = acme.owner.key("tenants/-").id("ci").issued().await.key.unwrap();
    let ask = async |start: Option<Timestamp>, end: Option<Timestamp>| {
        let request =
            GetKeyUsageRequest { name: key.name.clone(), start_time: start, end_time: end, ..Default::default() };
        acme.owner.keys().get_key_usage(request).await.map(|answer| answer.into_inner().key_usage.unwrap())
    };
    let at = |seconds| Some(Timestamp { seconds, nanos: 1000 });
    let usage = ask(at(7 * 3600 + 5), at(9 * 3600)).await.unwrap();
    let seconds = |usage: &KeyUsage| (usage.start_time.unwrap().seconds, usage.end_time.unwrap().seconds);
    assert_eq!((seconds(&usage), usage.name), ((7 * 3600, 10 * 3600), "tenants/acme/keys/ci".to_owned()));
    let usage = ask(None, None).await.unwrap();
    let (start, end) = seconds(&usage);
    let now = server.time_in(0).seconds;
    assert!(end - start == 24 * 3600 && end % 3600 == 0 && (now - 3600..=now + 3600).contains(&end), "{start} {end}");
    assert_eq!((usage.hours.len(), usage.allowed_count, usage.last_auth_time), (0, 0, None));
    for (start, end, field) in [
        (at(7), at(7), "end_time"),
        (at(7), at(6), "end_time"),
        (Some(server.time_in(60)), None, "start_time"),
        (at(i64::MAX), None, "start_time"),
        (None, at(i64::MIN), "end_time"),
    ] {
        assert_eq!(refused(ask(start, end).await, Code::InvalidArgument).fields, [field]);
    }
    let none = send!(acme.owner.keys(), get_key_usage, GetKeyUsageRequest { name: "tenants/-/keys/none" });
    refused(none, Code::NotFound);
    let stale = GetKeyUsageRequest { name: key.name.clone(), etag: "stale".to_owned(), ..Default::default() };
    assert_eq!(refused(acme.owner.keys().get_key_usage(stale).await, Code::Aborted).reason, "STALE_ETAG");
    send!(acme.owner.keys(), delete_key, DeleteKeyRequest { name: &*key.name }).unwrap();
    ask(None, None).await.unwrap();
    let metrics = http_get(&server.ops_addr(), "/metrics");
    for shown in ["keyward_usage_flushes_total{outcome=\"failed\"} 0", "keyward_usage_dropped_checks_total 0"] {
        assert!(metrics.contains(shown), "{metrics}");
    }
}

#[tokio::test]
async fn keys_that_were_not_used_since_a_day_are_found_by_one_filter() {
    let mut server = TestServer::start().await;
    let acme = server.tenant("acme").await;
    let mut made = Vec::new();
    for id in ["long-unused", "never-used", "used"] {
        made.push(acme.owner.key("tenants/-").id(id).issued().await.credential);
    }
    server.check(&made[0]).allowed().await;
    // Denied is not used.
    server.check(&made[1]).may("x", "y").denied(&[Reason::NotGranted]).await;
    server.pass(3 * 24 * 3600);
    let since = server.time_in(-24 * 3600).seconds;
    server.check(&made[2]).allowed().await;
    acme.owner.key("tenants/-").id("young").issued().await;
    server.restart().await;
    let owner = server.bearer(&acme.made.master_credential);
    let listed = async |filter: &str| {
        let filter = format!("type = REGULAR AND {filter}");
        let request = ListKeysRequest { parent: "tenants/-".to_owned(), filter, ..ListKeysRequest::default() };
        let keys = owner.keys().list_keys(request).await.unwrap().into_inner().keys;
        keys.into_iter().map(|key| key.name.rsplit('/').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let day = time::OffsetDateTime::from_unix_timestamp(since).unwrap();
    let day = day.format(&time::format_description::well_known::Rfc3339).unwrap();
    assert_eq!(listed(&format!("last_auth_time < \"{day}\"")).await, ["long-unused", "never-used", "young"]);
    let old = format!("last_auth_time < {day} AND create_time < {day}");
    assert_eq!(listed(&old).await, ["long-unused", "never-used"]);
    assert_eq!(listed(&format!("last_auth_time >= {day}")).await, ["used"]);
    assert_eq!(listed("last_auth_time < 1970-01-01T00:00:00Z").await, ["never-used", "young"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_told_to_end_writes_down_all_that_it_has_answered() {
    let folder = TempDir::new().unwrap();
    let database = folder.path().join("keyward.db");
    let start = || Process::start(&database, &[]);
    let process = start();
    let root = std::fs::read_to_string(folder.path().join("root.key")).unwrap();
    let request = CreateTenantRequest {
        tenant_id: "acme".to_owned(),
        owner: Some(User { email: "owner@acme.example".to_owned(), ..User::default() }),
        ..CreateTenantRequest::default()
    };
    let root = Client::at(process.admin(), root.trim());
    let owner = root.tenants().create_tenant(request).await.unwrap().into_inner().master_credential;
    let key = Client::at(process.admin(), &owner).key("tenants/-");
    let made = HELD.iter().fold(key, |key, (resource, action)| key.may(resource, action)).issued().await;
    let name = made.key.unwrap().name;
    let (mut process, mut told) = (process, (0, 0));
    for _ in 0..3 {
        for _ in 0..5 {
            told = plus(told, ask_everywhere(&process.data(), &made.credential).await);
        }
        let (status, _, log) = process.terminate();
        assert!(status.success(), "{log}");
        process = start();
        assert_eq!(told_of(&Client::at(process.admin(), &owner), &name).await, told);
    }
    assert!(told.0 > 50 && told.1 > 50, "{told:?}");
}
