//! Applications, access tokens and sessions, read under the lock and outside it; and how they are swept away.

use super::{Filling, STRIDE};
use crate::domain::application::Application;
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::name::{ApplicationId, SessionId, TenantId, TokenId, UserId};
use crate::domain::token::{AccessToken, Session, TOKEN_RETENTION};
use crate::error::Result;
use crate::store::draft::Draft;
use crate::store::entity::{access_token, application, application_secret, user_session};
use crate::store::failure::sort;
use crate::store::group::Cache;
use crate::store::open::Store;
use crate::store::read::Page;
use crate::store::rows;
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

/// How many rows one statement sweeps away, so that mutations need not wait for long.
const SWEEP_STRIDE: u64 = 500;

/// Rows outlive what the index knows by so much, for clocks that differ.
const SWEEP_MARGIN: std::time::Duration = std::time::Duration::from_secs(60 * 60);

async fn find_application(db: &impl ConnectionTrait, tenant: &str, id: &str) -> Result<Option<Application>> {
    let place = (tenant.to_owned(), id.to_owned());
    let Some(row) = application::Entity::find_by_id(place).one(db).await.map_err(sort)? else { return Ok(None) };
    let secrets = application_secret::Entity::find()
        .filter(application_secret::Column::TenantId.eq(tenant))
        .filter(application_secret::Column::ApplicationId.eq(id))
        .all(db)
        .await
        .map_err(sort)?;
    rows::application(row, secrets).map(Some)
}

async fn find_token(db: &impl ConnectionTrait, tenant: &str, id: &str) -> Result<Option<AccessToken>> {
    let place = (tenant.to_owned(), id.to_owned());
    let row = access_token::Entity::find_by_id(place).one(db).await.map_err(sort)?;
    row.map(rows::access_token).transpose()
}

async fn find_token_of(db: &impl ConnectionTrait, digest: &Digest) -> Result<Option<AccessToken>> {
    let wanted = access_token::Column::Digest.eq(digest.as_bytes().to_vec());
    let row = access_token::Entity::find().filter(wanted).one(db).await.map_err(sort)?;
    row.map(rows::access_token).transpose()
}

async fn find_session_of(db: &impl ConnectionTrait, digest: &Digest) -> Result<Option<Session>> {
    let wanted = user_session::Column::Digest.eq(digest.as_bytes().to_vec());
    let row = user_session::Entity::find().filter(wanted).one(db).await.map_err(sort)?;
    row.map(rows::session).transpose()
}

async fn find_session(db: &impl ConnectionTrait, tenant: &str, id: &str) -> Result<Option<Session>> {
    let place = (tenant.to_owned(), id.to_owned());
    let row = user_session::Entity::find_by_id(place).one(db).await.map_err(sort)?;
    row.map(rows::session).transpose()
}

impl Draft {
    /// The application of that id, deleted or not.
    pub async fn application(&self, tenant: &TenantId, id: &ApplicationId) -> Result<Option<Application>> {
        let place = (tenant.clone(), id.clone());
        let read = find_application(self.transaction(), tenant.as_str(), id.as_str());
        let keep = |cache: &mut Cache, found| drop(cache.applications.insert(place.clone(), found));
        Ok(self.seen.note(self.known(|cache| cache.applications.get(&place).cloned(), keep, read).await?))
    }

    /// The application that has, or had, this secret.
    pub async fn application_of_digest(&self, digest: &Digest) -> Result<Option<Application>> {
        let read = async {
            let key = digest.as_bytes().to_vec();
            let secret = application_secret::Entity::find_by_id(key).one(self.transaction()).await.map_err(sort)?;
            secret.map(|secret| rows::application_place(&secret.tenant_id, &secret.application_id)).transpose()
        };
        let keep = |cache: &mut Cache, found| drop(cache.application_digests.insert(*digest, found));
        match self.known(|cache| cache.application_digests.get(digest).cloned(), keep, read).await? {
            Some((tenant, id)) => self.application(&tenant, &id).await,
            None => Ok(None),
        }
    }

    /// The access token of that id; a JWT only once it is revoked.
    pub async fn token(&self, tenant: &TenantId, id: &TokenId) -> Result<Option<AccessToken>> {
        Ok(self.seen.note(find_token(self.transaction(), tenant.as_str(), id.as_str()).await?))
    }

    /// The opaque access token of that text.
    pub async fn token_of_digest(&self, digest: &Digest) -> Result<Option<AccessToken>> {
        let keep = |cache: &mut Cache, found| drop(cache.tokens.insert(*digest, found));
        let read = find_token_of(self.transaction(), digest);
        Ok(self.seen.note(self.known(|cache| cache.tokens.get(digest).cloned(), keep, read).await?))
    }

    /// The session of that id.
    pub async fn session(&self, tenant: &TenantId, id: &SessionId) -> Result<Option<Session>> {
        Ok(self.seen.note(find_session(self.transaction(), tenant.as_str(), id.as_str()).await?))
    }

    /// The session of that text.
    pub async fn session_of_digest(&self, digest: &Digest) -> Result<Option<Session>> {
        let keep = |cache: &mut Cache, found| drop(cache.sessions.insert(*digest, found));
        let read = find_session_of(self.transaction(), digest);
        Ok(self.seen.note(self.known(|cache| cache.sessions.get(digest).cloned(), keep, read).await?))
    }
}

