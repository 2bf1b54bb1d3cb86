//! What Check knows, in memory, written only by the follower.
//!
//! Readers and the one writer agree by a sequence number: the writer makes it odd while it overwrites entries and moves
//! `applied`, and a reader that met an odd number, or finds it changed when it has finished, starts again. So every
//! answer rests on one revision of everything: token, key, application, owner and tenant. Whatever allocates is done
//! before the number is odd. Each shard of a map has a lock of its own, held for one look-up or one insertion.

mod entry;
mod prepare;
mod signing;
mod view;

use super::CannotDecide;
use super::jwt::Verified;
use super::uses::Uses;
use crate::domain::change::Change;
use crate::domain::clock::{Moment, Time};
use crate::domain::credential::Digest;
use crate::domain::decision::Held;
use crate::domain::facts::Holder;
use crate::domain::name::{Collection, KeyId, Owner, TenantId, UserId};
use crate::domain::policy::{Directory, Whose};
pub use entry::Principal;
pub(super) use entry::{Entry, Place, Reached, TokenEntry};
use entry::{TenantCell, UserCell};
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use prepare::Prepared;
use signing::Signing;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// Enough that growing one shard of ten million entries takes about a millisecond.
const SHARDS: usize = 1024;

type Shard<K> = RwLock<HashMap<K, Entry>>;

/// Everything Check knows.
#[derive(Debug)]
pub struct Index {
    sequence: AtomicU64,
    /// Held while the sequence number is odd.
    writing: Mutex<()>,
    applied: AtomicI64,
    /// Until when it may answer, on the clock of [`crate::clock::boot_time`].
    valid_until: AtomicU64,
    credentials: Box<[Shard<Digest>]>,
    things: Box<[Shard<Place>]>,
    hasher: RandomState,
    users: RwLock<HashMap<(TenantId, UserId), Arc<UserCell>>>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantCell>>>,
    prefixes: RwLock<HashSet<Box<str>>>,
    root: Mutex<Vec<Digest>>,
    /// Tokens and sessions by the time from which on nobody knows them any more.
    ending: Mutex<BTreeSet<(Time, Place)>>,
    credential_count: AtomicI64,
    /// How many of them were imported and are not of our form.
    foreign_count: AtomicI64,
    uses: Uses,
    signing: Signing,
    verified: Verified,
}

fn shards<K>() -> Box<[Shard<K>]> {
    (0..SHARDS).map(|_| RwLock::new(HashMap::new())).collect()
}

fn credential_number(digest: &Digest) -> usize {
    let [first, second, ..] = *digest.as_bytes();
    (usize::from(first) | usize::from(second) << 8) % SHARDS
}

impl Default for Index {
    fn default() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            writing: Mutex::default(),
            applied: AtomicI64::new(0),
            valid_until: AtomicU64::new(Moment::NEVER.nanos()),
            credentials: shards(),
            things: shards(),
            hasher: RandomState::new(),
            users: RwLock::default(),
            tenants: RwLock::default(),
            prefixes: RwLock::new(HashSet::from_iter(["kw".into()])),
            root: Mutex::default(),
            ending: Mutex::default(),
            credential_count: AtomicI64::new(0),
            foreign_count: AtomicI64::new(0),
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

    /// Whether it knows a credential that was imported and is not of our form: then any text may be one.
    pub(super) fn has_foreign(&self) -> bool {
        self.foreign_count.load(Ordering::Acquire) > 0
    }

    /// Whether credentials with this prefix are ours.
    pub(super) fn is_known_prefix(&self, prefix: &str) -> bool {
        self.prefixes.read().contains(prefix)
    }

    /// Whether there is, or was, a tenant of that id.
    pub fn has_tenant(&self, id: &TenantId) -> bool {
        self.tenants.read().contains_key(id)
    }

    /// Whether there is, or was, a key of that id.
    pub fn has_key(&self, tenant: &TenantId, id: &KeyId) -> bool {
        self.has_thing(tenant, Collection::Keys, id.as_str())
    }

    /// Whether there is, or was, a key, application, token or session of that id.
    pub fn has_thing(&self, tenant: &TenantId, collection: Collection, id: &str) -> bool {
        self.thing(&Place::new(tenant, collection, id)).is_some()
    }

