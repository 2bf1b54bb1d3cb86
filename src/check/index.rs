//! What Check knows, in memory, written only by the follower.
//!
//! Readers and the one writer agree by a sequence number: the writer makes it odd while it overwrites entries and moves
//! `applied`, and a reader that met an odd number, or finds it changed when it has finished, starts again. So every
//! answer rests on one revision of everything: token, key, application, owner and tenant. Whatever allocates is done
//! before the number is odd.

mod cell;
mod entry;
mod holder;
mod lines;
mod prepare;
mod shared;
mod signing;
mod table;
mod tally;
mod view;

use super::CannotDecide;
use super::jwt::Verified;
use super::uses::Uses;
use crate::domain::change::Change;
use crate::domain::clock::{Moment, Time};
use crate::domain::credential::Digest;
use crate::domain::decision::Held;
use crate::domain::name::{Collection, Id, KeyId, Owner, TenantId, UserId};
use crate::domain::policy::{Directory, Whose};
use crate::domain::usage::Use;
use cell::{OwnerCell, TenantCell};
use entry::At;
pub use entry::Principal;
pub(super) use entry::{Entry, Place, Reached, TokenEntry};
use hashbrown::{HashMap, HashSet};
pub(super) use holder::HolderEntry;
use parking_lot::{Mutex, RwLock};
use prepare::Prepared;
use shared::SharedGrants;
use signing::Signing;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use table::{Credentials, Things};
pub(super) use tally::Met;

type OwnersOfTenant = HashMap<Option<Owner>, Arc<OwnerCell>>;

/// Everything Check knows.
#[derive(Debug)]
pub struct Index {
    sequence: AtomicU64,
    /// Held while the sequence number is odd.
    writing: Mutex<()>,
    applied: AtomicI64,
    /// Until when it may answer, on the clock of [`crate::clock::boot_time`].
    valid_until: AtomicU64,
    credentials: Credentials,
    things: Things,
    tenants: RwLock<HashMap<TenantId, Arc<TenantCell>>>,
    owners: RwLock<HashMap<TenantId, OwnersOfTenant>>,
    grants: Mutex<SharedGrants>,
    prefixes: RwLock<HashSet<Box<str>>>,
    root: Mutex<Vec<Digest>>,
    /// Tokens and sessions by the time from which on nobody knows them any more.
    ending: Mutex<BTreeSet<(Time, Place)>>,
    credential_count: AtomicI64,
    uses: Uses,
    signing: Signing,
    verified: Verified,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            writing: Mutex::default(),
            applied: AtomicI64::new(0),
            valid_until: AtomicU64::new(Moment::NEVER.nanos()),
            credentials: Credentials::default(),
            things: Things::default(),
            tenants: RwLock::default(),
            owners: RwLock::default(),
            grants: Mutex::default(),
            prefixes: RwLock::new(HashSet::from_iter(["kw".into()])),
            root: Mutex::default(),
            ending: Mutex::default(),
            credential_count: AtomicI64::new(0),
            uses: Uses::default(),
            signing: Signing::default(),
            verified: Verified::default(),
        }
    }
}

impl Index {
    /// The revision up to which everything is in.
    pub fn applied(&self) -> i64 {
        self.applied.load(Ordering::Acquire)
    }

    /// How many credentials it knows, current and retired.
    pub fn credential_count(&self) -> i64 {
        self.credential_count.load(Ordering::Relaxed)
    }

    /// Whether credentials with this prefix are ours.
    pub(super) fn is_known_prefix(&self, prefix: &str) -> bool {
        self.prefixes.read().contains(prefix)
    }

    /// Whether there is, or was, a tenant of that id.
    pub fn has_tenant(&self, id: &str) -> bool {
        self.tenants.read().contains_key(id)
    }

    /// Whether there is, or was, a key of that id.
    pub fn has_key(&self, tenant: &TenantId, id: &KeyId) -> bool {
        self.has_thing(tenant, Collection::Keys, id.as_str())
    }

