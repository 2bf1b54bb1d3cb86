//! JWTs at a Check. A signature is verified once for each token, not for each Check: what came out is kept by the digest
//! of the text. Nothing that can change is kept with it: the signing key, the token's revocation and all behind its
//! parent are looked up in the view of each Check.

use super::Index;
use super::index::{Place, TokenEntry};
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::facts::TokenFacts;
use crate::domain::jwt::{Claims, looks_like_jwt, permissions_of};
use crate::domain::name::{ApplicationId, Collection, KeyId, Path, TenantId, TokenId};
use crate::domain::token::{Parent, Proof, Wanted, compile};
use quick_cache::sync::Cache;
use std::fmt;
use std::sync::Arc;

/// How many verified tokens are kept; of more, those that are shown least are verified again.
const MAX_KEPT: usize = 32 * 1024;

/// A JWT that one of our keys has signed.
#[derive(Debug)]
pub struct VerifiedJwt {
    pub(super) kid: String,
    pub(super) place: Place,
    pub(super) entry: Arc<TokenEntry>,
    issue_time: Time,
}

impl VerifiedJwt {
    /// What `claims` say, where they are of a form that we write.
    fn of(kid: &str, claims: &Claims) -> Option<Self> {
        let Path { tenant, child: Some((collection, id)) } = Path::find(&claims.sub)? else { return None };
        let tenant = TenantId::find(tenant)?;
        let parent = match collection {
            Collection::Keys => Parent::Key(KeyId::find(id)?),
            Collection::Applications => Parent::Application(ApplicationId::find(id)?),
            Collection::Tenants
            | Collection::Users
            | Collection::Tokens
            | Collection::Sessions
            | Collection::Events => return None,
        };
        let token = TokenId::find(&claims.jti)?;
        let wanted = permissions_of(&claims.scope)?.into_iter().map(|(resource, action)| Wanted { resource, action });
        let narrow = claims.narrowed.then(|| compile(&wanted.collect::<Vec<_>>()));
        // The tenant's name is what stands there if nothing was asked for.
        let is_for_any = claims.aud == [tenant.name()];
        let place = Place::new(&tenant, Collection::Tokens, token.as_str());
        let parent_place = Place::new(&tenant, collection, id);
        let facts = TokenFacts {
            id: token,
            parent,
            secret_version: claims.secret_version,
            based_revision: claims.revision,
            narrow,
            audience: if is_for_any { Vec::new() } else { claims.aud.clone() },
            expire_time: claims.expire_time(),
            is_revoked: false,
        };
        let entry = Arc::new(TokenEntry { facts, parent: parent_place, digest: None });
        Some(Self { kid: kid.to_owned(), place, entry, issue_time: claims.issue_time() })
    }

    /// The tenant that its parent belongs to.
    pub fn tenant(&self) -> &TenantId {
        &self.place.tenant
    }

    /// What it says of itself.
    pub fn facts(&self) -> &TokenFacts {
        &self.entry.facts
    }

    /// When it was issued.
    pub fn issue_time(&self) -> Time {
        self.issue_time
    }

    /// What is read again under the head lock.
    pub fn proof(&self) -> Proof {
        Proof::Jwt { kid: self.kid.clone(), tenant: self.tenant().clone(), token: self.facts().clone() }
    }
}

/// The tokens that were verified.
pub(super) struct Verified(Cache<Digest, Arc<VerifiedJwt>>);

impl Default for Verified {
    fn default() -> Self {
        Self(Cache::new(MAX_KEPT))
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("count", &self.0.len()).finish()
    }
}

impl Index {
    /// The JWT of that text, if one of our keys has signed it and is still accepted. Whether the token is good is for a
    /// Check to say.
    pub fn jwt(&self, text: &str, now: Time) -> Option<Arc<VerifiedJwt>> {
        if !looks_like_jwt(text) {
            return None;
        }
        let digest = Digest::of(text.as_bytes());
        if let Some(known) = self.verified().0.get(&digest) {
            return Some(known).filter(|known| self.signing_key(&known.kid, now).is_some());
        }
        let (claims, key) = self.read_jwt(text, now)?;
        let verified = Arc::new(VerifiedJwt::of(&key.kid, &claims)?);
        self.verified().0.insert(digest, Arc::clone(&verified));
        Some(verified)
    }
}
