//! Whoever was revoked can change nothing from the moment that was committed, at any replica. The audit log is the judge.

use super::LEASE;
use super::site::{Engine, PATIENCE, Site};
use crate::harness::settings::number;
use crate::harness::{Client, send};
use keyward::proto::v1::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;
use tonic::Code;

/// All events, as root sees them.
async fn events(site: &Site) -> Vec<Event> {
    let (mut all, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListEventsRequest { page_size: 1000, page_token, ..ListEventsRequest::default() };
        let page = site.root(0).events().list_events(request).await.unwrap().into_inner();
        all.extend(page.events);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return all;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_administrator_changes_nothing_from_the_commit_on() {
    let site = Arc::new(Site::start(Engine::Postgres, 3, LEASE).await);
    let rounds = number("KEYWARD_PROOF_CALLERS", 4);
    let mut ended = Vec::new();
    let tried = Arc::new(AtomicU64::new(0));
    for round in 0..rounds {
        let admin = site.owner(0).key("tenants/-").may("keyward/keys/*", "create").issued().await;
        let is_told = Arc::new(AtomicBool::new(false));
        let mut at_work = JoinSet::new();
        for worker in 0..6 {
            // Never at the replica that it is revoked at.
            let other = 1 + worker % 2;
            let admin = Client::at(site.replicas[other].admin(), &admin.credential);
            let (is_told, tried) = (Arc::clone(&is_told), Arc::clone(&tried));
            at_work.spawn(async move {
                let begun = Instant::now();
                let mut highest = 0;
                loop {
                    assert!(begun.elapsed() < PATIENCE, "the revoked is never refused");
                    let was_told = is_told.load(Ordering::SeqCst);
                    tried.fetch_add(1, Ordering::Relaxed);
                    match admin.key("tenants/-").tried().await {
                        Ok(made) => {
                            assert!(!was_told, "a key was made after its maker's end was answered with OK");
                            highest = made.revision.max(highest);
                        }
                        Err(status) if status.code() == Code::Unauthenticated && was_told => return highest,
                        Err(_) => {}
                    }
                }
            });
        }
        while tried.load(Ordering::Relaxed) < u64::from(round + 1) * 40 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let name = admin.key.unwrap().name;
        let revoked = send!(site.owner(0).keys(), revoke_key, RevokeKeyRequest { name: &*name }).unwrap();
        is_told.store(true, Ordering::SeqCst);
        while let Some(highest) = at_work.join_next().await {
            assert!(highest.unwrap() < revoked.revision, "acknowledged after the end of whoever asked for it");
        }
        ended.push((name, revoked.revision));
    }
    let events = events(&site).await;
    let mut before = 0;
    for (name, revision) in &ended {
        for event in events.iter().filter(|event| event.actor == *name) {
            assert!(event.revision < *revision, "{event:?} is later than the end of its actor at {revision}");
            before += 1;
        }
    }
    let tried = tried.load(Ordering::Relaxed);
    println!(
        "barrier: {rounds} administrators revoked: {before} changes before their end of {tried} tried, none after"
    );
    assert!(before > 0);
}
