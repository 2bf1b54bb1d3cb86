//! THE KEYRING: the private halves of signing keys. The only room that has them in clear: it makes them, seals them for
//! the rows under the [`MasterKey`], opens them when a JWT is to be signed, and forgets them with the process. Which key
//! signs is decided by `domain` on what the index knows; when there is a new one, by `desk`.

mod file;
mod master;

use crate::check::Index;
use crate::clock::Clock;
use crate::domain::clock::Time;
use crate::domain::jwt::{Claims, MAX_JWT_BYTES, TYP};
use crate::domain::signing::{PublicKey, SigningKey, newest, signer};
use crate::error::{Error, Result};
use crate::store::{Draft, Store};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
pub use file::write_for_owner;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
pub use master::MasterKey;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// What signs JWTs. Cheap to clone.
#[derive(Clone)]
pub struct Keyring {
    store: Store,
    index: Arc<Index>,
    clock: Clock,
    master: Option<Arc<MasterKey>>,
    /// The key that signed last; both halves of it are wiped when it is dropped.
    opened: Arc<Mutex<Option<Opened>>>,
}

#[derive(Clone)]
struct Opened {
    kid: String,
    private: Arc<EncodingKey>,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keyring").field("master", &self.master).finish_non_exhaustive()
    }
}

impl Keyring {
    /// A keyring; without a master key it signs nothing.
    pub fn new(store: Store, index: Arc<Index>, clock: Clock, master: Option<Arc<MasterKey>>) -> Self {
        Self { store, index, clock, master, opened: Arc::default() }
    }

    /// Whether there is a master key, and with it JWTs.
    pub fn can_sign(&self) -> bool {
        self.master.is_some()
    }

    /// Signs a JWT with the key that signs now.
    pub async fn sign(&self, claims: &Claims) -> Result<String> {
        let Some(master) = &self.master else {
            return Err(Error::precondition("TOKEN_FORMAT_JWT", "needs a master key: start with --master-key-file"));
        };
        let keys = self.index.signing_keys();
        let now = self.clock.now();
        let key = signer(&keys, now).ok_or_else(|| Error::unavailable("no key signs JWTs yet"))?;
        let private = self.opened(master, key).await?;
        let mut header = Header::new(Algorithm::EdDSA);
        header.typ = Some(TYP.to_owned());
        header.kid = Some(key.kid.clone());
        let text = encode(&header, claims, &private).map_err(Error::internal)?;
        if text.len() > MAX_JWT_BYTES {
            return Err(Error::invalid(
                "permissions",
                "must name less than the subject holds, since the JWT would be longer than 8 KiB; or ask for \
                 TOKEN_FORMAT_OPAQUE",
            ));
        }
        Ok(text)
    }

    async fn opened(&self, master: &MasterKey, key: &SigningKey) -> Result<Arc<EncodingKey>> {
        if let Some(opened) = self.opened.lock().as_ref().filter(|opened| opened.kid == key.kid) {
            return Ok(Arc::clone(&opened.private));
        }
        let private = Arc::new(open(&self.store, master, key).await?);
        *self.opened.lock() = Some(Opened { kid: key.kid.clone(), private: Arc::clone(&private) });
        Ok(private)
    }
}

/// Makes a key that signs from `sign_time` on, its private half kept with the mutation that is to have it.
pub async fn make_key(master: &MasterKey, draft: &Draft, sign_time: Time) -> Result<SigningKey> {
    let pair = Ed25519KeyPair::generate().map_err(Error::internal)?;
    let public = pair.public_key().as_ref().try_into().map_err(Error::internal)?;
    let key = SigningKey::new(PublicKey::from_bytes(public), draft.now(), sign_time);
    let private = pair.to_pkcs8v1().map_err(Error::internal)?;
    draft.keep_private_half(&key, master.seal(&key.kid, private.as_ref())?).await?;
    Ok(key)
}

/// Refuses a master key that does not open the private half of the newest key.
pub async fn check_master(store: &Store, master: &MasterKey, keys: &[SigningKey]) -> Result<()> {
    match newest(keys) {
        Some(newest) => open(store, master, newest).await.map(drop),
        None => Ok(()),
    }
}

async fn open(store: &Store, master: &MasterKey, key: &SigningKey) -> Result<EncodingKey> {
    let sealed = store.private_half(&key.kid).await?.ok_or_else(|| Error::internal("a signing key is half there"))?;
    let private = master.open(&key.kid, &sealed).and_then(|private| {
        let pair = Ed25519KeyPair::from_pkcs8(&private).ok()?;
        let is_whole = pair.public_key().as_ref() == key.public_key.as_bytes();
        is_whole.then(|| EncodingKey::from_ed_der(&private))
    });
    private.ok_or_else(|| {
        Error::precondition(
            format!("the master key file {}", master.path().display()),
            "does not open the signing key in the database; restore the file that belongs to it, or make a new signing \
             key by `keyward signing-key rotate`",
        )
    })
}
