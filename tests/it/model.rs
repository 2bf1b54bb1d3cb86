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

/// Two units of a lease, three of a timer that runs fast.
const DRIFTING: Clocks = Clocks { lease: 4, slow: 2, fast: 3, any: false };
const LONG: Clocks = Clocks { lease: 6, ..DRIFTING };

const PLAIN: Configuration = Configuration {
    name: "a replica, a writer",
    ids: [1, 0, 0],
    requests: &[SECOND],
    clocks: DRIFTING,
    crashes: 0,
    leaves: false,
    checks: false,
    loses_answers: false,
    mistake: None,
};

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
    println!("model: {:<62} {states:>8} states {:>6.1} s  safe and live", configuration.name, time.as_secs_f32());
    assert!(explored.broken.is_empty(), "{}: {:#?}", configuration.name, explored.broken);
    assert!(explored.unseen.is_empty(), "{}: never seen: {:?}", configuration.name, explored.unseen);
}

/// Each mistake, where it shows, and what it breaks.
fn mistakes() -> [(Mistake, Configuration, &'static str); 14] {
    let two_writes = Configuration { name: "a replica, a writer of two", requests: &[SECOND, SECOND], ..PLAIN };
    let again = Configuration { name: "a replica, a writer, a retry", requests: &[SECOND, RETRY], ..PLAIN };
    let own_write = Configuration { name: "a replica that writes, a writer", requests: &[SECOND, FIRST], ..PLAIN };
    let own_key =
        Configuration { name: "a key that revokes, and is revoked", requests: &[SECOND, BY_REVOKED], ..PLAIN };
    let in_steps = Configuration { name: "a replica, a writer, checks in steps", checks: true, ..PLAIN };
    [
        (Mistake::DataBeforeLease, PLAIN, G1),
        (Mistake::NoLeaseCheck, PLAIN, G1),
        (Mistake::NoMargin, Configuration { name: "a replica, a writer, a longer lease", clocks: LONG, ..PLAIN }, G1),
        (Mistake::LeaseFromReply, PLAIN, G1),
        (Mistake::OneTransactionJoin, PLAIN, G1),
        (Mistake::CachedClock, PLAIN, G1),
        (Mistake::RetryAtOnce, again, G1),
        (Mistake::FencedExcluded, two_writes, G1),
        (Mistake::AcknowledgeBeforeApplying, PLAIN, G1),
        (Mistake::ViewPerStream, in_steps, G1),
        (Mistake::LaggingPoll, PLAIN, G1),
        (Mistake::TimerBeforeCommit, PLAIN, G1),
        (Mistake::CallerNotReadAgain, own_key, V0),
        (Mistake::SecondApplier, own_write, G1),
    ]
}

#[test]
fn correct_configurations_are_safe_and_live() {
    is_safe(PLAIN);
}

#[test]
fn every_mistake_is_found_out() {
    let mut safe: Vec<&str> = Vec::new();
    for (mistake, configuration, promise) in mistakes() {
        if !safe.contains(&configuration.name) {
            safe.push(configuration.name);
            is_safe(configuration);
        }
        let explored = explore(Configuration { mistake: Some(mistake), ..configuration }, Some(promise));
        let found = explored.broken.iter().find(|(name, _)| *name == promise);
        let (_, steps) = found.unwrap_or_else(|| panic!("{mistake:?} goes unseen in {}", configuration.name));
        println!(
            "model: {:<28} {:<38} {:>8} states  broken in {:>2} steps: {promise}",
            format!("{mistake:?}"),
            configuration.name,
            explored.states,
            steps.len()
        );
        if number("KEYWARD_PROOF_MODEL", 0) > 0 {
            println!("{steps:?}");
        }
    }
}
