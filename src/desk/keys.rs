//! Commands on keys.

mod read;

pub use read::{Usage, get, list, lookup, state_word, type_word, usage};

mod new;
mod patch;

pub use patch::KeyPatch;

use super::{Call, Changed, Desk, Edit, KeyName};
use crate::check::Caller;
use crate::domain::application::Application;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::{Credential, CredentialId, mint_secret_key};
use crate::domain::grant::Grant;
use crate::domain::key::{Key, KeyState, KeyType, MAX_SECRETS, Revocation, RevocationReason};
use crate::domain::name::{Collection, KeyId, Owner, TenantId};
use crate::domain::network::IpRanges;
use crate::domain::policy::Demand;
use crate::domain::referrer::Referrers;
use crate::domain::tenant::Standing;
use crate::error::{Error, Result};
use crate::store::Replay;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// Where a key is made or keys are listed: a tenant, or one owner in it.
#[derive(Clone, Debug)]
pub struct KeyParent {
    /// The tenant.
    pub tenant: TenantId,
    /// The owner, if the parent names one.
    pub owner: Option<Owner>,
}

/// What `CreateKey` asks for.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Where.
    pub parent: KeyParent,
    /// The id wanted; made if `None`.
    pub id: Option<KeyId>,
    /// For people.
    pub display_name: String,
    /// For people.
    pub description: String,
    /// What it may do.
    pub grants: Vec<Grant>,
    /// Where from.
    pub allowed_ips: IpRanges,
    /// On which pages.
    pub allowed_referrers: Referrers,
    /// Free.
    pub labels: BTreeMap<String, String>,
    /// From when on.
    pub not_before_time: Option<Time>,
    /// Until when.
    pub expire_time: Option<Time>,
    /// How to recognise the same request.
    pub replay: Option<Replay>,
}

/// A key with a text that is shown once; `None` where it was shown before.
#[derive(Debug)]
pub struct Issued {
    /// The key.
    pub key: Key,
    /// The text.
    pub credential: Option<Credential>,
    /// The revision that made it.
    pub revision: i64,
}

/// Makes a regular key.
pub async fn create(desk: Desk, caller: Caller, call: Call, new: NewKey) -> Result<Issued> {
    let edit = desk.edit_with(&caller, call, new.wants(&caller)).await?;
    // A replay is answered whatever has become of the parent since.
    if let Some((subject, revision)) = edit.replayed(new.replay.as_ref()).await? {
        return replayed(edit, &subject, revision).await;
    }
    let tenant = edit.live_tenant(&new.parent.tenant).await?;
    let owner = owner_of_new(&edit, &new.parent).await?;
    let (credential, secret) = edit.draft.mint(&tenant.credential_prefix);
    let replay = new.replay.clone();
    let is_chosen = new.id.is_some();
    let key = new.into_key(owner, secret, &edit);
    let whose = edit.whose_key(&key).await?;
    edit.demand(&Demand { collection: Collection::Keys, id: "*", action: "create", whose })?;
    edit.confer_key(&key).await?;
    refuse_beyond_application(&edit, &key).await?;
    // An id that was made for it is nobody else's.
    if is_chosen && edit.draft.key(&key.tenant, &key.id).await?.is_some() {
        return Err(Error::AlreadyExists { field: "key_id", value: key.id.to_string() });
    }
    refuse_taken_name(&edit, &key).await?;
    let detail = json!({ "after": describe(&key) });
    let (tenant_id, subject) = (key.tenant.clone(), key.name());
    let changes = vec![Change::Key(Box::new(key.clone()))];
    let revision = edit.commit("key.create", Some(&tenant_id), subject, changes, detail, replay).await?;
    Ok(Issued { key: Key { revision, ..key }, credential: Some(credential), revision })
}

/// Whose a new key is: the one the parent names; for a tenant the caller's own, and for root the tenant's owner.
pub(super) async fn owner_of_new(edit: &Edit<'_>, parent: &KeyParent) -> Result<Owner> {
    let owner = match (&parent.owner, edit.actor.owner()) {
        (Some(owner), _) => owner.clone(),
        (None, Some(own)) => own,
        (None, None) => {
            let owner = edit.draft.tenant_owner(&parent.tenant).await?;
            let owner = owner.ok_or_else(|| Error::precondition(parent.tenant.name(), "has no owner left"))?;
            Owner::User(owner.id)
        }
    };
    let name = owner.name(&parent.tenant);
    match edit.draft.owner_state(&parent.tenant, Some(&owner)).await? {
        None => Err(Error::not_found(name)),
        Some(state) if state.standing == Standing::Deleted => Err(Error::precondition(name, "is deleted")),
        Some(_) => {
            refuse_deleted_application(edit, &parent.tenant, &owner).await?;
            Ok(owner)
        }
    }
}

