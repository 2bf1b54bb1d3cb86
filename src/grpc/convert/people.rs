//! Tenants and users.

use super::{MAX_NAME, Mask, Violations, field, maybe_timestamp, replay, text, timestamp};
use crate::desk::tenants::NewTenant;
use crate::desk::users::password::NewPassword;
use crate::desk::users::{NewUser, UserPatch};
use crate::domain::credential::Prefix;
use crate::domain::etag::etag;
use crate::domain::filter::{FieldKind, FilterField};
use crate::domain::name::{TenantId, UserId};
use crate::domain::password::Password;
use crate::domain::tenant::{Standing, Tenant};
use crate::domain::user::{Role, User, validate_email};
use crate::error::{Error, Result, Violation};
use crate::proto::v1 as proto;
use std::mem::take;

/// What `CreateTenant` asks for.
pub(in crate::grpc) fn new_tenant(mut message: proto::CreateTenantRequest) -> Result<NewTenant> {
    let mut violations = Violations::default();
    let owner_password = take(&mut message.owner_password);
    let replay = violations.take(replay(&message.request_id, "CreateTenant", &message));
    let proto::CreateTenantRequest { tenant_id, tenant, owner, owner_password: _, request_id: _ } = message;
    let proto::Tenant {
        display_name,
        credential_prefix,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        etag: _,
        delete_time: _,
        state: _,
    } = tenant.unwrap_or_default();
    let new = NewTenant {
        id: if tenant_id.is_empty() {
            None
        } else {
            violations.take(TenantId::parse(&tenant_id, "tenant_id").map(Some))
        },
        display_name: violations.take(text(display_name, "tenant.display_name", MAX_NAME, false)),
        credential_prefix: if credential_prefix.is_empty() {
            Prefix::default()
        } else {
            violations.take(Prefix::parse(&credential_prefix, "tenant.credential_prefix"))
        },
        owner: NewUser {
            password: violations.take(password(owner_password, "owner_password", owner.as_ref())),
            ..new_user(owner.unwrap_or_default(), "owner", Role::Owner, &mut violations)
        },
        replay,
    };
    violations.finish()?;
    Ok(new)
}

/// What `CreateUser` asks for.
pub(in crate::grpc) fn created_user(mut message: proto::CreateUserRequest) -> Result<NewUser> {
    let mut violations = Violations::default();
    let first_password = take(&mut message.password);
    let replay = violations.take(replay(&message.request_id, "CreateUser", &message));
    let proto::CreateUserRequest { parent: _, user_id, user, password: _, request_id: _ } = message;
    let password = violations.take(password(first_password, "password", user.as_ref()));
    let new = new_user(user.unwrap_or_default(), "user", Role::Member, &mut violations);
    let id = if user_id.is_empty() { None } else { violations.take(UserId::parse(&user_id, "user_id").map(Some)) };
    violations.finish()?;
    Ok(NewUser { id, password, replay, ..new })
}

/// A user's first password, if one is given. It is taken out of the message beforehand: what a replay is recognised by
/// is a fast hash, and none of a password may be stored.
fn password(text: String, field: &str, user: Option<&proto::User>) -> Result<Option<Password>, Violation> {
    if text.is_empty() {
        return Ok(None);
    }
    let password = Password::parse(text, field)?;
    password.refuse_email(user.map_or("", |user| &user.email), field)?;
    Ok(Some(password))
}

/// What `SetPassword` asks for.
pub(in crate::grpc) fn new_password(message: proto::SetPasswordRequest) -> Result<NewPassword> {
    let mut violations = Violations::default();
    let proto::SetPasswordRequest { name: _, password, current_password, etag } = message;
    let password = violations.take(Password::parse(password, "password").map(Some));
    let current = if current_password.is_empty() {
        None
    } else {
        violations.take(Password::shown(current_password, "current_password").map(Some))
    };
    violations.finish()?;
    let password = password.ok_or_else(|| Error::internal("a password was neither taken nor refused"))?;
    Ok(NewPassword { password, current, etag })
}

fn new_user(user: proto::User, field: &str, default_role: Role, violations: &mut Violations) -> NewUser {
    let proto::User {
        email,
        given_name,
        family_name,
        role: wanted_role,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        etag: _,
        delete_time: _,
        state: _,
    } = user;
    violations.take(validate_email(&email, &format!("{field}.email")));
    NewUser {
        id: None,
        email,
        given_name: violations.take(text(given_name, &format!("{field}.given_name"), MAX_NAME, false)),
        family_name: violations.take(text(family_name, &format!("{field}.family_name"), MAX_NAME, false)),
        role: violations.take(role(wanted_role, &format!("{field}.role"))).unwrap_or(default_role),
        password: None,
        replay: None,
    }
}

fn role(role: i32, field: &str) -> Result<Option<Role>, Violation> {
    match proto::UserRole::try_from(role) {
        Ok(proto::UserRole::Unspecified) => Ok(None),
        Ok(proto::UserRole::Owner) => Ok(Some(Role::Owner)),
        Ok(proto::UserRole::Admin) => Ok(Some(Role::Admin)),
        Ok(proto::UserRole::Member) => Ok(Some(Role::Member)),
        Err(_) => Err(Violation::new(field, "must be a UserRole of the contract")),
    }
}

