//! Between rows and domain values: here tenants, users and keys. A row that does not make sense is an internal error,
//! never a default.

mod ledger;
mod people;

pub(super) use ledger::{event, event_row, root_secret, root_secret_row};
pub(super) use people::{
    access_token, access_token_row, application, application_row, application_secret_rows, session, session_row,
};

use super::entity::{api_key, api_key_secret, tenant, tenant_user};
use crate::domain::clock::Time;
use crate::domain::credential::{CredentialId, Digest, Prefix};
use crate::domain::key::{Key, KeyType, Retirement, Revocation, RevocationReason, Secret};
use crate::domain::name::{ApplicationId, KeyId, Owner, TenantId, UserId};
use crate::domain::tenant::Tenant;
use crate::domain::user::{Role, User, canonical_email};
use crate::error::Error;
use sea_orm::ActiveValue::Set;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};

/// The version of rows and log entries that this binary writes and reads; a higher `min_reader` is not for it.
pub(super) const READER: i32 = 2;

fn broken(what: &str) -> Error {
    Error::internal(format!("a row of the database makes no sense: {what}"))
}

fn json<T: Serialize>(value: &T) -> Result<String, Error> {
    serde_json::to_string(value).map_err(Error::internal)
}

fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_json::from_str(text).map_err(Error::internal)
}

/// The word serde gives a unit variant.
fn word<T: Serialize>(value: T) -> Result<String, Error> {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => Ok(word),
        _ => Err(broken("a word")),
    }
}

fn from_word<T: DeserializeOwned>(word: String) -> Result<T, Error> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(Error::internal)
}

fn uid(text: &str) -> Result<uuid::Uuid, Error> {
    text.parse().map_err(Error::internal)
}

pub(super) fn digest(bytes: Vec<u8>) -> Result<Digest, Error> {
    let bytes: [u8; 32] = bytes.try_into().map_err(|_| broken("a digest of another length"))?;
    Ok(Digest::from_bytes(bytes))
}

fn tenant_id(text: &str) -> Result<TenantId, Error> {
    TenantId::find(text).ok_or_else(|| broken("a tenant's id"))
}

/// Where the key of a secret is.
pub(super) fn key_place(tenant: &str, id: &str) -> Result<(TenantId, KeyId), Error> {
    Ok((tenant_id(tenant)?, KeyId::find(id).ok_or_else(|| broken("a key's id"))?))
}

/// Where the application of a secret is.
pub(super) fn application_place(tenant: &str, id: &str) -> Result<(TenantId, ApplicationId), Error> {
    Ok((tenant_id(tenant)?, ApplicationId::find(id).ok_or_else(|| broken("an application's id"))?))
}

fn credential_id(text: &str) -> Result<CredentialId, Error> {
    CredentialId::find(text).ok_or_else(|| broken("a credential's id"))
}

/// The id of a secret; empty in the row of one that was imported and has none.
fn secret_id(text: &str) -> Result<Option<CredentialId>, Error> {
    if text.is_empty() { Ok(None) } else { credential_id(text).map(Some) }
}

fn secret_id_column(secret: &Secret) -> String {
    secret.id.as_ref().map(|id| id.as_str().to_owned()).unwrap_or_default()
}

fn retirement(time: Option<i64>, is_over: bool) -> Option<Retirement> {
    time.map(|time| Retirement { time: Time::from_micros(time), is_over })
}

fn time(micros: Option<i64>) -> Option<Time> {
    micros.map(Time::from_micros)
}

fn micros(time: Option<Time>) -> Option<i64> {
    time.map(Time::micros)
}

pub(super) fn tenant_row(tenant: &Tenant) -> tenant::ActiveModel {
    tenant::ActiveModel {
        id: Set(tenant.id.as_str().to_owned()),
        uid: Set(tenant.uid.to_string()),
        display_name: Set(tenant.display_name.clone()),
        credential_prefix: Set(tenant.credential_prefix.as_str().to_owned()),
        is_suspended: Set(tenant.is_suspended),
        create_time: Set(tenant.create_time.micros()),
        update_time: Set(tenant.update_time.micros()),
        delete_time: Set(micros(tenant.delete_time)),
        revision: Set(tenant.revision),
        min_reader: Set(READER),
    }
}

