//! The core of lease and barrier ([`keyward::replica::protocol`], the very code that runs) against a simulated database,
//! network and time: processes that stop, crash, leave and are cut off, clocks that drift, statements that come late or
//! never. Every seed is one history, always the same; an oracle that knows only G1, G3, G4 looks on after each event.
//!
//! `KEYWARD_PROOF_SEEDS` is how many are tried, `KEYWARD_PROOF_SEED` tries one alone and says what went wrong in it.

mod database;
mod follower;
mod keeper;
mod process;
mod world;

use crate::harness::settings::number;
use std::time::{Duration, Instant};
use world::World;

/// D. Short, so that a history holds many of them.
const LEASE: Duration = Duration::from_secs(1);

/// What was counted in a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub events: u64,
    pub promises: u64,
    pub checks: u64,
    pub allowed: u64,
    pub faults: u64,
    pub fenced: u64,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.events += other.events;
        self.promises += other.promises;
        self.checks += other.checks;
        self.allowed += other.allowed;
        self.faults += other.faults;
        self.fenced += other.fenced;
    }
}

/// The core used wrongly: the oracle must see each.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Misuse {
    NoLeaseCheck,
    LeaseFromReply,
    LoadBeforeJoin,
    LaggingPoll,
    ConfirmBeforeApplying,
    LeaveWhileAnswering,
    TimerBeforeCommit,
    RetryAtOnce,
    FencedExcluded,
    RemoveAtOnce,
    ShortWait,
}

const MISUSES: [Misuse; 11] = [
    Misuse::NoLeaseCheck,
    Misuse::LeaseFromReply,
    Misuse::LoadBeforeJoin,
    Misuse::LaggingPoll,
    Misuse::ConfirmBeforeApplying,
    Misuse::LeaveWhileAnswering,
    Misuse::TimerBeforeCommit,
    Misuse::RetryAtOnce,
    Misuse::FencedExcluded,
    Misuse::RemoveAtOnce,
    Misuse::ShortWait,
];

fn live(seed: u64, misuse: Option<Misuse>) -> (Counts, Option<String>) {
    let mut world = World::new(seed, misuse);
    world.run();
    (world.counts, world.violation)
}

#[test]
fn no_history_breaks_a_promise() {
    let begin = Instant::now();
    let alone = number("KEYWARD_PROOF_SEED", 0);
    let seeds = if alone > 0 { alone..=alone } else { 1..=number("KEYWARD_PROOF_SEEDS", 500) };
    let mut counts = Counts::default();
    let count = seeds.clone().count();
    for seed in seeds {
        let (more, violation) = live(u64::from(seed), None);
        counts.add(more);
        if let Some(violation) = violation {
            panic!("KEYWARD_PROOF_SEED={seed}: {violation}");
        }
    }
    let Counts { events, promises, checks, allowed, faults, fenced } = counts;
    println!(
        "simulation: {count} seeds, {events} events, {promises} revocations answered OK, {checks} checks of which {allowed} \
         were answered, {faults} faults, {fenced} times shut out, violations 0, {:.1} s",
        begin.elapsed().as_secs_f32()
    );
    assert!(alone > 0 || (counts.promises > 0 && counts.fenced > 0 && counts.allowed > 0), "{counts:?}");
}

#[test]
fn every_misuse_is_seen() {
    for misuse in MISUSES {
        let found = (1..=3_000).find_map(|seed| Some((seed, live(seed, Some(misuse)).1?)));
        let Some((seed, violation)) = found else { panic!("{misuse:?} goes unseen") };
        println!("simulation: {:<24} seen with seed {seed:>4}, {violation}", format!("{misuse:?}"));
    }
    println!("simulation: mistakes caught {0} of {0}", MISUSES.len());
}
