//! An application. Of the mailed token there is a digest, never the text.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "application")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub tenant_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub uid: String,
    pub owner_id: String,
    pub display_name: String,
    pub description: String,
    pub contact_email: String,
    pub grants: String,
    pub is_verified: bool,
    pub verification_digest: Option<Vec<u8>>,
    pub verification_expire_time: Option<i64>,
    pub revoke_time: Option<i64>,
    pub tokens_end_revision: i64,
    pub create_time: i64,
    pub update_time: i64,
    pub delete_time: Option<i64>,
    pub revision: i64,
    pub min_reader: i32,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
