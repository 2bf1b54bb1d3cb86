//! Commands on access tokens, and what tokens and sessions share.

mod mints;
mod worth;

pub use mints::Mints;
pub use worth::{Inspection, introspect, revoke};

use super::{Call, Desk, detached, new_uid};
use crate::check::{Principal, VerifiedJwt};
use crate::domain::actor::Actor;
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::{Credential, CredentialId, Digest, Shape, parse};
use crate::domain::decision::{Decision, Found, Held, Query, Reason, Reasons, evaluate};
use crate::domain::facts::{Chain, Kind};
use crate::domain::jwt::{Claims, scope_of};
use crate::domain::key::KeyType;
use crate::domain::name::{TenantId, TokenId};
use crate::domain::permission::{Grants, Pattern};
use crate::domain::token::{AccessToken, DEFAULT_TOKEN_LIFE, Parent, Session, TokenFormat, Wanted, compile};
use crate::error::{Error, Result};
use crate::store::{Entry, RowDirectory, Wants};
use serde_json::json;
use std::time::Duration;
use zeroize::Zeroizing;

/// One text for an application that is not there, one that is not verified, and a wrong secret.
const REFUSED_APPLICATION: &str = "there is no such application, it is not verified, or the secret is another";

/// What an access token is asked for with.
#[derive(Debug)]
pub struct Exchange {
    /// The secret of the application, or the credential of the key.
    pub credential: Zeroizing<String>,
    /// The second secret of the key.
    pub secret_key: Zeroizing<String>,
    /// The name of the application whose secret it is to be; `None` asks for a token of a key.
    pub application: Option<String>,
}

/// What `CreateToken` asks for.
#[derive(Debug)]
pub struct NewToken {
    /// The proof.
    pub exchange: Exchange,
    /// The narrower set; `None` is all that the subject holds.
    pub permissions: Option<Vec<Wanted>>,
    /// Whom it is for.
    pub audience: Vec<String>,
    /// How long it is to live.
    pub ttl: Option<Duration>,
    /// Its form.
    pub format: TokenFormat,
}

/// A new token; the text is shown once.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub token: AccessToken,
    /// Its text.
    pub text: Credential,
    /// The revision that made it, or that it rests on.
    pub revision: i64,
}

/// Whoever asks for a token, found good.
struct Subject {
    actor: Actor,
    tenant: TenantId,
    parent: Parent,
    secret_version: i64,
    expire_time: Option<Time>,
    revision: i64,
}

/// Makes an access token for whoever shows a secret. The secret is the proof: it is checked by the same check as
/// everyone's, and what it does not hold it cannot hand on.
pub async fn create(desk: Desk, call: Call, new: NewToken) -> Result<Minted> {
    desk.arrived([new.exchange.credential.as_str()], call.deadline).await?;
    let subject = prove(&desk, &call, &new.exchange)?;
    desk.mints.pass(&subject.parent.name(&subject.tenant))?;
    let narrow = new.permissions.as_deref().map(compile);
    refuse_wider(&subject.actor, narrow.as_ref(), &desk.index.directory())?;
    match new.format {
        TokenFormat::Opaque => detached(create_opaque(desk, call, new, subject, narrow)).await,
        TokenFormat::Jwt => create_jwt(&desk, new, subject, narrow).await,
    }
}

fn refuse_wider(
    actor: &Actor,
    narrow: Option<&Grants>,
    directory: &impl crate::domain::policy::Directory,
) -> Result<()> {
    match narrow.and_then(|narrow| actor.power().lacks(narrow, directory)) {
        Some((resource, action)) => {
            Err(Error::Forbidden { missing: format!("{action} on {resource}, which the token would hold") })
        }
        None => Ok(()),
    }
}

/// Until when a token lives: never longer than what it is made from.
fn expire_time(now: Time, ttl: Option<Duration>, parent: Option<Time>) -> Result<Time> {
    match (ttl, parent) {
        (Some(ttl), Some(parent)) if now.after(ttl) > parent => {
            Err(Error::Forbidden { missing: "a life as long as the ttl of the token".to_owned() })
        }
        (Some(ttl), _) => Ok(now.after(ttl)),
        (None, Some(parent)) => Ok(now.after(DEFAULT_TOKEN_LIFE).min(parent)),
        (None, None) => Ok(now.after(DEFAULT_TOKEN_LIFE)),
    }
}

fn query<'a>(exchange: &'a Exchange, call: &'a Call) -> Query<'a> {
    Query { secret_key: &exchange.secret_key, source_ip: &call.source_ip, ..Query::default() }
}

