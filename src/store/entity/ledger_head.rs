//! The head of the change log: one row, locked first by every mutation.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "ledger_head")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub shard: i32,
    pub rev: i64,
    pub chain: Vec<u8>,
    pub floor_rev: i64,
    pub cluster_id: String,
    pub page_token_key: Vec<u8>,
    /// None until the first server has joined.
    pub lease_ms: Option<i64>,
    /// Up to here is counted what each tenant has.
    pub counted_rev: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
