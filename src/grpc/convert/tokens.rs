//! Access tokens, sessions and principals.

use super::key_type_out;
use crate::domain::decision::Held;
use crate::domain::facts::Holder;
use crate::domain::name::{Owner, token_name};
use crate::proto::v1 as proto;

/// Whom a decision is about.
pub(crate) fn principal_out(held: &Held<'_>) -> proto::Principal {
    let facts = held.facts;
    let mut principal =
        proto::Principal { tenant: facts.tenant.name(), labels: facts.labels.clone(), ..proto::Principal::default() };
    match &facts.owner {
        Some(owner @ Owner::Application(_)) => principal.application = owner.name(&facts.tenant),
        Some(owner @ Owner::User(_)) if !facts.is_application() => principal.user = owner.name(&facts.tenant),
        Some(Owner::User(_)) | None => {}
    }
    match &facts.holder {
        Holder::Key { kind, .. } => {
            principal.key = facts.name();
            principal.key_type = key_type_out(*kind).into();
        }
        Holder::Application(_) => principal.application = facts.name(),
        Holder::Session(_) => principal.token = facts.name(),
    }
    if let Some(token) = held.token {
        principal.token = token_name(&facts.tenant, &token.id);
    }
    principal
}
