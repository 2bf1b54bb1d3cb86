//! The soak: replicas on a real database, with everything that clients do, for as long as one likes, while processes, links
//! and the database fail. `tests/soak` runs it long and prints its table.

mod applications;
mod askers;
mod changes;
mod errors;
mod gauge;
mod keys;
mod last;
mod readers;
mod users;
mod vitals;
mod witness;
mod world;

use crate::barrier::faults::{Done, Fault, Outage, go_dark, inflict};
use crate::barrier::history::{Fact, breaks};
use crate::barrier::site::{Engine, PATIENCE, Site};
use crate::harness::settings::{Dice, number};
use errors::Spell;
use gauge::Gauge;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use vitals::Rest;
use world::{LEASE, World};

/// How many replicas there are when the clients begin, and that one more joins.
const FOUNDERS: usize = 3;
const REPLICAS: usize = FOUNDERS + 1;

/// The replica whose process lives through all of it, and those that end and begin.
const SURVIVOR: usize = 2;
const MORTALS: [usize; REPLICAS - 1] = [0, 1, 3];

/// How much of what nobody should see is shown.
const SHOWN: usize = 20;

/// What is done in each round, at the replicas that the dice say, in the order that they say.
const FAULTS: [Fault; 7] = [
    Fault::Kill,
    Fault::Leave,
    Fault::Pause(0.6),
    Fault::Pause(1.6),
    Fault::Cut(0.8),
    Fault::Silence(1.3),
    Fault::Slow(0.8),
];
const OUTAGES: [Outage; 3] = [Outage::Stop("INT", 0.2), Outage::Stop("QUIT", 1.4), Outage::Freeze(0.7)];

/// How long all is well between two faults of a long run, in milliseconds, at most.
const CALM_MS: u64 = 3000;

/// How many mutations are answered with OK before anything fails, and between two faults at least.
const BEFORE: usize = 40;
const RECOVERED: usize = 6;

/// How long everybody rests before the survivor is looked at.
const REST: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_keeps_every_promise() {
    let seconds = Duration::from_secs(number("KEYWARD_SOAK_SECONDS", 0).into());
    let seed = number("KEYWARD_SOAK_SEED", 1);
    println!(
        "soak: {FOUNDERS} replicas and one that joins late, on PostgreSQL, at least {} s, seed {seed}",
        seconds.as_secs()
    );
    let mut site = Site::start_signing(Engine::Postgres, FOUNDERS, LEASE).await;
    let late = site.add().await;
    let first = head(&site).await;
    let world = World::new(Arc::new(site), FOUNDERS, first);
    let gauge = Gauge::new(&world).await;
    let mut tasks = JoinSet::new();
    askers::spawn(&world, 0..FOUNDERS, &mut tasks);
    keys::spawn(&world, &mut tasks);
    users::spawn(&world, &mut tasks);
    applications::spawn(&world, &mut tasks);
    readers::spawn(&world, &mut tasks);
    gauge.spawn(&world, 0..FOUNDERS, &mut tasks);
    let (last, known) = tokio::sync::watch::channel(0);
    let watching = tokio::spawn(readers::watch(Arc::clone(&world), known));
    let witness = tokio::spawn(witness::watch(Arc::clone(&world)));

    let survivor = world.site.replicas[SURVIVOR].id();
    let (mut done, mut rests, mut round) = (Done::default(), Vec::new(), 0);
    let begun = Instant::now();
    world.until_more_is_done(BEFORE).await;
    world.site.begin_at_last(late).await;
    world.site.until_it_serves(late).await;
    world.join();
    askers::spawn(&world, late..REPLICAS, &mut tasks);
    gauge.spawn(&world, late..REPLICAS, &mut tasks);
    while round == 0 || begun.elapsed() < seconds {
        let mut dice = Dice(u64::from(seed) << 32 | round);
        suffer(&world, &mut dice, &mut done, seconds > Duration::ZERO).await;
        rests.push(rest(&world).await);
        round += 1;
        println!("soak: round {round} over after {} s: {done}", begun.elapsed().as_secs());
    }
    world.end();
    world.go_on();
    while let Some(ended) = timeout(PATIENCE, tasks.join_next()).await.expect("an end") {
        ended.unwrap();
    }
    world.site.until_all_serve().await;
    assert_eq!(world.site.replicas[SURVIVOR].id(), survivor, "the survivor has lived through it");

    let mut table = vec![("credentials", last::credentials(&world).await)];
    table.push(("things", last::things(&world).await));
    // Whoever is asked to end writes down what it has counted.
    for replica in 0..REPLICAS {
        fail(&world, replica, Fault::Leave).await;
    }
    table.push(("usage", gauge.compare(&world).await));
    table.push(("service", last::service(&world).await));
    last.send_replace(head(&world.site).await);
    let told = timeout(PATIENCE, watching).await.expect("the watch is told all").unwrap();
    table.push(("events", last::events(&world, &told).await));
    table.push(("chain", last::chain(&world).await));
    table.push(("logs", last::logs(&world)));
    witness.abort();
    table.push(("machine", errors::stalls(&world.weather.lock())));

    let (errors, unpromised) = {
        let (failed, weather, done) = (world.failed.lock(), world.weather.lock(), world.acknowledged.lock());
        errors::judged(&failed, &weather, &done)
    };
    let (vitals, growing) = vitals::judged(&rests);
    let facts = world.facts.lock().clone();
    let violations = breaks(&facts, LEASE);
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let counts = &world.counts;
    println!("\nsoak: {} s, {round} rounds, seed {seed}: {done}", begun.elapsed().as_secs());
    println!(
        "  calls {}: Checks allowed {}, denied {}; credentials made {}, pages {}, watches {}",
        count(&counts.calls),
        count(&counts.allowed),
        count(&counts.denied),
        count(&counts.credentials),
        count(&counts.pages),
        count(&counts.watches)
    );
    table.iter().for_each(|(what, line)| println!("  {what:<12} {line}"));
    println!("  errors       by call, code, reason, and what failed meanwhile:");
    errors.iter().for_each(|(line, count)| println!("    {count:6} {line}"));
    println!("  vitals       of replica {SURVIVOR}, at rest:");
    vitals.iter().for_each(|line| println!("    {line}"));

    let mut wrong = world.wrong.lock().clone();
    wrong.extend(unpromised);
    wrong.extend(growing);
    wrong.extend(violations);
    println!("  violations   {}", wrong.len());
    let shown: Vec<&String> = wrong.iter().take(SHOWN).collect();
    assert!(wrong.is_empty(), "{} violations: {shown:#?}", wrong.len());
    // A run in which nothing happened would prove nothing.
    assert!(count(&counts.allowed) > 200 && count(&counts.denied) > 100 && facts.len() > 200 && told.len() > BEFORE);
}

