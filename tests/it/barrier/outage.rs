//! The database goes away, falls silent or is slow: Checks go on from memory as long as the lease, mutations fail soon and
//! clearly, and all of it recovers by itself.

use super::relay::Link;
use super::site::{Engine, PATIENCE, Replica, Site};
use crate::harness::Client;
use keyward::proto::v1::*;
use sea_orm::sqlx::Executor as _;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{sleep, timeout};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const LEASE: Duration = Duration::from_secs(4);

/// The longest that a mutation may take to say that there is no database.
const SOON: Duration = Duration::from_secs(30);

async fn is_healthy(replica: &Replica) -> bool {
    let answer = HealthClient::new(replica.data(0)).check(HealthCheckRequest::default()).await.unwrap();
    answer.into_inner().status() == ServingStatus::Serving
}

/// A mutation fails with UNAVAILABLE, and does not have its caller wait for the end of its time.
async fn refuses_changes(owner: &Client) {
    let status = timeout(SOON, owner.key("tenants/-").tried()).await.expect("a mutation hangs").unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");
}

async fn until_healthy(replica: &Replica, wanted: bool) {
    let begun = Instant::now();
    while is_healthy(replica).await != wanted {
        assert!(begun.elapsed() < PATIENCE, "the health is not told");
        sleep(Duration::from_millis(20)).await;
    }
}

/// The median time of so many Checks in a row that are all answered with ALLOWED.
async fn median(replica: &Replica, credential: &str, count: usize) -> Option<Duration> {
    let mut spans = Vec::new();
    for _ in 0..count {
        let begun = Instant::now();
        if !replica.allows(credential).await {
            return None;
        }
        spans.push(begun.elapsed());
    }
    spans.sort_unstable();
    spans.get(spans.len() / 2).copied()
}

/// Stops the database, and says when it was gone. Once more, if that took so long that leases may be over already.
async fn stop_at_once(site: &Site) -> Instant {
    for _ in 0..10 {
        let (daemon, begun) = (Arc::clone(&site.daemon), Instant::now());
        spawn_blocking(move || daemon.stop("INT")).await.unwrap();
        if begun.elapsed() < LEASE / 3 {
            return Instant::now();
        }
        let daemon = Arc::clone(&site.daemon);
        spawn_blocking(move || daemon.begin()).await.unwrap();
        site.until_all_serve().await;
    }
    panic!("the database does not stop within a third of a lease");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_database_checks_go_on_until_the_lease_is_over() {
    let site = Site::start(Engine::Postgres, 2, LEASE).await;
    let (_, credential) = site.key("one").await;
    let replica = &site.replicas[0];
    let before = median(replica, &credential, 200).await;
    let gone = stop_at_once(&site).await;
    let during = median(replica, &credential, 100).await;
    let (mut from_memory, mut owner) = (0_u64, site.owner(0));
    while replica.allows(&credential).await {
        // Sent while its lease may run still.
        from_memory += 1;
        assert!(gone.elapsed() < LEASE + PATIENCE);
    }
    let over = gone.elapsed();
    for replica in &site.replicas {
        let begun = Instant::now();
        while replica.allows(&credential).await {
            assert!(begun.elapsed() < PATIENCE, "it answers without a lease");
        }
        until_healthy(replica, false).await;
    }
    refuses_changes(&owner).await;
    for _ in 0..50 {
        for replica in &site.replicas {
            let status = replica.check(&credential).await.unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{status}");
        }
    }
    let daemon = Arc::clone(&site.daemon);
    spawn_blocking(move || daemon.begin()).await.unwrap();
    site.until_all_serve().await;
    until_healthy(replica, true).await;
    owner = site.owner(1);
    let begun = Instant::now();
    while let Err(status) = owner.key("tenants/-").tried().await {
        assert_eq!(status.code(), Code::Unavailable, "{status}");
        assert!(begun.elapsed() < PATIENCE, "mutations do not come back");
    }
    let ratio = match (before, during) {
        (Some(before), Some(during)) => format!("{:.2}", during.as_secs_f64() / before.as_secs_f64()),
        (None, _) | (_, None) => "not measured".to_owned(),
    };
    println!(
        "barrier: database stopped: {from_memory} more Checks from memory, refused after {} ms (lease {} ms); median \
         {during:?} against {before:?} before, ratio {ratio}",
        over.as_millis(),
        LEASE.as_millis()
    );
    assert!(from_memory > 0 || during.is_some(), "no Check was answered from memory");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_open_connections_stop_one_replica_only_and_mend_by_themselves() {
    let site = Site::start(Engine::Postgres, 2, LEASE).await;
    let (name, credential) = site.key("one").await;
    site.replicas[1].relay.set(Link::Silent);
    let (refused, revoked) = (site.owner(1), site.owner(0));
    let revoke = revoked.key("tenants/-").id("other").tried();
    let (made, ()) = tokio::join!(revoke, refuses_changes(&refused));
    made.unwrap();
    let request = RevokeKeyRequest { name, ..RevokeKeyRequest::default() };
    revoked.keys().revoke_key(request).await.unwrap();
    assert!(!site.replicas[1].allows(&credential).await);
    until_healthy(&site.replicas[1], false).await;
    site.replicas[1].relay.set(Link::Up);
    site.until_it_serves(1).await;
    until_healthy(&site.replicas[1], true).await;
    assert!(!site.replicas[1].allows(&credential).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_held_head_slow_queries_and_crowds_stall_neither_checks_nor_the_lease() {
    let lease = Duration::from_secs(8);
    let site = Arc::new(Site::start(Engine::Postgres, 1, lease).await);
    let (_, credential) = site.key("one").await;
    let mut hand = site.hand().await;
    hand.execute("BEGIN").await.unwrap();
    hand.execute("SELECT rev FROM ledger_head FOR UPDATE").await.unwrap();
    let mut crowd = JoinSet::new();
    let until = Instant::now() + lease.mul_f64(1.5);
    for number in 0..64 {
        let site = Arc::clone(&site);
        crowd.spawn(async move {
            while Instant::now() < until {
                if number % 2 == 0 {
                    let request = ListEventsRequest { page_size: 1000, ..ListEventsRequest::default() };
                    let _slow_or_refused = site.root(0).events().list_events(request).await;
                } else {
                    let made = timeout(SOON, site.owner(0).key("tenants/-").tried()).await.expect("a mutation hangs");
                    // Those that wait longest may find the head free.
                    assert!(made.is_ok() || made.is_err_and(|status| status.code() != Code::DeadlineExceeded));
                }
            }
        });
    }
    let mut asked = 0_u64;
    while Instant::now() < until {
        let answer = site.replicas[0].check(&credential).await.unwrap();
        assert_eq!(answer.decision(), Decision::Allowed);
        asked += 1;
        sleep(Duration::from_millis(2)).await;
    }
    assert!(is_healthy(&site.replicas[0]).await);
    hand.execute("ROLLBACK").await.unwrap();
    while let Some(ended) = crowd.join_next().await {
        ended.unwrap();
    }
    site.owner(0).key("tenants/-").issued().await;
    println!("barrier: head held for 1.5 leases with 32 mutations and 32 lists waiting: {asked} Checks, all answered");
}
