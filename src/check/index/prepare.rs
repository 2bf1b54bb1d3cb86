//! What applying a change needs, built before the sequence number is odd: entries, cells, and room in the tables.

use super::Index;
use super::cell::{OwnerCell, TenantCell, standing_byte};
use super::entry::{Entry, Place, TokenEntry};
use super::holder::{HolderEntry, SecretEntry};
use crate::domain::change::{Change, Root};
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::facts::Facts;
use crate::domain::key::Secret;
use crate::domain::name::{Collection, Owner, TenantId};
use crate::domain::signing::SigningKey;
use crate::domain::tenant::Tenant;
use crate::domain::token::{AccessToken, Session, TOKEN_RETENTION};
use crate::domain::user::User;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// One change, with everything built that applying it needs.
pub(super) enum Prepared {
    Root { entries: Vec<(Digest, Entry)>, gone: Vec<Digest> },
    Tenant { cell: Arc<TenantCell>, standing: u8 },
    User { cell: Arc<OwnerCell>, user: User },
    SigningKey { kid: Box<str>, key: Arc<SigningKey> },
    Thing { entry: Entry, digests: Vec<Digest>, gone: Vec<Digest>, replaced: Vec<Entry> },
}

impl Index {
    /// Builds what a change puts in. No wildcard: a new kind of change stops the build here.
    pub(super) fn prepare(&self, change: Change) -> Prepared {
        match change {
            Change::Root(root) => self.prepare_root(root),
            Change::Tenant(tenant) => Prepared::Tenant {
                cell: self.tenant_cell(&tenant.id, Some(&tenant)),
                standing: standing_byte(tenant.standing()),
            },
            Change::User(user) => {
                let owner = Some(Owner::User(user.id.clone()));
                Prepared::User { cell: self.owner_cell(&user.tenant, &owner), user }
            }
            Change::Key(key) => self.prepare_holder(Facts::from(&*key), secrets_of(&key.secrets)),
            Change::Application(application) => {
                self.prepare_holder(Facts::from(&*application), secrets_of(&application.secrets))
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
        Prepared::Root { entries, gone }
    }

    fn prepare_holder(&self, mut facts: Facts, secrets: Vec<SecretEntry>) -> Prepared {
        let owner = self.owner_cell(&facts.tenant, &facts.owner);
        let grants = self.grants.lock().share(std::mem::take(&mut facts.grants));
        let digests = secrets.iter().map(|secret| secret.digest).collect();
        let holder = HolderEntry::new(facts, owner, grants, secrets);
        let before = self.things.get(holder.at());
        if let Some(Entry::Holder(before)) = &before {
            // A use that is noted in between is noted once more.
            holder.last_use.store(before.last_use.load(Ordering::Relaxed), Ordering::Relaxed);
        }
        prepare_thing(before, Entry::Holder(Arc::new(holder)), digests)
    }

    fn prepare_session(&self, session: &Session) -> Prepared {
        let place = Place::new(&session.tenant, Collection::Sessions, session.id.as_str());
        self.note_end(session.expire_time.after(TOKEN_RETENTION), &place);
        let secret = SecretEntry { digest: session.digest, version: session.based_revision, retirement: None };
        self.prepare_holder(Facts::from(session), vec![secret])
    }

    fn prepare_token(&self, token: &AccessToken) -> Prepared {
        let place = Place::new(&token.tenant, Collection::Tokens, token.id.as_str());
        self.note_end(token.kept_until(), &place);
        let (collection, id) = token.parent.place();
        let parent = Place::new(&token.tenant, collection, id);
        let entry = Entry::Token(Arc::new(TokenEntry { facts: token.facts(), parent, digest: token.digest }));
        prepare_thing(self.thing(&place), entry, token.digest.into_iter().collect())
    }

    /// Makes room for all that these put in.
    pub(super) fn make_room(&self, prepared: &[Prepared]) {
        let things = || {
            prepared.iter().filter_map(|change| match change {
                Prepared::Thing { entry, digests, .. } => Some((entry, digests)),
                Prepared::Root { .. }
                | Prepared::Tenant { .. }
                | Prepared::User { .. }
                | Prepared::SigningKey { .. } => None,
            })
        };
        let roots = prepared.iter().flat_map(|change| match change {
            Prepared::Root { entries, .. } => entries.as_slice(),
            Prepared::Thing { .. } | Prepared::Tenant { .. } | Prepared::User { .. } | Prepared::SigningKey { .. } => {
                &[]
            }
        });
        let own = things().flat_map(|(entry, digests)| digests.iter().map(move |digest| (digest, entry)));
        self.credentials.make_room(own.chain(roots.map(|(digest, entry)| (digest, entry))));
        self.things.make_room(things().map(|(entry, _)| entry));
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
        let cell = || Arc::new(TenantCell::unknown(id.clone()));
        Arc::clone(tenants.entry(id.clone()).or_insert_with(cell))
    }

    /// The cell of a user, of an application, or of nobody, as owner; a user that was not known stands as deleted until
    /// the change that made it is in.
    fn owner_cell(&self, tenant: &TenantId, owner: &Option<Owner>) -> Arc<OwnerCell> {
        if let Some(known) = self.owners.read().get(tenant).and_then(|owners| owners.get(owner)) {
            return Arc::clone(known);
        }
        let cell = Arc::new(OwnerCell::unknown(self.tenant_cell(tenant, None), owner.clone()));
        self.owners.write().entry(tenant.clone()).or_default().insert(owner.clone(), Arc::clone(&cell));
        cell
    }
}

/// What `entry` puts in at `digests`, and which digests led to what was there `before` and lead nowhere now.
fn prepare_thing(before: Option<Entry>, entry: Entry, digests: Vec<Digest>) -> Prepared {
    let gone: Vec<Digest> = match before {
        Some(Entry::Holder(old)) => old.secrets().map(|secret| secret.digest).collect(),
        Some(Entry::Token(old)) => old.digest.into_iter().collect(),
        Some(Entry::Root { .. }) | None => Vec::new(),
    };
    let gone: Vec<Digest> = gone.into_iter().filter(|digest| !digests.contains(digest)).collect();
    let replaced = Vec::with_capacity(digests.len().saturating_add(gone.len()).saturating_add(1));
    Prepared::Thing { entry, digests, gone, replaced }
}

fn secrets_of(secrets: &[Secret]) -> Vec<SecretEntry> {
    let entry = |secret: &Secret| SecretEntry {
        digest: secret.digest,
        version: secret.revision,
        retirement: secret.retirement,
    };
    secrets.iter().map(entry).collect()
}
