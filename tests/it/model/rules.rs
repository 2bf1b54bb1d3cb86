//! Which steps can be taken. None is ever forced: a process that takes none is stopped, slow or cut off.

use super::state::*;
use super::{Configuration, Mistake, Request};

/// A step; its number is a process or a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// True time goes on; the clocks of these processes run fast, of the others slow.
    Tick(u8),
    /// R1: a new id, and its row is committed. (`OneTransactionJoin`: the transaction begins and loads.)
    Join(usize),
    /// `OneTransactionJoin` only: the row and what was loaded become visible, and it serves.
    CommitJoin(usize),
    /// `DataBeforeLease` only: it fetches the data, and later asks for a lease.
    Load(usize),
    /// R2: takes the time, then sends the poll.
    Send(usize),
    /// R2: the database reads head and own row. (`LaggingPoll`: as they were at this revision.)
    Read(usize, u8),
    /// R2: the reply is here: publishes data and lease as one, or stops serving.
    Publish(usize),
    /// R2: acknowledges what is published. (The answer to a peer's call is this and `ReadAcknowledged` in one.)
    Acknowledge(usize),
    /// R3: a check is all in. (`ViewPerStream`: the next question of the stream.)
    Receive(usize),
    /// R3: takes one view.
    TakeView(usize),
    /// R3: reads the clock, evaluates, answers.
    Answer(usize),
    /// `CachedClock` only: the time is cached.
    ReadClock(usize),
    /// R4: stops answering.
    Leave(usize),
    /// R4 and V6: deletes its own row, having stopped.
    DeleteOwn(usize),
    /// The process is gone, its row stays.
    Crash(usize),
    /// The gate admits the caller, and COMMIT is sent.
    Ask(usize),
    /// V0: under the head lock the caller is read again; the database commits.
    Commit(usize),
    /// The database ends the transaction, and nobody is told.
    Abort(usize),
    /// V1: COMMIT has returned, the timer starts.
    Returned(usize),
    /// COMMIT's answer is lost.
    LoseAnswer(usize),
    /// V2: looks under the head lock whether it was committed: goes on with a new timer, or tries again.
    LookUp(usize),
    /// V5: nothing is left to do: the head is read, the timer starts.
    Retry(usize),
    /// V2: reads all rows.
    ReadRows(usize),
    /// V3, V4: reads who has acknowledged, and answers if all have.
    ReadAcknowledged(usize),
    /// V4: W is over.
    TimeIsUp(usize),
    /// V6: a row that has not acknowledged becomes fencing.
    Fence(usize, RowId),
    /// V6: the fencing commit returned, or somebody sees that a row is fencing: from now on W.
    SeeFencing(usize, RowId),
    /// V6: W is over, the row is deleted.
    DeleteFenced(usize),
}

impl Configuration {
    pub fn makes(&self, mistake: Mistake) -> bool {
        self.mistake == Some(mistake)
    }

    /// W.
    pub fn wait(&self) -> u8 {
        if self.makes(Mistake::NoMargin) { self.clocks.lease } else { self.clocks.wait() }
    }

    /// Whether this process is there at all.
    fn takes_part(&self, process: usize) -> bool {
        self.ids[process] > 0 || self.requests.iter().any(|request| request.at == process)
    }

    /// Whether a check with this view would be let past the lease.
    pub fn passes(&self, process: &Process, view: View) -> bool {
        match self.mistake {
            Some(Mistake::NoLeaseCheck) => true,
            Some(Mistake::CachedClock) => process.cached_is_valid,
            _ => view.left > 0,
        }
    }

    /// What a check that came in now would be decided on, if it were decided.
    pub fn serves(&self, process: &Process) -> Option<View> {
        process.view.filter(|view| process.life == Life::Up && self.passes(process, *view))
    }

    /// Every step that could be taken.
    pub fn steps(&self, state: &State, steps: &mut Vec<Action>) {
        for process in 0..PROCESSES {
            self.steps_of_process(state, process, steps);
        }
        for (request, _) in self.requests.iter().enumerate() {
            self.steps_of_request(state, request, steps);
        }
        self.ticks(state, steps);
    }

