//! What must hold in every state, and what must be possible.

use super::Configuration;
use super::rules::Action;
use super::state::*;
use stateright::Property;

pub const G1: &str = "G1: no ALLOWED to a check received after the OK";
pub const G3: &str = "G3: what is committed is in force after W";
pub const G4: &str = "G4: no ALLOWED later than D after the last poll";
pub const G5: &str = "G5: whoever says R has all up to R";
pub const V0: &str = "V0: a revoked caller changes nothing";
pub const ENDS: &str = "every barrier ends, whoever else is gone";

/// All properties of this configuration.
pub fn all(configuration: &Configuration) -> Vec<Property<Configuration>> {
    let mut all = vec![
        Property::always(G1, |configuration: &Configuration, state: &State| {
            let owed = |view: View| state.promised & !view.data == 0;
            !state.g1_broken && state.processes.iter().filter_map(|own| configuration.serves(own)).all(owed)
        }),
        Property::always(G3, |configuration: &Configuration, state: &State| {
            let longest = configuration.clocks.longest_lease();
            let old = (0..REQUESTS).filter(|request| state.since[*request] >= longest);
            let old = old.fold(0, |all, request| all | 1 << request);
            state.processes.iter().filter_map(|own| configuration.serves(own)).all(|view| old & !view.data == 0)
        }),
        Property::always(G4, |configuration: &Configuration, state: &State| {
            let longest = configuration.clocks.longest_lease();
            state.processes.iter().filter_map(|own| configuration.serves(own)).all(|view| view.age < longest)
        }),
        Property::always(G5, |_: &Configuration, state: &State| {
            let views = state.processes.iter().filter_map(|own| own.view);
            let mut claims = views.map(|view| (view.data, view.applied));
            claims.all(|(data, applied)| state.revoked_until(applied) & !data == 0)
        }),
        Property::always(V0, |_: &Configuration, state: &State| !state.v0_broken),
        Property::always(ENDS, |configuration: &Configuration, state: &State| {
            (0..configuration.requests.len()).all(|request| ends(configuration, state, request))
        }),
        Property::sometimes("every mutation is answered OK", |configuration: &Configuration, state: &State| {
            let mut tasks = state.tasks.iter().take(configuration.requests.len());
            tasks.all(|task| matches!(task, Task::Ok { .. } | Task::Refused))
        }),
        Property::sometimes("all have acknowledged before time is up", |_: &Configuration, state: &State| {
            let served = state.processes.iter().any(|own| own.view.is_some_and(|view| view.left > 0));
            served && state.tasks.iter().any(|task| matches!(task, Task::Ok { outstanding: 0 }))
        }),
        Property::sometimes("time is up before all have acknowledged", |_: &Configuration, state: &State| {
            state.tasks.iter().any(|task| matches!(task, Task::Ok { outstanding: 1.. }))
        }),
        Property::sometimes("a check is denied after the OK", |configuration: &Configuration, state: &State| {
            let mut views = state.processes.iter().filter_map(|own| configuration.serves(own));
            views.any(|view| state.promised & view.data != 0)
        }),
    ];
    // A replica removes no row of its own id in this way.
    let is_other = |at: usize| configuration.ids.iter().enumerate().any(|(process, ids)| *ids > 0 && process != at);
    if configuration.requests.iter().any(|request| is_other(request.at)) {
        all.push(Property::sometimes("a fenced replica is gone", |_: &Configuration, state: &State| {
            let is_up = |row: &RowId| state.processes[row.process].life == Life::Up;
            let is_own = |row: &RowId| state.own_row(row.process) == Some(*row);
            RowId::all().filter(is_own).filter(is_up).any(|row| state.row(row) == Row::Absent)
        }));
    }
    if configuration.checks {
        all.push(Property::sometimes("G2: a late reply", |_: &Configuration, state: &State| state.seen.late_reply));
    }
    if configuration.ids.iter().any(|ids| *ids > 1) {
        all.push(Property::sometimes(
            "a replica serves under its second id",
            |configuration: &Configuration, state: &State| {
                state.processes.iter().any(|own| own.ids > 1 && configuration.serves(own).is_some())
            },
        ));
    }
    if configuration.requests.iter().any(|request| request.caller.is_some()) {
        all.push(Property::sometimes("V0: a revoked caller is refused", |_: &Configuration, state: &State| {
            state.tasks.contains(&Task::Refused)
        }));
    }
    all
}

/// A writer that goes on while all others are stopped for good answers within W.
fn ends(configuration: &Configuration, state: &State, request: usize) -> bool {
    let mut state = *state;
    // Each step is one of the writer's own, or time.
    for _ in 0..8 + configuration.clocks.wait() {
        let step = match state.tasks[request] {
            Task::Asked | Task::Ok { .. } | Task::Refused | Task::Lost => return true,
            Task::Committing { .. } => Action::Commit(request),
            Task::Committed { .. } => Action::Returned(request),
            Task::Unknown => Action::LookUp(request),
            Task::Started { .. } => Action::ReadRows(request),
            Task::Waiting { timer: 0, .. } => Action::TimeIsUp(request),
            Task::Waiting { .. } => Action::Tick(0),
        };
        let Some(next) = configuration.after(&state, step) else { return false };
        state = next;
    }
    false
}
