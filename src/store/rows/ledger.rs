//! Root's secrets and events.

use super::{digest, from_json, micros, retirement, secret_id, secret_id_column, tenant_id};
use crate::domain::change::Event;
use crate::domain::clock::Time;
use crate::domain::detail;
use crate::domain::key::Secret;
use crate::error::Error;
use crate::store::entity::{audit_event, root_secret};
use sea_orm::ActiveValue::Set;

pub(in crate::store) fn root_secret_row(secret: &Secret, revision: i64) -> root_secret::ActiveModel {
    root_secret::ActiveModel {
        digest: Set(secret.digest.as_bytes().to_vec()),
        ordinal: Set(secret.revision),
        credential_id: Set(secret_id_column(secret)),
        hint: Set(secret.hint.clone()),
        create_time: Set(secret.create_time.micros()),
        retire_time: Set(micros(secret.retirement.map(|retirement| retirement.time))),
        is_retired: Set(secret.retirement.is_some_and(|retirement| retirement.is_over)),
        revision: Set(revision),
    }
}

pub(in crate::store) fn root_secret(row: root_secret::Model) -> Result<Secret, Error> {
    Ok(Secret {
        digest: digest(row.digest)?,
        id: secret_id(&row.credential_id)?,
        hint: row.hint,
        revision: row.ordinal,
        create_time: Time::from_micros(row.create_time),
        retirement: retirement(row.retire_time, row.is_retired),
    })
}

/// The row of an event, its chain not yet computed.
pub(in crate::store) fn event_row(event: Event, changes_hash: [u8; 32]) -> Result<audit_event::Model, Error> {
    let Event { revision, kind, tenant, actor, credential_id, subject, time, request_id, source_ip, detail, chain } =
        event;
    Ok(audit_event::Model {
        revision,
        kind,
        tenant_id: tenant.map(|tenant| tenant.as_str().to_owned()),
        actor,
        credential_id,
        subject,
        time: time.micros(),
        request_id,
        source_ip,
        detail: detail::text(detail).map_err(Error::internal)?,
        changes_hash: changes_hash.to_vec(),
        chain,
    })
}

pub(in crate::store) fn event(row: audit_event::Model) -> Result<Event, Error> {
    Ok(Event {
        revision: row.revision,
        kind: row.kind,
        tenant: row.tenant_id.as_deref().map(tenant_id).transpose()?,
        actor: row.actor,
        credential_id: row.credential_id,
        subject: row.subject,
        time: Time::from_micros(row.time),
        request_id: row.request_id,
        source_ip: row.source_ip,
        detail: from_json(&row.detail)?,
        chain: row.chain,
    })
}
