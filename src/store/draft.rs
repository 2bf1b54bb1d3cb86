//! A mutation in the making. `begin` locks the head; what is read afterwards cannot change before `commit`, so every
//! rule that rests on rows holds at the moment the revision exists (V0 in the protocol). Dropped, it rolls back.

use super::chain;
use super::entity::{api_key, audit_event, ledger_change, ledger_head, replay, tenant, tenant_user};
use super::failure::sort;
use super::mail::MailMark;
use super::open::Store;
use super::rows::{self, READER};
use super::seen::Seen;
use crate::domain::change::{Change, Event, Root};
use crate::domain::clock::Time;
use crate::domain::credential::{Credential, Digest, Prefix, mint};
use crate::domain::key::{Key, Secret};
use crate::domain::name::{KeyId, TenantId, UserId};
use crate::domain::tenant::Tenant;
use crate::domain::user::User;
use crate::error::{Error, Result};
use sea_orm::ActiveValue::Set;
use sea_orm::{
    ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, SqliteTransactionMode, TransactionOptions, TransactionTrait,
};
use std::time::Duration;

/// The one shard of the ledger there is today.
pub(super) const SHARD: i32 = 1;

/// How long a mutation's request id is remembered.
const REPLAY_WINDOW: Duration = Duration::from_secs(24 * 60 * 60);

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

/// A transaction that holds the head of the ledger.
#[derive(Debug)]
pub struct Draft {
    pub(super) transaction: DatabaseTransaction,
    head: ledger_head::Model,
    now: Time,
    pub(super) mail: MailMark,
    pub(super) seen: Seen,
}

impl Store {
    /// Starts a mutation: waits for the head of the ledger and locks it.
    pub async fn begin(&self) -> Result<Draft> {
        let mode = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.writer.begin_with_options(mode).await.map_err(sort)?;
        let head = ledger_head::Entity::find_by_id(SHARD)
            .lock_exclusive()
            .one(&transaction)
            .await
            .map_err(sort)?
            .ok_or_else(|| Error::internal("the ledger has no head"))?;
        Ok(Draft { transaction, head, now: self.clock.now(), mail: self.mail_mark(), seen: Seen::default() })
    }
}

impl Draft {
    pub(super) fn transaction(&self) -> &DatabaseTransaction {
        &self.transaction
    }

    /// The time of this mutation: that at which it got the head.
    pub fn now(&self) -> Time {
        self.now
    }

    /// The revision it will have, once committed.
    pub fn revision(&self) -> i64 {
        self.head.rev.saturating_add(1)
    }

    /// The revision of the last mutation before it: the answer where nothing is left to do.
    pub fn head(&self) -> i64 {
        self.head.rev
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

    /// The tenant of that id, deleted or not.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>> {
        let row = tenant::Entity::find_by_id(id.as_str()).one(&self.transaction).await.map_err(sort)?;
        Ok(self.seen.note(row.map(rows::tenant).transpose()?))
    }

    /// The user of that id, deleted or not.
    pub async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<User>> {
        let place = (tenant.as_str().to_owned(), id.as_str().to_owned());
        let row = tenant_user::Entity::find_by_id(place).one(&self.transaction).await.map_err(sort)?;
        Ok(self.seen.note(row.map(rows::user).transpose()?))
    }

    /// The key of that id, deleted or not.
    pub async fn key(&self, tenant: &TenantId, id: &KeyId) -> Result<Option<Key>> {
        let key = super::read::key(&self.transaction, tenant.as_str(), id.as_str()).await?;
        Ok(self.seen.note(key))
    }

    /// The key that has, or had, this secret.
    pub async fn key_of_digest(&self, digest: &Digest) -> Result<Option<Key>> {
        Ok(self.seen.note(super::read::key_of_digest(&self.transaction, digest).await?))
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
        let Some(row) = query.one(&self.transaction).await.map_err(sort)? else { return Ok(None) };
        Ok(self.seen.note(super::read::key(&self.transaction, &row.tenant_id, &row.id).await?))
    }

    /// The root credential.
    pub async fn root(&self) -> Result<Option<Root>> {
        Ok(self.seen.note(super::read::root(&self.transaction).await?))
    }

    /// The first owner of a tenant: the one who was made with it, or the oldest that is left.
    pub async fn tenant_owner(&self, tenant: &TenantId) -> Result<Option<User>> {
        let row = self
            .owners(tenant)
            .filter(tenant_user::Column::DeleteTime.is_null())
            .order_by_asc(tenant_user::Column::CreateTime)
            .order_by_asc(tenant_user::Column::Id)
            .one(&self.transaction)
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
            .count(&self.transaction)
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
            .count(&self.transaction)
            .await
            .map_err(sort)?;
        Ok(found > 0)
    }

