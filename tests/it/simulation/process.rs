//! A process: what it holds in memory, its clock, and which step leads where.

use super::Misuse;
use super::database::{Answer, Credential};
use super::follower::Follower;
use super::keeper::Keeper;
use super::world::{World, drifting};
use crate::harness::settings::Dice;
use keyward::domain::clock::Moment;
use keyward::replica::protocol::{Polled, Ticket};
use std::collections::BTreeMap;
use std::time::Duration;

/// The time at which a poll was sent, on the process's clock and in truth.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub local: Moment,
    pub truly: u64,
}

/// What a process does at some moment.
#[derive(Clone, Debug)]
pub enum Step {
    Start,
    Leave,
    /// The follower polls, unless this is not the look it has planned last.
    Look {
        plan: u64,
    },
    /// Everything up to the poll's head is applied: data and lease are published.
    Publish {
        sent: Sent,
        polled: Polled,
    },
    Answered {
        number: u64,
        answer: Answer,
    },
    GiveUp {
        number: u64,
    },
    /// The keeper does what can be done, unless this is not the wake-up it has planned last.
    Act {
        plan: u64,
    },
    /// A mutation's COMMIT had returned at `since`.
    Begin {
        credential: Credential,
        revision: i64,
        chain: Option<Vec<u8>>,
        since: Moment,
    },
    /// A deed that failed may be tried again.
    DoAgain,
    TakeView {
        late: i64,
    },
    ReadClock {
        late: i64,
        data: i64,
        valid_until: Moment,
    },
}

/// Why a statement was sent.
#[derive(Clone, Debug)]
pub enum Purpose {
    Join,
    Leave { is_for_good: bool },
    LoadPoll,
    Load { cluster_id: String, sent: Sent },
    Poll { sent: Sent },
    Fetch { sent: Sent, polled: Polled },
    Confirm,
    Ask { revisions: Vec<i64>, begun_before: Ticket },
    Fence { ids: Vec<String> },
    Remove { ids: Vec<String> },
    Revoke { credential: Credential, sent: Moment },
}

/// One life after the other of a process on one machine.
#[derive(Debug)]
pub struct Process {
    pub is_up: bool,
    /// Counts lives: what was meant for an earlier one is lost.
    pub epoch: u64,
    pub stopped_until: u64,
    pub cut_until: u64,
    pub pending: BTreeMap<u64, Purpose>,
    pub follower: Follower,
    pub keeper: Keeper,
    declared: Duration,
    /// Up to where the index has everything, and until when it answers.
    pub data: i64,
    pub valid_until: Moment,
    /// In true time, when the poll was sent that this lease is from.
    pub sent: u64,
    /// The machine's clock: what it showed when it began to run at this rate, in millionths.
    local: u64,
    since: u64,
    rate: u64,
}

impl Process {
    /// `declared` is what others believe a lease to be.
    pub fn new(dice: &mut Dice, declared: Duration) -> Self {
        Self {
            is_up: false,
            epoch: 0,
            stopped_until: 0,
            cut_until: 0,
            pending: BTreeMap::new(),
            follower: Follower::default(),
            keeper: Keeper::new(declared),
            declared,
            data: 0,
            valid_until: Moment::NEVER,
            sent: 0,
            local: 1 + dice.roll(1_000_000_000),
            since: 0,
            rate: drifting(dice),
        }
    }

    pub fn clock(&self, now: u64) -> Moment {
        Moment::from_nanos(self.local * 1_000 + (now - self.since) * self.rate / 1_000)
    }

    pub fn run_at(&mut self, rate: u64, now: u64) {
        self.local += (now - self.since) * self.rate / 1_000_000;
        (self.since, self.rate) = (now, rate);
    }

    pub fn in_true_time(&self, span: Duration) -> u64 {
        // A little more, so that it is over by then.
        u64::try_from(span.as_micros()).unwrap() * 1_000_000 / self.rate + 2
    }