    /// Whose things are.
    pub fn directory(&self) -> IndexDirectory<'_> {
        IndexDirectory(self)
    }

    /// The JWTs whose signatures were verified.
    pub(super) fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Notes that a key itself was accepted.
    pub(super) fn note_use(&self, principal: &Principal, now: Time) {
        let Reached::Held(whole) = &principal.0 else { return };
        if let Some(holder) = whole.shown()
            && let Holder::Key { id, .. } = &holder.facts.holder
        {
            self.uses.note(&holder.last_use, now, || (holder.facts.tenant.clone(), id.clone()));
        }
    }

    /// The keys accepted since this was last asked, each with the minute of its last use.
    pub fn take_uses(&self) -> Vec<(TenantId, KeyId, Time)> {
        self.uses.take()
    }

    /// What a digest leads to. Cloned, so that nobody waits for this reader to have decided.
    pub(super) fn credential(&self, digest: &Digest) -> Option<Entry> {
        self.credential_shard(digest)?.read().get(digest).cloned()
    }

    /// Whether a credential of that digest was ever ours, in force or not.
    pub fn is_known(&self, digest: &Digest) -> Result<bool, CannotDecide> {
        self.view(|_| self.credential(digest).is_some())
    }

    /// What is known of the thing at `place`.
    pub(super) fn thing(&self, place: &Place) -> Option<Entry> {
        self.thing_shard(place)?.read().get(place).cloned()
    }

    fn credential_shard(&self, digest: &Digest) -> Option<&Shard<Digest>> {
        self.credentials.get(credential_number(digest))
    }

    fn thing_shard(&self, place: &Place) -> Option<&Shard<Place>> {
        self.things.get(self.thing_number(place))
    }

    fn thing_number(&self, place: &Place) -> usize {
        usize::try_from(self.hasher.hash_one(place) % SHARDS as u64).unwrap_or_default()
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
            let thing = self.thing_shard(&place).and_then(|shard| shard.write().remove(&place));
            match thing {
                Some(Entry::Token(token)) => token.digest.iter().for_each(|digest| self.remove(digest)),
                Some(Entry::Holder(holder)) => holder.secrets.iter().for_each(|secret| self.remove(&secret.digest)),
                Some(Entry::Root { .. }) | None => {}
            }
        }
    }

    /// Forgets everything, so that it can be loaded anew; stopped first.
    pub fn clear(&self) {
        // What is taken out is freed after the view is whole again.
        let (credentials, things) = (shards::<Digest>(), shards::<Place>());
        self.overwrite(|| {
            self.valid_until.store(Moment::NEVER.nanos(), Ordering::Relaxed);
            self.applied.store(0, Ordering::Relaxed);
            for (mine, empty) in self.credentials.iter().zip(&credentials) {
                std::mem::swap(&mut *mine.write(), &mut *empty.write());
            }
            for (mine, empty) in self.things.iter().zip(&things) {
                std::mem::swap(&mut *mine.write(), &mut *empty.write());
            }
        });
        self.users.write().clear();
        self.tenants.write().clear();
        self.root.lock().clear();
        self.ending.lock().clear();
        self.credential_count.store(0, Ordering::Relaxed);
        self.foreign_count.store(0, Ordering::Release);
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
            Prepared::Thing { place, entry, digests, gone, replaced } => {
                for digest in digests.iter() {
                    replaced.extend(self.insert(digest, entry));
                }
                for digest in gone.iter() {
                    self.remove(digest);
                }
                if let Some(place) = place.take()
                    && let Some(shard) = self.thing_shard(&place)
                {
                    let old = shard.write().insert(place, entry.clone());
                    let before = old.as_ref().map_or(0, Entry::foreign_count);
                    self.foreign_count.fetch_add(entry.foreign_count().saturating_sub(before), Ordering::AcqRel);
                    replaced.extend(old);
                }
            }
            Prepared::SigningKey { kid, key } => {
                let old = self.signing.put(std::mem::take(kid), Arc::clone(key));
                *key = old.unwrap_or_else(|| Arc::clone(key));
            }
        }
    }

    fn insert(&self, digest: &Digest, entry: &Entry) -> Option<Entry> {
        let old = self.credential_shard(digest)?.write().insert(*digest, entry.clone());
        if old.is_none() {
            self.credential_count.fetch_add(1, Ordering::Relaxed);
        }
        old
    }

    fn remove(&self, digest: &Digest) {
        let removed = self.credential_shard(digest).and_then(|shard| shard.write().remove(digest));
        if removed.is_some() {
            self.credential_count.fetch_sub(1, Ordering::Relaxed);
        }
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
        let tenant = &held.facts.tenant;
        match held.facts.owner.as_ref()? {
            Owner::User(user) => self.whose(tenant, Collection::Users, user.as_str()),
            Owner::Application(id) => self.whose(tenant, Collection::Applications, id.as_str()),
        }
    }

    /// The user behind a thing: its owner, or the owner of the application or key that it belongs to.
    fn user(&self, tenant: &TenantId, collection: Collection, id: &str) -> Option<UserId> {
        let index = self.0;
        match index.thing(&Place::new(tenant, collection, id))? {
            Entry::Root { .. } => None,
            Entry::Token(token) => {
                let parent = &token.parent;
                // A token's parent is no token.
                (parent.collection != collection).then(|| self.user(tenant, parent.collection, &parent.id))?
            }
            Entry::Holder(holder) => match (&holder.application, &holder.facts.owner) {
                (Some(application), _) => self.user(tenant, application.collection, &application.id),
                (None, owner) => owner.as_ref()?.user().cloned(),
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
        let place = (tenant.clone(), user);
        let role = self.0.users.read().get(&place)?.state().role;
        Some(Whose { user: place.1, role })
    }
}
