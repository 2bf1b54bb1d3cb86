//! The failures a caller can act on, one variant for each line of the status table. Knows neither gRPC nor SQL.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

/// One field that breaks one rule; becomes a `google.rpc.BadRequest.FieldViolation`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The path of the field in the request, such as `key.grants[2].resources.resource`.
    pub field: String,
    /// The rule it breaks, a lower-case fragment without a full stop.
    pub rule: String,
}

impl Violation {
    /// Names `field` and the `rule` it breaks.
    pub fn new(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self { field: field.into(), rule: rule.into() }
    }
}

/// Why a request was not carried out. `Display` is what the client reads; `source()` is logged and never leaves.
#[derive(Debug)]
pub enum Error {
    /// Fix the request: these fields break these rules.
    Invalid(Vec<Violation>),
    /// Show a credential that is good: this one is absent or refused, for the reasons named.
    Unauthenticated {
        /// Names of `Reason` values without their prefix, joined by commas; or what is wrong with the metadata.
        reason: String,
    },
    /// Ask for rights: the caller is known and does not hold what the call needs.
    Forbidden {
        /// What is missing, such as `create on keyward/keys/*`.
        missing: String,
    },
    /// Look elsewhere: nothing of that name is visible to the caller.
    NotFound {
        /// The name asked for.
        name: String,
    },
    /// Choose another name: it is taken.
    AlreadyExists {
        /// The field whose value is taken.
        field: &'static str,
        /// The value.
        value: String,
    },
    /// Read again: the resource has changed since the etag was read.
    Conflict {
        /// The name of the resource.
        name: String,
    },
    /// The resource is in a state, or of a kind, that does not allow this.
    Precondition {
        /// The name of the resource.
        name: String,
        /// What stands against it.
        rule: String,
    },
    /// What was asked for is there no more: retention has removed it.
    Removed {
        /// Events up to this revision.
        last: i64,
    },
    /// A limit was reached.
    Exhausted {
        /// Which.
        limit: String,
        /// When to try again, if that helps.
        retry_after: Option<Duration>,
    },
    /// Make room, or have the cap raised: the tenant has as many of something as it may.
    Capped {
        /// The name of the tenant.
        tenant: String,
        /// Of what.
        what: &'static str,
        /// How many there may be.
        cap: String,
        /// How it is mended.
        remedy: String,
    },
    /// Try again later: Keyward cannot decide, or cannot reach its database.
    Unavailable {
        /// What is away.
        what: String,
        /// The revision that was committed all the same, if one was.
        committed: Option<i64>,
    },
    /// The deadline came before its turn: nothing was changed.
    Late,
    /// It was committed, and the deadline came before every replica had confirmed it: do it again, or look who is silent.
    Unfinished {
        /// The revision that was committed.
        revision: i64,
        /// The ids of the replicas that have not confirmed it, as far as they are known.
        outstanding: Vec<String>,
    },
    /// A bug or a broken store: report it.
    Internal(Box<dyn StdError + Send + Sync>),
}

/// What most of Keyward returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// One field that breaks one rule.
    pub fn invalid(field: impl Into<String>, rule: impl Into<String>) -> Self {
        Self::Invalid(vec![Violation::new(field, rule)])
    }

    /// Nothing of that name.
    pub fn not_found(name: impl fmt::Display) -> Self {
        Self::NotFound { name: name.to_string() }
    }

    /// The thing named is in a state that does not allow this.
    pub fn precondition(name: impl fmt::Display, rule: impl Into<String>) -> Self {
        Self::Precondition { name: name.to_string(), rule: rule.into() }
    }

    /// Something that cannot happen unless there is a bug or a damaged database.
    pub fn internal(source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::Internal(source.into())
    }

    /// The database, or something else without which nothing can be decided, is away.
    pub fn unavailable(what: impl Into<String>) -> Self {
        Self::Unavailable { what: what.into(), committed: None }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(violations) => {
                f.write_str("invalid request")?;
                for (place, violation) in violations.iter().enumerate() {
                    let separator = if place == 0 { ": " } else { "; " };
                    write!(f, "{separator}{} {}", violation.field, violation.rule)?;
                }
                Ok(())
            }
            Self::Unauthenticated { reason } => write!(f, "the caller's credential is refused: {reason}"),
            Self::Forbidden { missing } => write!(f, "the caller does not hold {missing}"),
            Self::NotFound { name } => write!(f, "{name} not found"),
            Self::AlreadyExists { field, value } => write!(f, "{field} {value:?} is taken"),
            Self::Conflict { name } => {
                write!(f, "{name} has changed since its etag was read; get it again and retry")
            }
            Self::Precondition { name, rule } => write!(f, "{name} {rule}"),
            Self::Removed { last } => write!(
                f,
                "events up to revision {last} were removed, since they are older than they are kept; go on after {last}"
            ),
            Self::Exhausted { limit, .. } => write!(f, "limit reached: {limit}"),
            Self::Capped { tenant, what, cap, remedy } => {
                write!(f, "{tenant} would have more than {cap} {what}, which is the most it may have: {remedy}")
            }
            Self::Unavailable { what, committed: None } => write!(f, "cannot decide: {what}"),
            Self::Unavailable { what, committed: Some(revision) } => {
                write!(f, "committed as revision {revision}, but not confirmed: {what}")
            }
            Self::Late => f.write_str("the deadline has passed before it was its turn: nothing was changed"),
            Self::Unfinished { revision, outstanding } => {
                let silent = outstanding.join(", ");
                write!(f, "committed as revision {revision}, but not confirmed by every replica in time: {silent}")
            }
            Self::Internal(_) => f.write_str("internal error; the server's log has the cause"),
        }
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match self {
            Self::Internal(source) => Some(source.as_ref()),
            _ => None,
        }
    }
}

impl From<Violation> for Error {
    fn from(violation: Violation) -> Self {
        Self::Invalid(vec![violation])
    }
}
