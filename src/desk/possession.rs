//! Ending credentials by possession: whoever has the text may end it.

use super::tokens::row_of_jwt;
use super::{Call, Desk};
use crate::check::VerifiedJwt;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::key::{Key, KeyType, Retirement, Revocation, RevocationReason, Secret};
use crate::domain::name::TenantId;
use crate::domain::token::{AccessToken, Session};
use crate::error::Result;
use crate::store::{Draft, Entry};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

/// What was shown of one tenant.
#[derive(Debug, Default)]
struct Shown {
    digests: BTreeSet<Digest>,
    jwts: Vec<Arc<VerifiedJwt>>,
}

/// What a text that can be ended belongs to.
#[derive(Debug)]
enum Endable {
    Key(Box<Key>),
    Token(Box<AccessToken>),
    Session(Box<Session>),
}

impl Endable {
    fn tenant(&self) -> &TenantId {
        match self {
            Self::Key(key) => &key.tenant,
            Self::Token(token) => &token.tenant,
            Self::Session(session) => &session.tenant,
        }
    }

    fn name(&self) -> String {
        match self {
            Self::Key(key) => key.name(),
            Self::Token(token) => token.name(),
            Self::Session(session) => session.name(),
        }
    }

    /// Whether ending it by the text of `digest` changes anything.
    fn is_endable(&self, digest: &Digest, now: Time) -> bool {
        match self {
            Self::Key(key) => is_endable(key, digest, now),
            Self::Token(token) => token.revoke_time.is_none() && !token.is_forgotten(now),
            Self::Session(session) => session.revoke_time.is_none() && !session.is_forgotten(now),
        }
    }

    fn end(&mut self, digest: &Digest, reason: RevocationReason, now: Time) {
        match self {
            Self::Key(key) => {
                end(key, digest, reason, now);
                key.update_time = now;
            }
            Self::Token(token) => {
                token.revoke_time = Some(now);
                token.update_time = now;
            }
            Self::Session(session) => {
                session.revoke_time = Some(now);
                session.update_time = now;
            }
        }
    }

    fn into_change(self) -> Change {
        match self {
            Self::Key(key) => Change::Key(key),
            Self::Token(token) => Change::Token(token),
            Self::Session(session) => Change::Session(session),
        }
    }
}

/// Ends these credentials, which have arrived (`Desk::arrived`). Answers with the revision of the last mutation, or with that at which nothing
/// was left to do.
pub async fn revoke_credentials(
    desk: Desk,
    call: Call,
    credentials: Vec<Zeroizing<String>>,
    reason: RevocationReason,
) -> Result<i64> {
    // Looked up first, without the lock: if none is ours, nothing is written.
    let mut by_tenant: BTreeMap<TenantId, Shown> = BTreeMap::new();
    for credential in credentials {
        if let Some(jwt) = desk.index.known_jwt(&credential, desk.clock.now())? {
            if desk.store.token(jwt.tenant(), &jwt.facts().id).await?.is_none() {
                by_tenant.entry(jwt.tenant().clone()).or_default().jwts.push(jwt);
            }
            continue;
        }
        let digest = Digest::of(credential.as_bytes());
        // The index knows every credential whose making was answered, here or elsewhere; the rows are not asked about others.
        if !desk.index.is_known(&digest)? {
            continue;
        }
        let found = match desk.store.key_of_digest(&digest).await? {
            Some((key, _)) => Some(Endable::Key(Box::new(key))),
            None => match desk.store.token_of_digest(&digest).await? {
                Some(token) => Some(Endable::Token(Box::new(token))),
                None => desk.store.session_of_digest(&digest).await?.map(|session| Endable::Session(Box::new(session))),
            },
        };
        if let Some(found) = found.filter(|found| found.is_endable(&digest, desk.clock.now())) {
            by_tenant.entry(found.tenant().clone()).or_default().digests.insert(digest);
        }
    }
    // The head is read after the rows: what was found ended already must be in the index before this is answered.
    let mut revision = desk.store.head_revision().await?;
    let mut failure = None;
    // An event for each tenant, so that every tenant's audit log has its own.
    for (tenant, shown) in by_tenant {
        match end_in_tenant(&desk, call.clone(), tenant, shown, reason).await {
            Ok(ended) => revision = revision.max(ended),
            Err(error) => failure = failure.or(Some(error)),
        }
    }
    desk.ledger.settled(revision, None, call.deadline).await?;
    failure.map_or(Ok(revision), Err)
}

