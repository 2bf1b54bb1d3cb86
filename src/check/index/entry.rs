//! What the index holds of each thing, and how a credential is followed from there to its tenant.

use super::Index;
use super::holder::HolderEntry;
use crate::domain::actor::Actor;
use crate::domain::credential::Digest;
use crate::domain::decision::{Found, Held};
use crate::domain::facts::{OwnerState, TokenFacts};
use crate::domain::key::Retirement;
use crate::domain::name::{Collection, Id, TenantId};
use crate::domain::tenant::Standing;
use std::sync::Arc;

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

    pub(super) fn at(&self) -> At<'_> {
        At { tenant: &self.tenant, collection: self.collection, id: Id::of(&self.id) }
    }
}

/// The same, borrowed from wherever it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct At<'a> {
    pub(super) tenant: &'a TenantId,
    pub(super) collection: Collection,
    pub(super) id: Id<'a>,
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
    /// Where it is; root is nowhere.
    pub(super) fn at(&self) -> Option<At<'_>> {
        match self {
            Self::Root { .. } => None,
            Self::Holder(holder) => Some(holder.at()),
            Self::Token(token) => Some(token.at()),
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
    /// Where it is: in the tenant of what it was made from.
    pub(super) fn at(&self) -> At<'_> {
        At { tenant: &self.parent.tenant, collection: Collection::Tokens, id: Id::of(self.facts.id.as_str()) }
    }

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
        let application = holder.owner.application.as_ref().and_then(|place| match index.thing(place) {
            Some(Entry::Holder(application)) => Some(application),
            Some(Entry::Root { .. } | Entry::Token(_)) | None => None,
        });
        let owner = application.as_ref().map_or(&holder.owner, |application| &application.owner).state();
        Self { retirement, owner, tenant: holder.owner.tenant.standing(), holder, token, application }
    }

    fn held(&self) -> Held<'_> {
        Held {
            facts: self.holder.facts(),
            retirement: self.retirement,
            token: self.token.as_ref().map(|token| &token.facts),
            application: self.application.as_ref().map(|application| application.facts()),
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

    /// The key, application or session whose own secret was shown; `None` for a token and root.
    pub(super) fn shown(&self) -> Option<&Arc<HolderEntry>> {
        match &self.0 {
            Reached::Root { .. } => None,
            Reached::Held(whole) => whole.token.is_none().then_some(&whole.holder),
        }
    }

    /// The revision that made the secret which was shown, or from which the token was made; 0 for root.
    pub fn secret_version(&self, digest: &Digest) -> i64 {
        match &self.0 {
            Reached::Root { .. } => 0,
            Reached::Held(Whole { token: Some(token), .. }) => token.facts.secret_version,
            Reached::Held(whole) => {
                let shown = whole.holder.secrets().find(|secret| secret.digest.matches(digest));
                shown.map_or(0, |secret| secret.version)
            }
        }
    }

    /// The caller it makes, with what it may do.
    pub(in crate::check) fn actor(&self) -> Actor {
        self.held().map_or_else(Actor::root, |held| Actor::of(held.to_chain()))
    }
}
