//! A key. `name_key` is the digest of owner and display name while these must be unique.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_key")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub uid: String,
    pub kind: String,
    pub owner_kind: Option<String>,
    pub owner_id: Option<String>,
    pub display_name: String,
    pub name_key: Option<Vec<u8>>,
    pub description: String,
    pub grants: String,
    pub allowed_ips: String,
    pub allowed_referrers: String,
    pub labels: String,
    pub not_before_time: Option<i64>,
    pub expire_time: Option<i64>,
    pub is_suspended: bool,
    pub revoke_time: Option<i64>,
    pub revoke_reason: Option<String>,
    pub delete_time: Option<i64>,
    pub secret_key_digest: Option<Vec<u8>>,
    pub public_credential: Option<String>,
    pub tokens_end_revision: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub revision: i64,
    pub min_reader: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
