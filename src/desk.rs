//! THE DESK: what admitted callers have done. A file per resource, a function per RPC; each reads like the rule it
//! carries out. A mutation is an `Edit`: the caller is admitted once more under the head lock, then decides, commits,
//! and waits until the index has it. Knows neither gRPC nor SQL. Mutations are run by [`detached`].

pub mod applications;
mod call;
pub mod caps;
pub mod diagnosis;
pub mod events;
pub mod import;
pub mod keys;
pub mod page;
pub mod passwords;
pub mod possession;
pub mod replicas;
pub mod root;
pub mod sessions;
pub mod sign_ins;
pub mod signing;
pub mod tenants;
pub mod tokens;
pub mod users;

use crate::check::{Caller, Index};
use crate::clock::Clock;
use crate::domain::actor::{Actor, Holdings};
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::grant::Grant;
use crate::domain::key::Key;
use crate::domain::name::{ApplicationId, Collection, KeyId, TenantId, UserId};
use crate::domain::policy::{Demand, Whose, whose_user};
use crate::domain::tenant::{Standing, Tenant};
use crate::domain::user::{Role, User};
use crate::error::{Error, Result};
use crate::keyring::Keyring;
use crate::replica::Ledger;
use crate::store::{Committed, Draft, Entry, Replay, RowDirectory, Store, Wants};
pub use call::{Call, Held};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// How long a credential of another replica is waited for at most.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);

/// What every command works with. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Desk {
    /// The rows.
    pub store: Store,
    /// The memory.
    pub index: Arc<Index>,
    /// What follows the rows into the memory.
    pub ledger: Ledger,
    /// The time.
    pub clock: Clock,
    /// What signs JWTs.
    pub keyring: Keyring,
    /// How many tokens may be made of what.
    pub mints: tokens::Mints,
    /// How many things a tenant may have.
    pub caps: caps::TenantCaps,
    /// Where passwords are hashed.
    pub passwords: passwords::Passwords,
    /// How often somebody may try to sign in.
    pub sign_ins: Arc<sign_ins::SignIns>,
}

/// The name of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyName {
    /// The tenant.
    pub tenant: TenantId,
    /// The key.
    pub id: KeyId,
}

/// The name of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserName {
    /// The tenant.
    pub tenant: TenantId,
    /// The user.
    pub id: UserId,
}

/// The name of an application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApplicationName {
    /// The tenant.
    pub tenant: TenantId,
    /// The application.
    pub id: ApplicationId,
}

impl std::fmt::Display for ApplicationName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::domain::name::application_name(&self.tenant, &self.id))
    }
}

impl std::fmt::Display for KeyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::domain::name::key_name(&self.tenant, &self.id))
    }
}

impl std::fmt::Display for UserName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::domain::name::user_name(&self.tenant, &self.id))
    }
}

/// A thing as a mutation left it, and the revision that did.
#[derive(Debug)]
pub struct Changed<T> {
    /// The thing.
    pub thing: T,
    /// The mutation's revision; where nothing was left to do, the head at which that was seen.
    pub revision: i64,
}

/// Runs a command to its end, whether or not the one who asked for it is still there: a client that goes away cannot
/// cut a mutation in two.
pub async fn detached<T: Send + 'static>(command: impl Future<Output = Result<T>> + Send + 'static) -> Result<T> {
    match tokio::spawn(command).await {
        Ok(result) => result,
        Err(failure) => Err(Error::internal(format!("a command did not finish: {failure}"))),
    }
}

/// A mutation under way, by a caller that was admitted again under the head lock.
#[derive(Debug)]
pub(crate) struct Edit<'a> {
    desk: &'a Desk,
    pub(crate) draft: Draft,
    pub(crate) actor: Actor,
    actor_name: String,
    credential_id: String,
    call: Call,
}

impl Desk {
    /// Starts a mutation by `caller`.
    pub(crate) async fn edit(&self, caller: &Caller, call: Call) -> Result<Edit<'_>> {
        self.edit_with(caller, call, Wants::of(caller.proof())).await
    }

    /// The same of a mutation of this key.
    pub(crate) async fn edit_key(&self, caller: &Caller, call: Call, name: &KeyName) -> Result<Edit<'_>> {
        self.edit_with(caller, call, Wants::of(caller.proof()).key(&name.tenant, &name.id)).await
    }

    /// Waits for the turn to write, but not beyond the deadline.
    pub(crate) async fn begin(&self, wants: Wants, deadline: Option<Instant>) -> Result<Draft> {
        let beginning = self.store.begin_with(wants);
        match deadline {
            Some(deadline) => timeout_at(deadline, beginning).await.map_err(|_| Error::Late)?,
            None => beginning.await,
        }
    }

    /// The same of one that will read what it `wants`.
    pub(crate) async fn edit_with(&self, caller: &Caller, call: Call, wants: Wants) -> Result<Edit<'_>> {
        let draft = self.begin(wants, call.deadline).await?;
        let actor = draft.readmit(caller.proof(), &caller.query()).await?;
        Ok(Edit {
            desk: self,
            draft,
            actor_name: actor.name(),
            actor,
            credential_id: caller.credential_id().to_owned(),
            call,
        })
    }
}

