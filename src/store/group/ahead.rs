//! Reading ahead. What those who wait will ask for in their turns is read for all of them together, one statement a
//! table, instead of by each for itself.
//!
//! INVARIANT (decided under the lock): it is read after the head was locked, in statements of their own, and kept where
//! what a turn reads is kept ([`Cache`]), which forgets what the group itself writes. What waits to be written is left
//! out, and so is a row that makes no sense: whoever needs it reads it in its turn, and hears of it alone.

use super::Work;
use super::cache::{Cache, KeyPlace};
use super::delayed::Delayed;
use crate::domain::credential::Digest;
use crate::domain::name::{KeyId, Owner, TenantId, UserId};
use crate::domain::token::{Parent, Proof};
use crate::error::Result;
use crate::store::entity::{api_key, api_key_secret, tenant, tenant_user};
use crate::store::failure::sort;
use crate::store::many::{find, padded};
use crate::store::rows;
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QuerySelect};
use std::collections::{BTreeSet, HashMap};

/// What a mutation will read, as far as that is known before its turn. Nothing rests on it: what is not here is read when
/// it is asked for, and what is here in vain is not used.
#[derive(Clone, Debug, Default)]
pub struct Wants {
    digest: Option<Digest>,
    keys: Vec<(TenantId, KeyId)>,
    users: Vec<(TenantId, UserId)>,
    names: Vec<(TenantId, Vec<u8>)>,
}

impl Wants {
    /// What readmitting the bearer of this proof takes.
    pub fn of(proof: &Proof) -> Self {
        let mut wants = Self::default();
        match proof {
            Proof::Credential(digest) => wants.digest = Some(*digest),
            Proof::Jwt { tenant, token, .. } => match &token.parent {
                Parent::Key(id) => wants.keys.push((tenant.clone(), id.clone())),
                Parent::Application(_) => {}
            },
        }
        wants
    }

    /// And this key, with its owner.
    pub fn key(mut self, tenant: &TenantId, id: &KeyId) -> Self {
        self.keys.push((tenant.clone(), id.clone()));
        self
    }

    /// And an owner, with whether it has a key of this display name.
    pub fn name(mut self, tenant: &TenantId, owner: Option<&Owner>, display_name: &str) -> Self {
        if let Some(Owner::User(user)) = owner {
            self.users.push((tenant.clone(), user.clone()));
        }
        if !display_name.is_empty() {
            self.names.push((tenant.clone(), rows::name_key(owner, display_name)));
        }
        self
    }

    fn is_empty(&self) -> bool {
        let Self { digest, keys, users, names } = self;
        digest.is_none() && keys.is_empty() && users.is_empty() && names.is_empty()
    }
}

/// What is read for all, each but once.
#[derive(Debug, Default)]
struct Needs {
    digests: BTreeSet<Digest>,
    keys: BTreeSet<KeyPlace>,
    users: BTreeSet<(TenantId, UserId)>,
    tenants: BTreeSet<TenantId>,
    names: BTreeSet<(TenantId, Vec<u8>)>,
}

impl Needs {
    /// Of what is wanted, what is neither known nor waits to be written.
    fn of(wants: &[Wants], cache: &Cache, delayed: &Delayed) -> Self {
        let mut needs = Self::default();
        for want in wants.iter().filter(|want| !want.is_empty()) {
            needs.digests.extend(want.digest);
            needs.users.extend(want.users.iter().cloned());
            needs.names.extend(want.names.iter().cloned());
            needs.add_keys(want.keys.iter().cloned(), cache, delayed);
        }
        for digest in &needs.digests {
            if let Some(Some(place)) = cache.key_digests.get(digest) {
                let place = place.clone();
                if !cache.keys.contains_key(&place) && !delayed.holds_key(&place) {
                    needs.keys.insert(place);
                }
            }
        }
        needs.digests.retain(|digest| !cache.key_digests.contains_key(digest) && !delayed.holds_digest(digest));
        needs.names.retain(|name| !cache.names.contains_key(name) && !delayed.holds_name(&name.0, &name.1));
        needs
    }

    fn add_keys(&mut self, places: impl Iterator<Item = KeyPlace>, cache: &Cache, delayed: &Delayed) {
        self.keys.extend(places.filter(|place| !cache.keys.contains_key(place) && !delayed.holds_key(place)));
    }
}

impl Work {
    /// Reads what these mutations will ask for.
    pub(super) async fn read_ahead(&self, wants: &[Wants]) -> Result<()> {
        let mut needs = {
            let delayed = self.delayed.lock();
            Needs::of(wants, &self.cache.lock(), &delayed)
        };
        self.read_digests(&mut needs).await?;
        self.read_keys(&mut needs).await?;
        {
            let cache = self.cache.lock();
            // Whoever owns what is known already, too.
            for want in wants {
                let of_digest = want.digest.and_then(|digest| cache.key_digests.get(&digest).cloned().flatten());
                for place in want.keys.iter().chain(&of_digest) {
                    if let Some(Some(key)) = cache.keys.get(place)
                        && let Some(Owner::User(user)) = &key.owner
                    {
                        needs.users.insert((key.tenant.clone(), user.clone()));
                    }
                }
            }
            needs.users.retain(|place| !cache.users.contains_key(place));
            let places = wants.iter().flat_map(|want| want.keys.iter().map(|(tenant, _)| tenant));
            needs.tenants.extend(places.chain(needs.users.iter().map(|(tenant, _)| tenant)).cloned());
            needs.tenants.retain(|id| !cache.tenants.contains_key(id));
        }
        self.read_users(&needs).await?;
        self.read_tenants(&needs).await?;
        self.read_names(&needs).await
    }

