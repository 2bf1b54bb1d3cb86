//! What stands for a key, an application or a user for a short time: access tokens and sessions.

use super::clock::Time;
use super::credential::{CredentialId, Digest};
use super::facts::TokenFacts;
use super::name::{ApplicationId, Collection, KeyId, SessionId, TenantId, TokenId, UserId};
use super::permission::{Actions, Grants, Pattern};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// How long an access token lives if nothing is asked for.
pub const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// How long an access token lives at most.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a session lives.
pub const SESSION_LIFE: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a token or session that has expired is still told apart from one that never was.
pub const TOKEN_RETENTION: Duration = Duration::from_secs(24 * 60 * 60);

/// How long it is remembered after its end that a JWT was revoked. Whoever forgets any other token refuses it; whoever
/// forgets this would accept it again, if only the clock by which it was forgotten was wrong. So: longer than that.
pub const REVOKED_JWT_RETENTION: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// What an access token was made from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Parent {
    /// A key.
    Key(KeyId),
    /// An application.
    Application(ApplicationId),
}

impl Parent {
    /// The full resource name, within `tenant`.
    pub fn name(&self, tenant: &TenantId) -> String {
        match self {
            Self::Key(key) => super::name::key_name(tenant, key),
            Self::Application(application) => super::name::application_name(tenant, application),
        }
    }

    /// The collection it is in and its id there.
    pub fn place(&self) -> (Collection, &str) {
        match self {
            Self::Key(key) => (Collection::Keys, key.as_str()),
            Self::Application(application) => (Collection::Applications, application.as_str()),
        }
    }
}

/// The text of an access token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenFormat {
    /// A credential of our form.
    Opaque,
    /// A JWT. One of these has a row only once it is revoked.
    Jwt,
}

/// One permission of the narrower set that was asked for, as it was given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// A [`Pattern`].
    pub resource: String,
    /// A literal action, or `*` for all.
    pub action: String,
}

/// What a narrower set permits; a part that is ill-formed permits nothing.
pub fn compile(wanted: &[Wanted]) -> Grants {
    wanted.iter().filter_map(|one| Some((Pattern::parse(&one.resource)?, Actions::of([one.action.as_str()])))).collect()
}

/// An access token as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The last part of its name.
    pub id: TokenId,
    /// Unique for ever.
    pub uid: Uuid,
    /// What it was made from.
    pub parent: Parent,
    /// Which secret of that: the revision that made it.
    pub secret_version: i64,
    /// What is known of that was true at this revision; if the parent's tokens ended later, it is dead.
    pub based_revision: i64,
    /// The narrower set that was asked for; `None` is all that its parent holds.
    pub permissions: Option<Vec<Wanted>>,
    /// Whom it is for; empty is anyone.
    pub audience: Vec<String>,
    /// Its form.
    pub format: TokenFormat,
    /// SHA-256 of its text; a JWT is known by its signature.
    pub digest: Option<Digest>,
    /// The `{id}` in its text, where it is opaque.
    pub credential_id: Option<CredentialId>,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// From when on it is refused.
    pub expire_time: Time,
    /// When it was revoked, if it was.
    pub revoke_time: Option<Time>,
    /// The revision that last changed it.
    pub revision: i64,
}

impl AccessToken {
    /// `tenants/{tenant}/tokens/{token}`.
    pub fn name(&self) -> String {
        super::name::token_name(&self.tenant, &self.id)
    }

    /// Whether nothing tells it from one that never was.
    pub fn is_forgotten(&self, now: Time) -> bool {
        self.expire_time.after(TOKEN_RETENTION) <= now
    }

    /// Until when it is kept.
    pub fn kept_until(&self) -> Time {
        self.expire_time.after(match self.format {
            TokenFormat::Opaque => TOKEN_RETENTION,
            TokenFormat::Jwt => REVOKED_JWT_RETENTION,
        })
    }

    /// What a decision needs of it.
    pub fn facts(&self) -> TokenFacts {
        TokenFacts {
            id: self.id.clone(),
            parent: self.parent.clone(),
            secret_version: self.secret_version,
            based_revision: self.based_revision,
            narrow: self.permissions.as_deref().map(compile),
            audience: self.audience.clone(),
            expire_time: self.expire_time,
            is_revoked: self.revoke_time.is_some(),
        }
    }
}

/// A signed-in user, as stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The last part of its name.
    pub id: SessionId,
    /// Unique for ever.
    pub uid: Uuid,
    /// Who signed in.
    pub user: UserId,
    /// SHA-256 of its text.
    pub digest: Digest,
    /// The `{id}` in its text.
    pub credential_id: CredentialId,
    /// The revision at which the user signed in; if the user's sessions ended later, it is dead.
    pub based_revision: i64,
    /// When it was made.
    pub create_time: Time,
    /// When it last changed.
    pub update_time: Time,
    /// From when on it is refused.
    pub expire_time: Time,
    /// When it was ended, if it was.
    pub revoke_time: Option<Time>,
    /// The revision that last changed it.
    pub revision: i64,
}

impl Session {
    /// `tenants/{tenant}/sessions/{session}`.
    pub fn name(&self) -> String {
        super::name::session_name(&self.tenant, &self.id)
    }

    /// Whether nothing tells it from one that never was.
    pub fn is_forgotten(&self, now: Time) -> bool {
        self.expire_time.after(TOKEN_RETENTION) <= now
    }
}

/// What a caller was admitted by, to be read again under the head lock.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A credential that is known by its digest.
    Credential(Digest),
    /// A JWT: its signature was verified with the key of this id, and this is what it says.
    Jwt {
        /// The `kid` of its header.
        kid: String,
        /// The tenant of its parent.
        tenant: TenantId,
        /// What it says.
        token: TokenFacts,
    },
}
