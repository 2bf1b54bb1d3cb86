//! What a step does.

use super::rules::Action;
use super::state::*;
use super::{Clocks, Configuration, Mistake};

impl Configuration {
    /// The state after this step; none if it changes nothing.
    pub fn after(&self, last: &State, action: Action) -> Option<State> {
        let mut state = *last;
        match action {
            Action::Tick(fast) => self.tick(&mut state, fast),
            Action::Join(process) => self.join(&mut state, process),
            Action::CommitJoin(process) => commit_join(&mut state, process),
            Action::Load(process) => state.processes[process].loaded = state.head,
            Action::Send(process) => state.processes[process].poll = Poll::Sent { left: self.clocks.lease, age: 0 },
            Action::Read(process, head) => read(&mut state, process, head),
            Action::Publish(process) => self.publish(&mut state, process),
            Action::Acknowledge(process) => self.acknowledge(&mut state, process),
            Action::Receive(process) => self.receive(&mut state, process),
            Action::TakeView(process) => take_view(&mut state, process),
            Action::Answer(process) => self.answer(&mut state, process),
            Action::ReadClock(process) => read_clock(&mut state, process),
            Action::Leave(process) => stop(&mut state, process),
            Action::DeleteOwn(process) => delete_own(&mut state, process),
            Action::Crash(process) => self.crash(&mut state, process),
            Action::SeeFencing(process, row) => {
                state.processes[process].deleting = Some(Deleting { row, left: self.wait() });
            }
            Action::DeleteFenced(process) => delete_fenced(&mut state, process),
            Action::Ask(request) => self.ask(&mut state, request),
            Action::Commit(request) => self.commit(&mut state, request),
            Action::Abort(request) | Action::LoseAnswer(request) => state.tasks[request] = Task::Unknown,
            Action::Returned(request) => self.returned(&mut state, request),
            Action::LookUp(request) => self.look_up(&mut state, request),
            Action::Retry(request) => self.retry(&mut state, request),
            Action::ReadRows(request) => self.read_rows(&mut state, request),
            Action::ReadAcknowledged(request) => self.read_acknowledged(&mut state, request),
            Action::TimeIsUp(request) => {
                if let Task::Waiting { outstanding, .. } = state.tasks[request] {
                    self.answer_ok(&mut state, request, outstanding);
                }
            }
            Action::Fence(_, row) => {
                if let Row::Active { applied } = state.row(row) {
                    state.rows[row.process][row.id] = Row::Fencing { applied };
                }
            }
        }
        // What is fenced already need not be.
        for task in &mut state.tasks {
            if let Task::Ok { outstanding } = task {
                let active = RowId::all().filter(|row| matches!(state.rows[row.process][row.id], Row::Active { .. }));
                *outstanding &= active.fold(0, |all, row| all | row.bit());
            }
        }
        (state != *last).then_some(state)
    }

    fn tick(&self, state: &mut State, fast: u8) {
        let Clocks { slow, fast: quick, any, .. } = self.clocks;
        let longest = self.clocks.longest_lease();
        let older = |age: &mut u8| *age = (*age + 1).min(longest);
        for (index, process) in state.processes.iter_mut().enumerate() {
            let is_fast = fast & (1 << index) != 0;
            // INVARIANT (the worst clocks): no step needs a lease to be over or a timer to run, so nothing is possible
            // with shorter leases and longer timers that is not with slow leases and fast timers.
            let lease_rate = if any && is_fast { quick } else { slow };
            let timer_rate = if any && !is_fast { slow } else { quick };
            let checked = process.check.as_mut().and_then(|check| check.view.as_mut());
            for view in process.view.as_mut().into_iter().chain(checked) {
                view.left = view.left.saturating_sub(lease_rate);
                older(&mut view.age);
            }
            if let Poll::Sent { left, age } | Poll::Read { left, age, .. } = &mut process.poll {
                *left = left.saturating_sub(lease_rate);
                older(age);
            }
            if let Life::Joining { left, age, .. } = &mut process.life {
                *left = left.saturating_sub(lease_rate);
                older(age);
            }
            if let Some(deleting) = &mut process.deleting {
                deleting.left = deleting.left.saturating_sub(timer_rate);
            }
            let requests = self.requests.iter().zip(&mut state.tasks);
            for (_, task) in requests.filter(|(request, _)| request.at == index) {
                if let Task::Committing { timer }
                | Task::Committed { timer }
                | Task::Started { timer, .. }
                | Task::Waiting { timer, .. } = task
                {
                    *timer = timer.saturating_sub(timer_rate);
                }
            }
        }
        let revoked = state.revoked_until(state.head);
        for (request, since) in state.since.iter_mut().enumerate() {
            if self.counts_age && revoked & (1 << request) != 0 {
                older(since);
            }
        }
    }