    fn ticks(&self, state: &State, steps: &mut Vec<Action>) {
        if !self.clocks.any {
            return steps.push(Action::Tick(0));
        }
        let runs = |process: usize| state.processes[process].life != Life::Down && self.takes_part(process);
        let may_be_fast = (0..PROCESSES).filter(|process| runs(*process)).fold(0, |all, process| all | 1 << process);
        steps.extend((0..1 << PROCESSES).filter(|fast| fast & !may_be_fast == 0).map(Action::Tick));
    }

    fn steps_of_process(&self, state: &State, process: usize, steps: &mut Vec<Action>) {
        let own = &state.processes[process];
        match own.life {
            Life::Outside | Life::Down if own.ids < self.ids[process] => steps.push(Action::Join(process)),
            Life::Outside | Life::Down => {}
            Life::Joining { .. } => steps.push(Action::CommitJoin(process)),
            Life::Up => {
                match own.poll {
                    Poll::None => steps.push(Action::Send(process)),
                    Poll::Sent { .. } if self.makes(Mistake::LaggingPoll) => {
                        steps.extend((0..=state.head).map(|head| Action::Read(process, head)));
                    }
                    Poll::Sent { .. } => steps.push(Action::Read(process, state.head)),
                    Poll::Read { .. } => steps.push(Action::Publish(process)),
                }
                steps.push(Action::Acknowledge(process));
                if self.makes(Mistake::DataBeforeLease) {
                    steps.push(Action::Load(process));
                }
                if self.makes(Mistake::CachedClock) {
                    steps.push(Action::ReadClock(process));
                }
                if self.checks && process == 0 {
                    steps.extend([Action::Receive(process), Action::TakeView(process), Action::Answer(process)]);
                }
                if self.leaves {
                    steps.push(Action::Leave(process));
                }
            }
            Life::Stopped => steps.push(Action::DeleteOwn(process)),
        }
        if own.life != Life::Down && self.takes_part(process) {
            if state.crashes > 0 && own.ids > 0 {
                steps.push(Action::Crash(process));
            }
            match own.deleting {
                Some(deleting) if deleting.left == 0 => steps.push(Action::DeleteFenced(process)),
                Some(_) => {}
                None => steps.extend(
                    RowId::all()
                        .filter(|row| matches!(state.row(*row), Row::Fencing { .. }) && row.process != process)
                        .map(|row| Action::SeeFencing(process, row)),
                ),
            }
        }
    }

    fn steps_of_request(&self, state: &State, request: usize, steps: &mut Vec<Action>) {
        let Request { at, retries, .. } = self.requests[request];
        if state.processes[at].life == Life::Down {
            return;
        }
        match state.tasks[request] {
            Task::Asked if retries.is_some() => steps.push(Action::Retry(request)),
            Task::Asked => steps.push(Action::Ask(request)),
            Task::Committing { .. } => {
                steps.push(Action::Commit(request));
                if self.loses_answers {
                    steps.push(Action::Abort(request));
                }
            }
            Task::Committed { .. } => {
                steps.push(Action::Returned(request));
                if self.loses_answers {
                    steps.push(Action::LoseAnswer(request));
                }
            }
            Task::Unknown => steps.push(Action::LookUp(request)),
            Task::Started { .. } => steps.push(Action::ReadRows(request)),
            Task::Waiting { timer, outstanding, .. } => {
                steps.push(Action::ReadAcknowledged(request));
                if timer == 0 {
                    steps.push(Action::TimeIsUp(request));
                }
                if timer == 0 || self.fences_early {
                    Self::fences(state, request, outstanding, steps);
                }
            }
            Task::Ok { outstanding } => Self::fences(state, request, outstanding, steps),
            Task::Refused | Task::Lost => {}
        }
    }

    fn fences(state: &State, request: usize, outstanding: Rows, steps: &mut Vec<Action>) {
        let late = RowId::all().filter(|row| outstanding & row.bit() != 0);
        let active = late.filter(|row| matches!(state.row(*row), Row::Active { .. }));
        steps.extend(active.map(|row| Action::Fence(request, row)));
    }
}
