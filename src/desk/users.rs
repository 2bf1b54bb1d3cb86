//! Commands on users.

pub mod password;

use super::keys::{Issued, rotate_to_new_secret};
use super::page::Part;
use super::tenants::standing_key;
use super::{Call, Changed, Desk, Edit, UserName, check_etag, new_uid};
use crate::check::Caller;
use crate::domain::actor::Holdings;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::Credential;
use crate::domain::filter::{FieldValue, Filter};
use crate::domain::key::{Key, KeyType};
use crate::domain::name::{Collection, Owner, Path, TenantId, UserId};
use crate::domain::password::{Password, PasswordHash};
use crate::domain::policy::{Demand, whose_user};
use crate::domain::tenant::Standing;
use crate::domain::user::{Role, User};
use crate::error::{Error, Result};
use crate::store::{Page, Replay, RowDirectory};
use serde_json::json;
use std::time::Duration;

/// What `CreateUser` asks for, or `CreateTenant` of its owner.
#[derive(Debug, Default)]
pub struct NewUser {
    /// The id wanted; made if `None`.
    pub id: Option<UserId>,
    /// May be empty.
    pub email: String,
    /// First name.
    pub given_name: String,
    /// Last name.
    pub family_name: String,
    /// What it may do.
    pub role: Role,
    /// Its first password, if it is to have one.
    pub password: Option<Password>,
    /// How to recognise the same request.
    pub replay: Option<Replay>,
}

/// What `UpdateUser` asks for: `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct UserPatch {
    /// May be empty.
    pub email: Option<String>,
    /// First name.
    pub given_name: Option<String>,
    /// Last name.
    pub family_name: Option<String>,
    /// What it may do.
    pub role: Option<Role>,
}

/// A new user with its master key; the text is `None` where it was shown before.
#[derive(Debug)]
pub struct Welcomed {
    /// The user.
    pub user: User,
    /// The user's master key.
    pub master_key: Key,
    /// Its text.
    pub master_credential: Option<Credential>,
    /// The revision that made them.
    pub revision: i64,
}

pub(super) fn user_of(tenant: &TenantId, new: NewUser, now: Time) -> User {
    let uid = new_uid(now);
    User {
        tenant: tenant.clone(),
        id: new.id.unwrap_or_else(|| UserId::of_uid(uid)),
        uid,
        email: new.email,
        given_name: new.given_name,
        family_name: new.family_name,
        role: new.role,
        is_suspended: false,
        sessions_end_revision: 0,
        create_time: now,
        update_time: now,
        delete_time: None,
        revision: 0,
    }
}

/// Makes a user and its master key.
pub async fn create(desk: Desk, caller: Caller, call: Call, tenant: TenantId, mut new: NewUser) -> Result<Welcomed> {
    let hash = hashed(&desk, &caller, new.role, new.password.take()).await?;
    let edit = desk.edit(&caller, call).await?;
    let now = edit.now();
    let replay = new.replay.clone();
    let user = user_of(&tenant, new, now);
    edit.demand(&Demand { collection: Collection::Users, id: "*", action: "create", whose: Some(whose_user(&user)) })?;
    // A replay is answered whatever has become of the parent since.
    if let Some((subject, revision)) = edit.replayed(replay.as_ref()).await? {
        return replayed(edit, &tenant, &subject, revision).await;
    }
    let tenant = edit.live_tenant(&tenant).await?;
    edit.confer_user(&user)?;
    if edit.draft.user(&user.tenant, &user.id).await?.is_some() {
        return Err(Error::AlreadyExists { field: "user_id", value: user.id.to_string() });
    }
    refuse_taken_email(&edit, &user).await?;
    let (master_credential, secret) = edit.draft.mint(&tenant.credential_prefix);
    let master_key = standing_key(&tenant.id, KeyType::Master, Some(Owner::User(user.id.clone())), secret, None, now);
    let changes = vec![Change::User(user.clone()), Change::Key(Box::new(master_key.clone()))];
    if let Some(hash) = hash {
        edit.draft.set_password(&user.tenant, &user.id, &hash).await?;
    }
    let detail = json!({ "after": describe(&user), "master_key": master_key.name() });
    let revision = edit.commit("user.create", Some(&tenant.id), user.name(), changes, detail, replay).await?;
    Ok(Welcomed {
        user: User { revision, ..user },
        master_key: Key { revision, ..master_key },
        master_credential: Some(master_credential),
        revision,
    })
}