    /// R1.
    fn join(&self, state: &mut State, process: usize) {
        let head = state.head;
        let own = &mut state.processes[process];
        own.ids += 1;
        if self.makes(Mistake::OneTransactionJoin) {
            own.life = Life::Joining { head, left: self.clocks.lease, age: 0 };
        } else {
            own.life = Life::Up;
            insert_row(state, process, 0);
        }
    }

    /// R2: on the reply. Everything up to the head is applied, then data and lease are published as one view.
    fn publish(&self, state: &mut State, process: usize) {
        let Poll::Read { left, age, head, welcome } = state.processes[process].poll else { return };
        if !welcome {
            return stop(state, process);
        }
        let until = if self.makes(Mistake::DataBeforeLease) { state.processes[process].loaded } else { head };
        let left = if self.makes(Mistake::LeaseFromReply) { self.clocks.lease } else { left };
        let seen = state.revoked_until(until);
        let own = &mut state.processes[process];
        let (data, applied) = own.view.map_or((0, 0), |last| (last.data, last.applied));
        own.view = Some(View { data: data | seen, applied: applied.max(until), left, age });
        own.poll = Poll::None;
        own.cached_is_valid = true;
    }

    /// R2: only after publishing.
    fn acknowledge(&self, state: &mut State, process: usize) {
        let own = &state.processes[process];
        let published = own.view.map_or(0, |view| view.applied);
        let known = match own.poll {
            Poll::Read { head, .. } if self.makes(Mistake::AcknowledgeBeforeApplying) => head,
            Poll::None | Poll::Sent { .. } | Poll::Read { .. } => published,
        };
        let Some(row) = state.own_row(process) else { return };
        if let Row::Active { applied } | Row::Fencing { applied } = &mut state.rows[row.process][row.id] {
            *applied = known.max(*applied);
        }
    }

    /// R3: the whole request is in.
    fn receive(&self, state: &mut State, process: usize) {
        let late = state.promised;
        let check = &mut state.processes[process].check;
        match check {
            None => *check = Some(Check { late, view: None }),
            Some(check) if self.makes(Mistake::ViewPerStream) => check.late = late,
            Some(_) => {}
        }
    }

    /// R3: the clock is read after the view was taken; then it is evaluated and answered.
    fn answer(&self, state: &mut State, process: usize) {
        let own = &mut state.processes[process];
        let Some(Check { late, view: Some(view) }) = own.check else { return };
        if !self.makes(Mistake::ViewPerStream) {
            own.check = None;
        }
        if self.passes(own, view) {
            state.g1_broken |= late & !view.data != 0;
            state.seen.late_reply |= state.promised & !view.data != 0;
        }
    }

    /// It is gone, with its tasks; its row stays.
    fn crash(&self, state: &mut State, process: usize) {
        state.crashes -= 1;
        let ids = state.processes[process].ids;
        state.processes[process] = Process { life: Life::Down, ids, ..Process::default() };
        let requests = self.requests.iter().zip(&mut state.tasks);
        for (_, task) in requests.filter(|(request, _)| request.at == process) {
            *task = Task::Lost;
        }
    }

    /// The gate: the caller is admitted from memory.
    fn ask(&self, state: &mut State, request: usize) {
        let asked = &self.requests[request];
        let knows = self.serves(&state.processes[asked.at]);
        let is_admitted = asked.caller.is_none_or(|caller| knows.is_some_and(|view| view.data & (1 << caller) == 0));
        if is_admitted {
            let timer = if self.makes(Mistake::TimerBeforeCommit) { self.wait() } else { 0 };
            state.tasks[request] = Task::Committing { timer };
        }
    }

    /// V0: the head is locked, and what the call rests on is read again.
    fn commit(&self, state: &mut State, request: usize) {
        let Task::Committing { timer } = state.tasks[request] else { return };
        let revoked = state.revoked_until(state.head);
        let caller = self.requests[request].caller.map_or(0, |caller| 1 << caller);
        if caller & revoked != 0 {
            if !self.makes(Mistake::CallerNotReadAgain) {
                state.tasks[request] = Task::Refused;
                return;
            }
            state.v0_broken = true;
        }
        state.ledger[usize::from(state.head)] = 1 << request;
        state.head += 1;
        state.tasks[request] = Task::Committed { timer };
    }

    /// V1: the timer starts after COMMIT has returned.
    fn returned(&self, state: &mut State, request: usize) {
        let Task::Committed { timer } = state.tasks[request] else { return };
        let timer = if self.makes(Mistake::TimerBeforeCommit) { timer } else { self.wait() };
        let revision = revision_of(state, request);
        state.tasks[request] = Task::Started { revision, timer };
        if self.makes(Mistake::SecondApplier)
            && let Some(view) = &mut state.processes[self.requests[request].at].view
        {
            view.data |= 1 << request;
            view.applied = view.applied.max(revision);
        }
    }

