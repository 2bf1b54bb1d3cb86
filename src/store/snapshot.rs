//! Everything there is at one revision, a page at a time: what is read is put away before more is read, so that loading
//! takes no more memory than what is loaded.

use super::entity::{
    access_token, api_key, api_key_secret, application, application_secret, tenant, tenant_user, user_session,
};
use super::failure::sort;
use super::log::{Head, head};
use super::open::Store;
use super::rows;
use crate::domain::change::Change;
use crate::error::Result;
use sea_orm::sea_query::{Expr, SimpleExpr};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use std::collections::HashMap;

/// How many rows are read at a time.
const STRIDE: u64 = 1000;

/// Where a page ended: a tenant and an id in it.
type Place = (String, String);

impl Store {
    /// Reads all rows in one read transaction and hands them on as changes, what others refer to first. Answers with the
    /// point in the ledger to which they belong.
    pub async fn snapshot(&self, mut put: impl FnMut(&Head, Vec<Change>)) -> Result<Head> {
        let transaction = self.read_at_once().await?;
        let head = head(&transaction).await?;
        let root = super::read::root(&transaction).await?;
        put(&head, root.map(Change::Root).into_iter().collect());
        let keys = super::signing::keys(&transaction).await?;
        put(&head, keys.into_iter().map(Change::SigningKey).collect());
        load_tenants(&transaction, |changes| put(&head, changes)).await?;
        load_users(&transaction, |changes| put(&head, changes)).await?;
        load_applications(&transaction, |changes| put(&head, changes)).await?;
        load_keys(&transaction, |changes| put(&head, changes)).await?;
        load_tokens(&transaction, |changes| put(&head, changes)).await?;
        load_sessions(&transaction, |changes| put(&head, changes)).await?;
        transaction.commit().await.map_err(sort)?;
        Ok(head)
    }
}

/// What comes after `place` in the order of tenants and ids. SQLite and PostgreSQL look up two columns compared as one in
/// an index, and would read the whole table for the same written with `OR`; MySQL and MariaDB the other way about.
fn after(backend: DbBackend, tenant: impl ColumnTrait, id: impl ColumnTrait, place: &Place) -> SimpleExpr {
    match backend {
        DbBackend::MySql => {
            let further = id.gt(place.1.as_str());
            tenant.gt(place.0.as_str()).or(tenant.eq(place.0.as_str()).and(further))
        }
        _ => pair(tenant, id).gt(pair_of(place)),
    }
}

/// What comes no later than `place`.
fn up_to(backend: DbBackend, tenant: impl ColumnTrait, id: impl ColumnTrait, place: &Place) -> SimpleExpr {
    match backend {
        DbBackend::MySql => {
            let as_far = id.lte(place.1.as_str());
            tenant.lt(place.0.as_str()).or(tenant.eq(place.0.as_str()).and(as_far))
        }
        _ => pair(tenant, id).lte(pair_of(place)),
    }
}

/// Two columns as one value.
fn pair(tenant: impl ColumnTrait, id: impl ColumnTrait) -> SimpleExpr {
    Expr::tuple([Expr::col(tenant.as_column_ref()), Expr::col(id.as_column_ref())])
}

fn pair_of(place: &Place) -> SimpleExpr {
    Expr::tuple([Expr::value(place.0.as_str()), Expr::value(place.1.as_str())])
}

async fn load_tenants(transaction: &DatabaseTransaction, mut put: impl FnMut(Vec<Change>)) -> Result<()> {
    let mut last = String::new();
    loop {
        let page = tenant::Entity::find().filter(tenant::Column::Id.gt(last.as_str()));
        let page = page.order_by_asc(tenant::Column::Id).limit(STRIDE).all(transaction).await.map_err(sort)?;
        let Some(end) = page.last().map(|row| row.id.clone()) else { return Ok(()) };
        last = end;
        put(page.into_iter().map(|row| rows::tenant(row).map(Change::Tenant)).collect::<Result<_>>()?);
    }
}

/// A page of a table whose rows are named by a tenant and an id.
async fn page<E: EntityTrait>(
    transaction: &DatabaseTransaction,
    tenant: impl ColumnTrait + Copy,
    id: impl ColumnTrait + Copy,
    last: &Place,
) -> Result<Vec<E::Model>> {
    let rows = E::find().filter(after(transaction.get_database_backend(), tenant, id, last)).order_by_asc(tenant).order_by_asc(id);
    rows.limit(STRIDE).all(transaction).await.map_err(sort)
}

