//! An application: acts in its own name, with grants of its own, once its contact has presented a mailed token.

use super::clock::Time;
use super::credential::Digest;
use super::grant::Grant;
use super::key::{Retirement, Secret, retire};
use super::name::{ApplicationId, Owner, TenantId, UserId};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// How long a mailed token can be presented.
pub const VERIFICATION_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// A mailed token that was not presented yet: all that is kept of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// SHA-256 of its text.
    pub digest: Digest,
    /// From when on it is void.
    pub expire_time: Time,
}

/// An application as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Application {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The last part of its name.
    pub id: ApplicationId,
    /// Unique for ever, also among deleted ones.
    pub uid: Uuid,
    /// The user that owns it.
    pub owner: UserId,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// Where its verification tokens are mailed.
    pub contact_email: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Its secrets, newest first; none before it was verified.
    pub secrets: Vec<Secret>,
    /// Whether its contact has presented a mailed token.
    pub is_verified: bool,
    /// The mailed token that may be presented; once it is verified, the one that was.
    pub verification: Option<Verification>,
    /// When it was revoked, if it is.
    pub revoke_time: Option<Time>,
    /// Tokens that rest on an earlier revision than this have died for good: it was revoked or deleted since.
    pub tokens_end_revision: i64,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// When it was deleted, if it was.
    pub delete_time: Option<Time>,
    /// The revision that last changed it.
    pub revision: i64,
}

impl Application {
    /// `tenants/{tenant}/applications/{application}`.
    pub fn name(&self) -> String {
        super::name::application_name(&self.tenant, &self.id)
    }

    /// The first `(resource, action)` of `grants` that it does not hold itself.
    pub fn lacks(&self, grants: &[Grant]) -> Option<(String, String)> {
        super::grant::compile(&self.grants).uncovered(&super::grant::compile(grants))
    }

    /// When its contact was mailed last: a token is as old as the mail that brought it.
    pub fn last_mail_time(&self) -> Option<Time> {
        let life = i64::try_from(VERIFICATION_LIFE.as_micros()).unwrap_or(i64::MAX);
        let micros = |asked: &Verification| asked.expire_time.micros().saturating_sub(life);
        self.verification.as_ref().map(|asked| Time::from_micros(micros(asked)))
    }

    /// As the owner of keys.
    pub fn as_owner(&self) -> Owner {
        Owner::Application(self.id.clone())
    }

    /// Puts `secret` in front, and has the others retire at `retire_time` unless they do so earlier.
    pub fn rotate(&mut self, secret: Secret, retire_time: Time, now: Time) {
        retire(&mut self.secrets, retire_time, now);
        self.secrets.insert(0, secret);
    }

    /// Refuses it and its keys until it is activated; what was made of it before `revision` is dead for good.
    pub fn revoke(&mut self, now: Time, revision: i64) {
        self.revoke_time = Some(self.revoke_time.unwrap_or(now));
        self.tokens_end_revision = revision;
    }

    /// How many secrets still work.
    pub fn live_secret_count(&self, now: Time) -> usize {
        let has_come = |retirement: Retirement| retirement.has_come(now);
        self.secrets.iter().filter(|secret| !secret.retirement.is_some_and(has_come)).count()
    }
}