/// Hashes the password of a user to be, before the head is locked. A first look at the caller, from memory, sees to it
/// that nobody has us work who may not make such a user; what counts is decided under the lock.
pub(super) async fn hashed(
    desk: &Desk,
    caller: &Caller,
    role: Role,
    password: Option<Password>,
) -> Result<Option<PasswordHash>> {
    let Some(password) = password else { return Ok(None) };
    let conferred = caller.actor().may_confer(&Holdings::of_user(role), &RowDirectory::default());
    conferred.map_err(|missing| Error::Forbidden { missing })?;
    desk.passwords.hash(password).await.map(Some)
}

async fn replayed(edit: Edit<'_>, tenant: &TenantId, subject: &str, revision: i64) -> Result<Welcomed> {
    let lost = || Error::internal("a user made before is not there");
    let id = Path::find(subject).and_then(|path| UserId::find(path.child?.1)).ok_or_else(lost)?;
    let user = edit.draft.user(tenant, &id).await?.ok_or_else(lost)?;
    let master_key = edit.draft.master_key(tenant, &id).await?.ok_or_else(lost)?;
    let seen = edit.nothing((user, master_key)).await?;
    let (user, master_key) = seen.thing;
    Ok(Welcomed { user, master_key, master_credential: None, revision })
}

async fn refuse_taken_email(edit: &Edit<'_>, user: &User) -> Result<()> {
    if edit.draft.is_email_taken(user).await? {
        return Err(Error::AlreadyExists { field: "user.email", value: user.email.clone() });
    }
    Ok(())
}

/// One user.
pub async fn get(desk: &Desk, name: &UserName, etag: &str) -> Result<User> {
    let user = desk.store.user(&name.tenant, &name.id).await?.ok_or_else(|| Error::not_found(name))?;
    check_etag(etag, user.uid, user.revision, &user.name())?;
    Ok(user)
}

/// A page of the users of a tenant, in the order of ids.
pub async fn list(
    desk: &Desk,
    tenant: &TenantId,
    filter: &Filter,
    show_deleted: bool,
    part: &Part,
) -> Result<Page<User>> {
    if desk.store.tenant(tenant).await?.is_none() {
        return Err(Error::not_found(tenant.name()));
    }
    let is_wanted = |user: &User| {
        let time = |time: Time| Some(FieldValue::Time(time.micros()));
        filter.matches(|field| match field {
            "email" => Some(FieldValue::Text(&user.email)),
            "given_name" => Some(FieldValue::Text(&user.given_name)),
            "family_name" => Some(FieldValue::Text(&user.family_name)),
            "role" => Some(FieldValue::Text(role_word(user.role))),
            "state" => Some(FieldValue::Text(state_word(user.standing()))),
            "create_time" => time(user.create_time),
            "update_time" => time(user.update_time),
            _ => None,
        })
    };
    desk.store.users(tenant, &part.after, show_deleted, part.size, is_wanted).await
}

/// The word for a role in filters.
pub const fn role_word(role: Role) -> &'static str {
    match role {
        Role::Owner => "USER_ROLE_OWNER",
        Role::Admin => "USER_ROLE_ADMIN",
        Role::Member => "USER_ROLE_MEMBER",
    }
}

/// The word for a state in filters.
pub const fn state_word(standing: Standing) -> &'static str {
    match standing {
        Standing::Active => "USER_STATE_ACTIVE",
        Standing::Suspended => "USER_STATE_SUSPENDED",
        Standing::Deleted => "USER_STATE_DELETED",
    }
}

/// Changes a user.
pub async fn update(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: UserName,
    patch: UserPatch,
    etag: String,
) -> Result<Changed<User>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.user(&name, "update", &etag).await?;
    refuse_deleted(&before)?;
    let UserPatch { email, given_name, family_name, role } = patch;
    if role.is_some() {
        edit.draft.promise();
    }
    let mut after = before.clone();
    after.email = email.unwrap_or(after.email);
    after.given_name = given_name.unwrap_or(after.given_name);
    after.family_name = family_name.unwrap_or(after.family_name);
    after.role = role.unwrap_or(after.role);
    edit.actor.may_give_role(Some(before.role), after.role).map_err(|missing| Error::Forbidden { missing })?;
    if after.role > before.role {
        edit.confer_user(&after)?;
    }
    if after.role != Role::Owner {
        refuse_last_owner(&edit, &before, "be given another role").await?;
    }
    if after.email != before.email {
        refuse_taken_email(&edit, &after).await?;
    }
    commit(edit, "user.update", before, after).await
}