async fn refuse_deleted_application(edit: &Edit<'_>, tenant: &TenantId, owner: &Owner) -> Result<()> {
    let Owner::Application(id) = owner else { return Ok(()) };
    match edit.draft.application(tenant, id).await? {
        Some(application) if application.delete_time.is_none() => Ok(()),
        Some(_) => Err(Error::precondition(owner.name(tenant), "is deleted")),
        None => Err(Error::not_found(owner.name(tenant))),
    }
}

/// A key of an application holds at most what that holds.
async fn refuse_beyond_application(edit: &Edit<'_>, key: &Key) -> Result<()> {
    let Some(Owner::Application(id)) = &key.owner else { return Ok(()) };
    let application = edit.draft.application(&key.tenant, id).await?;
    match beyond_application(application.as_ref(), key) {
        Some((missing, name)) => {
            Err(Error::Forbidden { missing: format!("{missing}, which {name} does not hold itself") })
        }
        None => Ok(()),
    }
}

/// What a key of an application would hold that the application does not hold itself, and the name of that.
pub(super) fn beyond_application(application: Option<&Application>, key: &Key) -> Option<(String, String)> {
    let application = application?;
    let (resource, action) = application.lacks(&key.grants)?;
    Some((format!("{action} on {resource}"), application.name()))
}

async fn refuse_taken_name(edit: &Edit<'_>, key: &Key) -> Result<()> {
    if edit.draft.is_display_name_taken(key).await? {
        return Err(Error::AlreadyExists { field: "key.display_name", value: key.display_name.clone() });
    }
    Ok(())
}

/// The answer to a request that was carried out before: the same resource and revision, without the secret.
async fn replayed(edit: Edit<'_>, subject: &str, revision: i64) -> Result<Issued> {
    let path = crate::domain::name::Path::find(subject);
    let place = path.and_then(|path| Some((TenantId::find(path.tenant)?, KeyId::find(path.child?.1)?)));
    let (tenant, id) = place.ok_or_else(|| Error::internal("a replay's subject is no key"))?;
    let key = edit.draft.key(&tenant, &id).await?.ok_or_else(|| Error::not_found(subject))?;
    let seen = edit.nothing(key).await?;
    Ok(Issued { key: seen.thing, credential: None, revision })
}

/// Changes a key.
pub async fn update(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: KeyName,
    patch: KeyPatch,
    etag: String,
) -> Result<Changed<Key>> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    let mut key = edit.key(&name, "update", &etag).await?;
    refuse_terminal(&key)?;
    let before = key.clone();
    refuse_protected(&key, &patch)?;
    if patch.says_what_it_may() {
        edit.draft.promise();
    }
    let KeyPatch {
        display_name,
        description,
        grants,
        allowed_ips,
        allowed_referrers,
        labels,
        not_before_time,
        expire_time,
    } = patch;
    key.display_name = display_name.unwrap_or(key.display_name);
    key.description = description.unwrap_or(key.description);
    key.grants = grants.unwrap_or(key.grants);
    key.allowed_ips = allowed_ips.unwrap_or(key.allowed_ips);
    key.allowed_referrers = allowed_referrers.unwrap_or(key.allowed_referrers);
    key.labels = labels.unwrap_or(key.labels);
    key.not_before_time = not_before_time.unwrap_or(key.not_before_time);
    if let Some(wanted) = expire_time {
        key.expire_time = wanted.or_else(|| edit.actor.default_expire_time());
    }
    if let (Some(begin), Some(end)) = (key.not_before_time, key.expire_time)
        && begin >= end
    {
        return Err(Error::invalid("key.not_before_time", "must be before key.expire_time"));
    }
    edit.confer_key(&key).await?;
    if key == before {
        return edit.nothing(key).await;
    }
    if key.grants != before.grants {
        refuse_beyond_application(&edit, &key).await?;
    }
    refuse_taken_name(&edit, &key).await?;
    let detail = json!({ "before": describe(&before), "after": describe(&key) });
    edit.commit_key("key.update", key, detail).await
}

fn refuse_terminal(key: &Key) -> Result<()> {
    if key.delete_time.is_some() {
        Err(Error::precondition(key.name(), "is deleted"))
    } else if key.revocation.is_some() {
        Err(Error::precondition(key.name(), "is revoked, and revocation is final"))
    } else {
        Ok(())
    }
}

fn refuse_expired(key: &Key, now: Time) -> Result<()> {
    match key.state(now) {
        KeyState::Expired => Err(Error::precondition(key.name(), "is expired; give it a later expire_time first")),
        _ => Ok(()),
    }
}

