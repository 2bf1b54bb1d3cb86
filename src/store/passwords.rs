//! Passwords and those who sign in by them. A password is written beside the change of its user, in the same
//! transaction, and stands in no change and no event: what is followed and shown holds nothing of it.

use super::draft::Draft;
use super::entity::{tenant, tenant_user, user_password};
use super::failure::sort;
use super::open::Store;
use super::rows;
use crate::domain::name::{TenantId, UserId};
use crate::domain::password::PasswordHash;
use crate::domain::user::User;
use crate::error::Result;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{OnConflict, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// A password as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredPassword {
    /// What is left of it.
    pub hash: PasswordHash,
    /// The revision that set it.
    pub revision: i64,
}

impl From<user_password::Model> for StoredPassword {
    fn from(row: user_password::Model) -> Self {
        let user_password::Model { tenant_id: _, user_id: _, hash, revision } = row;
        Self { hash: PasswordHash::of_row(hash), revision }
    }
}

async fn password(db: &impl ConnectionTrait, tenant: &str, user: &str) -> Result<Option<StoredPassword>> {
    let place = (tenant.to_owned(), user.to_owned());
    let row = user_password::Entity::find_by_id(place).one(db).await.map_err(sort)?;
    Ok(row.map(StoredPassword::from))
}

async fn sign_in_candidate(
    db: &impl ConnectionTrait,
    canonical_email: &str,
    tenant: Option<&str>,
) -> Result<Option<(User, Option<StoredPassword>)>> {
    let live = Query::select()
        .column(tenant::Column::Id)
        .from(tenant::Entity)
        .and_where(tenant::Column::DeleteTime.is_null())
        .to_owned();
    let mut select = tenant_user::Entity::find()
        .filter(tenant_user::Column::EmailKey.eq(canonical_email.as_bytes().to_vec()))
        .filter(tenant_user::Column::DeleteTime.is_null())
        .filter(tenant_user::Column::TenantId.in_subquery(live));
    if let Some(tenant) = tenant {
        select = select.filter(tenant_user::Column::TenantId.eq(tenant));
    }
    let found = select.order_by_asc(tenant_user::Column::TenantId).limit(2).all(db).await.map_err(sort)?;
    let only = if found.len() == 1 { found.into_iter().next() } else { None };
    let place = only.as_ref().map_or(("", ""), |row| (&row.tenant_id, &row.id));
    let password = password(db, place.0, place.1).await?;
    only.map(|row| Ok((rows::user(row)?, password))).transpose()
}

impl Store {
    /// The password of a user, if it has one.
    pub async fn password(&self, tenant: &TenantId, user: &UserId) -> Result<Option<StoredPassword>> {
        password(&self.reader, tenant.as_str(), user.as_str()).await
    }

    /// The one user whose canonical email this is, neither deleted nor in a deleted tenant, and its password; `None` if
    /// there is none, or several and no tenant is named. It takes the same two statements either way.
    pub async fn sign_in_candidate(
        &self,
        canonical_email: &str,
        tenant: Option<&str>,
    ) -> Result<Option<(User, Option<StoredPassword>)>> {
        sign_in_candidate(&self.reader, canonical_email, tenant).await
    }
}

impl Draft {
    /// The password of a user, if it has one.
    pub async fn password(&self, tenant: &TenantId, user: &UserId) -> Result<Option<StoredPassword>> {
        password(self.transaction(), tenant.as_str(), user.as_str()).await
    }

    /// The same as of the store, read under the lock.
    pub async fn sign_in_candidate(
        &self,
        canonical_email: &str,
        tenant: Option<&str>,
    ) -> Result<Option<(User, Option<StoredPassword>)>> {
        sign_in_candidate(self.transaction(), canonical_email, tenant).await
    }

    /// Gives a user this password, from this mutation's revision on.
    pub async fn set_password(&self, tenant: &TenantId, user: &UserId, hash: &PasswordHash) -> Result<()> {
        let row = user_password::ActiveModel {
            tenant_id: Set(tenant.as_str().to_owned()),
            user_id: Set(user.as_str().to_owned()),
            hash: Set(hash.as_str().to_owned()),
            revision: Set(self.revision()),
        };
        let conflict = OnConflict::columns([user_password::Column::TenantId, user_password::Column::UserId])
            .update_columns([user_password::Column::Hash, user_password::Column::Revision])
            .to_owned();
        user_password::Entity::insert(row)
            .on_conflict(conflict)
            .exec_without_returning(self.writing().await?)
            .await
            .map_err(sort)?;
        Ok(())
    }
}
