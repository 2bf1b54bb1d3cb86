//! Applications and their secrets, access tokens and sessions; and since when tokens and sessions of a parent are dead.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary_len, binary_len_null, boolean, integer, string_len, string_len_null, text,
    text_null,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        for (table, column) in [("api_key", "tokens_end_revision"), ("tenant_user", "sessions_end_revision")] {
            let table = Table::alter().table(table).add_column(big_integer(column).default(0)).to_owned();
            tables.alter_table(table).await?;
        }
        let application = Table::create()
            .table("application")
            .col(string_len("tenant_id", 63))
            .col(string_len("id", 63))
            .col(string_len("uid", 36))
            .col(string_len("owner_id", 63))
            .col(string_len("display_name", 256))
            .col(text("description"))
            .col(string_len("contact_email", 254))
            .col(text("grants"))
            .col(boolean("is_verified"))
            .col(binary_len_null("verification_digest", 32))
            .col(big_integer_null("verification_expire_time"))
            .col(big_integer_null("revoke_time"))
            .col(big_integer("tokens_end_revision"))
            .col(big_integer("create_time"))
            .col(big_integer("update_time"))
            .col(big_integer_null("delete_time"))
            .col(big_integer("revision"))
            .col(integer("min_reader"))
            .primary_key(Index::create().col("tenant_id").col("id"))
            .to_owned();
        tables.create_table(application).await?;
        index(&tables, "application_by_owner", "application", &["tenant_id", "owner_id", "id"]).await?;
        let secret = Table::create()
            .table("application_secret")
            .col(binary_len("digest", 32).primary_key())
            .col(string_len("tenant_id", 63))
            .col(string_len("application_id", 63))
            .col(big_integer("ordinal"))
            .col(string_len("credential_id", 64))
            .col(string_len("hint", 128))
            .col(big_integer("create_time"))
            .col(big_integer_null("retire_time"))
            .col(boolean("is_retired"))
            .to_owned();
        tables.create_table(secret).await?;
        let columns = ["tenant_id", "application_id"];
        index(&tables, "application_secret_by_application", "application_secret", &columns).await?;
        let token = Table::create()
            .table("access_token")
            .col(string_len("tenant_id", 63))
            .col(string_len("id", 63))
            .col(string_len("uid", 36))
            .col(string_len("parent_kind", 16))
            .col(string_len("parent_id", 63))
            .col(big_integer("secret_version"))
            .col(big_integer("based_revision"))
            .col(text_null("permissions"))
            .col(text("audience"))
            .col(string_len("format", 16))
            .col(ColumnDef::new("digest").binary_len(32).null().unique_key())
            .col(string_len_null("credential_id", 64))
            .col(big_integer("create_time"))
            .col(big_integer("update_time"))
            .col(big_integer("expire_time"))
            .col(big_integer_null("revoke_time"))
            .col(big_integer("revision"))
            .col(integer("min_reader"))
            .primary_key(Index::create().col("tenant_id").col("id"))
            .to_owned();
        tables.create_table(token).await?;
        index(&tables, "access_token_by_expire_time", "access_token", &["expire_time"]).await?;
        let session = Table::create()
            .table("user_session")
            .col(string_len("tenant_id", 63))
            .col(string_len("id", 63))
            .col(string_len("uid", 36))
            .col(string_len("user_id", 63))
            .col(binary_len("digest", 32).unique_key())
            .col(string_len("credential_id", 64))
            .col(big_integer("based_revision"))
            .col(big_integer("create_time"))
            .col(big_integer("update_time"))
            .col(big_integer("expire_time"))
            .col(big_integer_null("revoke_time"))
            .col(big_integer("revision"))
            .col(integer("min_reader"))
            .primary_key(Index::create().col("tenant_id").col("id"))
            .to_owned();
        tables.create_table(session).await?;
        index(&tables, "user_session_by_user", "user_session", &["tenant_id", "user_id", "id"]).await?;
        index(&tables, "user_session_by_expire_time", "user_session", &["expire_time"]).await
    }
}

async fn index(
    tables: &Tables<'_>,
    name: &'static str,
    table: &'static str,
    columns: &[&'static str],
) -> Result<(), DbErr> {
    let mut index = Index::create().name(name).table(table).to_owned();
    for column in columns {
        index.col(*column);
    }
    tables.create_index(index).await
}
