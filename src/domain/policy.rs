//! Who may do what to Keyward itself, and what nobody may hand on. Used by Check for `keyward/…` permissions, by the
//! wire before a request is looked at, and by the desk once more under the head lock.

use super::decision::Held;
use super::facts::Kind;
use super::key::KeyType;
use super::name::{Collection, Owner, TenantId, UserId};
use super::permission::{Grants, is_action, is_resource};
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

/// What a credential may do: what it stands for, within the bounds that an application or a token sets.
#[derive(Clone, Copy, Debug)]
pub struct Power<'a> {
    stands_for: StandsFor<'a>,
    bounds: [Option<&'a Grants>; 2],
}

/// What a credential stands for.
#[derive(Clone, Copy, Debug)]
enum StandsFor<'a> {
    /// Root: everything of Keyward, in every tenant, and nothing else.
    Root,
    /// A master key or a session: everything its user may do.
    User {
        /// The tenant of the user.
        tenant: &'a TenantId,
        /// The user.
        user: &'a UserId,
        /// Its role.
        role: Role,
    },
    /// A regular key or an application: its grants.
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
    /// What root may do.
    pub fn root() -> Self {
        Self { stands_for: StandsFor::Root, bounds: [None; 2] }
    }

    /// What a credential may do, whoever stands behind it.
    pub fn of(held: &Held<'a>) -> Self {
        let bounds = [
            held.application.map(|application| application.grants),
            held.token.and_then(|token| token.narrow.as_ref()),
        ];
        Self { stands_for: StandsFor::of(held), bounds }
    }

    /// Whether it holds `action` on `resource`; an ill-formed one is held by nobody.
    pub fn holds(&self, resource: &str, action: &str, directory: &impl Directory) -> bool {
        self.stands_for.holds(resource, action, directory) && self.bounds().all(|grants| grants.has(resource, action))
    }

    /// Whether it may do this to Keyward.
    pub fn may(&self, demand: &Demand<'_>) -> bool {
        self.stands_for.may(demand) && self.bounds().all(|grants| grants.covers_demand(demand))
    }

    /// Whether it is that of a user who manages only itself.
    pub fn is_members(&self) -> bool {
        matches!(self.stands_for, StandsFor::User { role: Role::Member, .. })
    }

    /// What it holds as grants, where a list can say it: the narrowest of all that bound it.
    pub fn described(&self) -> Grants {
        let own = match self.stands_for {
            StandsFor::Grants { grants, .. } | StandsFor::Public(grants) => grants.clone(),
            StandsFor::User { .. } => Grants::everything(),
            StandsFor::Root | StandsFor::Nothing => Grants::default(),
        };
        self.bounds().fold(own, |own, bound| own.within(bound))
    }

    /// The first `(resource, action)` of `wanted` that it does not hold.
    pub fn lacks(&self, wanted: &Grants, directory: &impl Directory) -> Option<(String, String)> {
        let beyond_bounds = || self.bounds().find_map(|grants| grants.uncovered(wanted));
        self.stands_for.lacks(wanted, directory).or_else(beyond_bounds)
    }

    /// Whether its life is that of the key and not of a user.
    pub(super) fn has_own_life(&self) -> bool {
        matches!(self.stands_for, StandsFor::Grants { .. } | StandsFor::Public(_))
    }

    /// The highest role it can make somebody have.
    pub(super) fn rank(&self) -> Option<Role> {
        self.stands_for.rank().filter(|_| self.bounds().all(|grants| grants.covers(&Grants::everything())))
    }

    fn bounds(&self) -> impl Iterator<Item = &'a Grants> {
        self.bounds.into_iter().flatten()
    }
}

impl<'a> StandsFor<'a> {
    fn of(held: &Held<'a>) -> Self {
        let facts = held.facts;
        let role = held.owner.map_or(Role::Member, |owner| owner.role);
        match (facts.kind, facts.owner) {
            (Kind::Key(KeyType::Master) | Kind::Session, Some(Owner::User(user))) => {
                Self::User { tenant: facts.tenant, user, role }
            }
            (Kind::Key(KeyType::Master) | Kind::Session, _) => Self::Nothing,
            (Kind::Key(KeyType::Regular) | Kind::Application, _) => {
                Self::Grants { tenant: facts.tenant, grants: facts.grants, role }
            }
            (Kind::Key(KeyType::DefaultPublic), _) => Self::Public(facts.grants),
        }
    }

    /// Whether it holds `action` on `resource`; an ill-formed one is held by nobody.
    fn holds(&self, resource: &str, action: &str, directory: &impl Directory) -> bool {
        if !is_resource(resource) || !is_action(action) {
            return false;
        }
        let Some(own) = resource.strip_prefix("keyward/") else {
            return match self {
                Self::Root | Self::Nothing => false,
                Self::User { .. } => true,
                Self::Grants { grants, .. } | Self::Public(grants) => grants.has(resource, action),
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
            Self::Grants { grants, .. } => grants.has(resource, action),
            Self::Public(_) | Self::Nothing => false,
        }
    }

    /// Whether it may do this to Keyward.
    fn may(&self, demand: &Demand<'_>) -> bool {
        let is_owners = demand.whose.as_ref().is_some_and(|whose| whose.role == Role::Owner);
        let is_protected = is_owners && !matches!(demand.action, "get" | "list" | "lookup" | "introspect");
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

impl StandsFor<'_> {
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
