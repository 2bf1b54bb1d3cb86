//! Tenants, users, keys and their secrets.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary_len, binary_len_null, boolean, integer, string_len, string_len_null, text,
};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        tables
            .create_table(
                Table::create()
                    .table("tenant")
                    .col(string_len("id", 63).primary_key())
                    .col(string_len("uid", 36))
                    .col(string_len("display_name", 256))
                    .col(string_len("credential_prefix", 16))
                    .col(boolean("is_suspended"))
                    .col(big_integer("create_time"))
                    .col(big_integer("update_time"))
                    .col(big_integer_null("delete_time"))
                    .col(big_integer("revision"))
                    .col(integer("min_reader"))
                    .to_owned(),
            )
            .await?;
        tables
            .create_table(
                Table::create()
                    .table("tenant_user")
                    .col(string_len("tenant_id", 63))
                    .col(string_len("id", 63))
                    .col(string_len("uid", 36))
                    .col(string_len("email", 254))
                    .col(ColumnDef::new("email_key").var_binary(512).null())
                    .col(string_len("given_name", 256))
                    .col(string_len("family_name", 256))
                    .col(string_len("role", 16))
                    .col(boolean("is_suspended"))
                    .col(big_integer("create_time"))
                    .col(big_integer("update_time"))
                    .col(big_integer_null("delete_time"))
                    .col(big_integer("revision"))
                    .col(integer("min_reader"))
                    .primary_key(Index::create().col("tenant_id").col("id"))
                    .to_owned(),
            )
            .await?;
        tables
            .create_index(
                Index::create()
                    .name("tenant_user_email_key")
                    .table("tenant_user")
                    .col("tenant_id")
                    .col("email_key")
                    .unique()
                    .to_owned(),
            )
            .await?;
        tables
            .create_table(
                Table::create()
                    .table("api_key")
                    .col(string_len("tenant_id", 63))
                    .col(string_len("id", 63))
                    .col(string_len("uid", 36))
                    .col(string_len("kind", 16))
                    .col(string_len_null("owner_kind", 16))
                    .col(string_len_null("owner_id", 63))
                    .col(string_len("display_name", 256))
                    .col(binary_len_null("name_key", 32))
                    .col(text("description"))
                    .col(text("grants"))
                    .col(text("allowed_ips"))
                    .col(text("allowed_referrers"))
                    .col(text("labels"))
                    .col(big_integer_null("not_before_time"))
                    .col(big_integer_null("expire_time"))
                    .col(boolean("is_suspended"))
                    .col(big_integer_null("revoke_time"))
                    .col(string_len_null("revoke_reason", 32))
                    .col(big_integer_null("delete_time"))
                    .col(binary_len_null("secret_key_digest", 32))
                    .col(string_len_null("public_credential", 255))
                    .col(big_integer("create_time"))
                    .col(big_integer("update_time"))
                    .col(big_integer("revision"))
                    .col(integer("min_reader"))
                    .primary_key(Index::create().col("tenant_id").col("id"))
                    .to_owned(),
            )
            .await?;
        tables
            .create_index(
                Index::create()
                    .name("api_key_name_key")
                    .table("api_key")
                    .col("tenant_id")
                    .col("name_key")
                    .unique()
                    .to_owned(),
            )
            .await?;
        tables
            .create_index(
                Index::create()
                    .name("api_key_by_owner")
                    .table("api_key")
                    .col("tenant_id")
                    .col("owner_id")
                    .col("id")
                    .to_owned(),
            )
            .await?;
        tables
            .create_table(
                Table::create()
                    .table("api_key_secret")
                    .col(binary_len("digest", 32).primary_key())
                    .col(string_len("tenant_id", 63))
                    .col(string_len("key_id", 63))
                    .col(big_integer("ordinal"))
                    .col(string_len("credential_id", 64))
                    .col(string_len("hint", 128))
                    .col(big_integer("create_time"))
                    .col(big_integer_null("retire_time"))
                    .col(boolean("is_retired"))
                    .to_owned(),
            )
            .await?;
        tables
            .create_index(
                Index::create()
                    .name("api_key_secret_by_key")
                    .table("api_key_secret")
                    .col("tenant_id")
                    .col("key_id")
                    .to_owned(),
            )
            .await?;
        tables
            .create_table(
                Table::create()
                    .table("api_key_use")
                    .col(string_len("tenant_id", 63))
                    .col(string_len("key_id", 63))
                    .col(big_integer("last_auth_time"))
                    .primary_key(Index::create().col("tenant_id").col("key_id"))
                    .to_owned(),
            )
            .await
    }
}
