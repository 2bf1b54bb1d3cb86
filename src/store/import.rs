//! Many keys at once: what an import must know before it writes, and the writing, each in a few statements.

use super::draft::Draft;
use super::entity::{access_token, api_key, api_key_secret, application_secret, root_secret, user_session};
use super::failure::sort;
use super::many::{CHUNK, insert};
use super::rows;
use crate::domain::change::Change;
use crate::domain::credential::Digest;
use crate::domain::key::Key;
use crate::domain::name::{KeyId, Owner, TenantId};
use crate::error::Result;
use sea_orm::{ColumnTrait, DatabaseTransaction, EntityTrait, QueryFilter, QuerySelect};
use std::collections::{HashMap, HashSet};

/// Whether these changes are new keys and nothing else, and more than one.
pub(super) fn is_bulk(changes: &[Change]) -> bool {
    changes.len() > 1 && changes.iter().all(|change| matches!(change, Change::Key(_)) && change.is_new())
}

impl Draft {
    /// The keys of a tenant that have, or had, one of these digests: each with that one secret only. `None` for what
    /// belongs to another tenant, or is no key's.
    pub async fn holders(&self, tenant: &TenantId, digests: &[Digest]) -> Result<HashMap<Digest, Option<Key>>> {
        self.settle().await?;
        let mut holders = HashMap::new();
        for chunk in digests.chunks(CHUNK) {
            let wanted: Vec<Vec<u8>> = chunk.iter().map(|digest| digest.as_bytes().to_vec()).collect();
            for digest in self.other_digests(&wanted).await? {
                holders.insert(rows::digest(digest)?, None);
            }
            let secrets = api_key_secret::Entity::find()
                .filter(api_key_secret::Column::Digest.is_in(wanted))
                .all(self.transaction())
                .await
                .map_err(sort)?;
            let (own, others): (Vec<_>, Vec<_>) = secrets.into_iter().partition(|row| row.tenant_id == tenant.as_str());
            for row in others {
                holders.insert(rows::digest(row.digest)?, None);
            }
            let ids: Vec<&str> = own.iter().map(|row| row.key_id.as_str()).collect();
            let keys = self.key_rows(tenant, &ids).await?;
            for row in own {
                let digest = rows::digest(row.digest.clone())?;
                let key = keys.get(&row.key_id).cloned();
                holders.insert(digest, key.map(|key| rows::key(key, vec![row])).transpose()?);
            }
        }
        Ok(holders)
    }

    /// Which of these digests are of root, an application, a token or a session.
    async fn other_digests(&self, wanted: &[Vec<u8>]) -> Result<Vec<Vec<u8>>> {
        let mut found = Vec::new();
        macro_rules! look {
            ($entity:ident) => {{
                let select = $entity::Entity::find().select_only().column($entity::Column::Digest);
                let select = select.filter($entity::Column::Digest.is_in(wanted.iter().map(Vec::as_slice)));
                found.extend(select.into_tuple::<Vec<u8>>().all(self.transaction()).await.map_err(sort)?);
            }};
        }
        look!(root_secret);
        look!(application_secret);
        look!(access_token);
        look!(user_session);
        Ok(found)
    }

    async fn key_rows(&self, tenant: &TenantId, ids: &[&str]) -> Result<HashMap<String, api_key::Model>> {
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let rows = api_key::Entity::find()
            .filter(api_key::Column::TenantId.eq(tenant.as_str()))
            .filter(api_key::Column::Id.is_in(ids.iter().copied()))
            .all(self.transaction())
            .await
            .map_err(sort)?;
        Ok(rows.into_iter().map(|row| (row.id.clone(), row)).collect())
    }

    /// Which of these ids keys of the tenant have, or had.
    pub async fn taken_key_ids(&self, tenant: &TenantId, ids: &[KeyId]) -> Result<HashSet<KeyId>> {
        self.settle().await?;
        let mut taken = HashSet::new();
        for chunk in ids.chunks(CHUNK) {
            let found: Vec<String> = api_key::Entity::find()
                .select_only()
                .column(api_key::Column::Id)
                .filter(api_key::Column::TenantId.eq(tenant.as_str()))
                .filter(api_key::Column::Id.is_in(chunk.iter().map(KeyId::as_str)))
                .into_tuple()
                .all(self.transaction())
                .await
                .map_err(sort)?;
            taken.extend(found.iter().filter_map(|id| KeyId::find(id)));
        }
        Ok(taken)
    }

    /// Which of these display names live regular keys of the owner have.
    pub async fn taken_display_names(
        &self,
        tenant: &TenantId,
        owner: &Owner,
        names: &[&str],
    ) -> Result<HashSet<String>> {
        self.settle().await?;
        let by_key: HashMap<Vec<u8>, &str> =
            names.iter().map(|name| (rows::name_key(Some(owner), name), *name)).collect();
        let wanted: Vec<Vec<u8>> = by_key.keys().cloned().collect();
        let mut taken = HashSet::new();
        for chunk in wanted.chunks(CHUNK) {
            let found: Vec<Option<Vec<u8>>> = api_key::Entity::find()
                .select_only()
                .column(api_key::Column::NameKey)
                .filter(api_key::Column::TenantId.eq(tenant.as_str()))
                .filter(api_key::Column::NameKey.is_in(chunk.iter().map(Vec::as_slice)))
                .into_tuple()
                .all(self.transaction())
                .await
                .map_err(sort)?;
            taken.extend(found.iter().flatten().filter_map(|key| by_key.get(key)).map(|name| (*name).to_owned()));
        }
        Ok(taken)
    }
}

/// Writes the rows of new keys and of their secrets.
pub(super) async fn write_new_keys(transaction: &DatabaseTransaction, changes: &[Change]) -> Result<()> {
    let mut keys = Vec::with_capacity(changes.len());
    let mut secrets = Vec::with_capacity(changes.len());
    for change in changes {
        if let Change::Key(key) = change {
            keys.push(rows::key_row(key)?);
            secrets.extend(rows::secret_rows(key));
        }
    }
    insert(keys, transaction).await?;
    insert(secrets, transaction).await
}
