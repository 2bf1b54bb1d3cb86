//! How a change becomes rows.

use super::entity::{api_key_secret, application_secret, root_secret};
use super::failure::sort;
use super::rows;
use crate::domain::application::Application;
use crate::domain::change::Change;
use crate::domain::key::Key;
use crate::error::Result;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ActiveModelTrait, ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter};

/// Writes the rows of one change. No wildcard: a new kind of change stops the build here.
pub(super) async fn write(transaction: &DatabaseTransaction, change: &Change, is_new: bool) -> Result<()> {
    match change {
        Change::Root(root) => {
            let kept: Vec<Vec<u8>> = root.secrets.iter().map(|secret| secret.digest.as_bytes().to_vec()).collect();
            root_secret::Entity::delete_many()
                .filter(root_secret::Column::Digest.is_not_in(kept))
                .exec(transaction)
                .await
                .map_err(sort)?;
            for secret in &root.secrets {
                let conflict = OnConflict::column(root_secret::Column::Digest)
                    .update_columns([root_secret::Column::RetireTime, root_secret::Column::IsRetired])
                    .to_owned();
                root_secret::Entity::insert(rows::root_secret_row(secret, root.revision))
                    .on_conflict(conflict)
                    .exec_without_returning(transaction)
                    .await
                    .map_err(sort)?;
            }
            Ok(())
        }
        Change::Tenant(tenant) => put(rows::tenant_row(tenant), is_new, transaction).await,
        Change::User(user) => put(rows::user_row(user)?, is_new, transaction).await,
        Change::Key(key) => {
            put(rows::key_row(key)?, is_new, transaction).await?;
            write_secrets(transaction, key, is_new).await
        }
        Change::Application(application) => {
            put(rows::application_row(application)?, is_new, transaction).await?;
            write_application_secrets(transaction, application, is_new).await
        }
        Change::Token(token) => put(rows::access_token_row(token)?, is_new, transaction).await,
        Change::SigningKey(key) => super::signing::put(transaction, key).await,
        Change::Session(session) => put(rows::session_row(session), is_new, transaction).await,
    }
}

async fn write_secrets(transaction: &DatabaseTransaction, key: &Key, is_new: bool) -> Result<()> {
    let kept: Vec<Vec<u8>> = key.secrets.iter().map(|secret| secret.digest.as_bytes().to_vec()).collect();
    if !is_new {
        api_key_secret::Entity::delete_many()
            .filter(api_key_secret::Column::TenantId.eq(key.tenant.as_str()))
            .filter(api_key_secret::Column::KeyId.eq(key.id.as_str()))
            .filter(api_key_secret::Column::Digest.is_not_in(kept))
            .exec(transaction)
            .await
            .map_err(sort)?;
    }
    for row in rows::secret_rows(key) {
        let conflict = OnConflict::column(api_key_secret::Column::Digest)
            .update_columns([api_key_secret::Column::RetireTime, api_key_secret::Column::IsRetired])
            .to_owned();
        api_key_secret::Entity::insert(row)
            .on_conflict(conflict)
            .exec_without_returning(transaction)
            .await
            .map_err(sort)?;
    }
    Ok(())
}

async fn write_application_secrets(
    transaction: &DatabaseTransaction,
    application: &Application,
    is_new: bool,
) -> Result<()> {
    use application_secret::Column;
    let kept: Vec<Vec<u8>> = application.secrets.iter().map(|secret| secret.digest.as_bytes().to_vec()).collect();
    if !is_new {
        application_secret::Entity::delete_many()
            .filter(Column::TenantId.eq(application.tenant.as_str()))
            .filter(Column::ApplicationId.eq(application.id.as_str()))
            .filter(Column::Digest.is_not_in(kept))
            .exec(transaction)
            .await
            .map_err(sort)?;
    }
    for row in rows::application_secret_rows(application) {
        let conflict =
            OnConflict::column(Column::Digest).update_columns([Column::RetireTime, Column::IsRetired]).to_owned();
        application_secret::Entity::insert(row)
            .on_conflict(conflict)
            .exec_without_returning(transaction)
            .await
            .map_err(sort)?;
    }
    Ok(())
}

/// Inserts a new row, or updates all columns of one that is there.
async fn put<A>(row: A, is_new: bool, transaction: &DatabaseTransaction) -> Result<()>
where
    A: ActiveModelTrait + sea_orm::ActiveModelBehavior + Send,
    <A::Entity as EntityTrait>::Model: sea_orm::IntoActiveModel<A>,
{
    if is_new {
        A::Entity::insert(row).exec_without_returning(transaction).await.map_err(sort)?;
    } else {
        row.update(transaction).await.map_err(sort)?;
    }
    Ok(())
}
