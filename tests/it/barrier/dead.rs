//! A replica that died delays the first revocation only.

use super::LEASE;
use super::site::{Engine, PATIENCE, Site};
use crate::harness::send;
use sea_orm::sqlx::{self, Row as _};
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Where all replicas serve that have a row.
async fn addresses(site: &Site) -> Vec<String> {
    let rows = sqlx::query("SELECT address FROM replica").fetch_all(&mut site.hand().await).await.unwrap();
    rows.into_iter().map(|row| row.get("address")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_replica_delays_the_first_revocation_and_none_after_it() {
    let site = Site::start(Engine::Postgres, 3, LEASE).await;
    let mut keys = Vec::new();
    for number in 0..6 {
        keys.push(site.key(&format!("key-{number}")).await);
    }
    let dead = site.replicas[2].admin_addr();
    site.replicas[2].kill();
    let mut spans = Vec::new();
    let revoke = async |at: usize, (name, credential): &(String, String)| {
        let begun = Instant::now();
        send!(site.owner(at).keys(), revoke_key, RevokeKeyRequest { name: &**name }).unwrap();
        let span = begun.elapsed();
        assert!(!site.replicas[0].allows(credential).await && !site.replicas[1].allows(credential).await);
        span
    };
    spans.push(revoke(0, &keys[0]).await);
    // It is shut out and its row removed without anybody's asking again.
    let begun = Instant::now();
    while addresses(&site).await.contains(&dead) {
        assert!(begun.elapsed() < PATIENCE, "the row of the dead stays");
        sleep(Duration::from_millis(20)).await;
    }
    for (number, key) in keys.iter().enumerate().skip(1) {
        spans.push(revoke(number % 2, key).await);
        assert!(!addresses(&site).await.contains(&dead));
    }
    println!("barrier: one of three replicas killed: revocations answered after {spans:?}");
    assert_eq!(addresses(&site).await.len(), 2);
}