pub(super) fn tenant(row: tenant::Model) -> Result<Tenant, Error> {
    let tenant::Model {
        id,
        uid: row_uid,
        display_name,
        credential_prefix,
        is_suspended,
        create_time,
        update_time,
        delete_time,
        revision,
        min_reader,
    } = row;
    check_reader(min_reader)?;
    Ok(Tenant {
        id: tenant_id(&id)?,
        uid: uid(&row_uid)?,
        display_name,
        credential_prefix: Prefix::parse(&credential_prefix, "credential_prefix")
            .map_err(|_| broken("a credential prefix"))?,
        is_suspended,
        create_time: Time::from_micros(create_time),
        update_time: Time::from_micros(update_time),
        delete_time: time(delete_time),
        revision,
    })
}

/// The unique form of an email in its tenant, while its user is not deleted.
pub(super) fn email_key(user: &User) -> Option<Vec<u8>> {
    (user.delete_time.is_none() && !user.email.is_empty()).then(|| canonical_email(&user.email).into_bytes())
}

pub(super) fn user_row(user: &User) -> Result<tenant_user::ActiveModel, Error> {
    Ok(tenant_user::ActiveModel {
        tenant_id: Set(user.tenant.as_str().to_owned()),
        id: Set(user.id.as_str().to_owned()),
        uid: Set(user.uid.to_string()),
        email: Set(user.email.clone()),
        email_key: Set(email_key(user)),
        given_name: Set(user.given_name.clone()),
        family_name: Set(user.family_name.clone()),
        role: Set(word(user.role)?),
        is_suspended: Set(user.is_suspended),
        sessions_end_revision: Set(user.sessions_end_revision),
        create_time: Set(user.create_time.micros()),
        update_time: Set(user.update_time.micros()),
        delete_time: Set(micros(user.delete_time)),
        revision: Set(user.revision),
        min_reader: Set(READER),
    })
}

pub(super) fn user(row: tenant_user::Model) -> Result<User, Error> {
    let tenant_user::Model {
        tenant_id: row_tenant,
        id,
        uid: row_uid,
        email,
        email_key: _,
        given_name,
        family_name,
        role,
        is_suspended,
        sessions_end_revision,
        create_time,
        update_time,
        delete_time,
        revision,
        min_reader,
    } = row;
    check_reader(min_reader)?;
    Ok(User {
        tenant: tenant_id(&row_tenant)?,
        id: UserId::find(&id).ok_or_else(|| broken("a user's id"))?,
        uid: uid(&row_uid)?,
        email,
        given_name,
        family_name,
        role: from_word::<Role>(role)?,
        is_suspended,
        sessions_end_revision,
        create_time: Time::from_micros(create_time),
        update_time: Time::from_micros(update_time),
        delete_time: time(delete_time),
        revision,
    })
}

/// How a row says whose a key is.
pub(super) fn owner_columns(owner: Option<&Owner>) -> (Option<String>, Option<String>) {
    match owner {
        Some(Owner::User(user)) => (Some("user".to_owned()), Some(user.as_str().to_owned())),
        Some(Owner::Application(application)) => {
            (Some("application".to_owned()), Some(application.as_str().to_owned()))
        }
        None => (None, None),
    }
}

/// The unique form of a display name under its owner: a digest, since no engine compares long text alike.
pub(super) fn name_key(owner: Option<&Owner>, display_name: &str) -> Vec<u8> {
    let (kind, id) = owner_columns(owner);
    let mut hasher = Sha256::new();
    hasher.update(kind.unwrap_or_default());
    hasher.update("/");
    hasher.update(id.unwrap_or_default());
    hasher.update("/");
    hasher.update(display_name);
    hasher.finalize().to_vec()
}

pub(super) fn key_row(key: &Key) -> Result<api_key::ActiveModel, Error> {
    let (owner_kind, owner_id) = owner_columns(key.owner.as_ref());
    let name_key = key.holds_display_name().then(|| name_key(key.owner.as_ref(), &key.display_name));
    Ok(api_key::ActiveModel {
        tenant_id: Set(key.tenant.as_str().to_owned()),
        id: Set(key.id.as_str().to_owned()),
        uid: Set(key.uid.to_string()),
        kind: Set(word(key.kind)?),
        owner_kind: Set(owner_kind),
        owner_id: Set(owner_id),
        display_name: Set(key.display_name.clone()),
        name_key: Set(name_key),
        description: Set(key.description.clone()),
        grants: Set(json(&key.grants)?),
        allowed_ips: Set(json(&key.allowed_ips)?),
        allowed_referrers: Set(json(&key.allowed_referrers)?),
        labels: Set(json(&key.labels)?),
        not_before_time: Set(micros(key.not_before_time)),
        expire_time: Set(micros(key.expire_time)),
        is_suspended: Set(key.is_suspended),
        revoke_time: Set(key.revocation.map(|revocation| revocation.time.micros())),
        revoke_reason: Set(key.revocation.map(|revocation| word(revocation.reason)).transpose()?),
        delete_time: Set(micros(key.delete_time)),
        secret_key_digest: Set(key.secret_key.map(|digest| digest.as_bytes().to_vec())),
        public_credential: Set(key.public_credential.clone()),
        tokens_end_revision: Set(key.tokens_end_revision),
        create_time: Set(key.create_time.micros()),
        update_time: Set(key.update_time.micros()),
        revision: Set(key.revision),
        min_reader: Set(READER),
    })
}

