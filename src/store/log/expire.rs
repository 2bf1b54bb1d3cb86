//! What retention has removed of the audit log: a checkpoint stands before the first event that is kept, and an event says
//! which one, so that the rest can be proved.

use super::chain;
use crate::domain::change::Head;
use crate::domain::clock::Time;
use crate::error::{Error, Result};
use crate::store::draft::Draft;
use crate::store::entity::{audit_event, setting};
use crate::store::failure::sort;
use crate::store::open::Store;
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// The setting of the checkpoint: `REVISION:CHAIN`.
const CHECKPOINT: &str = "event_checkpoint";

/// The kind of the event that says what was removed.
pub const KIND: &str = "event.expire";

/// How many events are looked at, at most, for how many of them may go.
const SPAN: i64 = 100_000;

/// How many revisions are deleted at a time.
const STRIDE: i64 = 1000;

/// What stands before the first event that is kept.
pub(in crate::store) async fn checkpoint(db: &impl ConnectionTrait) -> Result<Head> {
    let row = setting::Entity::find_by_id(CHECKPOINT).one(db).await.map_err(sort)?;
    match row {
        None => Ok(Head { revision: 0, chain: chain::GENESIS.to_vec() }),
        Some(row) => row.value.parse().map_err(|()| Error::internal("the checkpoint of the audit log makes no sense")),
    }
}

/// Whether an event says that retention has removed what is up to `start`.
pub(super) fn explains(event: &audit_event::Model, start: &Head) -> bool {
    event.kind == KIND && event.detail.contains(&format!("\"{start}\""))
}

impl Store {
    /// What stands before the first event that is kept: the beginning, unless retention has removed some.
    pub async fn event_checkpoint(&self) -> Result<Head> {
        checkpoint(&self.reader).await
    }

    /// The last event that may be removed with all before it: none of them, nor the one after it, is younger than `cutoff`, so
    /// that nobody who has followed the ledger within that time needs it. None if there is no such after the checkpoint.
    /// Where there are many it is not the very last.
    pub async fn last_event_before(&self, cutoff: Time) -> Result<Option<Head>> {
        let start = self.event_checkpoint().await?.revision;
        let is_old = async |revision: i64| -> Result<bool> {
            let event = audit_event::Entity::find_by_id(revision).one(&self.reader).await.map_err(sort)?;
            Ok(event.is_some_and(|event| event.time <= cutoff.micros()))
        };
        let (mut old, mut young) =
            (start, self.head_revision().await?.min(start.saturating_add(SPAN)).saturating_add(1));
        while young.saturating_sub(old) > 1 {
            let middle = old.midpoint(young);
            if is_old(middle).await? { old = middle } else { young = middle }
        }
        // Times are in the order of revisions only as far as clocks agree: one of these may come from a clock that was slow.
        let first_young: Option<i64> = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::Revision)
            .filter(audit_event::Column::Revision.gt(start))
            .filter(audit_event::Column::Revision.lte(old))
            .filter(audit_event::Column::Time.gt(cutoff.micros()))
            .order_by_asc(audit_event::Column::Revision)
            .limit(1)
            .into_tuple()
            .one(&self.reader)
            .await
            .map_err(sort)?;
        let old = first_young.map_or(old, |young| young.saturating_sub(1));
        let last = old.saturating_sub(1);
        if last <= start {
            return Ok(None);
        }
        let event = audit_event::Entity::find_by_id(last).one(&self.reader).await.map_err(sort)?;
        Ok(event.map(|event| Head { revision: event.revision, chain: event.chain }))
    }

    /// Deletes some of the events up to the checkpoint; whether there may be more.
    pub async fn delete_expired_events(&self) -> Result<bool> {
        let last = self.event_checkpoint().await?.revision;
        let first: Option<i64> = audit_event::Entity::find()
            .select_only()
            .column(audit_event::Column::Revision)
            .order_by_asc(audit_event::Column::Revision)
            .limit(1)
            .into_tuple()
            .one(&self.reader)
            .await
            .map_err(sort)?;
        let Some(first) = first.filter(|first| *first <= last) else { return Ok(false) };
        audit_event::Entity::delete_many()
            .filter(audit_event::Column::Revision.lte(first.saturating_add(STRIDE).min(last)))
            .exec(&self.writer)
            .await
            .map_err(sort)?;
        Ok(true)
    }
}

impl Draft {
    /// Has the audit log begin after `head`, unless it does so already, or later.
    pub async fn set_event_checkpoint(&self, head: &Head) -> Result<bool> {
        let transaction = self.writing().await?;
        if checkpoint(transaction).await?.revision >= head.revision {
            return Ok(false);
        }
        let row = setting::ActiveModel { name: Set(CHECKPOINT.to_owned()), value: Set(head.to_string()) };
        let conflict = OnConflict::column(setting::Column::Name).update_column(setting::Column::Value).to_owned();
        setting::Entity::insert(row).on_conflict(conflict).exec_without_returning(transaction).await.map_err(sort)?;
        Ok(true)
    }
}
