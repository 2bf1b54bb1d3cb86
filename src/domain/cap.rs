//! How many things a tenant may have, and how a change moves what is counted.
//!
//! The counts are a fold of the ledger: of the kind of an event, which says what was done, and of the things as they are
//! afterwards. So they are the same whoever folds, and a binary that counts can catch up with one that does not.

use super::change::Change;
use super::clock::Time;
use super::key::{Key, KeyType};
use super::name::TenantId;
use super::token::AccessToken;
use std::collections::BTreeMap;
use std::fmt;

/// Tokens are counted together that expire in the same ten minutes: nobody writes when one does.
const SLOT_MICROS: i64 = 10 * 60 * 1_000_000;

/// What is counted for each tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Counted {
    /// Regular keys that are neither revoked nor deleted. One that has expired counts: it may be given a later end.
    Keys,
    /// Applications that are not deleted. One that is revoked counts: it may be activated.
    Applications,
    /// Opaque access tokens that are neither revoked nor expired. A JWT is no row, and does not count.
    Tokens,
}

impl Counted {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Keys, Self::Applications, Self::Tokens];

    /// The word for it in rows, flags and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "keys",
            Self::Applications => "applications",
            Self::Tokens => "tokens",
        }
    }

    /// The flag by which its cap is set.
    pub const fn flag(self) -> &'static str {
        match self {
            Self::Keys => "--max-keys-per-tenant",
            Self::Applications => "--max-applications-per-tenant",
            Self::Tokens => "--max-tokens-per-tenant",
        }
    }

    /// What makes room under its cap, besides a higher one.
    pub const fn remedy(self) -> &'static str {
        match self {
            Self::Keys => "revoke or delete keys that are not used any more",
            Self::Applications => "delete applications that are not used any more",
            Self::Tokens => "revoke tokens, ask for them with a shorter ttl, or wait until some have expired",
        }
    }
}

/// How many of something a tenant may have; as text a number, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cap {
    /// At most so many, and at least one.
    Of(u64),
    /// As many as there is room for.
    Unlimited,
}

impl Cap {
    /// Whether so many are within it.
    pub fn covers(self, count: u64) -> bool {
        match self {
            Self::Of(most) => count <= most,
            Self::Unlimited => true,
        }
    }
}

impl fmt::Display for Cap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Of(most) => write!(f, "{most}"),
            Self::Unlimited => f.write_str("unlimited"),
        }
    }
}

impl std::str::FromStr for Cap {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || "must be a number of at least 1, or unlimited".to_owned();
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        let number = text.parse().ok().filter(|number| *number > 0);
        number.map(Self::Of).ok_or_else(refused)
    }
}

/// The caps of every tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caps {
    /// Of [`Counted::Keys`].
    pub keys: Cap,
    /// Of [`Counted::Applications`].
    pub applications: Cap,
    /// Of [`Counted::Tokens`].
    pub tokens: Cap,
}

impl Default for Caps {
    fn default() -> Self {
        Self { keys: Cap::Of(10_000_000), applications: Cap::Of(100_000), tokens: Cap::Of(1_000_000) }
    }
}

impl Caps {
    /// The cap of one.
    pub const fn of(&self, counted: Counted) -> Cap {
        match counted {
            Counted::Keys => self.keys,
            Counted::Applications => self.applications,
            Counted::Tokens => self.tokens,
        }
    }
}

/// What is counted together: until when it counts is 0 where that is not known beforehand.
pub type Slot = (TenantId, Counted, i64);

/// Whether what stands in a slot still counts.
pub fn is_current(slot_end: i64, now: Time) -> bool {
    slot_end == 0 || slot_end > now.micros()
}

/// By how much a mutation moves each count: `kind` is the kind of its event.
pub fn moves(kind: &str, changes: &[Change]) -> BTreeMap<Slot, i64> {
    let mut moves = BTreeMap::new();
    for (slot, by) in changes.iter().filter_map(|change| step(kind, change)) {
        let moved: &mut i64 = moves.entry(slot).or_default();
        *moved = moved.saturating_add(by);
    }
    moves.retain(|_, by| *by != 0);
    moves
}

fn step(kind: &str, change: &Change) -> Option<(Slot, i64)> {
    match change {
        Change::Key(key) => key_step(kind, key).map(|by| ((key.tenant.clone(), Counted::Keys, 0), by)),
        Change::Application(application) => {
            let by = match kind {
                "application.create" => 1,
                "application.delete" => -1,
                _ => return None,
            };
            Some(((application.tenant.clone(), Counted::Applications, 0), by))
        }
        Change::Token(token) => token_step(kind, token),
        Change::Root(_) | Change::Tenant(_) | Change::User(_) | Change::Session(_) | Change::SigningKey(_) => None,
    }
}

fn key_step(kind: &str, key: &Key) -> Option<i64> {
    if key.kind != KeyType::Regular {
        return None;
    }
    let (is_revoked, is_deleted) = (key.revocation.is_some(), key.delete_time.is_some());
    match kind {
        "key.create" | "key.import" => Some(1),
        "key.undelete" => (!is_revoked).then_some(1),
        // It counted unless the other had ended it before.
        "key.revoke" | "credential.revoke" => (is_revoked && !is_deleted).then_some(-1),
        "key.delete" => (is_deleted && !is_revoked).then_some(-1),
        _ => None,
    }
}

fn token_step(kind: &str, token: &AccessToken) -> Option<(Slot, i64)> {
    // Of a JWT there is a row once it is revoked.
    token.digest?;
    let by = match kind {
        "token.create" => 1,
        "token.revoke" | "credential.revoke" => token.revoke_time.map(|_| -1)?,
        _ => return None,
    };
    let end = token.expire_time.micros();
    let slot_end = end.saturating_sub(end.rem_euclid(SLOT_MICROS)).saturating_add(SLOT_MICROS);
    Some(((token.tenant.clone(), Counted::Tokens, slot_end), by))
}

/// How long the slots of tokens are, in microseconds.
pub const fn slot_micros() -> i64 {
    SLOT_MICROS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cap_is_a_number_or_said_to_be_none() {
        assert_eq!("7".parse(), Ok(Cap::Of(7)));
        assert_eq!("unlimited".parse(), Ok(Cap::Unlimited));
        for text in ["", "0", "-1", "none", "1k", " 7", "1.5", "99999999999999999999"] {
            assert!(text.parse::<Cap>().is_err(), "{text}");
        }
        assert!(Cap::Of(7).covers(7) && !Cap::Of(7).covers(8) && Cap::Unlimited.covers(u64::MAX));
        assert_eq!([Cap::Of(7), Cap::Unlimited].map(|cap| cap.to_string()), ["7", "unlimited"]);
    }

    #[test]
    fn a_slot_counts_until_its_end() {
        let now = Time::from_micros(5);
        assert!(is_current(0, now) && is_current(6, now) && !is_current(5, now));
    }
}
