//! Keys that sign JWTs, and what the first start decides.

use super::tables::Tables;
use sea_orm_migration::prelude::*;
use sea_orm_migration::schema::{
    big_integer, big_integer_null, binary_len, boolean, integer, string_len, text, var_binary_null,
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
                    .table("signing_key")
                    .col(string_len("kid", 64).primary_key())
                    .col(binary_len("public_key", 32))
                    .col(var_binary_null("nonce", 16))
                    .col(var_binary_null("ciphertext", 255))
                    .col(big_integer("create_time"))
                    .col(big_integer("sign_time"))
                    .col(big_integer_null("retire_time"))
                    .col(boolean("is_compromised"))
                    .col(big_integer("revision"))
                    .col(integer("min_reader"))
                    .to_owned(),
            )
            .await?;
        tables
            .create_table(
                Table::create()
                    .table("setting")
                    .col(string_len("name", 64).primary_key())
                    .col(text("value"))
                    .to_owned(),
            )
            .await
    }
}