/// A master key's life and rights are its user's, and the default public key lives as long as its tenant.
fn refuse_protected(key: &Key, patch: &KeyPatch) -> Result<()> {
    let changes_life = patch.not_before_time.flatten().is_some() || patch.expire_time.flatten().is_some();
    let changes_grants = patch.grants.as_ref().is_some_and(|grants| *grants != key.grants);
    match key.kind {
        KeyType::Regular => Ok(()),
        KeyType::Master if changes_grants => {
            Err(Error::precondition(key.name(), "is a master key, which holds what its user holds and takes no grants"))
        }
        KeyType::Master | KeyType::DefaultPublic if changes_life => {
            Err(Error::precondition(key.name(), "is protected and lives as long as whom it stands for"))
        }
        KeyType::Master | KeyType::DefaultPublic => Ok(()),
    }
}

fn refuse_unless_regular(key: &Key, what: &str) -> Result<()> {
    match key.kind {
        KeyType::Regular => Ok(()),
        KeyType::Master => {
            Err(Error::precondition(key.name(), format!("is a master key, which cannot be {what}; rotate it instead")))
        }
        KeyType::DefaultPublic => {
            Err(Error::precondition(key.name(), format!("is the default public key, which cannot be {what}")))
        }
    }
}

/// Gives a key a new secret; the old ones end after `overlap`.
pub async fn rotate(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: KeyName,
    overlap: Duration,
    etag: String,
    replay: Option<Replay>,
) -> Result<Issued> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    // The etag comes after the replay: the first attempt has changed it.
    let key = edit.key(&name, "rotate", "").await?;
    if let Some((subject, revision)) = edit.replayed(replay.as_ref()).await? {
        return replayed(edit, &subject, revision).await;
    }
    super::check_etag(&etag, key.uid, key.revision, &key.name())?;
    rotate_to_new_secret(edit, key, overlap, "key.rotate", replay).await
}

/// The common part of rotating a key by its own name and by its user's.
pub(super) async fn rotate_to_new_secret(
    edit: Edit<'_>,
    mut key: Key,
    overlap: Duration,
    kind: &'static str,
    replay: Option<Replay>,
) -> Result<Issued> {
    refuse_terminal(&key)?;
    refuse_expired(&key, edit.now())?;
    if key.kind == KeyType::DefaultPublic {
        return Err(Error::precondition(key.name(), "is the default public key, which cannot be rotated"));
    }
    if key.live_secret_count(edit.now()) >= MAX_SECRETS && !overlap.is_zero() {
        let limit = format!("{MAX_SECRETS} secrets of one key that work at once; finish the rotation first");
        return Err(Error::Exhausted { limit, retry_after: None });
    }
    edit.confer_key(&key).await?;
    let tenant = edit.live_tenant(&key.tenant).await?;
    let now = edit.now();
    let retire_time = now.after(overlap);
    let retire_time = key.expire_time.map_or(retire_time, |expire_time| retire_time.min(expire_time));
    let before = describe(&key);
    let (credential, secret) = edit.draft.mint(&tenant.credential_prefix);
    key.rotate(secret, retire_time, now);
    key.update_time = now;
    let detail = json!({ "before": before, "after": describe(&key), "overlap_seconds": overlap.as_secs_f64() });
    let (tenant_id, subject) = (key.tenant.clone(), key.name());
    let changes = vec![Change::Key(Box::new(key.clone()))];
    let revision = edit.commit(kind, Some(&tenant_id), subject, changes, detail, replay).await?;
    Ok(Issued { key: Key { revision, ..key }, credential: Some(credential), revision })
}

/// Ends the overlap of a rotation: only the newest secret still counts.
pub async fn finish_rotation(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: KeyName,
    etag: String,
) -> Result<Changed<Key>> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    let mut key = edit.key(&name, "finish", &etag).await?;
    refuse_terminal(&key)?;
    if key.kind == KeyType::DefaultPublic {
        return Err(Error::precondition(key.name(), "is the default public key, which has no rotation to finish"));
    }
    let now = edit.now();
    let is_over = key.overlap_end_time(now).is_none();
    if is_over {
        return edit.nothing(key).await;
    }
    let before = describe(&key);
    key.finish_rotation(now);
    let detail = json!({ "before": before, "after": describe(&key) });
    edit.commit_key("key.finish_rotation", key, detail).await
}

/// Gives a key a new second secret, which every Check then demands.
pub async fn generate_secret_key(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: KeyName,
    etag: String,
) -> Result<(Changed<Key>, Credential)> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    let mut key = edit.key(&name, "generate", &etag).await?;
    refuse_terminal(&key)?;
    refuse_expired(&key, edit.now())?;
    if key.kind == KeyType::DefaultPublic {
        return Err(Error::precondition(key.name(), "is the default public key, which can have no second secret"));
    }
    edit.confer_key(&key).await?;
    let before = describe(&key);
    let secret_key = mint_secret_key(&mut rand::rng());
    key.secret_key = Some(secret_key.digest());
    // Tokens made without the new one do not outlive it.
    key.tokens_end_revision = edit.draft.revision();
    let detail = json!({ "before": before, "after": describe(&key) });
    Ok((edit.commit_key("key.generate_secret_key", key, detail).await?, secret_key))
}

