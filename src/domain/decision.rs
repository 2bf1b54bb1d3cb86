//! The decision: what is known of a credential, what is asked, and what follows. Pure; deny is the zero value.

use super::clock::Time;
use super::credential::Digest;
use super::key::{Key, KeyType, RETENTION, Retirement};
use super::name::{KeyId, Owner, TenantId};
use super::network::IpRanges;
use super::permission::Grants;
use super::policy::{Directory, Power};
use super::referrer::Referrers;
use super::tenant::Standing;
use super::user::Role;
use std::collections::BTreeMap;
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
    /// Only credentials of this tenant count.
    pub tenant: Option<&'a TenantId>,
    /// The second secret as presented; empty if none.
    pub secret_key: &'a str,
    /// All of these must be granted.
    pub permissions: &'a [Permission<'a>],
    /// Where the request comes from, as text; empty if not said.
    pub source_ip: &'a str,
    /// On which page it was made; empty if not said.
    pub referrer: &'a str,
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

/// Everything about a key that a decision needs, compiled once when the key changes.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The tenant it belongs to.
    pub tenant: TenantId,
    /// The last part of its name.
    pub id: KeyId,
    /// Its kind.
    pub kind: KeyType,
    /// Whose it is.
    pub owner: Option<Owner>,
    /// What it grants.
    pub grants: Grants,
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
    /// The digest of the second secret.
    pub secret_key: Option<Digest>,
}

impl From<&Key> for Facts {
    fn from(key: &Key) -> Self {
        Self {
            tenant: key.tenant.clone(),
            id: key.id.clone(),
            kind: key.kind,
            owner: key.owner.clone(),
            grants: super::grant::compile(&key.grants),
            allowed_ips: key.allowed_ips.clone(),
            allowed_referrers: key.allowed_referrers.clone(),
            labels: key.labels.clone(),
            not_before_time: key.not_before_time,
            expire_time: key.expire_time,
            delete_time: key.delete_time,
            is_suspended: key.is_suspended,
            is_revoked: key.revocation.is_some(),
            secret_key: key.secret_key,
        }
    }
}

/// What is known of a key's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerState {
    /// Whether the owner is in use.
    pub standing: Standing,
    /// What the owner may do.
    pub role: Role,
}

/// Whose credential was found.
#[derive(Clone, Copy, Debug)]
pub enum Found<'a> {
    /// The root credential.
    Root {
        /// When this one is rotated out.
        retirement: Option<Retirement>,
    },
    /// A key's.
    Key {
        /// The key.
        facts: &'a Facts,
        /// When this secret is rotated out.
        retirement: Option<Retirement>,
        /// Its owner; a key whose owner is not known is refused as deleted.
        owner: Option<OwnerState>,
        /// Its tenant.
        tenant: Standing,
    },
}

/// One cause of a denial, in the order in which they are told. The numbers are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// No credential was sent.
    Missing = 1,
    /// It claims to be ours, and its checksum says otherwise.
    Malformed = 2,
    /// Nobody has it.
    NotFound = 3,
    /// A token not signed by us.
    TokenSignatureInvalid = 4,
    /// The key, its owner or its tenant is deleted.
    Deleted = 5,
    /// The key is revoked.
    Revoked = 6,
    /// A newer secret has taken its place.
    RotatedOut = 7,
    /// Its time is over.
    Expired = 8,
    /// Its time has not come.
    NotYetValid = 9,
    /// The key is suspended.
    Suspended = 10,
    /// Its tenant is suspended.
    TenantSuspended = 11,
    /// Its owner is suspended.
    OwnerSuspended = 12,
    /// Its application is not verified.
    ApplicationNotVerified = 13,
    /// Its application is revoked.
    ApplicationRevoked = 14,
    /// It has a second secret, and none was sent.
    SecretKeyRequired = 15,
    /// The second secret is another.
    SecretKeyMismatch = 16,
    /// Not from there.
    IpNotAllowed = 17,
    /// Not on that page.
    ReferrerNotAllowed = 18,
    /// A token for somebody else.
    TokenAudienceMismatch = 19,
    /// It does not hold what is asked.
    NotGranted = 20,
}

impl Reason {
    /// All of them, in order.
    pub const ALL: [Self; 20] = [
        Self::Missing,
        Self::Malformed,
        Self::NotFound,
        Self::TokenSignatureInvalid,
        Self::Deleted,
        Self::Revoked,
        Self::RotatedOut,
        Self::Expired,
        Self::NotYetValid,
        Self::Suspended,
        Self::TenantSuspended,
        Self::OwnerSuspended,
        Self::ApplicationNotVerified,
        Self::ApplicationRevoked,
        Self::SecretKeyRequired,
        Self::SecretKeyMismatch,
        Self::IpNotAllowed,
        Self::ReferrerNotAllowed,
        Self::TokenAudienceMismatch,
        Self::NotGranted,
    ];

