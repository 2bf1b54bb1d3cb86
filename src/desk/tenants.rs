//! Commands on tenants.

use super::page::Part;
use super::users::{NewUser, hashed, user_of};
use super::{Call, Changed, Desk, Edit, check_etag, new_uid};
use crate::check::Caller;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::{Credential, Prefix};
use crate::domain::filter::{FieldValue, Filter};
use crate::domain::key::{Key, KeyType, Secret};
use crate::domain::name::{Collection, KeyId, Owner, TenantId};
use crate::domain::network::IpRanges;
use crate::domain::policy::Demand;
use crate::domain::referrer::Referrers;
use crate::domain::tenant::{Standing, Tenant};
use crate::domain::user::{Role, User};
use crate::error::{Error, Result};
use crate::store::{Page, Replay, RowDirectory};
use serde_json::json;
use std::collections::BTreeMap;

/// What `CreateTenant` asks for.
#[derive(Debug)]
pub struct NewTenant {
    /// The id wanted; made if `None`.
    pub id: Option<TenantId>,
    /// For people.
    pub display_name: String,
    /// What its credentials begin with.
    pub credential_prefix: Prefix,
    /// Its first user.
    pub owner: NewUser,
    /// How to recognise the same request.
    pub replay: Option<Replay>,
}

/// A new tenant with all that was made with it; the texts are `None` where they were shown before.
#[derive(Debug)]
pub struct Founded {
    /// The tenant.
    pub tenant: Tenant,
    /// Its first user.
    pub owner: User,
    /// The owner's master key.
    pub master_key: Key,
    /// Its text.
    pub master_credential: Option<Credential>,
    /// The tenant's default public key, which carries its text.
    pub default_public_key: Key,
    /// The revision that made them.
    pub revision: i64,
}

/// A key that is made with what it stands for.
pub(super) fn standing_key(
    tenant: &TenantId,
    kind: KeyType,
    owner: Option<Owner>,
    secret: Secret,
    public_credential: Option<String>,
    now: Time,
) -> Key {
    let uid = new_uid(now);
    Key {
        tenant: tenant.clone(),
        id: KeyId::of_uid(uid),
        uid,
        kind,
        owner,
        display_name: match kind {
            KeyType::Master => "Master".to_owned(),
            KeyType::DefaultPublic => "Default public".to_owned(),
            KeyType::Regular => String::new(),
        },
        description: String::new(),
        grants: Vec::new(),
        allowed_ips: IpRanges::default(),
        allowed_referrers: Referrers::default(),
        labels: BTreeMap::new(),
        not_before_time: None,
        expire_time: None,
        is_suspended: false,
        revocation: None,
        delete_time: None,
        secrets: vec![secret],
        secret_key: None,
        public_credential,
        tokens_end_revision: 0,
        create_time: now,
        update_time: now,
        revision: 0,
    }
}

/// Makes a tenant, its owner, the owner's master key and the default public key.
pub async fn create(desk: Desk, caller: Caller, call: Call, mut new: NewTenant) -> Result<Founded> {
    let hash = hashed(&desk, &caller, Role::Owner, new.owner.password.take()).await?;
    let edit = desk.edit(&caller, call).await?;
    let demand = Demand { collection: Collection::Tenants, id: "*", action: "create", whose: None };
    if !edit.actor.is_root() {
        return Err(Error::Forbidden { missing: demand.describe() });
    }
    if let Some((subject, revision)) = edit.replayed(new.replay.as_ref()).await? {
        return replayed(edit, &subject, revision).await;
    }
    let now = edit.now();
    let uid = new_uid(now);
    let tenant = Tenant {
        id: new.id.unwrap_or_else(|| TenantId::of_uid(uid)),
        uid,
        display_name: new.display_name,
        credential_prefix: new.credential_prefix,
        is_suspended: false,
        create_time: now,
        update_time: now,
        delete_time: None,
        revision: 0,
    };
    if edit.draft.tenant(&tenant.id).await?.is_some() {
        return Err(Error::AlreadyExists { field: "tenant_id", value: tenant.id.to_string() });
    }
    let owner = user_of(&tenant.id, NewUser { role: Role::Owner, ..new.owner }, now);
    let (master_credential, secret) = edit.draft.mint(&tenant.credential_prefix);
    let master_key = standing_key(&tenant.id, KeyType::Master, Some(Owner::User(owner.id.clone())), secret, None, now);
    let (public_credential, secret) = edit.draft.mint(&tenant.credential_prefix);
    let shown = Some(public_credential.expose().to_owned());
    let default_public_key = standing_key(&tenant.id, KeyType::DefaultPublic, None, secret, shown, now);
    let changes = vec![
        Change::Tenant(tenant.clone()),
        Change::User(owner.clone()),
        Change::Key(Box::new(master_key.clone())),
        Change::Key(Box::new(default_public_key.clone())),
    ];
    if let Some(hash) = hash {
        edit.draft.set_password(&tenant.id, &owner.id, &hash).await?;
    }
    let detail = json!({
        "after": describe(&tenant),
        "owner": owner.name(),
        "master_key": master_key.name(),
        "default_public_key": default_public_key.name(),
    });
    let revision =
        edit.commit("tenant.create", Some(&tenant.id), tenant.id.name(), changes, detail, new.replay).await?;
    Ok(Founded {
        tenant: Tenant { revision, ..tenant },
        owner: User { revision, ..owner },
        master_key: Key { revision, ..master_key },
        master_credential: Some(master_credential),
        default_public_key: Key { revision, ..default_public_key },
        revision,
    })
}

