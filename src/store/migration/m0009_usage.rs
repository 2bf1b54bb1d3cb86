//! How often keys were checked, hour by hour, and which was the last flush of each process that counts.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string_len};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        let usage = Table::create()
            .table("api_key_usage")
            .col(string_len("tenant_id", 63))
            .col(string_len("key_id", 63))
            .col(big_integer("start_time"))
            .col(big_integer("allowed_count"))
            .col(big_integer("denied_count"))
            .primary_key(Index::create().col("tenant_id").col("key_id").col("start_time"))
            .to_owned();
        tables.create_table(usage).await?;
        let by_time = Index::create().name("api_key_usage_by_time").table("api_key_usage").col("start_time").to_owned();
        tables.create_index(by_time).await?;
        let flush = Table::create()
            .table("usage_flush")
            .col(string_len("writer", 36).primary_key())
            .col(big_integer("number"))
            .col(big_integer("flush_time"))
            .to_owned();
        tables.create_table(flush).await
    }
}
