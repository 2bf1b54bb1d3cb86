//! Reading the audit log: pages of it, and going along with it.

mod expire;
mod tail;
mod watch;

use super::Desk;
use super::page::Part;
use crate::domain::change::Event;
use crate::domain::filter::{FieldValue, Filter};
use crate::domain::name::TenantId;
use crate::error::{Error, Result};
use crate::store::{Page, Store};
pub use expire::expire;
pub use watch::{Watch, Watches};

/// A page of the events of a tenant (of all, if `None`), oldest first.
pub async fn list(desk: &Desk, tenant: Option<&TenantId>, filter: &Filter, part: &Part) -> Result<Page<Event>> {
    check_tenant(desk, tenant).await?;
    let is_wanted = |event: &Event| {
        filter.matches(|field| match field {
            "kind" => Some(FieldValue::Text(&event.kind)),
            "actor" => Some(FieldValue::Text(&event.actor)),
            "subject" => Some(FieldValue::Text(&event.subject)),
            "request_id" => Some(FieldValue::Text(&event.request_id)),
            "revision" => Some(FieldValue::Number(event.revision)),
            "time" => Some(FieldValue::Time(event.time.micros())),
            _ => None,
        })
    };
    desk.store.events(tenant, &part.after, filter.range("revision"), part.size, is_wanted).await
}

async fn check_tenant(desk: &Desk, tenant: Option<&TenantId>) -> Result<()> {
    match tenant {
        Some(tenant) if desk.store.tenant(tenant).await?.is_none() => Err(Error::not_found(tenant.name())),
        Some(_) | None => Ok(()),
    }
}

/// Refuses whoever wants what retention has removed: it would otherwise be left out in silence.
async fn check_kept(store: &Store, after: i64) -> Result<()> {
    let last = store.event_checkpoint().await?.revision;
    if after < last { Err(Error::Removed { last }) } else { Ok(()) }
}
