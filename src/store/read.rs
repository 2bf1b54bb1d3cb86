//! What is read outside a mutation: single things, pages, and when a key was last used.

mod events;
mod people;

use super::entity::{api_key, api_key_secret, api_key_use, ledger_head, root_secret, tenant, tenant_user};
use super::failure::sort;
use super::open::Store;
use super::rows;
use crate::domain::change::Root;
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::key::Key;
use crate::domain::name::{KeyId, Owner, TenantId, UserId};
use crate::domain::tenant::Tenant;
use crate::domain::user::User;
use crate::error::{Error, Result};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use std::collections::HashMap;

/// How many rows are read at a time while looking for those a filter lets pass.
const STRIDE: u64 = 500;

/// Which keys to list.
#[derive(Clone, Debug)]
pub struct KeyQuery {
    /// In this tenant.
    pub tenant: TenantId,
    /// Only this owner's.
    pub owner: Option<Owner>,
    /// Those after this one, in the order of ids.
    pub after: String,
    /// Also those deleted within the retention.
    pub show_deleted: bool,
    /// No more than this many.
    pub limit: usize,
}

/// A page of a list, in the order of the list.
#[derive(Clone, Debug)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins: after this; `None` if there is nothing more.
    pub next: Option<String>,
}

/// A page that is being filled from rows read in strides.
struct Filling<T> {
    limit: usize,
    after: String,
    items: Vec<T>,
    passed: usize,
    weight: usize,
}

/// A page ends early, with a token, when it weighs more than this: a client reads messages of at most 4 MiB.
const MAX_WEIGHT: usize = 2 * 1024 * 1024;

/// And when so many rows were looked at for it: a filter that lets nothing pass must not read for ever.
const MAX_PASSED: usize = 20_000;

impl<T> Filling<T> {
    fn new(limit: usize, after: &str) -> Self {
        Self { limit, after: after.to_owned(), items: Vec::new(), passed: 0, weight: 0 }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.limit || self.weight >= MAX_WEIGHT || self.passed >= MAX_PASSED
    }

    /// Passes the row at `place`, which is on the page if there is an item of it, about `weight` bytes long.
    fn pass(&mut self, place: String, weight: usize, item: Option<T>) {
        self.after = place;
        self.passed = self.passed.saturating_add(1);
        self.weight = self.weight.saturating_add(if item.is_some() { weight } else { 0 });
        self.items.extend(item);
    }

    /// The page, after which there is nothing more.
    fn last(self) -> Page<T> {
        Page { items: self.items, next: None }
    }

    /// The page, after which there is more.
    fn full(self) -> Page<T> {
        Page { items: self.items, next: Some(self.after) }
    }
}

pub(super) async fn key(db: &impl ConnectionTrait, tenant: &str, id: &str) -> Result<Option<Key>> {
    let place = (tenant.to_owned(), id.to_owned());
    let Some(row) = api_key::Entity::find_by_id(place).one(db).await.map_err(sort)? else { return Ok(None) };
    let secrets = api_key_secret::Entity::find()
        .filter(api_key_secret::Column::TenantId.eq(tenant))
        .filter(api_key_secret::Column::KeyId.eq(id))
        .all(db)
        .await
        .map_err(sort)?;
    rows::key(row, secrets).map(Some)
}

pub(super) async fn key_place_of_digest(
    db: &impl ConnectionTrait,
    digest: &Digest,
) -> Result<Option<(TenantId, KeyId)>> {
    let secret = api_key_secret::Entity::find_by_id(digest.as_bytes().to_vec()).one(db).await.map_err(sort)?;
    secret.map(|secret| rows::key_place(&secret.tenant_id, &secret.key_id)).transpose()
}

