//! Applications, access tokens and sessions.

use super::{
    READER, broken, check_reader, credential_id, digest, from_json, from_word, json, micros, retirement, secret_id,
    secret_id_column, tenant_id, time, uid, word,
};
use crate::domain::application::{Application, Verification};
use crate::domain::clock::Time;
use crate::domain::key::Secret;
use crate::domain::name::{ApplicationId, KeyId, SessionId, TokenId, UserId};
use crate::domain::token::{AccessToken, Parent, Session};
use crate::error::Error;
use crate::store::entity::{access_token, application, application_secret, user_session};
use sea_orm::ActiveValue::Set;

pub(in crate::store) fn application_row(application: &Application) -> Result<application::ActiveModel, Error> {
    let verification = application.verification.as_ref();
    Ok(application::ActiveModel {
        tenant_id: Set(application.tenant.as_str().to_owned()),
        id: Set(application.id.as_str().to_owned()),
        uid: Set(application.uid.to_string()),
        owner_id: Set(application.owner.as_str().to_owned()),
        display_name: Set(application.display_name.clone()),
        description: Set(application.description.clone()),
        contact_email: Set(application.contact_email.clone()),
        grants: Set(json(&application.grants)?),
        is_verified: Set(application.is_verified),
        verification_digest: Set(verification.map(|verification| verification.digest.as_bytes().to_vec())),
        verification_expire_time: Set(verification.map(|verification| verification.expire_time.micros())),
        revoke_time: Set(micros(application.revoke_time)),
        tokens_end_revision: Set(application.tokens_end_revision),
        create_time: Set(application.create_time.micros()),
        update_time: Set(application.update_time.micros()),
        delete_time: Set(micros(application.delete_time)),
        revision: Set(application.revision),
        min_reader: Set(READER),
    })
}

pub(in crate::store) fn application(
    row: application::Model,
    mut secrets: Vec<application_secret::Model>,
) -> Result<Application, Error> {
    let application::Model {
        tenant_id: row_tenant,
        id,
        uid: row_uid,
        owner_id,
        display_name,
        description,
        contact_email,
        grants,
        is_verified,
        verification_digest,
        verification_expire_time,
        revoke_time,
        tokens_end_revision,
        create_time,
        update_time,
        delete_time,
        revision,
        min_reader,
    } = row;
    check_reader(min_reader)?;
    let verification = match (verification_digest, time(verification_expire_time)) {
        (Some(bytes), Some(expire_time)) => Some(Verification { digest: digest(bytes)?, expire_time }),
        (None, None) => None,
        _ => return Err(broken("a verification")),
    };
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.ordinal));
    let secrets = secrets.into_iter().map(|secret| {
        Ok(Secret {
            digest: digest(secret.digest)?,
            id: secret_id(&secret.credential_id)?,
            hint: secret.hint,
            revision: secret.ordinal,
            create_time: Time::from_micros(secret.create_time),
            retirement: retirement(secret.retire_time, secret.is_retired),
        })
    });
    Ok(Application {
        tenant: tenant_id(&row_tenant)?,
        id: ApplicationId::find(&id).ok_or_else(|| broken("an application's id"))?,
        uid: uid(&row_uid)?,
        owner: UserId::find(&owner_id).ok_or_else(|| broken("an owner's id"))?,
        display_name,
        description,
        contact_email,
        grants: from_json(&grants)?,
        secrets: secrets.collect::<Result<_, Error>>()?,
        is_verified,
        verification,
        revoke_time: time(revoke_time),
        tokens_end_revision,
        create_time: Time::from_micros(create_time),
        update_time: Time::from_micros(update_time),
        delete_time: time(delete_time),
        revision,
    })
}

/// The rows of an application's secrets; an ordinal never changes.
pub(in crate::store) fn application_secret_rows(
    application: &Application,
) -> impl Iterator<Item = application_secret::ActiveModel> {
    application.secrets.iter().map(|secret| application_secret::ActiveModel {
        digest: Set(secret.digest.as_bytes().to_vec()),
        tenant_id: Set(application.tenant.as_str().to_owned()),
        application_id: Set(application.id.as_str().to_owned()),
        ordinal: Set(secret.revision),
        credential_id: Set(secret_id_column(secret)),
        hint: Set(secret.hint.clone()),
        create_time: Set(secret.create_time.micros()),
        retire_time: Set(micros(secret.retirement.map(|retirement| retirement.time))),
        is_retired: Set(secret.retirement.is_some_and(|retirement| retirement.is_over)),
    })
}