    /// The contract's name without `REASON_`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::Malformed => "MALFORMED",
            Self::NotFound => "NOT_FOUND",
            Self::TokenSignatureInvalid => "TOKEN_SIGNATURE_INVALID",
            Self::Deleted => "DELETED",
            Self::Revoked => "REVOKED",
            Self::RotatedOut => "ROTATED_OUT",
            Self::Expired => "EXPIRED",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::Suspended => "SUSPENDED",
            Self::TenantSuspended => "TENANT_SUSPENDED",
            Self::OwnerSuspended => "OWNER_SUSPENDED",
            Self::ApplicationNotVerified => "APPLICATION_NOT_VERIFIED",
            Self::ApplicationRevoked => "APPLICATION_REVOKED",
            Self::SecretKeyRequired => "SECRET_KEY_REQUIRED",
            Self::SecretKeyMismatch => "SECRET_KEY_MISMATCH",
            Self::IpNotAllowed => "IP_NOT_ALLOWED",
            Self::ReferrerNotAllowed => "REFERRER_NOT_ALLOWED",
            Self::TokenAudienceMismatch => "TOKEN_AUDIENCE_MISMATCH",
            Self::NotGranted => "NOT_GRANTED",
        }
    }
}

/// A set of reasons.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reasons(u32);

impl Reasons {
    /// Just this one.
    pub const fn only(reason: Reason) -> Self {
        Self(1 << reason as u8)
    }

    /// Adds `reason` if it `applies`.
    pub fn add_if(&mut self, applies: bool, reason: Reason) {
        self.0 |= u32::from(applies) << reason as u8;
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `reason` is among them.
    pub const fn contains(self, reason: Reason) -> bool {
        self.0 & (1 << reason as u8) != 0
    }

    /// Those there are, in order.
    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL.into_iter().filter(move |reason| self.contains(*reason))
    }
}

/// The answer to a query: allowed only if it was evaluated and no reason stands against it.
///
/// INVARIANT (deny is zero): the default, which nobody evaluated, denies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    is_allowed: bool,
    reasons: Reasons,
    missing: Vec<usize>,
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
    pub fn missing(&self) -> &[usize] {
        &self.missing
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
    let (Found::Root { retirement } | Found::Key { retirement, .. }) = found;
    let has_retired = retirement.is_some_and(|retirement| retirement.has_come(now));
    let retire_time = retirement.map(|retirement| retirement.time);
    let (power, expire_time) = match found {
        Found::Root { .. } => {
            if query.tenant.is_some() {
                return Decision::denied(Reason::NotFound);
            }
            reasons.add_if(has_retired, Reason::RotatedOut);
            (Power::Root, retire_time)
        }
        Found::Key { facts, owner, tenant, retirement: _ } => {
            let is_forgotten = [facts.delete_time, retire_time]
                .into_iter()
                .any(|time| is_past(time.map(|time| time.after(RETENTION)), now));
            if is_forgotten || query.tenant.is_some_and(|wanted| *wanted != facts.tenant) {
                return Decision::denied(Reason::NotFound);
            }
            reasons.add_if(has_retired, Reason::RotatedOut);
            judge_key(&mut reasons, facts, owner, tenant, now);
            judge_context(&mut reasons, facts, query);
            let ends = [facts.expire_time, retire_time];
            (Power::of(facts, owner), ends.into_iter().flatten().min())
        }
    };
    let missing: Vec<usize> = query
        .permissions
        .iter()
        .enumerate()
        .filter(|(_, permission)| !power.holds(permission.resource, permission.action, directory))
        .map(|(place, _)| place)
        .collect();
    reasons.add_if(!missing.is_empty(), Reason::NotGranted);
    Decision { is_allowed: reasons.is_empty(), reasons, missing, expire_time }
}

/// What stands against the key itself, its owner or its tenant: denial is transitive.
fn judge_key(reasons: &mut Reasons, facts: &Facts, owner: Option<OwnerState>, tenant: Standing, now: Time) {
    let is_orphaned = facts.owner.is_some() && owner.is_none();
    let owner = owner.map(|owner| owner.standing);
    reasons.add_if(
        facts.delete_time.is_some() || tenant == Standing::Deleted || owner == Some(Standing::Deleted) || is_orphaned,
        Reason::Deleted,
    );
    reasons.add_if(facts.is_revoked, Reason::Revoked);
    reasons.add_if(is_past(facts.expire_time, now), Reason::Expired);
    reasons.add_if(facts.not_before_time.is_some_and(|time| now < time), Reason::NotYetValid);
    reasons.add_if(facts.is_suspended, Reason::Suspended);
    reasons.add_if(tenant == Standing::Suspended, Reason::TenantSuspended);
    reasons.add_if(owner == Some(Standing::Suspended), Reason::OwnerSuspended);
}

/// What stands against how it is used.
fn judge_context(reasons: &mut Reasons, facts: &Facts, query: &Query<'_>) {
    if let Some(expected) = &facts.secret_key {
        let is_absent = query.secret_key.is_empty();
        reasons.add_if(is_absent, Reason::SecretKeyRequired);
        let is_wrong = !is_absent && !Digest::of(query.secret_key.as_bytes()).matches(expected);
        reasons.add_if(is_wrong, Reason::SecretKeyMismatch);
    }
    reasons.add_if(!facts.allowed_ips.allows(query.source_ip), Reason::IpNotAllowed);
    reasons.add_if(!facts.allowed_referrers.allows(query.referrer), Reason::ReferrerNotAllowed);
}