    /// Whether there is, or was, a key, application, token or session of that id.
    pub fn has_thing(&self, tenant: &TenantId, collection: Collection, id: &str) -> bool {
        self.things.get(At { tenant, collection, id: Id::of(id) }).is_some()
    }

    /// Whose things are.
    pub fn directory(&self) -> IndexDirectory<'_> {
        IndexDirectory(self)
    }

    /// The JWTs whose signatures were verified.
    pub(super) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Counts a Check in which a key itself was shown, and notes its use if that was allowed.
    pub(super) fn count_check(&self, principal: &Principal, is_allowed: bool, now: Time) {
        if let Some(holder) = principal.shown() {
            self.uses.count(holder, is_allowed, now);
        }
    }

    /// Notes that a key itself was accepted by something that is no Check.
    pub(super) fn note_use(&self, principal: &Principal, now: Time) {
        if let Some(holder) = principal.shown() {
            self.uses.note(holder, now);
        }
    }

    /// In how many parts [`Index::take_uses`] gives all there is now.
    pub fn use_parts(&self) -> usize {
        self.uses.parts()
    }

    /// A part of how keys were used, which was not taken before; none, if there is nothing.
    pub fn take_uses(&self) -> Vec<Use> {
        self.uses.take()
    }

    /// How many Checks were dropped since this was last asked, because too many counts waited to be taken.
    pub fn take_dropped_uses(&self) -> u64 {
        self.uses.take_dropped()
    }

    /// What a digest leads to.
    pub(super) fn credential(&self, digest: &Digest) -> Option<Entry> {
        self.credentials.get(digest)
    }

    /// Whether a credential of that digest was ever ours, in force or not.
    pub fn is_known(&self, digest: &Digest) -> Result<bool, CannotDecide> {
        self.view(|_| self.credential(digest).is_some())
    }

    /// What is known of the thing at `place`.
    pub(super) fn thing(&self, place: &Place) -> Option<Entry> {
        self.things.get(place.at())
    }

    /// Applies the changes of one revision. Only the follower calls it, one revision after the other; it cannot fail.
    pub fn apply(&self, revision: i64, changes: Vec<Change>) {
        // What a later change of the same revision refers to must have a cell before it is prepared.
        let mut prepared = Vec::with_capacity(changes.len());
        for change in last_of_each(changes) {
            prepared.push(self.prepare(change));
        }
        self.make_room(&prepared);
        self.overwrite(|| {
            for change in &mut prepared {
                self.put(change);
            }
            self.applied.store(revision, Ordering::Relaxed);
        });
        // The entries that were replaced are freed here, after the view is whole again.
        drop(prepared);
    }

    /// Forgets the tokens and sessions that have been expired for so long that nothing tells them from ones that never
    /// were. Only the follower calls it. No view needs it to be at once: each denies them all alike.
    pub fn sweep(&self, now: Time) {
        loop {
            let place = {
                let mut ending = self.ending.lock();
                match ending.first() {
                    Some((time, _)) if *time <= now => ending.pop_first().map(|(_, place)| place),
                    Some(_) | None => None,
                }
            };
            let Some(place) = place else { return };
            match self.things.remove(&place) {
                Some(Entry::Token(token)) => token.digest.iter().for_each(|digest| drop(self.remove(digest))),
                Some(Entry::Holder(holder)) => holder.secrets().for_each(|secret| drop(self.remove(&secret.digest))),
                Some(Entry::Root { .. }) | None => {}
            }
        }
    }

    /// Forgets everything, so that it can be loaded anew; stopped first.
    pub fn clear(&self) {
        // What is taken out is freed after the view is whole again.
        let (credentials, things) = (Credentials::default(), Things::default());
        self.overwrite(|| {
            self.valid_until.store(Moment::NEVER.nanos(), Ordering::Relaxed);
            self.applied.store(0, Ordering::Relaxed);
            self.credentials.empty_into(&credentials);
            self.things.empty_into(&things);
        });
        self.owners.write().clear();
        self.tenants.write().clear();
        self.grants.lock().clear();
        self.root.lock().clear();
        self.ending.lock().clear();
        self.credential_count.store(0, Ordering::Relaxed);
        self.signing.clear();
    }

    fn put(&self, change: &mut Prepared) {
        match change {
            Prepared::Root { entries, gone } => {
                for (digest, entry) in entries.iter_mut() {
                    if let Some(mut old) = self.insert(digest, entry) {
                        std::mem::swap(entry, &mut old);
                    }
                }
                for digest in gone.iter() {
                    self.remove(digest);
                }
            }
            Prepared::Tenant { cell, standing } => cell.standing.store(*standing, Ordering::Relaxed),
            Prepared::User { cell, user } => cell.set(user),
            Prepared::Thing { entry, digests, gone, replaced } => {
                for digest in digests.iter() {
                    replaced.extend(self.insert(digest, entry));
                }
                for digest in gone.iter() {
                    replaced.extend(self.remove(digest));
                }
                replaced.extend(self.things.insert(entry));
            }
            Prepared::SigningKey { kid, key } => {
                let old = self.signing.put(std::mem::take(kid), Arc::clone(key));
                *key = old.unwrap_or_else(|| Arc::clone(key));
            }
        }
    }

    fn insert(&self, digest: &Digest, entry: &Entry) -> Option<Entry> {
        let old = self.credentials.insert(digest, entry);
        if old.is_none() {
            self.credential_count.fetch_add(1, Ordering::Relaxed);
        }
        old
    }

    fn remove(&self, digest: &Digest) -> Option<Entry> {
        let old = self.credentials.remove(digest);
        if old.is_some() {
            self.credential_count.fetch_sub(1, Ordering::Relaxed);
        }
        old
    }
}