async fn load_users(transaction: &DatabaseTransaction, mut put: impl FnMut(Vec<Change>)) -> Result<()> {
    use tenant_user::{Column, Entity};
    let mut last = Place::default();
    loop {
        let found = page::<Entity>(transaction, Column::TenantId, Column::Id, &last).await?;
        let Some(end) = found.last().map(|row| (row.tenant_id.clone(), row.id.clone())) else { return Ok(()) };
        last = end;
        put(found.into_iter().map(|row| rows::user(row).map(Change::User)).collect::<Result<_>>()?);
    }
}

async fn load_applications(transaction: &DatabaseTransaction, mut put: impl FnMut(Vec<Change>)) -> Result<()> {
    use application_secret::Column as Secret;
    let mut last = Place::default();
    loop {
        let (tenant, id) = (application::Column::TenantId, application::Column::Id);
        let found = page::<application::Entity>(transaction, tenant, id, &last).await?;
        let Some(end) = found.last().map(|row| (row.tenant_id.clone(), row.id.clone())) else { return Ok(()) };
        let secrets = application_secret::Entity::find()
            .filter(after(transaction.get_database_backend(), Secret::TenantId, Secret::ApplicationId, &last))
            .filter(up_to(transaction.get_database_backend(), Secret::TenantId, Secret::ApplicationId, &end))
            .all(transaction)
            .await
            .map_err(sort)?;
        let mut by_place: HashMap<Place, Vec<application_secret::Model>> = HashMap::new();
        for secret in secrets {
            let place = (secret.tenant_id.clone(), secret.application_id.clone());
            by_place.entry(place).or_default().push(secret);
        }
        let changes = found.into_iter().map(|row| {
            let place = (row.tenant_id.clone(), row.id.clone());
            let application = rows::application(row, by_place.remove(&place).unwrap_or_default())?;
            Ok(Change::Application(Box::new(application)))
        });
        put(changes.collect::<Result<_>>()?);
        last = end;
    }
}

async fn load_keys(transaction: &DatabaseTransaction, mut put: impl FnMut(Vec<Change>)) -> Result<()> {
    use api_key_secret::Column as Secret;
    let mut last = Place::default();
    loop {
        let (tenant, id) = (api_key::Column::TenantId, api_key::Column::Id);
        let found = page::<api_key::Entity>(transaction, tenant, id, &last).await?;
        let Some(end) = found.last().map(|row| (row.tenant_id.clone(), row.id.clone())) else { return Ok(()) };
        let secrets = api_key_secret::Entity::find()
            .filter(after(transaction.get_database_backend(), Secret::TenantId, Secret::KeyId, &last))
            .filter(up_to(transaction.get_database_backend(), Secret::TenantId, Secret::KeyId, &end))
            .all(transaction)
            .await
            .map_err(sort)?;
        let mut by_place: HashMap<Place, Vec<api_key_secret::Model>> = HashMap::new();
        for secret in secrets {
            let place = (secret.tenant_id.clone(), secret.key_id.clone());
            by_place.entry(place).or_default().push(secret);
        }
        let changes = found.into_iter().map(|row| {
            let place = (row.tenant_id.clone(), row.id.clone());
            let key = rows::key(row, by_place.remove(&place).unwrap_or_default())?;
            Ok(Change::Key(Box::new(key)))
        });
        put(changes.collect::<Result<_>>()?);
        last = end;
    }
}

async fn load_tokens(transaction: &DatabaseTransaction, mut put: impl FnMut(Vec<Change>)) -> Result<()> {
    use access_token::{Column, Entity};
    let mut last = Place::default();
    loop {
        let found = page::<Entity>(transaction, Column::TenantId, Column::Id, &last).await?;
        let Some(end) = found.last().map(|row| (row.tenant_id.clone(), row.id.clone())) else { return Ok(()) };
        last = end;
        let change = |row| rows::access_token(row).map(|token| Change::Token(Box::new(token)));
        put(found.into_iter().map(change).collect::<Result<_>>()?);
    }
}

async fn load_sessions(transaction: &DatabaseTransaction, mut put: impl FnMut(Vec<Change>)) -> Result<()> {
    use user_session::{Column, Entity};
    let mut last = Place::default();
    loop {
        let found = page::<Entity>(transaction, Column::TenantId, Column::Id, &last).await?;
        let Some(end) = found.last().map(|row| (row.tenant_id.clone(), row.id.clone())) else { return Ok(()) };
        last = end;
        let change = |row| rows::session(row).map(|session| Change::Session(Box::new(session)));
        put(found.into_iter().map(change).collect::<Result<_>>()?);
    }
}
