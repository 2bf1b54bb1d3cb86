//! The two tables of the index, in shards, each with a lock of its own that is held for one look-up or one insertion, or
//! while the shard is made larger.
//!
//! A plain entry is in both by eight bytes, and is itself what it is looked up by: neither its digest nor its name is
//! kept a second time.

use super::entry::{At, Entry, Place, TokenEntry};
use super::holder::HolderEntry;
use super::lines::Lines;
use crate::domain::credential::Digest;
use crate::domain::name::Collection;
use hashbrown::hash_table::Entry as Slot;
use hashbrown::{HashMap, HashTable};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Enough that growing one shard of ten million entries takes about a millisecond.
const SHARDS: usize = 1024;

fn shards<T: Default>() -> Box<[RwLock<T>]> {
    (0..SHARDS).map(|_| RwLock::default()).collect()
}

/// The shard of what has this hash, told by bits by which no table chooses a place.
fn shard_of(hash: u64) -> usize {
    usize::try_from((hash >> 40) % SHARDS as u64).unwrap_or_default()
}

/// Room to be made in the two halves of some shards.
type Room = BTreeMap<usize, (usize, usize)>;

fn add(room: &mut Room, shard: usize, is_holder: bool) {
    let (holders, others) = room.entry(shard).or_default();
    let half = if is_holder { holders } else { others };
    *half = half.saturating_add(1);
}

/// Puts `new` where what `is_it` is, and gives that back.
fn put<T>(
    table: &mut HashTable<Arc<T>>,
    hash: u64,
    new: &Arc<T>,
    is_it: impl Fn(&Arc<T>) -> bool,
    rehash: impl Fn(&Arc<T>) -> u64,
) -> Option<Arc<T>> {
    match table.entry(hash, is_it, rehash) {
        Slot::Occupied(mut slot) => Some(std::mem::replace(slot.get_mut(), Arc::clone(new))),
        Slot::Vacant(slot) => {
            slot.insert(Arc::clone(new));
            None
        }
    }
}

/// What each digest leads to.
///
/// INVARIANT: within one view a digest is in one half at most.
#[derive(Debug)]
pub(super) struct Credentials {
    /// By the digest of their newest secret.
    newest: Box<[RwLock<Lines<HolderEntry>>]>,
    /// Tokens, root, and by their earlier secrets holders again. Apart, so that the half that every Check looks at is
    /// small.
    others: Box<[RwLock<HashMap<Digest, Entry, RandomState>>]>,
    hasher: RandomState,
}

impl Default for Credentials {
    fn default() -> Self {
        Self { newest: shards(), others: shards(), hasher: RandomState::new() }
    }
}

/// Of all its bytes, under a key that only this process knows: whoever imports digests may choose them.
fn hash_of(hasher: &RandomState, digest: &Digest) -> u64 {
    hasher.hash_one(digest.as_bytes())
}

fn is_newest_of(entry: &Entry, digest: &Digest) -> bool {
    matches!(entry, Entry::Holder(holder) if holder.is_newest(digest))
}

impl Credentials {
    /// What a digest leads to. Cloned, so that nobody waits for this reader to have decided.
    pub(super) fn get(&self, digest: &Digest) -> Option<Entry> {
        let hash = hash_of(&self.hasher, digest);
        let shard = shard_of(hash);
        let newest = self.newest.get(shard)?.read().find(hash, |holder| holder.is_newest(digest)).cloned();
        match newest {
            Some(holder) => Some(Entry::Holder(holder)),
            None => self.others.get(shard)?.read().get(digest).cloned(),
        }
    }

    /// Makes room for all of these.
    pub(super) fn make_room<'a>(&self, coming: impl Iterator<Item = (&'a Digest, &'a Entry)>) {
        let mut room = Room::new();
        for (digest, entry) in coming {
            add(&mut room, shard_of(hash_of(&self.hasher, digest)), is_newest_of(entry, digest));
        }
        for (shard, (newest, others)) in room {
            if let Some(shard) = self.newest.get(shard) {
                shard.write().reserve(newest, |holder| hash_of(&self.hasher, holder.newest()));
            }
            if let Some(shard) = self.others.get(shard) {
                shard.write().reserve(others);
            }
        }
    }

    /// Puts in what `digest` leads to, for which there is room, and gives back what it led to before.
    pub(super) fn insert(&self, digest: &Digest, entry: &Entry) -> Option<Entry> {
        let hash = hash_of(&self.hasher, digest);
        let shard = shard_of(hash);
        let (newest, others) = (self.newest.get(shard)?, self.others.get(shard)?);
        match entry {
            Entry::Holder(holder) if holder.is_newest(digest) => {
                let rehash = |holder: &HolderEntry| hash_of(&self.hasher, holder.newest());
                let before = newest.write().put(hash, holder, |holder| holder.is_newest(digest), rehash);
                before.map(Entry::Holder).or_else(|| others.write().remove(digest))
            }
            Entry::Holder(_) | Entry::Root { .. } | Entry::Token(_) => {
                let before = others.write().insert(*digest, entry.clone());
                before.or_else(|| remove_newest(newest, hash, digest))
            }
        }
    }

    /// Takes out what `digest` leads to.
    pub(super) fn remove(&self, digest: &Digest) -> Option<Entry> {
        let hash = hash_of(&self.hasher, digest);
        let shard = shard_of(hash);
        remove_newest(self.newest.get(shard)?, hash, digest).or_else(|| self.others.get(shard)?.write().remove(digest))
    }

    /// Takes everything out, into one that is `empty`.
    pub(super) fn empty_into(&self, empty: &Self) {
        swap_all(&self.newest, &empty.newest);
        swap_all(&self.others, &empty.others);
    }
}