/// Of several changes of one thing in one revision, the last: each carries the whole thing, and what one replaces is
/// worked out from what was there before the revision.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    if changes.len() < 2 {
        return changes;
    }
    let is_each_once = {
        let mut seen = HashSet::with_capacity(changes.len());
        changes.iter().all(|change| seen.insert(change.identity()))
    };
    if is_each_once {
        return changes;
    }
    let mut seen = HashSet::with_capacity(changes.len());
    let mut last: Vec<Change> = changes.into_iter().rev().filter(|change| seen.insert(change.entity())).collect();
    last.reverse();
    last
}

/// Looks up in the index whose things are.
#[derive(Clone, Copy, Debug)]
pub struct IndexDirectory<'a>(&'a Index);

impl IndexDirectory<'_> {
    /// Whose what was shown is.
    pub fn whose_held(&self, held: &Held<'_>) -> Option<Whose> {
        let tenant = held.facts.tenant;
        match held.facts.owner? {
            Owner::User(user) => self.whose(tenant, Collection::Users, user.as_str()),
            Owner::Application(id) => self.whose(tenant, Collection::Applications, id.as_str()),
        }
    }

    /// The user behind a thing: its owner, or the owner of the application or key that it belongs to.
    fn user(&self, tenant: &TenantId, collection: Collection, id: &str) -> Option<UserId> {
        let index = self.0;
        match index.things.get(At { tenant, collection, id: Id::of(id) })? {
            Entry::Root { .. } => None,
            Entry::Token(token) => {
                let parent = &token.parent;
                // A token's parent is no token.
                (parent.collection != collection).then(|| self.user(tenant, parent.collection, &parent.id))?
            }
            Entry::Holder(holder) => match holder.owner.owner.as_ref()? {
                Owner::User(user) => Some(user.clone()),
                Owner::Application(id) => self.user(tenant, Collection::Applications, id.as_str()),
            },
        }
    }
}

impl Directory for IndexDirectory<'_> {
    fn whose(&self, tenant: &TenantId, collection: Collection, id: &str) -> Option<Whose> {
        let user = match collection {
            Collection::Users => UserId::find(id)?,
            Collection::Keys | Collection::Applications | Collection::Tokens | Collection::Sessions => {
                self.user(tenant, collection, id)?
            }
            Collection::Tenants | Collection::Events => return None,
        };
        let owner = Some(Owner::User(user.clone()));
        let role = self.0.owners.read().get(tenant)?.get(&owner)?.state()?.role;
        Some(Whose { user, role })
    }
}
