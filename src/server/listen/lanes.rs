//! Threads with a runtime each, for the connections of the data listener. A call is answered by the thread that its
//! connection was given to; handing it from one thread to another takes as long as a Check. All else that the server does
//! is on the runtime that it was started on, and does not stand in their way.

use crate::error::{Error, Result};
use std::num::NonZero;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// One lane for each core. They end when dropped, and with them what is under way on them.
#[derive(Debug)]
pub(super) struct Lanes(Vec<Lane>);

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) number: usize,
    pub(super) handle: Handle,
    connections: Arc<AtomicUsize>,
    /// Dropped, it ends the thread.
    _running: oneshot::Sender<()>,
}

/// A connection's place on a lane, until dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Lanes {
    /// As many as there are cores for this process.
    pub(super) fn start() -> Result<Self> {
        let count = std::thread::available_parallelism().map_or(1, NonZero::get);
        (0..count).map(Lane::start).collect::<Result<_>>().map(Self)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// A place on the lane that has the fewest connections.
    pub(super) fn place(&self) -> Option<(Place, &Lane)> {
        let lane = self.0.iter().min_by_key(|lane| lane.connections.load(Ordering::Relaxed))?;
        lane.connections.fetch_add(1, Ordering::Relaxed);
        Some((Place(Arc::clone(&lane.connections)), lane))
    }
}

impl Lane {
    fn start(number: usize) -> Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build().map_err(Error::internal)?;
        let handle = runtime.handle().clone();
        let (running, ended) = oneshot::channel();
        std::thread::Builder::new()
            .name(format!("data-{number}"))
            .spawn(move || {
                // Never told anything: it ends when nobody can tell it any more.
                let _ended = runtime.block_on(ended);
            })
            .map_err(Error::internal)?;
        Ok(Self { number, handle, connections: Arc::default(), _running: running })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn connections_are_spread_over_the_lanes_and_served_there() {
        let lanes = Lanes((0..3).map(Lane::start).collect::<Result<_>>().unwrap());
        let mut held = Vec::new();
        let mut names = Vec::new();
        for _ in 0..6 {
            let (place, lane) = lanes.place().unwrap();
            held.push(place);
            let name = lane.handle.spawn(async { std::thread::current().name().map(str::to_owned) });
            names.push(name.await.unwrap().unwrap());
        }
        names.sort();
        assert_eq!(names, ["data-0", "data-0", "data-1", "data-1", "data-2", "data-2"]);
        // The one that lost its connections gets the next.
        held.drain(1..2);
        held.drain(3..4);
        let (_place, lane) = lanes.place().unwrap();
        let name = lane.handle.spawn(async { std::thread::current().name().map(str::to_owned) });
        assert_eq!(name.await.unwrap().as_deref(), Some("data-1"));
    }

    #[tokio::test]
    async fn what_is_under_way_ends_with_the_lanes() {
        let lanes = Lanes::start().unwrap();
        let (_place, lane) = lanes.place().unwrap();
        let endless = lane.handle.spawn(std::future::pending::<()>());
        drop(lanes);
        assert!(endless.await.unwrap_err().is_cancelled());
    }
}
