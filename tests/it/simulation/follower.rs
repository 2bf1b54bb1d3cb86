//! What `replica/follow.rs` does, with the same core: joins, loads, polls, applies, publishes, confirms.

use super::Misuse;
use super::database::Query;
use super::process::{Purpose, Sent, Step};
use super::world::World;
use keyward::domain::clock::Moment;
use keyward::replica::protocol::{Head, Member, Next, Polled};
use std::time::Duration;

/// How long a statement may take that is not part of a poll.
const REGISTRY_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub struct Follower {
    /// New with each join.
    pub id: String,
    joins: u64,
    member: Option<Member>,
    is_in_doubt: bool,
    is_leaving: bool,
    plan: u64,
    /// Between a look and the plan of the next.
    is_busy: bool,
}

impl World {
    fn stop_answering(&mut self, process: usize) {
        self.processes[process].valid_until = Moment::NEVER;
    }

    fn sent(&self, process: usize) -> Sent {
        Sent { local: self.clock(process), truly: self.now }
    }

    /// R1: the own row is committed before anything is loaded.
    pub fn join(&mut self, process: usize) {
        let epoch = self.processes[process].epoch;
        let follower = &mut self.processes[process].follower;
        follower.joins += 1;
        follower.is_busy = true;
        follower.id = format!("{process}-{epoch}-{}", follower.joins);
        let id = follower.id.clone();
        if self.makes(Misuse::LoadBeforeJoin) && self.processes[process].follower.member.is_none() {
            let sent = self.sent(process);
            let purpose = Purpose::Load { cluster_id: "one".to_owned(), sent };
            return self.send(process, Query::Snapshot, purpose, REGISTRY_LIMIT);
        }
        let lease = self.declared();
        self.send(process, Query::Join { id, lease }, Purpose::Join, REGISTRY_LIMIT);
    }

    pub fn joined(&mut self, process: usize) {
        match self.processes[process].follower.member {
            Some(_) => self.plan_look_at_once(process),
            None => self.begin_load(process),
        }
    }

    fn begin_load(&mut self, process: usize) {
        let id = self.processes[process].follower.id.clone();
        self.send(process, Query::Poll { id, applied: 0 }, Purpose::LoadPoll, self.timing.statement_timeout());
    }

    pub fn load(&mut self, process: usize, cluster_id: String) {
        let sent = self.sent(process);
        self.send(process, Query::Snapshot, Purpose::Load { cluster_id, sent }, REGISTRY_LIMIT);
    }

    pub fn loaded(&mut self, process: usize, cluster_id: String, sent: Sent, head: Head) {
        let timing = self.timing;
        let own = &mut self.processes[process];
        own.data = head.revision;
        own.follower.member = Some(Member::new(timing, cluster_id, head));
        own.follower.is_in_doubt = false;
        if self.makes(Misuse::LoadBeforeJoin) {
            let own = &mut self.processes[process];
            own.valid_until = sent.local.after(timing.lease());
            own.sent = sent.truly;
            let id = own.follower.id.clone();
            return self.send(process, Query::Join { id, lease: self.declared() }, Purpose::Join, REGISTRY_LIMIT);
        }
        self.plan_look_at_once(process);
    }

    /// R2: the time is taken before the poll is sent.
    pub fn look(&mut self, process: usize, plan: u64) {
        let follower = &self.processes[process].follower;
        if follower.plan != plan || follower.is_leaving {
            return;
        }
        self.processes[process].follower.is_busy = true;
        let follower = &self.processes[process].follower;
        let Some(applied) = follower.member.as_ref().map(|member| member.applied().revision) else {
            return self.begin_load(process);
        };
        let query = Query::Poll { id: follower.id.clone(), applied };
        let purpose = Purpose::Poll { sent: self.sent(process) };
        self.send(process, query, purpose, self.timing.statement_timeout());
    }

