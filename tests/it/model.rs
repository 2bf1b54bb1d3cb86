//! The revocation barrier as a state machine, explored whole: replicas that join, poll, apply, acknowledge, answer,
//! leave and crash, writers that revoke and wait, and clocks that drift. Whoever takes no step is stopped, slow or cut
//! off from the database; nobody is ever forced to take one, so every pause at every point is among what is explored.
//!
//! `model/rules.rs` says which steps there are, each by the name of its rule (R1 to R4, V0 to V7); `model/effects.rs`
//! what they do, `model/promises.rs` what must hold. Correct configurations are safe and live in every state; each
//! [`Mistake`] is a switch, and must be found out by a configuration that is safe without it.
//!
//! Left out: wall clocks and expiry, the halves of a view (one view is published as one here), gaps and forks of the
//! chain, and a lease length that changes.

mod effects;
mod promises;
mod rules;
mod state;

use crate::harness::settings::number;
use promises::{G1, V0};
use rules::Action;
use state::{PROCESSES, State};
use stateright::{Checker, HasDiscoveries, Model, Property};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// The fourteen ways to get it wrong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mistake {
    /// Data loaded before the lease is read.
    DataBeforeLease,
    /// No lease check.
    NoLeaseCheck,
    /// A margin smaller than drift: W = D.
    NoMargin,
    /// The lease counted from the reply.
    LeaseFromReply,
    /// A one-transaction join: what is loaded is served once the row is committed with it.
    OneTransactionJoin,
    /// A cached clock.
    CachedClock,
    /// A retry that answers OK at once.
    RetryAtOnce,
    /// A fenced row excluded without waiting.
    FencedExcluded,
    /// Acknowledge before applying.
    AcknowledgeBeforeApplying,
    /// One view per stream.
    ViewPerStream,
    /// A poll answered by a lagging database replica.
    LaggingPoll,
    /// The timer started before COMMIT.
    TimerBeforeCommit,
    /// The caller's credential not read again under the head lock.
    CallerNotReadAgain,
    /// A second applier that acknowledges past a gap.
    SecondApplier,
}

/// How elapsed time is counted: in a unit of true time a clock counts `slow` to `fast`. Real clocks keep within a twelfth
/// of true time, these do worse, so that few units show it.
#[derive(Clone, Copy, Debug)]
struct Clocks {
    /// D.
    lease: u8,
    slow: u8,
    fast: u8,
    /// Every clock runs as it likes, another way in every unit; otherwise leases run slow and timers fast.
    any: bool,
}

impl Clocks {
    /// W: D on the slowest clock lasts no longer than this on the fastest.
    fn wait(self) -> u8 {
        (self.lease * self.fast).div_ceil(self.slow)
    }

    /// In units of true time.
    fn longest_lease(self) -> u8 {
        self.lease.div_ceil(self.slow)
    }
}

/// A mutation that waits: request i takes away credential i, or `retries` what another took away.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// The process that it is sent to.
    at: usize,
    /// The request whose credential it asks with; none for one that nobody takes away.
    caller: Option<usize>,
    /// The request that it repeats (V5).
    retries: Option<usize>,
}

/// At the first, the second, the third process.
const FIRST: Request = Request { at: 0, caller: None, retries: None };
const SECOND: Request = Request { at: 1, ..FIRST };
const THIRD: Request = Request { at: 2, ..FIRST };

const RETRY: Request = Request { retries: Some(0), ..SECOND };
const BY_REVOKED: Request = Request { caller: Some(0), ..FIRST };

/// What is explored.
#[derive(Clone, Copy, Debug)]
struct Configuration {
    name: &'static str,
    /// How many ids each process may have one after the other; one with none is no replica and only writes.
    ids: [usize; PROCESSES],
    requests: &'static [Request],
    clocks: Clocks,
    crashes: u8,
    /// Whether replicas leave.
    leaves: bool,
    /// Whether checks at the first process are in steps; every process is asked at every moment anyway.
    checks: bool,
    /// Whether COMMIT's answer may be lost.
    loses_answers: bool,
    /// Whether rows may be fenced before W is over.
    fences_early: bool,
    /// Whether true time since each commit is counted, for G3.
    counts_age: bool,
    mistake: Option<Mistake>,
}

