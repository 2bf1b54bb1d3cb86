//! Time, network, faults, and the oracle.

use super::database::{Credential, Database, Query};
use super::process::{Process, Purpose, Step};
use super::{Counts, LEASE, Misuse};
use crate::harness::settings::Dice;
use keyward::domain::clock::Moment;
use keyward::replica::protocol::Timing;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Microseconds of true time.
pub const MILLI: u64 = 1_000;
pub const SECOND: u64 = 1_000 * MILLI;
/// How long there are faults, and how long everything has to come right afterwards.
const TROUBLED: u64 = 8 * SECOND;
const QUIET: u64 = 8 * SECOND;

/// A clock may be wrong by so many millionths: a twelfth.
const DRIFT: u64 = 83_333;

/// What happens next.
#[derive(Clone, Debug)]
pub enum Event {
    /// A statement reaches the database.
    Arrive {
        process: usize,
        epoch: u64,
        number: u64,
        query: Query,
    },
    /// Something happens in a process, unless it is stopped or is another by now.
    Process {
        process: usize,
        epoch: u64,
        step: Step,
    },
    /// A client asks somebody to revoke something.
    Request,
    /// A client asks somebody about everything.
    Check,
    Fault,
}

struct Due {
    time: u64,
    number: u64,
    event: Event,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
    }
}

pub struct World {
    pub now: u64,
    pub dice: Dice,
    pub misuse: Option<Misuse>,
    pub timing: Timing,
    pub database: Database,
    pub processes: Vec<Process>,
    pub counts: Counts,
    due: BinaryHeap<Reverse<Due>>,
    numbers: u64,
    credentials: usize,
    /// The newest revision whose mutation was answered OK.
    promised: i64,
    outage_until: u64,
    /// One in how many statements is slow, and one in how many steps is followed by a stop.
    slow_one_in: u64,
    stop_one_in: u64,
    pub violation: Option<String>,
}

impl World {
    pub fn new(seed: u64, misuse: Option<Misuse>) -> Self {
        let mut dice = Dice(seed);
        let count = 2 + dice.roll(3);
        let (slow_one_in, stop_one_in) = (4 + dice.roll(60), 20 + dice.roll(400));
        let declared = declared(misuse);
        let processes = (0..count).map(|_| Process::new(&mut dice, declared)).collect();
        let mut world = Self {
            now: 0,
            dice,
            misuse,
            timing: Timing::new(LEASE),
            database: Database::new(declared),
            processes,
            counts: Counts::default(),
            due: BinaryHeap::new(),
            numbers: 0,
            credentials: 0,
            promised: 0,
            outage_until: 0,
            slow_one_in,
            stop_one_in,
            violation: None,
        };
        for process in 0..world.processes.len() {
            world.start(process);
        }
        world.schedule(100 * MILLI, Event::Request);
        world.schedule(100 * MILLI, Event::Check);
        world.schedule(500 * MILLI, Event::Fault);
        world
    }

    /// What others believe a lease to be.
    pub fn declared(&self) -> Duration {
        declared(self.misuse)
    }

    pub fn makes(&self, misuse: Misuse) -> bool {
        self.misuse == Some(misuse)
    }

    /// Lives through all of it, or until something is wrong.
    pub fn run(&mut self) {
        while let Some(Reverse(Due { time, event, .. })) = self.due.pop() {
            self.now = time;
            if self.now > TROUBLED + QUIET || self.violation.is_some() {
                break;
            }
            self.counts.events += 1;
            self.happen(event);
            self.look_at_all();
        }
        if self.violation.is_none() {
            self.everything_is_well();
        }
    }

    pub fn is_troubled(&self) -> bool {
        self.now < TROUBLED
    }

