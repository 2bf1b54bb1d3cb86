//! What Check knows, in memory, written only by the follower.
//!
//! Readers and the one writer agree by a sequence number: the writer makes it odd while it overwrites entries and moves
//! `applied`, and a reader that met an odd number, or finds it changed when it has finished, starts again. So every
//! answer rests on one revision of everything: key, owner and tenant. Whatever allocates is done before the number is
//! odd. Each shard of a map has a lock of its own, held for
//! one look-up or one insertion.

mod shards;

use self::shards::{SHARDS, credential_shard_of, key_shard_of};
use super::CannotDecide;
use super::uses::Uses;
use crate::domain::change::{Change, Root};
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::decision::{Facts, Found, OwnerState};
use crate::domain::key::{Key, Retirement};
use crate::domain::name::{Collection, KeyId, Owner, TenantId, UserId};
use crate::domain::policy::{Actor, Directory, Whose};
use crate::domain::tenant::{Standing, Tenant};
use crate::domain::user::{Role, User};
use hashbrown::{HashMap, HashSet};
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU64, Ordering, fence};

/// After how many tries in vain a reader lets others run.
const TRIES_BEFORE_YIELD: u32 = 16;

/// After how many views that a change cut short a reader gives up: a question so large that it never fits between two
/// changes must not hold its thread for ever.
const MAX_LOOKS: u32 = 1000;

/// What is known of a tenant; its standing is overwritten in place.
#[derive(Debug)]
struct TenantCell {
    standing: AtomicU8,
}

/// What is known of a user; its standing and role are overwritten in place.
#[derive(Debug)]
struct UserCell {
    standing: AtomicU8,
    role: AtomicU8,
}

fn standing_of(byte: u8) -> Standing {
    match byte {
        1 => Standing::Active,
        2 => Standing::Suspended,
        _ => Standing::Deleted,
    }
}

fn standing_byte(standing: Standing) -> u8 {
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

impl UserCell {
    fn state(&self) -> OwnerState {
        OwnerState {
            standing: standing_of(self.standing.load(Ordering::Relaxed)),
            role: role_of(self.role.load(Ordering::Relaxed)),
        }
    }

    fn set(&self, user: &User) {
        self.standing.store(standing_byte(user.standing()), Ordering::Relaxed);
        self.role.store(role_byte(user.role), Ordering::Relaxed);
    }
}

/// What is known of a key: the facts, where its owner and tenant stand, and when each of its secrets retires.
#[derive(Debug)]
struct KeyEntry {
    facts: Facts,
    secrets: Box<[(Digest, Option<Retirement>)]>,
    /// How many of them are not of our form.
    foreign_count: i64,
    owner: Option<Arc<UserCell>>,
    tenant: Arc<TenantCell>,
    /// The minute in which it was last used; shared by the entries that follow each other.
    last_use: Arc<AtomicI64>,
}

/// What a digest leads to.
#[derive(Clone, Debug)]
pub struct Entry(Leads);

#[derive(Clone, Debug)]
enum Leads {
    Root { retirement: Option<Retirement> },
    Key(Arc<KeyEntry>),
}

impl Entry {
    /// What the decision is about.
    pub(super) fn found(&self, digest: &Digest) -> Found<'_> {
        match &self.0 {
            Leads::Root { retirement } => Found::Root { retirement: *retirement },
            Leads::Key(entry) => Found::Key {
                facts: &entry.facts,
                retirement: entry.retirement(digest),
                owner: entry.owner.as_ref().map(|owner| owner.state()),
                tenant: standing_of(entry.tenant.standing.load(Ordering::Relaxed)),
            },
        }
    }

    /// Whom it is about.
    pub(super) fn principal(&self) -> Principal {
        match &self.0 {
            Leads::Root { .. } => Principal(Holder::Root),
            Leads::Key(entry) => Principal(Holder::Key {
                owner: entry.owner.as_ref().map(|owner| owner.state()),
                entry: Arc::clone(entry),
            }),
        }
    }
}