    /// Whether another live regular key of the same owner has this display name.
    pub async fn is_display_name_taken(&self, key: &Key) -> Result<bool> {
        if !key.holds_display_name() {
            return Ok(false);
        }
        let found = api_key::Entity::find()
            .filter(api_key::Column::TenantId.eq(key.tenant.as_str()))
            .filter(api_key::Column::NameKey.eq(rows::name_key(key.owner.as_ref(), &key.display_name)))
            .filter(api_key::Column::Id.ne(key.id.as_str()))
            .count(&self.transaction)
            .await
            .map_err(sort)?;
        Ok(found > 0)
    }

    /// What was done under this request id before: the subject and the revision.
    pub async fn replayed(&self, actor: &str, wanted: &Replay) -> Result<Option<(String, i64)>> {
        let place = (actor.to_owned(), wanted.request_id.clone());
        let Some(row) = replay::Entity::find_by_id(place).one(&self.transaction).await.map_err(sort)? else {
            return Ok(None);
        };
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

    /// Makes it durable: rows, change log, event and head, all or nothing. Answers with the revision.
    pub async fn commit(self, changes: Vec<Change>, entry: Entry, replay: Option<Replay>) -> Result<i64> {
        let revision = self.revision();
        let mut payloads = Vec::with_capacity(changes.len());
        let mut rows = Vec::with_capacity(changes.len());
        let mut changes = changes;
        let is_bulk = super::import::is_bulk(&changes);
        for (place, change) in changes.iter_mut().enumerate() {
            let is_new = change.is_new();
            change.set_revision(revision);
            if !is_bulk {
                self.write(change, is_new).await?;
            }
            let payload = serde_json::to_string(&change).map_err(Error::internal)?;
            let seq = i32::try_from(place).map_err(Error::internal)?;
            rows.push(ledger_change::ActiveModel {
                shard: Set(SHARD),
                rev: Set(revision),
                seq: Set(seq),
                kind: Set(change.kind().to_owned()),
                entity: Set(change.entity()),
                min_reader: Set(READER),
                at: Set(self.now.micros()),
                payload: Set(payload.clone()),
            });
            payloads.push(payload);
        }
        if is_bulk {
            self.write_new_keys(&changes).await?;
        }
        super::import::insert(rows, &self.transaction).await?;
        if let Some(replay) = replay {
            self.remember(&entry, replay, revision).await?;
        }
        let Entry { kind, tenant, actor, credential_id, subject, request_id, source_ip, detail } = entry;
        let event = Event {
            revision,
            kind: kind.to_owned(),
            tenant,
            actor,
            credential_id,
            subject,
            time: self.now,
            request_id,
            source_ip,
            detail,
        };
        let mut event = rows::event_row(event, chain::changes_hash(payloads.iter().map(String::as_str)))?;
        event.chain = chain::link(&self.head.chain, &event).to_vec();
        let head = ledger_head::ActiveModel {
            shard: Set(SHARD),
            rev: Set(revision),
            chain: Set(event.chain.clone()),
            ..Default::default()
        };
        audit_event::Entity::insert(audit_event::ActiveModel::from(event).reset_all())
            .exec_without_returning(&self.transaction)
            .await
            .map_err(sort)?;
        head.update(&self.transaction).await.map_err(sort)?;
        self.transaction.commit().await.map_err(sort)?;
        self.mail.committed();
        Ok(revision)
    }

    async fn remember(&self, entry: &Entry, replay: Replay, revision: i64) -> Result<()> {
        let outdated = self.now.micros().saturating_sub(REPLAY_WINDOW.as_micros() as i64);
        replay::Entity::delete_many()
            .filter(replay::Column::Time.lte(outdated))
            .exec(&self.transaction)
            .await
            .map_err(sort)?;
        let row = replay::ActiveModel {
            actor: Set(entry.actor.clone()),
            request_id: Set(replay.request_id),
            method: Set(replay.method.to_owned()),
            body_hash: Set(replay.body_hash.to_vec()),
            subject: Set(entry.subject.clone()),
            revision: Set(revision),
            time: Set(self.now.micros()),
        };
        replay::Entity::insert(row).exec_without_returning(&self.transaction).await.map_err(sort)?;
        Ok(())
    }
}
