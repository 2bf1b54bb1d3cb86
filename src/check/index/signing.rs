//! The keys that verify JWTs, and who issues them. Verifying is a hundred times the price of a look-up: whoever does it
//! for a Check keeps what came out, and asks on each Check only whether the key is still accepted.

use super::{CannotDecide, Index};
use crate::domain::clock::Time;
use crate::domain::jwt::{Claims, verify};
use crate::domain::signing::{Jwks, SigningKey};
use hashbrown::HashMap;
use parking_lot::RwLock;
use std::sync::Arc;

/// What is known of signing keys, and the issuer that every replica names.
#[derive(Debug, Default)]
pub(super) struct Signing {
    keys: RwLock<HashMap<Box<str>, Arc<SigningKey>>>,
    issuer: RwLock<Arc<str>>,
}

impl Signing {
    /// Makes room for one more key.
    pub(super) fn reserve(&self) {
        self.keys.write().reserve(1);
    }

    /// Forgets all keys.
    pub(super) fn clear(&self) {
        self.keys.write().clear();
    }

    /// Puts a key in, and gives back what it replaced: whoever frees it does so when the view is whole again.
    pub(super) fn put(&self, kid: Box<str>, key: Arc<SigningKey>) -> Option<Arc<SigningKey>> {
        self.keys.write().insert(kid, key)
    }
}

impl Index {
    /// The signing key of that id, whatever has become of it.
    pub fn signing_key(&self, kid: &str) -> Option<Arc<SigningKey>> {
        self.signing.keys.read().get(kid).cloned()
    }

    /// Every signing key there is or was.
    pub fn signing_keys(&self) -> Vec<SigningKey> {
        self.signing.keys.read().values().map(|key| SigningKey::clone(key)).collect()
    }

    /// The public keys that are published.
    pub fn jwks(&self, now: Time) -> Result<Jwks, CannotDecide> {
        if self.is_serving() { Ok(Jwks::of(&self.signing_keys(), now)) } else { Err(CannotDecide) }
    }

    /// Who issues JWTs.
    pub fn issuer(&self) -> Arc<str> {
        Arc::clone(&self.signing.issuer.read())
    }

    /// Says who issues JWTs: once, before anything is answered.
    pub fn set_issuer(&self, issuer: &str) {
        *self.signing.issuer.write() = issuer.into();
    }

    /// What a JWT says, if `key` has signed it. Nothing else is decided here.
    pub fn read_jwt(&self, text: &str, key: &SigningKey) -> Option<Claims> {
        verify(text, &key.public_key, &self.issuer())
    }
}