fn remove_newest(newest: &RwLock<Lines<HolderEntry>>, hash: u64, digest: &Digest) -> Option<Entry> {
    newest.write().remove(hash, |holder| holder.is_newest(digest)).map(Entry::Holder)
}

fn swap_all<T>(mine: &[RwLock<T>], theirs: &[RwLock<T>]) {
    for (mine, theirs) in mine.iter().zip(theirs) {
        std::mem::swap(&mut *mine.write(), &mut *theirs.write());
    }
}

/// What is at each place.
#[derive(Debug)]
pub(super) struct Things {
    shards: Box<[RwLock<ThingShard>]>,
    hasher: RandomState,
}

#[derive(Debug, Default)]
struct ThingShard {
    holders: HashTable<Arc<HolderEntry>>,
    tokens: HashTable<Arc<TokenEntry>>,
}

impl Default for Things {
    fn default() -> Self {
        Self { shards: shards(), hasher: RandomState::new() }
    }
}

impl Things {
    /// What is known of the thing at `place`.
    pub(super) fn get(&self, place: At<'_>) -> Option<Entry> {
        let hash = self.hasher.hash_one(place);
        let shard = self.shards.get(shard_of(hash))?.read();
        if place.collection == Collection::Tokens {
            let token = shard.tokens.find(hash, |token| token.at() == place)?;
            return Some(Entry::Token(Arc::clone(token)));
        }
        let holder = shard.holders.find(hash, |holder| holder.at() == place)?;
        Some(Entry::Holder(Arc::clone(holder)))
    }

    /// Makes room for all of these.
    pub(super) fn make_room<'a>(&self, coming: impl Iterator<Item = &'a Entry>) {
        let mut room = Room::new();
        for entry in coming {
            if let Some(place) = entry.at() {
                add(&mut room, shard_of(self.hasher.hash_one(place)), matches!(entry, Entry::Holder(_)));
            }
        }
        for (shard, (holders, tokens)) in room {
            if let Some(shard) = self.shards.get(shard) {
                let mut shard = shard.write();
                shard.holders.reserve(holders, |holder| self.hasher.hash_one(holder.at()));
                shard.tokens.reserve(tokens, |token| self.hasher.hash_one(token.at()));
            }
        }
    }

    /// Puts in a thing, for which there is room, and gives back what it was before.
    pub(super) fn insert(&self, entry: &Entry) -> Option<Entry> {
        let place = entry.at()?;
        let hash = self.hasher.hash_one(place);
        let mut shard = self.shards.get(shard_of(hash))?.write();
        match entry {
            Entry::Holder(holder) => {
                let rehash = |holder: &Arc<HolderEntry>| self.hasher.hash_one(holder.at());
                put(&mut shard.holders, hash, holder, |holder| holder.at() == place, rehash).map(Entry::Holder)
            }
            Entry::Token(token) => {
                let rehash = |token: &Arc<TokenEntry>| self.hasher.hash_one(token.at());
                put(&mut shard.tokens, hash, token, |token| token.at() == place, rehash).map(Entry::Token)
            }
            Entry::Root { .. } => None,
        }
    }

    /// Takes out what is at `place`.
    pub(super) fn remove(&self, place: &Place) -> Option<Entry> {
        let place = place.at();
        let hash = self.hasher.hash_one(place);
        let mut shard = self.shards.get(shard_of(hash))?.write();
        if let Ok(slot) = shard.holders.find_entry(hash, |holder| holder.at() == place) {
            return Some(Entry::Holder(slot.remove().0));
        }
        let slot = shard.tokens.find_entry(hash, |token| token.at() == place).ok()?;
        Some(Entry::Token(slot.remove().0))
    }

    /// Takes everything out, into one that is `empty`.
    pub(super) fn empty_into(&self, empty: &Self) {
        swap_all(&self.shards, &empty.shards);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// Whoever imports digests may have them begin alike; each must be found without a look at the others.
    #[test]
    fn digests_that_begin_alike_are_far_apart() {
        let hasher = RandomState::new();
        let digest = |number: u16| {
            let mut bytes = [7; 32];
            bytes[30..].copy_from_slice(&number.to_be_bytes());
            Digest::from_bytes(bytes)
        };
        let hashes: BTreeSet<u64> = (0..10_000).map(|number| hash_of(&hasher, &digest(number))).collect();
        assert_eq!(hashes.len(), 10_000);
    }
}