    pub fn polled(&mut self, process: usize, sent: Sent, polled: Polled) {
        let local = if self.makes(Misuse::LeaseFromReply) { self.clock(process) } else { sent.local };
        let sent = Sent { local, ..sent };
        let follower = &mut self.processes[process].follower;
        let Some(member) = &mut follower.member else { return };
        let next = member.polled(&polled);
        let after = member.applied().revision;
        match next {
            Next::Renew | Next::Apply if follower.is_in_doubt => self.reload(process),
            Next::Renew => self.soon(process, Step::Publish { sent, polled }),
            Next::Apply => {
                if self.makes(Misuse::ConfirmBeforeApplying) {
                    self.confirm(process, polled.head.revision);
                }
                let query = Query::Changes { after, until: polled.head.revision };
                self.send(process, query, Purpose::Fetch { sent, polled }, self.timing.statement_timeout());
            }
            Next::Rejoin => {
                self.stop_answering(process);
                let id = self.processes[process].follower.id.clone();
                self.send(process, Query::Leave { id }, Purpose::Leave { is_for_good: false }, REGISTRY_LIMIT);
            }
            Next::Reload | Next::CatchUpByLoading => self.reload(process),
            Next::Refuse(reason) => {
                self.stop_answering(process);
                if self.misuse.is_none() {
                    self.wrong(format!("process {process} refuses a ledger that is right: {reason}"));
                }
                self.plan_look(process);
            }
        }
    }

    fn reload(&mut self, process: usize) {
        self.stop_answering(process);
        self.processes[process].data = 0;
        self.processes[process].follower.member = None;
        self.begin_load(process);
    }

    pub fn fetched(&mut self, process: usize, sent: Sent, polled: Polled, heads: Option<Vec<Head>>) {
        let Some(heads) = heads else {
            // The log was pruned meanwhile: nothing more is answered before everything was read anew.
            self.stop_answering(process);
            self.processes[process].follower.is_in_doubt = true;
            return self.plan_look(process);
        };
        let own = &mut self.processes[process];
        let Some(member) = &mut own.follower.member else { return };
        for head in heads {
            if head.revision <= member.applied().revision {
                continue;
            }
            assert_eq!(head.revision, own.data + 1, "changes follow each other");
            own.data = head.revision;
            member.applied_up_to(head);
        }
        self.soon(process, Step::Publish { sent, polled });
    }

    /// R2: the lease only once everything up to the polled head is in; confirmed only afterwards.
    pub fn publish(&mut self, process: usize, sent: Sent, polled: &Polled) {
        let own = &mut self.processes[process];
        if own.follower.is_leaving {
            return;
        }
        let Some(member) = &own.follower.member else { return };
        let Some(valid_until) = member.valid_until(sent.local, polled) else { return self.plan_look(process) };
        let applied = member.applied().revision;
        own.valid_until = valid_until;
        own.sent = sent.truly;
        if polled.confirmed < applied {
            return self.confirm(process, applied);
        }
        self.plan_look(process);
    }

    fn confirm(&mut self, process: usize, revision: i64) {
        let id = self.processes[process].follower.id.clone();
        self.send(process, Query::Confirm { id, revision }, Purpose::Confirm, self.timing.statement_timeout());
    }

    pub fn plan_look(&mut self, process: usize) {
        let wait = self.timing.poll_interval();
        self.plan(process, wait);
    }

    /// There is something to see.
    pub fn hint(&mut self, process: usize) {
        if !self.processes[process].follower.is_busy {
            self.plan_look_at_once(process);
        }
    }

    fn plan_look_at_once(&mut self, process: usize) {
        self.plan(process, Duration::from_micros(100));
    }

    fn plan(&mut self, process: usize, wait: Duration) {
        let follower = &mut self.processes[process].follower;
        follower.plan += 1;
        follower.is_busy = false;
        let plan = follower.plan;
        self.later(process, wait, Step::Look { plan });
    }

    /// R4: stops answering, drains, then deletes the own row.
    pub fn leave(&mut self, process: usize) {
        if !self.makes(Misuse::LeaveWhileAnswering) {
            self.stop_answering(process);
        }
        let follower = &mut self.processes[process].follower;
        follower.is_leaving = true;
        let id = follower.id.clone();
        self.send(process, Query::Leave { id }, Purpose::Leave { is_for_good: true }, REGISTRY_LIMIT);
    }

    pub fn left(&mut self, process: usize, is_for_good: bool) {
        if self.processes[process].follower.is_leaving != is_for_good {
            return;
        }
        if !is_for_good {
            return self.join(process);
        }
        if !self.makes(Misuse::LeaveWhileAnswering) {
            self.processes[process].die();
        }
        let after = self.dice.roll(super::world::SECOND);
        let epoch = self.processes[process].epoch;
        let start = super::world::Event::Process { process, epoch, step: Step::Start };
        self.schedule(after, start);
    }
}
