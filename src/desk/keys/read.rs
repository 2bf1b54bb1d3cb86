//! Keys as they are shown: one, a page, and the one that a text belongs to.

use super::KeyParent;
use crate::desk::page::Part;
use crate::desk::{Desk, KeyName, check_etag};
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::filter::{FieldValue, Filter};
use crate::domain::key::{Key, KeyState, KeyType, RETENTION, Secret};
use crate::domain::name::Owner;
use crate::domain::usage::{Count, Span};
use crate::error::{Error, Result};
use crate::store::{KeyQuery, Page};

/// One key, with when it was last used.
pub async fn get(desk: &Desk, name: &KeyName, etag: &str) -> Result<(Key, Option<Time>)> {
    let found = desk.store.key(&name.tenant, &name.id).await?;
    let now = desk.clock.now();
    let (key, last_auth_time) =
        found.filter(|(key, _)| !key.is_forgotten(now)).ok_or_else(|| Error::not_found(name))?;
    check_etag(etag, key.uid, key.revision, &key.name())?;
    Ok((key, last_auth_time))
}

/// How much a key is used.
#[derive(Debug)]
pub struct Usage {
    /// The hours asked about.
    pub span: Span,
    /// Those of them in which it was checked, each with when it begins.
    pub hours: Vec<(Time, Count)>,
    /// When it was last used, then or not.
    pub last_auth_time: Option<Time>,
}

/// How much a key was used in a span of time, as far as it is written down.
pub async fn usage(desk: &Desk, name: &KeyName, etag: &str, span: Span) -> Result<Usage> {
    let (key, last_auth_time) = get(desk, name, etag).await?;
    let hours = desk.store.key_usage(&key.tenant, &key.id, span).await?;
    Ok(Usage { span, hours, last_auth_time })
}

/// A page of keys.
pub async fn list(
    desk: &Desk,
    parent: &KeyParent,
    filter: &Filter,
    show_deleted: bool,
    part: &Part,
) -> Result<Page<(Key, Option<Time>)>> {
    if desk.store.tenant(&parent.tenant).await?.is_none() {
        return Err(Error::not_found(parent.tenant.name()));
    }
    if let Some(owner) = &parent.owner {
        let known = match owner {
            Owner::User(user) => desk.store.user(&parent.tenant, user).await?.is_some(),
            Owner::Application(application) => desk.store.application(&parent.tenant, application).await?.is_some(),
        };
        if !known {
            return Err(Error::not_found(owner.name(&parent.tenant)));
        }
    }
    let query = KeyQuery {
        tenant: parent.tenant.clone(),
        owner: parent.owner.clone(),
        after: part.after.clone(),
        show_deleted,
        limit: part.size,
    };
    let now = desk.clock.now();
    desk.store.keys(&query, now, |key, last_auth_time| is_wanted(filter, key, last_auth_time, now)).await
}

fn is_wanted(filter: &Filter, key: &Key, last_auth_time: Option<Time>, now: Time) -> bool {
    let owner = key.owner.as_ref().map(|owner| owner.name(&key.tenant));
    let time = |time: Option<Time>| time.map(|time| FieldValue::Time(time.micros()));
    filter.matches(|field| match field {
        "type" => Some(FieldValue::Text(type_word(key.kind))),
        "state" => Some(FieldValue::Text(state_word(key.state(now)))),
        "display_name" => Some(FieldValue::Text(&key.display_name)),
        "owner" => owner.as_deref().map(FieldValue::Text),
        "create_time" => time(Some(key.create_time)),
        "update_time" => time(Some(key.update_time)),
        "expire_time" => time(key.expire_time),
        "not_before_time" => time(key.not_before_time),
        // A key that was never used is among those that were not used for long.
        "last_auth_time" => time(last_auth_time).or(Some(FieldValue::Never)),
        "delete_time" => time(key.delete_time),
        "revoke_time" => time(key.revocation.map(|revocation| revocation.time)),
        _ => field.strip_prefix("labels.").and_then(|name| key.labels.get(name)).map(|value| FieldValue::Text(value)),
    })
}

/// The word for a type in filters.
pub const fn type_word(kind: KeyType) -> &'static str {
    match kind {
        KeyType::Master => "KEY_TYPE_MASTER",
        KeyType::Regular => "KEY_TYPE_REGULAR",
        KeyType::DefaultPublic => "KEY_TYPE_DEFAULT_PUBLIC",
    }
}

/// The word for a state in filters.
pub const fn state_word(state: KeyState) -> &'static str {
    match state {
        KeyState::Active => "KEY_STATE_ACTIVE",
        KeyState::Suspended => "KEY_STATE_SUSPENDED",
        KeyState::Revoked => "KEY_STATE_REVOKED",
        KeyState::Expired => "KEY_STATE_EXPIRED",
        KeyState::Deleted => "KEY_STATE_DELETED",
    }
}

/// The key that has, or had, this credential, whether or not the caller may see it.
pub async fn lookup(desk: &Desk, credential: &str) -> Result<Option<(Key, Option<Time>)>> {
    let now = desk.clock.now();
    let digest = Digest::of(credential.as_bytes());
    let found = desk.store.key_of_digest(&digest).await?;
    let is_forgotten =
        |secret: &Secret| secret.retirement.is_some_and(|retirement| retirement.time.after(RETENTION) <= now);
    let is_known = |key: &Key| key.secrets.iter().any(|secret| secret.digest == digest && !is_forgotten(secret));
    Ok(found.filter(|(key, _)| !key.is_forgotten(now) && is_known(key)))
}
