//! What is kept of a key, an application or a session. There may be ten millions of them: what only a few have is kept
//! apart, what many have alike is shared, and a Check of a plain key needs these few bytes and nothing behind them.

use super::cell::OwnerCell;
use super::entry::At;
use super::tally::Tally;
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::facts::{Facts, FactsRef, Kind, Particulars};
use crate::domain::key::Retirement;
use crate::domain::name::{Id, TenantId};
use crate::domain::permission::Grants;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

/// One secret of a thing.
#[derive(Clone, Copy, Debug)]
pub(super) struct SecretEntry {
    pub(super) digest: Digest,
    /// The revision that made it.
    pub(super) version: i64,
    pub(super) retirement: Option<Retirement>,
}

/// What is known of a key, an application or a session: the facts, whose it is, and its secrets.
#[derive(Debug)]
pub(in crate::check) struct HolderEntry {
    /// Of its newest secret.
    digest: Digest,
    /// The revision that made that.
    version: i64,
    pub(super) owner: Arc<OwnerCell>,
    grants: Arc<Grants>,
    rare: Option<Box<Rare>>,
    /// An [`Id`], taken apart so that nothing is lost between its parts.
    id: [u8; 16],
    form: Form,
    kind: Kind,
    /// The minute in which it was last used.
    pub(in crate::check) last_use: AtomicU32,
    /// Its Checks that were not told yet, if it is a key.
    pub(in crate::check) tally: Tally,
}

#[derive(Clone, Copy, Debug)]
enum Form {
    Uid,
    Short,
    /// [`Rare::id`].
    Long,
}

/// What most have nothing of.
#[derive(Debug)]
struct Rare {
    particulars: Particulars,
    /// All its secrets, newest first, if they are more or less than one that has no end.
    secrets: Option<Box<[SecretEntry]>>,
    id: Option<Box<str>>,
}

static NOTHING_PARTICULAR: Particulars = Particulars::NONE;

impl HolderEntry {
    /// Keeps `facts`, whose owner and grants are shared, and the secrets, newest first.
    pub(super) fn new(facts: Facts, owner: Arc<OwnerCell>, grants: Arc<Grants>, secrets: Vec<SecretEntry>) -> Self {
        let Facts { tenant: _, holder, owner: _, grants: _, particulars } = facts;
        let (id, form) = match Id::of(holder.id()) {
            Id::Uid(uid) => (uid.into_bytes(), Form::Uid),
            Id::Short(bytes) => (bytes, Form::Short),
            Id::Long(_) => ([0; 16], Form::Long),
        };
        let newest = secrets.first();
        let (digest, version) =
            newest.map_or((Digest::from_bytes([0; 32]), 0), |newest| (newest.digest, newest.version));
        let is_plain = matches!(&*secrets, [SecretEntry { retirement: None, .. }]);
        let secrets = (!is_plain).then(|| secrets.into());
        let id_apart = matches!(form, Form::Long).then(|| holder.id().into());
        let is_rare = secrets.is_some() || id_apart.is_some() || particulars != Particulars::NONE;
        let rare = is_rare.then(|| Box::new(Rare { particulars, secrets, id: id_apart }));
        Self {
            digest,
            version,
            owner,
            grants,
            rare,
            id,
            form,
            kind: holder.kind(),
            last_use: AtomicU32::new(0),
            tally: Tally::default(),
        }
    }

    /// The tenant it belongs to.
    pub(in crate::check) fn tenant(&self) -> &TenantId {
        &self.owner.tenant.id
    }

    /// What it is.
    pub(in crate::check) fn kind(&self) -> Kind {
        self.kind
    }

    /// The last part of its name.
    pub(in crate::check) fn id(&self) -> Id<'_> {
        match self.form {
            Form::Uid => Id::Uid(uuid::Uuid::from_bytes(self.id)),
            Form::Short => Id::Short(self.id),
            Form::Long => Id::Long(self.rare.as_ref().and_then(|rare| rare.id.as_deref()).unwrap_or_default()),
        }
    }

    /// Where it is.
    pub(super) fn at(&self) -> At<'_> {
        At { tenant: self.tenant(), collection: self.kind.collection(), id: self.id() }
    }

    /// Whether `digest` is that of its newest secret.
    pub(super) fn is_newest(&self, digest: &Digest) -> bool {
        self.digest == *digest
    }

    /// The digest of its newest secret; of what has none, no secret's.
    pub(super) fn newest(&self) -> &Digest {
        &self.digest
    }

    /// What a decision needs.
    pub(super) fn facts(&self) -> FactsRef<'_> {
        FactsRef {
            tenant: self.tenant(),
            kind: self.kind,
            id: self.id(),
            owner: self.owner.owner.as_ref(),
            grants: &self.grants,
            particulars: self.rare.as_ref().map_or(&NOTHING_PARTICULAR, |rare| &rare.particulars),
        }
    }

    /// Its secrets, newest first.
    pub(super) fn secrets(&self) -> impl Iterator<Item = SecretEntry> {
        let listed = self.rare.as_ref().and_then(|rare| rare.secrets.as_deref());
        let only = SecretEntry { digest: self.digest, version: self.version, retirement: None };
        let only = listed.is_none().then_some(only);
        only.into_iter().chain(listed.unwrap_or_default().iter().copied())
    }

    /// When the secret that `is_it` tells is rotated out.
    pub(super) fn retirement(&self, is_it: impl Fn(&SecretEntry) -> bool) -> Option<Retirement> {
        match self.secrets().find(is_it) {
            Some(secret) => secret.retirement,
            // Not one of its secrets any more: as good as retired for ever.
            None => Some(Retirement { time: Time::MIN, is_over: true }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_key_takes_one_block_of_128_bytes() {
        // With the two counts of an `Arc`, and eight bytes of the allocator's, which gives out whole sixteens.
        assert_eq!((size_of::<HolderEntry>() + 16 + 8).next_multiple_of(16), 128);
    }
}