/// One round: each fault once, the database's among them, at replicas that the dice say; at times two at once.
async fn suffer(world: &World, dice: &mut Dice, done: &mut Done, is_long: bool) {
    let mut order: Vec<usize> = (0..FAULTS.len() + OUTAGES.len()).collect();
    for place in (1..order.len()).rev() {
        order.swap(place, dice.roll(place as u64 + 1) as usize);
    }
    for what in order {
        if let Some(fault) = FAULTS.get(what) {
            let ends_it = matches!(fault, Fault::Kill | Fault::Leave);
            let whom = if ends_it { MORTALS[dice.roll(MORTALS.len() as u64) as usize] } else { world.anywhere(dice) };
            let other = world.anywhere(dice);
            let second = if is_long && other != whom && dice.roll(3) == 0 { Some(Fault::Pause(1.2)) } else { None };
            tokio::join!(fail(world, whom, *fault), async {
                if let Some(second) = second {
                    fail(world, other, second).await;
                }
            });
            done.count(fault);
            if let Some(second) = second {
                done.count(second);
            }
        } else {
            let outage = OUTAGES[what - FAULTS.len()];
            let spell = world.begin(Spell::Database);
            let (from, until) = go_dark(&world.site, LEASE, outage, &|| world.now()).await;
            world.note(Fact::Dark { from, until });
            world.site.until_all_serve().await;
            world.over(spell);
            done.count(outage);
        }
        // It recovers, and is well for a while.
        world.until_more_is_done(RECOVERED).await;
        if is_long {
            sleep(Duration::from_millis(dice.roll(CALM_MS))).await;
        }
    }
}

async fn fail(world: &World, whom: usize, fault: Fault) {
    let spell = world.begin(match fault {
        Fault::Kill => Spell::Killed(whom),
        Fault::Leave => Spell::Leaves(whom),
        Fault::Pause(_) => Spell::Paused(whom),
        Fault::Cut(_) | Fault::Silence(_) | Fault::Slow(_) | Fault::WallClock(_) => Spell::Link(whom),
    });
    inflict(&world.site, LEASE, whom, fault).await;
    world.over(spell);
}

/// Everybody rests, and the survivor is looked at.
async fn rest(world: &World) -> Rest {
    world.rest().await;
    sleep(REST).await;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let id = world.site.replicas[SURVIVOR].id();
    let rest = vitals::look(id, world.now(), count(&world.counts.credentials), count(&world.counts.calls));
    world.go_on();
    rest
}

/// The last revision there is.
async fn head(site: &Site) -> i64 {
    let request = keyward::proto::v1::GetStatusRequest::default();
    site.root(0).replicas().get_status(request).await.unwrap().into_inner().revision
}