pub(super) fn key(row: api_key::Model, mut secrets: Vec<api_key_secret::Model>) -> Result<Key, Error> {
    let api_key::Model {
        tenant_id: row_tenant,
        id,
        uid: row_uid,
        kind,
        owner_kind,
        owner_id,
        display_name,
        name_key: _,
        description,
        grants,
        allowed_ips,
        allowed_referrers,
        labels,
        not_before_time,
        expire_time,
        is_suspended,
        revoke_time,
        revoke_reason,
        delete_time,
        secret_key_digest,
        public_credential,
        tokens_end_revision,
        create_time,
        update_time,
        revision,
        min_reader,
    } = row;
    check_reader(min_reader)?;
    let owner = match (owner_kind.as_deref(), owner_id) {
        (Some("user"), Some(id)) => UserId::find(&id).map(Owner::User).ok_or_else(|| broken("an owner's id")).map(Some),
        (Some("application"), Some(id)) => {
            ApplicationId::find(&id).map(Owner::Application).ok_or_else(|| broken("an owner's id")).map(Some)
        }
        (None, None) => Ok(None),
        _ => Err(broken("an owner")),
    }?;
    let revocation = match (revoke_time, revoke_reason) {
        (Some(time), Some(reason)) => {
            Some(Revocation { time: Time::from_micros(time), reason: from_word::<RevocationReason>(reason)? })
        }
        (None, None) => None,
        _ => return Err(broken("a revocation")),
    };
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.ordinal));
    let secrets = secrets
        .into_iter()
        .map(|secret| {
            Ok(Secret {
                digest: digest(secret.digest)?,
                id: secret_id(&secret.credential_id)?,
                hint: secret.hint,
                revision: secret.ordinal,
                create_time: Time::from_micros(secret.create_time),
                retirement: retirement(secret.retire_time, secret.is_retired),
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(Key {
        tenant: tenant_id(&row_tenant)?,
        id: KeyId::find(&id).ok_or_else(|| broken("a key's id"))?,
        uid: uid(&row_uid)?,
        kind: from_word::<KeyType>(kind)?,
        owner,
        display_name,
        description,
        grants: from_json(&grants)?,
        allowed_ips: from_json(&allowed_ips)?,
        allowed_referrers: from_json(&allowed_referrers)?,
        labels: from_json(&labels)?,
        not_before_time: time(not_before_time),
        expire_time: time(expire_time),
        is_suspended,
        revocation,
        delete_time: time(delete_time),
        secrets,
        secret_key: secret_key_digest.map(digest).transpose()?,
        public_credential,
        tokens_end_revision,
        create_time: Time::from_micros(create_time),
        update_time: Time::from_micros(update_time),
        revision,
    })
}

/// The rows of a key's secrets; the oldest has the lowest ordinal, and an ordinal never changes.
pub(super) fn secret_rows(key: &Key) -> impl Iterator<Item = api_key_secret::ActiveModel> {
    key.secrets.iter().map(|secret| api_key_secret::ActiveModel {
        digest: Set(secret.digest.as_bytes().to_vec()),
        tenant_id: Set(key.tenant.as_str().to_owned()),
        key_id: Set(key.id.as_str().to_owned()),
        ordinal: Set(secret.revision),
        credential_id: Set(secret_id_column(secret)),
        hint: Set(secret.hint.clone()),
        create_time: Set(secret.create_time.micros()),
        retire_time: Set(micros(secret.retirement.map(|retirement| retirement.time))),
        is_retired: Set(secret.retirement.is_some_and(|retirement| retirement.is_over)),
    })
}

/// INVARIANT (no restriction unread): what a newer binary wrote for newer readers is not read by this one.
pub(super) fn check_reader(min_reader: i32) -> Result<(), Error> {
    if min_reader <= READER {
        Ok(())
    } else {
        Err(Error::internal(format!(
            "the database holds something only readers of version {min_reader} understand; this binary is version {READER}"
        )))
    }
}