/// Refuses every credential of a user until it is activated, and ends its sessions for good.
pub async fn suspend(desk: Desk, caller: Caller, call: Call, name: UserName, etag: String) -> Result<Changed<User>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.user(&name, "suspend", &etag).await?;
    refuse_deleted(&before)?;
    if !before.is_suspended {
        refuse_last_owner(&edit, &before, "be suspended").await?;
    }
    // Its keys come back with it, its sessions do not.
    let sessions_end_revision = if before.is_suspended { before.sessions_end_revision } else { edit.draft.revision() };
    let after = User { is_suspended: true, sessions_end_revision, ..before.clone() };
    commit(edit, "user.suspend", before, after).await
}

/// Lets the credentials of a suspended user count again.
pub async fn activate(desk: Desk, caller: Caller, call: Call, name: UserName, etag: String) -> Result<Changed<User>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.user(&name, "activate", &etag).await?;
    refuse_deleted(&before)?;
    edit.confer_user(&before)?;
    let after = User { is_suspended: false, ..before.clone() };
    commit(edit, "user.activate", before, after).await
}

/// Deletes a user, and with it everything it owns.
pub async fn delete(desk: Desk, caller: Caller, call: Call, name: UserName, etag: String) -> Result<Changed<User>> {
    let edit = desk.edit(&caller, call).await?;
    let before = edit.user(&name, "delete", &etag).await?;
    if before.delete_time.is_none() {
        refuse_last_owner(&edit, &before, "be deleted").await?;
    }
    edit.draft.drop_mail_of_user(&before.tenant, &before.id).await?;
    let delete_time = before.delete_time.or(Some(edit.now()));
    let after = User { delete_time, ..before.clone() };
    commit(edit, "user.delete", before, after).await
}

/// Gives a user's master key a new secret; the old one ends at once.
pub async fn rotate_master_key(
    desk: Desk,
    caller: Caller,
    call: Call,
    name: UserName,
    etag: String,
    replay: Option<Replay>,
) -> Result<Issued> {
    let edit = desk.edit(&caller, call).await?;
    let user = edit.user(&name, "rotate", &etag).await?;
    let lost = || Error::internal("a user has no master key");
    let key = edit.draft.master_key(&user.tenant, &user.id).await?.ok_or_else(lost)?;
    if let Some((_, revision)) = edit.replayed(replay.as_ref()).await? {
        let seen = edit.nothing(key).await?;
        return Ok(Issued { key: seen.thing, credential: None, revision });
    }
    refuse_deleted(&user)?;
    rotate_to_new_secret(edit, key, Duration::ZERO, "user.rotate_master_key", replay).await
}

fn refuse_deleted(user: &User) -> Result<()> {
    match user.delete_time {
        Some(_) => Err(Error::precondition(user.name(), "is deleted")),
        None => Ok(()),
    }
}

/// A tenant keeps an owner who can act.
async fn refuse_last_owner(edit: &Edit<'_>, user: &User, what: &str) -> Result<()> {
    let is_acting_owner = user.role == Role::Owner && user.standing() == Standing::Active;
    if is_acting_owner && edit.draft.other_active_owners(&user.tenant, &user.id).await? == 0 {
        return Err(Error::precondition(user.name(), format!("is the last owner of its tenant and cannot {what}")));
    }
    Ok(())
}

async fn commit(edit: Edit<'_>, kind: &'static str, before: User, after: User) -> Result<Changed<User>> {
    if before == after {
        return edit.nothing(after).await;
    }
    let mut user = User { update_time: edit.now(), ..after };
    let detail = json!({ "before": describe(&before), "after": describe(&user) });
    let changes = vec![Change::User(user.clone())];
    user.revision = edit.commit(kind, Some(&user.tenant), user.name(), changes, detail, None).await?;
    Ok(Changed { revision: user.revision, thing: user })
}

fn describe(user: &User) -> serde_json::Value {
    json!({
        "email": user.email,
        "given_name": user.given_name,
        "family_name": user.family_name,
        "role": role_word(user.role),
        "is_suspended": user.is_suspended,
        "is_deleted": user.delete_time.is_some(),
    })
}