/// Refuses a key until it is activated.
pub async fn suspend(desk: Desk, caller: Caller, call: Call, name: KeyName, etag: String) -> Result<Changed<Key>> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    let mut key = edit.key(&name, "suspend", &etag).await?;
    refuse_unless_regular(&key, "suspended")?;
    refuse_terminal(&key)?;
    if key.is_suspended {
        return edit.nothing(key).await;
    }
    key.is_suspended = true;
    edit.commit_key(
        "key.suspend",
        key,
        json!({ "before": { "is_suspended": false }, "after": { "is_suspended": true } }),
    )
    .await
}

/// Lets a suspended key count again.
pub async fn activate(desk: Desk, caller: Caller, call: Call, name: KeyName, etag: String) -> Result<Changed<Key>> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    let mut key = edit.key(&name, "activate", &etag).await?;
    refuse_terminal(&key)?;
    edit.confer_key(&key).await?;
    if !key.is_suspended {
        return edit.nothing(key).await;
    }
    key.is_suspended = false;
    edit.commit_key(
        "key.activate",
        key,
        json!({ "before": { "is_suspended": true }, "after": { "is_suspended": false } }),
    )
    .await
}

/// Ends a key for good.
pub async fn revoke(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: KeyName,
    reason: RevocationReason,
    etag: String,
) -> Result<Changed<Key>> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    let mut key = edit.key(&name, "revoke", &etag).await?;
    refuse_unless_regular(&key, "revoked")?;
    if key.revocation.is_some() {
        return edit.nothing(key).await;
    }
    // A deleted key too: it stays deleted, and undeleting it brings back a revoked one.
    let before = describe(&key);
    key.revocation = Some(Revocation { time: edit.now(), reason });
    let detail = json!({ "before": before, "after": describe(&key), "reason": reason.as_str() });
    edit.commit_key("key.revoke", key, detail).await
}

/// Deletes a key; it can be undeleted for 30 days.
pub async fn delete(desk: Desk, caller: Caller, call: Call, name: KeyName, etag: String) -> Result<Changed<Key>> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    let mut key = edit.key(&name, "delete", &etag).await?;
    refuse_unless_regular(&key, "deleted")?;
    if key.delete_time.is_some() {
        return edit.nothing(key).await;
    }
    let before = describe(&key);
    key.delete_time = Some(edit.now());
    // Undeleting brings back the key, not its tokens.
    key.tokens_end_revision = edit.draft.revision();
    let detail = json!({ "before": before, "after": describe(&key) });
    edit.commit_key("key.delete", key, detail).await
}

/// Brings a deleted key back in the state it had.
pub async fn undelete(desk: Desk, caller: Caller, call: Call, name: KeyName, etag: String) -> Result<Changed<Key>> {
    let edit = desk.edit_key(&caller, call, &name).await?;
    let mut key = edit.key(&name, "undelete", &etag).await?;
    let before = describe(&key);
    if key.delete_time.take().is_none() {
        return Err(Error::precondition(key.name(), "is not deleted"));
    }
    let owner = edit.draft.owner_state(&key.tenant, key.owner.as_ref()).await?;
    if owner.is_some_and(|owner| owner.standing == Standing::Deleted) {
        return Err(Error::precondition(key.name(), "belongs to an owner who is deleted"));
    }
    if let Some(owner) = &key.owner {
        refuse_deleted_application(&edit, &key.tenant, owner).await?;
    }
    edit.confer_key(&key).await?;
    refuse_taken_name(&edit, &key).await?;
    let detail = json!({ "before": before, "after": describe(&key) });
    edit.commit_key("key.undelete", key, detail).await
}

/// A key as events tell of it: everything but secrets and digests.
pub(super) fn describe(key: &Key) -> serde_json::Value {
    json!({
        "type": type_word(key.kind),
        "owner": key.owner.as_ref().map(|owner| owner.name(&key.tenant)),
        "display_name": key.display_name,
        "description": key.description,
        "grants": key.grants,
        "allowed_ips": key.allowed_ips,
        "allowed_referrers": key.allowed_referrers,
        "labels": key.labels,
        "not_before_micros": key.not_before_time,
        "expire_micros": key.expire_time,
        "is_suspended": key.is_suspended,
        "is_revoked": key.revocation.is_some(),
        "is_deleted": key.delete_time.is_some(),
        "has_secret_key": key.secret_key.is_some(),
        "credential_ids": key.secrets.iter().map(|secret| secret.id.as_ref().map(CredentialId::as_str)).collect::<Vec<_>>(),
    })
}
