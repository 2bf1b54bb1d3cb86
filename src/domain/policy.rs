//! Who may do what to Keyward itself, and what nobody may hand on. Used by Check for `keyward/…` permissions, by the
//! wire before a request is looked at, and by the desk once more under the head lock.

use super::clock::Time;
use super::decision::{Facts, OwnerState};
use super::key::{Key, KeyType};
use super::name::{Collection, KeyId, Owner, TenantId, UserId};
use super::network::IpRanges;
use super::permission::{Grants, is_action, is_resource};
use super::referrer::Referrers;
use super::user::{Role, User};

/// The first segment of the resources that stand for Keyward's own RPCs.
pub const KEYWARD: &str = "keyward";

/// Whose a thing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whose {
    /// The user that a user is, or to whom a key belongs.
    pub user: UserId,
    /// That user's role.
    pub role: Role,
}

/// Where to look up whose a thing is: the index for a Check, the rows under the head lock.
pub trait Directory {
    /// The user behind `{collection}/{id}` of `tenant`; `None` if there is none.
    fn whose(&self, tenant: &TenantId, collection: Collection, id: &str) -> Option<Whose>;
}

/// A demand on a caller: an action on one thing, or on a whole collection.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// The kind of thing.
    pub collection: Collection,
    /// Which; `*` to list or create.
    pub id: &'a str,
    /// The leading verb of the RPC's name, in lower case.
    pub action: &'a str,
    /// Whose the thing is, or will be.
    pub whose: Option<Whose>,
}

impl Demand<'_> {
    /// How a refusal names it.
    pub fn describe(&self) -> String {
        format!("{} on {KEYWARD}/{}/{}", self.action, self.collection.as_str(), self.id)
    }
}

/// What a credential stands for.
#[derive(Clone, Copy, Debug)]
pub enum Power<'a> {
    /// Root: everything of Keyward, in every tenant, and nothing else.
    Root,
    /// A master key (or a session): everything its user may do.
    User {
        /// The tenant of the user.
        tenant: &'a TenantId,
        /// The user.
        user: &'a UserId,
        /// Its role.
        role: Role,
    },
    /// A regular key: its grants.
    Grants {
        /// The tenant of the key.
        tenant: &'a TenantId,
        /// What it holds.
        grants: &'a Grants,
        /// The role of the user that owns it, beyond which it cannot go.
        role: Role,
    },
    /// A default public key: its grants, and nothing of Keyward.
    Public(&'a Grants),
    /// Nothing at all.
    Nothing,
}

impl<'a> Power<'a> {
    /// What the key of these facts stands for.
    pub fn of(facts: &'a Facts, owner: Option<OwnerState>) -> Self {
        let role = owner.map_or(Role::Member, |owner| owner.role);
        match (facts.kind, &facts.owner) {
            (KeyType::Master, Some(Owner::User(user))) => Self::User { tenant: &facts.tenant, user, role },
            (KeyType::Master, _) => Self::Nothing,
            (KeyType::Regular, _) => Self::Grants { tenant: &facts.tenant, grants: &facts.grants, role },
            (KeyType::DefaultPublic, _) => Self::Public(&facts.grants),
        }
    }

    /// Whether it holds `action` on `resource`; an ill-formed one is held by nobody.
    pub fn holds(&self, resource: &str, action: &str, directory: &impl Directory) -> bool {
        if !is_resource(resource) || !is_action(action) {
            return false;
        }
        let Some(own) = resource.strip_prefix("keyward/") else {
            return match self {
                Self::Root | Self::Nothing => false,
                Self::User { .. } => true,
                Self::Grants { grants, .. } | Self::Public(grants) => grants.allows(resource, action),
            };
        };
        match self {
            Self::Root => true,
            Self::Public(_) | Self::Nothing => false,
            Self::User { tenant, .. } | Self::Grants { tenant, .. } => {
                let target = own.split_once('/').and_then(|(word, id)| Some((Collection::find(word)?, id)));
                match target {
                    // Only root holds anything of another tenant.
                    Some((Collection::Tenants, id)) if id != tenant.as_str() => false,
                    Some((collection, id)) => {
                        let whose = directory.whose(tenant, collection, id);
                        self.may(&Demand { collection, id, action, whose })
                    }
                    None => self.holds_elsewhere(resource, action),
                }
            }
        }
    }

