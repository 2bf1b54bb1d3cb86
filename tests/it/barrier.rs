//! The revocation barrier with real processes on a real database: what clients see through faults is judged by a judge
//! that knows the guarantee only, and that is shown to find mistakes.

mod callers;
mod dead;
pub(crate) mod faults;
pub(crate) mod history;
mod load;
mod mistakes;
mod outage;
mod pruned;
pub(crate) mod relay;
mod repeats;
mod restored;
pub(crate) mod site;
mod turns;
mod usage;

use crate::harness::settings::{Dice, number};
use faults::{Done, Fault, Outage, darken, inflict};
use history::breaks;
use load::Load;
use site::{Engine, PATIENCE, Site, wall_clocks};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

const LEASE: Duration = Duration::from_secs(2);

/// How many clients make keys and take them away.
const CLIENTS: u64 = 16;

/// How many violations are shown.
const SHOWN: usize = 20;

/// What is done in any case, and for how long more is done after it.
struct Plan {
    engine: Engine,
    replicas: usize,
    /// Each of these goes on beside the others, on replicas of its own.
    lanes: Vec<(Vec<usize>, Vec<Fault>)>,
    outages: Vec<Outage>,
    seconds: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_check_after_a_revocation_is_allowed_whatever_fails() {
    use Fault::{Cut, Kill, Leave, Pause, Silence, Slow, WallClock};
    run(Plan {
        engine: Engine::Postgres,
        replicas: 5,
        lanes: vec![
            (vec![0, 1], vec![Pause(0.5), Pause(1.0), Pause(2.0), Pause(5.0)]),
            (
                vec![2, 3],
                vec![Kill, Cut(1.0), Silence(0.6), Silence(2.5), Leave, Slow(1.0), WallClock(3600), WallClock(-3600)],
            ),
        ],
        outages: vec![Outage::Stop("INT", 0.3), Outage::Stop("QUIT", 1.8), Outage::Freeze(1.5)],
        seconds: number("KEYWARD_PROOF_SECONDS", 0).into(),
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_check_after_a_revocation_is_allowed_on_mariadb_either() {
    run(Plan {
        engine: Engine::MariaDb,
        replicas: 3,
        lanes: vec![(vec![0], vec![Fault::Kill, Fault::Pause(1.5)]), (vec![1], vec![Fault::Cut(1.0)])],
        outages: vec![Outage::Stop("KILL", 1.5)],
        seconds: number("KEYWARD_PROOF_MARIADB_SECONDS", 0).into(),
    })
    .await;
}

async fn run(plan: Plan) {
    let Plan { engine, replicas, mut lanes, outages, seconds } = plan;
    let wall_clocks = wall_clocks();
    if wall_clocks.is_none() {
        println!("barrier: no wall clock jumps, since libfaketime is not installed");
        for (_, faults) in &mut lanes {
            faults.retain(|fault| !matches!(fault, Fault::WallClock(_)));
        }
    }
    let site = Arc::new(Site::start_with(engine, replicas, LEASE, wall_clocks).await);
    let load = Load::new(site);
    let mut clients = JoinSet::new();
    load.spawn(CLIENTS, &mut clients);
    let begun = Instant::now();
    let mut done = Done::default();
    let mut round = 0;
    while round == 0 || begun.elapsed() < Duration::from_secs(seconds) {
        let mut dice = Dice(round);
        let mut at_work = JoinSet::new();
        for (lane, (whom, faults)) in lanes.iter().enumerate() {
            let (load, whom, mut faults) = (Arc::clone(&load), whom.clone(), faults.clone());
            let mut dice = Dice(round * 100 + lane as u64);
            // Every lane gets the other's faults in later rounds, in another order.
            if round > 0 {
                faults = lanes.iter().flat_map(|(_, faults)| faults.clone()).collect();
                for place in (1..faults.len()).rev() {
                    faults.swap(place, dice.roll(place as u64 + 1) as usize);
                }
            }
            at_work.spawn(async move {
                let mut done = Done::default();
                for fault in faults {
                    let number = whom[dice.roll(whom.len() as u64) as usize];
                    inflict(&load.site, LEASE, number, fault).await;
                    done.count(fault);
                }
                done
            });
        }
        while let Some(ended) = at_work.join_next().await {
            done.add(&ended.unwrap());
        }
        for outage in &outages {
            darken(&load, LEASE, *outage).await;
            done.count(outage);
            tokio::time::sleep(Duration::from_millis(dice.roll(1000))).await;
        }
        round += 1;
        // Once nothing fails any more, everything goes on: what waited since before the faults, and more.
        load.site.until_all_serve().await;
        load.until_more_are_taken_away(CLIENTS).await;
    }
    load.end();
    while let Some(ended) = tokio::time::timeout(PATIENCE, clients.join_next()).await.expect("an end") {
        ended.unwrap();
    }
    let (facts, strange) = load.seen();
    let violations = breaks(&facts, LEASE);
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed);
    let counts = &load.counts;
    println!(
        "barrier: {engine:?}, {replicas} replicas, {} s: {} keys made, {} taken away (slowest {} ms, {} retries), \
         {} Checks ({} allowed, {} denied, {} refused, {} unanswered); faults: {done}; violations: {}",
        begun.elapsed().as_secs(),
        count(&counts.made),
        count(&counts.ended),
        count(&counts.slowest_end_ms),
        count(&counts.retried),
        count(&counts.allowed) + count(&counts.denied) + count(&counts.unavailable) + count(&counts.unanswered),
        count(&counts.allowed),
        count(&counts.denied),
        count(&counts.unavailable),
        count(&counts.unanswered),
        violations.len(),
    );
    println!("What was asked again:{}", load.why_retried());
    let shown: Vec<&String> = violations.iter().take(SHOWN).collect();
    assert!(violations.is_empty(), "{shown:#?}");
    assert!(strange.is_empty(), "nobody should be answered this: {strange:#?}");
    // A run in which nothing happened would prove nothing.
    assert!(count(&counts.ended) > 4 && count(&counts.allowed) > 100 && count(&counts.denied) > 100);
}
