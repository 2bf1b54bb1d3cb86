//! How many things each tenant has, and up to which revision that is counted: of what is there already, nothing yet.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, string_len};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        let head = Table::alter().table("ledger_head").add_column(big_integer("counted_rev").default(0)).to_owned();
        tables.alter_table(head).await?;
        let count = Table::create()
            .table("tenant_count")
            .col(string_len("tenant_id", 63))
            .col(string_len("kind", 16))
            .col(big_integer("end_time"))
            .col(big_integer("number"))
            .primary_key(Index::create().col("tenant_id").col("kind").col("end_time"))
            .to_owned();
        tables.create_table(count).await?;
        Ok(())
    }
}
