//! What applying a change needs, built before the sequence number is odd: entries, cells, and room in the maps.

use super::entry::{Entry, HolderEntry, Place, SecretEntry, TenantCell, TokenEntry, UserCell, standing_byte};
use super::{Index, Shard, credential_number};
use crate::domain::change::{Change, Root};
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::facts::Facts;
use crate::domain::key::Secret;
use crate::domain::name::{Collection, Owner, TenantId, UserId};
use crate::domain::signing::SigningKey;
use crate::domain::tenant::Tenant;
use crate::domain::token::{AccessToken, Session, TOKEN_RETENTION};
use crate::domain::user::User;
use hashbrown::HashMap;
use std::hash::Hash;
use std::sync::Arc;

/// One change, with everything built that applying it needs.
pub(super) enum Prepared {
    Root { entries: Vec<(Digest, Entry)>, gone: Vec<Digest> },
    Tenant { cell: Arc<TenantCell>, standing: u8 },
    User { cell: Arc<UserCell>, user: User },
    SigningKey { kid: Box<str>, key: Arc<SigningKey> },
    Thing { place: Option<Place>, entry: Entry, digests: Vec<Digest>, gone: Vec<Digest>, replaced: Vec<Entry> },
}

impl Index {
    /// Builds what a change puts in, and makes room for it. No wildcard: a new kind of change stops the build here.
    pub(super) fn prepare(&self, change: Change) -> Prepared {
        match change {
            Change::Root(root) => self.prepare_root(root),
            Change::Tenant(tenant) => Prepared::Tenant {
                cell: self.tenant_cell(&tenant.id, Some(&tenant)),
                standing: standing_byte(tenant.standing()),
            },
            Change::User(user) => Prepared::User { cell: self.user_cell(&user.tenant, &user.id), user },
            Change::Key(key) => {
                let place = Place::new(&key.tenant, Collection::Keys, key.id.as_str());
                self.prepare_holder(place, Facts::from(&*key), secrets_of(&key.secrets))
            }
            Change::Application(application) => {
                let place = Place::new(&application.tenant, Collection::Applications, application.id.as_str());
                self.prepare_holder(place, Facts::from(&*application), secrets_of(&application.secrets))
            }
            Change::SigningKey(key) => {
                self.signing.reserve();
                Prepared::SigningKey { kid: key.kid.as_str().into(), key: Arc::new(key) }
            }
            Change::Session(session) => self.prepare_session(&session),
            Change::Token(token) => self.prepare_token(&token),
        }
    }

    fn prepare_root(&self, root: Root) -> Prepared {
        let entries: Vec<(Digest, Entry)> =
            root.secrets.iter().map(|secret| (secret.digest, Entry::Root { retirement: secret.retirement })).collect();
        let mut known = self.root.lock();
        let gone = known.iter().filter(|old| !entries.iter().any(|(digest, _)| digest == *old)).copied().collect();
        *known = entries.iter().map(|(digest, _)| *digest).collect();
        for (digest, _) in &entries {
            reserve(self.credential_shard(digest), 1);
        }
        Prepared::Root { entries, gone }
    }

    fn prepare_holder(&self, place: Place, facts: Facts, secrets: Vec<SecretEntry>) -> Prepared {
        let last_use = match self.thing(&place) {
            Some(Entry::Holder(old)) => Arc::clone(&old.last_use),
            Some(Entry::Root { .. } | Entry::Token(_)) | None => Arc::default(),
        };
        let (owner, application) = match &facts.owner {
            Some(Owner::User(user)) => (Some(self.user_cell(&facts.tenant, user)), None),
            Some(Owner::Application(id)) => {
                (None, Some(Place::new(&facts.tenant, Collection::Applications, id.as_str())))
            }
            None => (None, None),
        };
        let digests = secrets.iter().map(|secret| secret.digest).collect();
        let tenant = self.tenant_cell(&facts.tenant, None);
        let holder = HolderEntry { facts, secrets: secrets.into(), application, owner, tenant, last_use };
        self.prepare_thing(place, Entry::Holder(Arc::new(holder)), digests)
    }

