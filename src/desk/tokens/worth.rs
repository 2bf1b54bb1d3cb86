//! What a token or session is worth, and how it ends.

use super::{describe, describe_session, row_of_jwt};
use crate::check::{Caller, Principal};
use crate::desk::{Call, Desk};
use crate::domain::change::Change;
use crate::domain::clock::Time;
use crate::domain::credential::Digest;
use crate::domain::decision::{Held, Query, Reason};
use crate::domain::facts::Holder;
use crate::domain::name::{Collection, TenantId};
use crate::domain::permission::Grants;
use crate::domain::policy::{Demand, Power};
use crate::domain::token::AccessToken;
use crate::error::{Error, Result};
use serde_json::json;
use zeroize::Zeroizing;

/// What a token or session that is in force is worth.
#[derive(Debug)]
pub struct Inspection {
    /// Whom it stands for.
    pub principal: Principal,
    /// What it holds.
    pub permissions: Grants,
    /// From when on it is refused.
    pub expire_time: Option<Time>,
}

/// What a token or session is worth; `None` if it is not in force or the caller may not see it.
pub async fn introspect(desk: &Desk, caller: &Caller, call: &Call, text: &str) -> Result<Option<Inspection>> {
    desk.arrived([text], call.deadline).await?;
    let answer = desk.index.ask(text, &Query::default(), desk.clock.now())?;
    // Where it may be used from, and by whom, is for a Check to say.
    let is_active = answer.decision.reasons().iter().all(|reason| {
        matches!(reason, Reason::IpNotAllowed | Reason::ReferrerNotAllowed | Reason::TokenAudienceMismatch)
    });
    let Some(principal) = answer.principal.filter(|_| is_active) else { return Ok(None) };
    let Some(held) = principal.held() else { return Ok(None) };
    let Some((collection, id)) = place(&held) else { return Ok(None) };
    let tenant = &held.facts.tenant;
    let whose = desk.index.directory().whose_held(&held);
    let demand = Demand { collection, id, action: "introspect", whose };
    let actor = caller.actor();
    if actor.tenant().is_some_and(|own| own != tenant) || !actor.power().may(&demand) {
        return Ok(None);
    }
    let permissions = Power::of(&held).described();
    let expire_time = held.expire_time();
    Ok(Some(Inspection { permissions, expire_time, principal }))
}

/// The collection and id of what was shown, if it is a token or a session.
fn place<'a>(held: &Held<'a>) -> Option<(Collection, &'a str)> {
    match (held.token, &held.facts.holder) {
        (Some(token), _) => Some((Collection::Tokens, token.id.as_str())),
        (None, Holder::Session(id)) => Some((Collection::Sessions, id.as_str())),
        (None, Holder::Key { .. } | Holder::Application(_)) => None,
    }
}

/// Ends a token or a session; an unknown one is ended already. Answers with the revision by which it was.
pub async fn revoke(desk: Desk, caller: Caller, call: Call, text: Zeroizing<String>) -> Result<i64> {
    desk.arrived([text.as_str()], call.deadline).await?;
    let jwt = desk.index.known_jwt(&text, desk.clock.now())?;
    let edit = desk.edit(&caller, call).await?;
    let digest = Digest::of(text.as_bytes());
    let is_own = |tenant: &TenantId| edit.actor.tenant().is_none_or(|own| own == tenant);
    let now = edit.now();
    let token = match &jwt {
        Some(jwt) => match edit.draft.token(jwt.tenant(), &jwt.facts().id).await? {
            Some(revoked) => Some(revoked),
            None => Some(AccessToken { revoke_time: None, ..row_of_jwt(jwt, now)? }),
        },
        None => edit.draft.token_of_digest(&digest).await?,
    };
    if let Some(mut token) = token.filter(|token| is_own(&token.tenant)) {
        let (collection, id) = token.parent.place();
        let whose = edit.draft.whose(&token.tenant, collection, id).await?;
        edit.demand(&Demand { collection: Collection::Tokens, id: token.id.as_str(), action: "revoke", whose })?;
        if token.revoke_time.is_some() || token.is_forgotten(now) {
            return Ok(edit.nothing(()).await?.revision);
        }
        token.revoke_time = Some(now);
        token.update_time = now;
        let (tenant, name, detail) = (token.tenant.clone(), token.name(), json!({ "after": describe(&token) }));
        let changes = vec![Change::Token(Box::new(token))];
        return edit.commit("token.revoke", Some(&tenant), name, changes, detail, None).await;
    }
    if let Some(mut session) = edit.draft.session_of_digest(&digest).await?.filter(|session| is_own(&session.tenant)) {
        let whose = edit.draft.whose(&session.tenant, Collection::Sessions, session.id.as_str()).await?;
        edit.demand(&Demand { collection: Collection::Sessions, id: session.id.as_str(), action: "revoke", whose })?;
        if session.revoke_time.is_some() || session.is_forgotten(now) {
            return Ok(edit.nothing(()).await?.revision);
        }
        session.revoke_time = Some(now);
        session.update_time = now;
        let (tenant, name, detail) = (session.tenant.clone(), session.name(), describe_session(&session));
        let changes = vec![Change::Session(Box::new(session))];
        return edit.commit("session.revoke", Some(&tenant), name, changes, detail, None).await;
    }
    let other = edit.draft.chain(&digest).await?;
    if other.is_some_and(|chain| is_own(&chain.facts.tenant)) {
        let rule = "is the credential of a key or an application, not a token; use RevokeKey, RevokeApplication or \
                    RevokeCredentials";
        return Err(Error::invalid("token", rule));
    }
    Ok(edit.nothing(()).await?.revision)
}
