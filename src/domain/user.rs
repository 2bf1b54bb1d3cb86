//! A user: a person or a service account of a tenant, for whom a master key and sessions stand.

use super::clock::Time;
use super::name::{TenantId, UserId};
use super::tenant::Standing;
use crate::error::Violation;
use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

/// What a user may do in its tenant, least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Manages itself and what it owns.
    #[default]
    Member,
    /// Manages the tenant, except its owners and their keys.
    Admin,
    /// Manages everything in the tenant.
    Owner,
}

/// A user as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The last part of its name.
    pub id: UserId,
    /// Unique for ever, also among deleted ones.
    pub uid: Uuid,
    /// As it was given; may be empty.
    pub email: String,
    /// First name.
    pub given_name: String,
    /// Last name.
    pub family_name: String,
    /// What it may do.
    pub role: Role,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// Sessions that rest on an earlier revision than this have died for good: it got another password or was suspended
    /// since.
    #[serde(default)]
    pub sessions_end_revision: i64,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// When it was deleted, if it was.
    pub delete_time: Option<Time>,
    /// The revision that last changed it.
    pub revision: i64,
}

impl User {
    /// Deleted, else suspended, else active.
    pub fn standing(&self) -> Standing {
        Standing::of(self.is_suspended, self.delete_time)
    }

    /// `tenants/{tenant}/users/{user}`.
    pub fn name(&self) -> String {
        super::name::user_name(&self.tenant, &self.id)
    }
}

/// The one form of an email under which users are counted and looked up: NFKC, trimmed, lower case.
pub fn canonical_email(email: &str) -> String {
    email.nfkc().collect::<String>().trim().to_lowercase().nfkc().collect()
}

/// Checks an email: empty, or 3 to 254 bytes with something on either side of one `@`, and nothing blank in it.
pub fn validate_email(email: &str, field: &str) -> Result<(), Violation> {
    let canonical = canonical_email(email);
    let is_address = canonical
        .split_once('@')
        .is_some_and(|(local, host)| !local.is_empty() && !host.is_empty() && !host.contains('@'));
    // What is kept is the text as given: space around it is forgiven, a line end is not.
    let is_clean = !canonical.chars().any(char::is_whitespace) && !email.chars().any(char::is_control);
    if email.is_empty() || (is_address && is_clean && email.len() <= 254) {
        Ok(())
    } else {
        Err(Violation::new(field, "must be an email address of at most 254 bytes, such as ada@example.com"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_person_has_one_canonical_email() {
        for same in ["ada@example.com", " Ada@Example.COM ", "ＡＤＡ@example.com"] {
            assert_eq!(canonical_email(same), "ada@example.com");
        }
        for good in ["", "a@b", "ada@example.com"] {
            assert!(validate_email(good, "f").is_ok(), "{good:?}");
        }
        for bad in ["ada", "@", "a@", "@b", "a@b@c", "a b@c", "a@b\nc", "a@b\n"] {
            assert!(validate_email(bad, "f").is_err(), "{bad:?}");
        }
    }
}