async fn end_in_tenant(
    desk: &Desk,
    call: Call,
    tenant: TenantId,
    shown: Shown,
    reason: RevocationReason,
) -> Result<i64> {
    let draft = desk.store.begin().await?;
    let now = draft.now();
    let mut count = 0_usize;
    // By name: several secrets may be of one key.
    let mut ended: BTreeMap<String, Endable> = BTreeMap::new();
    for digest in shown.digests {
        let Some(found) = find(&draft, &digest).await? else { continue };
        let name = found.name();
        if ended.get(&name).unwrap_or(&found).is_endable(&digest, now) {
            count = count.saturating_add(1);
            ended.entry(name).or_insert(found).end(&digest, reason, now);
        }
    }
    for jwt in shown.jwts {
        let row = row_of_jwt(&jwt, now)?;
        let is_endable = !row.is_forgotten(now) && draft.token(&row.tenant, &row.id).await?.is_none();
        if is_endable && ended.insert(row.name(), Endable::Token(Box::new(row))).is_none() {
            count = count.saturating_add(1);
        }
    }
    if ended.is_empty() {
        return draft.unchanged().await;
    }
    let names: Vec<String> = ended.keys().cloned().collect();
    let entry = Entry {
        kind: "credential.revoke",
        subject: if names.len() == 1 { names.concat() } else { tenant.name() },
        tenant: Some(tenant),
        actor: "possession".to_owned(),
        credential_id: String::new(),
        detail: call.noted(json!({ "count": count, "keys": names, "reason": reason.as_str() })),
        request_id: call.request_id,
        source_ip: call.source_ip,
    };
    let changes = ended.into_values().map(Endable::into_change).collect();
    desk.commit(draft, changes, entry, None, call.deadline).await
}

async fn find(draft: &Draft, digest: &Digest) -> Result<Option<Endable>> {
    if let Some(key) = draft.key_of_digest(digest).await? {
        return Ok(Some(Endable::Key(Box::new(key))));
    }
    if let Some(token) = draft.token_of_digest(digest).await? {
        return Ok(Some(Endable::Token(Box::new(token))));
    }
    Ok(draft.session_of_digest(digest).await?.map(|session| Endable::Session(Box::new(session))))
}

fn is_endable(key: &Key, digest: &Digest, now: Time) -> bool {
    // A secret that was rotated out is dead already; whoever has it has no hold on the one in its place.
    let is_in_use = |secret: &Secret| !secret.retirement.is_some_and(|retirement| retirement.has_come(now));
    let is_shown = key.secrets.iter().any(|secret| secret.digest == *digest && is_in_use(secret));
    match key.kind {
        KeyType::DefaultPublic => false,
        KeyType::Regular => is_shown && key.revocation.is_none() && !key.is_forgotten(now),
        KeyType::Master => is_shown,
    }
}

/// Ends a regular key; of a master key, only the secret that was shown.
fn end(key: &mut Key, digest: &Digest, reason: RevocationReason, now: Time) {
    match key.kind {
        KeyType::DefaultPublic => {}
        KeyType::Regular => {
            key.revocation = key.revocation.or(Some(Revocation { time: now, reason }));
        }
        KeyType::Master => {
            for secret in key.secrets.iter_mut().filter(|secret| secret.digest == *digest) {
                secret.retirement = Some(Retirement::at(now, secret.retirement, now));
            }
        }
    }
}
