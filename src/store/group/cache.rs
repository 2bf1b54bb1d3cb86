//! What was read under the lock, kept while the group lasts: nobody else writes while the head is locked, and what the
//! group writes itself is forgotten here. So a row is read once in a group, however many of its mutations rest on it; and not
//! again by the next one, if nobody has moved the head meanwhile.

use crate::domain::application::Application;
use crate::domain::change::{Change, Root};
use crate::domain::credential::Digest;
use crate::domain::key::Key;
use crate::domain::name::{ApplicationId, KeyId, TenantId, UserId};
use crate::domain::tenant::Tenant;
use crate::domain::token::{AccessToken, Session};
use crate::domain::user::User;
use crate::store::counts::Counts;
use crate::store::draft::Committed;
use crate::store::rows;
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

/// How many rows of a kind are kept for the next group at most.
const MAX_KEPT: usize = 1024;

/// How long a group waits for what the last one knew, which is there once the answer to its COMMIT has come.
const KEPT_WAIT: Duration = Duration::from_millis(50);

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

/// What the last group of this process knew, and the head it left behind.
///
/// INVARIANT (decided under the lock): whoever changes a row that is kept here moves the head, and no two histories have
/// the same chain. So while the head is what this process has left, and is locked, the rows are what they were.
#[derive(Debug, Default)]
pub(in crate::store) struct Kept(Mutex<Option<Known>>);

#[derive(Debug)]
struct Known {
    head: Committed,
    cache: Cache,
    counts: Counts,
}

impl Kept {
    /// What is known at this head, which is locked.
    pub(super) async fn at(&self, head: Committed) -> Option<(Cache, Counts)> {
        let mut kept = timeout(KEPT_WAIT, self.0.lock()).await.ok()?;
        kept.take_if(|known| known.head == head).map(|Known { head: _, cache, counts }| (cache, counts))
    }

    /// Has the next group wait until it is known what this one has left; none if another still does.
    pub(super) async fn leaving(&self) -> Option<Leaving<'_>> {
        timeout(KEPT_WAIT, self.0.lock()).await.ok().map(Leaving)
    }
}

/// A group whose COMMIT is under way.
#[derive(Debug)]
pub(super) struct Leaving<'a>(MutexGuard<'a, Option<Known>>);

impl Leaving<'_> {
    /// What it knew is true of this head, which is committed.
    pub(super) fn left(mut self, head: Committed, cache: Cache, counts: Counts) {
        let counts = counts.of_next();
        let cache = cache.of_callers().filter(|_| counts.len() <= MAX_KEPT);
        *self.0 = cache.map(|cache| Known { head, cache, counts });
    }
}

impl Cache {
    /// What the next group is likely to ask for too: who calls, and what that rests on. None of it, if it is much.
    fn of_callers(mut self) -> Option<Self> {
        self.key_digests.retain(|_, place| place.is_some());
        let callers: HashSet<&KeyPlace> = self.key_digests.values().flatten().collect();
        self.keys.retain(|place, _| callers.contains(place));
        // Of tokens and sessions rows go without a revision, once they have expired.
        let Self { root, tenants, users, applications, keys, key_digests, .. } = self;
        let counts = [tenants.len(), users.len(), applications.len(), keys.len(), key_digests.len()];
        let kept = Self { root, tenants, users, applications, keys, key_digests, ..Self::default() };
        counts.iter().all(|count| *count <= MAX_KEPT).then_some(kept)
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: usize) -> KeyPlace {
        (TenantId::find("acme").unwrap(), KeyId::find(&uuid::Uuid::from_u128(number as u128).to_string()).unwrap())
    }

    fn digest(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    /// A cache in which the bearers of so many keys have called, and which knows as many others.
    fn called_by(callers: u8) -> Cache {
        let mut cache = Cache::default();
        for number in 0..usize::from(callers) {
            cache.key_digests.insert(digest(u8::try_from(number).unwrap()), Some(place(number)));
            cache.keys.insert(place(number), None);
            cache.keys.insert(place(number + 1000), None);
        }
        cache.key_digests.insert(digest(255), None);
        cache.sessions.insert(digest(254), None);
        cache
    }

    fn head(revision: i64, chain: u8) -> Committed {
        Committed { revision, chain: [chain; 32] }
    }

    #[tokio::test]
    async fn what_was_known_is_known_at_the_head_it_was_left_at_and_at_no_other() {
        let kept = Kept::default();
        kept.leaving().await.unwrap().left(head(7, 1), called_by(2), Counts::default());
        assert!(kept.at(head(8, 2)).await.is_none(), "another has written");
        assert!(kept.at(head(7, 2)).await.is_none(), "an older backup has gone on to the same revision");
        let (known, _) = kept.at(head(7, 1)).await.unwrap();
        assert_eq!(known.keys.keys().cloned().collect::<HashSet<_>>(), HashSet::from([place(0), place(1)]));
        assert_eq!((known.key_digests.len(), known.sessions.len()), (2, 0), "only what is there, and stays there");
        assert!(kept.at(head(7, 1)).await.is_none(), "it is of one group");
    }

    #[tokio::test]
    async fn nobody_waits_for_a_group_that_does_not_know_what_became_of_it() {
        let kept = Kept::default();
        kept.leaving().await.unwrap().left(head(7, 1), called_by(1), Counts::default());
        let leaving = kept.leaving().await.unwrap();
        assert!(kept.at(head(7, 1)).await.is_none());
        assert!(kept.leaving().await.is_none());
        drop(leaving);
        assert!(kept.at(head(7, 1)).await.is_some_and(|(cache, _)| cache.keys.len() == 1));
    }

    #[test]
    fn what_is_much_is_not_kept() {
        let mut cache = called_by(3);
        cache.tenants.extend((0..=MAX_KEPT).map(|number| (TenantId::find(&format!("acme-{number}")).unwrap(), None)));
        assert!(cache.of_callers().is_none());
    }
}
