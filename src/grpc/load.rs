//! How much of a listener is in use, and what is turned away when that is too much: RESOURCE_EXHAUSTED with RetryInfo,
//! before anything is done for the call.
//!
//! Four things are counted apart. *Queued*: calls that the connection has handed over and nobody has begun; that is what
//! grows when a core cannot keep up, and it is the only thing that a client cannot hold on to: a call that waits for its
//! own message is begun. *In flight*: calls of administration whose message is there, until they are carried out. *Open*:
//! streams whose caller was admitted, so that no stranger has a seat. *Reflections*: the streams that are open to strangers,
//! which have few seats, and those to themselves.
//!
//! To turn a Check away costs about as much as to answer it, nearly all of which is HTTP/2: measured with ten times as many
//! calls at once as may wait, callers that ask again at once get far fewer answers than if all had waited. So by default the
//! queue is bounded only to bound memory, and by what nobody waits for; whoever has clients that go elsewhere, or wait as
//! they are told, may want less. A call whose own deadline has passed is never begun.
//!
//! Never turned away are health, which says whether this server may be asked; and Envoy's Check, for an Envoy that fails
//! open lets pass what ends in an error: whoever can cause a flood could have everything let in. It gives up waiting by
//! itself, and each of its connections has so many calls at most.

use crate::config::Limits;
use crate::error::Error;
use crate::telemetry::{Listener, Shed, ShedMeter};
use http::HeaderMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tonic::Status;

/// When it is worth while to ask again: between these, so that not all come back at once.
const SOONEST: Duration = Duration::from_millis(100);
const LATEST: Duration = Duration::from_millis(1000);

/// With fewer queued before it, nobody looks at the clock to see how long a call has waited.
const CROWD: usize = 64;

/// So many answers are made beforehand, each with another time to wait.
const REPLIES: u32 = 16;

/// What of a listener is in use; one for each thread that answers, which share all but the queue.
#[derive(Debug)]
pub struct Load {
    queued: AtomicUsize,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    listener: Listener,
    meter: ShedMeter,
    max_queued: usize,
    max_queue_time: Duration,
    in_flight: AtomicUsize,
    max_in_flight: usize,
    streams: AtomicUsize,
    max_streams: usize,
    reflections: AtomicUsize,
    max_reflections: usize,
    replies: Replies,
}

/// What it is that a call takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// A turn on a core.
    Call,
    /// A turn on a core and, once its caller is admitted, a seat for as long as it likes.
    Stream,
    /// A seat of those that strangers may have.
    Reflection,
    /// It is never turned away.
    Always,
}

impl Load {
    /// Nothing yet, of a listener with these limits.
    pub fn new(listener: Listener, limits: &Limits, meter: ShedMeter) -> Arc<Self> {
        let shared = Shared {
            listener,
            meter,
            max_queued: limits.max_queued_calls,
            max_queue_time: limits.max_queue_time,
            in_flight: AtomicUsize::new(0),
            max_in_flight: limits.admin_max_in_flight,
            streams: AtomicUsize::new(0),
            max_streams: limits.max_streams,
            reflections: AtomicUsize::new(0),
            max_reflections: limits.max_reflections,
            replies: Replies::new(listener),
        };
        Arc::new(Self { queued: AtomicUsize::new(0), shared: Arc::new(shared) })
    }

    /// The same with a queue of its own, for another thread that answers.
    pub fn of_another(&self) -> Arc<Self> {
        Arc::new(Self { queued: AtomicUsize::new(0), shared: Arc::clone(&self.shared) })
    }

    /// Puts a call into the queue, or turns it away.
    pub(super) fn queue(self: &Arc<Self>) -> Result<Queued, HeaderMap> {
        let before = self.queued.fetch_add(1, Ordering::Relaxed);
        // Gives the place back, also where there is none.
        let queued = Queued { load: Arc::clone(self), is_crowded: before >= CROWD };
        if before >= self.shared.max_queued { Err(self.refuse(Shed::Queue)) } else { Ok(queued) }
    }

    /// Opens a stream that anybody may open, or turns it away.
    pub(super) fn reflect(self: &Arc<Self>) -> Result<Seat, HeaderMap> {
        self.take(Counted::Reflections).ok_or_else(|| self.refuse(Shed::Reflections))
    }

