//! Retention of the audit log, where the operator wants one: events older than that are removed, and an event says so.

use crate::domain::change::Head;
use crate::domain::clock::Time;
use crate::error::Result;
use crate::store::{EXPIRE, Entry, Store};
use serde_json::json;
use std::time::Duration;

/// Events may be older than the retention by this much: whoever writes much would otherwise have an event for each few.
const SLACK: Duration = Duration::from_secs(24 * 60 * 60);

/// Says that what is older than `retention` is to be removed, if it is time; the last revision of that. Deleting it is for
/// [`Store::delete_expired_events`]. However many servers do so at once, one of them says it.
pub async fn expire(store: &Store, now: Time, retention: Duration) -> Result<Option<i64>> {
    let micros = |span: Duration| i64::try_from(span.as_micros()).unwrap_or(i64::MAX);
    let cutoff = Time::from_micros(now.micros().saturating_sub(micros(retention)));
    let due = Time::from_micros(cutoff.micros().saturating_sub(micros(SLACK)));
    if store.last_event_before(due).await?.is_none() {
        return Ok(None);
    }
    let Some(head) = store.last_event_before(cutoff).await? else { return Ok(None) };
    let draft = store.begin().await?;
    if !draft.set_event_checkpoint(&head).await? {
        return Ok(None);
    }
    let entry = Entry {
        kind: EXPIRE,
        tenant: None,
        actor: "server".to_owned(),
        credential_id: String::new(),
        subject: "events".to_owned(),
        request_id: String::new(),
        source_ip: String::new(),
        detail: json!({ "head": head.to_string(), "cutoff_micros": cutoff, "retention_seconds": retention.as_secs() }),
    };
    let Head { revision, chain: _ } = head;
    draft.commit(Vec::new(), entry, None).await?;
    Ok(Some(revision))
}