impl Model for Configuration {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State { crashes: self.crashes, ..State::default() }]
    }

    fn actions(&self, state: &State, steps: &mut Vec<Action>) {
        self.steps(state, steps);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        self.after(last, action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::all(self)
    }
}

/// A lease of two units, and a wait of two when it runs fast.
const DRIFTING: Clocks = Clocks { lease: 4, slow: 2, fast: 3, any: false };
/// Of three: here a wait of no more than D is too short.
const LONG: Clocks = Clocks { lease: 6, ..DRIFTING };
/// Of one, for larger configurations.
const SHORT: Clocks = Clocks { lease: 2, ..DRIFTING };
const ANY: Clocks = Clocks { any: true, ..DRIFTING };

const PLAIN: Configuration = Configuration {
    name: "a replica, a writer",
    ids: [1, 0, 0],
    requests: &[SECOND],
    clocks: DRIFTING,
    crashes: 0,
    leaves: false,
    checks: false,
    loses_answers: false,
    fences_early: true,
    counts_age: true,
    mistake: None,
};

/// What is left out where there is much else.
const LARGE: Configuration = Configuration { clocks: SHORT, fences_early: false, counts_age: false, ..PLAIN };

const REJOINS: Configuration =
    Configuration { name: "it crashes, leaves, joins again", ids: [2, 0, 0], crashes: 1, leaves: true, ..PLAIN };
const TWO_REPLICAS: Configuration =
    Configuration { name: "two replicas, a writer", ids: [1, 1, 0], requests: &[THIRD], ..LARGE };

/// Explored by every run of the tests.
const SAFE: &[Configuration] = &[
    PLAIN,
    Configuration { name: "every clock as it likes", clocks: ANY, ..PLAIN },
    Configuration { name: "every clock as it likes, the replica writes", clocks: ANY, requests: &[FIRST], ..PLAIN },
    Configuration { name: "COMMIT's answers are lost", loses_answers: true, ..PLAIN },
    REJOINS,
    Configuration { name: "it crashes, leaves, joins again; it writes", requests: &[FIRST], ..REJOINS },
    Configuration { name: "it crashes, joins again; checks in steps", leaves: false, checks: true, ..REJOINS },
    Configuration { name: "two replicas, one of them writes", requests: &[FIRST], ..TWO_REPLICAS },
];

/// Explored by the long proofs, besides.
const SAFE_LARGE: &[Configuration] = &[
    Configuration { name: "a longer lease, every clock as it likes", clocks: Clocks { any: true, ..LONG }, ..PLAIN },
    Configuration { name: "it joins again, every clock as it likes", clocks: ANY, loses_answers: true, ..REJOINS },
    Configuration {
        name: "two mutations, it crashes, leaves, joins again",
        requests: &[SECOND, FIRST],
        clocks: SHORT,
        ..REJOINS
    },
    Configuration {
        name: "two replicas, every clock as it likes",
        clocks: Clocks { any: true, ..SHORT },
        ..TWO_REPLICAS
    },
    Configuration { name: "two replicas, a longer lease", clocks: DRIFTING, ..TWO_REPLICAS },
    Configuration { name: "two replicas that join again", ids: [2, 2, 0], ..TWO_REPLICAS },
    Configuration { name: "two replicas, one crashes", crashes: 1, ..TWO_REPLICAS },
];