    /// Opens a stream of somebody who was admitted, or turns it away.
    pub(super) fn open(self: &Arc<Self>) -> Result<Seat, Error> {
        self.take(Counted::Streams).ok_or_else(|| self.refusal(Shed::Streams))
    }

    /// Begins a call of administration, or turns it away.
    pub(super) fn begin(self: &Arc<Self>) -> Result<Seat, Error> {
        self.take(Counted::InFlight).ok_or_else(|| self.refusal(Shed::InFlight))
    }

    fn take(self: &Arc<Self>, counted: Counted) -> Option<Seat> {
        let seat = Seat { load: Arc::clone(self), counted };
        let (count, max) = seat.count();
        // Given back when it is dropped, also where there is none.
        if count.fetch_add(1, Ordering::Relaxed) >= max { None } else { Some(seat) }
    }

    fn refuse(&self, reason: Shed) -> HeaderMap {
        self.shared.meter.count(self.shared.listener, reason);
        self.shared.replies.next()
    }

    fn refusal(&self, reason: Shed) -> Error {
        self.shared.meter.count(self.shared.listener, reason);
        self.shared.replies.error(rand::random())
    }
}

/// A call that nobody has begun.
#[derive(Debug)]
pub(super) struct Queued {
    load: Arc<Load>,
    is_crowded: bool,
}

impl Queued {
    /// Begins it, unless it has waited for too long, or nobody waits for it any more.
    pub(super) fn begin(self, since: Option<Instant>, deadline: Option<Instant>) -> Turn {
        if !self.is_crowded {
            return Turn::Begin;
        }
        let now = Instant::now();
        if deadline.is_some_and(|deadline| deadline <= now) {
            return Turn::Late;
        }
        let waited = since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
        if waited > self.load.shared.max_queue_time {
            return Turn::Refuse(self.load.refuse(Shed::Late));
        }
        Turn::Begin
    }
}

/// What becomes of a call whose turn has come.
#[derive(Debug)]
pub(super) enum Turn {
    /// It is carried out.
    Begin,
    /// Its deadline has passed.
    Late,
    /// It is turned away by this answer.
    Refuse(HeaderMap),
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.load.queued.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What is taken for longer than a turn, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Seat {
    load: Arc<Load>,
    counted: Counted,
}

#[derive(Clone, Copy, Debug)]
enum Counted {
    InFlight,
    Streams,
    Reflections,
}

impl Seat {
    fn count(&self) -> (&AtomicUsize, usize) {
        let shared = &self.load.shared;
        match self.counted {
            Counted::InFlight => (&shared.in_flight, shared.max_in_flight),
            Counted::Streams => (&shared.streams, shared.max_streams),
            Counted::Reflections => (&shared.reflections, shared.max_reflections),
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.count().0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Answers that are made beforehand.
#[derive(Debug)]
struct Replies {
    limit: String,
    made: Vec<HeaderMap>,
    next: AtomicUsize,
}

impl Replies {
    fn new(listener: Listener) -> Self {
        let limit = format!("calls at once of the {} listener; it has more than it can do", listener.as_str());
        let mut replies = Self { limit, made: Vec::new(), next: AtomicUsize::new(0) };
        let shares = (0..REPLIES).map(|number| f64::from(number) / f64::from(REPLIES));
        let status = |share| Status::from(replies.error(share)).into_http::<()>().into_parts().0.headers;
        let mut made: Vec<HeaderMap> = shares.map(status).collect();
        // Not one after the other: who comes at once is to come back at different times.
        made.sort_by_key(|_| rand::random::<u32>());
        replies.made = made;
        replies
    }

    /// The refusal, with a time to wait that is this share of the way from the soonest to the latest.
    fn error(&self, share: f64) -> Error {
        let retry_after = SOONEST + (LATEST - SOONEST).mul_f64(share);
        Error::Exhausted { limit: self.limit.clone(), retry_after: Some(retry_after) }
    }

    fn next(&self) -> HeaderMap {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let place = number.checked_rem(self.made.len()).unwrap_or_default();
        self.made.get(place).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