    pub fn die(&mut self) {
        let declared = self.declared;
        self.epoch += 1;
        self.is_up = false;
        self.pending.clear();
        self.follower = Follower::default();
        self.keeper = Keeper::new(declared);
        self.data = 0;
        self.valid_until = Moment::NEVER;
    }
}

impl World {
    pub fn start(&mut self, process: usize) {
        if !self.processes[process].is_up {
            self.processes[process].die();
            self.processes[process].is_up = true;
            self.join(process);
        }
    }

    pub fn take_step(&mut self, process: usize, step: Step) {
        if let Step::Start = step {
            return self.start(process);
        }
        if !self.processes[process].is_up {
            return;
        }
        match step {
            Step::Start => {}
            Step::Leave => self.leave(process),
            Step::Look { plan } => self.look(process, plan),
            Step::Publish { sent, polled } => self.publish(process, sent, &polled),
            Step::Answered { number, answer } => {
                if let Some(purpose) = self.processes[process].pending.remove(&number) {
                    self.answered(process, purpose, answer);
                }
            }
            Step::GiveUp { number } => {
                if let Some(purpose) = self.processes[process].pending.remove(&number) {
                    self.gave_up(process, purpose);
                }
            }
            Step::Act { plan } => self.wake(process, plan),
            Step::Begin { credential, revision, chain, since } => {
                self.begin(process, credential, revision, chain, since);
            }
            Step::DoAgain => self.do_again(process),
            Step::TakeView { late } => {
                let own = &self.processes[process];
                let (data, valid_until) = (own.data, own.valid_until);
                self.soon(process, Step::ReadClock { late, data, valid_until });
            }
            Step::ReadClock { late, data, valid_until } => {
                if self.clock(process) < valid_until || self.makes(Misuse::NoLeaseCheck) {
                    self.answer(process, late, data);
                }
            }
        }
    }

    fn answered(&mut self, process: usize, purpose: Purpose, answer: Answer) {
        match (purpose, answer) {
            (Purpose::Poll { sent }, Answer::Polled(polled, is_any_fencing)) => {
                self.processes[process].keeper.is_look_wanted |= is_any_fencing;
                self.polled(process, sent, polled);
            }
            (Purpose::LoadPoll, Answer::Polled(polled, _)) => self.load(process, polled.cluster_id),
            (Purpose::Load { cluster_id, sent }, Answer::Snapshot(head)) => {
                self.loaded(process, cluster_id, sent, head);
            }
            (Purpose::Fetch { sent, polled }, Answer::Changes(heads)) => self.fetched(process, sent, polled, heads),
            (Purpose::Join, Answer::Done) => self.joined(process),
            (Purpose::Leave { is_for_good }, Answer::Done) => self.left(process, is_for_good),
            (Purpose::Confirm, Answer::Done) => self.plan_look(process),
            (Purpose::Ask { revisions, begun_before }, Answer::Seen(seen)) => {
                self.seen(process, &revisions, begun_before, &seen);
            }
            (Purpose::Fence { ids }, Answer::Done) => self.fenced(process, &ids),
            (Purpose::Remove { ids }, Answer::Done) => self.removed(process, &ids),
            (Purpose::Revoke { credential, sent }, Answer::Revoked { head, is_new }) => {
                self.committed(process, credential, sent, head, is_new);
            }
            (purpose, answer) => panic!("{answer:?} is no answer to {purpose:?}"),
        }
    }

    fn gave_up(&mut self, process: usize, purpose: Purpose) {
        match purpose {
            Purpose::Join
            | Purpose::LoadPoll
            | Purpose::Load { .. }
            | Purpose::Poll { .. }
            | Purpose::Fetch { .. }
            | Purpose::Confirm => self.plan_look(process),
            Purpose::Leave { is_for_good } => self.left(process, is_for_good),
            Purpose::Ask { .. } => self.asked_in_vain(process),
            Purpose::Fence { .. } | Purpose::Remove { .. } => self.retry_later(process),
            // The client is told that it may be committed, and asks again.
            Purpose::Revoke { .. } => {}
        }
    }
}
