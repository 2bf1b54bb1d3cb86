//! A session. `digest` is unique.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "user_session")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub uid: String,
    pub user_id: String,
    pub digest: Vec<u8>,
    pub credential_id: String,
    pub based_revision: i64,
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
