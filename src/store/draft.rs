//! A mutation in the making. `begin` waits for the turn, which comes under the lock of the head; what is read afterwards
//! cannot change before `commit`, so every rule that rests on rows holds at the moment the revision exists (V0 in the
//! protocol). Dropped, nothing has happened.

use super::entity::{api_key, replay, tenant, tenant_user};
use super::failure::sort;
use super::group::{Cache, Ending, Turn, Wants, Wish, Work};
use super::mail::MailMark;
use super::open::Store;
use super::rows;
use super::seen::Seen;
use crate::domain::change::{Change, Root};
use crate::domain::clock::Time;
use crate::domain::credential::{Credential, Digest, Prefix, mint};
use crate::domain::key::{Key, Secret};
use crate::domain::name::{KeyId, TenantId, UserId};
use crate::domain::tenant::Tenant;
use crate::domain::user::User;
use crate::error::{Error, Result};
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder};
use std::time::Duration;
use tokio::sync::oneshot;

/// The one shard of the ledger there is today.
pub(super) const SHARD: i32 = 1;

/// How long a mutation's request id is remembered.
pub(super) const REPLAY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

/// A request id under which a mutation was, or is to be, carried out.
#[derive(Clone, Debug)]
pub struct Replay {
    /// The UUID.
    pub request_id: String,
    /// The RPC.
    pub method: &'static str,
    /// The digest of the request without its secrets' places: a replay must have the same.
    pub body_hash: [u8; 32],
}

/// What an event says beyond what the draft knows itself.
#[derive(Clone, Debug)]
pub struct Entry {
    /// `noun.verb`.
    pub kind: &'static str,
    /// The tenant in which it is done.
    pub tenant: Option<TenantId>,
    /// Who does it.
    pub actor: String,
    /// The id of the credential used.
    pub credential_id: String,
    /// To what.
    pub subject: String,
    /// The request's id in traces.
    pub request_id: String,
    /// Where the call came from.
    pub source_ip: String,
    /// More about it, without secrets and digests.
    pub detail: serde_json::Value,
}

/// A mutation that is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its revision.
    pub revision: i64,
    /// The chain after it, which is of no other event.
    pub chain: [u8; 32],
}

/// A mutation that has its turn, under the lock of the ledger's head.
#[derive(Debug)]
pub struct Draft {
    turn: Turn,
    now: Time,
    pub(super) mail: MailMark,
    pub(super) seen: Seen,
}

impl Store {
    /// Starts a mutation: waits for its turn, under the lock of the ledger's head.
    pub async fn begin(&self) -> Result<Draft> {
        self.begin_with(Wants::default()).await
    }

    /// The same of one that will read what it `wants`: that is read for all who wait at once.
    pub async fn begin_with(&self, wants: Wants) -> Result<Draft> {
        let turn = self.turn(wants).await?;
        Ok(Draft { turn, now: self.clock.now(), mail: self.mail_mark(), seen: Seen::default() })
    }
}

impl Draft {
    pub(super) fn transaction(&self) -> &DatabaseTransaction {
        &self.turn.work.transaction
    }

    pub(super) fn work(&self) -> &Work {
        &self.turn.work
    }

    /// The time of this mutation: that at which it got the head.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The revision it will have, once committed.
    pub fn revision(&self) -> i64 {
        self.turn.head.revision.saturating_add(1)
    }

    /// The revision of the last mutation before it, which need not be durable yet.
    pub fn head(&self) -> i64 {
        self.turn.head.revision
    }

    /// Makes a credential that belongs to this mutation's revision.
    pub fn mint(&self, prefix: &Prefix) -> (Credential, Secret) {
        let (credential, id) = mint(prefix, self.revision(), &mut rand::rng());
        let secret = Secret {
            digest: credential.digest(),
            id: Some(id),
            hint: credential.obfuscated(),
            revision: self.revision(),
            create_time: self.now,
            retirement: None,
        };
        (credential, secret)
    }

    /// The transaction, to write to: what waits of others is written before, so that taking this back spares it.
    pub(super) async fn writing(&self) -> Result<&DatabaseTransaction> {
        self.settle().await?;
        Ok(self.transaction())
    }

    /// Has the rows written that wait in the group, before what may be among them is looked for.
    pub(super) async fn settle(&self) -> Result<()> {
        self.turn.settle().await
    }

    /// What the group knows already, or what `read` says, which it knows from then on. Nobody else writes meanwhile.
    pub(super) async fn known<T: Clone>(
        &self,
        find: impl Fn(&Cache) -> Option<T>,
        keep: impl FnOnce(&mut Cache, T),
        read: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let known = find(&self.turn.work.cache.lock());
        if let Some(known) = known {
            return Ok(known);
        }
        let found = read.await?;
        keep(&mut self.turn.work.cache.lock(), found.clone());
        Ok(found)
    }

