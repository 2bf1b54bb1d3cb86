//! Reading the audit log.

use super::Desk;
use super::page::Part;
use crate::domain::change::Event;
use crate::domain::filter::{FieldValue, Filter};
use crate::domain::name::TenantId;
use crate::error::{Error, Result};
use crate::store::Page;

/// A page of the events of a tenant (of all, if `None`), oldest first.
pub async fn list(desk: &Desk, tenant: Option<&TenantId>, filter: &Filter, part: &Part) -> Result<Page<Event>> {
    if let Some(tenant) = tenant
        && desk.store.tenant(tenant).await?.is_none()
    {
        return Err(Error::not_found(tenant.name()));
    }
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
    desk.store.events(tenant, &part.after, part.size, is_wanted).await
}