pub(super) async fn root(db: &impl ConnectionTrait) -> Result<Option<Root>> {
    let rows = root_secret::Entity::find().order_by_desc(root_secret::Column::Ordinal).all(db).await.map_err(sort)?;
    let Some(revision) = rows.iter().map(|row| row.revision).max() else { return Ok(None) };
    let secrets = rows.into_iter().map(rows::root_secret).collect::<Result<_>>()?;
    Ok(Some(Root { secrets, revision }))
}

impl Store {
    /// The key of that id with when it was last used, deleted or not.
    pub async fn key(&self, tenant: &TenantId, id: &KeyId) -> Result<Option<(Key, Option<Time>)>> {
        let Some(key) = key(&self.reader, tenant.as_str(), id.as_str()).await? else { return Ok(None) };
        let last_auth_time = self.last_auth_times(tenant, vec![id.as_str().to_owned()]).await?.into_values().next();
        Ok(Some((key, last_auth_time)))
    }

    /// The key that has, or had, this secret.
    pub async fn key_of_digest(&self, digest: &Digest) -> Result<Option<(Key, Option<Time>)>> {
        let Some((tenant, id)) = key_place_of_digest(&self.reader, digest).await? else { return Ok(None) };
        let Some(key) = key(&self.reader, tenant.as_str(), id.as_str()).await? else { return Ok(None) };
        let ids = vec![key.id.as_str().to_owned()];
        let last_auth_time = self.last_auth_times(&key.tenant, ids).await?.into_values().next();
        Ok(Some((key, last_auth_time)))
    }

    async fn last_auth_times(&self, tenant: &TenantId, ids: Vec<String>) -> Result<HashMap<String, Time>> {
        let rows = api_key_use::Entity::find()
            .filter(api_key_use::Column::TenantId.eq(tenant.as_str()))
            .filter(api_key_use::Column::KeyId.is_in(ids))
            .all(&self.reader)
            .await
            .map_err(sort)?;
        Ok(rows.into_iter().map(|row| (row.key_id, Time::from_micros(row.last_auth_time))).collect())
    }

    /// A page of the keys that `is_wanted` lets pass, each with when it was last used, in the order of ids.
    pub async fn keys(
        &self,
        query: &KeyQuery,
        now: Time,
        is_wanted: impl Fn(&Key, Option<Time>) -> bool,
    ) -> Result<Page<(Key, Option<Time>)>> {
        let mut filling = Filling::new(query.limit, &query.after);
        loop {
            let mut select = api_key::Entity::find()
                .filter(api_key::Column::TenantId.eq(query.tenant.as_str()))
                .filter(api_key::Column::Id.gt(filling.after.as_str()));
            if let Some(owner) = &query.owner {
                let (kind, id) = rows::owner_columns(Some(owner));
                select = select.filter(api_key::Column::OwnerKind.eq(kind)).filter(api_key::Column::OwnerId.eq(id));
            }
            if !query.show_deleted {
                select = select.filter(api_key::Column::DeleteTime.is_null());
            }
            let found = select.order_by_asc(api_key::Column::Id).limit(STRIDE).all(&self.reader).await.map_err(sort)?;
            let is_last = (found.len() as u64) < STRIDE;
            let ids: Vec<String> = found.iter().map(|row| row.id.clone()).collect();
            let mut secrets = self.secrets(&query.tenant, &ids).await?;
            let last_auth_times = self.last_auth_times(&query.tenant, ids).await?;
            for row in found {
                if filling.is_full() {
                    return Ok(filling.full());
                }
                let place = row.id.clone();
                let weight =
                    row.grants.len() + row.description.len() + row.labels.len() + row.allowed_referrers.len() + 512;
                let last_auth_time = last_auth_times.get(&place).copied();
                let key = rows::key(row, secrets.remove(&place).unwrap_or_default())?;
                let is_shown = !key.is_forgotten(now) && is_wanted(&key, last_auth_time);
                filling.pass(place, weight, is_shown.then_some((key, last_auth_time)));
            }
            if is_last {
                return Ok(filling.last());
            }
        }
    }

