//! Mail that is to be sent.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, integer, string_len, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        tables
            .create_table(
                Table::create()
                    .table("mail_queue")
                    .col(string_len("id", 36).primary_key())
                    .col(string_len("about", 255))
                    .col(string_len("recipient", 254))
                    .col(string_len("subject", 255))
                    .col(text("body"))
                    .col(big_integer("create_time"))
                    .col(integer("attempt_count"))
                    .col(big_integer("next_attempt_time"))
                    .col(big_integer("give_up_time"))
                    .to_owned(),
            )
            .await?;
        tables
            .create_index(
                Index::create().name("mail_queue_by_time").table("mail_queue").col("next_attempt_time").to_owned(),
            )
            .await?;
        tables
            .create_index(Index::create().name("mail_queue_by_about").table("mail_queue").col("about").to_owned())
            .await
    }
}
