//! Users' passwords, as argon2id hashes.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string_len};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        tables
            .create_table(
                Table::create()
                    .table("user_password")
                    .col(string_len("tenant_id", 63))
                    .col(string_len("user_id", 63))
                    .col(string_len("hash", 255))
                    .col(big_integer("revision"))
                    .primary_key(Index::create().col("tenant_id").col("user_id"))
                    .to_owned(),
            )
            .await?;
        // Whoever signs in need not name a tenant.
        tables
            .create_index(
                Index::create().name("tenant_user_by_email_key").table("tenant_user").col("email_key").to_owned(),
            )
            .await
    }
}
