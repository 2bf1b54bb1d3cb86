//! JWTs at a Check. A signature is verified once for each token, not for each Check: what came out is kept by the digest
//! of the text. Nothing that can change is kept with it: the signing key, the token's revocation and all behind its
//! parent are looked up in the view of each Check.

use super::CannotDecide;
use super::Index;
use super::index::{Place, TokenEntry};
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::facts::TokenFacts;
use crate::domain::jwt::{Claims, kid_of, looks_like_jwt, permissions_of, unverified_claims};
use crate::domain::name::{ApplicationId, Collection, KeyId, Path, TenantId, TokenId};
use crate::domain::token::{Parent, Proof, Wanted, compile};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::Deserialize;
use std::fmt;
use std::sync::Arc;

/// How much is kept of verified tokens, in bytes, about; of more, those that are shown least are verified again.
const MAX_KEPT_BYTES: u64 = 64 * 1024 * 1024;

/// How many tokens that is, about.
const ESTIMATED_KEPT: usize = 32 * 1024;

/// What one takes beside what its text says, and how much more that is once it is compiled, in bytes.
const WEIGHT: u64 = 1024;
const WEIGHT_PER_BYTE: u64 = 16;

/// Texts of the right shape that nobody here has signed, so that the same one is not verified again.
const MAX_REFUSED: usize = 16 * 1024;

/// A JWT that one of our keys has signed.
#[derive(Debug)]
pub struct VerifiedJwt {
    pub(super) kid: String,
    pub(super) place: Place,
    pub(super) entry: Arc<TokenEntry>,
    issue_time: Time,
    weight: u64,
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
        let said = claims.scope.len().saturating_add(claims.aud.iter().map(String::len).sum());
        let weight = WEIGHT.saturating_add(WEIGHT_PER_BYTE.saturating_mul(said as u64));
        Some(Self { kid: kid.to_owned(), place, entry, issue_time: claims.issue_time(), weight })
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

/// Tokens weigh what they take.
#[derive(Clone)]
struct Scale;

impl Weighter<Digest, Arc<VerifiedJwt>> for Scale {
    fn weight(&self, _: &Digest, jwt: &Arc<VerifiedJwt>) -> u64 {
        jwt.weight
    }
}

/// The tokens that were verified, and those that were not to be.
pub(super) struct Verified {
    good: Cache<Digest, Arc<VerifiedJwt>, Scale>,
    refused: Cache<Digest, ()>,
}

impl Default for Verified {
    fn default() -> Self {
        Self { good: Cache::with_weighter(ESTIMATED_KEPT, MAX_KEPT_BYTES, Scale), refused: Cache::new(MAX_REFUSED) }
    }
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("count", &self.good.len()).finish()
    }
}

impl Index {
    /// The JWT of that text, if one of our keys has signed it and is still accepted. Whether the token is good is for a
    /// Check to say. A replica that cannot decide does not know.
    pub fn known_jwt(&self, text: &str, now: Time) -> Result<Option<Arc<VerifiedJwt>>, CannotDecide> {
        self.view(|_| self.jwt(text, now))
    }

    /// The same from whatever is there now, which may change until a view is taken.
    pub(super) fn jwt(&self, text: &str, now: Time) -> Option<Arc<VerifiedJwt>> {
        if !looks_like_jwt(text) {
            return None;
        }
        let digest = Digest::of(text.as_bytes());
        let verified = self.verified();
        // What costs least is looked at first: the key that is said to have signed it, and whom it says it stands for.
        let jwt = match verified.good.get(&digest) {
            Some(known) => known,
            None if verified.refused.get(&digest).is_some() => return None,
            None => {
                let key = self.signing_key(&kid_of(text)?)?;
                self.thing(&unverified_subject(text)?)?;
                let read = self.read_jwt(text, &key).and_then(|claims| VerifiedJwt::of(&key.kid, &claims));
                let Some(jwt) = read.map(Arc::new) else {
                    // Nothing that happens later makes a signature good: neither issuer nor public keys change.
                    verified.refused.insert(digest, ());
                    return None;
                };
                verified.good.insert(digest, Arc::clone(&jwt));
                jwt
            }
        };
        self.accepts_signer(&jwt, now).then_some(jwt)
    }

    /// Whether the key that signed it is still accepted.
    pub(super) fn accepts_signer(&self, jwt: &VerifiedJwt, now: Time) -> bool {
        self.signing_key(&jwt.kid).is_some_and(|key| key.may_have_signed(jwt.facts().expire_time, now))
    }
}

/// Whom a JWT says that it stands for, its signature not yet looked at.
fn unverified_subject(text: &str) -> Option<Place> {
    #[derive(Deserialize)]
    struct Said {
        sub: String,
    }
    let said = URL_SAFE_NO_PAD.decode(unverified_claims(text)?).ok()?;
    let Said { sub } = serde_json::from_slice(&said).ok()?;
    let Path { tenant, child: Some((collection, id)) } = Path::find(&sub)? else { return None };
    Some(Place::new(&TenantId::find(tenant)?, collection, id))
}

/// The revision that a JWT says it rests on, its signature not yet looked at.
pub(super) fn unverified_revision(text: &str) -> Option<i64> {
    #[derive(Deserialize)]
    struct Said {
        kw_rev: i64,
    }
    let said = URL_SAFE_NO_PAD.decode(unverified_claims(text)?).ok()?;
    serde_json::from_slice(&said).ok().map(|Said { kw_rev }| kw_rev)
}

#[cfg(test)]
mod fuzz;
