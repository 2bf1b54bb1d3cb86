//! Mistakes that are made by hand from outside, each of which the judge must find; and the same without a mistake.

use super::history::{Fact, barrier_breaks};
use super::relay::Link;
use super::site::{Engine, PATIENCE, Site};
use keyward::proto::v1::*;
use sea_orm::sqlx::{AssertSqlSafe, Executor as _};
use std::time::{Duration, Instant};

/// So long that a mistake is seen while the lease of the replica that is cut off still runs, however busy the machine is.
const LEASE: Duration = Duration::from_secs(8);

/// A mistake that a program could have, made by hand in a program that has it not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mistake {
    None,
    /// Whoever is silent is excluded without waiting for its lease to end.
    Exclude,
    /// What is not applied is confirmed.
    ConfirmBeforeApplying,
    /// The wait is shorter than the lease.
    ShortWait,
}

/// Two replicas, one of them cut off; the key is revoked at the other, and asked about at the first: how many breaks of the
/// barrier the judge finds.
async fn breaks_with(mistake: Mistake) -> usize {
    let started = Instant::now();
    let mut site = Site::start(Engine::Postgres, 2, LEASE).await;
    let (name, credential) = site.key("one").await;
    let mut hand = site.hand().await;
    // Where the wait is shorter, another replica revokes, which has learned of a lease that is not the real one.
    let mut revoker = 0;
    if mistake == Mistake::ShortWait {
        site.replicas[0].terminate().await;
        hand.execute("UPDATE ledger_head SET lease_ms = 1000").await.unwrap();
        hand.execute("UPDATE replica SET lease_ms = 1000").await.unwrap();
        revoker = site.add().await;
        site.begin(revoker, &[]).await.unwrap();
        site.until_it_serves(revoker).await;
    }
    let statement = match mistake {
        Mistake::None | Mistake::ShortWait => "",
        Mistake::Exclude => "DELETE FROM replica WHERE address = ",
        Mistake::ConfirmBeforeApplying => "UPDATE replica SET applied = 1000000 WHERE address = ",
    };
    let address = format!("'{}'", site.replicas[1].admin_addr());
    // Where it serves it says soon after it has begun to.
    let row = format!("SELECT 1 FROM replica WHERE address = {address}");
    while hand.fetch_optional(AssertSqlSafe(row.clone())).await.unwrap().is_none() {
        assert!(started.elapsed() < PATIENCE, "the replica has no row");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    site.replicas[1].relay.set(Link::Silent);
    if !statement.is_empty() {
        let statement = format!("{statement}{address}");
        let changed = hand.execute(AssertSqlSafe(statement)).await.unwrap().rows_affected();
        assert_eq!(changed, 1, "the replica has no row");
    }
    let begun = Instant::now();
    let mut request = tonic::Request::new(RevokeKeyRequest { name, ..RevokeKeyRequest::default() });
    request.set_timeout(PATIENCE);
    site.owner(revoker).keys().revoke_key(request).await.unwrap();
    let mut facts = vec![Fact::Ended { credential: 1, at: begun.elapsed() }];
    for _ in 0..20 {
        let sent = begun.elapsed();
        if site.replicas[1].allows(&credential).await {
            facts.push(Fact::Allowed { credential: 1, replica: 1, sent, answered: begun.elapsed() });
        }
    }
    let found = barrier_breaks(&facts).len();
    println!("barrier: mistake {mistake:?}: OK after {} ms, {found} violations", begun.elapsed().as_millis());
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_mistake_a_replica_that_is_cut_off_allows_nothing_revoked() {
    assert_eq!(breaks_with(Mistake::None).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn excluding_a_replica_without_waiting_is_found() {
    assert!(breaks_with(Mistake::Exclude).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirming_before_applying_is_found() {
    assert!(breaks_with(Mistake::ConfirmBeforeApplying).await > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_less_than_the_lease_is_found() {
    assert!(breaks_with(Mistake::ShortWait).await > 0);
}
