//! A tenant: the company or account under which everything else stands.

use super::clock::Time;
use super::credential::Prefix;
use super::name::TenantId;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A tenant as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tenant {
    /// The last part of its name.
    pub id: TenantId,
    /// Unique for ever, also among deleted ones.
    pub uid: Uuid,
    /// For people; up to 256 bytes.
    pub display_name: String,
    /// What its credentials begin with; fixed at creation.
    pub credential_prefix: Prefix,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// When it was deleted, if it was.
    pub delete_time: Option<Time>,
    /// The revision that last changed it.
    pub revision: i64,
}

/// The state of a tenant or a user, as others see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// In use.
    Active,
    /// Refused until it is activated again.
    Suspended,
    /// Gone for good.
    Deleted,
}

impl Standing {
    pub(super) fn of(is_suspended: bool, delete_time: Option<Time>) -> Self {
        match (delete_time, is_suspended) {
            (Some(_), _) => Self::Deleted,
            (None, true) => Self::Suspended,
            (None, false) => Self::Active,
        }
    }
}

impl Tenant {
    /// Deleted, else suspended, else active.
    pub fn standing(&self) -> Standing {
        Standing::of(self.is_suspended, self.delete_time)
    }
}
