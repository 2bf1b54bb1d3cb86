//! What the model knows at one moment. Times are durations that are left, so that a state says nothing of when it is.

/// Processes, the ids that each may have one after the other, and mutations.
pub const PROCESSES: usize = 3;
pub const IDS: usize = 2;
pub const REQUESTS: usize = 2;

/// A set of credentials: bit i is the one that request i revokes.
pub type Credentials = u8;

/// A set of rows of the table `replica`: bit `process * IDS + id`.
pub type Rows = u8;

/// The key of the table `replica`: the how manieth id of which process.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct RowId {
    pub process: usize,
    pub id: usize,
}

impl RowId {
    pub fn all() -> impl Iterator<Item = Self> {
        (0..PROCESSES).flat_map(|process| (0..IDS).map(move |id| Self { process, id }))
    }

    pub fn bit(self) -> Rows {
        1 << (self.process * IDS + self.id)
    }
}

/// A row of the table `replica`.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Row {
    #[default]
    Absent,
    Active {
        applied: u8,
    },
    Fencing {
        applied: u8,
    },
}

impl Row {
    pub fn applied(self) -> Option<u8> {
        match self {
            Self::Absent => None,
            Self::Active { applied } | Self::Fencing { applied } => Some(applied),
        }
    }
}

/// Data and lease, published as one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct View {
    /// The credentials that it knows to be revoked.
    pub data: Credentials,
    pub applied: u8,
    /// Until `valid_until`, on the clock of its process.
    pub left: u8,
    /// In true time, since its poll was sent; counted up to a lease at its longest.
    pub age: u8,
}

/// The poll that is under way.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Poll {
    #[default]
    None,
    /// The time was taken and the statement sent.
    Sent { left: u8, age: u8 },
    /// The database has read the head and whether the own row is there and active; the reply is under way.
    Read { left: u8, age: u8, head: u8, welcome: bool },
}

/// A check that was received.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Check {
    /// The credentials whose revocation had been answered OK when it was received.
    pub late: Credentials,
    /// The view it took, which runs out like any.
    pub view: Option<View>,
}

/// What a process is doing. Being stopped (SIGSTOP) or cut off needs no state: nobody ever has to take a step.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Life {
    /// It runs and has no row: it starts, has left, was fenced, or only writes.
    #[default]
    Outside,
    /// It crashed.
    Down,
    /// In the one transaction of `Mistake::OneTransactionJoin`, which began at this head.
    Joining { head: u8, left: u8, age: u8 },
    /// Its row is committed.
    Up,
    /// It answers no more, and its row may still be there: it leaves, or has found itself fenced.
    Stopped,
}

/// W until a fencing row that this process saw is deleted by it.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Deleting {
    pub row: RowId,
    pub left: u8,
}

/// A process: a replica, and a writer if requests are sent to it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Process {
    pub life: Life,
    /// How many ids it has had; the last one is the present one.
    pub ids: usize,
    pub view: Option<View>,
    pub poll: Poll,
    pub check: Option<Check>,
    pub deleting: Option<Deleting>,
    /// What `Mistake::DataBeforeLease` has loaded.
    pub loaded: u8,
    /// Whether the cached time of `Mistake::CachedClock` lies within the lease.
    pub cached_is_valid: bool,
}

/// A mutation, from the request to the answer.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Task {
    /// The request has come in; nothing was asked of anybody.
    #[default]
    Asked,
    /// The caller was admitted, COMMIT is on its way. The timer runs in `Mistake::TimerBeforeCommit` only.
    Committing { timer: u8 },
    /// It is in the ledger, and the answer is on its way.
    Committed { timer: u8 },
    /// COMMIT's answer was lost.
    Unknown,
    /// The timer runs, and V2 is not read yet.
    Started { revision: u8, timer: u8 },
    /// These rows have not acknowledged.
    Waiting { revision: u8, timer: u8, outstanding: Rows },
    /// OK was answered; these rows had not acknowledged and are to be fenced.
    Ok { outstanding: Rows },
    /// The caller's credential was revoked.
    Refused,
    /// The process died, and nobody was answered.
    Lost,
}

/// All of it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct State {
    pub head: u8,
    /// What revision 1, 2 ... revoked, as a set of one.
    pub ledger: [Credentials; REQUESTS],
    pub rows: [[Row; IDS]; PROCESSES],
    pub processes: [Process; PROCESSES],
    pub tasks: [Task; REQUESTS],
    pub crashes: u8,
    /// In true time, since each credential's revocation was committed; counted up to a lease at its longest.
    pub since: [u8; REQUESTS],
    /// The credentials whose revocation was answered OK.
    pub promised: Credentials,
    /// Whether a check in steps was answered ALLOWED against G1.
    pub g1_broken: bool,
    /// Whether something was committed for a caller whose credential was revoked.
    pub v0_broken: bool,
    /// What has happened, for the properties that say that it can.
    pub seen: Seen,
}

/// What has happened once; each only where the configuration asks for it.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Seen {
    /// A check received before the OK was answered ALLOWED after it (G2).
    pub late_reply: bool,
}

impl State {
    /// What the revisions up to this one have revoked.
    pub fn revoked_until(&self, revision: u8) -> Credentials {
        self.ledger.iter().take(usize::from(revision)).fold(0, |all, credential| all | credential)
    }

    pub fn row(&self, row: RowId) -> Row {
        self.rows[row.process][row.id]
    }

    /// The row of the process's present id.
    pub fn own_row(&self, process: usize) -> Option<RowId> {
        let id = self.processes[process].ids.checked_sub(1)?;
        Some(RowId { process, id })
    }
}
