//! What a decision needs to know, compiled once when a thing changes.

use super::application::Application;
use super::clock::Time;
use super::credential::Digest;
use super::key::{Key, KeyType, Retirement};
use super::name::{ApplicationId, Collection, Id, KeyId, Owner, SessionId, TenantId, TokenId};
use super::network::IpRanges;
use super::permission::Grants;
use super::referrer::Referrers;
use super::tenant::Standing;
use super::token::{Parent, Session};
use super::user::{Role, User};
use std::collections::BTreeMap;
use uuid::fmt::Hyphenated;

/// What has credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A key.
    Key {
        /// The last part of its name.
        id: KeyId,
        /// Its kind.
        kind: KeyType,
    },
    /// An application, by its secret or by a token made of that.
    Application(ApplicationId),
    /// A signed-in user.
    Session(SessionId),
}

/// The same, without its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A key.
    Key(KeyType),
    /// An application.
    Application,
    /// A signed-in user.
    Session,
}

impl Holder {
    /// What it is.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Key { kind, .. } => Kind::Key(*kind),
            Self::Application(_) => Kind::Application,
            Self::Session(_) => Kind::Session,
        }
    }

    /// The last part of its name.
    pub fn id(&self) -> &str {
        match self {
            Self::Key { id, .. } => id.as_str(),
            Self::Application(id) => id.as_str(),
            Self::Session(id) => id.as_str(),
        }
    }
}

/// Everything about a key, an application or a session that a decision needs.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// What it is.
    pub holder: Holder,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// What it grants.
    pub grants: Grants,
    /// What most have nothing of.
    pub particulars: Particulars,
}

/// What most keys have nothing of: where there are many, those that do not share [`Particulars::NONE`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Particulars {
    /// Where it may be used from.
    pub allowed_ips: IpRanges,
    /// On which pages it may be used.
    pub allowed_referrers: Referrers,
    /// Shown to whoever checks it.
    pub labels: BTreeMap<String, String>,
    /// From when on it is good.
    pub not_before_time: Option<Time>,
    /// From when on it is not.
    pub expire_time: Option<Time>,
    /// When it was deleted.
    pub delete_time: Option<Time>,
    /// Whether it is suspended.
    pub is_suspended: bool,
    /// Whether it is revoked.
    pub is_revoked: bool,
    /// Whether it is verified, which only an application may not be.
    pub is_verified: bool,
    /// The digest of the second secret.
    pub secret_key: Option<Digest>,
    /// Tokens that rest on an earlier revision have died for good; of a session, the revision that it rests on itself.
    pub tokens_end_revision: i64,
}

impl Particulars {
    /// Those of what may be used at any time, from anywhere.
    pub const NONE: Self = Self {
        allowed_ips: IpRanges::ANYWHERE,
        allowed_referrers: Referrers::ANYWHERE,
        labels: BTreeMap::new(),
        not_before_time: None,
        expire_time: None,
        delete_time: None,
        is_suspended: false,
        is_revoked: false,
        is_verified: true,
        secret_key: None,
        tokens_end_revision: 0,
    };
}

/// [`Facts`], borrowed from wherever they are kept.
#[derive(Clone, Copy, Debug)]
pub struct FactsRef<'a> {
    /// The tenant it belongs to.
    pub tenant: &'a TenantId,
    /// What it is.
    pub kind: Kind,
    /// The last part of its name.
    pub id: Id<'a>,
    /// Whose it is.
    pub owner: Option<&'a Owner>,
    /// What it grants.
    pub grants: &'a Grants,
    /// What most have nothing of.
    pub particulars: &'a Particulars,
}

impl From<&Key> for Facts {
    fn from(key: &Key) -> Self {
        Self {
            tenant: key.tenant.clone(),
            holder: Holder::Key { id: key.id.clone(), kind: key.kind },
            owner: key.owner.clone(),
            grants: super::grant::compile(&key.grants),
            particulars: Particulars {
                allowed_ips: key.allowed_ips.clone(),
                allowed_referrers: key.allowed_referrers.clone(),
                labels: key.labels.clone(),
                not_before_time: key.not_before_time,
                expire_time: key.expire_time,
                delete_time: key.delete_time,
                is_suspended: key.is_suspended,
                is_revoked: key.revocation.is_some(),
                is_verified: true,
                secret_key: key.secret_key,
                tokens_end_revision: key.tokens_end_revision,
            },
        }
    }
}