/// What `UpdateUser` asks for, with the etag.
pub(in crate::grpc) fn user_patch(
    user: proto::User,
    mask: Option<prost_types::FieldMask>,
) -> Result<(UserPatch, String)> {
    let mut violations = Violations::default();
    let mutable = ["email", "given_name", "family_name", "role"];
    let fixed = ["name", "uid", "create_time", "update_time", "etag", "delete_time", "state"];
    let mask = Mask::parse(mask, &mutable, &fixed, &mut violations);
    let proto::User {
        email,
        given_name,
        family_name,
        role: wanted_role,
        etag,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        delete_time: _,
        state: _,
    } = user;
    let mut patch = UserPatch::default();
    if mask.has("email", email.is_empty()) {
        violations.take(validate_email(&email, "user.email"));
        patch.email = Some(email);
    }
    if mask.has("given_name", given_name.is_empty()) {
        patch.given_name = Some(violations.take(text(given_name, "user.given_name", MAX_NAME, false)));
    }
    if mask.has("family_name", family_name.is_empty()) {
        patch.family_name = Some(violations.take(text(family_name, "user.family_name", MAX_NAME, false)));
    }
    if mask.has("role", wanted_role == 0) {
        patch.role = Some(violations.take(role(wanted_role, "user.role")).unwrap_or_default());
    }
    violations.finish()?;
    Ok((patch, etag))
}

/// What `UpdateTenant` asks for: the display name, if it is to change, and the etag.
pub(in crate::grpc) fn tenant_patch(
    tenant: proto::Tenant,
    mask: Option<prost_types::FieldMask>,
) -> Result<(Option<String>, String)> {
    let mut violations = Violations::default();
    let fixed = ["name", "uid", "create_time", "update_time", "etag", "delete_time", "credential_prefix", "state"];
    let mask = Mask::parse(mask, &["display_name"], &fixed, &mut violations);
    let proto::Tenant {
        display_name,
        etag,
        name: _,
        uid: _,
        create_time: _,
        update_time: _,
        delete_time: _,
        credential_prefix: _,
        state: _,
    } = tenant;
    let display_name = mask
        .has("display_name", display_name.is_empty())
        .then(|| violations.take(text(display_name, "tenant.display_name", MAX_NAME, false)));
    violations.finish()?;
    Ok((display_name, etag))
}

/// A tenant as others see it.
pub(in crate::grpc) fn tenant_out(tenant: &Tenant) -> proto::Tenant {
    let state = match tenant.standing() {
        Standing::Active => proto::TenantState::Active,
        Standing::Suspended => proto::TenantState::Suspended,
        Standing::Deleted => proto::TenantState::Deleted,
    };
    proto::Tenant {
        name: tenant.id.name(),
        uid: tenant.uid.to_string(),
        create_time: Some(timestamp(tenant.create_time)),
        update_time: Some(timestamp(tenant.update_time)),
        etag: etag(tenant.uid, tenant.revision),
        delete_time: maybe_timestamp(tenant.delete_time),
        display_name: tenant.display_name.clone(),
        credential_prefix: tenant.credential_prefix.as_str().to_owned(),
        state: state.into(),
    }
}

/// A user as others see it.
pub(in crate::grpc) fn user_out(user: &User) -> proto::User {
    let role = match user.role {
        Role::Owner => proto::UserRole::Owner,
        Role::Admin => proto::UserRole::Admin,
        Role::Member => proto::UserRole::Member,
    };
    let state = match user.standing() {
        Standing::Active => proto::UserState::Active,
        Standing::Suspended => proto::UserState::Suspended,
        Standing::Deleted => proto::UserState::Deleted,
    };
    proto::User {
        name: user.name(),
        uid: user.uid.to_string(),
        create_time: Some(timestamp(user.create_time)),
        update_time: Some(timestamp(user.update_time)),
        etag: etag(user.uid, user.revision),
        delete_time: maybe_timestamp(user.delete_time),
        email: user.email.clone(),
        given_name: user.given_name.clone(),
        family_name: user.family_name.clone(),
        role: role.into(),
        state: state.into(),
    }
}

/// What `ListTenants` can be filtered by.
pub(in crate::grpc) const TENANT_FILTER: &[FilterField] = &[
    field("display_name", FieldKind::Text),
    field("state", FieldKind::Word(&["TENANT_STATE_ACTIVE", "TENANT_STATE_SUSPENDED", "TENANT_STATE_DELETED"])),
    field("create_time", FieldKind::Time),
    field("update_time", FieldKind::Time),
];

/// What `ListUsers` can be filtered by.
pub(in crate::grpc) const USER_FILTER: &[FilterField] = &[
    field("email", FieldKind::Text),
    field("given_name", FieldKind::Text),
    field("family_name", FieldKind::Text),
    field("role", FieldKind::Word(&["USER_ROLE_OWNER", "USER_ROLE_ADMIN", "USER_ROLE_MEMBER"])),
    field("state", FieldKind::Word(&["USER_STATE_ACTIVE", "USER_STATE_SUSPENDED", "USER_STATE_DELETED"])),
    field("create_time", FieldKind::Time),
    field("update_time", FieldKind::Time),
];
