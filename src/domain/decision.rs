//! The decision: what is known of a credential, what is asked, and what follows. Pure; deny is the zero value.

use super::clock::Time;
use super::credential::Digest;
use super::facts::{Chain, FactsRef, OwnerState, TokenFacts};
use super::key::{RETENTION, Retirement};
use super::policy::{Directory, Power};
pub use super::reason::{Reason, Reasons};
use super::tenant::Standing;
use super::token::TOKEN_RETENTION;
use std::fmt;

/// One thing that a caller wants to do to one thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permission<'a> {
    /// The path of the thing.
    pub resource: &'a str,
    /// What is to be done to it.
    pub action: &'a str,
}

/// What a Check asks, the credential itself having been found already.
#[derive(Clone, Copy, Default)]
pub struct Query<'a> {
    /// Only credentials of the tenant with this id count.
    pub tenant: Option<&'a str>,
    /// The second secret as presented; empty if none.
    pub secret_key: &'a str,
    /// All of these must be granted.
    pub permissions: &'a [Permission<'a>],
    /// Where the request comes from, as text; empty if not said.
    pub source_ip: &'a str,
    /// On which page it was made; empty if not said.
    pub referrer: &'a str,
    /// For whom it is asked: a token for certain audiences must be for one of these.
    pub audience: &'a [String],
}

impl fmt::Debug for Query<'_> {
    /// Without the second secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("tenant", &self.tenant)
            .field("permissions", &self.permissions)
            .finish_non_exhaustive()
    }
}

/// Whose credential was found.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The root credential.
    Root {
        /// When this one is rotated out.
        retirement: Option<Retirement>,
    },
    /// Of a key, an application or a session, or a token made from one.
    Held(Held<'a>),
}

/// A credential with all that stands behind it: a [`Chain`] that is borrowed.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The key, application or session.
    pub facts: FactsRef<'a>,
    /// When the secret that was shown, or that the token was made from, is rotated out.
    pub retirement: Option<Retirement>,
    /// The access token that was shown, if one was.
    pub token: Option<&'a TokenFacts>,
    /// The application that owns the key; a key whose application is not known is refused as deleted.
    pub application: Option<FactsRef<'a>>,
    /// The user at the end; what has an owner that is not known is refused as deleted.
    pub owner: Option<OwnerState>,
    /// The tenant.
    pub tenant: Standing,
}

impl Chain {
    /// The same, borrowed.
    pub fn held(&self) -> Held<'_> {
        Held {
            facts: self.facts.borrowed(),
            retirement: self.retirement,
            token: self.token.as_ref(),
            application: self.application.as_ref().map(|application| application.borrowed()),
            owner: self.owner,
            tenant: self.tenant,
        }
    }
}

impl Held<'_> {
    /// The same, owned.
    pub fn to_chain(self) -> Chain {
        Chain {
            facts: self.facts.to_facts(),
            retirement: self.retirement,
            token: self.token.cloned(),
            application: self.application.map(|application| application.to_facts()),
            owner: self.owner,
            tenant: self.tenant,
        }
    }
}

/// A set of places in a list; allocates only for what is far behind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Places {
    /// A bit for each of the first 64.
    near: u64,
    far: Vec<usize>,
}

impl Places {
    /// Adds one that is behind all others.
    fn add(&mut self, place: usize) {
        match u32::try_from(place).ok().and_then(|place| 1_u64.checked_shl(place)) {
            Some(bit) => self.near |= bit,
            None => self.far.push(place),
        }
    }

    fn is_empty(&self) -> bool {
        self.near == 0 && self.far.is_empty()
    }

    fn iter(&self) -> impl Iterator<Item = usize> {
        let near = (0..64).filter(|place| self.near >> place & 1 == 1);
        near.chain(self.far.iter().copied())
    }
}

/// The answer to a query: allowed only if it was evaluated and no reason stands against it.
///
/// INVARIANT (deny is zero): the default, which nobody evaluated, denies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    is_allowed: bool,
    reasons: Reasons,
    missing: Places,
    expire_time: Option<Time>,
}

impl Decision {
    /// Denied for this one reason; nothing more was looked at.
    pub fn denied(reason: Reason) -> Self {
        Self { reasons: Reasons::only(reason), ..Self::default() }
    }

    /// Whether it is allowed.
    pub fn is_allowed(&self) -> bool {
        self.is_allowed
    }

    /// Why not.
    pub fn reasons(&self) -> Reasons {
        self.reasons
    }

    /// The places of the query's permissions that are not held.
    pub fn missing(&self) -> impl Iterator<Item = usize> {
        self.missing.iter()
    }

    /// The first moment at which time alone ends what was allowed.
    pub fn expire_time(&self) -> Option<Time> {
        self.expire_time
    }

    /// Whether the credential was recognised, so that its principal may be told.
    pub fn is_recognised(&self) -> bool {
        let unknown = [Reason::Missing, Reason::Malformed, Reason::NotFound, Reason::TokenSignatureInvalid];
        (self.is_allowed || !self.reasons.is_empty())
            && !unknown.into_iter().any(|reason| self.reasons.contains(reason))
    }
}

fn is_past(time: Option<Time>, now: Time) -> bool {
    time.is_some_and(|time| time <= now)
}