    /// `keyward/…` beside the collections, such as `keyward/check`.
    fn holds_elsewhere(&self, resource: &str, action: &str) -> bool {
        match self {
            Self::Root => true,
            Self::User { role, .. } => *role >= Role::Admin,
            Self::Grants { grants, .. } => grants.allows(resource, action),
            Self::Public(_) | Self::Nothing => false,
        }
    }

    /// Whether it may do this to Keyward.
    pub fn may(&self, demand: &Demand<'_>) -> bool {
        let is_owners = demand.whose.as_ref().is_some_and(|whose| whose.role == Role::Owner);
        let is_protected = is_owners && !matches!(demand.action, "get" | "list" | "lookup");
        match self {
            Self::Root | Self::User { role: Role::Owner, .. } => true,
            Self::User { role: Role::Admin, .. } => !is_protected,
            Self::User { role: Role::Member, user, .. } => match demand.collection {
                Collection::Users if demand.id == "*" => false,
                Collection::Users
                | Collection::Keys
                | Collection::Applications
                | Collection::Tokens
                | Collection::Sessions => demand.whose.as_ref().is_some_and(|whose| whose.user == **user),
                Collection::Tenants | Collection::Events => false,
            },
            Self::Grants { grants, role, .. } => {
                (*role == Role::Owner || !is_protected) && grants.covers_demand(demand)
            }
            Self::Public(_) | Self::Nothing => false,
        }
    }

    /// The highest role it can make somebody have.
    fn rank(&self) -> Option<Role> {
        match self {
            Self::Root => Some(Role::Owner),
            Self::User { role, .. } => Some(*role),
            Self::Grants { grants, role, .. } => grants.covers(&Grants::everything()).then_some(*role),
            Self::Public(_) | Self::Nothing => None,
        }
    }
}

impl Grants {
    fn covers_demand(&self, demand: &Demand<'_>) -> bool {
        self.covers_pattern(&format!("{KEYWARD}/{}/{}", demand.collection.as_str(), demand.id), demand.action)
    }
}

/// What a credential will hold once an RPC has made it, changed it or brought it back.
#[derive(Clone, Debug)]
pub struct Holdings {
    grants: Grants,
    /// Whether it stands for a user, and of which role.
    role: Option<Role>,
    allowed_ips: IpRanges,
    allowed_referrers: Referrers,
    expire_time: Option<Time>,
}

impl Holdings {
    /// What a user holds: everything its role may do, from anywhere, for ever.
    pub fn of_user(role: Role) -> Self {
        Self {
            grants: Grants::default(),
            role: Some(role),
            allowed_ips: IpRanges::default(),
            allowed_referrers: Referrers::default(),
            expire_time: None,
        }
    }

    /// What `key` holds; `role` is that of the user that owns it.
    pub fn of_key(key: &Key, role: Option<Role>) -> Self {
        let stands_for_user = key.kind == KeyType::Master;
        Self {
            grants: super::grant::compile(&key.grants),
            role: if stands_for_user { Some(role.unwrap_or(Role::Owner)) } else { None },
            allowed_ips: key.allowed_ips.clone(),
            allowed_referrers: key.allowed_referrers.clone(),
            expire_time: if stands_for_user { None } else { key.expire_time },
        }
    }
}

/// Somebody who was admitted: what the credential stands for, and who is named in events. Made by `check` from the index,
/// and by `store` from the rows under the head lock.
#[derive(Clone, Debug)]
pub struct Actor {
    facts: Option<Facts>,
    owner: Option<OwnerState>,
}

impl Actor {
    /// Root.
    pub fn root() -> Self {
        Self { facts: None, owner: None }
    }

    /// The holder of a key.
    pub fn key(facts: Facts, owner: Option<OwnerState>) -> Self {
        Self { facts: Some(facts), owner }
    }

