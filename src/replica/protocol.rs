//! The rules of lease and barrier without I/O: time, what the database said and what other replicas have confirmed are
//! given, what is to be done is answered. `replica/follow.rs` and `replica/keeper.rs` carry it out on a real database,
//! `tests/it/simulation.rs` on a simulated one. The names R1 to R4 and V1 to V7 are those of the rules.
//!
//! - [`Timing`]: how long a lease is, and how long others must wait for it to be over.
//! - [`Member`]: this replica as one that polls (R1, R2): what to do with the answer of each poll, and until when it may answer.
//! - [`Barriers`]: this replica as one that commits (V2 to V7): which mutations may be answered, whom to fence, whom to remove.
//!
//! No clocks of two machines are compared, and none is read here.

mod barrier;
mod member;

pub use crate::domain::lease::Timing;
pub use barrier::{Barriers, Deed, Outcome, Seen, Ticket};
pub use member::{Member, Next, Polled};

pub use crate::domain::change::Head;

/// The id of a replica: random for each time that a process joins.
pub type ReplicaId = String;

/// A row of the table `replica`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Whose row it is.
    pub id: ReplicaId,
    /// Whether it was shut out.
    pub is_fencing: bool,
    /// The last revision that it has confirmed to have published; -1 before it has loaded.
    pub applied: i64,
    /// Its lease.
    pub lease: std::time::Duration,
}
