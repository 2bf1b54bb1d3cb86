//! What was pruned from the log is had from the rows.

use super::LEASE;
use super::site::{Engine, Site};
use crate::harness::send;
use keyward::clock::Clock;
use keyward::store::Store;
use sea_orm::sqlx;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_behind_the_floor_of_the_log_loads_anew_and_a_start_needs_no_more_than_is_left() {
    let site = Site::start(Engine::Postgres, 2, LEASE).await;
    let (name, revoked) = site.key("revoked").await;
    site.replicas[1].signal("STOP");
    send!(site.owner(0).keys(), revoke_key, RevokeKeyRequest { name: &*name }).unwrap();
    let first = site.owner(0).key("tenants/-").issued().await.credential;
    let made = site.owner(0).key("tenants/-").issued().await;
    let (last, floor) = (made.credential, made.revision);
    let store = Store::open(&site.url, Clock::default()).await.unwrap();
    assert!(store.raise_floor(floor).await.unwrap());
    assert!(!store.raise_floor(floor).await.unwrap(), "it is raised once");
    while store.prune(floor).await.unwrap() {}
    store.close().await.unwrap();
    let left: i64 =
        sqlx::query_scalar("SELECT count(*) FROM ledger_change").fetch_one(&mut site.hand().await).await.unwrap();
    assert_eq!(left, 0, "the log is pruned up to its end");

    site.replicas[1].signal("CONT");
    site.until_it_serves(1).await;
    assert!(!site.replicas[1].allows(&revoked).await);
    assert!(site.replicas[1].allows(&first).await && site.replicas[1].allows(&last).await);
    let (code, log) = site.replicas[1].terminate().await;
    assert_eq!(code, Some(0));
    assert!(log.contains("what is missing was pruned"), "it did not load anew:\n{log}");

    site.begin(1, &[]).await.unwrap();
    site.until_it_serves(1).await;
    assert!(!site.replicas[1].allows(&revoked).await && site.replicas[1].allows(&last).await);
}
