//! What connections are for.

/// What connections are for; each purpose has its own, so that none keeps another waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) enum Purpose {
    /// Mutations.
    Writer,
    /// Lists and lookups.
    Reader,
    /// Following the ledger and acknowledging what was read; its statements end within a quarter of the lease.
    Follower,
    /// Reading who has acknowledged what, and hints; the same in all else.
    Keeper,
    /// Coming and going of replicas, and the barrier's look at them; what it writes is kept.
    Registry,
    /// Counting how keys are used, which nobody waits for.
    Usage,
    /// Making tables, which may take long.
    Migration,
}

impl Purpose {
    /// How many connections of a server it has at most.
    pub(super) fn connections(self) -> u32 {
        match self {
            Self::Writer | Self::Reader => 8,
            Self::Keeper => 2,
            Self::Follower | Self::Registry | Self::Usage | Self::Migration => 1,
        }
    }
}
