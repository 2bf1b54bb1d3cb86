//! What was read under the lock, kept while the group lasts: nobody else writes while the head is locked, and what the
//! group writes itself is forgotten here. So a row is read once in a group, after the head was locked, however many of
//! its mutations rest on it.

use crate::domain::application::Application;
use crate::domain::change::{Change, Root};
use crate::domain::credential::Digest;
use crate::domain::key::Key;
use crate::domain::name::{ApplicationId, KeyId, TenantId, UserId};
use crate::domain::tenant::Tenant;
use crate::domain::token::{AccessToken, Session};
use crate::domain::user::User;
use crate::store::rows;
use std::collections::HashMap;

/// The place of a key.
pub(in crate::store) type KeyPlace = (TenantId, KeyId);

/// What is known of the rows; `None` within is "there is none".
#[derive(Debug, Default)]
pub(in crate::store) struct Cache {
    pub(in crate::store) root: Option<Option<Root>>,
    pub(in crate::store) tenants: HashMap<TenantId, Option<Tenant>>,
    pub(in crate::store) users: HashMap<(TenantId, UserId), Option<User>>,
    pub(in crate::store) applications: HashMap<(TenantId, ApplicationId), Option<Application>>,
    pub(in crate::store) keys: HashMap<KeyPlace, Option<Key>>,
    /// Which key has the display name that a name key stands for.
    pub(in crate::store) names: HashMap<(TenantId, Vec<u8>), Option<KeyId>>,
    pub(in crate::store) key_digests: HashMap<Digest, Option<KeyPlace>>,
    pub(in crate::store) application_digests: HashMap<Digest, Option<(TenantId, ApplicationId)>>,
    pub(in crate::store) tokens: HashMap<Digest, Option<AccessToken>>,
    pub(in crate::store) sessions: HashMap<Digest, Option<Session>>,
}

impl Cache {
    /// Forgets what these changes are about, before they are written. No wildcard: a new kind of change stops the build
    /// here.
    pub(super) fn forget(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Root(_) => self.root = None,
                Change::Tenant(tenant) => drop(self.tenants.remove(&tenant.id)),
                Change::User(user) => drop(self.users.remove(&(user.tenant.clone(), user.id.clone()))),
                Change::Application(application) => {
                    self.applications.remove(&(application.tenant.clone(), application.id.clone()));
                    self.application_digests.clear();
                }
                Change::Key(key) => {
                    let place = (key.tenant.clone(), key.id.clone());
                    for secret in &key.secrets {
                        self.key_digests.remove(&secret.digest);
                    }
                    self.key_digests.retain(|_, known| known.as_ref() != Some(&place));
                    self.keys.remove(&place);
                    self.names.retain(|(tenant, _), holder| *tenant != key.tenant || holder.as_ref() != Some(&key.id));
                    if key.holds_display_name() {
                        let name_key = rows::name_key(key.owner.as_ref(), &key.display_name);
                        self.names.remove(&(key.tenant.clone(), name_key));
                    }
                }
                Change::Token(_) => self.tokens.clear(),
                Change::Session(_) => self.sessions.clear(),
                // Not kept here.
                Change::SigningKey(_) => {}
            }
        }
    }
}