/// Who shows a secret, if it is good for a token.
fn prove(desk: &Desk, call: &Call, exchange: &Exchange) -> Result<Subject> {
    let answer = desk.index.accept(&exchange.credential, &query(exchange, call), desk.clock.now())?;
    let held = answer.principal.as_ref().and_then(Principal::held);
    let parent = exchange.judge(held.as_ref(), &answer.decision)?;
    let (Some(principal), Some(held)) = (&answer.principal, held) else {
        return Err(Error::internal("a proof of nobody"));
    };
    Ok(Subject {
        actor: Actor::of(held.to_chain()),
        tenant: held.facts.tenant.clone(),
        parent,
        secret_version: principal.secret_version(&Digest::of(exchange.credential.as_bytes())),
        expire_time: held.expire_time(),
        revision: answer.revision,
    })
}

impl Exchange {
    /// What a token is made from, if what was shown is of the kind that was named and good; otherwise why not.
    fn judge(&self, held: Option<&Held<'_>>, decision: &Decision) -> Result<Parent> {
        let refused = |reasons: Reasons| match &self.application {
            Some(_) => Error::Unauthenticated { reason: REFUSED_APPLICATION.to_owned() },
            None => Error::Unauthenticated { reason: names(reasons) },
        };
        let unknown = || refused(Reasons::only(Reason::NotFound));
        let reasons = decision.reasons();
        let Some(held) = held else {
            return Err(if reasons.is_empty() { unknown() } else { refused(reasons) });
        };
        let parent = parent_of(held).ok_or_else(unknown)?;
        let is_as_named = match (&self.application, &parent) {
            (Some(name), Parent::Application(_)) => *name == held.facts.name(),
            (None, Parent::Key(_)) => true,
            (Some(_), Parent::Key(_)) | (None, Parent::Application(_)) => false,
        };
        if !is_as_named {
            return Err(unknown());
        }
        if decision.is_allowed() {
            return Ok(parent);
        }
        let is_held_back = reasons.iter().all(|reason| {
            matches!(
                reason,
                Reason::Revoked
                    | Reason::Suspended
                    | Reason::TenantSuspended
                    | Reason::OwnerSuspended
                    | Reason::ApplicationRevoked
            )
        });
        Err(if is_held_back {
            Error::precondition(held.facts.name(), format!("makes no tokens now: {}", names(reasons)))
        } else {
            refused(reasons)
        })
    }
}

fn names(reasons: Reasons) -> String {
    let names: Vec<&str> = reasons.iter().map(Reason::as_str).collect();
    names.join(", ")
}

/// What a token is made from: an application, or a master or regular key; of a token or session none is made.
fn parent_of(held: &Held<'_>) -> Option<Parent> {
    match (held.facts.kind, held.token) {
        (Kind::Application, None) => Some(Parent::Application(held.facts.id.into())),
        (Kind::Key(KeyType::Master | KeyType::Regular), None) => Some(Parent::Key(held.facts.id.into())),
        (Kind::Key(_) | Kind::Application | Kind::Session, _) => None,
    }
}

async fn create_opaque(
    desk: Desk,
    call: Call,
    new: NewToken,
    subject: Subject,
    narrow: Option<Grants>,
) -> Result<Minted> {
    let NewToken { exchange, permissions, audience, ttl, format } = new;
    let draft = desk.begin(Wants::default(), call.deadline).await?;
    // Read and judged once more: the secret is the proof.
    let chain = draft.chain(&Digest::of(exchange.credential.as_bytes())).await?;
    let held = chain.as_ref().map(Chain::held);
    let now = draft.now();
    let decision = held.map_or_else(Decision::default, |held| {
        evaluate(Found::Held(held), &query(&exchange, &call), now, &RowDirectory::default())
    });
    exchange.judge(held.as_ref(), &decision)?;
    let expire_time = expire_time(now, ttl, held.and_then(|held| held.expire_time()))?;
    let actor = chain.map(Actor::of).ok_or_else(|| Error::internal("a proof of nobody"))?;
    let narrow = narrow.unwrap_or_default();
    let directory = draft.directory(&subject.tenant, &narrow).await?;
    refuse_wider(&actor, Some(&narrow), &directory)?;
    let lost = || Error::internal("the tenant of a credential is not there");
    let tenant = draft.tenant(&subject.tenant).await?.ok_or_else(lost)?;
    let (text, secret) = draft.mint(&tenant.credential_prefix);
    let uid = new_uid(now);
    let token = AccessToken {
        tenant: tenant.id,
        id: TokenId::of_uid(uid),
        uid,
        parent: subject.parent,
        secret_version: subject.secret_version,
        based_revision: draft.revision(),
        permissions,
        audience,
        format,
        digest: Some(secret.digest),
        credential_id: secret.id,
        create_time: now,
        update_time: now,
        expire_time,
        revoke_time: None,
        revision: 0,
    };
    let entry = Entry {
        kind: "token.create",
        tenant: Some(token.tenant.clone()),
        actor: token.parent.name(&token.tenant),
        credential_id: credential_id(&exchange.credential),
        subject: token.name(),
        detail: call.noted(json!({ "after": describe(&token) })),
        request_id: call.request_id,
        source_ip: call.source_ip,
    };
    let revision = desk.commit(draft, vec![Change::Token(Box::new(token.clone()))], entry, None, call.deadline).await?;
    Ok(Minted { token: AccessToken { revision, ..token }, text, revision })
}