    /// What it may do.
    pub fn power(&self) -> Power<'_> {
        self.facts.as_ref().map_or(Power::Root, |facts| Power::of(facts, self.owner))
    }

    /// Whether it is root.
    pub fn is_root(&self) -> bool {
        self.facts.is_none()
    }

    /// The tenant it is bound to; root has none.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.facts.as_ref().map(|facts| &facts.tenant)
    }

    /// The user that stands behind it, if one does.
    pub fn user(&self) -> Option<&UserId> {
        self.facts.as_ref()?.owner.as_ref()?.user()
    }

    /// The key it holds.
    pub fn key_id(&self) -> Option<&KeyId> {
        self.facts.as_ref().map(|facts| &facts.id)
    }

    /// Whether it is a user that manages only itself.
    pub fn is_member(&self) -> bool {
        matches!(self.power(), Power::User { role: Role::Member, .. })
    }

    /// Its name in events: the key's, or `root`.
    pub fn name(&self) -> String {
        self.facts.as_ref().map_or_else(|| "root".to_owned(), |facts| super::name::key_name(&facts.tenant, &facts.id))
    }

    /// The expiry that what it makes gets when none is asked for: a regular key's own.
    pub fn default_expire_time(&self) -> Option<Time> {
        match self.power() {
            Power::Grants { .. } | Power::Public(_) => self.facts.as_ref()?.expire_time,
            Power::Root | Power::User { .. } | Power::Nothing => None,
        }
    }

    /// Whether it holds everything that `result` will hold; otherwise what it lacks.
    pub fn may_confer(&self, result: &Holdings, directory: &impl Directory) -> Result<(), String> {
        let Some(facts) = &self.facts else { return Ok(()) };
        let power = self.power();
        if let Some(role) = result.role {
            if power.rank().is_none_or(|rank| rank < role) {
                return Err(format!("everything a user of role {role:?} holds").to_lowercase());
            }
        } else if let Some((resource, action)) = power.lacks(&result.grants, directory) {
            return Err(format!("{action} on {resource}, which the result would hold"));
        }
        if !facts.allowed_ips.covers(&result.allowed_ips) {
            return Err("the right to be used from every address in allowed_ips of the result".to_owned());
        }
        if !facts.allowed_referrers.covers(&result.allowed_referrers) {
            return Err("the right to be used on every page in allowed_referrers of the result".to_owned());
        }
        match (self.default_expire_time(), result.expire_time) {
            (Some(own), None) => {
                Err(format!("a life beyond its own expire_time ({} µs), as the result would", own.micros()))
            }
            (Some(own), Some(wanted)) if wanted > own => {
                Err("a life as long as the expire_time of the result".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// Whether it may give `role` to a user who has `before` (`None`: a new one).
    pub fn may_give_role(&self, before: Option<Role>, role: Role) -> Result<(), String> {
        if before == Some(role) {
            return Ok(());
        }
        let highest = before.map_or(role, |before| before.max(role));
        match self.power().rank() {
            Some(rank) if rank >= highest && rank >= Role::Admin => Ok(()),
            _ => Err(format!("the right to give role {role:?}").to_lowercase()),
        }
    }
}

impl Power<'_> {
    /// The first `(resource, action)` of `wanted` that it does not hold.
    fn lacks(&self, wanted: &Grants, directory: &impl Directory) -> Option<(String, String)> {
        match self {
            Self::Root | Self::User { role: Role::Owner | Role::Admin, .. } => None,
            Self::User { .. } => wanted
                .iter()
                .filter(|(pattern, _)| pattern.may_reach(KEYWARD))
                .find(|(pattern, _)| !self.holds(pattern.as_str(), "any", directory))
                .map(|(pattern, actions)| (pattern.as_str().to_owned(), actions.to_string())),
            Self::Grants { grants, .. } | Self::Public(grants) => grants.uncovered(wanted),
            Self::Nothing => {
                wanted.iter().next().map(|(pattern, actions)| (pattern.as_str().to_owned(), actions.to_string()))
            }
        }
    }
}

/// Whose a user is: its own.
pub fn whose_user(user: &User) -> Whose {
    Whose { user: user.id.clone(), role: user.role }
}