impl Desk {
    /// Waits for credentials that were made a moment ago on another replica, once for all of them; goes on at once with
    /// any other text.
    pub(crate) async fn arrived(
        &self,
        credentials: impl IntoIterator<Item = &str>,
        deadline: Option<Instant>,
    ) -> Result<()> {
        if !credentials.into_iter().any(|credential| self.index.may_come(credential)) {
            return Ok(());
        }
        let longest = Instant::now() + ARRIVAL_TIMEOUT;
        self.ledger.caught_up(deadline.map_or(longest, |deadline| deadline.min(longest))).await
    }

    /// Commits, unless a tenant would have too much, and waits until it is in force: on every replica if it takes something away, and otherwise on this one.
    /// Answers with the revision.
    pub(crate) async fn commit(
        &self,
        draft: Draft,
        changes: Vec<Change>,
        entry: Entry,
        replay: Option<Replay>,
        deadline: Option<Instant>,
    ) -> Result<i64> {
        self.caps.judge(&draft, entry.kind, &changes).await?;
        let narrows = draft.narrows(&changes, self.ledger.bound());
        let Committed { revision, chain } = draft.commit(changes, entry, replay).await?;
        if narrows {
            self.ledger.settled(revision, Some(chain.to_vec()), deadline).await?;
        } else {
            self.ledger.applied(revision).await?;
        }
        Ok(revision)
    }
}