impl Store {
    /// The application of that id, deleted or not.
    pub async fn application(&self, tenant: &TenantId, id: &ApplicationId) -> Result<Option<Application>> {
        find_application(&self.reader, tenant.as_str(), id.as_str()).await
    }

    /// The access token of that id; a JWT only once it is revoked.
    pub async fn token(&self, tenant: &TenantId, id: &TokenId) -> Result<Option<AccessToken>> {
        find_token(&self.reader, tenant.as_str(), id.as_str()).await
    }

    /// The opaque access token of that text.
    pub async fn token_of_digest(&self, digest: &Digest) -> Result<Option<AccessToken>> {
        find_token_of(&self.reader, digest).await
    }

    /// The session of that text.
    pub async fn session_of_digest(&self, digest: &Digest) -> Result<Option<Session>> {
        find_session_of(&self.reader, digest).await
    }

    /// A page of the applications of a tenant, or of one user in it, that `is_wanted` lets pass, in the order of ids.
    pub async fn applications(
        &self,
        tenant: &TenantId,
        owner: Option<&UserId>,
        after: &str,
        show_deleted: bool,
        limit: usize,
        is_wanted: impl Fn(&Application) -> bool,
    ) -> Result<Page<Application>> {
        let mut filling = Filling::new(limit, after);
        loop {
            let mut select = application::Entity::find()
                .filter(application::Column::TenantId.eq(tenant.as_str()))
                .filter(application::Column::Id.gt(filling.after.as_str()));
            if let Some(owner) = owner {
                select = select.filter(application::Column::OwnerId.eq(owner.as_str()));
            }
            if !show_deleted {
                select = select.filter(application::Column::DeleteTime.is_null());
            }
            let found =
                select.order_by_asc(application::Column::Id).limit(STRIDE).all(&self.reader).await.map_err(sort)?;
            let is_last = (found.len() as u64) < STRIDE;
            for row in found {
                if filling.is_full() {
                    return Ok(filling.full());
                }
                let weight = row.grants.len() + row.description.len() + 512;
                // Secrets are not shown.
                let application = rows::application(row, Vec::new())?;
                filling.pass(application.id.to_string(), weight, Some(application).filter(&is_wanted));
            }
            if is_last {
                return Ok(filling.last());
            }
        }
    }

    /// A page of the sessions of a tenant, or of one user in it, that `is_wanted` lets pass, in the order of ids, which
    /// is that of their making.
    pub async fn sessions(
        &self,
        tenant: &TenantId,
        user: Option<&UserId>,
        after: &str,
        limit: usize,
        is_wanted: impl Fn(&Session) -> bool,
    ) -> Result<Page<Session>> {
        let mut filling = Filling::new(limit, after);
        loop {
            let mut select = user_session::Entity::find()
                .filter(user_session::Column::TenantId.eq(tenant.as_str()))
                .filter(user_session::Column::Id.gt(filling.after.as_str()));
            if let Some(user) = user {
                select = select.filter(user_session::Column::UserId.eq(user.as_str()));
            }
            let found =
                select.order_by_asc(user_session::Column::Id).limit(STRIDE).all(&self.reader).await.map_err(sort)?;
            let is_last = (found.len() as u64) < STRIDE;
            for row in found {
                if filling.is_full() {
                    return Ok(filling.full());
                }
                let session = rows::session(row)?;
                filling.pass(session.id.to_string(), 512, Some(session).filter(&is_wanted));
            }
            if is_last {
                return Ok(filling.last());
            }
        }
    }

    /// Deletes the rows of tokens and sessions that nothing tells any more from ones that never were. No mutation: no
    /// answer changes by it.
    pub async fn sweep(&self, now: Time) -> Result<u64> {
        let age = TOKEN_RETENTION.saturating_add(SWEEP_MARGIN);
        let last = now.micros().saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX));
        let mut swept = 0_u64;
        loop {
            let ids: Vec<(String, String)> = access_token::Entity::find()
                .select_only()
                .columns([access_token::Column::TenantId, access_token::Column::Id])
                .filter(access_token::Column::ExpireTime.lt(last))
                .limit(SWEEP_STRIDE)
                .into_tuple()
                .all(&self.reader)
                .await
                .map_err(sort)?;
            for place in &ids {
                access_token::Entity::delete_by_id(place.clone()).exec(&self.writer).await.map_err(sort)?;
            }
            let sessions: Vec<(String, String)> = user_session::Entity::find()
                .select_only()
                .columns([user_session::Column::TenantId, user_session::Column::Id])
                .filter(user_session::Column::ExpireTime.lt(last))
                .limit(SWEEP_STRIDE)
                .into_tuple()
                .all(&self.reader)
                .await
                .map_err(sort)?;
            for place in &sessions {
                user_session::Entity::delete_by_id(place.clone()).exec(&self.writer).await.map_err(sort)?;
            }
            let count = (ids.len() as u64).saturating_add(sessions.len() as u64);
            swept = swept.saturating_add(count);
            if count == 0 {
                return Ok(swept);
            }
        }
    }
}