/// What was found in a configuration.
struct Explored {
    states: usize,
    time: Duration,
    /// Each promise that was broken, with the steps that break it.
    broken: Vec<(&'static str, Vec<Action>)>,
    /// What can happen and was never seen.
    unseen: Vec<&'static str>,
}

/// All of it, or until something is broken: anything, or this promise.
fn explore(configuration: Configuration, promise: Option<&'static str>) -> Explored {
    let begin = Instant::now();
    let until = promise.map_or(HasDiscoveries::AnyFailures, |name| HasDiscoveries::AnyOf(BTreeSet::from([name])));
    let checker = configuration.checker().finish_when(until).spawn_bfs().join();
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    for (name, path) in checker.discoveries() {
        if configuration.property(name).expectation.discovery_is_failure() {
            broken.push((name, path.into_actions()));
        } else {
            seen.insert(name);
        }
    }
    let properties = configuration.properties();
    let hoped = properties.iter().filter(|property| !property.expectation.discovery_is_failure());
    let unseen = hoped.map(|property| property.name).filter(|name| !seen.contains(name)).collect();
    Explored { states: checker.unique_state_count(), time: begin.elapsed(), broken, unseen }
}

#[track_caller]
fn is_safe(configuration: Configuration) {
    let explored = explore(configuration, None);
    let Explored { states, time, .. } = &explored;
    println!("model: {:<65} {states:>8} states  safe and live, {:.1} s", configuration.name, time.as_secs_f32());
    assert!(explored.broken.is_empty(), "{}: {:#?}", configuration.name, explored.broken);
    assert!(explored.unseen.is_empty(), "{}: never seen: {:?}", configuration.name, explored.unseen);
}

/// Each mistake, where it shows, and what it breaks.
const MISTAKES: [(Mistake, Configuration, &str); 14] = [
    (Mistake::DataBeforeLease, PLAIN, G1),
    (Mistake::NoLeaseCheck, PLAIN, G1),
    (Mistake::NoMargin, Configuration { name: "a replica, a writer, a longer lease", clocks: LONG, ..PLAIN }, G1),
    (Mistake::LeaseFromReply, PLAIN, G1),
    (Mistake::OneTransactionJoin, PLAIN, G1),
    (Mistake::CachedClock, PLAIN, G1),
    (Mistake::RetryAtOnce, Configuration { name: "a retry", requests: &[SECOND, RETRY], ..PLAIN }, G1),
    (Mistake::FencedExcluded, Configuration { name: "two mutations", requests: &[SECOND, SECOND], ..LARGE }, G1),
    (Mistake::AcknowledgeBeforeApplying, PLAIN, G1),
    (Mistake::ViewPerStream, Configuration { name: "checks in steps", checks: true, ..PLAIN }, G1),
    (Mistake::LaggingPoll, PLAIN, G1),
    (Mistake::TimerBeforeCommit, PLAIN, G1),
    (
        Mistake::CallerNotReadAgain,
        Configuration { name: "a revoked caller", requests: &[SECOND, BY_REVOKED], ..LARGE },
        V0,
    ),
    (Mistake::SecondApplier, Configuration { name: "two writers", requests: &[SECOND, FIRST], ..LARGE }, G1),
];

fn is_long() -> bool {
    number("KEYWARD_PROOF_MODEL", 0) > 0
}

#[test]
fn correct_configurations_are_safe_and_live() {
    SAFE.iter().for_each(|configuration| is_safe(*configuration));
    if is_long() {
        SAFE_LARGE.iter().for_each(|configuration| is_safe(*configuration));
    }
}

#[test]
fn every_mistake_is_found_out() {
    let mut safe = Vec::new();
    for (mistake, configuration, promise) in MISTAKES {
        if !safe.contains(&configuration.name) {
            safe.push(configuration.name);
            is_safe(configuration);
        }
        let explored = explore(Configuration { mistake: Some(mistake), ..configuration }, Some(promise));
        let Some((_, steps)) = explored.broken.iter().find(|(name, _)| *name == promise) else {
            panic!("{mistake:?} goes unseen in {}", configuration.name);
        };
        let (name, count, promise) = (format!("{mistake:?}"), steps.len(), promise.split_at(2).0);
        println!(
            "model: {:<38} {name:<26} {:>8} states  {promise} broken in {count} steps",
            configuration.name, explored.states
        );
        if is_long() {
            println!("model: {steps:?}");
        }
    }
}