/// Signs a token. Nothing is written: what can end it is looked up when it is shown.
async fn create_jwt(desk: &Desk, new: NewToken, subject: Subject, narrow: Option<Grants>) -> Result<Minted> {
    let now = desk.clock.now();
    let end = expire_time(now, new.ttl, subject.expire_time)?.whole_seconds();
    if end <= now {
        return Err(Error::invalid("ttl", "must be at least 1 second for a JWT, whose times are whole seconds"));
    }
    let issue_time = now.whole_seconds();
    let uid = new_uid(now);
    let tenant = subject.tenant;
    let name = subject.parent.name(&tenant);
    let permissions = narrow.unwrap_or_else(|| subject.actor.power().described());
    let pairs =
        permissions.iter().flat_map(|(pattern, actions)| actions.iter().map(move |action| (pattern.as_str(), action)));
    let claims = Claims {
        iss: desk.index.issuer().to_string(),
        sub: name.clone(),
        client_id: name,
        aud: if new.audience.is_empty() { vec![tenant.name()] } else { new.audience.clone() },
        exp: end.seconds(),
        iat: issue_time.seconds(),
        jti: uid.to_string(),
        scope: scope_of(pairs),
        revision: subject.revision,
        secret_version: subject.secret_version,
        narrowed: new.permissions.is_some(),
    };
    let text = Credential::from_text(desk.keyring.sign(&claims).await?);
    let token = AccessToken {
        tenant,
        id: TokenId::of_uid(uid),
        uid,
        parent: subject.parent,
        secret_version: subject.secret_version,
        based_revision: subject.revision,
        permissions: new.permissions,
        audience: new.audience,
        format: TokenFormat::Jwt,
        digest: None,
        credential_id: None,
        create_time: issue_time,
        update_time: issue_time,
        expire_time: end,
        revoke_time: None,
        revision: 0,
    };
    Ok(Minted { token, text, revision: subject.revision })
}

/// A JWT as it is stored once it is revoked.
pub(super) fn row_of_jwt(jwt: &VerifiedJwt, revoke_time: Time) -> Result<AccessToken> {
    let facts = jwt.facts();
    let permission = |(pattern, action): (&Pattern, &str)| Wanted {
        resource: pattern.as_str().to_owned(),
        action: action.to_owned(),
    };
    let pairs = |grants: &Grants| {
        let pairs = grants.iter().flat_map(|(pattern, actions)| actions.iter().map(move |action| (pattern, action)));
        pairs.map(permission).collect()
    };
    Ok(AccessToken {
        tenant: jwt.tenant().clone(),
        id: facts.id.clone(),
        uid: facts.id.as_str().parse().map_err(Error::internal)?,
        parent: facts.parent.clone(),
        secret_version: facts.secret_version,
        based_revision: facts.based_revision,
        permissions: facts.narrow.as_ref().map(pairs),
        audience: facts.audience.clone(),
        format: TokenFormat::Jwt,
        digest: None,
        credential_id: None,
        create_time: jwt.issue_time(),
        update_time: revoke_time,
        expire_time: facts.expire_time,
        revoke_time: Some(revoke_time),
        revision: 0,
    })
}

/// The `{id}` of a credential of our form, for events.
fn credential_id(text: &str) -> String {
    match parse(text) {
        Shape::Ours { id, .. } => id.to_owned(),
        Shape::Broken { .. } | Shape::Foreign => String::new(),
    }
}

/// A token as events tell of it.
fn describe(token: &AccessToken) -> serde_json::Value {
    json!({
        "parent": token.parent.name(&token.tenant),
        "permission_count": token.permissions.as_ref().map(Vec::len),
        "audience": token.audience,
        "format": token.format,
        "expire_micros": token.expire_time,
        "is_revoked": token.revoke_time.is_some(),
        "credential_id": token.credential_id.as_ref().map(CredentialId::as_str),
    })
}

/// A session as events tell of it.
pub(super) fn describe_session(session: &Session) -> serde_json::Value {
    json!({
        "user": crate::domain::name::user_name(&session.tenant, &session.user),
        "expire_micros": session.expire_time,
        "is_revoked": session.revoke_time.is_some(),
        "credential_id": session.credential_id.as_str(),
    })
}