impl From<&Application> for Facts {
    fn from(application: &Application) -> Self {
        Self {
            tenant: application.tenant.clone(),
            holder: Holder::Application(application.id.clone()),
            owner: Some(Owner::User(application.owner.clone())),
            grants: super::grant::compile(&application.grants),
            particulars: Particulars {
                delete_time: application.delete_time,
                is_revoked: application.revoke_time.is_some(),
                is_verified: application.is_verified,
                tokens_end_revision: application.tokens_end_revision,
                ..Particulars::NONE
            },
        }
    }
}

impl From<&Session> for Facts {
    fn from(session: &Session) -> Self {
        Self {
            tenant: session.tenant.clone(),
            holder: Holder::Session(session.id.clone()),
            owner: Some(Owner::User(session.user.clone())),
            grants: Grants::default(),
            particulars: Particulars {
                expire_time: Some(session.expire_time),
                is_revoked: session.revoke_time.is_some(),
                tokens_end_revision: session.based_revision,
                ..Particulars::NONE
            },
        }
    }
}

/// Everything about an access token that a decision needs beside its parent.
#[derive(Clone, Debug)]
pub struct TokenFacts {
    /// The last part of its name.
    pub id: TokenId,
    /// What it was made from.
    pub parent: Parent,
    /// Which secret of that.
    pub secret_version: i64,
    /// The revision that it rests on.
    pub based_revision: i64,
    /// The narrower set; `None` is all that its parent holds.
    pub narrow: Option<Grants>,
    /// Whom it is for; empty is anyone.
    pub audience: Vec<String>,
    /// From when on it is refused.
    pub expire_time: Time,
    /// Whether it is revoked.
    pub is_revoked: bool,
}

/// What is known of the user behind a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerState {
    /// Whether the owner is in use.
    pub standing: Standing,
    /// What the owner may do.
    pub role: Role,
    /// Sessions that rest on an earlier revision have died for good.
    pub sessions_end_revision: i64,
}

impl From<&User> for OwnerState {
    fn from(user: &User) -> Self {
        Self { standing: user.standing(), role: user.role, sessions_end_revision: user.sessions_end_revision }
    }
}

/// A credential with all that stands behind it, from the token to the tenant.
#[derive(Clone, Debug)]
pub struct Chain {
    /// The key, application or session.
    pub facts: Facts,
    /// When the secret that was shown, or that the token was made from, is rotated out.
    pub retirement: Option<Retirement>,
    /// The access token that was shown, if one was.
    pub token: Option<TokenFacts>,
    /// The application that owns the key, if one does.
    pub application: Option<Facts>,
    /// The user that owns it, or the application that does.
    pub owner: Option<OwnerState>,
    /// The tenant.
    pub tenant: Standing,
}

impl Facts {
    /// The same, borrowed.
    pub fn borrowed(&self) -> FactsRef<'_> {
        FactsRef {
            tenant: &self.tenant,
            kind: self.holder.kind(),
            id: Id::of(self.holder.id()),
            owner: self.owner.as_ref(),
            grants: &self.grants,
            particulars: &self.particulars,
        }
    }

    /// The full resource name.
    pub fn name(&self) -> String {
        self.borrowed().name()
    }

    /// Whether it is an application.
    pub fn is_application(&self) -> bool {
        self.holder.kind() == Kind::Application
    }
}

impl FactsRef<'_> {
    /// The same, owned.
    pub fn to_facts(self) -> Facts {
        Facts {
            tenant: self.tenant.clone(),
            holder: self.holder(),
            owner: self.owner.cloned(),
            grants: self.grants.clone(),
            particulars: self.particulars.clone(),
        }
    }

    /// What it is, with its id.
    pub fn holder(&self) -> Holder {
        match self.kind {
            Kind::Key(kind) => Holder::Key { id: self.id.into(), kind },
            Kind::Application => Holder::Application(self.id.into()),
            Kind::Session => Holder::Session(self.id.into()),
        }
    }

    /// The full resource name.
    pub fn name(&self) -> String {
        self.tenant.name_below(self.kind.collection(), self.id.text(&mut [0; Hyphenated::LENGTH]))
    }

    /// Whether it is a session.
    pub fn is_session(&self) -> bool {
        self.kind == Kind::Session
    }

    /// Whether it is an application.
    pub fn is_application(&self) -> bool {
        self.kind == Kind::Application
    }
}

impl Kind {
    /// The collection such things are in.
    pub const fn collection(self) -> Collection {
        match self {
            Self::Key(_) => Collection::Keys,
            Self::Application => Collection::Applications,
            Self::Session => Collection::Sessions,
        }
    }
}
