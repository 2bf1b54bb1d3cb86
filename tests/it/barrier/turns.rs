//! Turns at the head of the ledger: whoever writes now and then, at one replica, is not kept waiting by those who write
//! without a pause at the others. What is judged is how many mutations went before, by their revisions; no time.

use super::LEASE;
use super::site::{Engine, Site};
use crate::harness::Client;
use crate::harness::settings::number;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::task::JoinSet;
use tonic::Code;

/// How many write without a pause at each of the two other replicas.
const WRITERS: usize = 16;

/// How many mutations may go before one that waits: each of the others' times this.
const TIMES: i64 = 16;

/// Makes one key, however often it must be asked for: its revision. A machine with other work may be too slow for a turn.
async fn make(owner: &Client) -> i64 {
    loop {
        match owner.key("tenants/-").tried().await {
            Ok(made) => return made.revision,
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_writes_seldom_has_its_turn_among_those_who_write_without_a_pause() {
    let site = Arc::new(Site::start(Engine::Postgres, 3, LEASE).await);
    let is_over = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for replica in [0, 1] {
        for _ in 0..WRITERS {
            let (owner, is_over) = (site.owner(replica), Arc::clone(&is_over));
            writers.spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    make(&owner).await;
                }
            });
        }
    }
    let owner = site.owner(2);
    let mut last = make(&owner).await;
    let (mut before, mut spans) = (Vec::new(), Vec::new());
    for _ in 0..number("KEYWARD_PROOF_TURNS", 60) {
        let begun = Instant::now();
        let revision = make(&owner).await;
        spans.push(begun.elapsed());
        before.push(revision - last - 1);
        last = revision;
    }
    is_over.store(true, Ordering::Relaxed);
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    before.sort_unstable();
    spans.sort_unstable();
    let (middle, most) = (before[before.len() / 2], before[before.len() - 1]);
    println!(
        "barrier: {} mutations at one replica among those of {WRITERS} writers at each of two others: {middle} of theirs \
         went before (median), {most} at most; answered after {:?} (median), {:?} at most",
        before.len(),
        spans[spans.len() / 2],
        spans[spans.len() - 1],
    );
    assert!(middle > 0, "nobody else wrote");
    assert!(most <= 2 * WRITERS as i64 * TIMES, "{before:?}");
}