    fn prepare_session(&self, session: &Session) -> Prepared {
        let place = Place::new(&session.tenant, Collection::Sessions, session.id.as_str());
        self.note_end(session.expire_time.after(TOKEN_RETENTION), &place);
        let secret = SecretEntry {
            digest: session.digest,
            version: session.based_revision,
            retirement: None,
            is_foreign: false,
        };
        self.prepare_holder(place, Facts::from(session), vec![secret])
    }

    fn prepare_token(&self, token: &AccessToken) -> Prepared {
        let place = Place::new(&token.tenant, Collection::Tokens, token.id.as_str());
        self.note_end(token.kept_until(), &place);
        let (collection, id) = token.parent.place();
        let parent = Place::new(&token.tenant, collection, id);
        let entry = Entry::Token(Arc::new(TokenEntry { facts: token.facts(), parent, digest: token.digest }));
        self.prepare_thing(place, entry, token.digest.into_iter().collect())
    }

    fn prepare_thing(&self, place: Place, entry: Entry, digests: Vec<Digest>) -> Prepared {
        let gone = match self.thing(&place) {
            Some(Entry::Holder(old)) => {
                old.secrets.iter().map(|secret| secret.digest).filter(|digest| !digests.contains(digest)).collect()
            }
            Some(Entry::Token(old)) => old.digest.into_iter().filter(|digest| !digests.contains(digest)).collect(),
            Some(Entry::Root { .. }) | None => Vec::new(),
        };
        for digest in &digests {
            reserve(self.credential_shard(digest), 1);
        }
        reserve(self.thing_shard(&place), 1);
        let replaced = Vec::with_capacity(digests.len().saturating_add(1));
        Prepared::Thing { place: Some(place), entry, digests, gone, replaced }
    }

    /// Makes room for many new things at once: each was prepared as if it were the only one in its shards.
    pub(super) fn make_room(&self, prepared: &[Prepared]) {
        if prepared.len() < 2 {
            return;
        }
        let (mut credentials, mut things): (HashMap<usize, usize>, HashMap<usize, usize>) = Default::default();
        for change in prepared {
            if let Prepared::Thing { place: Some(place), digests, .. } = change {
                *things.entry(self.thing_number(place)).or_default() += 1;
                for digest in digests {
                    *credentials.entry(credential_number(digest)).or_default() += 1;
                }
            }
        }
        credentials.into_iter().for_each(|(number, count)| reserve(self.credentials.get(number), count));
        things.into_iter().for_each(|(number, count)| reserve(self.things.get(number), count));
    }

    fn note_end(&self, kept_until: Time, place: &Place) {
        self.ending.lock().insert((kept_until, place.clone()));
    }

    /// The cell of a tenant; one that was not known stands as deleted until the change that made it is in.
    fn tenant_cell(&self, id: &TenantId, tenant: Option<&Tenant>) -> Arc<TenantCell> {
        if let Some(tenant) = tenant {
            self.prefixes.write().insert(tenant.credential_prefix.as_str().into());
        }
        if let Some(known) = self.tenants.read().get(id) {
            return Arc::clone(known);
        }
        let mut tenants = self.tenants.write();
        Arc::clone(tenants.entry(id.clone()).or_insert_with(|| Arc::new(TenantCell::unknown())))
    }

    /// The cell of a user; one that was not known stands as deleted until the change that made it is in.
    fn user_cell(&self, tenant: &TenantId, user: &UserId) -> Arc<UserCell> {
        let mut users = self.users.write();
        let place = (tenant.clone(), user.clone());
        Arc::clone(users.entry(place).or_insert_with(|| Arc::new(UserCell::unknown())))
    }
}

fn reserve<K: Eq + Hash>(shard: Option<&Shard<K>>, count: usize) {
    if let Some(shard) = shard {
        shard.write().reserve(count);
    }
}

fn secrets_of(secrets: &[Secret]) -> Vec<SecretEntry> {
    let entry = |secret: &Secret| SecretEntry {
        digest: secret.digest,
        version: secret.revision,
        retirement: secret.retirement,
        is_foreign: secret.id.is_none(),
    };
    secrets.iter().map(entry).collect()
}
