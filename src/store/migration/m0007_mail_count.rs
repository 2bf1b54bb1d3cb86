//! How much mail there was on a day.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string_len};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        tables
            .create_table(
                Table::create()
                    .table("mail_count")
                    .col(big_integer("day"))
                    .col(string_len("counted", 255))
                    .col(integer("mails"))
                    .primary_key(Index::create().col("day").col("counted"))
                    .to_owned(),
            )
            .await
    }
}
