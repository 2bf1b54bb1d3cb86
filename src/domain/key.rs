//! An API key: its identity, whose it is, what it grants, and the secrets it has had.

use super::clock::Time;
use super::credential::{CredentialId, Digest};
use super::grant::Grant;
use super::name::{KeyId, Owner, TenantId};
use super::network::IpRanges;
use super::referrer::Referrers;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use uuid::Uuid;

/// How long a deleted key can be undeleted, and how long its text, or one rotated out, is still told apart from unknown.
pub const RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// How many secrets of a key may work at once, and how many retired ones are remembered.
pub const MAX_SECRETS: usize = 10;

/// Has every one of `secrets` retire at `retire_time` unless it does so earlier, and forgets those long retired, and
/// the oldest where there are too many.
pub fn retire(secrets: &mut Vec<Secret>, retire_time: Time, now: Time) {
    let has_retired = |secret: &Secret| secret.retirement.is_some_and(|retirement| retirement.has_come(now));
    let mut remembered = 0_usize;
    secrets.retain(|secret| {
        if !has_retired(secret) {
            return true;
        }
        remembered = remembered.saturating_add(1);
        let is_recent = secret.retirement.is_none_or(|retirement| retirement.time.after(RETENTION) > now);
        is_recent && remembered <= MAX_SECRETS
    });
    for secret in secrets {
        secret.retirement = Some(Retirement::at(retire_time, secret.retirement, now));
    }
}

/// The three kinds of key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyType {
    /// Stands for its user; made with the user; may be rotated, not removed.
    Master,
    /// Holds its grants.
    Regular,
    /// The tenant's key that anyone may read; holds its grants, and nothing of Keyward itself.
    DefaultPublic,
}

/// Why a key was revoked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevocationReason {
    /// Not said.
    #[default]
    Unspecified,
    /// Somebody else may have it.
    KeyCompromise,
    /// Another took its place.
    Superseded,
    /// Its owner may no longer do this.
    PrivilegeWithdrawn,
    /// It is no longer used.
    Cessation,
}

impl RevocationReason {
    /// The word for it in events.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "key_compromise",
            Self::Superseded => "superseded",
            Self::PrivilegeWithdrawn => "privilege_withdrawn",
            Self::Cessation => "cessation",
        }
    }
}

/// When and why a key was revoked; final.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// When.
    pub time: Time,
    /// Why.
    pub reason: RevocationReason,
}

/// One version of a key's secret: all that is kept of a credential's text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Secret {
    /// SHA-256 of the credential's whole text.
    pub digest: Digest,
    /// The `{id}` in the credential's text; one that was imported and is not of our form has none.
    pub id: Option<CredentialId>,
    /// The credential with its secret blotted out, for people.
    pub hint: String,
    /// The revision that made it.
    pub revision: i64,
    /// When it was made.
    pub create_time: Time,
    /// When it is rotated out, if it has been replaced.
    pub retirement: Option<Retirement>,
}

/// When a secret is rotated out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retirement {
    /// From when on.
    pub time: Time,
    /// Whether that had come when it was written down: then it holds whatever a clock says later, or elsewhere.
    pub is_over: bool,
}

impl Retirement {
    /// Has a secret retire at `time`, unless `earlier` it does already.
    pub fn at(time: Time, earlier: Option<Self>, now: Time) -> Self {
        let time = earlier.map_or(time, |earlier| earlier.time.min(time));
        Self { time, is_over: time <= now || earlier.is_some_and(|earlier| earlier.is_over) }
    }

    /// Whether it has come.
    pub fn has_come(self, now: Time) -> bool {
        self.is_over || self.time <= now
    }
}

