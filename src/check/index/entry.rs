//! What the index holds of each thing, and how a credential is followed from there to its tenant.

use super::Index;
use crate::domain::actor::Actor;
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::decision::{Found, Held};
use crate::domain::facts::{Facts, OwnerState, TokenFacts};
use crate::domain::key::Retirement;
use crate::domain::name::{Collection, TenantId};
use crate::domain::tenant::Standing;
use crate::domain::user::{Role, User};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

/// Where a thing is: its tenant, its collection and its id there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::check) struct Place {
    pub(in crate::check) tenant: TenantId,
    pub(in crate::check) collection: Collection,
    pub(in crate::check) id: Box<str>,
}

impl Place {
    pub(in crate::check) fn new(tenant: &TenantId, collection: Collection, id: &str) -> Self {
        Self { tenant: tenant.clone(), collection, id: id.into() }
    }
}

/// What is known of a tenant; its standing is overwritten in place.
#[derive(Debug)]
pub(super) struct TenantCell {
    pub(super) standing: AtomicU8,
}

/// What is known of a user; all of it is overwritten in place.
#[derive(Debug)]
pub(in crate::check) struct UserCell {
    standing: AtomicU8,
    role: AtomicU8,
    sessions_end_revision: AtomicI64,
}

impl TenantCell {
    /// One that is not known yet, and so stands as deleted.
    pub(super) fn unknown() -> Self {
        Self { standing: AtomicU8::new(standing_byte(Standing::Deleted)) }
    }

    fn standing(&self) -> Standing {
        standing_of(self.standing.load(Ordering::Relaxed))
    }
}

impl UserCell {
    /// One that is not known yet, and so stands as deleted.
    pub(super) fn unknown() -> Self {
        Self {
            standing: AtomicU8::new(standing_byte(Standing::Deleted)),
            role: AtomicU8::new(0),
            sessions_end_revision: AtomicI64::new(0),
        }
    }

    pub(super) fn state(&self) -> OwnerState {
        OwnerState {
            standing: standing_of(self.standing.load(Ordering::Relaxed)),
            role: role_of(self.role.load(Ordering::Relaxed)),
            sessions_end_revision: self.sessions_end_revision.load(Ordering::Relaxed),
        }
    }

    pub(super) fn set(&self, user: &User) {
        self.standing.store(standing_byte(user.standing()), Ordering::Relaxed);
        self.role.store(role_byte(user.role), Ordering::Relaxed);
        self.sessions_end_revision.store(user.sessions_end_revision, Ordering::Relaxed);
    }
}

fn standing_of(byte: u8) -> Standing {
    match byte {
        1 => Standing::Active,
        2 => Standing::Suspended,
        _ => Standing::Deleted,
    }
}

pub(super) fn standing_byte(standing: Standing) -> u8 {
    match standing {
        Standing::Deleted => 0,
        Standing::Active => 1,
        Standing::Suspended => 2,
    }
}

fn role_of(byte: u8) -> Role {
    match byte {
        1 => Role::Admin,
        2 => Role::Owner,
        _ => Role::Member,
    }
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::Member => 0,
        Role::Admin => 1,
        Role::Owner => 2,
    }
}

/// One secret of a thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecretEntry {
    pub(super) digest: Digest,
    /// The revision that made it.
    pub(super) version: i64,
    pub(super) retirement: Option<Retirement>,
    /// Whether it was imported and is not of our form.
    pub(super) is_foreign: bool,
}

/// What is known of a key, an application or a session: the facts, where those behind it stand, and its secrets.
#[derive(Debug)]
pub(in crate::check) struct HolderEntry {
    pub(super) facts: Facts,
    pub(super) secrets: Box<[SecretEntry]>,
    /// The application that owns it, for a key that has one.
    pub(super) application: Option<Place>,
    /// The user that owns it; of a key that an application owns, the application knows.
    pub(super) owner: Option<Arc<UserCell>>,
    pub(super) tenant: Arc<TenantCell>,
    /// The minute in which it was last used; shared by the entries that follow each other.
    pub(super) last_use: Arc<AtomicI64>,
}

impl HolderEntry {
    /// When the secret that `is_it` tells is rotated out.
    fn retirement(&self, is_it: impl Fn(&SecretEntry) -> bool) -> Option<Retirement> {
        match self.secrets.iter().find(|secret| is_it(secret)) {
            Some(secret) => secret.retirement,
            // Not one of its secrets any more: as good as retired for ever.
            None => Some(Retirement { time: Time::MIN, is_over: true }),
        }
    }
}

/// What is known of an access token; whatever it was made from is looked up when it is shown.
#[derive(Debug)]
pub(in crate::check) struct TokenEntry {
    pub(in crate::check) facts: TokenFacts,
    pub(in crate::check) parent: Place,
    pub(in crate::check) digest: Option<Digest>,
}

