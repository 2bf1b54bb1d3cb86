//! From what is asked for to a key: for one that is made, and for those that are imported.

use super::NewKey;
use crate::check::Caller;
use crate::desk::{Edit, new_uid};
use crate::domain::key::{Key, KeyType, Secret};
use crate::domain::name::{KeyId, Owner};
use crate::store::Wants;

impl NewKey {
    /// What making it will read, if the caller's own owner is still who it was.
    pub(super) fn wants(&self, caller: &Caller) -> Wants {
        let owner = self.parent.owner.clone().or_else(|| caller.actor().owner());
        let wants = Wants::of(caller.proof()).name(&self.parent.tenant, owner.as_ref(), &self.display_name);
        match &self.id {
            Some(id) => wants.key(&self.parent.tenant, id),
            None => wants,
        }
    }

    /// The regular key that this becomes; without an expiry of its own it gets the caller's.
    pub(in crate::desk) fn into_key(self, owner: Owner, secret: Secret, edit: &Edit<'_>) -> Key {
        let now = edit.now();
        let uid = new_uid(now);
        Key {
            tenant: self.parent.tenant,
            id: self.id.unwrap_or_else(|| KeyId::of_uid(uid)),
            uid,
            kind: KeyType::Regular,
            owner: Some(owner),
            display_name: self.display_name,
            description: self.description,
            grants: self.grants,
            allowed_ips: self.allowed_ips,
            allowed_referrers: self.allowed_referrers,
            labels: self.labels,
            not_before_time: self.not_before_time,
            expire_time: self.expire_time.or_else(|| edit.actor.default_expire_time()),
            is_suspended: false,
            revocation: None,
            delete_time: None,
            secrets: vec![secret],
            secret_key: None,
            public_credential: None,
            tokens_end_revision: 0,
            create_time: now,
            update_time: now,
            revision: 0,
        }
    }
}