    pub fn schedule(&mut self, after: u64, event: Event) {
        self.numbers += 1;
        self.due.push(Reverse(Due { time: self.now + after, number: self.numbers, event }));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { process, epoch, number, query } => self.arrive(process, epoch, number, &query),
            Event::Process { process, epoch, step } => {
                let own = &self.processes[process];
                if own.epoch != epoch {
                    return;
                }
                if own.stopped_until > self.now {
                    let left = own.stopped_until - self.now;
                    return self.schedule(left, Event::Process { process, epoch, step });
                }
                self.take_step(process, step);
            }
            Event::Request => {
                let process = self.pick();
                // Often what somebody asked for before, who may not have been answered.
                let again = self.credentials > 0 && self.dice.roll(3) == 0;
                if !again {
                    self.credentials += 1;
                }
                let credential = self.credentials - 1;
                self.request(process, credential);
                if self.is_troubled() {
                    let pause = self.dice.roll(300 * MILLI);
                    self.schedule(pause, Event::Request);
                }
            }
            Event::Check => {
                let process = self.pick();
                self.counts.checks += 1;
                let late = self.promised;
                self.soon(process, Step::TakeView { late });
                let pause = 5 * MILLI + self.dice.roll(40 * MILLI);
                self.schedule(pause, Event::Check);
            }
            Event::Fault => self.fault(),
        }
    }

    fn pick(&mut self) -> usize {
        let count = self.processes.len() as u64;
        usize::try_from(self.dice.roll(count)).unwrap()
    }

    /// What a process does next, after a moment or a long stop.
    pub fn soon(&mut self, process: usize, step: Step) {
        if self.is_troubled() && self.dice.roll(self.stop_one_in) == 0 {
            self.stop(process);
        }
        let after = self.dice.roll(MILLI);
        let epoch = self.processes[process].epoch;
        self.schedule(after, Event::Process { process, epoch, step });
    }

    /// After this time on its own clock.
    pub fn later(&mut self, process: usize, after: Duration, step: Step) {
        let after = self.processes[process].in_true_time(after);
        let epoch = self.processes[process].epoch;
        self.schedule(after, Event::Process { process, epoch, step });
    }

    /// Sends a statement, whose answer is waited for no longer than this.
    pub fn send(&mut self, process: usize, query: Query, purpose: Purpose, limit: Duration) {
        self.numbers += 1;
        let number = self.numbers;
        let epoch = self.processes[process].epoch;
        self.processes[process].pending.insert(number, purpose);
        self.later(process, limit, Step::GiveUp { number });
        let latency = self.latency();
        if !self.is_cut(process) {
            self.schedule(latency, Event::Arrive { process, epoch, number, query });
        }
    }

    fn arrive(&mut self, process: usize, epoch: u64, number: u64, query: &Query) {
        let lag = if self.makes(Misuse::LaggingPoll) && matches!(query, Query::Poll { .. }) { 1 } else { 0 };
        let answer = match lag {
            0 => self.database.run(query, self.now),
            by => self.database.lagging(by).run(query, self.now),
        };
        if self.is_cut(process) {
            return;
        }
        let latency = self.latency();
        self.schedule(latency, Event::Process { process, epoch, step: Step::Answered { number, answer } });
    }

    fn latency(&mut self) -> u64 {
        let is_slow = self.is_troubled() && self.dice.roll(self.slow_one_in) == 0;
        200 + self.dice.roll(if is_slow { 600 * MILLI } else { 3 * MILLI })
    }

    fn is_cut(&self, process: usize) -> bool {
        self.outage_until > self.now || self.processes[process].cut_until > self.now
    }

    /// The clock of a process.
    pub fn clock(&self, process: usize) -> Moment {
        self.processes[process].clock(self.now)
    }

    fn stop(&mut self, process: usize) {
        let length = self.span();
        self.processes[process].stopped_until = self.now + length;
    }

    /// Half a lease to three.
    fn span(&mut self) -> u64 {
        let lease = u64::try_from(LEASE.as_micros()).unwrap();
        lease / 2 + self.dice.roll(5 * lease / 2)
    }

    fn fault(&mut self) {
        if !self.is_troubled() {
            self.outage_until = 0;
            for process in 0..self.processes.len() {
                self.processes[process].stopped_until = 0;
                self.processes[process].cut_until = 0;
                if !self.processes[process].is_up {
                    self.start(process);
                }
            }
            return;
        }
        self.counts.faults += 1;
        let process = self.pick();
        let until = self.now + self.span();
        match self.dice.roll(9) {
            0 | 1 => self.stop(process),
            2 | 3 => self.processes[process].cut_until = until,
            4 => self.outage_until = until,
            5 => {
                self.processes[process].die();
                let after = self.span();
                let epoch = self.processes[process].epoch;
                self.schedule(after, Event::Process { process, epoch, step: Step::Start });
            }
            6 => self.soon(process, Step::Leave),
            7 => {
                let rate = drifting(&mut self.dice);
                self.processes[process].run_at(rate, self.now);
            }
            _ => {
                self.database.run(&Query::Prune, self.now);
            }
        }
        let pause = self.dice.roll(700 * MILLI);
        self.schedule(pause, Event::Fault);
    }

    /// A mutation was answered OK.
    pub fn promise(&mut self, credential: Credential) {
        self.counts.promises += 1;
        let revision = self.database.revision_of(credential).unwrap_or(i64::MAX);
        self.promised = self.promised.max(revision);
    }

    /// A check that was received when everything up to `late` was promised is answered on this data.
    pub fn answer(&mut self, process: usize, late: i64, data: i64) {
        self.counts.allowed += 1;
        if data < late {
            self.wrong(format!("G1: process {process} answers by revision {data} what it received after {late}"));
        }
    }

    pub fn wrong(&mut self, what: String) {
        let at = self.now;
        self.violation.get_or_insert_with(|| format!("after {at} us: {what}"));
    }

    /// The oracle: what would each process answer to a check that it received just now?
    fn look_at_all(&mut self) {
        let wait = u64::try_from(self.timing.wait().as_micros()).unwrap();
        let longest = u64::try_from(LEASE.as_micros()).unwrap() * 12 / 11 + MILLI;
        for process in 0..self.processes.len() {
            let own = &self.processes[process];
            if !self.would_answer(process) {
                continue;
            }
            let (data, sent) = (own.data, own.sent);
            let missing = self.database.ledger.get(usize::try_from(data).unwrap());
            let is_late = missing.is_some_and(|(_, _, committed)| committed + wait < self.now);
            if data < self.promised {
                self.wrong(format!("G1: process {process} answers by revision {data} after {} was OK", self.promised));
            } else if is_late {
                self.wrong(format!("G3: process {process} answers by revision {data} longer than W after the next"));
            } else if sent + longest < self.now {
                self.wrong(format!("G4: process {process} answers {} us after its poll", self.now - sent));
            }
        }
    }

    /// Whether it would answer a check by its data, rather than refuse.
    pub fn would_answer(&self, process: usize) -> bool {
        let own = &self.processes[process];
        own.is_up && (self.clock(process) < own.valid_until || (self.makes(Misuse::NoLeaseCheck) && own.data > 0))
    }

    /// After the faults: everybody serves all there is, and nobody waits.
    fn everything_is_well(&mut self) {
        let head = self.database.head().revision;
        for process in 0..self.processes.len() {
            let own = &self.processes[process];
            let (data, waiting) = (own.data, own.keeper.waiters.len());
            if !self.would_answer(process) || data != head || waiting > 0 {
                self.wrong(format!("process {process} has not recovered: {data} of {head}, {waiting} wait"));
            }
        }
    }
}

fn declared(misuse: Option<Misuse>) -> Duration {
    if misuse == Some(Misuse::ShortWait) { LEASE * 2 / 3 } else { LEASE }
}

/// How fast a clock runs, in millionths.
pub fn drifting(dice: &mut Dice) -> u64 {
    match dice.roll(3) {
        0 => 1_000_000 - DRIFT,
        1 => 1_000_000 + DRIFT,
        _ => 1_000_000 - DRIFT + dice.roll(2 * DRIFT),
    }
}
