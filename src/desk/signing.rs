//! The life of signing keys: the first, the next in good time, and one at once where something went wrong. Decided under
//! the head lock, so that several replicas make one between them.

use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::signing::{SigningKey, next_sign_time};
use crate::error::Result;
use crate::keyring::{MasterKey, make_key};
use crate::store::{Committed, Draft, Entry, Store};
use serde_json::json;
use std::time::Duration;

/// Whether it is time to make a key.
pub fn is_due(keys: &[SigningKey], now: Time, life: Duration) -> bool {
    next_sign_time(keys, now, life).is_some()
}

/// Makes the next signing key if it is time to; the mutation's revision.
pub async fn renew(store: &Store, master: &MasterKey, life: Duration) -> Result<Option<Committed>> {
    let draft = store.begin().await?;
    let earlier = draft.signing_keys().await?;
    let Some(sign_time) = next_sign_time(&earlier, draft.now(), life) else { return Ok(None) };
    let kind = if earlier.is_empty() { "signing_key.create" } else { "signing_key.rotate" };
    replace(draft, master, earlier, sign_time, kind, "system", false).await.map(Some)
}

/// Makes a signing key that signs at once; what the earlier ones signed is accepted until it expires, unless they are
/// `compromised`.
pub async fn rotate(store: &Store, master: &MasterKey, compromised: bool) -> Result<Committed> {
    let draft = store.begin().await?;
    let earlier = draft.signing_keys().await?;
    let now = draft.now();
    replace(draft, master, earlier, now, "signing_key.rotate", "operator", compromised).await
}

/// Has a new key sign from `sign_time` on, and the `earlier` ones until then.
async fn replace(
    draft: Draft,
    master: &MasterKey,
    earlier: Vec<SigningKey>,
    sign_time: Time,
    kind: &'static str,
    actor: &str,
    compromised: bool,
) -> Result<Committed> {
    let now = draft.now();
    let key = make_key(master, &draft, sign_time).await?;
    let mut changes = Vec::new();
    let mut retired = Vec::new();
    for before in earlier {
        let mut after = before.clone();
        after.retire(sign_time);
        after.is_compromised |= compromised && !before.is_forgotten(now);
        if after.is_compromised || after.retire_time.is_some_and(|time| time <= now) {
            retired.push(after.kid.clone());
        }
        if after != before {
            changes.push(Change::SigningKey(after));
        }
    }
    draft.wipe_private_halves(retired).await?;
    let entry = Entry {
        kind,
        tenant: None,
        actor: actor.to_owned(),
        credential_id: String::new(),
        subject: key.name(),
        request_id: String::new(),
        source_ip: String::new(),
        detail: json!({ "sign_time": key.sign_time.micros(), "compromised": compromised }),
    };
    changes.push(Change::SigningKey(key));
    draft.commit(changes, entry, None).await
}
