//! How replicas are shown to operators: by RPC, in metrics, by health, and in the log.

use crate::harness::process::Process;
use crate::harness::{Client, TestServer, ledger, mariadb, postgres, refused};
use crate::serve::http_get;
use crate::transport::until;
use keyward::proto::v1::*;
use sea_orm::ConnectionTrait as _;
use std::time::{Duration, Instant};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

async fn status(client: &Client) -> GetStatusResponse {
    client.replicas().get_status(GetStatusRequest {}).await.unwrap().into_inner()
}

async fn list(client: &Client, page_size: i32, page_token: &str) -> ListReplicasResponse {
    let request = ListReplicasRequest { page_size, page_token: page_token.to_owned() };
    client.replicas().list_replicas(request).await.unwrap().into_inner()
}

#[tokio::test]
async fn the_status_tells_how_far_the_replica_has_come_and_how_long_it_may_answer() {
    let server = TestServer::start().await;
    let root = server.root();
    let tenant = server.tenant("acme").await;
    let before = status(&root).await;
    assert_eq!(before.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(before.database_engine, "sqlite");
    assert_eq!(before.lease_duration.unwrap().seconds, 10);
    let remaining = Duration::try_from(before.lease_remaining.unwrap()).unwrap();
    assert!(remaining > Duration::from_secs(5) && remaining <= Duration::from_secs(10), "{remaining:?}");
    assert_eq!(before.floor_revision, 0);
    assert!(!before.cluster_id.is_empty() && !before.replica_id.is_empty());
    assert_eq!((before.waiting_mutations, before.outstanding_replicas), (0, 0));

    tenant.owner.key("tenants/-").issued().await;
    let after = status(&root).await;
    assert_eq!(after.applied_revision, before.applied_revision + 1);
    assert!(after.revision >= after.applied_revision);
    assert_eq!((after.cluster_id, after.replica_id), (before.cluster_id, before.replica_id));

    let own = list(&root, 0, "").await.replicas;
    assert_eq!(own.len(), 1);
    assert_eq!(own[0].state(), ReplicaState::Active);
    assert_eq!(own[0].applied_revision, after.applied_revision, "what is in memory goes before what is in the row");
    assert_eq!(own[0].lease_duration.unwrap().seconds, 10);
}

#[tokio::test]
async fn replicas_are_listed_by_pages_those_being_shut_out_too() {
    let server = TestServer::start().await;
    let root = server.root();
    let added = "INSERT INTO replica (id, state, address, applied, lease_ms, reader) VALUES \
        ('00000000-0000-4000-8000-000000000001', 'active', '10.0.0.1:50052', 7, 2000, 1), \
        ('ffffffff-ffff-4fff-bfff-fffffffffff1', 'fencing', '10.0.0.2:50052', -1, 10000, 1), \
        ('ffffffff-ffff-4fff-bfff-fffffffffff2', 'active', '', 3, 10000, 1)";
    assert_eq!(ledger::execute(&server.database(), added).await, 3);
    // Where it serves is told once it does.
    let is_announced =
        async || list(&root, 0, "").await.replicas.iter().filter(|row| !row.address.is_empty()).count() == 3;
    until("the replica says where it serves", is_announced).await;

    let all = list(&root, 0, "").await;
    assert_eq!((all.replicas.len(), all.next_page_token.as_str()), (4, ""));
    let first = &all.replicas[0];
    assert_eq!(
        (first.state(), first.address.as_str(), first.applied_revision),
        (ReplicaState::Active, "10.0.0.1:50052", 7)
    );
    assert_eq!(first.lease_duration.unwrap().seconds, 2);
    let fenced = &all.replicas[2];
    assert_eq!((fenced.state(), fenced.applied_revision), (ReplicaState::Fencing, 0));

    for size in 1..=5 {
        let (mut found, mut token) = (Vec::new(), String::new());
        loop {
            let page = list(&root, size, &token).await;
            assert!(page.replicas.len() <= usize::try_from(size).unwrap());
            found.extend(page.replicas);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        assert_eq!(found, all.replicas, "by {size}");
    }

    let token = list(&root, 1, "").await.next_page_token;
    let mut forged = token.clone();
    forged.replace_range(..1, if token.starts_with('A') { "B" } else { "A" });
    server.tenant("acme").await;
    server.tenant("bolt").await;
    let tenants = ListTenantsRequest { page_size: 1, ..Default::default() };
    let elsewhere = root.tenants().list_tenants(tenants).await.unwrap().into_inner().next_page_token;
    for (page_size, page_token, field) in
        [(-1, String::new(), "page_size"), (1, forged, "page_token"), (1, elsewhere, "page_token")]
    {
        let request = ListReplicasRequest { page_size, page_token };
        assert_eq!(refused(root.replicas().list_replicas(request).await, Code::InvalidArgument).fields, [field]);
    }
}

/// The value of a series in what `/metrics` answers.
fn series(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map(|value| value.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_show_lease_lag_and_waits_from_the_start() {
    let server = TestServer::start().await;
    let read = |name: &str| {
        let text = http_get(&server.ops_addr(), "/metrics");
        series(&text, name).unwrap_or_else(|| panic!("{name} is not in {text}"))
    };
    for name in [
        "keyward_replica_lag_revisions",
        "keyward_replica_refusing",
        "keyward_barrier_outstanding_replicas",
        "keyward_barrier_waiting_mutations",
        "keyward_barrier_wait_seconds_count{outcome=\"settled\"}",
        "keyward_barrier_wait_seconds_count{outcome=\"unfinished\"}",
        "keyward_barrier_wait_seconds_count{outcome=\"lost\"}",
        "keyward_barrier_wait_seconds_count{outcome=\"unreadable\"}",
    ] {
        assert_eq!(read(name), 0.0, "{name}");
    }
    let (age, remaining) = (read("keyward_lease_age_seconds"), read("keyward_lease_remaining_seconds"));
    assert!(age < 5.0 && remaining > 5.0 && remaining <= 10.0, "{age} {remaining}");

    let tenant = server.tenant("acme").await;
    let key = tenant.owner.key("tenants/-").issued().await.key.unwrap();
    let waits = "keyward_barrier_wait_seconds_count{outcome=\"settled\"}";
    let before = read(waits);
    let request = RevokeKeyRequest { name: key.name, ..Default::default() };
    tenant.owner.keys().revoke_key(request).await.unwrap();
    assert_eq!(read(waits), before + 1.0);
}

/// Waits until that is so.
async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let begin = Instant::now();
    while !is_so().await {
        assert!(begin.elapsed() < Duration::from_secs(20), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_lease_is_told_by_health_metrics_and_log_and_so_is_its_return() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("keyward.db");
    let server = Process::start(&database, &["--lease", "1s"]);
    let root = std::fs::read_to_string(folder.path().join("root.key")).unwrap().trim().to_owned();
    let client = Client::at(server.admin(), &root);
    let health = async |service: &str| {
        let request = HealthCheckRequest { service: service.to_owned() };
        HealthClient::new(server.data()).check(request).await.unwrap().into_inner().status()
    };
    let is_ready = || http_get(&server.ops_addr, "/readyz").starts_with("HTTP/1.1 200");
    let metric = |name: &str| series(&http_get(&server.ops_addr, "/metrics"), name).unwrap();
    let mut watch = HealthClient::new(server.admin()).watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert!(is_ready());

    // The table is away: no poll succeeds, and the lease runs out.
    let begin = Instant::now();
    ledger::execute(&database, "ALTER TABLE replica RENAME TO replica_away").await;
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    let answered_for = begin.elapsed();
    assert!(answered_for < Duration::from_secs(5), "{answered_for:?}");
    for service in ["", "keyward.v1.CheckService", "keyward.v1.KeyService"] {
        assert_eq!(health(service).await, ServingStatus::NotServing, "{service}");
    }
    assert!(!is_ready());
    assert!(http_get(&server.ops_addr, "/healthz").starts_with("HTTP/1.1 200"), "it lives all the same");
    assert_eq!((metric("keyward_serving"), metric("keyward_lease_remaining_seconds")), (0.0, 0.0));
    assert!(metric("keyward_lease_age_seconds") > 0.9);
    let check = CheckRequest { credential: root.clone(), ..Default::default() };
    refused(client.clone().through(&server.data()).checks().check(check.clone()).await, Code::Unavailable);
    refused(client.replicas().get_status(GetStatusRequest {}).await, Code::Unavailable);

    ledger::execute(&database, "ALTER TABLE replica_away RENAME TO replica").await;
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    assert_eq!(health("").await, ServingStatus::Serving);
    assert!(is_ready());
    client.clone().through(&server.data()).checks().check(check).await.unwrap();
    assert!(metric("keyward_lease_remaining_seconds") > 0.0 && metric("keyward_lease_age_seconds") < 1.0);

    // Shut out: it joins under another id, and goes on.
    let id = status(&client).await.replica_id;
    ledger::execute(&database, "UPDATE replica SET state = 'fencing'").await;
    let joined_anew = async || match client.replicas().get_status(GetStatusRequest {}).await {
        Ok(status) => status.into_inner().replica_id != id,
        Err(_) => false,
    };
    eventually("it has not joined again", joined_anew).await;
    let rows = list(&client, 0, "").await.replicas;
    assert_eq!((rows.len(), rows[0].state()), (1, ReplicaState::Active));

    let (ended, _, log) = server.terminate();
    assert!(ended.success(), "{log}");
    for line in ["the lease is lost", "the lease holds again", "was shut out", "has joined again"] {
        let count = log.matches(line).count();
        let is_right = if line.starts_with("the lease") { (1..=2).contains(&count) } else { count == 1 };
        assert!(is_right, "{line:?} {count} times: {log}");
    }
}

async fn server_on(url: &str) -> TestServer {
    TestServer::start_with(|args| {
        args.database_url = Some(url.to_owned().into());
        args.lease = Some("1s".to_owned());
    })
    .await
}

const GHOST: &str = "ffffffff-ffff-4fff-bfff-ffffffffffff";

/// Has a replica join that never confirms anything.
async fn haunt(url: &str) {
    let database = sea_orm::Database::connect(url).await.unwrap();
    let row = format!(
        "INSERT INTO replica (id, state, address, applied, lease_ms, reader) VALUES ('{GHOST}', 'active', 'ghost', -1, 1000, 1)"
    );
    database.execute_unprepared(&row).await.unwrap();
    database.close().await.unwrap();
}

/// Several replicas, one of which is dead.
async fn whoever_keeps_a_mutation_waiting_is_seen(url: &str, engine: &str) {
    let server = server_on(url).await;
    let root = server.root();
    let tenant = server.tenant("acme").await;
    let mut second = server_on(url).await;
    let other = root.clone().through(&second.admin);

    let rows = list(&root, 0, "").await.replicas;
    let (mine, others) = (status(&root).await, status(&other).await);
    assert_eq!((mine.database_engine.as_str(), others.database_engine.as_str()), (engine, engine));
    assert_eq!(mine.cluster_id, others.cluster_id);
    let mut ids = [mine.replica_id, others.replica_id];
    ids.sort_unstable();
    assert_eq!(rows.iter().map(|row| row.id.as_str()).collect::<Vec<_>>(), ids);
    let states: Vec<ReplicaState> = rows.iter().map(Replica::state).collect();
    assert_eq!(states, [ReplicaState::Active; 2]);

    let read = |name: &str| series(&http_get(&server.ops_addr(), "/metrics"), name).unwrap();
    let count = |outcome: &str| read(&format!("keyward_barrier_wait_seconds_count{{outcome=\"{outcome}\"}}"));
    let is_waiting = async || {
        let status = status(&root).await;
        (status.waiting_mutations, status.outstanding_replicas) == (1, 1)
            && read("keyward_barrier_waiting_mutations") == 1.0
            && read("keyward_barrier_outstanding_replicas") == 1.0
    };
    let state_of_ghost = async || {
        let rows = list(&root, 0, "").await.replicas;
        rows.iter().find(|row| row.id == GHOST).map(Replica::state)
    };
    let key = async || tenant.owner.key("tenants/-").issued().await.key.unwrap().name;
    let revoke = |name: String, patience: Duration| {
        let mut request = Request::new(RevokeKeyRequest { name, ..Default::default() });
        request.set_timeout(patience);
        let mut keys = tenant.owner.keys();
        tokio::spawn(async move { keys.revoke_key(request).await })
    };

    // It waits until the ghost's lease is surely over, which others see meanwhile, and shut it out.
    haunt(url).await;
    let settled = count("settled");
    let begin = Instant::now();
    let revoked = revoke(key().await, Duration::from_secs(30));
    eventually("nothing is seen to wait", is_waiting).await;
    assert_eq!(count("settled"), settled);
    revoked.await.unwrap().unwrap();
    let waited = begin.elapsed();
    assert!(waited >= Duration::from_millis(1450), "{waited:?}");
    assert_eq!(count("settled"), settled + 1.0);
    eventually("the ghost is not shut out", async || state_of_ghost().await != Some(ReplicaState::Active)).await;
    eventually("the ghost is not removed", async || state_of_ghost().await.is_none()).await;
    let calm = status(&root).await;
    assert_eq!((calm.waiting_mutations, calm.outstanding_replicas), (0, 0));
    let name = key().await;
    let begin = Instant::now();
    revoke(name, Duration::from_secs(30)).await.unwrap().unwrap();
    let waited = begin.elapsed();
    assert!(waited < Duration::from_millis(1450), "it waits for nobody any more: {waited:?}");

    // Whoever has less patience is told so.
    haunt(url).await;
    let unfinished = revoke(key().await, Duration::from_millis(700)).await.unwrap();
    assert_eq!(refused(unfinished, Code::DeadlineExceeded).reason, "BARRIER_UNFINISHED");
    assert_eq!((count("unfinished"), count("lost"), count("unreadable")), (1.0, 0.0, 0.0));
    eventually("the ghost is not removed again", async || state_of_ghost().await.is_none()).await;

    second.stop().await;
    assert_eq!(list(&root, 0, "").await.replicas.len(), 1, "whoever leaves is not waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_a_mutation_waiting_is_seen_on_postgresql() {
    whoever_keeps_a_mutation_waiting_is_seen(&postgres::database().await, "postgres").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_keeps_a_mutation_waiting_is_seen_on_mariadb() {
    whoever_keeps_a_mutation_waiting_is_seen(&mariadb::database().await, "mysql").await;
}
