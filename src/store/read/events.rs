//! Reading the audit log.

use super::{Filling, Page, STRIDE};
use crate::domain::change::Event;
use crate::domain::name::TenantId;
use crate::error::{Error, Result};
use crate::store::entity::audit_event;
use crate::store::failure::sort;
use crate::store::open::Store;
use crate::store::rows;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select};
use std::ops::RangeInclusive;

/// The events of a tenant (of all, if `None`) in a range of revisions, oldest first.
fn select(tenant: Option<&TenantId>, after: i64, last: i64) -> Select<audit_event::Entity> {
    let mut select = audit_event::Entity::find()
        .filter(audit_event::Column::Revision.gt(after))
        .order_by_asc(audit_event::Column::Revision);
    if last < i64::MAX {
        select = select.filter(audit_event::Column::Revision.lte(last));
    }
    if let Some(tenant) = tenant {
        select = select.filter(audit_event::Column::TenantId.eq(tenant.as_str()));
    }
    select
}

impl Store {
    /// A page of the events of a tenant (of all, if `None`) that `is_wanted` lets pass, oldest first; `after` is a
    /// revision, and none outside `revisions` is looked at.
    pub async fn events(
        &self,
        tenant: Option<&TenantId>,
        after: &str,
        revisions: RangeInclusive<i64>,
        limit: usize,
        is_wanted: impl Fn(&Event) -> bool,
    ) -> Result<Page<Event>> {
        let mut filling = Filling::new(limit, after);
        loop {
            let after: i64 =
                if filling.after.is_empty() { 0 } else { filling.after.parse().map_err(Error::internal)? };
            let select = select(tenant, after.max(revisions.start().saturating_sub(1)), *revisions.end());
            let found = select.limit(STRIDE).all(&self.reader).await.map_err(sort)?;
            let is_last = (found.len() as u64) < STRIDE;
            for row in found {
                if filling.is_full() {
                    return Ok(filling.full());
                }
                let weight = row.detail.len() + 512;
                let event = rows::event(row)?;
                filling.pass(event.revision.to_string(), weight, Some(event).filter(&is_wanted));
            }
            if is_last {
                return Ok(filling.last());
            }
        }
    }

    /// The events of a tenant (of all, if `None`) after one revision and up to another, oldest first and at most `limit`.
    pub async fn events_between(
        &self,
        tenant: Option<&TenantId>,
        after: i64,
        last: i64,
        limit: u64,
    ) -> Result<Vec<Event>> {
        let found = select(tenant, after, last).limit(limit).all(&self.reader).await.map_err(sort)?;
        found.into_iter().map(rows::event).collect()
    }
}