    /// V2: COMMIT's answer was lost; the head lock waits for what is still under way.
    fn look_up(&self, state: &mut State, request: usize) {
        let revision = revision_of(state, request);
        state.tasks[request] =
            if revision > 0 { Task::Started { revision, timer: self.wait() } } else { Task::Committing { timer: 0 } };
    }

    /// V5: the row is in its final state; the head that is read after that is R.
    fn retry(&self, state: &mut State, request: usize) {
        let Some(first) = self.requests[request].retries else { return };
        if revision_of(state, first) == 0 {
            return;
        }
        if self.makes(Mistake::RetryAtOnce) {
            return self.answer_ok(state, request, 0);
        }
        state.tasks[request] = Task::Started { revision: state.head, timer: self.wait() };
    }

    /// V2: all replica rows; whoever has not acknowledged is outstanding.
    fn read_rows(&self, state: &mut State, request: usize) {
        let Task::Started { revision, timer } = state.tasks[request] else { return };
        let waits_for = |row: &RowId| match state.row(*row) {
            Row::Absent => false,
            Row::Active { applied } => applied < revision,
            Row::Fencing { applied } => applied < revision && !self.makes(Mistake::FencedExcluded),
        };
        let outstanding = RowId::all().filter(waits_for).fold(0, |all, row| all | row.bit());
        if outstanding == 0 {
            return self.answer_ok(state, request, 0);
        }
        state.tasks[request] = Task::Waiting { revision, timer, outstanding };
    }

    /// V3 and V4: OK when each has acknowledged R, or is gone.
    fn read_acknowledged(&self, state: &mut State, request: usize) {
        let Task::Waiting { revision, timer, outstanding } = state.tasks[request] else { return };
        let still = |row: &RowId| state.row(*row).applied().is_some_and(|applied| applied < revision);
        let outstanding = RowId::all().filter(still).fold(0, |all, row| all | (row.bit() & outstanding));
        if outstanding == 0 {
            return self.answer_ok(state, request, 0);
        }
        state.tasks[request] = Task::Waiting { revision, timer, outstanding };
    }

    fn answer_ok(&self, state: &mut State, request: usize, outstanding: Rows) {
        state.tasks[request] = Task::Ok { outstanding };
        state.promised |= 1 << self.requests[request].retries.unwrap_or(request);
    }
}

/// The revision of what this request committed; 0 if nothing.
fn revision_of(state: &State, request: usize) -> u8 {
    (1..=state.head).find(|revision| state.ledger[usize::from(*revision) - 1] == 1 << request).unwrap_or(0)
}

fn insert_row(state: &mut State, process: usize, applied: u8) {
    if let Some(row) = state.own_row(process) {
        state.rows[row.process][row.id] = Row::Active { applied };
    }
}

fn commit_join(state: &mut State, process: usize) {
    let Life::Joining { head, left, age } = state.processes[process].life else { return };
    let data = state.revoked_until(head);
    insert_row(state, process, head);
    state.processes[process].life = Life::Up;
    state.processes[process].view = Some(View { data, applied: head, left, age });
}

/// R2: one statement reads the head and the own row.
fn read(state: &mut State, process: usize, head: u8) {
    let Poll::Sent { left, age } = state.processes[process].poll else { return };
    let is_active = state.own_row(process).is_some_and(|row| matches!(state.row(row), Row::Active { .. }));
    // A database that lags knows nothing of the fencing either.
    let welcome = is_active || head < state.head;
    state.processes[process].poll = Poll::Read { left, age, head, welcome };
}

/// R3: one view for a question.
fn take_view(state: &mut State, process: usize) {
    let own = &mut state.processes[process];
    if let Some(check) = &mut own.check
        && check.view.is_none()
    {
        check.view = own.view;
    }
}

fn read_clock(state: &mut State, process: usize) {
    let own = &mut state.processes[process];
    own.cached_is_valid = own.view.is_some_and(|view| view.left > 0);
}

/// R4, and R2 of a replica that finds itself fenced. What it was answering is finished or dropped.
fn stop(state: &mut State, process: usize) {
    let Process { ids, deleting, .. } = state.processes[process];
    state.processes[process] = Process { life: Life::Stopped, ids, deleting, ..Process::default() };
}

fn delete_own(state: &mut State, process: usize) {
    if let Some(row) = state.own_row(process) {
        delete(state, row);
    }
    state.processes[process].life = Life::Outside;
}

/// V6: W after the fencing commit returned.
fn delete_fenced(state: &mut State, process: usize) {
    if let Some(deleting) = state.processes[process].deleting {
        delete(state, deleting.row);
    }
}

/// Ids are random and never come back: nobody has to delete it any more.
fn delete(state: &mut State, row: RowId) {
    state.rows[row.process][row.id] = Row::Absent;
    for process in &mut state.processes {
        if process.deleting.is_some_and(|deleting| deleting.row == row) {
            process.deleting = None;
        }
    }
}
