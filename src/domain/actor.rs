//! An admitted caller, and what nobody may hand on: who confers something must hold all of it.

use super::application::Application;
use super::clock::Time;
use super::facts::{Chain, Facts, Holder};
use super::key::{Key, KeyType};
use super::name::{KeyId, Owner, SessionId, TenantId, UserId};
use super::network::IpRanges;
use super::permission::Grants;
use super::policy::{Directory, Power};
use super::referrer::Referrers;
use super::user::Role;

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

    /// What `application` holds: its grants, from anywhere, for ever.
    pub fn of_application(application: &Application) -> Self {
        Self { grants: super::grant::compile(&application.grants), role: None, ..Self::of_user(Role::Member) }
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
    chain: Option<Box<Chain>>,
}

impl Actor {
    /// Root.
    pub fn root() -> Self {
        Self { chain: None }
    }

    /// The holder of anything else.
    pub fn of(chain: Chain) -> Self {
        Self { chain: Some(Box::new(chain)) }
    }

    /// What it may do.
    pub fn power(&self) -> Power<'_> {
        self.chain.as_ref().map_or_else(Power::root, |chain| Power::of(&chain.held()))
    }

    /// Whether it is root.
    pub fn is_root(&self) -> bool {
        self.chain.is_none()
    }

    /// The tenant it is bound to; root has none.
    pub fn tenant(&self) -> Option<&TenantId> {
        self.facts().map(|facts| &facts.tenant)
    }

    /// The user that stands behind it, if one does; an application stands for itself.
    pub fn user(&self) -> Option<&UserId> {
        self.facts().filter(|facts| !facts.is_application())?.owner.as_ref()?.user()
    }

    /// Whose a thing is that it makes for itself: its user's, its application's, or that of the key's owner.
    pub fn owner(&self) -> Option<Owner> {
        let facts = self.facts()?;
        match &facts.holder {
            Holder::Application(id) => Some(Owner::Application(id.clone())),
            Holder::Key { .. } | Holder::Session(_) => facts.owner.clone(),
        }
    }

    /// The key it holds.
    pub fn key_id(&self) -> Option<&KeyId> {
        match &self.facts()?.holder {
            Holder::Key { id, .. } => Some(id),
            Holder::Application(_) | Holder::Session(_) => None,
        }
    }

    /// The session it acts in.
    pub fn session_id(&self) -> Option<&SessionId> {
        match &self.facts()?.holder {
            Holder::Session(id) => Some(id),
            Holder::Key { .. } | Holder::Application(_) => None,
        }
    }

    /// Whether it is a user that manages only itself.
    pub fn is_member(&self) -> bool {
        self.power().is_members()
    }

    /// All that stands behind it; of root there is nothing.
    pub fn chain(&self) -> Option<&Chain> {
        self.chain.as_deref()
    }

    /// Its name in events: the token's, session's, application's or key's, or `root`.
    pub fn name(&self) -> String {
        match &self.chain {
            None => "root".to_owned(),
            Some(chain) => match &chain.token {
                Some(token) => super::name::token_name(&chain.facts.tenant, &token.id),
                None => chain.facts.name(),
            },
        }
    }

    /// The name of what its access token was made from, if it shows one.
    pub fn parent_name(&self) -> Option<String> {
        let chain = self.chain.as_deref()?;
        chain.token.as_ref().map(|_| chain.facts.name())
    }

    /// The expiry that what it makes gets when none is asked for: a regular key's or an access token's own.
    pub fn default_expire_time(&self) -> Option<Time> {
        let chain = self.chain.as_deref()?;
        let own = chain.facts.particulars.expire_time.filter(|_| self.power().has_own_life());
        [own, chain.token.as_ref().map(|token| token.expire_time)].into_iter().flatten().min()
    }

    fn facts(&self) -> Option<&Facts> {
        self.chain.as_deref().map(|chain| &chain.facts)
    }

    /// Whether it holds everything that `result` will hold; otherwise what it lacks.
    pub fn may_confer(&self, result: &Holdings, directory: &impl Directory) -> Result<(), String> {
        let Some(facts) = self.facts() else { return Ok(()) };
        let power = self.power();
        if let Some(role) = result.role {
            if power.rank().is_none_or(|rank| rank < role) {
                return Err(format!("everything a user of role {role:?} holds").to_lowercase());
            }
        } else if let Some((resource, action)) = power.lacks(&result.grants, directory) {
            return Err(format!("{action} on {resource}, which the result would hold"));
        }
        if !facts.particulars.allowed_ips.covers(&result.allowed_ips) {
            return Err("the right to be used from every address in allowed_ips of the result".to_owned());
        }
        if !facts.particulars.allowed_referrers.covers(&result.allowed_referrers) {
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