    async fn secrets(&self, tenant: &TenantId, ids: &[String]) -> Result<HashMap<String, Vec<api_key_secret::Model>>> {
        let rows = api_key_secret::Entity::find()
            .filter(api_key_secret::Column::TenantId.eq(tenant.as_str()))
            .filter(api_key_secret::Column::KeyId.is_in(ids.iter().map(String::as_str)))
            .all(&self.reader)
            .await
            .map_err(sort)?;
        let mut secrets: HashMap<String, Vec<api_key_secret::Model>> = HashMap::new();
        for row in rows {
            secrets.entry(row.key_id.clone()).or_default().push(row);
        }
        Ok(secrets)
    }

    /// The tenant of that id, deleted or not.
    pub async fn tenant(&self, id: &TenantId) -> Result<Option<Tenant>> {
        let row = tenant::Entity::find_by_id(id.as_str()).one(&self.reader).await.map_err(sort)?;
        row.map(rows::tenant).transpose()
    }

    /// A page of the tenants that `is_wanted` lets pass, in the order of ids.
    pub async fn tenants(
        &self,
        after: &str,
        show_deleted: bool,
        limit: usize,
        is_wanted: impl Fn(&Tenant) -> bool,
    ) -> Result<Page<Tenant>> {
        let mut filling = Filling::new(limit, after);
        loop {
            let mut select = tenant::Entity::find().filter(tenant::Column::Id.gt(filling.after.as_str()));
            if !show_deleted {
                select = select.filter(tenant::Column::DeleteTime.is_null());
            }
            let found = select.order_by_asc(tenant::Column::Id).limit(STRIDE).all(&self.reader).await.map_err(sort)?;
            let is_last = (found.len() as u64) < STRIDE;
            for row in found {
                if filling.is_full() {
                    return Ok(filling.full());
                }
                let tenant = rows::tenant(row)?;
                filling.pass(tenant.id.to_string(), 1024, Some(tenant).filter(&is_wanted));
            }
            if is_last {
                return Ok(filling.last());
            }
        }
    }

    /// The user of that id, deleted or not.
    pub async fn user(&self, tenant: &TenantId, id: &UserId) -> Result<Option<User>> {
        let place = (tenant.as_str().to_owned(), id.as_str().to_owned());
        let row = tenant_user::Entity::find_by_id(place).one(&self.reader).await.map_err(sort)?;
        row.map(rows::user).transpose()
    }

    /// A page of the users of a tenant that `is_wanted` lets pass, in the order of ids.
    pub async fn users(
        &self,
        tenant: &TenantId,
        after: &str,
        show_deleted: bool,
        limit: usize,
        is_wanted: impl Fn(&User) -> bool,
    ) -> Result<Page<User>> {
        let mut filling = Filling::new(limit, after);
        loop {
            let mut select = tenant_user::Entity::find()
                .filter(tenant_user::Column::TenantId.eq(tenant.as_str()))
                .filter(tenant_user::Column::Id.gt(filling.after.as_str()));
            if !show_deleted {
                select = select.filter(tenant_user::Column::DeleteTime.is_null());
            }
            let found =
                select.order_by_asc(tenant_user::Column::Id).limit(STRIDE).all(&self.reader).await.map_err(sort)?;
            let is_last = (found.len() as u64) < STRIDE;
            for row in found {
                if filling.is_full() {
                    return Ok(filling.full());
                }
                let user = rows::user(row)?;
                filling.pass(user.id.to_string(), 1024, Some(user).filter(&is_wanted));
            }
            if is_last {
                return Ok(filling.last());
            }
        }
    }

    /// The key under which page tokens are authenticated; the same for all who share the database.
    pub async fn page_token_key(&self) -> Result<Vec<u8>> {
        let head = ledger_head::Entity::find_by_id(super::draft::SHARD).one(&self.reader).await.map_err(sort)?;
        head.map(|head| head.page_token_key).ok_or_else(|| Error::internal("the ledger has no head"))
    }
}