/// A key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The last part of its name.
    pub id: KeyId,
    /// Unique for ever, also among deleted ones.
    pub uid: Uuid,
    /// Its kind.
    pub kind: KeyType,
    /// Whose it is; only the default public key is nobody's.
    pub owner: Option<Owner>,
    /// For people; unique among the owner's live regular keys unless empty.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// What a regular or default public key may do.
    pub grants: Vec<Grant>,
    /// Where it may be used from; empty is anywhere.
    pub allowed_ips: IpRanges,
    /// On which pages it may be used; empty is any.
    pub allowed_referrers: Referrers,
    /// Free for its owner; shown to whoever checks the key.
    pub labels: BTreeMap<String, String>,
    /// From when on it is good.
    pub not_before_time: Option<Time>,
    /// From when on it is not.
    pub expire_time: Option<Time>,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// Whether it is revoked.
    pub revocation: Option<Revocation>,
    /// When it was deleted, if it was.
    pub delete_time: Option<Time>,
    /// Its secrets, newest first; retired ones are forgotten [`RETENTION`] after they retired, or earlier: see [`retire`].
    pub secrets: Vec<Secret>,
    /// The digest of the second secret, if it has one.
    pub secret_key: Option<Digest>,
    /// The text of a default public key; nothing else is ever kept.
    pub public_credential: Option<String>,
    /// Tokens that rest on an earlier revision than this have died for good: it was deleted since, or got another second
    /// secret.
    #[serde(default)]
    pub tokens_end_revision: i64,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// The revision that last changed it.
    pub revision: i64,
}

/// The state of a key, as others see it at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// In use.
    Active,
    /// Refused until it is activated again.
    Suspended,
    /// Refused for good.
    Revoked,
    /// Past its expiry.
    Expired,
    /// Deleted, and perhaps to be undeleted.
    Deleted,
}

impl Key {
    /// `tenants/{tenant}/keys/{key}`.
    pub fn name(&self) -> String {
        super::name::key_name(&self.tenant, &self.id)
    }

    /// What others see: the state that is hardest to leave.
    pub fn state(&self, now: Time) -> KeyState {
        if self.delete_time.is_some() {
            KeyState::Deleted
        } else if self.revocation.is_some() {
            KeyState::Revoked
        } else if self.expire_time.is_some_and(|expire_time| expire_time <= now) {
            KeyState::Expired
        } else if self.is_suspended {
            KeyState::Suspended
        } else {
            KeyState::Active
        }
    }

    /// Whether it was deleted so long ago that nothing tells it from one that never was.
    pub fn is_forgotten(&self, now: Time) -> bool {
        self.delete_time.is_some_and(|delete_time| delete_time.after(RETENTION) <= now)
    }

    /// Whether its display name is taken by it: regular, neither deleted nor revoked, and named.
    pub fn holds_display_name(&self) -> bool {
        self.kind == KeyType::Regular
            && self.delete_time.is_none()
            && self.revocation.is_none()
            && !self.display_name.is_empty()
    }

    /// Puts `secret` in front, and has the others retire at `retire_time` unless they do so earlier.
    pub fn rotate(&mut self, secret: Secret, retire_time: Time, now: Time) {
        retire(&mut self.secrets, retire_time, now);
        self.secrets.insert(0, secret);
    }

    /// Has every secret but the newest retire now.
    pub fn finish_rotation(&mut self, now: Time) {
        let mut earlier = self.secrets.split_off(1.min(self.secrets.len()));
        retire(&mut earlier, now, now);
        self.secrets.append(&mut earlier);
    }

    /// How many secrets still work.
    pub fn live_secret_count(&self, now: Time) -> usize {
        self.secrets
            .iter()
            .filter(|secret| !secret.retirement.is_some_and(|retirement| retirement.has_come(now)))
            .count()
    }

    /// Until when an earlier secret works beside the newest one, if one still does.
    pub fn overlap_end_time(&self, now: Time) -> Option<Time> {
        let retirements = self.secrets.iter().skip(1).filter_map(|secret| secret.retirement);
        retirements.filter(|retirement| !retirement.has_come(now)).map(|retirement| retirement.time).max()
    }

    /// The credential with its secret blotted out: the newest one's.
    pub fn obfuscated_credential(&self) -> &str {
        self.secrets.first().map_or("", |secret| secret.hint.as_str())
    }
}
