//! Access tokens and signing keys.

use super::{Violations, maybe_timestamp, principal_out, span, text, timestamp};
use crate::desk::tokens::{Exchange, Inspection, Minted, NewToken};
use crate::domain::credential::MAX_CREDENTIAL_BYTES;
use crate::domain::etag::etag;
use crate::domain::permission::{ACTION_RULE, Grants, PATTERN_RULE, Pattern, is_action};
use crate::domain::signing::Jwk;
use crate::domain::token::{AccessToken, MAX_TOKEN_LIFE, Parent, TokenFormat, Wanted};
use crate::error::{Error, Result};
use crate::proto::v1 as proto;
use zeroize::Zeroizing;

/// So many permissions one token may be narrowed to, and so many bytes of them in all: they are kept with every token.
const MAX_PERMISSIONS: usize = 100;
const MAX_PERMISSION_BYTES: usize = 8 * 1024;
const MAX_AUDIENCES: usize = 32;
const MAX_AUDIENCE: usize = 256;

/// What a token's text must be to be looked at.
pub(crate) fn token_text(token: &str) -> Result<()> {
    if token.is_empty() || token.len() > MAX_CREDENTIAL_BYTES {
        return Err(Error::invalid("token", format!("must be of 1 to {MAX_CREDENTIAL_BYTES} bytes")));
    }
    Ok(())
}

/// What `CreateToken` asks for.
pub(crate) fn new_token(message: proto::CreateTokenRequest) -> Result<NewToken> {
    let proto::CreateTokenRequest { application, secret, key, secret_key, permissions, audience, ttl, format } =
        message;
    let mut violations = Violations::default();
    let is_application = !application.is_empty() || !secret.is_empty();
    match (is_application, key.is_empty()) {
        (true, false) => violations.add("key", "must be empty where application and secret are given"),
        (false, true) => violations.add("application", "must be given with its secret, or key instead of both"),
        (true, true) if application.is_empty() => violations.add("application", "must be given with secret"),
        (true, true) if secret.is_empty() => violations.add("secret", "must be given with application"),
        (true, true) if !secret_key.is_empty() => violations.add("secret_key", "goes with key only"),
        (true, true) | (false, false) => {}
    }
    let permissions = wanted(permissions, &mut violations);
    if audience.len() > MAX_AUDIENCES {
        violations.add("audience", format!("must be at most {MAX_AUDIENCES}"));
    } else {
        for (place, one) in audience.iter().enumerate() {
            let field = format!("audience[{place}]");
            if one.is_empty() {
                violations.add(field, "must not be empty");
            } else if let Err(violation) = text(one.clone(), &field, MAX_AUDIENCE, false) {
                violations.add(violation.field, violation.rule);
            }
        }
    }
    let ttl = match span(ttl, "ttl") {
        Ok(Some(ttl)) if ttl.is_zero() || ttl > MAX_TOKEN_LIFE => {
            violations.add("ttl", "must be above zero and at most 24 hours");
            None
        }
        Ok(ttl) => ttl,
        Err(_) => {
            violations.add("ttl", "must be above zero and at most 24 hours");
            None
        }
    };
    let format = match proto::TokenFormat::try_from(format) {
        Ok(proto::TokenFormat::Unspecified | proto::TokenFormat::Opaque) => TokenFormat::Opaque,
        Ok(proto::TokenFormat::Jwt) => TokenFormat::Jwt,
        Err(_) => {
            violations.add("format", "must be TOKEN_FORMAT_OPAQUE or TOKEN_FORMAT_JWT");
            TokenFormat::Opaque
        }
    };
    violations.finish()?;
    let exchange = Exchange {
        credential: Zeroizing::new(if is_application { secret } else { key }),
        secret_key: Zeroizing::new(secret_key),
        application: is_application.then_some(application),
    };
    Ok(NewToken { exchange, permissions, audience, ttl, format })
}

fn wanted(permissions: Vec<proto::Permission>, violations: &mut Violations) -> Option<Vec<Wanted>> {
    let bytes: usize = permissions.iter().map(|one| one.resource.len().saturating_add(one.action.len())).sum();
    if permissions.len() > MAX_PERMISSIONS || bytes > MAX_PERMISSION_BYTES {
        let rule = format!("must be at most {MAX_PERMISSIONS}, of at most {MAX_PERMISSION_BYTES} bytes in all");
        violations.add("permissions", rule);
        return None;
    }
    for (place, permission) in permissions.iter().enumerate() {
        if Pattern::parse(&permission.resource).is_none() {
            violations.add(format!("permissions[{place}].resource"), PATTERN_RULE);
        }
        if permission.action != "*" && !is_action(&permission.action) {
            violations.add(format!("permissions[{place}].action"), ACTION_RULE);
        }
    }
    let wanted = |proto::Permission { resource, action }| Wanted { resource, action };
    (!permissions.is_empty()).then(|| permissions.into_iter().map(wanted).collect())
}

/// A new token with its text.
pub(crate) fn minted_out(minted: Minted) -> proto::CreateTokenResponse {
    let Minted { token, text, revision } = minted;
    proto::CreateTokenResponse {
        expire_time: Some(timestamp(token.expire_time)),
        access_token: Some(token_out(&token)),
        token: text.expose().to_owned(),
        revision,
    }
}

fn token_out(token: &AccessToken) -> proto::AccessToken {
    let parent = token.parent.name(&token.tenant);
    let (application, key) = match token.parent {
        Parent::Application(_) => (parent, String::new()),
        Parent::Key(_) => (String::new(), parent),
    };
    let permission =
        |wanted: &Wanted| proto::Permission { resource: wanted.resource.clone(), action: wanted.action.clone() };
    let format = match token.format {
        TokenFormat::Opaque => proto::TokenFormat::Opaque,
        TokenFormat::Jwt => proto::TokenFormat::Jwt,
    };
    proto::AccessToken {
        name: token.name(),
        uid: token.uid.to_string(),
        create_time: Some(timestamp(token.create_time)),
        update_time: Some(timestamp(token.update_time)),
        etag: etag(token.uid, token.revision),
        expire_time: Some(timestamp(token.expire_time)),
        application,
        key,
        permissions: token.permissions.iter().flatten().map(permission).collect(),
        audience: token.audience.clone(),
        format: format.into(),
    }
}

/// What a token is worth; an inactive one tells nothing more.
pub(crate) fn inspection_out(found: Option<Inspection>) -> proto::IntrospectTokenResponse {
    let inactive = proto::IntrospectTokenResponse { active: Some(false), ..Default::default() };
    let Some(Inspection { principal, permissions, expire_time }) = found else { return inactive };
    let Some(held) = principal.held() else { return inactive };
    let principal = principal_out(&held);
    proto::IntrospectTokenResponse {
        active: Some(true),
        token: principal.token.clone(),
        permissions: permissions_out(&permissions),
        expire_time: maybe_timestamp(expire_time),
        principal: Some(principal),
    }
}

fn permissions_out(grants: &Grants) -> Vec<proto::Permission> {
    let permission =
        |resource: &str, action: &str| proto::Permission { resource: resource.to_owned(), action: action.to_owned() };
    grants
        .iter()
        .flat_map(|(pattern, actions)| actions.iter().map(move |action| permission(pattern.as_str(), action)))
        .collect()
}

/// A public key of ours.
pub(crate) fn jwk_out(jwk: Jwk) -> proto::Jwk {
    let Jwk { kty, crv, x, kid, alg, usage } = jwk;
    proto::Jwk { kty: kty.to_owned(), crv: crv.to_owned(), x, kid, alg: alg.to_owned(), r#use: usage.to_owned() }
}