/// Decides. Everything that stands against the query is told, not just the first thing.
pub fn evaluate(found: Found<'_>, query: &Query<'_>, now: Time, directory: &impl Directory) -> Decision {
    let mut reasons = Reasons::default();
    let (power, expire_time) = match found {
        Found::Root { retirement } => {
            if query.tenant.is_some() {
                return Decision::denied(Reason::NotFound);
            }
            reasons.add_if(has_retired(retirement, now), Reason::RotatedOut);
            (Power::root(), retirement.map(|retirement| retirement.time))
        }
        Found::Held(held) => {
            if held.is_forgotten(now) || query.tenant.is_some_and(|wanted| wanted != held.facts.tenant.as_str()) {
                return Decision::denied(Reason::NotFound);
            }
            judge_life(&mut reasons, &held, now);
            judge_context(&mut reasons, &held, query);
            (Power::of(&held), held.expire_time())
        }
    };
    let mut missing = Places::default();
    for (place, permission) in query.permissions.iter().enumerate() {
        if !power.holds(permission.resource, permission.action, directory) {
            missing.add(place);
        }
    }
    reasons.add_if(!missing.is_empty(), Reason::NotGranted);
    Decision { is_allowed: reasons.is_empty(), reasons, missing, expire_time }
}

fn has_retired(retirement: Option<Retirement>, now: Time) -> bool {
    retirement.is_some_and(|retirement| retirement.has_come(now))
}

impl Held<'_> {
    /// The first moment at which time alone ends it.
    pub fn expire_time(&self) -> Option<Time> {
        let retire_time = self.retirement.map(|retirement| retirement.time);
        let ends = [self.facts.particulars.expire_time, retire_time, self.token.map(|token| token.expire_time)];
        ends.into_iter().flatten().min()
    }

    /// Whether nothing tells it any more from one that never was.
    fn is_forgotten(&self, now: Time) -> bool {
        let retire_time = self.retirement.map(|retirement| retirement.time);
        let session_end = self.facts.particulars.expire_time.filter(|_| self.facts.is_session());
        let token_end = self.token.map(|token| token.expire_time).or(session_end);
        let is_long_past = |time: Option<Time>, retention| is_past(time.map(|time| time.after(retention)), now);
        is_long_past(self.facts.particulars.delete_time, RETENTION)
            || is_long_past(retire_time, RETENTION)
            || is_long_past(token_end, TOKEN_RETENTION)
    }

    /// Whether it was ended for good with what it was made from.
    fn has_died(&self) -> bool {
        let has_parent_ended = self.token.is_some_and(|token| {
            let ends = [Some(self.facts), self.application];
            ends.into_iter().flatten().any(|parent| token.based_revision < parent.particulars.tokens_end_revision)
        });
        let has_session_ended = self.facts.is_session()
            && self.owner.is_some_and(|owner| self.facts.particulars.tokens_end_revision < owner.sessions_end_revision);
        has_parent_ended || has_session_ended
    }

    /// The application behind it: itself, or the owner of the key.
    fn behind(&self) -> Option<FactsRef<'_>> {
        if self.facts.is_application() { Some(self.facts) } else { self.application }
    }

    /// Whether somebody it needs is not there.
    fn is_orphaned(&self) -> bool {
        let is_owned_by_application = self.facts.owner.is_some_and(|owner| owner.user().is_none());
        (self.facts.owner.is_some() && self.owner.is_none()) || (is_owned_by_application && self.application.is_none())
    }
}

/// What stands against the thing itself, its owner or its tenant: denial is transitive.
fn judge_life(reasons: &mut Reasons, held: &Held<'_>, now: Time) {
    let Held { facts, retirement, token, application, owner, tenant } = *held;
    let owner = owner.map(|owner| owner.standing);
    let (own, behind) = (facts.particulars, held.behind().map(|application| application.particulars));
    reasons.add_if(
        own.delete_time.is_some()
            || application.is_some_and(|application| application.particulars.delete_time.is_some())
            || tenant == Standing::Deleted
            || owner == Some(Standing::Deleted)
            || held.is_orphaned(),
        Reason::Deleted,
    );
    let is_revoked = own.is_revoked && !facts.is_application();
    reasons.add_if(is_revoked || token.is_some_and(|token| token.is_revoked) || held.has_died(), Reason::Revoked);
    reasons.add_if(has_retired(retirement, now), Reason::RotatedOut);
    let has_token_expired = token.is_some_and(|token| token.expire_time <= now);
    reasons.add_if(is_past(own.expire_time, now) || has_token_expired, Reason::Expired);
    reasons.add_if(own.not_before_time.is_some_and(|time| now < time), Reason::NotYetValid);
    reasons.add_if(own.is_suspended, Reason::Suspended);
    reasons.add_if(tenant == Standing::Suspended, Reason::TenantSuspended);
    reasons.add_if(owner == Some(Standing::Suspended), Reason::OwnerSuspended);
    reasons.add_if(behind.is_some_and(|application| !application.is_verified), Reason::ApplicationNotVerified);
    reasons.add_if(behind.is_some_and(|application| application.is_revoked), Reason::ApplicationRevoked);
}

/// What stands against how it is used.
fn judge_context(reasons: &mut Reasons, held: &Held<'_>, query: &Query<'_>) {
    let own = held.facts.particulars;
    // Whoever exchanged a key for a token has shown its second secret then.
    if let (Some(expected), None) = (&own.secret_key, held.token) {
        let is_absent = query.secret_key.is_empty();
        reasons.add_if(is_absent, Reason::SecretKeyRequired);
        let is_wrong = !is_absent && !Digest::of(query.secret_key.as_bytes()).matches(expected);
        reasons.add_if(is_wrong, Reason::SecretKeyMismatch);
    }
    reasons.add_if(!own.allowed_ips.allows(query.source_ip), Reason::IpNotAllowed);
    reasons.add_if(!own.allowed_referrers.allows(query.referrer), Reason::ReferrerNotAllowed);
    let is_for_others = held.token.is_some_and(|token| {
        !token.audience.is_empty() && !token.audience.iter().any(|one| query.audience.contains(one))
    });
    reasons.add_if(is_for_others, Reason::TokenAudienceMismatch);
}
