//! The use of keys as clients of several replicas have counted it, through ends that were asked for and one that was not.

use super::LEASE;
use super::site::{Engine, PATIENCE, Site};
use crate::usage::{HELD, Told, ask_everywhere, plus, told_of};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Several clients at once, each at a replica: what they were told.
async fn asked(site: &Arc<Site>, replicas: &[usize], credential: &str) -> Told {
    let mut clients = JoinSet::new();
    for client in 0..6 {
        let (channel, credential) =
            (site.replicas[replicas[client % replicas.len()]].data(client), credential.to_owned());
        clients.spawn(async move {
            let mut told = (0, 0);
            for _ in 0..10 {
                told = plus(told, ask_everywhere(&channel, &credential).await);
            }
            told
        });
    }
    clients.join_all().await.into_iter().fold((0, 0), plus)
}

async fn counts_are_whole(engine: Engine) {
    let site = Arc::new(Site::start(engine, 2, LEASE).await);
    let key = HELD.iter().fold(site.owner(0).key("tenants/-"), |key, (resource, action)| key.may(resource, action));
    let made = key.issued().await;
    let (name, credential) = (made.key.unwrap().name, made.credential);
    let mut told = (0, 0);
    for _ in 0..2 {
        told = plus(told, asked(&site, &[0, 1], &credential).await);
        for number in 0..2 {
            let (code, log) = site.replicas[number].terminate().await;
            assert_eq!(code, Some(0), "{log}");
        }
        for number in 0..2 {
            site.begin_at_last(number).await;
        }
        assert_eq!(told_of(&site.owner(0), &name).await, told);
    }
    // What was written down while it ran is there when it dies; what was not is lost, and nothing else.
    told = plus(told, asked(&site, &[0, 1], &credential).await);
    let begun = Instant::now();
    while told_of(&site.owner(1), &name).await != told {
        assert!(begun.elapsed() < PATIENCE, "it is never written down");
        sleep(Duration::from_millis(100)).await;
    }
    let doomed = asked(&site, &[0], &credential).await;
    site.replicas[0].kill();
    let kept = asked(&site, &[1], &credential).await;
    site.replicas[1].terminate().await;
    site.begin_at_last(1).await;
    let (least, most) = (plus(told, kept), plus(plus(told, kept), doomed));
    let found = told_of(&site.owner(1), &name).await;
    assert!((least.0..=most.0).contains(&found.0) && (least.1..=most.1).contains(&found.1), "{least:?} {found:?}");
    println!("usage: {most:?} Checks allowed and denied, {found:?} counted after a kill that could take {doomed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_on_postgres_count_what_their_clients_do() {
    counts_are_whole(Engine::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_on_mariadb_count_what_their_clients_do() {
    counts_are_whole(Engine::MariaDb).await;
}