pub(in crate::store) fn access_token_row(token: &AccessToken) -> Result<access_token::ActiveModel, Error> {
    let (parent_kind, parent_id) = match &token.parent {
        Parent::Key(key) => ("key", key.as_str()),
        Parent::Application(application) => ("application", application.as_str()),
    };
    Ok(access_token::ActiveModel {
        tenant_id: Set(token.tenant.as_str().to_owned()),
        id: Set(token.id.as_str().to_owned()),
        uid: Set(token.uid.to_string()),
        parent_kind: Set(parent_kind.to_owned()),
        parent_id: Set(parent_id.to_owned()),
        secret_version: Set(token.secret_version),
        based_revision: Set(token.based_revision),
        permissions: Set(token.permissions.as_ref().map(json).transpose()?),
        audience: Set(json(&token.audience)?),
        format: Set(word(token.format)?),
        digest: Set(token.digest.map(|digest| digest.as_bytes().to_vec())),
        credential_id: Set(token.credential_id.as_ref().map(|id| id.as_str().to_owned())),
        create_time: Set(token.create_time.micros()),
        update_time: Set(token.update_time.micros()),
        expire_time: Set(token.expire_time.micros()),
        revoke_time: Set(micros(token.revoke_time)),
        revision: Set(token.revision),
        min_reader: Set(READER),
    })
}

pub(in crate::store) fn access_token(row: access_token::Model) -> Result<AccessToken, Error> {
    let access_token::Model {
        tenant_id: row_tenant,
        id,
        uid: row_uid,
        parent_kind,
        parent_id,
        secret_version,
        based_revision,
        permissions,
        audience,
        format,
        digest: row_digest,
        credential_id: row_credential_id,
        create_time,
        update_time,
        expire_time,
        revoke_time,
        revision,
        min_reader,
    } = row;
    check_reader(min_reader)?;
    let parent = match parent_kind.as_str() {
        "key" => KeyId::find(&parent_id).map(Parent::Key),
        "application" => ApplicationId::find(&parent_id).map(Parent::Application),
        _ => None,
    };
    Ok(AccessToken {
        tenant: tenant_id(&row_tenant)?,
        id: TokenId::find(&id).ok_or_else(|| broken("a token's id"))?,
        uid: uid(&row_uid)?,
        parent: parent.ok_or_else(|| broken("a token's parent"))?,
        secret_version,
        based_revision,
        permissions: permissions.as_deref().map(from_json).transpose()?,
        audience: from_json(&audience)?,
        format: from_word(format)?,
        digest: row_digest.map(digest).transpose()?,
        credential_id: row_credential_id.as_deref().map(credential_id).transpose()?,
        create_time: Time::from_micros(create_time),
        update_time: Time::from_micros(update_time),
        expire_time: Time::from_micros(expire_time),
        revoke_time: time(revoke_time),
        revision,
    })
}

pub(in crate::store) fn session_row(session: &Session) -> user_session::ActiveModel {
    user_session::ActiveModel {
        tenant_id: Set(session.tenant.as_str().to_owned()),
        id: Set(session.id.as_str().to_owned()),
        uid: Set(session.uid.to_string()),
        user_id: Set(session.user.as_str().to_owned()),
        digest: Set(session.digest.as_bytes().to_vec()),
        credential_id: Set(session.credential_id.as_str().to_owned()),
        based_revision: Set(session.based_revision),
        create_time: Set(session.create_time.micros()),
        update_time: Set(session.update_time.micros()),
        expire_time: Set(session.expire_time.micros()),
        revoke_time: Set(micros(session.revoke_time)),
        revision: Set(session.revision),
        min_reader: Set(READER),
    }
}

pub(in crate::store) fn session(row: user_session::Model) -> Result<Session, Error> {
    let user_session::Model {
        tenant_id: row_tenant,
        id,
        uid: row_uid,
        user_id,
        digest: row_digest,
        credential_id: row_credential_id,
        based_revision,
        create_time,
        update_time,
        expire_time,
        revoke_time,
        revision,
        min_reader,
    } = row;
    check_reader(min_reader)?;
    Ok(Session {
        tenant: tenant_id(&row_tenant)?,
        id: SessionId::find(&id).ok_or_else(|| broken("a session's id"))?,
        uid: uid(&row_uid)?,
        user: UserId::find(&user_id).ok_or_else(|| broken("a user's id"))?,
        digest: digest(row_digest)?,
        credential_id: credential_id(&row_credential_id)?,
        based_revision,
        create_time: Time::from_micros(create_time),
        update_time: Time::from_micros(update_time),
        expire_time: Time::from_micros(expire_time),
        revoke_time: time(revoke_time),
        revision,
    })
}
