//! What a revision did, by whom; with the hash of its changes and the chain after it.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_event")]
pub(in crate::store) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub revision: i64,
    pub kind: String,
    pub tenant_id: Option<String>,
    pub actor: String,
    pub credential_id: String,
    pub subject: String,
    pub time: i64,
    pub request_id: String,
    pub source_ip: String,
    pub detail: String,
    pub changes_hash: Vec<u8>,
    pub chain: Vec<u8>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(in crate::store) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