/// What a digest or a place leads to.
#[derive(Clone, Debug)]
pub(in crate::check) enum Entry {
    Root { retirement: Option<Retirement> },
    Holder(Arc<HolderEntry>),
    Token(Arc<TokenEntry>),
}

/// A credential followed to its tenant, all at one revision.
#[derive(Clone, Debug)]
pub(in crate::check) enum Reached {
    Root { retirement: Option<Retirement> },
    Held(Whole),
}

/// Everything behind a credential that is not root's.
#[derive(Clone, Debug)]
pub(in crate::check) struct Whole {
    pub(super) holder: Arc<HolderEntry>,
    token: Option<Arc<TokenEntry>>,
    application: Option<Arc<HolderEntry>>,
    retirement: Option<Retirement>,
    owner: Option<OwnerState>,
    tenant: Standing,
}

impl Entry {
    /// How many of its secrets are not of our form.
    pub(super) fn foreign_count(&self) -> i64 {
        match self {
            Self::Holder(holder) => holder.secrets.iter().map(|secret| i64::from(secret.is_foreign)).sum(),
            Self::Root { .. } | Self::Token(_) => 0,
        }
    }

    /// Follows what `digest` leads to; `None` where it leads nowhere.
    pub(in crate::check) fn reach(self, digest: &Digest, index: &Index) -> Option<Reached> {
        match self {
            Self::Root { retirement } => Some(Reached::Root { retirement }),
            Self::Holder(holder) => {
                let retirement = holder.retirement(|secret| secret.digest.matches(digest));
                Some(Reached::Held(Whole::of(holder, None, retirement, index)))
            }
            Self::Token(token) => token.reach(index),
        }
    }
}

impl TokenEntry {
    /// Follows a token to its parent and on; `None` where the parent is not known.
    pub(in crate::check) fn reach(self: Arc<Self>, index: &Index) -> Option<Reached> {
        let Some(Entry::Holder(holder)) = index.thing(&self.parent) else { return None };
        let retirement = holder.retirement(|secret| secret.version == self.facts.secret_version);
        Some(Reached::Held(Whole::of(holder, Some(self), retirement, index)))
    }
}

impl Whole {
    fn of(
        holder: Arc<HolderEntry>,
        token: Option<Arc<TokenEntry>>,
        retirement: Option<Retirement>,
        index: &Index,
    ) -> Self {
        let application = holder.application.as_ref().and_then(|place| match index.thing(place) {
            Some(Entry::Holder(application)) => Some(application),
            Some(Entry::Root { .. } | Entry::Token(_)) | None => None,
        });
        let owner = application.as_ref().map_or(&holder.owner, |application| &application.owner);
        let owner = owner.as_ref().map(|owner| owner.state());
        Self { retirement, owner, tenant: holder.tenant.standing(), holder, token, application }
    }

    /// The key, application or session whose own secret was shown; `None` for a token.
    pub(super) fn shown(&self) -> Option<&HolderEntry> {
        self.token.is_none().then_some(&*self.holder)
    }

    fn held(&self) -> Held<'_> {
        Held {
            facts: &self.holder.facts,
            retirement: self.retirement,
            token: self.token.as_ref().map(|token| &token.facts),
            application: self.application.as_ref().map(|application| &application.facts),
            owner: self.owner,
            tenant: self.tenant,
        }
    }
}

impl Reached {
    /// What the decision is about.
    pub(in crate::check) fn found(&self) -> Found<'_> {
        match self {
            Self::Root { retirement } => Found::Root { retirement: *retirement },
            Self::Held(whole) => Found::Held(whole.held()),
        }
    }
}

/// Whom a decision is about.
#[derive(Clone, Debug)]
pub struct Principal(pub(in crate::check) Reached);

impl Principal {
    /// All that stands behind the credential; root has nothing.
    pub fn held(&self) -> Option<Held<'_>> {
        match &self.0 {
            Reached::Root { .. } => None,
            Reached::Held(whole) => Some(whole.held()),
        }
    }

    /// The revision that made the secret which was shown, or from which the token was made; 0 for root.
    pub fn secret_version(&self, digest: &Digest) -> i64 {
        match &self.0 {
            Reached::Root { .. } => 0,
            Reached::Held(Whole { token: Some(token), .. }) => token.facts.secret_version,
            Reached::Held(whole) => {
                let shown = whole.holder.secrets.iter().find(|secret| secret.digest.matches(digest));
                shown.map_or(0, |secret| secret.version)
            }
        }
    }

    /// The caller it makes, with what it may do.
    pub(in crate::check) fn actor(&self) -> Actor {
        self.held().map_or_else(Actor::root, |held| Actor::of(held.to_chain()))
    }
}
