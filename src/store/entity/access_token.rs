//! An access token; a JWT only once it is revoked. `digest` is unique, and null for a JWT.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "access_token")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub uid: String,
    pub parent_kind: String,
    pub parent_id: String,
    pub secret_version: i64,
    pub based_revision: i64,
    pub permissions: Option<String>,
    pub audience: String,
    pub format: String,
    pub digest: Option<Vec<u8>>,
    pub credential_id: Option<String>,
    pub create_time: i64,
    pub update_time: i64,
    pub expire_time: i64,
    pub revoke_time: Option<i64>,
    pub revision: i64,
    pub min_reader: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