impl KeyEntry {
    fn retirement(&self, digest: &Digest) -> Option<Retirement> {
        match self.secrets.iter().find(|(own, _)| own.matches(digest)) {
            Some((_, retirement)) => *retirement,
            // Not one of its secrets any more: as good as retired for ever.
            None => Some(Retirement { time: Time::MIN, is_over: true }),
        }
    }
}

/// Whom a decision is about.
#[derive(Clone, Debug)]
pub struct Principal(Holder);

#[derive(Clone, Debug)]
enum Holder {
    Root,
    Key { entry: Arc<KeyEntry>, owner: Option<OwnerState> },
}

impl Principal {
    /// The key's facts; root has none.
    pub fn facts(&self) -> Option<&Facts> {
        match &self.0 {
            Holder::Root => None,
            Holder::Key { entry, .. } => Some(&entry.facts),
        }
    }

    /// The caller it makes, with what it may do.
    pub(super) fn actor(&self) -> Actor {
        match &self.0 {
            Holder::Root => Actor::root(),
            Holder::Key { entry, owner } => Actor::key(entry.facts.clone(), *owner),
        }
    }
}

type Shard<K, V> = RwLock<HashMap<K, V>>;
type KeyShard = Shard<(TenantId, KeyId), Arc<KeyEntry>>;

/// Everything Check knows.
#[derive(Debug)]
pub struct Index {
    sequence: AtomicU64,
    applied: AtomicI64,
    is_serving: AtomicBool,
    credentials: Box<[Shard<Digest, Entry>]>,
    keys: Box<[KeyShard]>,
    users: RwLock<HashMap<(TenantId, UserId), Arc<UserCell>>>,
    tenants: RwLock<HashMap<TenantId, Arc<TenantCell>>>,
    prefixes: RwLock<HashSet<Box<str>>>,
    root: Mutex<Vec<Digest>>,
    credential_count: AtomicI64,
    /// How many of them were imported and are not of our form.
    foreign_count: AtomicI64,
    uses: Uses,
}

fn shards<K, V>() -> Box<[Shard<K, V>]> {
    (0..SHARDS).map(|_| RwLock::new(HashMap::new())).collect()
}

impl Default for Index {
    fn default() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            applied: AtomicI64::new(0),
            is_serving: AtomicBool::new(false),
            credentials: shards(),
            keys: shards(),
            users: RwLock::default(),
            tenants: RwLock::default(),
            prefixes: RwLock::new(HashSet::from_iter(["kw".into()])),
            root: Mutex::default(),
            credential_count: AtomicI64::new(0),
            foreign_count: AtomicI64::new(0),
            uses: Uses::default(),
        }
    }
}

/// One change, with everything built that applying it needs.
enum Prepared {
    Root { entries: Vec<(Digest, Entry)>, gone: Vec<Digest> },
    Tenant { cell: Arc<TenantCell>, standing: u8 },
    User { cell: Arc<UserCell>, user: User },
    Key { place: Option<(TenantId, KeyId)>, entry: Arc<KeyEntry>, gone: Vec<Digest>, replaced: Vec<Entry> },
}

impl Index {
    /// The revision up to which everything is in.
    pub fn applied(&self) -> i64 {
        self.applied.load(Ordering::Acquire)
    }

    /// Whether it may answer.
    pub fn is_serving(&self) -> bool {
        self.is_serving.load(Ordering::Acquire)
    }

    /// Lets it answer, or stops it.
    pub fn set_serving(&self, is_serving: bool) {
        self.is_serving.store(is_serving, Ordering::Release);
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
        let place = (tenant.clone(), id.clone());
        self.key_shard(&place).is_some_and(|shard| shard.read().contains_key(&place))
    }

