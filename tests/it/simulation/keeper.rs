//! What `replica/keeper.rs` does, with the same core: asks who has confirmed what, shuts out the silent, removes them.

use super::Misuse;
use super::database::{Credential, Query};
use super::process::{Purpose, Step};
use super::world::World;
use keyward::domain::clock::Moment;
use keyward::replica::protocol::{Barriers, Deed, Head, Outcome, Seen, Ticket, Timing};
use std::collections::BTreeMap;
use std::time::Duration;

const SHORTEST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);
const REVOKE_LIMIT: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub struct Keeper {
    barriers: Barriers,
    pub waiters: BTreeMap<Ticket, Credential>,
    next_ticket: Ticket,
    is_asking: bool,
    is_doing: bool,
    /// A poll has seen that a replica is being shut out.
    pub is_look_wanted: bool,
    pause: Duration,
    next_question: Moment,
    plan: u64,
}

impl Keeper {
    pub fn new(lease: Duration) -> Self {
        Self {
            barriers: Barriers::new(Timing::new(lease)),
            waiters: BTreeMap::new(),
            next_ticket: 1,
            is_asking: false,
            is_doing: false,
            is_look_wanted: false,
            pause: SHORTEST_PAUSE,
            next_question: Moment::NEVER,
            plan: 0,
        }
    }
}

impl World {
    /// A client asks this process to revoke.
    pub fn request(&mut self, process: usize, credential: Credential) {
        if self.processes[process].is_up {
            let sent = self.clock(process);
            self.send(process, Query::Revoke { credential }, Purpose::Revoke { credential, sent }, REVOKE_LIMIT);
        }
    }

    /// V1: COMMIT has returned, the timer starts now. V5 where nothing was left to do.
    pub fn committed(&mut self, process: usize, credential: Credential, sent: Moment, head: Head, is_new: bool) {
        if !is_new && self.makes(Misuse::RetryAtOnce) {
            return self.promise(credential);
        }
        let since = if self.makes(Misuse::TimerBeforeCommit) { sent } else { self.clock(process) };
        let chain = is_new.then_some(head.chain);
        self.soon(process, Step::Begin { credential, revision: head.revision, chain, since });
        self.hint(process);
    }

    pub fn begin(
        &mut self,
        process: usize,
        credential: Credential,
        revision: i64,
        chain: Option<Vec<u8>>,
        since: Moment,
    ) {
        let now = self.clock(process);
        let keeper = &mut self.processes[process].keeper;
        keeper.barriers.begin(keeper.next_ticket, revision, chain, since);
        keeper.waiters.insert(keeper.next_ticket, credential);
        keeper.next_ticket += 1;
        keeper.pause = SHORTEST_PAUSE;
        keeper.next_question = now;
        self.act(process);
    }

    pub fn wake(&mut self, process: usize, plan: u64) {
        if self.processes[process].keeper.plan == plan {
            self.act(process);
        }
    }

    fn act(&mut self, process: usize) {
        let now = self.clock(process);
        let over = self.processes[process].keeper.barriers.time_out(now);
        self.finish(process, over);
        let keeper = &mut self.processes[process].keeper;
        if !keeper.is_doing
            && let Some(deed) = keeper.barriers.deeds(now).into_iter().next()
        {
            keeper.is_doing = true;
            self.perform(process, deed);
        }
        let keeper = &mut self.processes[process].keeper;
        let mut wait = LONGEST_PAUSE * 20;
        let question = keeper.barriers.question().or_else(|| keeper.is_look_wanted.then(Vec::new));
        if let Some(revisions) = question.filter(|_| !keeper.is_asking) {
            if now >= keeper.next_question {
                keeper.is_asking = true;
                keeper.is_look_wanted = false;
                keeper.next_question = now.after(keeper.pause);
                keeper.pause = (keeper.pause * 2).min(LONGEST_PAUSE);
                let begun_before = keeper.next_ticket;
                let purpose = Purpose::Ask { revisions: revisions.clone(), begun_before };
                self.send(process, Query::Roll { revisions }, purpose, self.timing.statement_timeout());
            } else {
                wait = keeper.next_question.since(now);
            }
        }
        let keeper = &mut self.processes[process].keeper;
        if let Some(time) = keeper.barriers.next_time() {
            wait = wait.min(time.since(now) + SHORTEST_PAUSE);
        }
        keeper.plan += 1;
        let plan = keeper.plan;
        self.later(process, wait, Step::Act { plan });
    }

    fn perform(&mut self, process: usize, deed: Deed) {
        let limit = self.timing.statement_timeout();
        match deed {
            Deed::Fence { ids, below } => {
                self.counts.fenced += 1;
                let query = Query::Fence { ids: ids.clone(), below };
                self.send(process, query, Purpose::Fence { ids }, limit);
            }
            Deed::Remove(ids) => {
                self.send(process, Query::Remove { ids: ids.clone() }, Purpose::Remove { ids }, limit);
            }
        }
    }

    pub fn seen(&mut self, process: usize, revisions: &[i64], begun_before: Ticket, seen: &Seen) {
        let now = self.clock(process);
        let own = &mut self.processes[process];
        own.keeper.is_asking = false;
        let mut seen = seen.clone();
        if self.misuse == Some(Misuse::FencedExcluded) {
            seen.peers.retain(|peer| !peer.is_fencing);
        }
        for peer in seen.peers.iter_mut().filter(|peer| peer.id == own.follower.id) {
            peer.applied = peer.applied.max(own.data);
        }
        let over = own.keeper.barriers.seen(revisions, begun_before, &seen, now);
        self.finish(process, over);
        self.act(process);
    }

    pub fn asked_in_vain(&mut self, process: usize) {
        self.processes[process].keeper.is_asking = false;
        self.act(process);
    }

    pub fn fenced(&mut self, process: usize, ids: &[String]) {
        let now = self.clock(process);
        let keeper = &mut self.processes[process].keeper;
        keeper.is_doing = false;
        keeper.barriers.fenced(ids, now);
        if self.makes(Misuse::RemoveAtOnce) {
            self.perform(process, Deed::Remove(ids.to_vec()));
        }
        self.act(process);
    }

    pub fn removed(&mut self, process: usize, ids: &[String]) {
        let keeper = &mut self.processes[process].keeper;
        keeper.is_doing = false;
        keeper.barriers.removed(ids);
        self.act(process);
    }

    pub fn retry_later(&mut self, process: usize) {
        self.later(process, self.timing.poll_interval(), Step::DoAgain);
    }

    pub fn do_again(&mut self, process: usize) {
        self.processes[process].keeper.is_doing = false;
        self.act(process);
    }

    fn finish(&mut self, process: usize, over: Vec<(Ticket, Outcome)>) {
        for (ticket, outcome) in over {
            let Some(credential) = self.processes[process].keeper.waiters.remove(&ticket) else { continue };
            match outcome {
                Outcome::Settled => self.promise(credential),
                Outcome::Lost => self.wrong(format!("process {process} misses a commit that is there")),
                Outcome::Unreadable => {}
            }
        }
    }
}