    /// The tenant of that id, deleted or not.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>> {
        let read = async {
            let row = tenant::Entity::find_by_id(id.as_str()).one(self.transaction()).await.map_err(sort)?;
            row.map(rows::tenant).transpose()
        };
        let keep = |cache: &mut Cache, found| drop(cache.tenants.insert(id.clone(), found));
        Ok(self.seen.note(self.known(|cache| cache.tenants.get(id).cloned(), keep, read).await?))
    }

    /// The user of that id, deleted or not.
    pub async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<User>> {
        let place = (tenant.clone(), id.clone());
        let read = async {
            let row = (tenant.as_str().to_owned(), id.as_str().to_owned());
            let row = tenant_user::Entity::find_by_id(row).one(self.transaction()).await.map_err(sort)?;
            row.map(rows::user).transpose()
        };
        let keep = |cache: &mut Cache, found| drop(cache.users.insert(place.clone(), found));
        Ok(self.seen.note(self.known(|cache| cache.users.get(&place).cloned(), keep, read).await?))
    }

    /// The key of that id, deleted or not.
    pub async fn key(&self, tenant: &TenantId, id: &KeyId) -> Result<Option<Key>> {
        let place = (tenant.clone(), id.clone());
        let read = async {
            let waits = self.turn.work.delayed.lock().holds_key(&place);
            if waits {
                self.turn.settle().await?;
            }
            super::read::key(self.transaction(), tenant.as_str(), id.as_str()).await
        };
        let keep = |cache: &mut Cache, found| drop(cache.keys.insert(place.clone(), found));
        Ok(self.seen.note(self.known(|cache| cache.keys.get(&place).cloned(), keep, read).await?))
    }

    /// The key that has, or had, this secret.
    pub async fn key_of_digest(&self, digest: &Digest) -> Result<Option<Key>> {
        let read = async {
            let waits = self.turn.work.delayed.lock().holds_digest(digest);
            if waits {
                self.turn.settle().await?;
            }
            super::read::key_place_of_digest(self.transaction(), digest).await
        };
        let keep = |cache: &mut Cache, found| drop(cache.key_digests.insert(*digest, found));
        match self.known(|cache| cache.key_digests.get(digest).cloned(), keep, read).await? {
            Some((tenant, id)) => self.key(&tenant, &id).await,
            None => Ok(None),
        }
    }

    /// The master key of a user.
    pub async fn master_key(&self, tenant: &TenantId, user: &UserId) -> Result<Option<Key>> {
        self.one_key(tenant, "master", Some(user)).await
    }

    /// The default public key of a tenant.
    pub async fn default_public_key(&self, tenant: &TenantId) -> Result<Option<Key>> {
        self.one_key(tenant, "default_public", None).await
    }

    async fn one_key(&self, tenant: &TenantId, kind: &str, user: Option<&UserId>) -> Result<Option<Key>> {
        let mut query = api_key::Entity::find()
            .filter(api_key::Column::TenantId.eq(tenant.as_str()))
            .filter(api_key::Column::Kind.eq(kind));
        if let Some(user) = user {
            query =
                query.filter(api_key::Column::OwnerKind.eq("user")).filter(api_key::Column::OwnerId.eq(user.as_str()));
        }
        let Some(row) = query.one(self.transaction()).await.map_err(sort)? else { return Ok(None) };
        Ok(self.seen.note(super::read::key(self.transaction(), &row.tenant_id, &row.id).await?))
    }

    /// The root credential.
    pub async fn root(&self) -> Result<Option<Root>> {
        let read = super::read::root(self.transaction());
        let root = self.known(|cache| cache.root.clone(), |cache, found| cache.root = Some(found), read).await?;
        Ok(self.seen.note(root))
    }

    /// The first owner of a tenant: the one who was made with it, or the oldest that is left.
    pub async fn tenant_owner(&self, tenant: &TenantId) -> Result<Option<User>> {
        let row = self
            .owners(tenant)
            .filter(tenant_user::Column::DeleteTime.is_null())
            .order_by_asc(tenant_user::Column::CreateTime)
            .order_by_asc(tenant_user::Column::Id)
            .one(self.transaction())
            .await
            .map_err(sort)?;
        Ok(self.seen.note(row.map(rows::user).transpose()?))
    }

    /// How many owners of a tenant are neither suspended nor deleted, `besides` this one.
    pub async fn other_active_owners(&self, tenant: &TenantId, besides: &UserId) -> Result<u64> {
        self.owners(tenant)
            .filter(tenant_user::Column::DeleteTime.is_null())
            .filter(tenant_user::Column::IsSuspended.eq(false))
            .filter(tenant_user::Column::Id.ne(besides.as_str()))
            .count(self.transaction())
            .await
            .map_err(sort)
    }

    fn owners(&self, tenant: &TenantId) -> sea_orm::Select<tenant_user::Entity> {
        tenant_user::Entity::find()
            .filter(tenant_user::Column::TenantId.eq(tenant.as_str()))
            .filter(tenant_user::Column::Role.eq("owner"))
    }

    /// Whether another live user of the tenant has this email.
    pub async fn is_email_taken(&self, user: &User) -> Result<bool> {
        let Some(key) = rows::email_key(user) else { return Ok(false) };
        let found = tenant_user::Entity::find()
            .filter(tenant_user::Column::TenantId.eq(user.tenant.as_str()))
            .filter(tenant_user::Column::EmailKey.eq(key))
            .filter(tenant_user::Column::Id.ne(user.id.as_str()))
            .count(self.transaction())
            .await
            .map_err(sort)?;
        Ok(found > 0)
    }

    /// Whether another live regular key of the same owner has this display name.
    pub async fn is_display_name_taken(&self, key: &Key) -> Result<bool> {
        if !key.holds_display_name() {
            return Ok(false);
        }
        let name_key = rows::name_key(key.owner.as_ref(), &key.display_name);
        let name = (key.tenant.clone(), name_key.clone());
        let known = self.turn.work.cache.lock().names.get(&name).cloned();
        if let Some(holder) = known {
            return Ok(holder.is_some_and(|holder| holder != key.id));
        }
        // A name that waits to be written settles it. One that is written may wait to be given up.
        if self.turn.work.delayed.lock().holds_name(&key.tenant, &name_key) {
            self.turn.settle().await?;
        }
        if !self.holds_name(key, &name_key).await? {
            return Ok(false);
        }
        self.turn.settle().await?;
        self.holds_name(key, &name_key).await
    }

    /// Whether the rows have another key of that name.
    async fn holds_name(&self, key: &Key, name_key: &[u8]) -> Result<bool> {
        let found = api_key::Entity::find()
            .filter(api_key::Column::TenantId.eq(key.tenant.as_str()))
            .filter(api_key::Column::NameKey.eq(name_key))
            .filter(api_key::Column::Id.ne(key.id.as_str()))
            .count(self.transaction())
            .await
            .map_err(sort)?;
        Ok(found > 0)
    }

    /// What was done under this request id before: the subject and the revision.
    pub async fn replayed(&self, actor: &str, wanted: &Replay) -> Result<Option<(String, i64)>> {
        let place = (actor.to_owned(), wanted.request_id.clone());
        let earlier = self.turn.work.record.lock().replay(&place);
        let row = match earlier {
            Some(row) => Some(row),
            None => replay::Entity::find_by_id(place).one(self.transaction()).await.map_err(sort)?,
        };
        let Some(row) = row else { return Ok(None) };
        if Time::from_micros(row.time).after(REPLAY_WINDOW) <= self.now {
            return Ok(None);
        }
        if row.method != wanted.method || row.body_hash != wanted.body_hash {
            return Err(Error::invalid(
                "request_id",
                "was used within the last 24 hours for a request with another body; use a new UUID for a new request",
            ));
        }
        Ok(Some((row.subject, row.revision)))
    }

    /// Makes it durable: rows, change log, event and head, all or nothing, in one transaction with those who have their
    /// turn before and after. Once this was polled it goes on, whether or not anybody waits for the answer.
    pub async fn commit(self, changes: Vec<Change>, entry: Entry, replay: Option<Replay>) -> Result<Committed> {
        let Self { turn: Turn { work, head: _, back }, now, mail, seen: _ } = self;
        let (answer, answered) = oneshot::channel();
        drop(work);
        back.tell(Ending::Commit(Box::new(Wish { changes, entry, replay, now, mail, answer })));
        answer_of(answered).await
    }

    /// Ends it without a change: the revision that what was read rests on, once that is durable.
    pub async fn unchanged(self) -> Result<i64> {
        let Self { turn: Turn { work, head: _, back }, now: _, mail: _, seen: _ } = self;
        let (answer, answered) = oneshot::channel();
        drop(work);
        back.tell(Ending::Unchanged(answer));
        answer_of(answered).await.map(|committed| committed.revision)
    }
}

async fn answer_of(answered: oneshot::Receiver<Result<Committed>>) -> Result<Committed> {
    answered.await.unwrap_or_else(|_| {
        Err(Error::unavailable("the server stops, or failed: it is not known whether this was carried out"))
    })
}