async fn replayed(edit: Edit<'_>, subject: &str, revision: i64) -> Result<Founded> {
    let lost = || Error::internal("what was made with a tenant is not there");
    let id = crate::domain::name::Path::find(subject).and_then(|path| TenantId::find(path.tenant)).ok_or_else(lost)?;
    let tenant = edit.draft.tenant(&id).await?.ok_or_else(lost)?;
    let owner = edit.draft.tenant_owner(&id).await?.ok_or_else(lost)?;
    let master_key = edit.draft.master_key(&id, &owner.id).await?.ok_or_else(lost)?;
    let default_public_key = edit.draft.default_public_key(&id).await?.ok_or_else(lost)?;
    let seen = edit.nothing((tenant, owner, master_key, default_public_key)).await?;
    let (tenant, owner, master_key, default_public_key) = seen.thing;
    Ok(Founded { tenant, owner, master_key, master_credential: None, default_public_key, revision })
}

/// One tenant.
pub async fn get(desk: &Desk, id: &TenantId, etag: &str) -> Result<Tenant> {
    let tenant = desk.store.tenant(id).await?.ok_or_else(|| Error::not_found(id.name()))?;
    check_etag(etag, tenant.uid, tenant.revision, &id.name())?;
    Ok(tenant)
}

/// A page of tenants, in the order of ids: all for root, its own for anybody else.
pub async fn list(
    desk: &Desk,
    caller: &Caller,
    filter: &Filter,
    show_deleted: bool,
    part: &Part,
) -> Result<Page<Tenant>> {
    let is_wanted = |tenant: &Tenant| {
        let time = |time: Time| Some(FieldValue::Time(time.micros()));
        filter.matches(|field| match field {
            "display_name" => Some(FieldValue::Text(&tenant.display_name)),
            "state" => Some(FieldValue::Text(state_word(tenant.standing()))),
            "create_time" => time(tenant.create_time),
            "update_time" => time(tenant.update_time),
            _ => None,
        })
    };
    if let Some(own) = caller.actor().tenant() {
        let own = desk.store.tenant(own).await?;
        return Ok(Page { items: own.into_iter().filter(is_wanted).collect(), next: None });
    }
    desk.store.tenants(&part.after, show_deleted, part.size, is_wanted).await
}

/// The word for a state in filters.
pub const fn state_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "TENANT_STATE_ACTIVE",
        Standing::Suspended => "TENANT_STATE_SUSPENDED",
        Standing::Deleted => "TENANT_STATE_DELETED",
    }
}

/// Changes a tenant; `None` leaves the display name as it is.
pub async fn update(
    desk: Desk,
    caller: Caller,
    call: Call,
    id: TenantId,
    display_name: Option<String>,
    etag: String,
) -> Result<Changed<Tenant>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.tenant(&id, "update", &etag).await?;
    refuse_deleted(&before)?;
    let after = Tenant { display_name: display_name.unwrap_or_else(|| before.display_name.clone()), ..before.clone() };
    commit(edit, "tenant.update", before, after).await
}

/// Refuses every credential of a tenant until it is activated.
pub async fn suspend(desk: Desk, caller: Caller, call: Call, id: TenantId, etag: String) -> Result<Changed<Tenant>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.tenant(&id, "suspend", &etag).await?;
    refuse_deleted(&before)?;
    let after = Tenant { is_suspended: true, ..before.clone() };
    commit(edit, "tenant.suspend", before, after).await
}

/// Lets the credentials of a suspended tenant count again.
pub async fn activate(desk: Desk, caller: Caller, call: Call, id: TenantId, etag: String) -> Result<Changed<Tenant>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.tenant(&id, "activate", &etag).await?;
    refuse_deleted(&before)?;
    confer_everything(&edit)?;
    let after = Tenant { is_suspended: false, ..before.clone() };
    commit(edit, "tenant.activate", before, after).await
}

/// Deletes a tenant, and with it everything under it.
pub async fn delete(desk: Desk, caller: Caller, call: Call, id: TenantId, etag: String) -> Result<Changed<Tenant>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.tenant(&id, "delete", &etag).await?;
    edit.draft.drop_mail_of_tenant(&before.id).await?;
    let delete_time = before.delete_time.or(Some(edit.now()));
    let after = Tenant { delete_time, ..before.clone() };
    commit(edit, "tenant.delete", before, after).await
}

/// Whoever brings a tenant back brings back its owners.
fn confer_everything(edit: &Edit<'_>) -> Result<()> {
    let holdings = crate::domain::actor::Holdings::of_user(Role::Owner);
    let directory = RowDirectory::default();
    edit.actor.may_confer(&holdings, &directory).map_err(|missing| Error::Forbidden { missing })
}

fn refuse_deleted(tenant: &Tenant) -> Result<()> {
    match tenant.delete_time {
        Some(_) => Err(Error::precondition(tenant.id.name(), "is deleted")),
        None => Ok(()),
    }
}

async fn commit(edit: Edit<'_>, kind: &'static str, before: Tenant, after: Tenant) -> Result<Changed<Tenant>> {
    if before == after {
        return edit.nothing(after).await;
    }
    let mut tenant = Tenant { update_time: edit.now(), ..after };
    let detail = json!({ "before": describe(&before), "after": describe(&tenant) });
    let changes = vec![Change::Tenant(tenant.clone())];
    tenant.revision = edit.commit(kind, Some(&tenant.id), tenant.id.name(), changes, detail, None).await?;
    Ok(Changed { revision: tenant.revision, thing: tenant })
}

fn describe(tenant: &Tenant) -> serde_json::Value {
    json!({
        "display_name": tenant.display_name,
        "credential_prefix": tenant.credential_prefix.as_str(),
        "is_suspended": tenant.is_suspended,
        "is_deleted": tenant.delete_time.is_some(),
    })
}