impl Edit<'_> {
    pub(crate) fn now(&self) -> Time {
        self.draft.now()
    }

    /// Refuses the caller unless it may do this.
    pub(crate) fn demand(&self, demand: &Demand<'_>) -> Result<()> {
        if self.actor.power().may(demand) { Ok(()) } else { Err(Error::Forbidden { missing: demand.describe() }) }
    }

    /// Refuses the caller unless it holds everything that `key` will hold.
    pub(crate) async fn confer_key(&self, key: &Key) -> Result<()> {
        let owner = self.draft.owner_state(&key.tenant, key.owner.as_ref()).await?;
        self.confer_key_of(key, owner.map(|owner| owner.role)).await
    }

    /// The same of a key whose owner is known to be of that role.
    pub(crate) async fn confer_key_of(&self, key: &Key, role: Option<Role>) -> Result<()> {
        self.confer(&key.tenant, &key.grants, &Holdings::of_key(key, role)).await
    }

    /// Refuses the caller unless it holds all of `holdings`, which come from `grants`.
    pub(crate) async fn confer(&self, tenant: &TenantId, grants: &[Grant], holdings: &Holdings) -> Result<()> {
        // Only a member's right to hand on depends on whose things are.
        let directory = if self.actor.is_member() {
            self.draft.directory(tenant, &crate::domain::grant::compile(grants)).await?
        } else {
            RowDirectory::default()
        };
        self.actor.may_confer(holdings, &directory).map_err(|missing| Error::Forbidden { missing })
    }

    /// Refuses the caller unless it holds everything that `user` will hold.
    pub(crate) fn confer_user(&self, user: &User) -> Result<()> {
        let directory = RowDirectory::default();
        let holdings = Holdings::of_user(user.role);
        self.actor.may_confer(&holdings, &directory).map_err(|missing| Error::Forbidden { missing })
    }

    /// The key of that name, if the caller may do `action` to it and it is as `etag` says.
    pub(crate) async fn key(&self, name: &KeyName, action: &str, etag: &str) -> Result<Key> {
        let now = self.now();
        let key = self.draft.key(&name.tenant, &name.id).await?.filter(|key| !key.is_forgotten(now));
        let whose = match &key {
            Some(key) => self.whose_key(key).await?,
            None => None,
        };
        let demand = Demand { collection: Collection::Keys, id: name.id.as_str(), action, whose };
        if key.is_some() || !self.actor.is_member() {
            self.demand(&demand)?;
        }
        let key = key.ok_or_else(|| Error::not_found(name))?;
        check_etag(etag, key.uid, key.revision, &key.name())?;
        Ok(key)
    }

    /// The user behind a key, under the lock.
    pub(crate) async fn whose_key(&self, key: &Key) -> Result<Option<Whose>> {
        Ok(self.draft.owner_user(&key.tenant, key.owner.as_ref()).await?.as_ref().map(whose_user))
    }

    /// The user of that name, if the caller may do `action` to it and it is as `etag` says.
    pub(crate) async fn user(&self, name: &UserName, action: &str, etag: &str) -> Result<User> {
        let user = self.draft.user(&name.tenant, &name.id).await?;
        let whose = user.as_ref().map(whose_user);
        let demand = Demand { collection: Collection::Users, id: name.id.as_str(), action, whose };
        if user.is_some() || !self.actor.is_member() {
            self.demand(&demand)?;
        }
        let user = user.ok_or_else(|| Error::not_found(name))?;
        check_etag(etag, user.uid, user.revision, &user.name())?;
        Ok(user)
    }

    /// The tenant of that id, if the caller may do `action` to it and it is as `etag` says.
    pub(crate) async fn tenant(&self, id: &TenantId, action: &str, etag: &str) -> Result<Tenant> {
        self.demand(&Demand { collection: Collection::Tenants, id: id.as_str(), action, whose: None })?;
        let tenant = self.draft.tenant(id).await?.ok_or_else(|| Error::not_found(id.name()))?;
        check_etag(etag, tenant.uid, tenant.revision, &id.name())?;
        Ok(tenant)
    }

    /// The tenant in which something is to be made or changed: it must be there and not deleted.
    pub(crate) async fn live_tenant(&self, id: &TenantId) -> Result<Tenant> {
        let tenant = self.draft.tenant(id).await?.ok_or_else(|| Error::not_found(id.name()))?;
        if tenant.standing() == Standing::Deleted {
            return Err(Error::precondition(id.name(), "is deleted"));
        }
        Ok(tenant)
    }

    /// What this caller did before under this request id.
    pub(crate) async fn replayed(&self, replay: Option<&Replay>) -> Result<Option<(String, i64)>> {
        match replay {
            Some(replay) => self.draft.replayed(&self.actor_name, replay).await,
            None => Ok(None),
        }
    }

    /// Commits, and waits until the index has it. Answers with the revision.
    pub(crate) async fn commit(
        self,
        kind: &'static str,
        tenant: Option<&TenantId>,
        subject: String,
        changes: Vec<Change>,
        mut detail: serde_json::Value,
        replay: Option<Replay>,
    ) -> Result<i64> {
        // Of a JWT there is no other record of what it was made from.
        if let (Some(parent), Some(detail)) = (self.actor.parent_name(), detail.as_object_mut()) {
            detail.insert("actor_parent".to_owned(), parent.into());
        }
        let detail = self.call.noted(detail);
        let entry = Entry {
            kind,
            tenant: tenant.cloned(),
            actor: self.actor_name,
            credential_id: self.credential_id,
            subject,
            request_id: self.call.request_id,
            source_ip: self.call.source_ip,
            detail,
        };
        self.desk.commit(self.draft, changes, entry, replay, self.call.deadline).await
    }

    /// Commits a new form of one key.
    pub(crate) async fn commit_key(
        self,
        kind: &'static str,
        mut key: Key,
        detail: serde_json::Value,
    ) -> Result<Changed<Key>> {
        key.update_time = self.now();
        let (tenant, subject) = (key.tenant.clone(), key.name());
        let changes = vec![Change::Key(Box::new(key.clone()))];
        let revision = self.commit(kind, Some(&tenant), subject, changes, detail, None).await?;
        key.revision = revision;
        Ok(Changed { thing: key, revision })
    }

    /// Answers that nothing is left to do, once the index has what was seen.
    pub(crate) async fn nothing<T>(self, thing: T) -> Result<Changed<T>> {
        let revision = self.draft.unchanged().await?;
        self.desk.ledger.settled(revision, None, self.call.deadline).await?;
        Ok(Changed { thing, revision })
    }
}

/// A UUIDv7 of that time.
pub(crate) fn new_uid(now: Time) -> uuid::Uuid {
    let micros = u64::try_from(now.micros()).unwrap_or_default();
    let nanos = u32::try_from(micros % 1_000_000).unwrap_or_default().saturating_mul(1000);
    uuid::Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, micros / 1_000_000, nanos))
}

/// Refuses a change of something that is no longer as the caller saw it; an empty etag asks for nothing.
pub(crate) fn check_etag(etag: &str, uid: uuid::Uuid, revision: i64, name: &str) -> Result<()> {
    if etag.is_empty() || etag == crate::domain::etag::etag(uid, revision) {
        Ok(())
    } else {
        Err(Error::Conflict { name: name.to_owned() })
    }
}
