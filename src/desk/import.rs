//! Taking over keys from elsewhere: a batch at a time, each batch one mutation.
//!
//! What cannot be taken is told by its line, and the rest goes on. A credential that the owner's key has already counts as
//! taken, so that everything may be sent twice.

use super::caps::TenantCaps;
use super::keys::{KeyParent, NewKey, beyond_application, owner_of_new};
use super::{Call, Desk, Edit};
use crate::check::Caller;
use crate::domain::application::Application;
use crate::domain::cap::Counted;
use crate::domain::change::Change;
use crate::domain::credential::{CredentialId, Digest};
use crate::domain::key::{Key, KeyType, Secret};
use crate::domain::name::{Collection, KeyId, Owner};
use crate::domain::policy::{Demand, whose_user};
use crate::domain::user::Role;
use crate::error::{Error, Result};
use serde_json::json;
use std::collections::{HashMap, HashSet};

/// One key to take over.
#[derive(Debug)]
pub struct Entry {
    /// The sender's line.
    pub line: i64,
    /// The key; its replay does not count.
    pub key: NewKey,
    /// Which field held what follows.
    pub field: &'static str,
    /// What is kept of its credential.
    pub digest: Digest,
    /// The id in the credential's text, if it is of our form.
    pub id: Option<CredentialId>,
    /// What may be shown of the credential.
    pub hint: String,
}

/// Why the entry of a line was not taken.
#[derive(Debug)]
pub struct Refused {
    /// The sender's line.
    pub line: i64,
    /// The reason, which names the field and never the credential.
    pub reason: String,
}

/// One batch.
#[derive(Debug)]
pub struct Batch {
    /// Who will own the keys.
    pub parent: KeyParent,
    /// The keys.
    pub entries: Vec<Entry>,
    /// What was refused before it came here.
    pub refused: Vec<Refused>,
}

/// What became of a batch.
#[derive(Debug)]
pub struct Imported {
    /// How many of its entries are in force now, those of an earlier sending included.
    pub count: usize,
    /// The others.
    pub refused: Vec<Refused>,
    /// The revision; where nothing was new, the head at which that was seen.
    pub revision: i64,
}

/// Who will own the keys of a batch, read once for all of them.
struct Whose {
    owner: Owner,
    role: Option<Role>,
    application: Option<Application>,
}

/// What is taken already, by rows and by earlier entries of the batch.
struct Taken {
    holders: HashMap<Digest, Option<Key>>,
    ids: HashSet<KeyId>,
    display_names: HashSet<String>,
}

/// Takes over a batch of keys.
pub async fn import(desk: Desk, caller: Caller, call: Call, batch: Batch) -> Result<Imported> {
    let Batch { parent, entries, mut refused } = batch;
    let edit = desk.edit(&caller, call).await?;
    edit.live_tenant(&parent.tenant).await?;
    let owner = owner_of_new(&edit, &parent).await?;
    let whose = edit.draft.owner_user(&parent.tenant, Some(&owner)).await?.as_ref().map(whose_user);
    let role = whose.as_ref().map(|whose| whose.role);
    edit.demand(&Demand { collection: Collection::Keys, id: "*", action: "import", whose })?;
    let application = match &owner {
        Owner::Application(id) => edit.draft.application(&parent.tenant, id).await?,
        Owner::User(_) => None,
    };
    let whose = Whose { owner: owner.clone(), role, application };
    let mut taken = Taken::read(&edit, &parent, &owner, &entries).await?;
    let mut room = desk.caps.room(&edit.draft, &parent.tenant, Counted::Keys).await?;
    let mut keys: Vec<Key> = Vec::new();
    let mut already_count = 0_usize;
    let mut is_full = false;
    for entry in entries {
        let line = entry.line;
        match taken.judge(&edit, entry, &whose).await {
            Ok(Some(_)) if room == 0 => {
                // One mutation, however many lines it has.
                let tell = if is_full { TenantCaps::reason } else { TenantCaps::refusal };
                let reason = tell(&desk.caps, &parent.tenant, Counted::Keys).to_string();
                refused.push(Refused { line, reason });
                is_full = true;
            }
            Ok(Some(key)) => {
                room = room.saturating_sub(1);
                taken.add(&key);
                keys.push(key);
            }
            Ok(None) => already_count = already_count.saturating_add(1),
            Err(error @ (Error::Unavailable { .. } | Error::Internal(_))) => return Err(error),
            Err(error) => refused.push(Refused { line, reason: error.to_string() }),
        }
    }
    let count = already_count.saturating_add(keys.len());
    if keys.is_empty() {
        let seen = edit.nothing(()).await?;
        return Ok(Imported { count, refused, revision: seen.revision });
    }
    let subject = owner.name(&parent.tenant);
    let detail = json!({
        "parent": subject,
        "imported_count": keys.len(),
        "already_count": already_count,
        "refused_count": refused.len(),
    });
    let changes = keys.into_iter().map(|key| Change::Key(Box::new(key))).collect();
    let revision = edit.commit("key.import", Some(&parent.tenant), subject, changes, detail, None).await?;
    Ok(Imported { count, refused, revision })
}