    async fn read_digests(&self, needs: &mut Needs) -> Result<()> {
        if needs.digests.is_empty() {
            return Ok(());
        }
        let wanted = padded(needs.digests.iter().map(|digest| digest.as_bytes().to_vec()));
        let select = api_key_secret::Entity::find()
            .select_only()
            .columns([api_key_secret::Column::Digest, api_key_secret::Column::TenantId, api_key_secret::Column::KeyId])
            .filter(api_key_secret::Column::Digest.is_in(wanted))
            .into_tuple::<(Vec<u8>, String, String)>();
        let found = select.all(&self.transaction).await.map_err(sort)?;
        let mut places = HashMap::new();
        for (digest, tenant, key) in found {
            let digest = rows::digest(digest)?;
            // One that makes no sense is left to whoever shows it.
            match rows::key_place(&tenant, &key) {
                Ok(place) => drop(places.insert(digest, place)),
                Err(_) => drop(needs.digests.remove(&digest)),
            }
        }
        let delayed = self.delayed.lock();
        let mut cache = self.cache.lock();
        for digest in &needs.digests {
            cache.key_digests.insert(*digest, places.get(digest).cloned());
        }
        needs.add_keys(places.into_values(), &cache, &delayed);
        Ok(())
    }

    async fn read_keys(&self, needs: &mut Needs) -> Result<()> {
        if needs.keys.is_empty() {
            return Ok(());
        }
        let places = || needs.keys.iter().map(|(tenant, id)| (tenant.as_str().into(), id.as_str().into()));
        let columns = [api_key_secret::Column::TenantId, api_key_secret::Column::KeyId];
        let secrets = find::<api_key_secret::Entity>(columns, places(), &self.transaction).await?;
        let mut of_key: HashMap<(String, String), Vec<api_key_secret::Model>> = HashMap::new();
        for secret in secrets {
            of_key.entry((secret.tenant_id.clone(), secret.key_id.clone())).or_default().push(secret);
        }
        let columns = [api_key::Column::TenantId, api_key::Column::Id];
        let found = find::<api_key::Entity>(columns, places(), &self.transaction).await?;
        let mut cache = self.cache.lock();
        let mut absent = std::mem::take(&mut needs.keys);
        for row in found {
            let place = (row.tenant_id.clone(), row.id.clone());
            let secrets = of_key.remove(&place).unwrap_or_default();
            let named = rows::key_place(&place.0, &place.1);
            if let Ok(place) = named {
                absent.remove(&place);
                if let Ok(key) = rows::key(row, secrets) {
                    cache.keys.insert(place, Some(key));
                }
            }
        }
        cache.keys.extend(absent.into_iter().map(|place| (place, None)));
        Ok(())
    }

    async fn read_users(&self, needs: &Needs) -> Result<()> {
        if needs.users.is_empty() {
            return Ok(());
        }
        let places = needs.users.iter().map(|(tenant, id)| (tenant.as_str().into(), id.as_str().into()));
        let columns = [tenant_user::Column::TenantId, tenant_user::Column::Id];
        let found = find::<tenant_user::Entity>(columns, places, &self.transaction).await?;
        let mut cache = self.cache.lock();
        for user in found.into_iter().filter_map(|row| rows::user(row).ok()) {
            cache.users.insert((user.tenant.clone(), user.id.clone()), Some(user));
        }
        Ok(())
    }

    async fn read_tenants(&self, needs: &Needs) -> Result<()> {
        if needs.tenants.is_empty() {
            return Ok(());
        }
        let wanted = padded(needs.tenants.iter().map(TenantId::as_str));
        let found = tenant::Entity::find()
            .filter(tenant::Column::Id.is_in(wanted))
            .all(&self.transaction)
            .await
            .map_err(sort)?;
        let mut cache = self.cache.lock();
        for tenant in found.into_iter().filter_map(|row| rows::tenant(row).ok()) {
            cache.tenants.insert(tenant.id.clone(), Some(tenant));
        }
        Ok(())
    }

    async fn read_names(&self, needs: &Needs) -> Result<()> {
        if needs.names.is_empty() {
            return Ok(());
        }
        let places = needs.names.iter().map(|(tenant, name)| (tenant.as_str().into(), name.clone().into()));
        let columns = [api_key::Column::TenantId, api_key::Column::NameKey];
        let found = find::<api_key::Entity>(columns, places, &self.transaction).await?;
        let holders: HashMap<(String, Vec<u8>), String> =
            found.into_iter().filter_map(|row| Some(((row.tenant_id, row.name_key?), row.id))).collect();
        let delayed = self.delayed.lock();
        let mut cache = self.cache.lock();
        for (tenant, name) in &needs.names {
            let holder = match holders.get(&(tenant.as_str().to_owned(), name.clone())) {
                // One that makes no sense is left to whoever wants its name.
                Some(id) => match KeyId::find(id) {
                    // What waits to be written may give the name up.
                    Some(id) if !delayed.holds_key(&(tenant.clone(), id.clone())) => Some(id),
                    Some(_) | None => continue,
                },
                None => None,
            };
            cache.names.insert((tenant.clone(), name.clone()), holder);
        }
        Ok(())
    }
}
