//! The ledger: head, change log, audit events, replays, root.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{big_integer, big_integer_null, binary_len, boolean, integer, string_len, text};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let tables = Tables::of(manager).await?;
        tables
            .create_table(
                Table::create()
                    .table("ledger_head")
                    .col(integer("shard").primary_key())
                    .col(big_integer("rev"))
                    .col(binary_len("chain", 32))
                    .col(big_integer("floor_rev"))
                    .col(string_len("cluster_id", 36))
                    .col(binary_len("page_token_key", 32))
                    .to_owned(),
            )
            .await?;
        tables
            .create_table(
                Table::create()
                    .table("ledger_change")
                    .col(integer("shard"))
                    .col(big_integer("rev"))
                    .col(integer("seq"))
                    .col(string_len("kind", 32))
                    .col(string_len("entity", 255))
                    .col(integer("min_reader"))
                    .col(big_integer("at"))
                    .col(text("payload"))
                    .primary_key(Index::create().col("shard").col("rev").col("seq"))
                    .to_owned(),
            )
            .await?;
        tables
            .create_table(
                Table::create()
                    .table("audit_event")
                    .col(big_integer("revision").primary_key())
                    .col(string_len("kind", 64))
                    .col(string_len("tenant_id", 63).null())
                    .col(string_len("actor", 255))
                    .col(string_len("credential_id", 64))
                    .col(string_len("subject", 255))
                    .col(big_integer("time"))
                    .col(string_len("request_id", 128))
                    .col(string_len("source_ip", 64))
                    .col(text("detail"))
                    .col(binary_len("changes_hash", 32))
                    .col(binary_len("chain", 32))
                    .to_owned(),
            )
            .await?;
        tables
            .create_index(
                Index::create()
                    .name("audit_event_by_tenant")
                    .table("audit_event")
                    .col("tenant_id")
                    .col("revision")
                    .to_owned(),
            )
            .await?;
        tables
            .create_table(
                Table::create()
                    .table("replay")
                    .col(string_len("actor", 255))
                    .col(string_len("request_id", 36))
                    .col(string_len("method", 64))
                    .col(binary_len("body_hash", 32))
                    .col(string_len("subject", 255))
                    .col(big_integer("revision"))
                    .col(big_integer("time"))
                    .primary_key(Index::create().col("actor").col("request_id"))
                    .to_owned(),
            )
            .await?;
        tables.create_index(Index::create().name("replay_by_time").table("replay").col("time").to_owned()).await?;
        tables
            .create_table(
                Table::create()
                    .table("root_secret")
                    .col(binary_len("digest", 32).primary_key())
                    .col(big_integer("ordinal"))
                    .col(string_len("credential_id", 64))
                    .col(string_len("hint", 128))
                    .col(big_integer("create_time"))
                    .col(big_integer_null("retire_time"))
                    .col(boolean("is_retired"))
                    .col(big_integer("revision"))
                    .to_owned(),
            )
            .await
    }
}