    /// Whose things are.
    pub fn directory(&self) -> IndexDirectory<'_> {
        IndexDirectory(self)
    }

    /// Notes that a key was accepted.
    pub(super) fn note_use(&self, principal: &Principal, now: Time) {
        if let Holder::Key { entry, .. } = &principal.0 {
            self.uses.note(&entry.last_use, now, || (entry.facts.tenant.clone(), entry.facts.id.clone()));
        }
    }

    /// The keys accepted since this was last asked, each with the minute of its last use.
    pub fn take_uses(&self) -> Vec<(TenantId, KeyId, Time)> {
        self.uses.take()
    }

    /// Looks at the entry of `digest` in one consistent view. `look` may run several times and must be pure.
    pub(super) fn view<T>(&self, digest: &Digest, look: impl Fn(Option<&Entry>, i64) -> T) -> Result<T, CannotDecide> {
        let (mut tries, mut looks) = (0_u32, 0_u32);
        loop {
            let before = self.sequence.load(Ordering::Acquire);
            if before.is_multiple_of(2) {
                let is_serving = self.is_serving.load(Ordering::Relaxed);
                let revision = self.applied.load(Ordering::Relaxed);
                // Cloned, so that nobody waits for this reader to have decided.
                let entry = self.credential_shard(digest).and_then(|shard| shard.read().get(digest).cloned());
                let answer = look(entry.as_ref(), revision);
                fence(Ordering::Acquire);
                if self.sequence.load(Ordering::Relaxed) == before {
                    return if is_serving { Ok(answer) } else { Err(CannotDecide) };
                }
                looks = looks.saturating_add(1);
                if looks == MAX_LOOKS {
                    return Err(CannotDecide);
                }
            }
            tries = tries.saturating_add(1);
            if tries.is_multiple_of(TRIES_BEFORE_YIELD) {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
    }

    fn credential_shard(&self, digest: &Digest) -> Option<&Shard<Digest, Entry>> {
        self.credentials.get(credential_shard_of(digest))
    }

    fn key_shard(&self, place: &(TenantId, KeyId)) -> Option<&KeyShard> {
        self.keys.get(key_shard_of(place))
    }

    /// Applies the changes of one revision. Only the follower calls it, one revision after the other; it cannot fail.
    pub fn apply(&self, revision: i64, changes: Vec<Change>) {
        // What a later change of the same revision refers to must have a cell before it is prepared.
        let mut prepared = Vec::with_capacity(changes.len());
        for change in last_of_each(changes) {
            prepared.push(self.prepare(change));
        }
        self.make_room(&prepared);
        // INVARIANT (one view): from here until the number is even again, nothing allocates and nothing waits but for
        // a reader to leave a shard.
        let sequence = self.sequence.load(Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        for change in &mut prepared {
            self.put(change);
        }
        self.applied.store(revision, Ordering::Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Ordering::Release);
        // The entries that were replaced are freed here, after the view is whole again.
        drop(prepared);
    }

    /// Builds what a change puts in, and makes room for it. No wildcard: a new kind of change stops the build here.
    fn prepare(&self, change: Change) -> Prepared {
        match change {
            Change::Root(root) => self.prepare_root(root),
            Change::Tenant(tenant) => Prepared::Tenant {
                cell: self.tenant_cell(&tenant.id, Some(&tenant)),
                standing: standing_byte(tenant.standing()),
            },
            Change::User(user) => Prepared::User { cell: self.user_cell(&user.tenant, &user.id), user },
            Change::Key(key) => self.prepare_key(&key),
        }
    }

    fn prepare_root(&self, root: Root) -> Prepared {
        let entries: Vec<(Digest, Entry)> = root
            .secrets
            .iter()
            .map(|secret| (secret.digest, Entry(Leads::Root { retirement: secret.retirement })))
            .collect();
        let mut known = self.root.lock();
        let gone = known.iter().filter(|old| !entries.iter().any(|(digest, _)| digest == *old)).copied().collect();
        *known = entries.iter().map(|(digest, _)| *digest).collect();
        for (digest, _) in &entries {
            self.reserve(digest);
        }
        Prepared::Root { entries, gone }
    }

    fn prepare_key(&self, key: &Key) -> Prepared {
        let place = (key.tenant.clone(), key.id.clone());
        let old = self.key_shard(&place).and_then(|shard| shard.read().get(&place).cloned());
        let owner = match &key.owner {
            Some(Owner::User(user)) => Some(self.user_cell(&key.tenant, user)),
            Some(Owner::Application(_)) | None => None,
        };
        let secrets: Box<[_]> = key.secrets.iter().map(|secret| (secret.digest, secret.retirement)).collect();
        let gone = old
            .iter()
            .flat_map(|old| old.secrets.iter())
            .map(|(digest, _)| *digest)
            .filter(|digest| !secrets.iter().any(|(kept, _)| kept == digest))
            .collect();
        for (digest, _) in &secrets {
            self.reserve(digest);
        }
        let entry = Arc::new(KeyEntry {
            facts: Facts::from(key),
            secrets,
            foreign_count: key.secrets.iter().filter(|secret| secret.id.is_none()).map(|_| 1).sum(),
            owner,
            tenant: self.tenant_cell(&key.tenant, None),
            last_use: old.as_ref().map_or_else(Arc::default, |old| Arc::clone(&old.last_use)),
        });
        if let Some(shard) = self.key_shard(&place) {
            shard.write().reserve(1);
        }
        let replaced = Vec::with_capacity(entry.secrets.len().saturating_add(1));
        Prepared::Key { place: Some(place), entry, gone, replaced }
    }

    fn reserve(&self, digest: &Digest) {
        if let Some(shard) = self.credential_shard(digest) {
            shard.write().reserve(1);
        }
    }

    /// The cell of a tenant; one that was not known stands as deleted until the change that made it is in.
    fn tenant_cell(&self, id: &TenantId, tenant: Option<&Tenant>) -> Arc<TenantCell> {
        if let Some(tenant) = tenant {
            self.prefixes.write().insert(tenant.credential_prefix.as_str().into());
        }
        let mut tenants = self.tenants.write();
        let new = || Arc::new(TenantCell { standing: AtomicU8::new(standing_byte(Standing::Deleted)) });
        Arc::clone(tenants.entry(id.clone()).or_insert_with(new))
    }

    /// The cell of a user; one that was not known stands as deleted until the change that made it is in.
    fn user_cell(&self, tenant: &TenantId, user: &UserId) -> Arc<UserCell> {
        let mut users = self.users.write();
        let new =
            || Arc::new(UserCell { standing: AtomicU8::new(standing_byte(Standing::Deleted)), role: AtomicU8::new(0) });
        Arc::clone(users.entry((tenant.clone(), user.clone())).or_insert_with(new))
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
            Prepared::Key { place, entry, gone, replaced } => {
                let leads = Entry(Leads::Key(Arc::clone(entry)));
                for (digest, _) in &entry.secrets {
                    replaced.extend(self.insert(digest, &leads));
                }
                for digest in gone.iter() {
                    self.remove(digest);
                }
                if let Some(place) = place.take()
                    && let Some(shard) = self.key_shard(&place)
                {
                    let old = shard.write().insert(place, Arc::clone(entry));
                    let before = old.as_ref().map_or(0, |old| old.foreign_count);
                    self.foreign_count.fetch_add(entry.foreign_count.saturating_sub(before), Ordering::AcqRel);
                    replaced.extend(old.map(|old| Entry(Leads::Key(old))));
                }
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
    let mut seen = HashSet::with_capacity(changes.len());
    let mut last: Vec<Change> = changes.into_iter().rev().filter(|change| seen.insert(change.entity())).collect();
    last.reverse();
    last
}

/// Looks up in the index whose things are.
#[derive(Clone, Copy, Debug)]
pub struct IndexDirectory<'a>(&'a Index);

impl Directory for IndexDirectory<'_> {
    fn whose(&self, tenant: &TenantId, collection: Collection, id: &str) -> Option<Whose> {
        let user = match collection {
            Collection::Users => UserId::find(id)?,
            Collection::Keys => {
                let place = (tenant.clone(), KeyId::find(id)?);
                let shard = self.0.key_shard(&place)?.read();
                shard.get(&place)?.facts.owner.as_ref()?.user()?.clone()
            }
            Collection::Tenants
            | Collection::Applications
            | Collection::Tokens
            | Collection::Sessions
            | Collection::Events => return None,
        };
        let place = (tenant.clone(), user);
        let role = self.0.users.read().get(&place)?.state().role;
        Some(Whose { user: place.1, role })
    }
}
