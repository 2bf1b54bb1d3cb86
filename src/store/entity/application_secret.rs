//! A version of an application's secret: its digest, never its text. `ordinal` is the revision that made it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "application_secret")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub digest: Vec<u8>,
    pub tenant_id: String,
    pub application_id: String,
    pub ordinal: i64,
    pub credential_id: String,
    pub hint: String,
    pub create_time: i64,
    pub retire_time: Option<i64>,
    pub is_retired: bool,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
