//! What is known of tenants and owners: cells that entries point to, overwritten in place.

use super::entry::Place;
use crate::domain::facts::OwnerState;
use crate::domain::name::{Collection, Owner, TenantId};
use crate::domain::tenant::Standing;
use crate::domain::user::{Role, User};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};

/// What is known of a tenant; its standing is overwritten in place.
#[derive(Debug)]
pub(super) struct TenantCell {
    pub(super) id: TenantId,
    pub(super) standing: AtomicU8,
}

/// Whose a thing is, and in which tenant; what is known of a user is overwritten in place.
#[derive(Debug)]
pub(super) struct OwnerCell {
    pub(super) tenant: Arc<TenantCell>,
    pub(super) owner: Option<Owner>,
    /// Where the owner is, if it is an application.
    pub(super) application: Option<Place>,
    standing: AtomicU8,
    role: AtomicU8,
    sessions_end_revision: AtomicI64,
}

impl TenantCell {
    /// One that is not known yet, and so stands as deleted.
    pub(super) fn unknown(id: TenantId) -> Self {
        Self { id, standing: AtomicU8::new(standing_byte(Standing::Deleted)) }
    }

    pub(super) fn standing(&self) -> Standing {
        standing_of(self.standing.load(Ordering::Relaxed))
    }
}

impl OwnerCell {
    /// One that is not known yet, and so stands as deleted.
    pub(super) fn unknown(tenant: Arc<TenantCell>, owner: Option<Owner>) -> Self {
        let application = match &owner {
            Some(Owner::Application(id)) => Some(Place::new(&tenant.id, Collection::Applications, id.as_str())),
            Some(Owner::User(_)) | None => None,
        };
        Self {
            tenant,
            owner,
            application,
            standing: AtomicU8::new(standing_byte(Standing::Deleted)),
            role: AtomicU8::new(0),
            sessions_end_revision: AtomicI64::new(0),
        }
    }

    /// What is known of the user, if it is one; of the user behind an application, the application knows.
    pub(super) fn state(&self) -> Option<OwnerState> {
        let is_user = self.owner.as_ref().is_some_and(|owner| owner.user().is_some());
        is_user.then(|| OwnerState {
            standing: standing_of(self.standing.load(Ordering::Relaxed)),
            role: role_of(self.role.load(Ordering::Relaxed)),
            sessions_end_revision: self.sessions_end_revision.load(Ordering::Relaxed),
        })
    }

    pub(super) fn set(&self, user: &User) {
        self.standing.store(standing_byte(user.standing()), Ordering::Relaxed);
        self.role.store(role_byte(user.role), Ordering::Relaxed);
        self.sessions_end_revision.store(user.sessions_end_revision, Ordering::Relaxed);
    }
}

fn standing_of(byte: u8) -> Standing {
    match byte {
        1 => Standing::Active,
        2 => Standing::Suspended,
        _ => Standing::Deleted,
    }
}

pub(super) fn standing_byte(standing: Standing) -> u8 {
    match standing {
        Standing::Deleted => 0,
        Standing::Active => 1,
        Standing::Suspended => 2,
    }
}

fn role_of(byte: u8) -> Role {
    match byte {
        1 => Role::Admin,
        2 => Role::Owner,
        _ => Role::Member,
    }
}

fn role_byte(role: Role) -> u8 {
    match role {
        Role::Member => 0,
        Role::Admin => 1,
        Role::Owner => 2,
    }
}
