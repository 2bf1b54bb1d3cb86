//! Replicas, and the lease that they share.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, integer, string_len};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        let head = Table::alter().table("ledger_head").add_column(big_integer_null("lease_ms")).to_owned();
        tables.alter_table(head).await?;
        let replica = Table::create()
            .table("replica")
            .col(string_len("id", 36).primary_key())
            .col(string_len("state", 16))
            .col(string_len("address", 255))
            .col(big_integer("applied"))
            .col(big_integer("lease_ms"))
            .col(integer("reader"))
            .to_owned();
        tables.create_table(replica).await
    }
}
