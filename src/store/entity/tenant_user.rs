//! A user. `email_key` is the canonical email while the user is not deleted; unique in its tenant.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "tenant_user")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub uid: String,
    pub email: String,
    pub email_key: Option<Vec<u8>>,
    pub given_name: String,
    pub family_name: String,
    pub role: String,
    pub is_suspended: bool,
    pub sessions_end_revision: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub delete_time: Option<i64>,
    pub revision: i64,
    pub min_reader: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
