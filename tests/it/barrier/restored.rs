//! A database that was restored from an older backup is refused and reported until an operator adopts it.

use super::LEASE;
use super::relay::Link;
use super::site::{Engine, PATIENCE, Site};
use crate::harness::{postgres, process, refused, send};
use crate::watch::{next, watch};
use keyward::proto::v1::WatchEventsRequest;
use sea_orm::sqlx::postgres::PgConnection;
use sea_orm::sqlx::{AssertSqlSafe, Executor as _};
use std::time::Instant;
use tokio::time::sleep;
use tonic::Code;

/// Carries statements out on a database that nobody is connected to meanwhile.
async fn apart(site: &Site, hand: &mut PgConnection, database: &str, statements: &[String]) {
    site.set_links(Link::Cut);
    let begun = Instant::now();
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'");
    for statement in statements {
        loop {
            hand.execute(AssertSqlSafe(end.clone())).await.unwrap();
            match hand.execute(AssertSqlSafe(statement.clone())).await {
                Ok(_) => break,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{statement}: {error}"),
            }
            sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    site.set_links(Link::Up);
}

/// Asks these replicas for as long as two leases: they refuse all the while.
async fn refuse(site: &Site, replicas: &[usize], credentials: &[&str]) -> u64 {
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < LEASE * 2 {
        for replica in replicas {
            for credential in credentials {
                let status = site.replicas[*replica].check(credential).await.unwrap_err();
                assert_eq!(status.code(), Code::Unavailable, "{status}");
                asked += 1;
            }
        }
        sleep(LEASE / 40).await;
    }
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_backup_is_refused_until_it_is_adopted() {
    let mut site = Site::start(Engine::Postgres, 3, LEASE).await;
    let (revoked_name, revoked) = site.key("revoked").await;
    let (_, kept) = site.key("kept").await;
    let database = site.url.rsplit('/').next().unwrap().to_owned();
    let mut hand = postgres::connect(&site.daemon, "postgres").await;
    apart(&site, &mut hand, &database, &[format!("CREATE DATABASE older TEMPLATE {database}")]).await;
    site.until_all_serve().await;
    let begun = Instant::now();
    let revision = loop {
        match send!(site.owner(0).keys(), revoke_key, RevokeKeyRequest { name: &*revoked_name }) {
            Ok(answer) => break answer.revision,
            // Connections that were cut are found to be so by their next use.
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status}"),
        }
        assert!(begun.elapsed() < PATIENCE, "mutations do not come back");
    };
    for replica in &site.replicas {
        assert!(!replica.allows(&revoked).await);
    }

    // Somebody watches, who has seen the last event that there will not have been.
    let mut seen = watch(&site.root(0), "", revision - 1).await.unwrap();
    let last = next(&mut seen).await.unwrap().unwrap();
    let mut watched = watch(&site.root(0), "", last.revision).await.unwrap();

    // The older one comes back under the same name.
    let moves =
        [format!("ALTER DATABASE {database} RENAME TO lost"), format!("ALTER DATABASE older RENAME TO {database}")];
    apart(&site, &mut hand, &database, &moves).await;
    let begun = Instant::now();
    for replica in &site.replicas {
        while replica.allows(&kept).await {
            assert!(!replica.allows(&revoked).await, "what was revoked has come back");
            assert!(begun.elapsed() < PATIENCE, "the older ledger is followed");
        }
    }
    let mut asked = refuse(&site, &[0, 1, 2], &[&revoked, &kept]).await;
    let status = site.owner(0).key("tenants/-").tried().await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "{status}");

    // Somebody who was never told goes on with it, beyond what was lost.
    let stranger = site.add().await;
    site.begin(stranger, &[]).await.unwrap();
    let mut newest = 0;
    while newest <= revision + 3 {
        newest = site.owner(stranger).key("tenants/-").issued().await.revision;
    }
    asked += refuse(&site, &[0, 1, 2], &[&revoked, &kept]).await;
    let (code, log) = site.replicas[2].terminate().await;
    assert_eq!(code, Some(0));
    assert!(log.contains("backup"), "why it refuses is not in its log:\n{log}");

    let (code, printed, said) = process::ended(site.tool("adopt"));
    assert_eq!(code, Some(0), "{printed}\n{said}");
    for number in [0, 1, stranger] {
        site.until_it_serves(number).await;
        assert!(site.replicas[number].allows(&kept).await);
    }
    let events =
        send!(site.root(0).events(), list_events, ListEventsRequest { filter: "kind = ledger.adopt" }).unwrap();
    assert_eq!(events.events.len(), 1, "{events:?}");
    // Whoever watched is told nothing of the other history, though it has grown past what was seen.
    refused(next(&mut watched).await, Code::Unavailable);
    let request = WatchEventsRequest { after_revision: last.revision, after_chain: last.chain, ..Default::default() };
    refused(site.root(0).events().watch_events(request).await.map(drop), Code::FailedPrecondition);
    println!("barrier: older backup restored: {asked} Checks refused by three replicas until it was adopted");
}
