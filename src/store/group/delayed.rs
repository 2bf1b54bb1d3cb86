//! Rows of regular keys that wait for the end of the group, to be written many at a time. Whoever would read what waits
//! has it written first.

use super::cache::{Cache, KeyPlace};
use crate::domain::change::Change;
use crate::domain::credential::Digest;
use crate::domain::key::{Key, KeyType};
use crate::domain::name::TenantId;
use crate::error::Result;
use crate::store::entity::{api_key, api_key_secret};
use crate::store::many::Batch;
use crate::store::rows;
use sea_orm::ActiveValue;
use std::collections::HashSet;

/// Names must fit their columns, or all who share the commit would suffer: longer ones do not wait.
const MAX_NAME: usize = 256;

#[derive(Debug, Default)]
pub(in crate::store) struct Delayed {
    places: HashSet<KeyPlace>,
    digests: HashSet<Digest>,
    names: HashSet<(TenantId, Vec<u8>)>,
    new_keys: Vec<api_key::ActiveModel>,
    new_secrets: Vec<api_key_secret::ActiveModel>,
    changed_keys: Vec<api_key::ActiveModel>,
}

impl Delayed {
    pub(in crate::store) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(in crate::store) fn holds_key(&self, place: &KeyPlace) -> bool {
        self.places.contains(place)
    }

    pub(in crate::store) fn holds_digest(&self, digest: &Digest) -> bool {
        self.digests.contains(digest)
    }

    pub(in crate::store) fn holds_name(&self, tenant: &TenantId, name_key: &[u8]) -> bool {
        !self.names.is_empty() && self.names.contains(&(tenant.clone(), name_key.to_vec()))
    }

    /// Whether these rows can wait: regular keys that are new, or that were read in this group and keep their secrets,
    /// with nothing in them that the database might refuse. Everything else is written in its turn.
    pub(super) fn may_take(&self, changes: &[Change], cache: &Cache) -> bool {
        let mut places = HashSet::new();
        changes.iter().all(|change| match change {
            Change::Key(key) => {
                let place = (key.tenant.clone(), key.id.clone());
                let is_simple = key.kind == KeyType::Regular && is_storable(key) && !self.places.contains(&place);
                let is_once = places.insert(place.clone());
                let are_secrets_kept = || {
                    let before = cache.keys.get(&place).and_then(Option::as_ref);
                    before.is_some_and(|before| before.secrets == key.secrets)
                };
                is_simple && is_once && (change.is_new() || are_secrets_kept())
            }
            Change::Root(_)
            | Change::Tenant(_)
            | Change::User(_)
            | Change::Application(_)
            | Change::Token(_)
            | Change::Session(_)
            | Change::SigningKey(_) => false,
        })
    }

    /// Keeps the rows of a key, which [`Self::may_take`] let pass.
    pub(super) fn take(&mut self, key: &Key, is_new: bool) -> Result<()> {
        let row = rows::key_row(key)?;
        self.places.insert((key.tenant.clone(), key.id.clone()));
        if let ActiveValue::Set(Some(name_key)) = &row.name_key {
            self.names.insert((key.tenant.clone(), name_key.clone()));
        }
        if is_new {
            self.digests.extend(key.secrets.iter().map(|secret| secret.digest));
            self.new_keys.push(row);
            self.new_secrets.extend(rows::secret_rows(key));
        } else {
            self.changed_keys.push(row);
        }
        Ok(())
    }

    /// Takes in what another has kept.
    pub(super) fn append(&mut self, mut other: Self) {
        self.places.extend(other.places);
        self.digests.extend(other.digests);
        self.names.extend(other.names);
        self.new_keys.append(&mut other.new_keys);
        self.new_secrets.append(&mut other.new_secrets);
        self.changed_keys.append(&mut other.changed_keys);
    }

    /// Writes what waited. None of it takes a name that another gives up: whoever wants one that is taken has what waits
    /// written first.
    pub(super) async fn write(self, batch: &mut Batch<'_>) -> Result<()> {
        let Self { places: _, digests: _, names: _, new_keys, new_secrets, changed_keys } = self;
        batch.overwrite_keys(changed_keys).await?;
        batch.insert(new_keys).await?;
        batch.insert(new_secrets).await
    }
}

/// Whether every engine stores these texts as they are.
fn is_storable(key: &Key) -> bool {
    let texts = [&key.display_name, &key.description];
    !texts.iter().any(|text| text.contains('\0')) && key.display_name.chars().count() <= MAX_NAME
}