impl Taken {
    async fn read(edit: &Edit<'_>, parent: &KeyParent, owner: &Owner, entries: &[Entry]) -> Result<Self> {
        let digests: Vec<Digest> = entries.iter().map(|entry| entry.digest).collect();
        let ids: Vec<KeyId> = entries.iter().filter_map(|entry| entry.key.id.clone()).collect();
        let names: Vec<&str> =
            entries.iter().map(|entry| entry.key.display_name.as_str()).filter(|name| !name.is_empty()).collect();
        Ok(Self {
            holders: edit.draft.holders(&parent.tenant, &digests).await?,
            ids: edit.draft.taken_key_ids(&parent.tenant, &ids).await?,
            display_names: edit.draft.taken_display_names(&parent.tenant, owner, &names).await?,
        })
    }

    /// Notes what a new key takes.
    fn add(&mut self, key: &Key) {
        self.holders.extend(key.secrets.iter().map(|secret| (secret.digest, Some(key.clone()))));
        self.ids.insert(key.id.clone());
        if !key.display_name.is_empty() {
            self.display_names.insert(key.display_name.clone());
        }
    }

    /// The key that an entry becomes; `None` if it is there already, and an error if it cannot be taken.
    async fn judge(&self, edit: &Edit<'_>, entry: Entry, whose: &Whose) -> Result<Option<Key>> {
        let Whose { owner, role, application } = whose;
        let Entry { line: _, key: new, field, digest, id, hint } = entry;
        if let Some(holder) = self.holders.get(&digest) {
            let is_same = |key: &Key| {
                key.kind == KeyType::Regular
                    && key.tenant == new.parent.tenant
                    && key.owner.as_ref() == Some(owner)
                    && new.id.as_ref().is_none_or(|id| *id == key.id)
            };
            return match holder {
                Some(key) if is_same(key) => refuse_ended(edit, key, field).map(|()| None),
                // Another tenant's is told from another key of this one by nothing.
                Some(_) | None => Err(Error::precondition(field, "belongs to another credential already")),
            };
        }
        let revision = edit.draft.revision();
        let secret = Secret { digest, id, hint, revision, create_time: edit.now(), retirement: None };
        let key = new.into_key(owner.clone(), secret, edit);
        if let (Some(begin), Some(end)) = (key.not_before_time, key.expire_time)
            && begin >= end
        {
            return Err(Error::precondition("key.not_before_time", "must be before the key expires"));
        }
        match edit.confer_key_of(&key, *role).await {
            Err(Error::Forbidden { missing }) => {
                return Err(Error::precondition("key", format!("would hold more than the caller: {missing}")));
            }
            conferred => conferred?,
        }
        if let Some((missing, name)) = beyond_application(application.as_ref(), &key) {
            return Err(Error::precondition("key", format!("would hold more than {name}: {missing}")));
        }
        if self.ids.contains(&key.id) {
            return Err(Error::AlreadyExists { field: "key_id", value: key.id.to_string() });
        }
        if self.display_names.contains(&key.display_name) {
            return Err(Error::AlreadyExists { field: "key.display_name", value: key.display_name });
        }
        Ok(Some(key))
    }
}

/// A credential that was ended since it was imported is not brought back, and not said to be in force.
fn refuse_ended(edit: &Edit<'_>, key: &Key, field: &str) -> Result<()> {
    let now = edit.now();
    let is_retired = |secret: &Secret| secret.retirement.is_some_and(|retirement| retirement.has_come(now));
    if key.delete_time.is_some() {
        Err(Error::precondition(field, format!("was imported before, and {} was deleted since", key.name())))
    } else if key.revocation.is_some() {
        Err(Error::precondition(field, format!("was imported before, and {} was revoked since", key.name())))
    } else if key.secrets.iter().any(is_retired) {
        Err(Error::precondition(field, format!("was imported before, and rotated out of {} since", key.name())))
    } else {
        Ok(())
    }
}
